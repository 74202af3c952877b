//! Taking connections: limits, the end of the last client, and the end of all.

mod common;

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::{MemoryDisk, Wire, server};
use holstein_nbd::numbers::{command, command_flag};
use holstein_nbd::{AcceptOptions, Framing, Listener, Request, Waker, accept};

struct Running {
    path: PathBuf,
    waker: Arc<Waker>,
    thread: JoinHandle<std::io::Result<()>>,
    disk: Arc<MemoryDisk>,
}

fn run(options: AcceptOptions) -> Running {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("holstein-nbd-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let listener = Listener::unix(&path).expect("the path is free");
    let waker = Arc::new(Waker::new().expect("there are files to be had"));
    let disk = Arc::new(MemoryDisk::new(16));
    let (server, other) = (server(&disk), Arc::clone(&waker));
    let thread = std::thread::spawn(move || accept(&server, &listener, options, &other, &|_| {}));
    Running { path, waker, thread, disk }
}

impl Running {
    fn client(&self) -> Wire {
        let stream = UnixStream::connect(&self.path).expect("somebody listens");
        let limit = Some(Duration::from_secs(30));
        stream.set_read_timeout(limit).expect("the limit is not zero");
        Wire { stream, framing: Framing::Simple }
    }

    fn ends(self) {
        let begin = Instant::now();
        while !self.thread.is_finished() {
            assert!(begin.elapsed() < Duration::from_secs(20), "the server does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(matches!(self.thread.join(), Ok(Ok(()))));
        std::fs::remove_file(&self.path).expect("the path is the caller's to remove");
    }
}

#[test]
fn the_last_client_that_chose_an_export_ends_it() {
    let running = run(AcceptOptions { clients: Some(2), persistent: false });
    // One that never chose does not count.
    drop(running.client());
    std::thread::sleep(Duration::from_millis(50));
    let mut first = running.client();
    first.go(Framing::Simple);
    let mut second = running.client();
    second.go(Framing::Simple);
    drop(first);
    std::thread::sleep(Duration::from_millis(50));
    assert!(!running.thread.is_finished());
    drop(second);
    running.ends();
}

#[test]
fn one_more_than_the_limit_waits() {
    let running = run(AcceptOptions { clients: Some(1), persistent: true });
    let mut first = running.client();
    first.go(Framing::Simple);
    let mut second = running.client();
    second.stream.set_nonblocking(true).expect("it is a socket");
    std::thread::sleep(Duration::from_millis(100));
    let heard = std::io::Read::read(&mut second.stream, &mut [0]);
    assert_eq!(heard.map_err(|error| error.kind()), Err(std::io::ErrorKind::WouldBlock));
    second.stream.set_nonblocking(false).expect("it is a socket");
    drop(first);
    second.go(Framing::Simple);
    running.waker.end();
    running.ends();
}

#[test]
fn ending_it_ends_its_clients() {
    let running = run(AcceptOptions { clients: None, persistent: true });
    let mut client = running.client();
    client.go(Framing::Extended);
    running.waker.end();
    running.ends();
    assert_eq!(std::io::Read::read(&mut client.stream, &mut [0]).expect("the end"), 0);
}

#[test]
fn what_one_connection_wrote_another_flushes_and_reads() {
    let running = run(AcceptOptions { clients: None, persistent: true });
    let (mut one, mut two) = (running.client(), running.client());
    one.go(Framing::Extended);
    two.go(Framing::Simple);
    let flags = command_flag::PAYLOAD_LEN;
    let write = Request { flags, command: command::WRITE, cookie: 1, at: 100, len: 3 };
    one.request(&write, b"abc");
    assert_eq!(one.answer(|_| 0), (1, Ok(vec![])));
    let flush = Request { flags: 0, command: command::FLUSH, cookie: 2, at: 0, len: 0 };
    two.request(&flush, &[]);
    assert!(two.answer(|_| 0).1.is_ok());
    assert_eq!(running.disk.flushes.load(Ordering::Relaxed), 1);
    two.request(&Request { command: command::READ, flags: 0, ..write }, &[]);
    assert_eq!(two.answer(|_| 3), (1, Ok(vec![common::Part::Data(u64::MAX, b"abc".to_vec())])));
    running.waker.end();
    running.ends();
}
