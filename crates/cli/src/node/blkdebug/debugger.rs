//! Rules at work: which are active, the state of the node, and suspended requests.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use holstein::{Event, Listener};

use super::events::{self, Name};
use super::rules::{Action, Io, Rule};
use crate::disk::DiskError;
use crate::out::say;

/// How long a wait for a suspended request lasts before other work is looked at.
const MOMENT: Duration = Duration::from_millis(5);

/// The rules of one node.
pub(crate) struct Debugger {
    inner: Mutex<Inner>,
    /// A request was suspended or is to go on.
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    state: u64,
    /// Rules by the number that they got when they came.
    rules: Vec<(u64, Rule)>,
    /// Numbers of the rules that are active, the last first.
    active: Vec<u64>,
    /// Suspended requests and their tags, the last first.
    suspended: Vec<(u64, String)>,
    /// The next number.
    next: u64,
}

impl Inner {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn add(&mut self, rule: Rule) {
        let number = self.number();
        if rule.event == events::NONE {
            self.active.insert(0, number);
        }
        self.rules.push((number, rule));
    }

    fn remove(&mut self, number: u64) {
        self.rules.retain(|(known, _)| *known != number);
        self.active.retain(|known| *known != number);
    }

    /// Applies the rules of an event, and returns the tags under which the request is suspended.
    fn apply(&mut self, event: Name) -> Vec<String> {
        let mut tags = Vec::new();
        let state = self.state;
        let mut injects = false;
        let due = self
            .rules
            .iter()
            .filter(|(_, rule)| rule.event == event && (rule.state == 0 || rule.state == state));
        for (number, rule) in due.cloned().collect::<Vec<_>>() {
            match rule.action {
                Action::Inject { .. } => {
                    if !std::mem::replace(&mut injects, true) {
                        self.active.clear();
                    }
                    self.active.insert(0, number);
                }
                Action::SetState(state) => self.state = state,
                Action::Suspend(tag) => {
                    self.remove(number);
                    tags.push(tag);
                }
            }
        }
        tags
    }

    /// Lets the last request with that tag go on; false if there is none.
    fn resume_one(&mut self, tag: &str) -> bool {
        let Some(at) = self.suspended.iter().position(|(_, known)| known == tag) else {
            return false;
        };
        self.suspended.remove(at);
        say!("blkdebug: Resuming request '{tag}'\n");
        true
    }
}

impl Debugger {
    /// A node in state 1 with these rules.
    pub(super) fn new(rules: Vec<Rule>) -> Self {
        let mut inner = Inner { state: 1, ..Inner::default() };
        for rule in rules {
            inner.add(rule);
        }
        Self { inner: Mutex::new(inner), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is about to happen: rules come into force, and the request may have to wait here.
    pub(crate) fn event(&self, event: Name) {
        let mut inner = self.lock();
        for tag in inner.apply(event) {
            let number = inner.number();
            say!("blkdebug: Suspended request '{tag}'\n");
            inner.suspended.insert(0, (number, tag));
            self.changed.notify_all();
            while inner.suspended.iter().any(|(known, _)| *known == number) {
                inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Fails a request if an active rule says so.
    ///
    /// # Errors
    /// The errno of that rule.
    pub(super) fn check(&self, kind: Io, at: u64, len: u64) -> io::Result<()> {
        let mut inner = self.lock();
        let hit = inner.active.iter().find_map(|active| {
            let (number, rule) = inner.rules.iter().find(|(number, _)| number == active)?;
            rule.action.hits(kind, at, len).then(|| (*number, rule.action.clone()))
        });
        let Some((number, Action::Inject { errno, once, .. })) = hit else { return Ok(()) };
        if errno == 0 {
            return Ok(());
        }
        if once {
            inner.remove(number);
        }
        Err(io::Error::from_raw_os_error(errno))
    }

    /// Sets a breakpoint.
    ///
    /// # Errors
    /// `ENOENT` if there is no such event.
    pub(crate) fn set_breakpoint(&self, event: &str, tag: &str) -> Result<(), DiskError> {
        let event = events::named(event).ok_or_else(|| DiskError::from_errno(libc::ENOENT))?;
        self.lock().add(Rule { event, state: 0, action: Action::Suspend(tag.to_owned()) });
        Ok(())
    }

    /// Removes the breakpoints with that tag, and lets its requests go on.
    ///
    /// # Errors
    /// `ENOENT` if there is no such breakpoint; one that has stopped a request is gone already.
    pub(crate) fn remove_breakpoint(&self, tag: &str) -> Result<(), DiskError> {
        let mut inner = self.lock();
        let before = inner.rules.len();
        inner.rules.retain(|(_, rule)| rule.action != Action::Suspend(tag.to_owned()));
        let found = inner.rules.len() < before;
        while inner.resume_one(tag) {}
        self.changed.notify_all();
        if found { Ok(()) } else { Err(DiskError::from_errno(libc::ENOENT)) }
    }

    /// Lets the last request with that tag go on.
    ///
    /// # Errors
    /// `ENOENT` if there is none.
    pub(crate) fn resume(&self, tag: &str) -> Result<(), DiskError> {
        let found = self.lock().resume_one(tag);
        self.changed.notify_all();
        if found { Ok(()) } else { Err(DiskError::from_errno(libc::ENOENT)) }
    }

    /// Waits a moment for a request with that tag, and says whether one is suspended.
    pub(crate) fn wait_for(&self, tag: &str) -> bool {
        let is_there = |inner: &Inner| inner.suspended.iter().any(|(_, known)| known == tag);
        let inner = self.lock();
        if is_there(&inner) {
            return true;
        }
        let waited = self.changed.wait_timeout(inner, MOMENT);
        let (inner, _) = waited.unwrap_or_else(PoisonError::into_inner);
        is_there(&inner)
    }

    /// Removes all breakpoints and lets all requests go on.
    pub(crate) fn let_all_go(&self) {
        let mut inner = self.lock();
        inner.rules.retain(|(_, rule)| !matches!(rule.action, Action::Suspend(_)));
        for (_, tag) in std::mem::take(&mut inner.suspended) {
            say!("blkdebug: Resuming request '{tag}'\n");
        }
        self.changed.notify_all();
    }
}

impl Listener for Debugger {
    fn about_to(&self, event: Event) {
        for name in events::names_of(event) {
            self.event(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(event: Name, state: u64, action: Action) -> Rule {
        Rule { event, state, action }
    }

    fn inject(errno: i32, once: bool) -> Action {
        Action::Inject { errno, io: None, offset: None, once }
    }

    fn errno(debugger: &Debugger) -> Option<i32> {
        debugger.check(Io::Write, 0, 1).err().and_then(|error| error.raw_os_error())
    }

    #[test]
    fn an_event_makes_its_rules_active_until_another_does() {
        let rules = vec![
            rule("l2_load", 0, inject(5, false)),
            rule("write_aio", 0, inject(28, true)),
            rule("write_aio", 2, inject(1, false)),
        ];
        let debugger = Debugger::new(rules);
        assert_eq!(errno(&debugger), None);
        debugger.event("l2_load");
        assert_eq!((errno(&debugger), errno(&debugger)), (Some(5), Some(5)));
        debugger.event("write_aio");
        assert_eq!((errno(&debugger), errno(&debugger)), (Some(28), None), "once is once");
        debugger.event("write_aio");
        assert_eq!(errno(&debugger), None, "the rule is gone");
    }

    #[test]
    fn the_state_is_the_one_before_the_event() {
        let debugger = Debugger::new(vec![
            rule("write_aio", 0, Action::SetState(2)),
            rule("write_aio", 2, inject(5, false)),
        ]);
        debugger.event("write_aio");
        assert_eq!(errno(&debugger), None, "the first write set the state");
        debugger.event("write_aio");
        assert_eq!(errno(&debugger), Some(5));
        assert_eq!(errno(&Debugger::new(vec![rule("none", 0, inject(5, false))])), Some(5));
    }

    #[test]
    fn requests_stop_at_a_breakpoint_and_go_on_by_its_tag() {
        let debugger = Debugger::new(Vec::new());
        assert!(debugger.set_breakpoint("nothing", "a").is_err());
        assert!(debugger.resume("a").is_err() && debugger.remove_breakpoint("a").is_err());
        debugger.set_breakpoint("write_aio", "a").expect("the event exists");
        std::thread::scope(|scope| {
            let stopped = scope.spawn(|| debugger.event("write_aio"));
            while !debugger.wait_for("a") {}
            debugger.event("write_aio");
            debugger.resume("a").expect("a request is suspended");
            stopped.join().expect("the request goes on");
        });
        assert!(!debugger.wait_for("a"));
    }
}
