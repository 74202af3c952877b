//! Clients that break off, send noise, or do not listen.

mod common;

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::spoken::{Disk, broken_session};
use common::{MemoryDisk, Numbers, server, session};
use holstein_nbd::numbers::command;
use holstein_nbd::{Framing, Request, Server};

/// What broken sessions are about.
const DISK: Disk<'_> = Disk { name: "disk", reach: 200_000 };

fn still_works(server: &Server) {
    let (mut wire, _ended) = session(server);
    wire.go(Framing::Structured);
    let read = Request { flags: 0, command: command::READ, cookie: 1, at: 0, len: 512 };
    wire.request(&read, &[]);
    assert!(wire.answer(|_| 512).1.is_ok());
}

#[test]
fn a_thousand_broken_sessions_end_and_harm_nobody() {
    let disk = Arc::new(MemoryDisk::new(64));
    let server = server(&disk);
    let mut numbers = Numbers(0x0bad_5eed);
    for nth in 0..1000 {
        let said = broken_session(&mut |limit| numbers.below(limit), DISK);
        let (mut wire, ended) = session(&server);
        let mut listener = wire.stream.try_clone().expect("there are files to be had");
        let listening =
            std::thread::spawn(move || std::io::copy(&mut listener, &mut std::io::sink()));
        // The server may be gone before it heard all.
        let _ = wire.stream.write_all(&said);
        let _ = wire.stream.shutdown(std::net::Shutdown::Write);
        let ended = ended.join().unwrap_or_else(|_| panic!("session {nth} made the server panic"));
        if let Err(error) = ended {
            assert!(!error.to_string().is_empty());
        }
        assert!(listening.join().is_ok());
    }
    still_works(&server);
}

#[test]
fn a_client_that_does_not_listen_delays_nobody_else() {
    let disk = Arc::new(MemoryDisk::new(64));
    let server = server(&disk);
    let (mut deaf, ended) = session(&server);
    deaf.go(Framing::Simple);
    let read = Request { flags: 0, command: command::READ, cookie: 1, at: 0, len: 200_000 };
    let mut many = Vec::new();
    (0..4000).for_each(|_| read.encode(Framing::Simple, &mut many));
    deaf.stream.set_write_timeout(Some(Duration::from_millis(300))).expect("it is not zero");
    let _ = deaf.stream.write_all(&many);
    let begin = Instant::now();
    for _ in 0..20 {
        still_works(&server);
    }
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert!(!ended.is_finished(), "it waits for its client");
    drop(deaf);
    assert!(matches!(ended.join(), Ok(Err(_))), "and ends when the client is gone");
}

#[test]
fn a_long_payload_ends_the_session_before_it_is_read() {
    let disk = Arc::new(MemoryDisk::new(64));
    let (mut wire, ended) = session(&server(&disk));
    wire.go(Framing::Extended);
    let len = u64::MAX;
    wire.request(&Request { flags: 32, command: command::WRITE, cookie: 1, at: 0, len }, &[]);
    assert!(matches!(ended.join(), Ok(Err(_))));
    assert_eq!(wire.stream.read(&mut [0]).expect("this is the end"), 0);
}

#[test]
fn requests_before_a_cut_are_done() {
    let disk = Arc::new(MemoryDisk::new(64));
    let (mut wire, ended) = session(&server(&disk));
    wire.go(Framing::Simple);
    for block in 0..32 {
        let request = Request {
            flags: 0,
            command: command::WRITE,
            cookie: block,
            at: block * 4096,
            len: 4096,
        };
        wire.request(&request, &[block as u8 + 1; 4096]);
    }
    drop(wire);
    assert!(matches!(ended.join(), Ok(Err(_))));
    let bytes = disk.bytes();
    assert!((0..32).all(|block| bytes[block * 4096 + 4095] == block as u8 + 1));
}
