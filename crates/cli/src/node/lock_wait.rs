//! Images that others hold: who does, and waiting for them.

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use holstein_storage::{FileOptions, FileStorage, LockHolder, OpenError};

use crate::disk::DiskError;
use crate::text::Opt;
use crate::{out, personality};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// For how long the program waits; not at all where nothing is set.
static PATIENCE: OnceLock<Patience> = OnceLock::new();
/// Waiting is not said.
static SILENT: AtomicBool = AtomicBool::new(false);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    /// Until the file is free.
    Endless,
    /// Until then.
    Until(Instant),
}

impl Patience {
    fn parse(text: &str, now: Instant) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::Endless);
        }
        let seconds: f64 = text.parse().ok()?;
        let seconds = Duration::try_from_secs_f64(seconds).ok()?;
        Some(now.checked_add(seconds).map_or(Self::Endless, Self::Until))
    }

    fn is_over(self, now: Instant) -> bool {
        matches!(self, Self::Until(end) if now >= end)
    }
}

/// The option `--wait`, which commands have under our own name only.
pub(crate) const WAIT: Opt = Opt::maybe("wait", &["wait"])
    .takes("SECONDS", "where others use the image, wait until they do not (not at all)");

/// Lets nobody be told that the program waits: what is said would be taken for a failure.
pub(crate) fn wait_silently() {
    SILENT.store(true, Ordering::Relaxed);
}

/// Lets the program wait for images that others hold: for `text` seconds from now on, or, where it is
/// empty, until they are free.
///
/// # Errors
/// The text is no number of seconds.
pub(crate) fn wait_for_locks(text: &str) -> Result<(), DiskError> {
    let patience = Patience::parse(text, Instant::now()).ok_or_else(|| {
        DiskError::invalid(format!("--wait takes a number of seconds, not '{text}'"))
    })?;
    // Options are read before the first image is opened; only the first one counts.
    PATIENCE.get_or_init(|| patience);
    Ok(())
}

/// Opens a file, when it is free if the program is to wait for that.
///
/// # Errors
/// As [`FileStorage::open`].
pub(crate) fn open_when_free(path: &Path, options: &FileOptions) -> Result<FileStorage, OpenError> {
    // The messages of other names have nobody in them.
    let first = FileOptions { skip_holders: !personality::is_native(), ..*options };
    let again = FileOptions { skip_holders: true, ..*options };
    let mut opened = FileStorage::open(path, &first);
    let mut told = false;
    while let (Err(OpenError::Lock { holders, .. }), Some(patience)) = (&opened, PATIENCE.get()) {
        if patience.is_over(Instant::now()) {
            // Who has it now may not be who had it then.
            return FileStorage::open(path, &first);
        }
        if !told && !SILENT.load(Ordering::Relaxed) {
            let by = named(holders);
            out::error_line(&format!("waiting for '{}', which is in use{by}", path.display()));
        }
        told = true;
        std::thread::sleep(PAUSE);
        opened = FileStorage::open(path, &again);
    }
    opened
}

/// Who holds a file, as the end of a line; nothing under the names of other programs, whose messages
/// scripts compare.
pub(super) fn named(holders: &[LockHolder]) -> String {
    if !personality::is_native() || holders.is_empty() {
        return String::new();
    }
    format!(" by {}", LockHolder::all(holders))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_may_be_left_out_or_have_a_fraction() {
        let now = Instant::now();
        let parse = |text| Patience::parse(text, now);
        assert_eq!(parse(""), Some(Patience::Endless));
        assert_eq!(parse("2.5"), Some(Patience::Until(now + Duration::from_millis(2500))));
        assert_eq!(parse("1e300"), None);
        assert_eq!(parse("1e19"), Some(Patience::Endless));
        for bad in ["x", "-1", "1s", "nan"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert!(Patience::Until(now).is_over(now));
        assert!(!Patience::Endless.is_over(now));
    }
}
