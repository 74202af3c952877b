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
mod convert_stream;
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
mod manuals;
mod map;
mod measure;
mod meter;
mod outline;
mod progress;
mod rebase;
mod report;
mod resize;
mod shared_options;
mod snapshot;
mod snapshot_word;
mod snapshots;
mod stage;
mod stream_in;
mod stream_out;
mod target_file;

use crate::manual::Page;
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

/// Options before the command.
pub(crate) const TOP_OPTIONS: &[Opt] = &[
    Opt::flag("help", Some('h'), &["help"]).about("show this help and exit"),
    Opt::flag("version", Some('V'), &["version"]).about("show version information and exit"),
    Opt::value("trace", Some('T'), &["trace"])
        .takes("SPEC", "accepted with a warning: there are no trace events"),
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

/// What help tells about each command.
pub(crate) fn pages() -> Vec<Page> {
    COMMANDS.iter().map(|known| command::page(known)).collect()
}

/// The names of the commands.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|known| known.name)
}
