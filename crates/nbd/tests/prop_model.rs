//! Requests of every kind, many at a time, against a few bytes in memory.

mod common;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{BLOCK, MemoryDisk, Numbers, Part, Wire, server, session};
use holstein_nbd::numbers::{command, command_flag as flag};
use holstein_nbd::{Framing, Request};

const BLOCKS: usize = 64;
const SIZE: u64 = (BLOCKS * BLOCK) as u64;
const FRAMINGS: [Framing; 3] = [Framing::Simple, Framing::Structured, Framing::Extended];

/// What a request should come to.
enum Expected {
    Data(u64, Vec<u8>),
    Nothing,
    Status(u64, u64),
    Error(u32),
}

/// One round: requests that do not overlap, sent together, so that the order does not matter.
fn round(wire: &mut Wire, numbers: &mut Numbers, model: &mut [u8]) {
    let lanes = 1 + numbers.below(8);
    let lane = SIZE / lanes;
    let mut expected = HashMap::new();
    for nth in 0..lanes {
        let at = nth * lane + numbers.below(lane / 2);
        let len = 1 + numbers.below(lane / 2);
        let range = at as usize..(at + len) as usize;
        let extended = wire.framing == Framing::Extended;
        let request = |command, flags| Request { flags, command, cookie: nth << 40, at, len };
        // QEMU leaves the flag out, others have to set it.
        let write_flag = if extended && at % 2 == 1 { flag::PAYLOAD_LEN } else { 0 };
        let (request, payload, expect) = match numbers.below(9) {
            0..3 => {
                let data = model[range].to_vec();
                (request(command::READ, 0), vec![], Expected::Data(at, data))
            }
            3 | 4 => {
                let data: Vec<u8> = (0..len).map(|_| numbers.below(256) as u8).collect();
                model[range].copy_from_slice(&data);
                let fua = if len.is_multiple_of(2) { flag::FUA } else { 0 };
                (request(command::WRITE, write_flag | fua), data, Expected::Nothing)
            }
            5 => {
                model[range].fill(0);
                let flags = [0, flag::NO_HOLE, flag::FUA][numbers.below(3) as usize];
                (request(command::WRITE_ZEROES, flags), vec![], Expected::Nothing)
            }
            6 => {
                model[range].fill(0);
                (request(command::TRIM, 0), vec![], Expected::Nothing)
            }
            7 if wire.framing != Framing::Simple => {
                (request(command::BLOCK_STATUS, 0), vec![], Expected::Status(at, len))
            }
            _ => {
                let past = Request { at: SIZE - 1, len: 2, ..request(command::READ, 0) };
                (past, vec![], Expected::Error(22))
            }
        };
        wire.request(&request, &payload);
        expected.insert(request.cookie, expect);
    }
    for _ in 0..lanes {
        let lengths = |cookie| match expected.get(&cookie) {
            Some(Expected::Data(_, data)) => data.len(),
            _ => 0,
        };
        let (cookie, answer) = wire.answer(lengths);
        let expect = expected.remove(&cookie).expect("each request is answered once");
        judge(expect, answer, wire.framing, model);
    }
}

fn judge(expected: Expected, answer: Result<Vec<Part>, u32>, framing: Framing, model: &[u8]) {
    match (expected, answer) {
        (Expected::Data(at, data), Ok(parts)) => {
            let mut position = at;
            let mut read = Vec::new();
            for part in parts {
                match part {
                    Part::Data(at, bytes) => {
                        assert!(framing == Framing::Simple || at == position);
                        position += bytes.len() as u64;
                        read.extend(bytes);
                    }
                    Part::Hole(at, len) => {
                        assert_eq!(at, position);
                        position += len;
                        read.resize(read.len() + len as usize, 0);
                    }
                    Part::Status(..) => panic!("a read has no states"),
                }
            }
            assert!(read == data, "a read at {at} shows something else");
        }
        (Expected::Nothing, Ok(parts)) => {
            let is_empty = |part: &Part| matches!(part, Part::Data(_, data) if data.is_empty());
            assert!(parts.iter().all(is_empty), "{parts:?}");
        }
        (Expected::Status(at, len), Ok(parts)) => {
            assert_eq!(parts.len(), 3, "one for each context");
            for part in parts {
                let Part::Status(context, extents) = part else { panic!("{part:?}") };
                assert_eq!(extents.iter().map(|extent| extent.0).sum::<u64>(), len);
                assert!(extents.windows(2).all(|pair| pair[0].1 != pair[1].1), "merged");
                let mut position = at as usize;
                for (len, flags) in extents {
                    let bytes = &model[position..][..len as usize];
                    let hole = context == 0 && flags == 3;
                    assert!(!hole || bytes.iter().all(|byte| *byte == 0), "a hole with data");
                    position += len as usize;
                }
            }
        }
        (Expected::Error(code), Err(error)) => assert_eq!(error, code),
        (_, answer) => panic!("another kind of answer: {answer:?}"),
    }
}

#[test]
fn every_framing_reads_what_was_written() {
    for (seed, framing) in FRAMINGS.into_iter().enumerate() {
        for delay in [Duration::ZERO, Duration::from_micros(150)] {
            let mut disk = MemoryDisk::new(BLOCKS);
            disk.delay = delay;
            let disk = Arc::new(disk);
            let (mut wire, ended) = session(&server(&disk));
            wire.go(framing);
            let mut model = vec![0; SIZE as usize];
            let mut numbers = Numbers(0x1234_5678 + seed as u64);
            for _ in 0..150 {
                round(&mut wire, &mut numbers, &mut model);
            }
            assert!(*disk.bytes() == model, "{framing:?}");
            assert!(disk.flushes.load(Ordering::Relaxed) > 0, "some writes were to be durable");
            let bye = Request { flags: 0, command: command::DISC, cookie: 0, at: 0, len: 0 };
            wire.request(&bye, &[]);
            assert!(matches!(ended.join(), Ok(Ok(()))));
        }
    }
}

#[test]
fn large_reads_skip_holes_unless_told_not_to() {
    let disk = Arc::new(MemoryDisk::new(BLOCKS));
    let (mut wire, _ended) = session(&server(&disk));
    wire.go(Framing::Structured);
    let read = Request { flags: 0, command: command::READ, cookie: 5, at: 0, len: 65_536 };
    wire.request(&read, &[]);
    let holes = (0..16).map(|block| Part::Hole(block * 4096, 4096)).collect::<Vec<_>>();
    assert_eq!(wire.answer(|_| 0), (5, Ok(holes)));
    wire.request(&Request { flags: flag::DF, ..read }, &[]);
    assert_eq!(wire.answer(|_| 0), (5, Ok(vec![Part::Data(0, vec![0; 65_536])])));
}

#[test]
fn what_makes_no_sense_is_refused_and_the_session_goes_on() {
    for framing in FRAMINGS {
        let disk = Arc::new(MemoryDisk::new(BLOCKS));
        let (mut wire, _ended) = session(&server(&disk));
        wire.go(framing);
        let request = |command, flags, at, len| Request { flags, command, cookie: 9, at, len };
        let mut refused = vec![
            (request(command::READ, 0, SIZE, 1), 22),
            (request(command::READ, 0, u64::MAX, 2), 22),
            (request(command::READ, 0, 0, 33 << 20), 22),
            (request(command::READ, flag::NO_HOLE, 0, 1), 22),
            (request(command::TRIM, 0, SIZE - 1, 2), 22),
            (request(command::WRITE_ZEROES, 0, SIZE - 1, 2), 28),
            (request(command::BLOCK_STATUS, 0, 0, 0), 22),
            (request(99, 0, 0, 0), 22),
        ];
        if framing == Framing::Simple {
            refused.push((request(command::READ, flag::DF, 0, 1), 22));
            refused.push((request(command::BLOCK_STATUS, 0, 0, 1), 22));
        }
        for (request, error) in refused {
            wire.request(&request, &[]);
            assert_eq!(wire.answer(|_| 0), (9, Err(error)), "{framing:?} {request:?}");
        }
        let write_flag = if framing == Framing::Extended { flag::PAYLOAD_LEN } else { 0 };
        wire.request(&request(command::WRITE, write_flag, SIZE - 1, 2), &[1, 2]);
        assert_eq!(wire.answer(|_| 0), (9, Err(28)), "past the end there is no space");
        wire.request(&request(command::READ, 0, SIZE - 1, 1), &[]);
        assert!(wire.answer(|_| 1).1.is_ok());
    }
}

#[test]
fn a_payload_chooses_contexts() {
    let disk = Arc::new(MemoryDisk::new(BLOCKS));
    let (mut wire, _ended) = session(&server(&disk));
    wire.go(Framing::Extended);
    let mut payload = 8192_u64.to_be_bytes().to_vec();
    payload.extend(2_u32.to_be_bytes());
    let (command, flags) = (command::BLOCK_STATUS, flag::PAYLOAD_LEN);
    let status = |len| Request { flags, command, cookie: 1, at: 4096, len };
    wire.request(&status(payload.len() as u64), &payload);
    assert_eq!(wire.answer(|_| 0), (1, Ok(vec![Part::Status(2, vec![(8192, 0)])])));
    payload.extend(7_u32.to_be_bytes());
    wire.request(&status(payload.len() as u64), &payload);
    assert_eq!(wire.answer(|_| 0), (1, Err(22)), "there is no context 7");
}

#[test]
fn nothing_is_written_to_what_is_read_only() {
    let disk = Arc::new(MemoryDisk::new(BLOCKS));
    let settings = holstein_nbd::ExportSettings { read_only: true, ..common::settings("disk") };
    let server = holstein_nbd::Server::new().export(disk.clone(), settings);
    let (mut wire, _ended) = session(&server);
    wire.go(Framing::Structured);
    for command in [command::WRITE, command::TRIM, command::WRITE_ZEROES] {
        let payload = if command == command::WRITE { vec![7; 512] } else { vec![] };
        wire.request(&Request { flags: 0, command, cookie: 3, at: 0, len: 512 }, &payload);
        assert_eq!(wire.answer(|_| 0), (3, Err(1)));
    }
    assert!(disk.bytes().iter().all(|byte| *byte == 0));
}
