//! The commands: names, arguments, and what they need.

use super::session::Session;
use super::{Outcome, aio, control, files, help, read, reopen, state, write};

/// One command.
pub(super) struct Command {
    /// Its name.
    pub(super) name: &'static str,
    /// A shorter name.
    alias: Option<&'static str>,
    /// The fewest and the most words that may follow it.
    count: (usize, Option<usize>),
    /// Its arguments, for the usage line.
    arguments: Option<&'static str>,
    /// What it does, in a few words.
    about: &'static str,
    /// It works on the open file.
    pub(super) needs_file: bool,
    /// It changes the open file.
    pub(super) writes: bool,
    /// More about it.
    pub(super) help: Option<&'static str>,
    /// Runs it; the first word is the name as it was given.
    pub(super) run: fn(&mut Session, &[&str]) -> Outcome,
}

impl Command {
    /// How many arguments were expected, if `count` is wrong.
    pub(super) fn wrong_count(&self, count: usize) -> Option<String> {
        let (least, most) = self.count;
        if count >= least && most.is_none_or(|most| count <= most) {
            return None;
        }
        Some(match most {
            None => format!("at least {least}"),
            Some(most) if most == least => least.to_string(),
            Some(most) => format!("between {least} and {most}"),
        })
    }

    /// The usage line under the given name.
    pub(super) fn one_line(&self, name: &str) -> String {
        let arguments = self.arguments.map(|text| format!("{text} ")).unwrap_or_default();
        format!("{name} {arguments}-- {}\n", self.about)
    }
}

/// The command of that name or alias.
pub(super) fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == name || command.alias == Some(name))
}

/// What commands have in common that are not named otherwise.
const PLAIN: Command = Command {
    name: "",
    alias: None,
    count: (0, Some(0)),
    arguments: None,
    about: "",
    needs_file: true,
    writes: false,
    help: None,
    run: control::quit,
};

/// A command of zoned devices.
const ZONE: Command =
    Command { count: (2, Some(2)), arguments: Some("offset len"), run: control::zone, ..PLAIN };

/// A command about breakpoints.
const BREAKPOINT: Command =
    Command { count: (1, Some(1)), arguments: Some("tag"), run: control::breakpoint, ..PLAIN };

/// All commands, by name.
pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "abort",
        about: "simulate a program crash using abort(3)",
        needs_file: false,
        run: control::abort,
        ..PLAIN
    },
    Command {
        name: "aio_flush",
        about: "completes all outstanding aio requests",
        run: aio::aio_flush,
        ..PLAIN
    },
    Command {
        name: "aio_read",
        count: (2, None),
        arguments: Some("[-Ciqrv] [-P pattern] off len [len..]"),
        about: "asynchronously reads a number of bytes",
        help: Some(help::AIO_READ),
        run: aio::aio_read,
        ..PLAIN
    },
    Command {
        name: "aio_write",
        count: (2, None),
        arguments: Some("[-Cfiqruz] [-P pattern] off len [len..]"),
        about: "asynchronously writes a number of bytes",
        writes: true,
        help: Some(help::AIO_WRITE),
        run: aio::aio_write,
        ..PLAIN
    },
    Command {
        name: "alloc",
        alias: Some("a"),
        count: (1, Some(2)),
        arguments: Some("offset [count]"),
        about: "checks if offset is allocated in the file",
        run: state::alloc,
        ..PLAIN
    },
    Command {
        name: "break",
        count: (2, Some(2)),
        arguments: Some("event tag"),
        about: "sets a breakpoint on event and tags the stopped request as tag",
        ..BREAKPOINT
    },
    Command {
        name: "close",
        alias: Some("c"),
        about: "close the current open file",
        run: files::close,
        ..PLAIN
    },
    Command {
        name: "discard",
        alias: Some("d"),
        count: (2, None),
        arguments: Some("[-Cq] off len"),
        about: "discards a number of bytes at a specified offset",
        writes: true,
        help: Some(help::DISCARD),
        run: state::discard,
        ..PLAIN
    },
    Command {
        name: "flush",
        alias: Some("f"),
        about: "flush all in-core file state to disk",
        run: state::flush,
        ..PLAIN
    },
    Command {
        name: "help",
        alias: Some("?"),
        count: (0, Some(1)),
        arguments: Some("[command]"),
        about: "help for one or all commands",
        needs_file: false,
        run: help::help,
        ..PLAIN
    },
    Command {
        name: "info",
        alias: Some("i"),
        about: "prints information about the current file",
        run: state::info,
        ..PLAIN
    },
    Command {
        name: "length",
        alias: Some("l"),
        about: "gets the length of the current file",
        run: state::length,
        ..PLAIN
    },
    Command {
        name: "map",
        arguments: Some(""),
        about: "prints the allocated areas of a file",
        run: state::map,
        ..PLAIN
    },
    Command {
        name: "open",
        alias: Some("o"),
        count: (1, None),
        arguments: Some("[-rsCnkU] [-t cache] [-d discard] [-o options] [path]"),
        about: "open the file specified by path",
        needs_file: false,
        help: Some(help::OPEN),
        run: files::open,
        ..PLAIN
    },
    Command {
        name: "quit",
        alias: Some("q"),
        count: (0, None),
        about: "exit the program",
        needs_file: false,
        run: control::quit,
        ..PLAIN
    },
    Command {
        name: "read",
        alias: Some("r"),
        count: (2, None),
        arguments: Some("[-abCqrv] [-P pattern [-s off] [-l len]] off len"),
        about: "reads a number of bytes at a specified offset",
        help: Some(help::READ),
        run: read::read,
        ..PLAIN
    },
    Command {
        name: "readv",
        count: (2, None),
        arguments: Some("[-Cqrv] [-P pattern] off len [len..]"),
        about: "reads a number of bytes at a specified offset",
        help: Some(help::READV),
        run: read::readv,
        ..PLAIN
    },
    Command { name: "remove_break", about: "remove a breakpoint by tag", ..BREAKPOINT },
    Command {
        name: "reopen",
        count: (0, None),
        arguments: Some("[(-r|-w)] [-c cache] [-o options]"),
        about: "reopens an image with new options",
        help: Some(help::REOPEN),
        run: reopen::reopen,
        ..PLAIN
    },
    Command { name: "resume", about: "resumes the request tagged as tag", ..BREAKPOINT },
    Command {
        name: "sigraise",
        count: (1, Some(1)),
        arguments: Some("signal"),
        about: "raises a signal",
        needs_file: false,
        help: Some(help::SIGRAISE),
        run: control::sigraise,
        ..PLAIN
    },
    Command {
        name: "sleep",
        count: (1, Some(1)),
        about: "waits for the given value in milliseconds",
        needs_file: false,
        run: control::sleep,
        ..PLAIN
    },
    Command {
        name: "truncate",
        alias: Some("t"),
        count: (1, Some(3)),
        arguments: Some("[-m prealloc_mode] off"),
        about: "truncates the current file at the given offset",
        writes: true,
        run: state::truncate,
        ..PLAIN
    },
    Command { name: "wait_break", about: "waits for the suspension of a request", ..BREAKPOINT },
    Command {
        name: "write",
        alias: Some("w"),
        count: (2, None),
        arguments: Some("[-bcCfnqruz] [-P pattern | -s source_file] off len"),
        about: "writes a number of bytes at a specified offset",
        writes: true,
        help: Some(help::WRITE),
        run: write::write,
        ..PLAIN
    },
    Command {
        name: "writev",
        count: (2, None),
        arguments: Some("[-Cfqr] [-P pattern] off len [len..]"),
        about: "writes a number of bytes at a specified offset",
        writes: true,
        help: Some(help::WRITEV),
        run: write::writev,
        ..PLAIN
    },
    Command {
        name: "zone_append",
        alias: Some("zap"),
        count: (3, Some(4)),
        arguments: Some("offset len [len..]"),
        about: "append write a number of bytes at a specified offset",
        ..ZONE
    },
    Command {
        name: "zone_close",
        alias: Some("zc"),
        about: "close a range of zones in zone block device",
        ..ZONE
    },
    Command {
        name: "zone_finish",
        alias: Some("zf"),
        about: "finish a range of zones in zone block device",
        ..ZONE
    },
    Command {
        name: "zone_open",
        alias: Some("zo"),
        about: "explicit open a range of zones in zone block device",
        ..ZONE
    },
    Command {
        name: "zone_report",
        alias: Some("zrp"),
        arguments: Some("offset number"),
        about: "report zone information",
        ..ZONE
    },
    Command {
        name: "zone_reset",
        alias: Some("zrs"),
        about: "reset a zone write pointer in zone block device",
        ..ZONE
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_none_is_there_twice() {
        let names: Vec<_> = COMMANDS.iter().map(|command| command.name).collect();
        assert!(names.is_sorted(), "{names:?}");
        let mut all: Vec<_> =
            COMMANDS.iter().flat_map(|c| std::iter::once(c.name).chain(c.alias)).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn counts_are_named_in_three_ways() {
        let expected = |name, count| find(name).and_then(|command| command.wrong_count(count));
        assert_eq!(expected("read", 1).as_deref(), Some("at least 2"));
        assert_eq!(expected("sleep", 2).as_deref(), Some("1"));
        assert_eq!(expected("t", 4).as_deref(), Some("between 1 and 3"));
        assert_eq!(expected("quit", 9), None);
    }

    #[test]
    fn usage_lines_keep_empty_arguments() {
        let line = |name: &str| find(name).map(|command| command.one_line(name));
        assert_eq!(line("map").as_deref(), Some("map  -- prints the allocated areas of a file\n"));
        assert_eq!(line("q").as_deref(), Some("q -- exit the program\n"));
    }
}
