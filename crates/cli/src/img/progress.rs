//! The progress line, and one report on a signal where there is no such line.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Failure, Outcome};
use crate::out::{self, say};

/// How far a command is.
pub(super) struct Progress {
    shown: bool,
    /// Percent by which it has to move before it is printed again.
    step: f64,
    last: f64,
    asked: Arc<AtomicBool>,
}

impl Progress {
    /// Begins at zero; `shown` is `-p` without `-q`.
    pub(super) fn start(shown: bool, step: f64) -> Self {
        let asked = Arc::new(AtomicBool::new(false));
        if !shown {
            // Without the handler the signal would end the program; then only reports are missing.
            let _ = signal_hook::flag::register(libc::SIGUSR1, Arc::clone(&asked));
        }
        let mut progress = Self { shown, step, last: 0.0, asked };
        progress.print(0.0);
        progress
    }

    /// Whether the line is printed.
    pub(super) fn is_shown(&self) -> bool {
        self.shown
    }

    /// Says that `done` of `total` is done.
    pub(super) fn update(&mut self, done: u64, total: u64) {
        let percent = if total == 0 { 100.0 } else { done as f64 * 100.0 / total as f64 };
        if percent >= self.last + self.step || (percent >= 100.0 && self.last < 100.0) {
            self.last = percent;
            self.print(percent);
        } else if self.asked.swap(false, Ordering::Relaxed) {
            out::error_text(&format!("    ({percent:3.2}/100%)\n"));
        }
    }

    /// Prints the end, also after a failure, where `done` is false.
    pub(super) fn finish(mut self, done: bool) {
        if done {
            self.print(100.0);
        }
        if self.shown {
            say!("\n");
            out::flush();
        }
    }

    /// Says how a command ended: its error, where it has one, goes before the end of the line.
    pub(super) fn conclude(self, result: Result<(), Failure>) -> Outcome {
        if let Err(Failure::Error(prefix, error, _)) = &result {
            out::report(prefix, error);
        }
        self.finish(result.is_ok());
        match result {
            Ok(()) => Ok(0),
            Err(Failure::Error(_, _, status)) => Err(Failure::Said(status)),
            Err(other) => Err(other),
        }
    }

    fn print(&mut self, percent: f64) {
        if self.shown {
            say!("    ({percent:3.2}/100%)\r");
            out::flush();
        }
    }
}
