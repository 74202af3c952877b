//! A disk in memory, and a client that says exactly what it is told to.

#![allow(dead_code, unused_imports, reason = "each test uses a part")]

pub(crate) mod spoken;

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use holstein_nbd::numbers::{
    CHUNK_MAGIC, EXTENDED_CHUNK_MAGIC, OPTION_MAGIC, OPTION_REPLY_MAGIC, SIMPLE_REPLY_MAGIC,
    allocation, chunk, option, option_reply,
};
use holstein_nbd::{
    Context, Export, ExportSettings, Extent, Framing, Request, Server, SessionError, Socket, Zeroes,
};

pub(crate) use spoken::{contexts, info};

/// Bytes that are holes or are not, together.
pub(crate) const BLOCK: usize = 4096;

/// A disk in memory that knows its holes.
pub(crate) struct MemoryDisk {
    state: Mutex<Vec<u8>>,
    holes: Mutex<Vec<bool>>,
    pub(crate) flushes: AtomicU64,
    pub(crate) delay: Duration,
}

impl MemoryDisk {
    pub(crate) fn new(blocks: usize) -> Self {
        Self {
            state: Mutex::new(vec![0; blocks * BLOCK]),
            holes: Mutex::new(vec![true; blocks]),
            flushes: AtomicU64::new(0),
            delay: Duration::ZERO,
        }
    }

    pub(crate) fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.state.lock().expect("no test panics while it holds this")
    }

    fn wait(&self) {
        if !self.delay.is_zero() {
            std::thread::sleep(self.delay);
        }
    }

    fn mark(&self, at: u64, len: u64, hole: bool) {
        let (start, end) = (at as usize, (at + len) as usize);
        // Only whole blocks become holes; every block that is touched stops being one.
        let blocks = match hole {
            true => start.div_ceil(BLOCK)..end / BLOCK,
            false => start / BLOCK..end.div_ceil(BLOCK),
        };
        let mut holes = self.holes.lock().expect("no test panics while it holds this");
        blocks.for_each(|block| holes[block] = hole);
    }
}

impl Export for MemoryDisk {
    fn size(&self) -> u64 {
        self.bytes().len() as u64
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.wait();
        into.copy_from_slice(&self.bytes()[at as usize..][..into.len()]);
        Ok(())
    }

    fn write_at(&self, at: u64, from: &[u8], durable: bool) -> io::Result<()> {
        self.wait();
        self.mark(at, from.len() as u64, false);
        self.bytes()[at as usize..][..from.len()].copy_from_slice(from);
        if durable { self.flush() } else { Ok(()) }
    }

    fn write_zeroes(&self, at: u64, len: u64, how: Zeroes) -> io::Result<()> {
        self.mark(at, len, !how.keep_space);
        self.bytes()[at as usize..][..len as usize].fill(0);
        if how.durable { self.flush() } else { Ok(()) }
    }

    fn trim(&self, at: u64, len: u64, durable: bool) -> io::Result<()> {
        self.write_zeroes(at, len, Zeroes { durable, ..Zeroes::default() })
    }

    fn flush(&self) -> io::Result<()> {
        self.flushes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn extent_at(&self, context: &Context, at: u64, len: u64) -> io::Result<Extent> {
        let holes = self.holes.lock().expect("no test panics while it holds this");
        let block = at as usize / BLOCK;
        let hole = holes[block];
        let len = len.min(((block + 1) * BLOCK) as u64 - at);
        Ok(match context {
            Context::Allocation => {
                let flags = if hole { allocation::HOLE | allocation::ZERO } else { 0 };
                Extent { len, flags }
            }
            _ => Extent { len, flags: u32::from(!hole) },
        })
    }
}

pub(crate) fn settings(name: &str) -> ExportSettings {
    let contexts = vec![Context::AllocationDepth, Context::DirtyBitmap("b0".to_owned())];
    ExportSettings { name: name.to_owned(), contexts, ..ExportSettings::default() }
}

pub(crate) fn server(disk: &Arc<MemoryDisk>) -> Server {
    Server::new().export(Arc::clone(disk) as Arc<dyn Export>, settings("disk"))
}

/// How a session ended, once it has.
pub(crate) type Ended = std::thread::JoinHandle<Result<(), SessionError>>;

/// A session of `server` on a thread, and the client's end.
pub(crate) fn session(server: &Server) -> (Wire, Ended) {
    let (ours, theirs) = UnixStream::pair().expect("there are files to be had");
    let server = server.clone();
    let ended = std::thread::spawn(move || {
        let socket = Socket::Unix(theirs);
        server.serve(&socket, &mut || {})
    });
    let limit = Some(Duration::from_secs(30));
    ours.set_read_timeout(limit).expect("a limit that is not zero");
    (Wire { stream: ours, framing: Framing::Simple }, ended)
}

/// A part of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Data(u64, Vec<u8>),
    Hole(u64, u64),
    Status(u32, Vec<(u64, u64)>),
}

/// A reply that is complete: its cookie, and parts or an error number.
pub(crate) type Answer = (u64, Result<Vec<Part>, u32>);

/// The client's end of a connection.
pub(crate) struct Wire {
    pub(crate) stream: UnixStream,
    pub(crate) framing: Framing,
}

impl Wire {
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.stream.read_exact(&mut bytes).expect("the server answers");
        bytes
    }

    fn u16(&mut self) -> u16 {
        let bytes = self.bytes(2);
        u16::from_be_bytes([bytes[0], bytes[1]])
    }

    fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.bytes(4).try_into().expect("four bytes"))
    }

    fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.bytes(8).try_into().expect("eight bytes"))
    }

    /// Reads the server's first words and answers with `flags`.
    pub(crate) fn hello(&mut self, flags: u32) {
        assert_eq!(self.bytes(18), b"NBDMAGICIHAVEOPT\0\x03");
        self.send(&flags.to_be_bytes());
    }

    pub(crate) fn option(&mut self, number: u32, data: &[u8]) {
        let mut bytes = OPTION_MAGIC.to_be_bytes().to_vec();
        bytes.extend(number.to_be_bytes());
        bytes.extend((data.len() as u32).to_be_bytes());
        bytes.extend(data);
        self.send(&bytes);
    }

    /// Replies to an option, to the last.
    pub(crate) fn replies(&mut self, number: u32) -> Vec<(u32, Vec<u8>)> {
        let mut replies = Vec::new();
        loop {
            assert_eq!(self.u64(), OPTION_REPLY_MAGIC);
            assert_eq!(self.u32(), number);
            let (kind, len) = (self.u32(), self.u32());
            replies.push((kind, self.bytes(len as usize)));
            if kind == option_reply::ACK || kind & option_reply::ERROR != 0 {
                return replies;
            }
        }
    }

    pub(crate) fn ask(&mut self, number: u32, data: &[u8]) -> Vec<(u32, Vec<u8>)> {
        self.option(number, data);
        self.replies(number)
    }

    /// The whole handshake, with all contexts where the framing has them.
    pub(crate) fn go(&mut self, framing: Framing) {
        self.hello(3);
        match framing {
            Framing::Simple => {}
            Framing::Structured => drop(self.ask(option::STRUCTURED_REPLY, &[])),
            Framing::Extended => drop(self.ask(option::EXTENDED_HEADERS, &[])),
        }
        if framing != Framing::Simple {
            let names = ["base:allocation", "qemu:allocation-depth", "qemu:dirty-bitmap:b0"];
            let chosen = self.ask(option::SET_META_CONTEXT, &contexts("disk", &names));
            assert_eq!(chosen.len(), 4, "three contexts and the end");
        }
        let replies = self.ask(option::GO, &info("disk", &[]));
        assert_eq!(replies.last().map(|reply| reply.0), Some(option_reply::ACK));
        self.framing = framing;
    }

    pub(crate) fn request(&mut self, request: &Request, payload: &[u8]) {
        let mut bytes = Vec::new();
        request.encode(self.framing, &mut bytes);
        bytes.extend(payload);
        self.send(&bytes);
    }

    /// The next reply, whichever request it is for; `len` says how long a simple one is.
    pub(crate) fn answer(&mut self, len: impl Fn(u64) -> usize) -> Answer {
        let mut parts = Vec::new();
        loop {
            let magic = self.u32();
            if self.framing == Framing::Simple {
                assert_eq!(magic, SIMPLE_REPLY_MAGIC);
                let (error, cookie) = (self.u32(), self.u64());
                if error != 0 {
                    return (cookie, Err(error));
                }
                let data = self.bytes(len(cookie));
                return (cookie, Ok(vec![Part::Data(u64::MAX, data)]));
            }
            let extended = self.framing == Framing::Extended;
            assert_eq!(magic, if extended { EXTENDED_CHUNK_MAGIC } else { CHUNK_MAGIC });
            let (flags, kind, cookie) = (self.u16(), self.u16(), self.u64());
            let len = if extended { (self.u64(), self.u64()).1 } else { u64::from(self.u32()) };
            let end = len as usize;
            match kind {
                chunk::NONE => assert_eq!(len, 0),
                chunk::OFFSET_DATA => {
                    let at = self.u64();
                    parts.push(Part::Data(at, self.bytes(end - 8)));
                }
                chunk::OFFSET_HOLE => {
                    assert_eq!(len, 12);
                    parts.push(Part::Hole(self.u64(), u64::from(self.u32())));
                }
                chunk::BLOCK_STATUS => {
                    let context = self.u32();
                    let count = (end - 4) / 8;
                    let one = |wire: &mut Self| (u64::from(wire.u32()), u64::from(wire.u32()));
                    parts.push(Part::Status(context, (0..count).map(|_| one(self)).collect()));
                }
                chunk::BLOCK_STATUS_EXT => {
                    let (context, count) = (self.u32(), self.u32());
                    assert_eq!(len, 8 + 16 * u64::from(count));
                    let one = |wire: &mut Self| (wire.u64(), wire.u64());
                    parts.push(Part::Status(context, (0..count).map(|_| one(self)).collect()));
                }
                chunk::ERROR => {
                    assert_eq!(flags, chunk::DONE);
                    let (error, text) = (self.u32(), self.u16());
                    assert_eq!(len, 6 + u64::from(text));
                    self.bytes(usize::from(text));
                    return (cookie, Err(error));
                }
                other => panic!("an unknown chunk {other}"),
            }
            if flags & chunk::DONE != 0 {
                return (cookie, Ok(parts));
            }
        }
    }
}

/// Numbers that are the same in every run.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
