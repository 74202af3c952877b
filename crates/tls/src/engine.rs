//! TLS as a state: what the peer sends goes in, what the peer should get comes out.
//!
//! Nothing here waits or knows a socket; [`Session`](crate::session::Session) moves the bytes.

use std::io::{self, IoSlice};

/// The state of one connection under TLS.
pub(crate) trait Engine: Send {
    /// Whether the two sides still agree on who they are.
    fn is_handshaking(&self) -> bool;

    /// Takes some of the ciphered bytes of the peer, of which there are any, and says how many.
    ///
    /// # Errors
    /// They are not what they should be, or the peer is not; in words for the user.
    fn feed(&mut self, ciphered: &[u8]) -> io::Result<usize>;

    /// No more bytes of the peer will come.
    fn end_of_input(&mut self);

    /// Whether there are bytes for the peer.
    fn has_output(&self) -> bool;

    /// Adds the bytes for the peer to those that wait.
    ///
    /// # Errors
    /// The state is broken.
    fn collect(&mut self, into: &mut Vec<u8>) -> io::Result<()>;

    /// Gives bytes that the peer sent, in the clear; none once it has said that no more will come.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where more has to be fed first, [`io::ErrorKind::UnexpectedEof`] where
    /// the connection was cut off.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize>;

    /// Takes bytes for the peer in the clear, as many as there is room for, and says how many.
    ///
    /// # Errors
    /// The state is broken.
    fn write(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Says that nothing more will be written.
    fn close(&mut self);

    /// The certificate that the peer showed.
    fn peer_certificate(&self) -> Option<&[u8]>;
}
