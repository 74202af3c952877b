//! A connection to a server, bare or secure.

use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;
use std::time::Instant;

use super::ClientError;
use crate::security::{Channel, FAREWELL, Link, Security};
use crate::socket::Socket;

/// A connection to a server. Reading and sending may be done by different threads.
#[derive(Clone)]
pub(super) enum Line {
    /// As the system made it.
    Bare(Arc<Socket>),
    /// Inside of what protects it.
    Secure(Arc<Link>, Arc<dyn Channel>),
}

impl Line {
    pub(super) fn bare(socket: Socket) -> Self {
        Self::Bare(Arc::new(socket))
    }

    /// Makes a bare connection secure. Nobody else may use it.
    pub(super) fn secured(self, security: &dyn Security) -> Result<Self, ClientError> {
        let Self::Bare(socket) = self else {
            return Err(ClientError::Protocol("the connection is secure already"));
        };
        let socket = Arc::into_inner(socket)
            .ok_or(ClientError::Protocol("the connection is in use already"))?;
        let link = Arc::new(Link::new(socket));
        let channel = security.secure(Arc::clone(&link)).map_err(ClientError::Security)?;
        Ok(Self::Secure(link, channel))
    }

    /// Ends the connection in both directions; whoever reads or sends notices.
    pub(super) fn shutdown(&self) {
        match self {
            Self::Bare(socket) => socket.shutdown(),
            Self::Secure(link, _) => link.shutdown(),
        }
    }

    /// Says that nothing more will be sent. Nobody else may use the connection any more.
    pub(super) fn close(&self) {
        if let Self::Secure(link, channel) = self {
            // A server that does not listen is not waited for.
            let limited = link.set_deadline(Some(Instant::now() + FAREWELL));
            if limited.is_ok() {
                channel.close();
            }
        }
    }

    /// Sends a header and what belongs to it in one piece.
    pub(super) fn send(&self, header: &[u8], payload: &[IoSlice<'_>]) -> io::Result<()> {
        let mut parts = Vec::with_capacity(payload.len() + 1);
        parts.push(IoSlice::new(header));
        parts.extend_from_slice(payload);
        let mut socket = match self {
            Self::Bare(socket) => &**socket,
            Self::Secure(_, channel) => return channel.send(&parts),
        };
        let mut parts = &mut parts[..];
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            match socket.write_vectored(parts) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => IoSlice::advance_slices(&mut parts, sent),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Read for &Line {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Line::Bare(socket) => (&**socket).read(into),
            Line::Secure(_, channel) => channel.receive(into),
        }
    }
}

impl Read for Line {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        (&*self).read(into)
    }
}

impl Write for &Line {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.send(from, &[])?;
        Ok(from.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
