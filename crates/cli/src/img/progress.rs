//! How far a command is: the line of the reference under its name, a [`Meter`] under our own, and one
//! report on a signal where there is neither.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::meter::{Form, Meter, Unit};
use super::{Args, Failure, Outcome};
use crate::out::{self, say};
use crate::personality;

/// How far a command is.
pub(super) struct Progress {
    /// The line of the reference is printed.
    line: bool,
    meter: Option<Meter>,
    /// Percent by which it has to move before the line is printed again.
    step: f64,
    last: f64,
    asked: Arc<AtomicBool>,
}

impl Progress {
    /// Begins at zero, as the command line wants it to be shown. The line of the reference moves by
    /// `step` percent.
    pub(super) fn start(args: &Args, step: f64, unit: Unit) -> Self {
        let shown = args.has("progress") && !args.has("quiet");
        let native = personality::is_native();
        let meter = native.then(|| form(shown, args.has("quiet"))).flatten();
        let asked = Arc::new(AtomicBool::new(false));
        if !shown {
            // Without the handler the signal would end the program; then only reports are missing.
            let _ = signal_hook::flag::register(libc::SIGUSR1, Arc::clone(&asked));
        }
        let meter = meter.map(|form| Meter::new(form, unit, Instant::now()));
        let mut progress = Self { line: shown && !native, meter, step, last: 0.0, asked };
        progress.print(0.0);
        progress
    }

    /// As [`Self::start`] under our own name; nothing under the classic names, where the command shows
    /// none.
    pub(super) fn own(args: &Args, unit: Unit) -> Self {
        match personality::is_native() {
            true => Self::start(args, 1.0, unit),
            false => Self { line: false, meter: None, step: 1.0, last: 0.0, asked: Arc::default() },
        }
    }

    /// Whether it is shown, so that knowing how much there is to do is worth something.
    pub(super) fn is_shown(&self) -> bool {
        self.line || self.meter.is_some()
    }

    /// Says that another part of the work begins, which is counted from 0.
    pub(super) fn enter(&mut self, phase: &'static str) {
        if let Some(meter) = &mut self.meter {
            meter.enter(phase, Instant::now());
        }
    }

    /// Says how much space of a new image is prepared before the work begins; the reference's line has no
    /// place for that.
    pub(super) fn prepared(&mut self, done: u64, total: u64) {
        if let Some(meter) = &mut self.meter {
            let now = Instant::now();
            meter.enter("preallocation", now);
            show(meter.update(done, total, now));
        }
    }

    /// Says that `done` of `total` is done.
    pub(super) fn update(&mut self, done: u64, total: u64) {
        let percent = if total == 0 { 100.0 } else { done as f64 * 100.0 / total as f64 };
        if let Some(meter) = &mut self.meter {
            show(meter.update(done, total, Instant::now()));
        }
        if percent >= self.last + self.step || (percent >= 100.0 && self.last < 100.0) {
            self.last = percent;
            self.print(percent);
        } else if self.asked.swap(false, Ordering::Relaxed) {
            out::error_text(&format!("    ({percent:3.2}/100%)\n"));
        }
    }

    /// Says that all is done, however much that was.
    pub(super) fn complete(&mut self) {
        match &mut self.meter {
            Some(meter) => meter.complete(),
            None => self.update(1, 1),
        }
    }

    /// Ends what is ours, so that text can follow; the line of the reference ends behind it.
    pub(super) fn settle(&mut self) {
        if let Some(mut meter) = self.meter.take() {
            show(meter.finish(false, Instant::now()));
        }
    }

    /// Prints the end, also after a failure, where `done` is false.
    pub(super) fn finish(mut self, done: bool) {
        if let Some(meter) = &mut self.meter {
            show(meter.finish(done, Instant::now()));
        }
        if done {
            self.print(100.0);
        }
        if self.line {
            say!("\n");
            out::flush();
        }
    }

    /// Says how a command ended: its error, where it has one, goes before the end of the reference's
    /// line, and behind ours.
    pub(super) fn conclude(self, result: Result<(), Failure>) -> Outcome {
        if self.meter.is_some() {
            self.finish(result.is_ok());
            return result.map(|()| 0);
        }
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
        if self.line {
            say!("    ({percent:3.2}/100%)\r");
            out::flush();
        }
    }
}

/// The form that fits, if anything is to be shown: on a terminal what takes long is shown by itself.
fn form(asked: bool, quiet: bool) -> Option<Form> {
    match (out::is_json(), std::io::stderr().is_terminal()) {
        (true, _) => asked.then_some(Form::Json),
        (false, true) => (asked || !quiet).then_some(Form::Terminal { asked }),
        (false, false) => asked.then_some(Form::Lines),
    }
}

fn show(text: Option<String>) {
    if let Some(text) = text {
        out::progress_text(&text);
    }
}
