//! What a command is, and how its command line and failures are handled.

use super::help;
use crate::disk::DiskError;
use crate::node::{choose_backing_policy, wait_for_locks};
use crate::objects::{Objects, Outcome as ObjectOutcome};
use crate::out;
use crate::personality;
use crate::text::{Operands, Opt, Parsed, parse_options};

/// One command.
pub(crate) struct Command {
    /// The word on the command line.
    pub(crate) name: &'static str,
    /// One line about it.
    pub(crate) summary: &'static str,
    /// The forms of its command line, one a line, without the program's name.
    pub(crate) usage: &'static str,
    /// What its options and operands mean.
    pub(crate) help: &'static str,
    /// Its options; `--help` and `--object` come on top.
    pub(crate) options: &'static [Opt],
    /// What counts as an operand.
    pub(crate) operands: Operands,
    /// What it does.
    pub(crate) run: fn(&Args) -> Outcome,
}

/// The command line of a command, taken apart.
pub(crate) struct Args {
    /// Options and operands.
    pub(crate) parsed: Parsed,
    /// Secrets that were given.
    pub(crate) objects: Objects,
}

impl Args {
    /// Whether a flag was given.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.parsed.has(id)
    }

    /// The last value of an option.
    pub(crate) fn last(&self, id: &str) -> Option<&str> {
        self.parsed.last(id)
    }

    /// What is no option.
    pub(crate) fn operands(&self) -> &[String] {
        &self.parsed.operands
    }
}

/// The exit status of a command that did what it could, or why it could not.
pub(crate) type Outcome = Result<u8, Failure>;

/// Why a command stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The command line is wrong: a message, and where help is.
    Usage(String),
    /// Something failed: a text before the message, the message, and the exit status.
    Error(String, DiskError, u8),
    /// Everything was said already.
    Said(u8),
}

impl Failure {
    /// A failure with only a message.
    pub(crate) fn message(text: impl Into<String>) -> Self {
        Self::from(DiskError::invalid(text))
    }

    /// The same failure with another exit status.
    pub(crate) fn with_status(self, status: u8) -> Self {
        match self {
            Self::Error(prefix, error, _) => Self::Error(prefix, error, status),
            other => other,
        }
    }
}

impl From<DiskError> for Failure {
    fn from(error: DiskError) -> Self {
        Self::Error(String::new(), error, 1)
    }
}

/// Options that every command has.
const COMMON: [Opt; 3] = [
    Opt::flag("help", Some('h'), &["help"]),
    Opt::value("object", None, &["object"]),
    Opt::value("backing-policy", None, &["backing-policy"]),
];

/// Options that every command has under our own name.
const NATIVE: [Opt; 1] = [Opt::maybe("wait", &["wait"])];

/// Runs a command and returns the exit status.
pub(super) fn run(command: &Command, args: &[String]) -> u8 {
    let name = personality::name();
    let native: &[Opt] = if personality::is_native() { &NATIVE } else { &[] };
    let options: Vec<Opt> = COMMON.iter().chain(native).chain(command.options).copied().collect();
    let parsed = match parse_options(&options, args, command.operands) {
        Ok(parsed) => parsed,
        Err(error) => {
            out::error_text(&format!("{name} {}: {error}\n", command.name));
            try_help(command);
            return 1;
        }
    };
    if parsed.has("help") {
        help::print_command(command);
        return 0;
    }
    if let Some(Err(error)) = parsed.last("backing-policy").map(choose_backing_policy) {
        out::report("", &error);
        return 1;
    }
    if let Some(Err(error)) = parsed.last("wait").map(wait_for_locks) {
        out::report("", &error);
        return 1;
    }
    let outcome = match Objects::parse(&parsed.all("object")) {
        Ok((_, ObjectOutcome::Help(text))) => {
            out::text(&text);
            return 0;
        }
        Ok((objects, ObjectOutcome::Added)) => (command.run)(&Args { parsed, objects }),
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(status) | Err(Failure::Said(status)) => status,
        Err(Failure::Usage(message)) => {
            out::error_line(&message);
            try_help(command);
            1
        }
        Err(Failure::Error(prefix, error, status)) => {
            out::report(&prefix, &error);
            status
        }
    }
}

fn try_help(command: &Command) {
    let name = personality::name();
    out::error_text(&format!("Try '{name} {} --help' for more info\n", command.name));
}
