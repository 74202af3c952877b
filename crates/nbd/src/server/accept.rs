//! Taking connections, and a thread for each.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::Scope;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use super::{Server, SessionError};
use crate::socket::{Listener, Socket};

/// How long to wait before trying again where no connection could be taken.
const BREATH: Duration = Duration::from_millis(20);

/// How many clients there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptOptions {
    /// Clients at a time; `None` is any number.
    pub clients: Option<usize>,
    /// Go on when the last client that had chosen an export has left.
    pub persistent: bool,
}

/// Ends [`accept`] from another thread, or by way of a signal.
#[derive(Debug)]
pub struct Waker {
    asleep: UnixStream,
    alarm: UnixStream,
    ending: AtomicBool,
}

impl Waker {
    /// A waker for one server.
    ///
    /// # Errors
    /// There are too many open files.
    pub fn new() -> io::Result<Self> {
        let (asleep, alarm) = UnixStream::pair()?;
        asleep.set_nonblocking(true)?;
        alarm.set_nonblocking(true)?;
        Ok(Self { asleep, alarm, ending: AtomicBool::new(false) })
    }

    /// Ends the server: no connection is taken any more, and those that there are end.
    pub fn end(&self) {
        self.ending.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        // Where it is full there is a byte in it, which is all that is needed.
        let _ = (&self.alarm).write(&[1]);
    }

    fn empty(&self) {
        let mut bytes = [0; 64];
        while matches!((&self.asleep).read(&mut bytes), Ok(len) if len > 0) {}
    }

    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }
}

/// What is known of the clients, while there are any.
#[derive(Default)]
struct Clients {
    open: Mutex<Vec<(u64, Socket)>>,
    next: AtomicU64,
    had_one: AtomicBool,
}

impl Clients {
    fn open(&self) -> std::sync::MutexGuard<'_, Vec<(u64, Socket)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes connections and serves them, until `waker` ends it, or the last client left and the options say
/// so. `report` hears of sessions that ended badly.
///
/// # Errors
/// Waiting for connections fails.
pub fn accept(
    server: &Server,
    listener: &Listener,
    options: AcceptOptions,
    waker: &Waker,
    report: &(dyn Fn(&SessionError) + Sync),
) -> io::Result<()> {
    let clients = Clients::default();
    std::thread::scope(|scope| {
        let ended = wait_for_clients(scope, server, listener, options, waker, &clients, report);
        for (_, socket) in &*clients.open() {
            socket.shutdown();
        }
        ended
    })
}

fn wait_for_clients<'scope>(
    scope: &'scope Scope<'scope, '_>,
    server: &'scope Server,
    listener: &Listener,
    options: AcceptOptions,
    waker: &'scope Waker,
    clients: &'scope Clients,
    report: &'scope (dyn Fn(&SessionError) + Sync),
) -> io::Result<()> {
    loop {
        let count = clients.open().len();
        let left = count == 0 && clients.had_one.load(Ordering::Acquire);
        if waker.is_ending() || (left && !options.persistent) {
            return Ok(());
        }
        let is_full = options.clients.is_some_and(|most| count >= most);
        let wanted = if is_full { PollFlags::empty() } else { PollFlags::IN };
        let mut polled = [PollFd::new(&waker.asleep, PollFlags::IN), PollFd::new(listener, wanted)];
        match poll(&mut polled, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        waker.empty();
        if is_full || !polled[1].revents().contains(PollFlags::IN) {
            continue;
        }
        match listener.accept() {
            Ok(socket) => begin(scope, server, socket, waker, clients, report),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // Too many files, or a client that is gone: others may have better luck.
            Err(_) => std::thread::sleep(BREATH),
        }
    }
}

/// Serves a connection on a thread of its own; where there is none to be had, the client is sent away.
fn begin<'scope>(
    scope: &'scope Scope<'scope, '_>,
    server: &'scope Server,
    socket: Socket,
    waker: &'scope Waker,
    clients: &'scope Clients,
    report: &'scope (dyn Fn(&SessionError) + Sync),
) {
    let Ok(handle) = socket.try_clone() else { return };
    let number = clients.next.fetch_add(1, Ordering::Relaxed);
    clients.open().push((number, handle));
    let leave = move || {
        clients.open().retain(|(other, _)| *other != number);
        waker.wake();
    };
    let session = move || {
        let mut chosen = || clients.had_one.store(true, Ordering::Release);
        if let Err(error) = server.serve(&socket, &mut chosen) {
            report(&error);
        }
        // The other handle would keep the connection open.
        socket.shutdown();
        leave();
    };
    let builder = std::thread::Builder::new().name("nbd-client".to_owned());
    if builder.spawn_scoped(scope, session).is_err() {
        leave();
    }
}
