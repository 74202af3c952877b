//! Connections by TCP or on a path of the file system.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

/// A connection.
#[derive(Debug)]
pub enum Socket {
    /// On one machine.
    Unix(UnixStream),
    /// Over a network.
    Tcp(TcpStream),
}

macro_rules! either {
    ($socket:expr, $stream:ident => $result:expr) => {
        match $socket {
            Socket::Unix($stream) => $result,
            Socket::Tcp($stream) => $result,
        }
    };
}

impl Socket {
    /// Ends the connection in both directions; whoever reads or writes it notices. Ending it twice does
    /// nothing.
    pub fn shutdown(&self) {
        // It fails only where the connection is gone.
        let _ = either!(self, stream => stream.shutdown(Shutdown::Both));
    }

    /// How long one read or write may wait.
    ///
    /// # Errors
    /// `InvalidInput` for no time at all.
    pub fn set_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        either!(self, stream => {
            stream.set_read_timeout(limit)?;
            stream.set_write_timeout(limit)
        })
    }

    /// Takes bytes that are there already; none if the peer ended.
    ///
    /// # Errors
    /// `WouldBlock` if there are none yet.
    pub(crate) fn receive_now(&self, into: &mut [u8]) -> io::Result<usize> {
        let flags = rustix::net::RecvFlags::DONTWAIT;
        let (read, _) = either!(self, stream => rustix::net::recv(stream, into, flags))?;
        Ok(read)
    }

    /// Another handle of the same connection.
    ///
    /// # Errors
    /// There are too many.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
        })
    }
}

impl Read for &Socket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        either!(*self, stream => (&mut &*stream).read(into))
    }

    fn read_vectored(&mut self, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        either!(*self, stream => (&mut &*stream).read_vectored(into))
    }
}

impl Read for Socket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        (&*self).read(into)
    }
}

impl Write for &Socket {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        either!(*self, stream => (&mut &*stream).write(from))
    }

    fn write_vectored(&mut self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        either!(*self, stream => (&mut &*stream).write_vectored(from))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection that has to be done with something by a moment.
pub(crate) struct Timed<'a> {
    socket: &'a Socket,
    deadline: Option<Instant>,
}

impl<'a> Timed<'a> {
    pub(crate) fn new(socket: &'a Socket, deadline: Option<Instant>) -> Self {
        Self { socket, deadline }
    }

    /// What is left of the time counts for each single step.
    fn arm(&self) -> io::Result<()> {
        let Some(deadline) = self.deadline else { return Ok(()) };
        match deadline.checked_duration_since(Instant::now()) {
            Some(rest) if !rest.is_zero() => self.socket.set_timeout(Some(rest)),
            _ => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.arm()?;
        (&mut &*self.socket).read(into)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.arm()?;
        (&mut &*self.socket).write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where connections come from.
#[derive(Debug)]
pub enum Listener {
    /// On one machine.
    Unix(UnixListener),
    /// Over a network.
    Tcp(TcpListener),
}

impl Listener {
    /// Listens on a path, which must not exist.
    ///
    /// # Errors
    /// What the system says.
    pub fn unix(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::ready(Self::Unix(UnixListener::bind(path)?))
    }

    /// Listens on an address and a port.
    ///
    /// # Errors
    /// What the system says.
    pub fn tcp(address: impl ToSocketAddrs) -> io::Result<Self> {
        Self::ready(Self::Tcp(TcpListener::bind(address)?))
    }

    /// Listens on a socket that another program made, which is bound to a path or to an address.
    ///
    /// # Errors
    /// It is not a socket of a kind that is known.
    pub fn inherited(socket: OwnedFd) -> io::Result<Self> {
        use rustix::net::AddressFamily;
        let family = rustix::net::getsockname(&socket)?.address_family();
        Self::ready(match family {
            AddressFamily::UNIX => Self::Unix(UnixListener::from(socket)),
            AddressFamily::INET | AddressFamily::INET6 => Self::Tcp(TcpListener::from(socket)),
            _ => return Err(io::ErrorKind::Unsupported.into()),
        })
    }

    fn ready(self) -> io::Result<Self> {
        match &self {
            Self::Unix(listener) => listener.set_nonblocking(true)?,
            Self::Tcp(listener) => listener.set_nonblocking(true)?,
        }
        Ok(self)
    }

    /// The next connection; `WouldBlock` if nobody waits.
    pub(crate) fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(false)?;
                Ok(Socket::Unix(stream))
            }
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(false)?;
                // Replies are whole when they are sent.
                stream.set_nodelay(true)?;
                Ok(Socket::Tcp(stream))
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(listener) => listener.as_fd(),
            Self::Tcp(listener) => listener.as_fd(),
        }
    }
}
