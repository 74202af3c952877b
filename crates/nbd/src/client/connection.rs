//! A connection that is made again when it breaks.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Client, ConnectOptions, ExportFacts, Target};

/// How long to wait between attempts to reach a server.
const AGAIN: Duration = Duration::from_millis(250);

/// An export that a server has now, or had and may have again.
///
/// # Concurrency
/// Requests of several threads run together. While one of them makes the connection again the others
/// that failed wait for it.
pub(super) struct Connection {
    facts: ExportFacts,
    again: Option<Again>,
    state: Mutex<State>,
}

/// How a connection that broke is made again.
struct Again {
    target: Target,
    options: ConnectOptions,
    /// How long requests wait for it.
    delay: Duration,
}

struct State {
    client: Arc<Client>,
    /// When a request first found it broken.
    broken_since: Option<Instant>,
}

impl Connection {
    /// A connection that is there until it breaks.
    pub(super) fn once(client: Client) -> Self {
        Self::with(client, None)
    }

    /// A connection for which requests wait up to `delay` when it breaks.
    pub(super) fn lasting(
        client: Client,
        target: Target,
        options: ConnectOptions,
        delay: Duration,
    ) -> Self {
        Self::with(client, Some(Again { target, options, delay }))
    }

    fn with(client: Client, again: Option<Again>) -> Self {
        let facts = client.facts().clone();
        let state = Mutex::new(State { client: Arc::new(client), broken_since: None });
        Self { facts, again, state }
    }

    /// What the server said about the export.
    pub(super) fn facts(&self) -> &ExportFacts {
        &self.facts
    }

    /// Whether a flag of [`crate::numbers::transmission`] is set.
    pub(super) fn can(&self, flag: u16) -> bool {
        self.facts.flags & flag != 0
    }

    /// Makes a request, and makes it once more on each new connection where the one before broke.
    ///
    /// # Errors
    /// What the server says, or `EIO` once there is no connection.
    pub(super) fn run<T>(
        &self,
        mut request: impl FnMut(&Client) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            let client = {
                let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                Arc::clone(&state.client)
            };
            match (request(&client), &self.again) {
                (Err(error), Some(again)) if client.broken() => {
                    if !self.renew(&client, again) {
                        return Err(error);
                    }
                }
                (result, _) => return result,
            }
        }
    }

    /// Puts another connection in the place of one that broke; false if there is none in time.
    fn renew(&self, broken: &Arc<Client>, again: &Again) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&state.client, broken) {
            return true;
        }
        let since = *state.broken_since.get_or_insert_with(Instant::now);
        loop {
            let client = Client::connect_with(&again.target, &again.options);
            if let Some(client) = client.ok().filter(|client| self.is_same(client.facts())) {
                *state = State { client: Arc::new(client), broken_since: None };
                return true;
            }
            let left = again.delay.saturating_sub(since.elapsed());
            if left.is_zero() {
                return false;
            }
            std::thread::sleep(AGAIN.min(left));
        }
    }

    /// Whether an export is the one that there was, as far as can be told.
    fn is_same(&self, facts: &ExportFacts) -> bool {
        let ExportFacts { size, flags, minimum, maximum, context, .. } = &self.facts;
        facts.size == *size
            && facts.flags & flags == *flags
            && facts.minimum <= *minimum
            && facts.maximum >= *maximum
            && facts.context.is_some() == context.is_some()
    }
}
