//! TLS with certificates.

use std::io::{self, IoSlice, Read, Write};

use rustls::Connection;

use crate::engine::Engine;
use crate::outcome::{cannot_read, cut_off, failed};

/// A connection whose sides are known by their certificates.
pub(crate) struct Certified {
    connection: Connection,
    /// The name that the peer should have.
    host: Option<String>,
}

impl Certified {
    pub(crate) fn new(connection: impl Into<Connection>, host: Option<String>) -> Self {
        Self { connection: connection.into(), host }
    }
}

impl Engine for Certified {
    fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    fn feed(&mut self, mut ciphered: &[u8]) -> io::Result<usize> {
        let early = self.is_handshaking();
        let taken = self.connection.read_tls(&mut ciphered)?;
        match self.connection.process_new_packets() {
            Ok(_) => Ok(taken),
            Err(error) if early => Err(failed(&error, self.host.as_deref())),
            Err(error) => Err(cannot_read(&error)),
        }
    }

    fn end_of_input(&mut self) {
        // Nothing is read from what is empty, and so nothing can fail.
        let _ = self.connection.read_tls(&mut io::empty());
    }

    fn has_output(&self) -> bool {
        self.connection.wants_write()
    }

    fn collect(&mut self, into: &mut Vec<u8>) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(into)?;
        }
        Ok(())
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.connection.reader().read(into).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => cut_off(),
            _ => error,
        })
    }

    fn write(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.connection.writer().write_vectored(parts)
    }

    fn close(&mut self) {
        self.connection.send_close_notify();
    }

    fn peer_certificate(&self) -> Option<&[u8]> {
        let shown = self.connection.peer_certificates().and_then(<[_]>::first);
        shown.map(|certificate| certificate.as_ref())
    }
}
