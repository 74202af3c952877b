//! The copying of `convert`: workers that read, look for zeros and write.
//!
//! A walk over the state of the sources hands out pieces of at most a buffer in the order of the
//! disk. Each worker owns one buffer; reads run beside each other, and writes do where the
//! order does not matter. Where it does, a turn goes from piece to piece.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Failure;
use super::convert_offload::Offload;
use super::convert_source::Sources;
use super::convert_walk::{Kind, Piece, Steps, Walk};
use super::progress::Progress;
use crate::disk::Disk;
use crate::zero::is_zero;
use crate::{out, personality};

/// Bytes of a worker's buffer where the page cache is used: what is read is still near when it is
/// written. With 2 MiB a copy takes 5 to 10 % more time of the processor.
const NEAR: u64 = 256 << 10;
/// Bytes of a worker's buffer where every request goes to the device.
const FAR: u64 = 2 << 20;
/// Progress is shown after this much data at the latest, under the classic names.
const SHOWN_EVERY: u64 = 2 << 20;

/// The signals that ask for an end.
const ENDING: [i32; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// How to copy.
#[derive(Clone, Debug)]
pub(super) struct CopyOptions {
    /// Zeros of this length are not written; 0 writes everything.
    pub(super) sparse: u64,
    /// Requests at a time, where that is given.
    pub(super) workers: Option<usize>,
    /// Writes have to be in the order of the disk.
    pub(super) in_order: bool,
    /// Bytes written in a second.
    pub(super) rate: Option<u64>,
    /// What cannot be read becomes zeros.
    pub(super) salvage: bool,
    /// Such reports are left out.
    pub(super) quiet: bool,
    /// The page cache of source or target is not used.
    pub(super) direct: bool,
    /// Signals end the copy in order: nobody else minds them.
    pub(super) signals: bool,
    /// Let the system copy between raw files.
    pub(super) offload: bool,
    /// The target reads as zeros.
    pub(super) target_is_zero: bool,
    /// Clusters are compressed.
    pub(super) compress: bool,
    /// The length of the target's backing file.
    pub(super) backing: Option<u64>,
    /// Every cluster of the target has its place: a part of one can be written where it is.
    pub(super) mapped: bool,
}

/// What workers share.
struct Shared<'a> {
    sources: &'a Sources,
    target: &'a dyn Disk,
    options: &'a CopyOptions,
    /// Runs of zeros are looked for in steps of this many bytes.
    grain: u64,
    walk: Mutex<Walk<'a>>,
    turn: Mutex<u64>,
    turned: Condvar,
    failure: Mutex<Option<Failure>>,
    stop: AtomicBool,
    ended: Arc<AtomicBool>,
    progress: Mutex<&'a mut Progress>,
    pace: Option<Mutex<Pace>>,
    offload: Option<Offload>,
}

/// Copies the sources into the target.
pub(super) fn copy(
    sources: &Sources,
    target: &dyn Disk,
    options: &CopyOptions,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let ended = Arc::new(AtomicBool::new(false));
    let mut handlers = Vec::new();
    let signals: &[i32] = if options.signals { &ENDING } else { &[] };
    for signal in signals {
        // Without the handler the program ends at once and leaves the target.
        handlers.extend(signal_hook::flag::register(*signal, Arc::clone(&ended)).ok());
    }
    let info = target.info()?;
    let cluster = info.cluster_size;
    if options.compress && cluster.is_none() {
        return Err(Failure::message("invalid cluster size"));
    }
    let steps = match cluster {
        Some(cluster) if options.compress => {
            Steps { buffer: cluster, unit: cluster, shown: cluster }
        }
        cluster => {
            let near = NEAR.max(cluster.unwrap_or(0)).max(options.sparse);
            let buffer = if options.direct { FAR.max(near) } else { near };
            // Data ends where the target's own units do, so that no unit is written in parts.
            let own = if options.mapped { None } else { info.subcluster_size.or(cluster) };
            let unit = options.sparse.max(own.unwrap_or(4096)).clamp(512, buffer);
            let shown = if personality::is_native() { NEAR } else { SHOWN_EVERY };
            Steps { buffer, unit, shown }
        }
    };
    // What cannot be read is reported twice, as the reference does: before the copy and in it.
    let count = progress.is_shown() || options.salvage;
    let walk = Walk::new(sources, options, steps, count)?;
    let shared = Shared {
        sources,
        target,
        options,
        grain: steps.unit,
        walk: Mutex::new(walk),
        turn: Mutex::new(0),
        turned: Condvar::new(),
        failure: Mutex::new(None),
        stop: AtomicBool::new(false),
        ended,
        progress: Mutex::new(progress),
        pace: options.rate.map(|rate| Mutex::new(Pace::new(rate))),
        offload: if options.offload { Offload::into(target) } else { None },
    };
    let parallel = std::thread::available_parallelism().map_or(1, usize::from);
    // Reports of what cannot be read come in the order of the disk.
    let usual = if options.salvage { 1 } else { parallel.clamp(2, 8) };
    let workers = options.workers.unwrap_or(usual);
    std::thread::scope(|scope| {
        for _ in 1..workers {
            scope.spawn(|| shared.work());
        }
        shared.work();
    });
    for handler in handlers {
        signal_hook::low_level::unregister(handler);
    }
    match lock(&shared.failure).take() {
        Some(failure) => Err(failure),
        None if shared.ended.load(Ordering::Relaxed) => Err(Failure::message("interrupted")),
        None => Ok(()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A worker that panicked has already stopped the program's success.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared<'_> {
    fn work(&self) {
        let mut buffer = Vec::new();
        while !self.stop.load(Ordering::Relaxed) && !self.ended.load(Ordering::Relaxed) {
            let next = lock(&self.walk).next();
            let done = match next {
                Ok(None) => return,
                Ok(Some(piece)) => self.piece(&piece, &mut buffer),
                Err(failure) => Err(failure),
            };
            if let Err(failure) = done {
                lock(&self.failure).get_or_insert(failure);
                self.stop.store(true, Ordering::Relaxed);
                let _turn = lock(&self.turn);
                self.turned.notify_all();
            }
        }
        let _turn = lock(&self.turn);
        self.turned.notify_all();
    }

    /// Copies one piece.
    fn piece(&self, piece: &Piece, buffer: &mut Vec<u8>) -> Result<(), Failure> {
        match piece.kind {
            Kind::Data if self.offloaded(piece)? => self.in_turn(piece, || Ok(())),
            Kind::Data => {
                let len = usize::try_from(piece.len).unwrap_or_default();
                if buffer.len() < len {
                    buffer.resize(len, 0);
                }
                let data = &mut buffer[..len];
                if let Err(failure) = self.read(piece.at, data) {
                    return self.in_turn(piece, || Err(failure));
                }
                if self.options.compress {
                    return self.write_compressed(piece, data);
                }
                self.in_turn(piece, || self.write(piece.at, data))
            }
            Kind::Zero => self.in_turn(piece, || self.write_zeroes(piece.at, piece.len)),
        }
    }

    /// Counts a piece that was written, in turn with the others.
    fn count(&self, piece: &Piece) {
        let (done, total) = lock(&self.walk).done(piece);
        if piece.shown {
            lock(&self.progress).update(done, total);
        }
    }

    /// Lets the system copy the piece, where it can; the order of writes does not matter to files.
    fn offloaded(&self, piece: &Piece) -> Result<bool, Failure> {
        let Some(offload) = &self.offload else { return Ok(false) };
        if let Some(pace) = &self.pace {
            lock(pace).wait(piece.len);
        }
        offload.copy(self.sources, piece.at, piece.len).map_err(|errno| {
            write_error(piece.at, &crate::disk::DiskError::from_errno(errno.raw_os_error()))
        })
    }

    fn read(&self, at: u64, data: &mut [u8]) -> Result<(), Failure> {
        match self.sources.read_at(at, data) {
            Ok(()) => Ok(()),
            Err(_) if self.options.salvage => {
                self.salvage(at, data);
                Ok(())
            }
            Err(error) => Err(Failure::message(format!(
                "error while reading at byte {at}: {}",
                error.strerror()
            ))),
        }
    }

    /// Reads sector by sector; those that cannot be read become zeros.
    fn salvage(&self, at: u64, data: &mut [u8]) {
        for (index, sector) in data.chunks_mut(512).enumerate() {
            let at = at + index as u64 * 512;
            if let Err(error) = self.sources.read_at(at, sector) {
                sector.fill(0);
                if !self.options.quiet {
                    let text = error.strerror();
                    out::error_line(&format!("warning: error while reading offset {at}: {text}"));
                }
            }
        }
    }

    /// Runs `write` when all pieces before this one were written, where the order matters. A failure
    /// there is the first one of the disk: no piece behind it gets its turn.
    fn in_turn(
        &self,
        piece: &Piece,
        write: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if !self.options.in_order {
            write()?;
            self.count(piece);
            return Ok(());
        }
        let mut turn = lock(&self.turn);
        while *turn != piece.number {
            if self.stop.load(Ordering::Relaxed) || self.ended.load(Ordering::Relaxed) {
                return Ok(());
            }
            turn = self
                .turned
                .wait_timeout(turn, Duration::from_millis(100))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        drop(turn);
        write()?;
        self.count(piece);
        *lock(&self.turn) += 1;
        self.turned.notify_all();
        Ok(())
    }

    /// Writes the runs of a buffer that are not zero.
    fn write(&self, at: u64, data: &[u8]) -> Result<(), Failure> {
        if self.options.sparse == 0 {
            return self.write_run(at, data);
        }
        let mut from = 0;
        while from < data.len() {
            let zero = is_zero(&data[from..self.unit_end(at, from, data.len())]);
            let mut to = self.unit_end(at, from, data.len());
            while to < data.len() {
                let end = self.unit_end(at, to, data.len());
                if is_zero(&data[to..end]) != zero {
                    break;
                }
                to = end;
            }
            let start = at + from as u64;
            if !zero {
                self.write_run(start, &data[from..to])?;
            } else if !self.options.target_is_zero {
                self.write_zeroes(start, (to - from) as u64)?;
            }
            from = to;
        }
        Ok(())
    }

    /// Writes a cluster compressed, unless it is all zeros. Compressing is most of the work, so it is
    /// not part of anybody's turn.
    fn write_compressed(&self, piece: &Piece, cluster: &[u8]) -> Result<(), Failure> {
        let Piece { at, len, .. } = *piece;
        if self.options.sparse > 0 && is_zero(cluster) {
            return self.in_turn(piece, || match self.options.target_is_zero {
                true => Ok(()),
                false => self.write_zeroes(at, len),
            });
        }
        let failed = |error| write_error(at, &error);
        let prepared = self.target.compress(at, cluster).map_err(failed);
        self.in_turn(piece, || {
            let write = prepared?;
            if let Some(pace) = &self.pace {
                lock(pace).wait(len);
            }
            write().map_err(failed)
        })
    }

    /// The end of the unit at `from`: a multiple of the grain on the disk, or the end of the data.
    fn unit_end(&self, at: u64, from: usize, len: usize) -> usize {
        let grain = self.grain;
        let within = (at + from as u64) % grain;
        usize::try_from(grain - within).map_or(len, |rest| (from + rest).min(len))
    }

    fn write_run(&self, at: u64, data: &[u8]) -> Result<(), Failure> {
        if let Some(pace) = &self.pace {
            lock(pace).wait(data.len() as u64);
        }
        self.target.write_at(at, data, false).map_err(|error| write_error(at, &error))
    }

    fn write_zeroes(&self, at: u64, len: u64) -> Result<(), Failure> {
        self.target.write_zeroes(at, len, true, false).map_err(|error| write_error(at, &error))
    }
}

fn write_error(at: u64, error: &crate::disk::DiskError) -> Failure {
    Failure::message(format!("error while writing at byte {at}: {}", error.strerror()))
}

/// Holds the rate of writing down.
pub(super) struct Pace {
    rate: f64,
    free_at: Instant,
}

impl Pace {
    /// Bytes in a second.
    pub(super) fn new(rate: u64) -> Self {
        Self { rate: rate as f64, free_at: Instant::now() }
    }

    /// Waits until the bytes before these fit into the rate.
    pub(super) fn wait(&mut self, bytes: u64) {
        let now = Instant::now();
        if let Some(early) = self.free_at.checked_duration_since(now) {
            std::thread::sleep(early);
        }
        self.free_at = self.free_at.max(now) + Duration::from_secs_f64(bytes as f64 / self.rate);
    }
}
