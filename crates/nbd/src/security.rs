//! What makes a connection secure: the seam behind which a library for it stands.
//!
//! The protocol says when a connection changes over; how it is protected from then on is known to who
//! implements [`Security`].

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::socket::{Socket, Timed};

/// How long saying goodbye may take.
pub(crate) const FAREWELL: Duration = Duration::from_secs(1);

/// Makes bare connections secure, on one of the two sides.
pub trait Security: fmt::Debug + Send + Sync {
    /// Speaks with the peer until both have agreed, in the limits of time that `link` has. Every byte
    /// that comes over `link` from now on is the peer's part of that; none was read ahead.
    ///
    /// # Errors
    /// The peer is not who it should be, does not agree, or the connection fails.
    fn secure(&self, link: Arc<Link>) -> io::Result<Arc<dyn Channel>>;
}

/// A connection that is secure.
///
/// # Concurrency
/// One thread may wait for bytes while others send. A send waits for the peer to take the bytes; bytes that
/// come meanwhile are received all the same.
pub trait Channel: Send + Sync {
    /// Waits for bytes of the peer and takes as many as there are; none once it has said that no more
    /// will come.
    ///
    /// # Errors
    /// The connection failed, was cut off, or somebody changed what was sent.
    fn receive(&self, into: &mut [u8]) -> io::Result<usize>;

    /// Sends all the bytes in order, with none of another thread between them.
    ///
    /// # Errors
    /// The connection failed; nothing can be sent any more.
    fn send(&self, from: &[IoSlice<'_>]) -> io::Result<()>;

    /// Says that nothing more will be sent, if the peer can be reached.
    fn close(&self);
}

/// A bare connection, with a moment by which what is done on it has to be done.
#[derive(Debug)]
pub struct Link {
    socket: Socket,
    deadline: Mutex<Option<Instant>>,
}

impl Link {
    /// A connection without a limit of time.
    #[must_use]
    pub fn new(socket: Socket) -> Self {
        Self { socket, deadline: Mutex::new(None) }
    }

    /// Reads and writes that are not done by this moment fail; without one they wait for ever.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn set_deadline(&self, deadline: Option<Instant>) -> io::Result<()> {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = deadline;
        if deadline.is_none() { self.socket.set_timeout(None) } else { Ok(()) }
    }

    /// Ends the connection in both directions; whoever reads or writes it notices.
    pub fn shutdown(&self) {
        self.socket.shutdown();
    }

    fn timed(&self) -> Timed<'_> {
        let deadline = *self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        Timed::new(&self.socket, deadline)
    }
}

impl Read for &Link {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.timed().read(into)
    }
}

impl Write for &Link {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.timed().write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A secure connection as a stream.
#[derive(Clone, Copy)]
pub(crate) struct Through<'a>(pub(crate) &'a dyn Channel);

impl Read for Through<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.receive(into)
    }
}

impl Write for Through<'_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.0.send(&[IoSlice::new(from)])?;
        Ok(from.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
