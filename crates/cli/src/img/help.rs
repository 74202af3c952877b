//! Help under the classic names, and version texts.

use super::Command;
use super::command::page;
use crate::out::{self, say};
use crate::{native, personality};

/// The release of the reference whose behaviour the classic names follow.
const FOLLOWS: &str = "10.0.2";

/// Prints the program's own help: its commands and formats, in words that scripts look for.
pub(super) fn print_top(commands: &[&Command]) {
    if personality::is_native() {
        return out::text(&native::top_help());
    }
    let name = personality::name();
    say!("usage: {name} [standard options] command [command options]\n");
    say!("Holstein disk image utility.\n\n");
    say!("Standard options:\n");
    say!("  -h, --help           show this help and exit\n");
    say!("  -V, --version        show version information and exit\n");
    say!("  -T, --trace SPEC     accepted with a warning: there are no trace events\n\n");
    say!("Commands ('{name} COMMAND --help' tells more):\n\n");
    for command in commands {
        say!("  {:<10} {}\n", command.name, command.summary);
    }
    say!("\nForms:\n\n");
    for command in commands {
        for form in command.usage.lines() {
            say!("  {form}\n");
        }
    }
    say!("\nSupported formats: file host_cdrom host_device nbd null-aio null-co qcow2 raw\n");
    say!(
        "Supported image formats:\n  file host_cdrom host_device nbd null-aio null-co qcow2 raw\n"
    );
}

/// Prints help on one command.
pub(super) fn print_command(command: &Command) {
    if personality::is_native() {
        return out::text(&native::page_help(&page(command)));
    }
    let name = personality::name();
    say!("{}\n\nUsage:\n", command.summary);
    for form in command.usage.lines() {
        say!("  {name} {form}\n");
    }
    say!("\n{}", command.help);
    say!("  -h, --help\n     show this help and exit\n");
    say!("  --object TYPE,id=ID,...\n     a secret that an option of the image refers to\n");
    say!(
        "  --backing-policy none|directory|any\n     which files the image may name as its backing file \
         or data file (any)\n"
    );
}

/// Prints two lines; the first has the version of the reference under the classic names, because
/// scripts decide by it what they may ask for.
pub(crate) fn print_version() {
    let name = personality::name();
    let own = env!("CARGO_PKG_VERSION");
    if personality::is_native() {
        say!("holstein version {own} (follows qemu-img {FOLLOWS})\n");
    } else {
        say!("{name} version {FOLLOWS} (Holstein {own})\n");
    }
    say!("Licensed under MIT or Apache-2.0\n");
}
