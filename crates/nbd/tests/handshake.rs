//! The handshake, as clients of many kinds have it.

mod common;

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{MemoryDisk, Wire, contexts, info, server, session, settings};
use holstein_nbd::numbers::{info as property, option, option_reply as reply};
use holstein_nbd::{Export, ExportSettings, Server, SessionError};

fn disk() -> Arc<MemoryDisk> {
    Arc::new(MemoryDisk::new(16))
}

fn kinds(replies: &[(u32, Vec<u8>)]) -> Vec<u32> {
    replies.iter().map(|reply| reply.0).collect()
}

#[test]
fn exports_are_listed_and_described() {
    let described = ExportSettings {
        description: Some("my disk".to_owned()),
        read_only: true,
        multi_conn: true,
        ..settings("exp")
    };
    let server = Server::new().export(disk(), described);
    let (mut wire, ended) = session(&server);
    wire.hello(3);
    let listed = wire.ask(option::LIST, &[]);
    assert_eq!(listed[0], (reply::SERVER, b"\0\0\0\x03expmy disk".to_vec()));
    assert_eq!(kinds(&listed), [reply::SERVER, reply::ACK]);
    let wanted = [property::NAME, property::DESCRIPTION, property::BLOCK_SIZE];
    drop(wire.ask(option::EXTENDED_HEADERS, &[]));
    let described = wire.ask(option::INFO, &info("exp", &wanted));
    assert_eq!(described[0].1, b"\0\x01exp");
    assert_eq!(described[1].1, b"\0\x02my disk");
    assert_eq!(described[2].1, b"\0\x03\0\0\0\x01\0\0\x10\0\x02\0\0\0");
    assert_eq!(described[3].1, b"\0\0\0\0\0\0\0\x01\0\0\x15\x8f", "64 KiB, and the flags");
    assert_eq!(kinds(&wire.ask(option::ABORT, &[])), [reply::ACK]);
    assert!(matches!(ended.join(), Ok(Ok(()))));
}

#[test]
fn flags_say_what_a_client_can_do() {
    let server = Server::new().export(disk(), settings("x"));
    for (options, flags) in [
        (vec![], 0x0c6d),
        (vec![option::STRUCTURED_REPLY], 0x0ced),
        (vec![option::STRUCTURED_REPLY, option::EXTENDED_HEADERS], 0x1ced),
    ] {
        let (mut wire, _) = session(&server);
        wire.hello(3);
        for option in options {
            assert_eq!(kinds(&wire.ask(option, &[])), [reply::ACK]);
        }
        let replies = wire.ask(option::GO, &info("x", &[]));
        let export = replies.iter().find(|reply| reply.1.len() == 12).expect("it is always there");
        assert_eq!(export.1[10..], u16::to_be_bytes(flags), "{flags:#x}");
    }
}

#[test]
fn errors_leave_the_connection_usable() {
    let server = server(&disk());
    let (mut wire, _) = session(&server);
    wire.hello(3);
    let set = option::SET_META_CONTEXT;
    let base = contexts("disk", &["base:allocation"]);
    for (option, data, kind) in [
        (99, vec![], reply::ERR_UNSUP),
        (option::STARTTLS, vec![], reply::ERR_POLICY),
        (option::STARTTLS, vec![1], reply::ERR_INVALID),
        (option::LIST, vec![0; 3], reply::ERR_INVALID),
        (option::GO, vec![0; 3], reply::ERR_INVALID),
        (option::GO, info("wrong", &[]), reply::ERR_UNKNOWN),
        (set, base.clone(), reply::ERR_INVALID),
        (option::LIST, vec![0; 1 << 20], reply::ERR_TOO_BIG),
        (option::STRUCTURED_REPLY, vec![], reply::ACK),
        (option::STRUCTURED_REPLY, vec![], reply::ERR_INVALID),
        (set, contexts("wrong", &["base:allocation"]), reply::ERR_UNKNOWN),
        (set, contexts("disk", &[&"x".repeat(5000)]), reply::ERR_INVALID),
        (option::EXTENDED_HEADERS, vec![], reply::ACK),
        (option::STRUCTURED_REPLY, vec![], reply::ERR_EXT_HEADER_REQD),
    ] {
        let replies = wire.ask(option, &data);
        assert_eq!(kinds(&replies), [kind], "option {option}");
        let has_words = kind == reply::ACK || !replies[0].1.is_empty();
        assert!(has_words, "option {option} is refused without a word");
    }
    let wrong = wire.ask(option::GO, &info("wrong", &[]));
    assert_eq!(wrong[0].1, b"export 'wrong' not present");
    assert_eq!(kinds(&wire.ask(set, &base)), [reply::META_CONTEXT, reply::ACK]);
}

#[test]
fn contexts_are_listed_and_chosen() {
    let server = server(&disk());
    let (mut wire, _) = session(&server);
    wire.hello(3);
    drop(wire.ask(option::STRUCTURED_REPLY, &[]));
    let mut names = |option, queries: &[&str]| -> Vec<String> {
        let replies = wire.ask(option, &contexts("disk", queries));
        let named = replies.iter().filter(|reply| reply.0 == reply::META_CONTEXT);
        named.map(|reply| String::from_utf8_lossy(&reply.1[4..]).into_owned()).collect()
    };
    let all = ["base:allocation", "qemu:allocation-depth", "qemu:dirty-bitmap:b0"];
    let list = option::LIST_META_CONTEXT;
    assert_eq!(names(list, &[]), all);
    assert_eq!(names(list, &["qemu:"]), all[1..]);
    assert_eq!(names(list, &["qemu:dirty-bitmap:", "base:"]), [all[0], all[2]]);
    assert_eq!(names(option::SET_META_CONTEXT, &["qemu:"]), [""; 0]);
    assert_eq!(names(option::SET_META_CONTEXT, &[all[2], all[2]]), all[2..]);
}

#[test]
fn the_old_option_is_padded_unless_the_client_says_so() {
    let server = server(&disk());
    for (flags, len) in [(1, 134), (3, 10), (0, 134)] {
        let (mut wire, ended) = session(&server);
        wire.hello(flags);
        wire.option(option::EXPORT_NAME, b"disk");
        let answer = wire.bytes(len);
        assert_eq!(answer[..10], *b"\0\0\0\0\0\x01\0\0\x0c\x6d");
        assert!(answer[10..].iter().all(|byte| *byte == 0));
        leaves_cleanly(wire, ended);
    }
    let (mut wire, ended) = session(&server);
    wire.hello(3);
    wire.option(option::EXPORT_NAME, b"wrong");
    assert_eq!(wire.stream.read(&mut [0]).expect("this is the end"), 0);
    assert!(matches!(ended.join(), Ok(Err(SessionError::NoExport(name))) if name == "wrong"));
}

fn leaves_cleanly(mut wire: Wire, ended: common::Ended) {
    let bye = holstein_nbd::Request { flags: 0, command: 2, cookie: 0, at: 0, len: 0 };
    wire.request(&bye, &[]);
    assert!(matches!(ended.join(), Ok(Ok(()))), "it said that it leaves");
}

#[test]
fn a_client_that_dawdles_is_sent_away() {
    let limit = Duration::from_millis(100);
    let server = server(&disk()).handshake_limit(Some(limit));
    let begin = Instant::now();
    let (mut wire, ended) = session(&server);
    // A byte now and then is not enough.
    wire.hello(3);
    while !ended.is_finished() && begin.elapsed() < Duration::from_secs(20) {
        let _ = std::io::Write::write(&mut wire.stream, b"I");
        std::thread::sleep(Duration::from_millis(30));
    }
    let ended = ended.join().expect("the server does not panic");
    assert!(matches!(ended, Err(SessionError::Slow | SessionError::Protocol(_))), "{ended:?}");
}

#[test]
fn unknown_flags_and_unannounced_options_end_the_session() {
    let server = Server::new().export(disk() as Arc<dyn Export>, settings("disk"));
    for (flags, option) in [(4, None), (0, Some(option::LIST))] {
        let (mut wire, ended) = session(&server);
        wire.hello(flags);
        if let Some(option) = option {
            wire.option(option, &[]);
        }
        assert!(matches!(ended.join(), Ok(Err(SessionError::Protocol(_)))));
    }
}
