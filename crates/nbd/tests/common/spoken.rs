//! What clients say to servers, right and wrong.
//!
//! Tests of the program say the same to it.

use holstein_nbd::numbers::{OPTION_MAGIC, command, option};
use holstein_nbd::{Framing, Request};

/// A disk that clients speak of.
#[derive(Clone, Copy)]
pub(crate) struct Disk<'a> {
    /// The name of its export.
    pub(crate) name: &'a str,
    /// Requests of up to 60 000 bytes begin below this byte.
    pub(crate) reach: u64,
}

/// Data of INFO and GO.
pub(crate) fn info(name: &str, wanted: &[u16]) -> Vec<u8> {
    let mut data = (name.len() as u32).to_be_bytes().to_vec();
    data.extend(name.as_bytes());
    data.extend((wanted.len() as u16).to_be_bytes());
    wanted.iter().for_each(|kind| data.extend(kind.to_be_bytes()));
    data
}

/// Data of the options about contexts.
pub(crate) fn contexts(name: &str, queries: &[&str]) -> Vec<u8> {
    let mut data = (name.len() as u32).to_be_bytes().to_vec();
    data.extend(name.as_bytes());
    data.extend((queries.len() as u32).to_be_bytes());
    for query in queries {
        data.extend((query.len() as u32).to_be_bytes());
        data.extend(query.as_bytes());
    }
    data
}

/// What a good client says up to its last request, without waiting for an answer.
fn good_session(below: &mut dyn FnMut(u64) -> u64, on: Disk<'_>) -> Vec<u8> {
    let mut said = 3_u32.to_be_bytes().to_vec();
    let mut option = |number: u32, data: &[u8]| {
        said.extend(OPTION_MAGIC.to_be_bytes());
        said.extend(number.to_be_bytes());
        said.extend((data.len() as u32).to_be_bytes());
        said.extend(data);
    };
    let framing = match below(3) {
        0 => Framing::Simple,
        1 => Framing::Structured,
        _ => Framing::Extended,
    };
    match framing {
        Framing::Simple => {}
        Framing::Structured => option(option::STRUCTURED_REPLY, &[]),
        Framing::Extended => option(option::EXTENDED_HEADERS, &[]),
    }
    option(option::LIST, &[]);
    option(option::SET_META_CONTEXT, &contexts(on.name, &["base:allocation"]));
    option(option::GO, &info(on.name, &[3]));
    for cookie in 0..below(12) {
        let command = [0, 0, 1, 3, 4, 5, 6, 7][below(8) as usize];
        let flags = if framing == Framing::Extended && command == 1 { 32 } else { 0 };
        let (at, len) = (below(on.reach), below(60_000));
        let request = Request { flags, command, cookie, at, len };
        request.encode(framing, &mut said);
        if command == command::WRITE {
            said.resize(said.len() + len as usize, 0x55);
        }
    }
    said
}

/// Cuts a session, or puts noise into it.
pub(crate) fn broken_session(below: &mut dyn FnMut(u64) -> u64, on: Disk<'_>) -> Vec<u8> {
    let mut said = good_session(below, on);
    let len = said.len() as u64;
    match below(4) {
        0 => said.truncate(below(len) as usize),
        1 => {
            for _ in 0..=below(4) {
                let at = below(len) as usize;
                said[at] ^= 1 << below(8);
            }
        }
        2 => {
            // Where lengths and magics are, not in the middle of payload.
            let at = below(len.min(400)) as usize;
            said[at] = 0xff;
        }
        _ => {
            let at = below(len) as usize;
            said.truncate(at);
            said.extend((0..below(3000)).map(|_| below(256) as u8));
        }
    }
    said
}
