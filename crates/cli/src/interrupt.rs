//! Files that go away when a signal ends the program.

use std::fs;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::out;

/// The signals that ask for an end.
const ENDING: [i32; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP];
/// How often, and how far apart, a file is looked for that is about to be made.
const LOOKS: usize = 20;
const PAUSE: Duration = Duration::from_millis(2);

static FILES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
static WATCH: OnceLock<bool> = OnceLock::new();

fn files() -> MutexGuard<'static, Vec<PathBuf>> {
    FILES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file that is removed when this value goes, or a signal ends the program, whichever comes first.
#[derive(Debug)]
pub(crate) struct Doomed {
    path: PathBuf,
}

impl Doomed {
    /// A file that is about to be made.
    ///
    /// # Errors
    /// There are too many open files or threads.
    pub(crate) fn new(path: PathBuf) -> io::Result<Self> {
        files().push(path.clone());
        let doomed = Self { path };
        if WATCH.get().is_none() {
            watch()?;
            let _ = WATCH.set(true);
        }
        Ok(doomed)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file its name for good. A signal comes before that or after it.
    ///
    /// # Errors
    /// It cannot be renamed; then it is removed.
    pub(crate) fn rename(self, to: &Path) -> io::Result<()> {
        let mut files = files();
        fs::rename(&self.path, to)?;
        files.retain(|path| *path != self.path);
        Ok(())
    }
}

impl Drop for Doomed {
    fn drop(&mut self) {
        let mut files = files();
        if files.contains(&self.path) {
            // It may never have come to be.
            let _ = fs::remove_file(&self.path);
            files.retain(|path| *path != self.path);
        }
    }
}

/// Starts a thread that waits for a signal, removes the files, and lets the signal do what it does
/// by itself. Signals that are ignored stay ignored.
fn watch() -> io::Result<()> {
    let (mut heard, told) = UnixStream::pair()?;
    let which = Arc::new(AtomicUsize::new(0));
    let ignored = ignored();
    for signal in ENDING.into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0) {
        let number = usize::try_from(signal).unwrap_or_default();
        // Handlers run in the order of their registration: the number is there when the byte comes.
        signal_hook::flag::register_usize(signal, Arc::clone(&which), number)?;
        signal_hook::low_level::pipe::register(signal, told.try_clone()?)?;
    }
    let listen = move || {
        // `told` has copies that live as long as the handlers do.
        let _keep = told;
        if !matches!(heard.read(&mut [0]), Ok(1)) {
            return;
        }
        let files = files();
        for path in files.iter() {
            remove(path);
        }
        if out::is_json() {
            out::error_line("ended by a signal");
        }
        let signal = i32::try_from(which.load(Ordering::Relaxed)).unwrap_or(libc::SIGTERM);
        // It does not return, and no name changes until then: the list is locked.
        let _ = signal_hook::low_level::emulate_default_handler(signal);
        std::process::exit(1);
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(listen)?;
    Ok(())
}

/// Removes a file, which may be about to be made this very moment.
fn remove(path: &Path) {
    for _ in 0..LOOKS {
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => std::thread::sleep(PAUSE),
            _ => return,
        }
    }
}

/// The signals that this process ignores, a bit each, as the system tells; none where it does not.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_goes_unless_it_gets_a_name() {
        let dir = std::env::temp_dir().join(format!("holstein-doomed-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("the directory for temporary files is writable");
        let (part, end) = (dir.join("part"), dir.join("end"));
        let doomed = Doomed::new(part.clone()).expect("threads can be started");
        fs::write(&part, "half").expect("the directory is writable");
        drop(doomed);
        assert!(!part.exists());
        let doomed = Doomed::new(part.clone()).expect("threads can be started");
        fs::write(&part, "whole").expect("the directory is writable");
        doomed.rename(&end).expect("both are in one directory");
        assert!(!part.exists() && end.exists());
        assert!(files().iter().all(|path| *path != part));
        fs::remove_dir_all(&dir).expect("the directory is ours");
    }
}
