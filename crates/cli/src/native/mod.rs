//! What the program has under its own name alone: help, completions and manual pages.
//!
//! All three are made from [`Page`]s, and those from the tables by which command lines are parsed.

mod bash;
mod completions;
mod fish;
mod help;
mod man;
mod roff;
mod zsh;

use crate::manual::{Manual, Page};
use crate::out;
use crate::text::{Operands, Opt, Parsed, parse_options};
use crate::{img, io, nbd};

pub(crate) use help::{page as page_help, top as top_help};

/// Names of formats, for the end of the help.
pub(crate) const FORMATS: &str = "file host_cdrom host_device luks nbd null-aio null-co qcow2 raw";

/// A command of this module.
struct Command {
    name: &'static str,
    summary: &'static str,
    manual: Manual,
    options: &'static [Opt],
    words: fn() -> Vec<&'static str>,
    run: fn(&Parsed) -> Result<(), String>,
}

const HELP: Opt = Opt::flag("help", Some('h'), &["help"]).about("show this help and exit");

static COMMANDS: [Command; 3] = [
    Command {
        name: "help",
        summary: "explain the program or a command, with examples",
        manual: Manual {
            forms: &["[COMMAND]"],
            operands: &[("COMMAND", "what is to be explained")],
            notes: &[],
            examples: &[("help", "list the commands"), ("help convert", "explain one")],
        },
        options: &[HELP],
        words: names,
        run: help::run,
    },
    Command {
        name: "completions",
        summary: "print what completes command lines in a shell",
        manual: Manual {
            forms: &["bash|fish|zsh"],
            operands: &[("bash|fish|zsh", "the shell")],
            notes: &[
                "The output is a script that the shell reads when it starts. Packages install it.",
            ],
            examples: &[
                (
                    "completions bash > ~/.local/share/bash-completion/completions/holstein",
                    "for bash, with the package bash-completion",
                ),
                ("completions fish > ~/.config/fish/completions/holstein.fish", "for fish"),
                ("completions zsh > ~/.zfunc/_holstein", "for zsh, where ~/.zfunc is in fpath"),
            ],
        },
        options: &[HELP],
        words: || completions::SHELLS.to_vec(),
        run: completions::run,
    },
    Command {
        name: "man",
        summary: "print a manual page, or write all of them into a directory",
        manual: Manual {
            forms: &["[COMMAND]", "--directory DIRECTORY"],
            operands: &[(
                "COMMAND",
                "the command whose page is printed, instead of that of the program",
            )],
            notes: &["A page is in the language of man(7); man and groff show it."],
            examples: &[
                ("man create | man -l -", "show the page of a command"),
                ("man --directory ~/.local/share/man/man1", "write all pages to where man looks"),
            ],
        },
        options: &[
            HELP,
            Opt::value("directory", Some('d'), &["directory"])
                .takes("DIRECTORY", "write all pages into this directory")
                .file(),
        ],
        words: names,
        run: man::run,
    },
];

/// The pages of all commands, in the order of the help.
pub(crate) fn pages() -> Vec<Page> {
    let mut pages = img::pages();
    pages.push(io::page());
    pages.push(nbd::page());
    pages.extend(COMMANDS.iter().map(|command| Page {
        name: command.name,
        summary: command.summary,
        manual: &command.manual,
        options: command.options.to_vec(),
        common: Vec::new(),
        words: (command.words)(),
    }));
    pages
}

/// The names of all commands.
fn names() -> Vec<&'static str> {
    let own = COMMANDS.iter().map(|command| command.name);
    img::names().chain(["io", "nbd"]).chain(own).collect()
}

/// The page of a command.
///
/// # Errors
/// There is no such command, in words for the user.
fn page_of(name: &str) -> Result<Page, String> {
    let page = pages().into_iter().find(|page| page.name == name);
    page.ok_or_else(|| format!("Command not found: {name}"))
}

/// Runs a command of this module, if `name` is one, and returns the exit status.
pub(crate) fn run(name: &str, arguments: &[String]) -> Option<u8> {
    let command = COMMANDS.iter().find(|command| command.name == name)?;
    let ran = parse_options(command.options, arguments, Operands::Mixed).and_then(|parsed| {
        if parsed.has("help") {
            out::text(&page_of(name).map(|page| help::page(&page))?);
            return Ok(());
        }
        (command.run)(&parsed)
    });
    Some(match ran {
        Ok(()) => 0,
        Err(message) => {
            out::error_text(&format!(
                "holstein {name}: {message}\nTry 'holstein {name} --help' for more info\n"
            ));
            1
        }
    })
}

/// The only operand, if there is one.
///
/// # Errors
/// There are more, in words for the user.
fn only_operand(parsed: &Parsed) -> Result<Option<&str>, String> {
    match parsed.operands.as_slice() {
        [] => Ok(None),
        [operand] => Ok(Some(operand)),
        [_, more, ..] => Err(format!("Unexpected argument: {more}")),
    }
}

#[cfg(test)]
mod tests;
