//! Progress under our own name: how far, how fast, and how long still.
//!
//! A [`Meter`] makes texts and leaves printing them to its owner, so that it needs no clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::text::{Json, human_size};

/// Nothing is shown of what takes no longer, unless it was asked for.
const QUIET: Duration = Duration::from_secs(1);
/// Between two lines.
const EVERY: Duration = Duration::from_secs(1);
/// Between two states of a line on a terminal.
const OFTEN: Duration = Duration::from_millis(100);
/// The rate is that of this time.
const WINDOW: Duration = Duration::from_secs(5);

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One line of a terminal, over and over. It stays where it was asked for.
    Terminal {
        /// It was asked for.
        asked: bool,
    },
    /// A line now and then.
    Lines,
    /// An object on a line now and then.
    Json,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Bytes of the disk.
    Bytes,
    /// Steps of no certain size.
    Steps,
}

/// How far something is.
#[derive(Debug)]
pub(super) struct Meter {
    form: Form,
    unit: Unit,
    began: Instant,
    printed: Option<Instant>,
    /// Columns of the line on the terminal.
    columns: usize,
    phase: Option<&'static str>,
    done: u64,
    total: u64,
    /// What was done when, over the last while.
    samples: VecDeque<(Instant, u64)>,
}

impl Meter {
    /// Nothing is done at `now`.
    pub(super) fn new(form: Form, unit: Unit, now: Instant) -> Self {
        Self {
            form,
            unit,
            began: now,
            printed: None,
            columns: 0,
            phase: None,
            done: 0,
            total: 0,
            samples: VecDeque::from([(now, 0)]),
        }
    }

    /// Begins another part of the work, which is counted from 0.
    pub(super) fn enter(&mut self, phase: &'static str, now: Instant) {
        if self.phase != Some(phase) {
            self.phase = Some(phase);
            (self.done, self.total) = (0, 0);
            self.samples = VecDeque::from([(now, 0)]);
        }
    }

    /// Notes that `done` of `total` is done, where a total of 0 is one that nobody knows, and returns what is to be printed.
    pub(super) fn update(&mut self, done: u64, total: u64, now: Instant) -> Option<String> {
        (self.done, self.total) = (done, total);
        let pause = if let Form::Terminal { .. } = self.form { OFTEN } else { EVERY };
        let last = self.samples.back().map_or(self.began, |(at, _)| *at);
        if now.duration_since(last) >= OFTEN {
            self.samples.push_back((now, done));
            while self.samples.len() > 2
                && self.samples.front().is_some_and(|(at, _)| now.duration_since(*at) > WINDOW)
            {
                self.samples.pop_front();
            }
        }
        let due = match self.printed {
            Some(printed) => now.duration_since(printed) >= pause,
            None => now.duration_since(self.began) >= QUIET,
        };
        due.then(|| self.print(now))
    }

    /// Notes that all is done.
    pub(super) fn complete(&mut self) {
        self.total = self.total.max(self.done).max(1);
        self.done = self.total;
    }

    /// Returns what is to be printed at the end; `complete` if all was done.
    pub(super) fn finish(&mut self, complete: bool, now: Instant) -> Option<String> {
        if complete {
            self.complete();
        }
        match self.form {
            Form::Terminal { asked: false } => {
                // Nobody asked for it, so nothing is left of it.
                let blanks = self.columns;
                (blanks > 0).then(|| format!("\r{:blanks$}\r", ""))
            }
            Form::Terminal { asked: true } => {
                let line = self.summary(now);
                let columns = self.columns;
                Some(format!("\r{line:<columns$}\n"))
            }
            Form::Lines => Some(format!("{}\n", self.summary(now))),
            Form::Json => Some(self.print(now)),
        }
    }

    /// The state as it is printed while the work goes on.
    fn print(&mut self, now: Instant) -> String {
        self.printed = Some(now);
        match self.form {
            Form::Json => format!("{}\n", Json::map([("progress", self.object(now))]).compact()),
            Form::Lines => format!("{}\n", self.line(now)),
            Form::Terminal { .. } => {
                let line = self.line(now);
                let before = std::mem::replace(&mut self.columns, line.len());
                format!("\r{line:<before$}")
            }
        }
    }

    /// Nobody knows how much there is to do.
    fn is_endless(&self) -> bool {
        self.total == 0 && self.done > 0
    }

    fn percent(&self) -> f64 {
        match self.total {
            0 => 0.0,
            total => (self.done as f64 * 100.0 / total as f64).min(100.0),
        }
    }

    /// Units in a second over the last while, once something was measured.
    fn rate(&self, now: Instant) -> Option<f64> {
        let (from, before) = *self.samples.front()?;
        let seconds = now.duration_since(from).as_secs_f64();
        let done = self.done.checked_sub(before)?;
        (seconds > 0.0 && done > 0).then(|| done as f64 / seconds)
    }

    /// Seconds until the end, if it goes on like that.
    fn eta(&self, now: Instant) -> Option<f64> {
        let rest = self.total.checked_sub(self.done)?;
        Some(rest as f64 / self.rate(now)?)
    }

    fn line(&self, now: Instant) -> String {
        let phase = self.phase.map(|phase| format!("{phase}: ")).unwrap_or_default();
        let mut line = match self.is_endless() {
            true => phase + &human_size(self.done),
            false => format!("{phase}{:5.1} %", self.percent()),
        };
        if self.unit == Unit::Bytes {
            if !self.is_endless() {
                let (done, total) = (human_size(self.done), human_size(self.total));
                line.push_str(&format!("  {done} of {total}"));
            }
            if let Some(rate) = self.rate(now) {
                line.push_str(&format!("  {}/s", human_size(rate as u64)));
            }
        }
        if let Some(seconds) = self.eta(now) {
            line.push_str(&format!("  ETA {}", clock(seconds)));
        }
        line
    }

    /// The line that stays.
    fn summary(&self, now: Instant) -> String {
        let seconds = now.duration_since(self.began).as_secs_f64();
        let mut line = format!("{:5.1} %", self.percent());
        if self.unit == Unit::Bytes && self.total > 0 {
            line.push_str(&format!("  {}", human_size(self.done)));
            if seconds > 0.0 {
                let rate = human_size((self.done as f64 / seconds) as u64);
                line.push_str(&format!("  {rate}/s"));
            }
        }
        line.push_str(&format!("  in {seconds:.1} s"));
        line
    }

    fn object(&self, now: Instant) -> Json {
        let two_places = |number: f64| Json::Float((number * 100.0).round() / 100.0);
        let or_null = |number: Option<f64>| number.map_or(Json::Null, two_places);
        let done = if self.unit == Unit::Bytes { "bytes" } else { "steps" };
        let mut object = Json::Map(Vec::new());
        if let Some(phase) = self.phase {
            object.push("phase", phase);
        }
        let known = !self.is_endless();
        object.push("percent", or_null(known.then(|| self.percent())));
        object.push(done, self.done);
        object.push("total", if known { self.total.into() } else { Json::Null });
        object.push("rate", or_null(self.rate(now)));
        object.push("eta", or_null(self.eta(now)));
        object
    }
}

/// Seconds as `m:ss` or `h:mm:ss`, rounded up.
fn clock(seconds: f64) -> String {
    let seconds = seconds.ceil() as u64;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    match hours {
        0 => format!("{minutes}:{:02}", seconds % 60),
        _ => format!("{hours}:{minutes:02}:{:02}", seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn nothing_is_shown_of_what_takes_less_than_a_second() {
        let start = Instant::now();
        let mut meter = Meter::new(Form::Terminal { asked: false }, Unit::Bytes, start);
        for step in 1..10 {
            assert_eq!(meter.update(step, 10, at(start, step * 100)), None);
        }
        assert_eq!(meter.finish(true, at(start, 950)), None);
    }

    #[test]
    fn a_terminal_has_rate_and_time_left_and_is_clean_afterwards() {
        let start = Instant::now();
        let mut meter = Meter::new(Form::Terminal { asked: false }, Unit::Bytes, start);
        let mut shown = Vec::new();
        for tenth in 1..=20 {
            shown.extend(meter.update(tenth * MIB, 100 * MIB, at(start, tenth * 100)));
        }
        assert_eq!(shown.len(), 11, "from one second on, ten times a second");
        assert_eq!(shown[10].trim(), "20.0 %  20 MiB of 100 MiB  10 MiB/s  ETA 0:08");
        let end = meter.finish(false, at(start, 2100)).expect("there is a line to be removed");
        assert!(end.starts_with('\r') && end.ends_with('\r') && end.trim().is_empty());
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let start = Instant::now();
        let mut meter = Meter::new(Form::Lines, Unit::Bytes, start);
        for tenth in 1..=100 {
            meter.update(tenth * MIB, 1000 * MIB, at(start, tenth * 100));
        }
        // From here on it is ten times as slow.
        for second in 1..=6 {
            meter.update((100 + second) * MIB, 1000 * MIB, at(start, 10_000 + second * 1000));
        }
        let now = at(start, 16_000);
        let rate = meter.rate(now).expect("something was done");
        assert!((rate / MIB as f64 - 1.0).abs() < 0.01, "{rate}");
        assert_eq!(clock(meter.eta(now).expect("there is a rate")), "14:54");
        assert_eq!(clock(3725.2), "1:02:06");
    }

    #[test]
    fn objects_say_what_is_not_known_by_null() {
        let start = Instant::now();
        let mut meter = Meter::new(Form::Json, Unit::Bytes, start);
        let line = meter.update(0, 10, at(start, 1500)).expect("a second is over");
        let first = "{\"progress\": {\"percent\": 0, \"bytes\": 0, \"total\": 10, \"rate\": null, \
                     \"eta\": null}}\n";
        assert_eq!(line, first);
        let line = meter.finish(true, at(start, 2000)).expect("the end is always told");
        assert!(
            line.contains(
                "\"percent\": 100, \"bytes\": 10, \"total\": 10, \"rate\": 5, \"eta\": 0"
            )
        );
    }

    #[test]
    fn a_length_that_nobody_knows_has_no_percent() {
        let start = Instant::now();
        let mut meter = Meter::new(Form::Lines, Unit::Bytes, start);
        let line = meter.update(3 * MIB, 0, at(start, 1500)).expect("a second is over");
        assert_eq!(line, "3 MiB  2 MiB/s\n");
        meter.form = Form::Json;
        let line = meter.update(6 * MIB, 0, at(start, 3000)).expect("another one");
        assert!(line.contains("\"percent\": null, \"bytes\": 6291456, \"total\": null"), "{line}");
        let end = meter.finish(true, at(start, 3000)).expect("the end is told");
        assert!(end.contains("\"percent\": 100, \"bytes\": 6291456, \"total\": 6291456"), "{end}");
    }

    #[test]
    fn a_phase_is_counted_for_itself() {
        let start = Instant::now();
        let mut meter = Meter::new(Form::Lines, Unit::Steps, start);
        meter.enter("tables", start);
        meter.update(90, 100, at(start, 900));
        meter.enter("refcounts", at(start, 1000));
        let line = meter.update(1, 4, at(start, 2000)).expect("a second is over");
        assert_eq!(line, "refcounts:  25.0 %  ETA 0:03\n");
    }
}
