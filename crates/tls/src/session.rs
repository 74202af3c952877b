//! A connection under TLS, used by several threads.
//!
//! The state of TLS is behind a lock that is held for as long as it takes to cipher some bytes, and never
//! while anybody waits for the peer. Bytes from the peer are read without it, under a lock of those who
//! read; bytes for the peer are ciphered and sent under a lock of those who send. So a thread that waits
//! for bytes is in nobody's way, and neither is one whose bytes the peer does not take.

use std::io::{self, IoSlice, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use holstein_nbd::{Channel, Link};

use crate::engine::Engine;
use crate::outcome::{ABORTED, agreement_failed};

/// Ciphered bytes that are read at once.
const READ_AT_ONCE: usize = 64 << 10;
/// Ciphered bytes are sent when there are this many of them.
const SEND_AT_ONCE: usize = 128 << 10;

/// How long a peer that was told of a failure is heard out.
const PATIENCE: Duration = Duration::from_millis(500);

/// A secure connection.
pub(crate) struct Session {
    link: Arc<Link>,
    incoming: Mutex<Incoming>,
    outgoing: Mutex<Outgoing>,
    /// Taken last, and never held while anybody waits.
    engine: Mutex<Box<dyn Engine>>,
}

/// Ciphered bytes of the peer.
struct Incoming {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    /// Why nothing more can be taken; who goes on hears it again.
    broken: Option<(io::ErrorKind, String)>,
}

/// Ciphered bytes for the peer.
#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
    broken: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    /// Agrees with the peer.
    pub(crate) fn begin(mut engine: Box<dyn Engine>, link: Arc<Link>) -> io::Result<Self> {
        let mut incoming = Incoming::default();
        let mut outgoing = Outgoing::default();
        loop {
            engine.collect(&mut outgoing.bytes)?;
            outgoing.send(&link)?;
            if !engine.is_handshaking() {
                break;
            }
            if incoming.is_empty() && incoming.wait(&link)? == 0 {
                return Err(agreement_failed(ABORTED));
            }
            if let Err(error) = incoming.feed(&mut *engine) {
                // The peer is told why, if it listens.
                let told = engine.collect(&mut outgoing.bytes);
                let _ = told.and_then(|()| outgoing.send(&link));
                incoming.hear_out(&link);
                return Err(error);
            }
        }
        let (incoming, outgoing) = (Mutex::new(incoming), Mutex::new(outgoing));
        Ok(Self { link, incoming, outgoing, engine: Mutex::new(engine) })
    }

    /// Looks at the certificate of the peer, if it showed one.
    pub(crate) fn peer_certificate<T>(&self, look: impl FnOnce(&[u8]) -> T) -> Option<T> {
        lock(&self.engine).peer_certificate().map(look)
    }

    /// Sends what TLS itself has to say, unless somebody sends: who does sees to it afterwards.
    fn send_own(&self) {
        while lock(&self.engine).has_output() {
            let mut outgoing = match self.outgoing.try_lock() {
                Ok(outgoing) => outgoing,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            let collected = lock(&self.engine).collect(&mut outgoing.bytes);
            if collected.and_then(|()| outgoing.send(&self.link)).is_err() {
                return;
            }
        }
    }

    fn send_all(&self, outgoing: &mut Outgoing, from: &[IoSlice<'_>]) -> io::Result<()> {
        let mut parts = from.to_vec();
        let mut parts = &mut parts[..];
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            let mut engine = lock(&self.engine);
            let taken = engine.write(parts)?;
            engine.collect(&mut outgoing.bytes)?;
            drop(engine);
            if taken == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            IoSlice::advance_slices(&mut parts, taken);
            if outgoing.bytes.len() >= SEND_AT_ONCE {
                outgoing.send(&self.link)?;
            }
        }
        outgoing.send(&self.link)
    }
}

impl Channel for Session {
    fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut incoming = lock(&self.incoming);
        loop {
            let taken = {
                let mut engine = lock(&self.engine);
                incoming.take(&mut **engine, into)
            };
            self.send_own();
            if let Some(taken) = taken? {
                return Ok(taken);
            }
            if incoming.wait(&self.link)? == 0 {
                // The state has to know, to tell an end from a cut.
                lock(&self.engine).end_of_input();
            }
        }
    }

    fn send(&self, from: &[IoSlice<'_>]) -> io::Result<()> {
        let sent = {
            let mut outgoing = lock(&self.outgoing);
            let sent = self.send_all(&mut outgoing, from);
            outgoing.broken |= sent.is_err();
            sent
        };
        self.send_own();
        sent
    }

    fn close(&self) {
        lock(&self.engine).close();
        self.send_own();
    }
}

impl Default for Incoming {
    fn default() -> Self {
        let bytes = vec![0; READ_AT_ONCE].into_boxed_slice();
        Self { bytes, start: 0, end: 0, broken: None }
    }
}

impl Incoming {
    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Waits for bytes once all are used; none at the end of the connection.
    fn wait(&mut self, mut link: &Link) -> io::Result<usize> {
        let read = loop {
            match link.read(&mut self.bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        (self.start, self.end) = (0, read);
        Ok(read)
    }

    /// Reads what a peer still has to say that was told of a failure. One that speaks into a connection
    /// that is gone does not hear why.
    fn hear_out(&mut self, link: &Link) {
        let limit = Instant::now() + PATIENCE;
        let limited = link.set_deadline(Some(limit));
        while limited.is_ok() && Instant::now() < limit {
            if !matches!(self.wait(link), Ok(read) if read > 0) {
                return;
            }
        }
    }

    /// Gives some of the bytes, of which there are any, to the state.
    fn feed(&mut self, engine: &mut dyn Engine) -> io::Result<()> {
        self.start += engine.feed(&self.bytes[self.start..self.end])?;
        Ok(())
    }

    /// Nothing more can be taken, for the first of all reasons.
    fn breaks(&mut self, error: &io::Error) {
        self.broken.get_or_insert_with(|| (error.kind(), error.to_string()));
    }

    /// Fills a buffer as far as it goes without waiting; nothing if that is not at all.
    fn take(&mut self, engine: &mut dyn Engine, into: &mut [u8]) -> io::Result<Option<usize>> {
        let mut filled = 0;
        while filled < into.len() {
            match engine.read(&mut into[filled..]) {
                Ok(0) => return Ok(Some(filled)),
                Ok(read) => {
                    filled += read;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => self.breaks(&error),
            }
            if let Some((kind, reason)) = &self.broken {
                // What came before it is given first.
                if filled > 0 {
                    break;
                }
                return Err(io::Error::new(*kind, reason.clone()));
            }
            if self.is_empty() {
                break;
            }
            if let Err(error) = self.feed(engine) {
                self.breaks(&error);
            }
        }
        Ok((filled > 0 || into.is_empty()).then_some(filled))
    }
}

impl Outgoing {
    /// Sends all that was taken.
    fn send(&mut self, mut link: &Link) -> io::Result<()> {
        if self.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let sent = if self.bytes.is_empty() { Ok(()) } else { link.write_all(&self.bytes) };
        self.bytes.clear();
        self.broken |= sent.is_err();
        sent
    }
}
