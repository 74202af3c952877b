//! Rules as options describe them.

use super::events::{self, Name};
use crate::disk::DiskError;
use crate::node::Options;

/// The kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Io {
    /// A read.
    Read,
    /// A write of data.
    Write,
    /// A write of zeroes.
    WriteZeroes,
    /// A discard.
    Discard,
    /// A flush.
    Flush,
    /// A question about what is allocated.
    BlockStatus,
}

const KINDS: [(&str, Io); 6] = [
    ("read", Io::Read),
    ("write", Io::Write),
    ("write-zeroes", Io::WriteZeroes),
    ("discard", Io::Discard),
    ("flush", Io::Flush),
    ("block-status", Io::BlockStatus),
];

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Lets requests fail from now on.
    Inject {
        /// With this errno; 0 lets them succeed.
        errno: i32,
        /// Only requests of this kind; without it all but questions.
        io: Option<Io>,
        /// Only requests that touch this byte.
        offset: Option<u64>,
        /// Only one request.
        once: bool,
    },
    /// Gives the node another state.
    SetState(u64),
    /// Stops the request until it is resumed by its tag.
    Suspend(String),
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// The event that it waits for.
    pub(super) event: Name,
    /// The state that the node must have; 0 is any.
    pub(super) state: u64,
    /// What happens then.
    pub(super) action: Action,
}

impl Action {
    /// Whether a request of `len` bytes at `at` fails under it.
    pub(super) fn hits(&self, kind: Io, at: u64, len: u64) -> bool {
        let Self::Inject { io, offset, .. } = self else { return false };
        let fits = io.map_or(kind != Io::BlockStatus, |io| io == kind);
        fits && offset.is_none_or(|byte| at <= byte && byte - at < len)
    }
}

/// Removes all rules from a node's options.
///
/// # Errors
/// A rule lacks its event, or a value is not one that its option has.
pub(super) fn take(options: &mut Options) -> Result<Vec<Rule>, DiskError> {
    let mut rules = Vec::new();
    for group in ["inject-error", "set-state"] {
        let mut entries = options.take_node(group);
        while let Some(number) = entries.first_key().map(str::to_owned) {
            let number = number.split('.').next().unwrap_or_default().to_owned();
            let mut rule = entries.take_node(&number);
            if rule.is_empty() {
                return Err(DiskError::invalid(format!(
                    "Unexpected option '{group}.{number}' for a list of rules"
                )));
            }
            rules.push(take_rule(group, &mut rule)?);
        }
    }
    Ok(rules)
}

/// One rule out of its own options, which are those of a section of a file too.
pub(super) fn take_rule(group: &str, options: &mut Options) -> Result<Rule, DiskError> {
    let event = options.take_text("event")?;
    let state = options.take_number("state")?.unwrap_or(0);
    let action = if group == "set-state" {
        Action::SetState(options.take_number("new_state")?.unwrap_or(0))
    } else {
        let io = match options.take_text("iotype")? {
            None => None,
            Some(name) => Some(
                KINDS
                    .iter()
                    .find(|(known, _)| *known == name)
                    .ok_or_else(|| invalid_value(&name))?
                    .1,
            ),
        };
        let errno = options.take_number("errno")?.map_or(libc::EIO, low_bits);
        // A sector past the largest offset is none that can be touched, and so is -1.
        let sector = options.take_number("sector")?.filter(|sector| *sector != u64::MAX);
        let once = options.take_bool("once")?.unwrap_or(false);
        // Every request here runs in a thread of its own: all errors come at once.
        options.take_bool("immediately")?;
        Action::Inject { errno, io, offset: sector.map(|n| n.saturating_mul(512)), once }
    };
    if let Some(unknown) = options.first_key() {
        return Err(DiskError::invalid(format!(
            "[{group}] section doesn't support the option '{unknown}'"
        )));
    }
    let event = event.ok_or_else(|| DiskError::invalid("Missing event name for rule"))?;
    let event = events::named(&event).ok_or_else(|| invalid_value(&event))?;
    Ok(Rule { event, state, action })
}

fn invalid_value(value: &str) -> DiskError {
    DiskError::invalid(format!("invalid parameter value: {value}"))
}

/// An errno as C narrows a number to an `int`.
fn low_bits(number: u64) -> i32 {
    let low = u32::try_from(number & u64::from(u32::MAX)).unwrap_or(0);
    low.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Result<Vec<Rule>, String> {
        take(&mut Options::parse(text, None)).map_err(|error| error.to_string())
    }

    #[test]
    fn rules_are_read_by_their_numbers() {
        let found = rules(
            "inject-error.0.event=l2_load,inject-error.1.event=write_aio,inject-error.1.errno=28,\
             inject-error.1.sector=3,inject-error.1.once=on,set-state.0.event=read_aio,\
             set-state.0.new_state=2,set-state.0.state=1",
        );
        let found = found.expect("the rules are well formed");
        let inject = |errno, offset, once| Action::Inject { errno, io: None, offset, once };
        assert_eq!(
            found,
            [
                Rule { event: "l2_load", state: 0, action: inject(libc::EIO, None, false) },
                Rule {
                    event: "write_aio",
                    state: 0,
                    action: inject(libc::ENOSPC, Some(1536), true)
                },
                Rule { event: "read_aio", state: 1, action: Action::SetState(2) },
            ]
        );
    }

    #[test]
    fn what_is_wrong_with_a_rule_is_said() {
        for (text, error) in [
            ("inject-error.0.errno=5", "Missing event name for rule"),
            ("inject-error.0.event=foo", "invalid parameter value: foo"),
            (
                "inject-error.0.event=none,inject-error.0.errno=x",
                "Parameter 'errno' expects a number",
            ),
            ("inject-error.0.event=none,inject-error.0.iotype=x", "invalid parameter value: x"),
            (
                "set-state.0.event=none,set-state.0.foo=2",
                "[set-state] section doesn't support the option 'foo'",
            ),
        ] {
            assert_eq!(rules(text).err().as_deref(), Some(error), "{text}");
        }
        assert!(rules("inject-error.0=5").is_err());
    }

    #[test]
    fn a_sector_is_hit_by_requests_that_touch_it() {
        let action = Action::Inject { errno: 5, io: None, offset: Some(1024), once: false };
        assert!(action.hits(Io::Read, 1024, 1) && action.hits(Io::Write, 0, 1025));
        assert!(!action.hits(Io::Read, 1025, 9) && !action.hits(Io::Write, 0, 1024));
        assert!(!action.hits(Io::Flush, 0, 0) && !action.hits(Io::BlockStatus, 0, 4096));
    }
}
