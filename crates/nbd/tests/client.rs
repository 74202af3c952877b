//! The client against the server of this crate, and against servers that are worse.

mod common;

use std::io::{IoSlice, IoSliceMut, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::{BLOCK, MemoryDisk, Numbers, settings};
use holstein_nbd::numbers::option_reply;
use holstein_nbd::{
    AcceptOptions, Address, BlockSizes, Client, ClientError, ConnectOptions, Export,
    ExportSettings, Framing, Listener, NbdStorage, Server, Target, Waker, accept, list,
};
use holstein_storage::Storage;
use holstein_units::{HostOffset, HostRange};

const BLOCKS: usize = 256;
const SIZE: u64 = (BLOCKS * BLOCK) as u64;

fn fresh_path() -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("holstein-nbd-client-{}-{number}", std::process::id()))
}

struct Running {
    path: PathBuf,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
    disk: Arc<MemoryDisk>,
}

impl Running {
    fn start(settings: ExportSettings) -> Self {
        Self::start_at(fresh_path(), BLOCKS, settings)
    }

    fn start_at(path: PathBuf, blocks: usize, settings: ExportSettings) -> Self {
        let listener = Listener::unix(&path).expect("the path is free");
        let waker = Arc::new(Waker::new().expect("there are files to be had"));
        let disk = Arc::new(MemoryDisk::new(blocks));
        let server = Server::new().export(Arc::clone(&disk) as Arc<dyn Export>, settings);
        let other = Arc::clone(&waker);
        let options = AcceptOptions { clients: None, persistent: true };
        let run = move || accept(&server, &listener, options, &other, &|_| {});
        Self { path, waker, thread: Some(std::thread::spawn(run)), disk }
    }

    fn target(&self, export: &str) -> Target {
        Target { address: Address::Unix(self.path.clone()), export: export.to_owned() }
    }

    fn storage(&self) -> NbdStorage {
        NbdStorage::new(Client::connect(&self.target("disk")).expect("the server is there"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.waker.end();
        if let Some(thread) = self.thread.take() {
            assert!(matches!(thread.join(), Ok(Ok(()))));
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

fn range(at: u64, len: u64) -> HostRange {
    HostRange::new(HostOffset::new(at), len).expect("the numbers are small")
}

/// Requests in a part of the disk that belongs to this thread.
fn hammer(storage: &NbdStorage, seed: u64, start: u64, len: u64) -> Vec<u8> {
    let mut numbers = Numbers(seed);
    let mut model = vec![0; len as usize];
    for _ in 0..200 {
        let at = numbers.below(len - 1);
        let here = 1 + numbers.below((len - at).min(60_000));
        let part = at as usize..(at + here) as usize;
        match numbers.below(5) {
            0 | 1 => {
                let data: Vec<u8> = (0..here).map(|_| numbers.below(256) as u8).collect();
                let (one, two) = data.split_at(data.len() / 3);
                let both = [IoSlice::new(one), IoSlice::new(two)];
                storage.write_vectored_at(HostOffset::new(start + at), &both).expect("a write");
                model[part].copy_from_slice(&data);
            }
            2 => {
                storage.write_zeroes(range(start + at, here)).expect("zeros");
                model[part].fill(0);
            }
            3 => {
                let (mut one, mut two) = (vec![9; 7], vec![9; here as usize]);
                let mut both = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)];
                let at = HostOffset::new(start + at);
                let read = storage.read_vectored_at(at, &mut both).expect("a read");
                let want = &model[part.start..];
                let read = read.min(want.len());
                let got = [one, two].concat();
                assert!(got[..read] == want[..read]);
            }
            _ => {
                let (data, run) = storage.extent_at(HostOffset::new(start + at)).expect("a state");
                assert!(run > 0);
                let run = (run as usize).min(model.len() - part.start);
                let bytes = &model[part.start..][..run];
                assert!(data || bytes.iter().all(|byte| *byte == 0), "a hole with data");
            }
        }
    }
    model
}

#[test]
fn many_threads_share_a_connection() {
    for minimum in [1, 512, 4096] {
        let block_sizes = BlockSizes { minimum, preferred: 4096 };
        let running = Running::start(ExportSettings { block_sizes, ..settings("disk") });
        let storage = running.storage();
        assert_eq!(storage.facts().framing, Framing::Extended);
        assert_eq!(storage.len().expect("it is known"), SIZE);
        assert_eq!(storage.capabilities().alignment, minimum);
        let part = SIZE / 4;
        let models: Vec<Vec<u8>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|nth| {
                    let storage = &storage;
                    scope.spawn(move || hammer(storage, 77 + nth, nth * part, part))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no thread fails")).collect()
        });
        storage.flush().expect("the server is there");
        assert!(*running.disk.bytes() == models.concat(), "blocks of {minimum}");
        assert!(running.disk.flushes.load(Ordering::Relaxed) > 0);
    }
}

#[test]
fn a_write_of_the_longest_size_may_lie_anywhere() {
    let block_sizes = BlockSizes { minimum: 4096, preferred: 4096 };
    let settings = ExportSettings { block_sizes, ..settings("disk") };
    let running = Running::start_at(fresh_path(), 9000, settings);
    let storage = running.storage();
    let longest = storage.facts().maximum as usize;
    let data: Vec<u8> = (0..longest).map(|at| (at % 251) as u8 + 1).collect();
    storage.write_at(HostOffset::new(1), &data).expect("it is cut into blocks");
    let mut back = vec![9; longest + 2];
    storage.read_at(HostOffset::new(0), &mut back).expect("so is a read");
    assert_eq!((back[0], back[longest + 1]), (0, 0), "what surrounds it stays");
    assert!(back[1..=longest] == data[..]);
}

#[test]
fn another_context_can_be_asked_about() {
    let running = Running::start(settings("disk"));
    let block = BLOCK as u64;
    running.storage().write_at(HostOffset::new(block), &[1; BLOCK]).expect("a write");
    let target = running.target("disk");
    let context = |name: &str| {
        let options =
            ConnectOptions { context: Some(name.to_owned()), ..ConnectOptions::default() };
        let client = Client::connect_with(&target, &options).expect("the server is there");
        NbdStorage::lasting(client, target.clone(), options, Duration::ZERO)
    };
    let storage = context("qemu:dirty-bitmap:b0");
    let state = |at| storage.state_at(at).expect("a state").map(|extent| extent.flags);
    assert_eq!([state(0), state(block), state(2 * block)], [Some(0), Some(1), Some(0)]);
    let hole = storage.extent_at(HostOffset::new(0)).expect("a state");
    assert_eq!(hole, (true, SIZE), "a bitmap says nothing about holes");
    let storage = context("qemu:dirty-bitmap:none");
    assert_eq!((storage.facts().context, storage.state_at(0).expect("no question")), (None, None));
}

#[test]
fn requests_wait_for_a_server_that_comes_back() {
    let running = Running::start(settings("disk"));
    let (target, path) = (running.target("disk"), running.path.clone());
    let options = ConnectOptions::default();
    let lasting = |delay| {
        let client = Client::connect(&target).expect("the server is there");
        NbdStorage::lasting(client, target.clone(), options.clone(), delay)
    };
    let (patient, other) = (lasting(Duration::from_secs(60)), lasting(Duration::from_millis(300)));
    patient.write_at(HostOffset::new(0), b"x").expect("the server is there");
    drop(running);
    let begin = Instant::now();
    let error = other.read_at(HostOffset::new(0), &mut [0]).expect_err("nobody comes in time");
    assert_eq!(error.raw_os_error(), Some(5));
    assert!(begin.elapsed() >= Duration::from_millis(300));
    let again = std::thread::scope(|scope| {
        let begun: Vec<_> = (0..4)
            .map(|nth| {
                scope.spawn({
                    let patient = &patient;
                    move || patient.write_at(HostOffset::new(nth * 512), &[7; 512])
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(300));
        let again = Running::start_at(path.clone(), BLOCKS, settings("disk"));
        for write in begun {
            write.join().expect("no thread fails").expect("the server is back");
        }
        again
    });
    assert!(again.disk.bytes()[..2048].iter().all(|byte| *byte == 7));
    other.read_at(HostOffset::new(0), &mut [0]).expect("it is tried again later");
    drop(again);
    let _other_size = Running::start_at(path, BLOCKS / 2, settings("disk"));
    let begin = Instant::now();
    other.read_at(HostOffset::new(0), &mut [0]).expect_err("that is another export");
    assert!(begin.elapsed() >= Duration::from_millis(300));
}

#[test]
fn the_end_is_the_end() {
    let running = Running::start(settings("disk"));
    let storage = running.storage();
    let mut bytes = [1; 100];
    let read = storage.read_at(HostOffset::new(SIZE - 10), &mut bytes).expect("ten are there");
    assert_eq!((read, bytes[9], bytes[10]), (10, 0, 1));
    assert!(storage.write_at(HostOffset::new(SIZE - 10), &bytes).is_err());
    assert!(storage.set_len(SIZE + 1).is_err() && storage.set_len(SIZE).is_ok());
}

#[test]
fn nothing_is_sent_to_what_is_read_only() {
    let running = Running::start(ExportSettings { read_only: true, ..settings("disk") });
    let storage = running.storage();
    assert!(storage.capabilities().read_only);
    let error = storage.write_at(HostOffset::new(0), &[1]).expect_err("it is read-only");
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
}

#[test]
fn refusals_have_the_words_of_both_sides() {
    let running = Running::start(settings("disk"));
    match Client::connect(&running.target("wrong")) {
        Err(error @ ClientError::Refused { kind: option_reply::ERR_UNKNOWN, .. }) => {
            assert_eq!(error.to_string(), "Requested export not available");
            let ClientError::Refused { text, .. } = error else { unreachable!() };
            assert_eq!(text, "export 'wrong' not present");
        }
        other => panic!("{:?}", other.map(|client| client.facts().clone())),
    }
    let nowhere = Target { address: Address::Unix(fresh_path()), export: String::new() };
    let error = Client::connect(&nowhere).err().expect("nobody listens").to_string();
    assert!(error.starts_with("Failed to connect to '"), "{error}");
}

#[test]
fn exports_are_listed() {
    let words = Some("my disk".to_owned());
    let running = Running::start(ExportSettings { description: words, ..settings("disk") });
    let listed = list(&running.target("").address, None).expect("the server is there");
    let [export] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!((export.name.as_str(), export.contexts.len()), ("disk", 3));
    let facts = export.facts.as_ref().expect("the server says");
    assert_eq!((facts.size, facts.description.as_deref()), (SIZE, Some("my disk")));
}

#[test]
fn requests_under_way_fail_when_the_server_ends() {
    let running = Running::start(settings("disk"));
    let storage = running.storage();
    storage.write_at(HostOffset::new(0), b"x").expect("the server is there");
    drop(running);
    for _ in 0..3 {
        let error = storage.read_at(HostOffset::new(0), &mut [0]).expect_err("it is gone");
        assert_eq!(error.raw_os_error(), Some(5));
    }
    assert!(storage.flush().is_err(), "nothing is known about what was written");
}

/// What a good server says to one who asks for the first block of it, and then noise.
fn said_by_a_server(numbers: &mut Numbers) -> Vec<u8> {
    let mut said = b"NBDMAGICIHAVEOPT\0\x03".to_vec();
    let mut reply = |option: u32, kind: u32, data: &[u8]| {
        said.extend(0x0003_e889_0455_65a9_u64.to_be_bytes());
        [option, kind, data.len() as u32].iter().for_each(|word| said.extend(word.to_be_bytes()));
        said.extend(data);
    };
    reply(11, 1, &[]);
    reply(10, 4, b"\0\0\0\0base:allocation");
    reply(10, 1, &[]);
    reply(7, 3, b"\0\0\0\0\0\0\0\x10\0\0\x1c\xed");
    reply(7, 1, &[]);
    for cookie in 1..4_u64 {
        said.extend(0x6e8a_278c_u32.to_be_bytes());
        said.extend([0, 1, 0, 1]);
        [cookie, 0, 8 + 4096, 0].iter().for_each(|word| said.extend(word.to_be_bytes()));
        said.extend([7; 4096]);
    }
    let len = said.len() as u64;
    for _ in 0..numbers.below(4) {
        let at = numbers.below(len.min(360)) as usize;
        said[at] = numbers.below(256) as u8;
    }
    said.truncate((len - numbers.below(len) * numbers.below(2)) as usize);
    said
}

#[test]
fn a_server_that_sends_noise_costs_nothing_but_its_export() {
    let mut numbers = Numbers(0x5e17);
    let path = fresh_path();
    let listener = UnixListener::bind(&path).expect("the path is free");
    let target = Target { address: Address::Unix(path.clone()), export: "disk".to_owned() };
    let (mut good, mut bad) = (0, 0);
    for _ in 0..300 {
        let said = said_by_a_server(&mut numbers);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().expect("a client comes");
                let mut other = stream.try_clone().expect("there are files to be had");
                let heard = scope.spawn(move || std::io::copy(&mut other, &mut std::io::sink()));
                let _ = stream.write_all(&said);
                let _ = stream.shutdown(std::net::Shutdown::Write);
                drop(heard.join());
            });
            let client = Client::connect(&target);
            let mut bytes = [0; 4096];
            match client.map(NbdStorage::new).map(|it| it.read_at(HostOffset::new(0), &mut bytes)) {
                Ok(Ok(_)) => good += 1,
                Ok(Err(_)) | Err(_) => bad += 1,
            }
        });
    }
    std::fs::remove_file(&path).expect("it is ours");
    assert!(good > 20 && bad > 100, "{good} good, {bad} bad");
}
