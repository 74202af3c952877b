//! The server of network block devices, as `qemu-nbd` is.
//!
//! [`command_line`] says what is wanted; [`serve`] opens the image and the socket, and serves until a
//! signal or the last client ends it; [`background`] is how a server outlives the command that started it.
//!
//! # Invariants
//! A socket on a path is removed at the end, however it ends short of being killed. The image is closed
//! after the last session.

mod activation;
mod background;
mod command_line;
mod export;
mod help;
mod list;
mod pid_file;
mod serve;
mod signals;
mod tls;

use command_line::{CommandLine, Parsed};
pub(crate) use help::page;

use crate::disk::DiskError;
use crate::out;

/// Why the server does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Failure {
    prefix: String,
    error: DiskError,
}

impl Failure {
    /// With a message only.
    fn message(text: impl Into<String>) -> Self {
        Self::from(DiskError::invalid(text))
    }

    /// With a text before the message.
    fn prefixed(prefix: impl Into<String>, error: impl Into<DiskError>) -> Self {
        Self { prefix: prefix.into(), error: error.into() }
    }
}

impl From<DiskError> for Failure {
    fn from(error: DiskError) -> Self {
        Self { prefix: String::new(), error }
    }
}

/// What starting or running the server comes to.
type Outcome<T> = Result<T, Failure>;

/// Runs the server with the arguments after its name, and returns the exit status.
pub(crate) fn run(arguments: &[String]) -> u8 {
    let outcome = CommandLine::parse(arguments).and_then(|parsed| match parsed {
        Parsed::Serve(line) if line.fork && !background::is_child() => {
            background::start(line.verbose)
        }
        Parsed::Serve(line) => serve::serve(*line).map(|()| 0),
        Parsed::List(place, tls) => list::run(&place, tls.as_ref()).map(|()| 0),
        Parsed::Done => Ok(0),
    });
    outcome.unwrap_or_else(|Failure { prefix, error }| {
        out::report(&prefix, &error);
        1
    })
}
