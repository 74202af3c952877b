//! Requests in flight, and lines from standard input.
//!
//! Every asynchronous request has a thread of its own, which sends its report when it is done. The
//! reports are printed by the thread that runs the commands, and only where the reference looks for
//! completed requests: while it does I/O for another command, while it sleeps, in `aio_flush`, at the
//! prompt, and before a file is closed.
//!
//! Requests that end together are reported in the order in which they were started: of requests that
//! waited for another one, a thread may get its turn to say so before the thread of that other one.
//!
//! # Invariants
//! A thread lets go of its disk before it sends its report.

use std::collections::BTreeSet;
use std::io::BufRead;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::out;

/// At the prompt a line that is there already goes before reports which arrive with it.
const LINE_FIRST: Duration = Duration::from_millis(2);

/// So long a report waits for those of requests that were started earlier and still run.
const EARLIER_FIRST: Duration = Duration::from_millis(20);

/// What the command thread waits for.
enum Event {
    /// The request with this number is done, with its report.
    Finished(u64, String),
    /// The next line of standard input; none at its end.
    Line(Option<String>),
}

/// The requests in flight.
pub(super) struct Jobs {
    sender: Sender<Event>,
    receiver: Receiver<Event>,
    /// Requests up to now.
    started: u64,
    /// Those whose threads have not sent their report yet.
    running: BTreeSet<u64>,
    /// Reports that were not printed yet, with the numbers of their requests.
    done: Vec<(u64, String)>,
    /// Asks the thread that reads standard input for one more line.
    reader: Option<Sender<()>>,
}

impl Jobs {
    /// No requests.
    pub(super) fn new() -> Self {
        let (sender, receiver) = channel();
        let running = BTreeSet::new();
        Self { sender, receiver, started: 0, running, done: Vec::new(), reader: None }
    }

    /// Runs `job` in a thread; what it returns is printed later.
    ///
    /// # Errors
    /// The errno with which the thread could not be made.
    pub(super) fn start(
        &mut self,
        job: impl FnOnce() -> String + Send + 'static,
    ) -> Result<(), i32> {
        let (sender, number) = (self.sender.clone(), self.number());
        let run = move || {
            let mut report = Report { sender, number, text: String::new() };
            report.text = job();
        };
        match thread::Builder::new().name("aio".to_owned()).spawn(run) {
            Ok(_) => {
                self.running.insert(number);
                Ok(())
            }
            Err(error) => Err(error.raw_os_error().unwrap_or(libc::EAGAIN)),
        }
    }

    /// Takes the report of a request that needed no thread.
    pub(super) fn finish_at_once(&mut self, report: String) {
        let number = self.number();
        self.done.push((number, report));
    }

    /// Prints the reports that are there.
    pub(super) fn report_ready(&mut self) {
        while let Ok(Event::Finished(number, report)) = self.receiver.try_recv() {
            self.finished(number, report);
        }
        self.print_done();
    }

    /// Waits for every request and prints the reports.
    pub(super) fn wait_all(&mut self) {
        self.report_ready();
        while !self.running.is_empty() {
            match self.receiver.recv() {
                Ok(Event::Finished(number, report)) => self.finished(number, report),
                // No line is asked for while a command runs.
                Ok(Event::Line(_)) => {}
                Err(_) => break,
            }
            self.wait_for_earlier();
            self.print_done();
        }
    }

    /// Waits for `time` and prints the reports that come meanwhile.
    pub(super) fn sleep(&mut self, time: Duration) {
        let start = Instant::now();
        loop {
            self.report_ready();
            let rest = time.saturating_sub(start.elapsed());
            match self.receiver.recv_timeout(rest) {
                Ok(Event::Finished(number, report)) => self.finished(number, report),
                Ok(Event::Line(_)) => {}
                Err(_) => break,
            }
        }
        self.print_done();
    }

    /// Waits a little while requests run that were started before one whose report is there, and puts the
    /// reports in order.
    fn wait_for_earlier(&mut self) {
        let end = Instant::now() + EARLIER_FIRST;
        let is_earlier = |jobs: &Self| {
            let last = jobs.done.iter().map(|(number, _)| *number).max();
            jobs.running.first().copied() < last
        };
        while !self.running.is_empty() && is_earlier(self) {
            match self.receiver.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(Event::Finished(number, report)) => self.finished(number, report),
                Ok(Event::Line(_)) => {}
                Err(_) => break,
            }
        }
        self.done.sort_by_key(|(number, _)| *number);
    }

    /// The next line of standard input without its end, none at the end of the input. Reports that
    /// come before it are printed.
    pub(super) fn next_line(&mut self) -> Option<String> {
        self.report_ready();
        self.ask_for_line()?;
        loop {
            let event = if self.done.is_empty() {
                self.receiver.recv().ok()?
            } else {
                match self.receiver.recv_timeout(LINE_FIRST) {
                    Ok(event) => event,
                    Err(RecvTimeoutError::Disconnected) => return None,
                    Err(RecvTimeoutError::Timeout) => {
                        self.print_done();
                        continue;
                    }
                }
            };
            match event {
                Event::Line(line) => return line,
                Event::Finished(number, report) => self.finished(number, report),
            }
        }
    }

    fn number(&mut self) -> u64 {
        self.started += 1;
        self.started
    }

    fn finished(&mut self, number: u64, report: String) {
        self.running.remove(&number);
        self.done.push((number, report));
    }

    fn print_done(&mut self) {
        for (_, report) in self.done.drain(..) {
            out::text(&report);
        }
    }

    /// Asks for one line: the input is not read further than its commands run.
    fn ask_for_line(&mut self) -> Option<()> {
        if self.reader.is_none() {
            let (ask, asked) = channel();
            let sender = self.sender.clone();
            let read = move || read_lines(&asked, &sender);
            thread::Builder::new().name("stdin".to_owned()).spawn(read).ok()?;
            self.reader = Some(ask);
        }
        self.reader.as_ref()?.send(()).ok()
    }
}

/// Sends one line of standard input for each time it is asked.
fn read_lines(asked: &Receiver<()>, sender: &Sender<Event>) {
    while asked.recv().is_ok() {
        let mut line = Vec::new();
        let read = std::io::stdin().lock().read_until(b'\n', &mut line);
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        let line = match read {
            Ok(1..) => Some(String::from_utf8_lossy(&line).into_owned()),
            Ok(0) | Err(_) => None,
        };
        if sender.send(Event::Line(line)).is_err() {
            return;
        }
    }
}

/// A report that is sent however its thread ends.
struct Report {
    sender: Sender<Event>,
    number: u64,
    text: String,
}

impl Drop for Report {
    fn drop(&mut self) {
        // Without a receiver the program is ending, and nobody waits.
        let text = std::mem::take(&mut self.text);
        drop(self.sender.send(Event::Finished(self.number, text)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn waiting_for_all_waits_for_all() {
        let mut jobs = Jobs::new();
        let count = Arc::new(AtomicUsize::new(0));
        for _ in 0..8 {
            let count = Arc::clone(&count);
            let job = move || {
                thread::sleep(Duration::from_millis(5));
                count.fetch_add(1, Ordering::SeqCst);
                String::new()
            };
            jobs.start(job).expect("a thread can be made");
        }
        jobs.wait_all();
        assert_eq!((count.load(Ordering::SeqCst), jobs.running.len()), (8, 0));
        assert_eq!(Arc::strong_count(&count), 1, "every thread let go of what it had");
    }

    #[test]
    fn sleeping_takes_its_time_and_takes_reports() {
        let mut jobs = Jobs::new();
        jobs.start(String::new).expect("a thread can be made");
        let start = Instant::now();
        jobs.sleep(Duration::from_millis(20));
        assert!(start.elapsed() >= Duration::from_millis(20));
        assert!(jobs.running.is_empty());
    }

    #[test]
    fn requests_that_end_together_are_reported_in_their_order() {
        let mut jobs = Jobs::new();
        let (second, ended) = channel();
        let first = move || {
            // The second one is done; this one gets its turn a little later.
            ended.recv().ok();
            thread::sleep(Duration::from_millis(2));
            "first".to_owned()
        };
        jobs.start(first).expect("a thread can be made");
        let last = move || {
            second.send(()).ok();
            "second".to_owned()
        };
        jobs.start(last).expect("a thread can be made");
        let Ok(Event::Finished(number, report)) = jobs.receiver.recv() else { panic!("no report") };
        assert_eq!((number, &*report), (2, "second"));
        jobs.finished(number, report);
        jobs.wait_for_earlier();
        let reports: Vec<_> = jobs.done.iter().map(|(_, report)| &**report).collect();
        assert_eq!(reports, ["first", "second"]);
    }

    #[test]
    fn a_report_does_not_wait_long_for_an_earlier_one() {
        let mut jobs = Jobs::new();
        let (go, wait) = channel::<()>();
        let first = move || {
            wait.recv().ok();
            "first".to_owned()
        };
        jobs.start(first).expect("a thread can be made");
        jobs.finish_at_once("second".to_owned());
        jobs.wait_for_earlier();
        assert_eq!(jobs.done, [(2, "second".to_owned())]);
        drop(go);
        jobs.wait_all();
    }
}
