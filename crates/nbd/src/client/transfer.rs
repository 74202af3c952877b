//! Requests and their answers, of many threads on one connection.
//!
//! No thread belongs to a client. Of those that wait for an answer one reads the connection: it takes in
//! whatever comes, also for the others, until its own answer is complete, and then leaves the reading to
//! another. A request that is alone wakes nobody.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::answer::{Answer, Header};
use super::handshake::Talk;
use super::line::Line;
use super::{ClientError, ConnectOptions, ExportFacts, Target, open};
use crate::buffers::Buffers;
use crate::errno::Errno;
use crate::input::Input;
use crate::numbers::{command, command_flag, transmission};
use crate::request::{Framing, Request};
use crate::server::Extent;

/// An export of a server.
///
/// # Concurrency
/// All methods take `&self`; requests of several threads are under way together.
pub struct Client {
    facts: ExportFacts,
    line: Line,
    /// Held while a request goes out.
    sending: Mutex<()>,
    /// With whoever reads the connection.
    input: Mutex<Input<Line>>,
    state: Mutex<State>,
    changed: Condvar,
    buffers: Buffers,
}

#[derive(Default)]
struct State {
    next_cookie: u64,
    under_way: HashMap<u64, Slot>,
    /// Somebody reads the connection.
    reading: bool,
    /// The connection is of no use any more.
    broken: bool,
}

enum Slot {
    /// The answer, as far as it came.
    Waiting(Answer),
    /// Whoever reads puts something into it.
    Filling,
    Done(Answer),
}

impl Client {
    /// Connects to a server and chooses an export.
    ///
    /// # Errors
    /// The server cannot be reached, or does not have the export.
    pub fn connect(target: &Target) -> Result<Self, ClientError> {
        Self::connect_with(target, &ConnectOptions::default())
    }

    /// As [`Client::connect`], with options.
    ///
    /// # Errors
    /// As for [`Client::connect`].
    pub fn connect_with(target: &Target, options: &ConnectOptions) -> Result<Self, ClientError> {
        let (line, padded) = open(&target.address, options.security.as_deref())?;
        let mut talk = Talk::new(&line, padded);
        talk.choose_framing()?;
        let chosen = talk.go(&target.export, options.context.as_deref());
        let facts = talk.leave_if_refused(chosen)?;
        let input = Mutex::new(Input::new(line.clone()));
        Ok(Self {
            facts,
            line,
            sending: Mutex::default(),
            input,
            state: Mutex::default(),
            changed: Condvar::new(),
            buffers: Buffers::default(),
        })
    }

    /// What the server said about the export.
    #[must_use]
    pub fn facts(&self) -> &ExportFacts {
        &self.facts
    }

    /// Whether a flag of [`transmission`] is set.
    #[must_use]
    pub fn can(&self, flag: u16) -> bool {
        self.facts.flags & flag != 0
    }

    /// Reads from byte `at`, no more than [`ExportFacts::maximum`] bytes.
    ///
    /// # Errors
    /// What the server says, or `EIO` once the connection failed; so too in the other methods.
    pub fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let data = self.buffers.take(into.len());
        let answer = Answer { at, data, ..Answer::default() };
        let answer = self.ask(command::READ, 0, at, into.len() as u64, &[], answer)?;
        into.copy_from_slice(&answer.data);
        self.buffers.give(answer.data);
        Ok(())
    }

    /// Writes buffers in order from byte `at`, no more than [`ExportFacts::maximum`] bytes.
    ///
    /// # Errors
    /// As for [`Client::read`].
    pub fn write(&self, at: u64, from: &[IoSlice<'_>]) -> io::Result<()> {
        let len = from.iter().map(|buffer| buffer.len() as u64).sum();
        let flags = match self.facts.framing {
            Framing::Extended => command_flag::PAYLOAD_LEN,
            Framing::Simple | Framing::Structured => 0,
        };
        self.ask(command::WRITE, flags, at, len, from, Answer::default()).map(drop)
    }

    /// Makes a range read as zeros, which the server must be able to.
    ///
    /// # Errors
    /// As for [`Client::read`].
    pub fn write_zeroes(&self, at: u64, len: u64) -> io::Result<()> {
        self.ask(command::WRITE_ZEROES, 0, at, len, &[], Answer::default()).map(drop)
    }

    /// Gives up the content of a range, which the server must be able to.
    ///
    /// # Errors
    /// As for [`Client::read`].
    pub fn trim(&self, at: u64, len: u64) -> io::Result<()> {
        self.ask(command::TRIM, 0, at, len, &[], Answer::default()).map(drop)
    }

    /// Returns when everything that was written is on the disk.
    ///
    /// # Errors
    /// As for [`Client::read`].
    pub fn flush(&self) -> io::Result<()> {
        if !self.can(transmission::SEND_FLUSH) {
            return if self.broken() { Err(gone()) } else { Ok(()) };
        }
        self.ask(command::FLUSH, 0, 0, 0, &[], Answer::default()).map(drop)
    }

    /// The state at `at` in the context that was chosen, if the server has that, and how many of `len`
    /// bytes it holds for at least.
    ///
    /// # Errors
    /// As for [`Client::read`].
    pub fn extent_at(&self, at: u64, len: u64) -> io::Result<Option<Extent>> {
        let Some(context) = self.facts.context else { return Ok(None) };
        let answer = Answer { context: Some(context), ..Answer::default() };
        let flags = command_flag::REQ_ONE;
        let answer = self.ask(command::BLOCK_STATUS, flags, at, len, &[], answer)?;
        let extent = answer.extent.map(|extent| Extent { len: extent.len.min(len), ..extent });
        extent.map(Some).ok_or_else(|| self.give_up())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the connection is of no use any more.
    pub(super) fn broken(&self) -> bool {
        self.state().broken
    }

    /// Ends the connection: nothing is sent any more, and nobody waits.
    fn give_up(&self) -> io::Error {
        self.state().broken = true;
        self.line.shutdown();
        self.changed.notify_all();
        gone()
    }

    /// Sends a request and waits for its answer.
    fn ask(
        &self,
        command: u16,
        flags: u16,
        at: u64,
        len: u64,
        payload: &[IoSlice<'_>],
        answer: Answer,
    ) -> io::Result<Answer> {
        let cookie = {
            let mut state = self.state();
            if state.broken {
                return Err(gone());
            }
            state.next_cookie += 1;
            let cookie = state.next_cookie;
            state.under_way.insert(cookie, Slot::Waiting(answer));
            cookie
        };
        let request = Request { flags, command, cookie, at, len };
        let mut header = Vec::with_capacity(32);
        request.encode(self.facts.framing, &mut header);
        let sent = {
            let _held = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
            self.line.send(&header, payload)
        };
        if sent.is_err() {
            self.give_up();
        }
        let answer = self.wait_for(cookie)?;
        match answer.failure {
            None => Ok(answer),
            Some(errno) => Err(os_error(errno)),
        }
    }

    fn wait_for(&self, cookie: u64) -> io::Result<Answer> {
        let mut state = self.state();
        loop {
            match state.under_way.remove(&cookie) {
                Some(Slot::Done(answer)) => return Ok(answer),
                Some(slot) if !state.broken => drop(state.under_way.insert(cookie, slot)),
                _ => return Err(gone()),
            }
            if state.reading {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.reading = true;
            drop(state);
            let read = self.read_until(cookie);
            if read.is_err() {
                self.give_up();
            }
            state = self.state();
            state.reading = false;
            self.changed.notify_all();
        }
    }

    /// Takes in answers until that to `cookie` is complete.
    fn read_until(&self, cookie: u64) -> io::Result<()> {
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let framing = self.facts.framing;
            let header = Header::read(&mut input, framing)?;
            let slot = self.state().under_way.insert(header.cookie, Slot::Filling);
            let Some(Slot::Waiting(mut answer)) = slot else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            let done = header.receive(&mut input, &mut answer, framing)?;
            let slot = if done { Slot::Done(answer) } else { Slot::Waiting(answer) };
            self.state().under_way.insert(header.cookie, slot);
            if done && header.cookie == cookie {
                return Ok(());
            }
            if done {
                self.changed.notify_all();
            }
        }
    }
}

/// Says that the client leaves.
impl Drop for Client {
    fn drop(&mut self) {
        let mut bytes = Vec::new();
        let bye = Request { flags: 0, command: command::DISC, cookie: 0, at: 0, len: 0 };
        bye.encode(self.facts.framing, &mut bytes);
        if !self.broken() {
            // The server may be gone already.
            let _ = self.line.send(&bytes, &[]);
            self.line.close();
        }
    }
}

/// What every request gets once the connection is of no use.
fn gone() -> io::Error {
    os_error(Errno::Io)
}

fn os_error(errno: Errno) -> io::Error {
    io::Error::from_raw_os_error(i32::try_from(errno.code()).unwrap_or(5))
}
