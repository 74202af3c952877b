//! An overlay and its base, small enough to enumerate what a power cut can leave of both.

use std::io::{self, IoSlice, IoSliceMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use holstein::chain::{Chain, Layer, RawLayer};
use holstein::storage::{Capabilities, MemStorage, Storage};
use holstein::{CreateOptions, Image, OpenOptions};
use holstein_testkit::{CrashLog, CrashState, RecordingStorage, SampleOptions};
use holstein_units::{HostOffset, HostRange};

/// Bytes of a cluster.
pub(crate) const CLUSTER: u64 = 512;
/// Bytes of the disks.
pub(crate) const SIZE: u64 = 12 * CLUSTER;

/// The files of a test, as they are before anything is recorded.
pub(crate) struct Pair {
    /// The image on top.
    pub(crate) top: MemStorage,
    /// What is below it.
    pub(crate) base: MemStorage,
    /// The base is a qcow2 image and not raw.
    pub(crate) qcow2: bool,
    /// What the two read as.
    pub(crate) model: Vec<u8>,
}

impl Pair {
    /// A base of two thirds of the size with data, and an overlay with data, zeros and holes.
    pub(crate) fn new(qcow2: bool) -> Result<Self, holstein::Error> {
        let base = Arc::new(MemStorage::new());
        let half = 8 * CLUSTER;
        let mut model = vec![0; SIZE as usize];
        model[..half as usize].fill(1);
        if qcow2 {
            let options = CreateOptions::new(half).cluster_size(CLUSTER);
            let image = options.create_on(Arc::<MemStorage>::clone(&base))?;
            image.write_at(0, &model[..half as usize])?;
            image.close()?;
        } else {
            let written = base.write_at(HostOffset::new(0), &model[..half as usize]);
            written.expect("memory does not fail");
        }
        let top = Arc::new(MemStorage::new());
        let format = if qcow2 { b"qcow2".to_vec() } else { b"raw".to_vec() };
        CreateOptions::new(SIZE)
            .cluster_size(CLUSTER)
            .backing_file(b"old".to_vec(), Some(format))
            .create_on(Arc::<MemStorage>::clone(&top))?
            .close()?;
        let chain = chain(Arc::<MemStorage>::clone(&base), qcow2)?;
        let image = over(Arc::<MemStorage>::clone(&top), chain)?;
        for (at, len, byte) in [(1, 2, 2), (9, 1, 3)] {
            let range = (at * CLUSTER) as usize..((at + len) * CLUSTER) as usize;
            model[range.clone()].fill(byte);
            image.write_at(at * CLUSTER, &model[range])?;
        }
        image.write_zeroes(4 * CLUSTER, CLUSTER, true)?;
        model[(4 * CLUSTER) as usize..(5 * CLUSTER) as usize].fill(0);
        image.close()?;
        Ok(Self { top: MemStorage::clone(&top), base: MemStorage::clone(&base), qcow2, model })
    }
}

/// The base as a chain of one.
pub(crate) fn chain(storage: Arc<dyn Storage>, qcow2: bool) -> Result<Arc<Chain>, holstein::Error> {
    let layer: Arc<dyn Layer> = if qcow2 {
        Arc::new(OpenOptions::new().no_backing().open_storage_read_only(storage)?)
    } else {
        Arc::new(RawLayer::new(storage).expect("memory has a length"))
    };
    Ok(Arc::new(Chain::new(vec![layer])))
}

/// An overlay that is open for writing.
pub(crate) fn over(storage: Arc<dyn Storage>, chain: Arc<Chain>) -> Result<Image, holstein::Error> {
    OpenOptions::new().backing_chain(chain).open_storage(storage)
}

/// What an image over a chain reads as.
pub(crate) fn contents(
    storage: Arc<dyn Storage>,
    chain: Arc<Chain>,
) -> Result<Vec<u8>, holstein::Error> {
    let image = OpenOptions::new().backing_chain(chain).open_storage_read_only(storage)?;
    let mut bytes = vec![0x55; image.virtual_size() as usize];
    image.read_at(0, &mut bytes)?;
    Ok(bytes)
}

/// The clock of two files: what happens to one is noted in both records.
pub(crate) struct Clock {
    now: AtomicU64,
    /// The two records.
    pub(crate) files: [Arc<RecordingStorage<MemStorage>>; 2],
}

impl Clock {
    /// Records both from now on.
    pub(crate) fn new(files: [&MemStorage; 2]) -> Arc<Self> {
        let record = |file: &MemStorage| {
            Arc::new(RecordingStorage::new(file.clone()).expect("memory does not fail"))
        };
        Arc::new(Self { now: AtomicU64::new(0), files: files.map(record) })
    }

    /// One of the files as storage.
    pub(crate) fn file(self: &Arc<Self>, which: usize) -> Arc<dyn Storage> {
        Arc::new(Timed { clock: Arc::clone(self), which })
    }

    fn tick(&self) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        for file in &self.files {
            file.mark(now);
        }
    }

    /// Visits every pair of files that one power cut can leave.
    ///
    /// # Errors
    /// What `visit` returned.
    pub(crate) fn for_each_pair(
        &self,
        visit: &mut dyn FnMut(&CrashState, &CrashState) -> Result<(), String>,
    ) -> Result<u64, String> {
        let options = SampleOptions { max_exhaustive: 6, samples: 4, ..SampleOptions::default() };
        let states = |log: &CrashLog| -> Vec<(CrashState, u64, u64)> {
            let time = |position| log.last_mark_before(position).unwrap_or(0);
            let mut all = Vec::new();
            let visited = log.for_each_state::<()>(&options, &mut |state| {
                all.push((state.clone(), time(state.cut), time(state.until)));
                Ok(())
            });
            visited.map(|_| all).expect("keeping a state does not fail")
        };
        let [a, b] = [&self.files[0], &self.files[1]].map(|file| states(&file.log()));
        let mut pairs = 0;
        for (a, a_from, a_to) in &a {
            for (b, b_from, b_to) in &b {
                if a_from <= b_to && b_from <= a_to {
                    pairs += 1;
                    visit(a, b).map_err(|error| format!("{error}\n  top: {a}\n  base: {b}"))?;
                }
            }
        }
        Ok(pairs)
    }
}

/// A file whose changes move the clock.
struct Timed {
    clock: Arc<Clock>,
    which: usize,
}

impl Timed {
    fn file(&self) -> &RecordingStorage<MemStorage> {
        &self.clock.files[self.which]
    }

    fn change(&self) -> &RecordingStorage<MemStorage> {
        self.clock.tick();
        self.file()
    }
}

impl Storage for Timed {
    fn read_vectored_at(&self, at: HostOffset, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.file().read_vectored_at(at, into)
    }
    fn write_vectored_at(&self, at: HostOffset, from: &[IoSlice<'_>]) -> io::Result<()> {
        self.change().write_vectored_at(at, from)
    }
    fn write_zeroes(&self, range: HostRange) -> io::Result<()> {
        self.change().write_zeroes(range)
    }
    fn discard(&self, range: HostRange) -> io::Result<()> {
        self.change().discard(range)
    }
    fn flush(&self) -> io::Result<()> {
        self.change().flush()
    }
    fn len(&self) -> io::Result<u64> {
        self.file().len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change().set_len(len)
    }
    fn allocate(&self, range: HostRange) -> io::Result<()> {
        self.change().allocate(range)
    }
    fn capabilities(&self) -> Capabilities {
        self.file().capabilities()
    }
    fn extent_at(&self, at: HostOffset) -> io::Result<(bool, u64)> {
        self.file().extent_at(at)
    }
}
