//! Signals that end the server.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use holstein_nbd::Waker;

/// The signals that ask for an orderly end.
const ENDING: [i32; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP];

/// Ends the server of `waker` when one of the signals comes, from now to the end of the process.
///
/// # Errors
/// There are too many open files or threads.
pub(super) fn end_by(waker: &Arc<Waker>) -> io::Result<()> {
    let (mut heard, told) = UnixStream::pair()?;
    for signal in ENDING {
        signal_hook::low_level::pipe::register(signal, told.try_clone()?)?;
    }
    let waker = Arc::clone(waker);
    let listen = move || {
        // `told` lives as long as the handlers do: this ends with the first signal.
        let _ = heard.read(&mut [0]);
        waker.end();
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(listen)?;
    Ok(())
}
