//! The commands on images.
//!
//! A command is a table entry: a name, options, help and a function from the command line to an exit
//! status. Every file in here is one command or something that several of them share.

mod amend;
mod amend_list;
mod bench;
mod bench_run;
mod bitmap;
mod check;
mod command;
mod commit;
mod compare;
mod convert;
mod convert_bitmaps;
mod convert_copy;
mod convert_offload;
mod convert_source;
mod convert_walk;
mod create;
mod create_list;
mod dd;
mod encryption;
mod help;
mod images;
mod info;
mod info_text;
mod key_change;
mod make;
mod make_qcow2;
mod map;
mod measure;
mod progress;
mod rebase;
mod resize;
mod snapshot;
mod snapshot_word;
mod snapshots;
mod target_file;

use crate::out;
use crate::personality;
use crate::text::{Operands, Opt, parse_options};

pub(crate) use command::{Args, Command, Failure, Outcome};
pub(crate) use snapshot_word::SnapshotWord;

/// All commands, in the order of the help.
const COMMANDS: &[&Command] = &[
    &amend::COMMAND,
    &bench::COMMAND,
    &bitmap::COMMAND,
    &check::COMMAND,
    &commit::COMMAND,
    &compare::COMMAND,
    &convert::COMMAND,
    &create::COMMAND,
    &dd::COMMAND,
    &info::COMMAND,
    &map::COMMAND,
    &measure::COMMAND,
    &rebase::COMMAND,
    &resize::COMMAND,
    &snapshot::COMMAND,
];

const TOP_OPTIONS: &[Opt] = &[
    Opt::flag("help", Some('h'), &["help"]),
    Opt::flag("version", Some('V'), &["version"]),
    Opt::value("trace", Some('T'), &["trace"]),
];

/// Runs the command line after the program's name and returns the exit status.
pub(crate) fn run(args: &[String]) -> u8 {
    let name = personality::name();
    let parsed = match parse_options(TOP_OPTIONS, args, Operands::First) {
        Ok(parsed) => parsed,
        Err(error) => {
            out::error_text(&format!("{name}: {error}\nTry '{name} --help' for more info\n"));
            return 1;
        }
    };
    for (option, value) in &parsed.options {
        match *option {
            "help" => {
                help::print_top(COMMANDS);
                return 0;
            }
            "version" => {
                help::print_version();
                return 0;
            }
            _ => out::no_trace_event(value),
        }
    }
    let Some((command, rest)) = parsed.operands.split_first() else {
        out::error_text(&format!(
            "{name}: Not enough arguments\nTry '{name} --help' for more info\n"
        ));
        return 1;
    };
    if command == "help" && personality::is_native() {
        return help_on(rest);
    }
    match COMMANDS.iter().find(|known| known.name == command) {
        Some(known) => command::run(known, rest),
        None => {
            out::error_text(&format!(
                "{name}: Command not found: {command}\nTry '{name} --help' for more info\n"
            ));
            1
        }
    }
}

/// Prints help on one command, or on the program.
fn help_on(rest: &[String]) -> u8 {
    match rest.first() {
        None => {
            help::print_top(COMMANDS);
            0
        }
        Some(command) => match COMMANDS.iter().find(|known| known.name == command) {
            Some(known) => {
                help::print_command(known);
                0
            }
            None => {
                out::error_line(&format!("Command not found: {command}"));
                1
            }
        },
    }
}
