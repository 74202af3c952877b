//! Transmission: requests in, replies out, in any order.
//!
//! One thread reads requests. While the export answers at once, that thread serves them too, and sends
//! the replies to all that came together in one piece: no thread is woken. Where the export takes its
//! time, where a request is large, or while others are being served, requests go to a few workers, which
//! are started as they are needed.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Scope;
use std::time::{Duration, Instant};

use super::serve::Service;
use super::{Handshake, Server, SessionError};
use crate::buffers::Buffers;
use crate::input::Input;
use crate::numbers::{MAX_PAYLOAD, command};
use crate::reply::ReplyBuffer;
use crate::request::{Framing, Request};

/// Threads that serve one connection, at most, besides the one that reads it.
const MAX_WORKERS: usize = 16;
/// Requests of one connection that wait or are served, at most.
const MAX_REQUESTS: usize = 128;
/// Bytes that the requests of one connection hold, at most, unless there is only one of them.
const MAX_BYTES: u64 = 64 << 20;
/// Writes up to this many bytes may be served by the thread that reads requests.
const SMALL_WRITE: u64 = 64 << 10;
/// Reads up to this many bytes may be. What a disk in memory gives is sent from one buffer then, which stays
/// in the cache of one core.
const SMALL_READ: u64 = 256 << 10;
/// Replies are sent when there are this many bytes of them.
const MAX_BATCH: usize = 256 << 10;
/// An export that takes longer than this for a small request is slow, ...
const SLOW: Duration = Duration::from_micros(100);
/// ... or moves less than so many bytes in each nanosecond beyond that.
const SLOW_RATE: u64 = 2;
/// Requests that go to workers after one that was slow.
const SLOW_SPELL: u32 = 256;

/// Serves the requests of a client that has chosen an export, until it leaves.
///
/// `hang_up` has to make the reader fail or end: it is called when replies cannot be sent.
///
/// # Errors
/// The client did not end the session itself.
pub fn transmit<R: Read, W: Write + Send>(
    server: &Server,
    handshake: &Handshake,
    reader: R,
    writer: W,
    hang_up: &(dyn Fn() + Sync),
) -> Result<(), SessionError> {
    let exported = server
        .exports
        .get(handshake.export)
        .ok_or(SessionError::Protocol("an export of another server"))?;
    let Handshake { framing, ref contexts, .. } = *handshake;
    let session = Session {
        service: Service { exported, framing, contexts },
        queue: Mutex::default(),
        work: Condvar::new(),
        room: Condvar::new(),
        under_way: AtomicUsize::new(0),
        writer: Mutex::new(Some(writer)),
        hang_up,
        buffers: Buffers::default(),
    };
    std::thread::scope(|scope| {
        let ended = session.read_requests(scope, reader);
        session.queue().closed = true;
        session.work.notify_all();
        ended
    })
}

/// A request for a worker.
struct Job {
    request: Request,
    payload: Vec<u8>,
    cost: u64,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Bytes of all requests that wait or are served.
    bytes: u64,
    workers: usize,
    idle: usize,
    closed: bool,
}

struct Session<'a, W> {
    service: Service<'a>,
    queue: Mutex<Queue>,
    /// There is work, or no more will come.
    work: Condvar,
    /// A request is done.
    room: Condvar,
    /// Requests that wait for a worker or are with one.
    under_way: AtomicUsize,
    /// Nothing once the client cannot be reached.
    writer: Mutex<Option<W>>,
    hang_up: &'a (dyn Fn() + Sync),
    buffers: Buffers,
}

impl<W: Write + Send> Session<'_, W> {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_requests<'scope, R: Read>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        reader: R,
    ) -> Result<(), SessionError> {
        let framing = self.service.framing;
        let mut input = Input::new(reader);
        let mut out = ReplyBuffer::default();
        // Requests that are still not to be served here.
        let mut slow_spell = 0_u32;
        loop {
            let header_len = framing.request_len();
            if input.ready() < header_len {
                self.send(&mut out);
            }
            if !input.wait_for(header_len)? {
                return Err(SessionError::Cut);
            }
            let request = Request::decode(input.take(header_len), framing)
                .ok_or(SessionError::Protocol("a request without its magic"))?;
            if request.command == command::DISC {
                self.send(&mut out);
                return Ok(());
            }
            let payload = payload_len(&request, framing)?;
            let more_waits = input.ready() > payload;
            let here = is_small(&request)
                && self.under_way.load(Ordering::Acquire) == 0
                && (slow_spell == 0 || !more_waits);
            if here {
                if input.ready() < payload {
                    self.send(&mut out);
                    if !input.wait_for(payload)? {
                        return Err(SessionError::Cut);
                    }
                }
                let begin = Instant::now();
                self.service.serve(&request, input.take(payload), &mut out);
                let slow = begin.elapsed() > SLOW + Duration::from_nanos(request.len / SLOW_RATE);
                slow_spell = if slow { SLOW_SPELL } else { slow_spell.saturating_sub(1) };
                if slow || out.len() >= MAX_BATCH {
                    self.send(&mut out);
                }
            } else {
                self.send(&mut out);
                slow_spell = slow_spell.saturating_sub(1);
                let cost = self.service.cost(&request);
                self.wait_for_room(cost);
                let mut bytes = self.buffers.take(payload);
                input.fill(&mut bytes)?;
                self.hand_over(scope, Job { request, payload: bytes, cost });
            }
        }
    }

    /// Waits until a request may be taken in; nobody but the reader waits here.
    fn wait_for_room(&self, cost: u64) {
        let mut queue = self.queue();
        let is_full = |queue: &Queue| {
            let count = self.under_way.load(Ordering::Acquire);
            count >= MAX_REQUESTS || (count > 0 && queue.bytes.saturating_add(cost) > MAX_BYTES)
        };
        while is_full(&queue) {
            queue = self.room.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn hand_over<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, job: Job) {
        self.under_way.fetch_add(1, Ordering::AcqRel);
        let mut queue = self.queue();
        queue.bytes += job.cost;
        queue.jobs.push_back(job);
        if queue.idle >= queue.jobs.len() || queue.workers == MAX_WORKERS {
            drop(queue);
            self.work.notify_one();
            return;
        }
        let builder = std::thread::Builder::new().name("nbd-worker".to_owned());
        let started = builder.spawn_scoped(scope, || self.work());
        if started.is_ok() {
            queue.workers += 1;
        } else if queue.workers == 0 {
            // No thread to be had: the reader does it.
            let job = queue.jobs.pop_back();
            drop(queue);
            let mut out = ReplyBuffer::default();
            job.into_iter().for_each(|job| self.run(job, &mut out));
        }
    }

    /// Serves requests until no more come.
    fn work(&self) {
        let mut out = ReplyBuffer::default();
        let mut queue = self.queue();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                self.run(job, &mut out);
                queue = self.queue();
            } else if queue.closed {
                return;
            } else {
                queue.idle += 1;
                queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
                queue.idle -= 1;
            }
        }
    }

    fn run(&self, job: Job, out: &mut ReplyBuffer) {
        let Job { request, payload, cost } = job;
        self.service.serve(&request, &payload, out);
        self.buffers.give(payload);
        self.send(out);
        let mut queue = self.queue();
        queue.bytes -= cost;
        self.under_way.fetch_sub(1, Ordering::AcqRel);
        drop(queue);
        self.room.notify_one();
    }

    /// Sends what is there. Once that fails the client is not talked to any more.
    fn send(&self, out: &mut ReplyBuffer) {
        if out.len() > 0 {
            let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
            let sent = writer.as_mut().map(|writer| writer.write_all(out.bytes()));
            if let Some(Err(_)) = sent {
                *writer = None;
                (self.hang_up)();
            }
            out.clear();
        }
    }
}

/// Bytes that follow a request.
fn payload_len(request: &Request, framing: Framing) -> Result<usize, SessionError> {
    match usize::try_from(request.payload_len(framing)) {
        Ok(len) if len <= MAX_PAYLOAD as usize => Ok(len),
        _ => Err(SessionError::Protocol("a payload of more than 32 MiB")),
    }
}

/// Requests that take no longer than it takes to hand them over, on a disk in memory.
fn is_small(request: &Request) -> bool {
    match request.command {
        command::READ => request.len <= SMALL_READ,
        command::WRITE => request.len <= SMALL_WRITE,
        _ => false,
    }
}
