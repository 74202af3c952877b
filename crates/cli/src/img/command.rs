//! What a command is, and how its command line and failures are handled.

use super::help;
use super::images::json_output;
use super::report::Report;
use crate::disk::DiskError;
use crate::manual::{Manual, Page};
use crate::node::{WAIT, choose_backing_policy, wait_for_locks};
use crate::objects::{Objects, Outcome as ObjectOutcome};
use crate::out;
use crate::output_form::{self, OUTPUT_FORM};
use crate::personality;
use crate::text::{Operands, Opt, Parsed, parse_options};
use crate::words::BACKING_POLICY;

/// One command.
pub(crate) struct Command {
    /// The word on the command line.
    pub(crate) name: &'static str,
    /// One line about it.
    pub(crate) summary: &'static str,
    /// The forms of its command line, one a line, without the program's name.
    pub(crate) usage: &'static str,
    /// What its options and operands mean, in the words that it has under the classic names.
    pub(crate) help: &'static str,
    /// Its options; `--help` and `--object` come on top.
    pub(crate) options: &'static [Opt],
    /// What counts as an operand.
    pub(crate) operands: Operands,
    /// Options that it has under our own name alone.
    pub(crate) native: &'static [Opt],
    /// Operands and examples.
    pub(crate) manual: &'static Manual,
    /// What it does.
    pub(crate) run: fn(&Args) -> Outcome,
}

impl Command {
    /// Whether it has a choice of the output's form under the classic names too.
    fn has_output(&self) -> bool {
        self.options.iter().any(|option| option.id == "output")
    }
}

/// The command line of a command, taken apart.
pub(crate) struct Args {
    /// Options and operands.
    pub(crate) parsed: Parsed,
    /// Secrets that were given.
    pub(crate) objects: Objects,
    /// What is told as JSON.
    pub(crate) report: Report,
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
    Opt::flag("help", Some('h'), &["help"]).about("show this help and exit"),
    Opt::value("object", None, &["object"])
        .takes("TYPE,id=ID,...", "a secret that an option of the image refers to"),
    Opt::value("backing-policy", None, &["backing-policy"])
        .takes(
            "none|directory|any",
            "which files the image may name as its backing file or data file (any)",
        )
        .words(BACKING_POLICY),
];

/// The options that the command has like all others.
fn common(command: &Command) -> Vec<Opt> {
    let mut options = COMMON.to_vec();
    if personality::is_native() {
        options.push(WAIT);
        options.extend(command.native);
        if !command.has_output() {
            options.push(OUTPUT_FORM);
        }
    }
    options
}

/// What help tells about a command.
pub(super) fn page(command: &Command) -> Page {
    Page {
        name: command.name,
        summary: command.summary,
        manual: command.manual,
        options: command.options.to_vec(),
        common: common(command),
        words: Vec::new(),
    }
}

/// Runs a command and returns the exit status.
pub(super) fn run(command: &Command, args: &[String]) -> u8 {
    let name = personality::name();
    let hint = format!("Try '{name} {} --help' for more info", command.name);
    let options = [common(command), command.options.to_vec()].concat();
    let parsed = match parse_options(&options, args, command.operands) {
        Ok(parsed) => parsed,
        Err(error) => {
            output_form::foresee(args);
            out::usage_error(&format!("{name} {}", command.name), &error, &hint);
            return 1;
        }
    };
    if parsed.has("help") {
        help::print_command(command);
        return 0;
    }
    let json = personality::is_native() && parsed.last("output") == Some("json");
    if json {
        out::choose_json();
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
        Ok((objects, ObjectOutcome::Added)) => {
            let report = Report::new(json && !command.has_output());
            let args = Args { parsed, objects, report };
            // Commands with a form of their own judge it at its place.
            let form = if command.has_output() { Ok(json) } else { json_output(&args) };
            let outcome = form.and_then(|_| (command.run)(&args));
            if let Ok(status) = outcome {
                args.report.print(command.name, status);
            }
            outcome
        }
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(status) | Err(Failure::Said(status)) => status,
        Err(Failure::Usage(message)) => {
            out::usage_error(name, &message, &hint);
            1
        }
        Err(Failure::Error(prefix, error, status)) => {
            out::report(&prefix, &error);
            status
        }
    }
}
