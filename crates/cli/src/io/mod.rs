//! The exerciser: one command after the other on an open disk, as `qemu-io` has them.
//!
//! Commands come from `-c`, or from standard input behind a prompt. [`table`] has their names;
//! [`session`] finds and runs them; the other modules are one command, or a few that belong
//! together, each.
//!
//! # Invariants
//! Results go to standard output through [`crate::out`], which holds them back as C's stdio does.
//! Most failures are results; the rest go to standard error at once.

mod aio;
mod buffer;
mod command_line;
mod control;
mod files;
mod help;
mod jobs;
mod letters;
mod numbers;
mod read;
mod reopen;
mod report;
mod session;
mod state;
mod table;
mod vector;
mod write;

pub(crate) use command_line::page;
use command_line::{CommandLine, Parsed};
use session::Session;

use crate::out;
use crate::text::Json;

/// A command failed, and has said why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Failed;

/// What running a command comes to.
type Outcome = Result<(), Failed>;

const PROMPT: &str = "qemu-io> ";

/// Runs the exerciser with the arguments after its name, and returns the exit status: 1 if a command
/// failed or the file could not be opened.
pub(crate) fn run(arguments: &[String]) -> u8 {
    let line = match CommandLine::parse(arguments) {
        Ok(Parsed::Run(line)) => line,
        Ok(Parsed::Done) => return 0,
        Err(Failed) => return 1,
    };
    let CommandLine { commands, file, format, how, objects, misalign } = line;
    let mut session = Session::new(objects, misalign);
    if let Some(file) = file {
        let name = (!file.is_options).then_some(file.text.as_str());
        if session.open(name, format.as_deref(), how).is_err() {
            return 1;
        }
    }
    if out::is_json() {
        out::catch();
    }
    let outcome = if commands.is_empty() {
        run_prompt(&mut session)
    } else {
        run_commands(&mut session, &commands)
    };
    let closed = session.close();
    show_what_was_late();
    u8::from(outcome.is_err() || closed.is_err())
}

/// Runs the commands of the command line; all of them, though some fail.
fn run_commands(session: &mut Session, commands: &[String]) -> Outcome {
    let mut outcome = Ok(());
    for command in commands {
        outcome = outcome.and(run_line(session, command));
        if session.done {
            break;
        }
    }
    outcome
}

/// Runs a line; where results are objects, what it printed becomes one.
fn run_line(session: &mut Session, line: &str) -> Outcome {
    show_what_was_late();
    let outcome = session.run_line(line);
    if out::is_json() {
        let status = u8::from(outcome.is_err());
        let output = out::take_caught();
        out::object_line(&Json::map([
            ("command", line.trim().into()),
            ("status", status.into()),
            ("output", output.into()),
        ]));
    }
    outcome
}

/// Where results are objects: reports of requests that ended between two commands.
fn show_what_was_late() {
    if out::is_json() {
        let output = out::take_caught();
        if !output.is_empty() {
            out::object_line(&Json::map([("output", output.into())]));
        }
    }
}

/// Runs the lines of standard input.
fn run_prompt(session: &mut Session) -> Outcome {
    let mut outcome = Ok(());
    while !session.done {
        if !out::is_json() {
            out::text(PROMPT);
            out::flush();
        }
        let Some(line) = session.jobs.next_line() else { break };
        outcome = outcome.and(run_line(session, &line));
    }
    outcome
}
