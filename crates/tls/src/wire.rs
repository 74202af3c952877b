//! The library that speaks TLS with shared keys, between two buffers of bytes.
//!
//! It is written in C and moves bytes by functions that it is given. Here they move them from and to memory,
//! so that its connections are a state as those of the other library are.

#![allow(unsafe_code, reason = "functions that C calls with the pointer it was given")]

use std::ffi::{c_int, c_void};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use errno::{Errno, set_errno};
use s2n_tls::connection::Connection;
use s2n_tls::error::Error;

/// What the library says where a function of its caller has no bytes for now.
const AGAIN: c_int = libc::EAGAIN;

/// Ciphered bytes of both directions.
#[derive(Default)]
struct Buffers {
    incoming: Vec<u8>,
    /// How many of them were taken.
    taken: usize,
    /// No more will come.
    ended: bool,
    outgoing: Vec<u8>,
}

/// A connection with its buffers. The connection is never handed out: it has to die before they do.
pub(crate) struct Wire {
    /// Declared first, and so dropped first.
    connection: Connection,
    buffers: Arc<Mutex<Buffers>>,
}

fn lock(buffers: &Mutex<Buffers>) -> MutexGuard<'_, Buffers> {
    buffers.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wire {
    /// Gives a connection its buffers.
    ///
    /// # Errors
    /// The library does not take the functions.
    pub(crate) fn new(mut connection: Connection) -> Result<Self, Error> {
        let buffers = Arc::<Mutex<Buffers>>::default();
        let context = Arc::as_ptr(&buffers).cast_mut().cast::<c_void>();
        connection.set_receive_callback(Some(receive))?;
        connection.set_send_callback(Some(send))?;
        // SAFETY: the pointer is to what `receive` and `send` expect. What it points to lives in an `Arc` that
        // `Self` holds for longer than the connection, which is private and is neither handed out nor
        // exchanged; nothing has a unique reference to it, for all go through the mutex.
        unsafe {
            connection.set_receive_context(context)?;
            connection.set_send_context(context)?;
        }
        Ok(Self { connection, buffers })
    }

    /// The connection, to be asked.
    pub(crate) fn facts(&self) -> &Connection {
        &self.connection
    }

    /// Goes on with the agreement, as far as the bytes go.
    pub(crate) fn negotiate(&mut self) -> Poll<Result<(), Error>> {
        self.connection.poll_negotiate().map(|done| done.map(drop))
    }

    /// Takes bytes of the peer in the clear.
    pub(crate) fn receive(&mut self, into: &mut [u8]) -> Poll<Result<usize, Error>> {
        self.connection.poll_recv(into)
    }

    /// Ciphers bytes for the peer.
    pub(crate) fn send(&mut self, from: &[u8]) -> Poll<Result<usize, Error>> {
        self.connection.poll_send(from)
    }

    /// Says that nothing more will be sent.
    pub(crate) fn close(&mut self) -> Poll<Result<(), Error>> {
        self.connection.poll_shutdown_send().map(|done| done.map(drop))
    }

    /// Adds ciphered bytes of the peer.
    pub(crate) fn feed(&self, ciphered: &[u8]) {
        let mut buffers = lock(&self.buffers);
        let taken = buffers.taken;
        buffers.incoming.drain(..taken);
        buffers.taken = 0;
        buffers.incoming.extend_from_slice(ciphered);
    }

    /// No more bytes of the peer will come.
    pub(crate) fn end(&self) {
        lock(&self.buffers).ended = true;
    }

    pub(crate) fn has_output(&self) -> bool {
        !lock(&self.buffers).outgoing.is_empty()
    }

    /// Moves the ciphered bytes for the peer to the end of `into`.
    pub(crate) fn collect(&self, into: &mut Vec<u8>) {
        into.append(&mut lock(&self.buffers).outgoing);
    }
}

/// Gives bytes to the library.
///
/// # Safety
/// `context` points to a `Mutex<Buffers>` that lives, and `into` to `len` bytes that may be written.
unsafe extern "C" fn receive(context: *mut c_void, into: *mut u8, len: u32) -> c_int {
    // SAFETY: by the contract above; only shared references to the mutex exist.
    let buffers = unsafe { &*context.cast_const().cast::<Mutex<Buffers>>() };
    let mut buffers = lock(buffers);
    let rest = &buffers.incoming[buffers.taken..];
    // A length that does not fit is that of no buffer, and is answered in part.
    let len = rest.len().min(usize::try_from(len).unwrap_or(0)).min(1 << 30);
    if len == 0 {
        if buffers.ended {
            return 0;
        }
        set_errno(Errno(AGAIN));
        return -1;
    }
    // SAFETY: both are good for `len` bytes, the first by its slice and the second by the contract; memory of
    // the library does not overlap with a vector that it never sees.
    unsafe { std::ptr::copy_nonoverlapping(rest.as_ptr(), into, len) };
    buffers.taken += len;
    c_int::try_from(len).unwrap_or(0)
}

/// Takes bytes of the library.
///
/// # Safety
/// `context` points to a `Mutex<Buffers>` that lives, and `from` to `len` bytes.
unsafe extern "C" fn send(context: *mut c_void, from: *const u8, len: u32) -> c_int {
    // SAFETY: by the contract above; only shared references to the mutex exist.
    let buffers = unsafe { &*context.cast_const().cast::<Mutex<Buffers>>() };
    let len = usize::try_from(len).unwrap_or(0).min(1 << 30);
    if len == 0 {
        return 0;
    }
    // SAFETY: the contract says that so many bytes are there, and nobody changes them during the call.
    let bytes = unsafe { std::slice::from_raw_parts(from, len) };
    lock(buffers).outgoing.extend_from_slice(bytes);
    c_int::try_from(len).unwrap_or(0)
}
