//! The options of the program itself.

use super::files::{HowToOpen, driver_options};
use super::{Failed, Outcome};
use crate::disk::DiskError;
use crate::manual::{Manual, Page};
use crate::node::{choose_backing_policy, wait_for_locks};
use crate::objects::{Objects, Outcome as ObjectOutcome};
use crate::out::{self, say};
use crate::output_form::{self, with_own};
use crate::text::{Operands, Opt, parse_options};
use crate::words::{AIO, BACKING_POLICY, CACHES, DISCARD, FORMATS};
use crate::{native, personality};

/// The version of the reference whose commands these are.
const FOLLOWS: &str = "10.0.2";

const OPTIONS: &[Opt] = &[
    Opt::flag("h", Some('h'), &["help"]).about("show this text and exit"),
    Opt::flag("V", Some('V'), &["version"]).about("show the version and exit"),
    Opt::value("c", Some('c'), &["cmd"]).takes("STRING", "run this command; may be repeated"),
    Opt::value("f", Some('f'), &["format"])
        .takes("FMT", "format of the file (found by its first bytes)")
        .words(FORMATS),
    Opt::flag("r", Some('r'), &["read-only"]).about("open the file for reading only"),
    Opt::flag("s", Some('s'), &["snapshot"]).about("writes go to a temporary overlay"),
    Opt::flag("n", Some('n'), &["nocache"]).about("go past the page cache, as --cache none"),
    Opt::flag("C", Some('C'), &["copy-on-read"])
        .about("keep what is read from a backing file in the image"),
    Opt::flag("m", Some('m'), &["misalign"]).about("use buffers that do not begin at a page"),
    Opt::flag("k", Some('k'), &["native-aio"]).about("as --aio native"),
    Opt::value("i", Some('i'), &["aio"])
        .takes("MODE", "how requests are made: threads, native or io_uring")
        .words(AIO),
    Opt::value("d", Some('d'), &["discard"])
        .takes("MODE", "what becomes of discards: ignore (off) or unmap (on)")
        .words(DISCARD),
    Opt::value("t", Some('t'), &["cache"])
        .takes("MODE", "the cache mode: none, writeback, writethrough, directsync or unsafe")
        .words(CACHES),
    Opt::value("T", Some('T'), &["trace"])
        .takes("SPEC", "accepted with a warning: there are no trace events"),
    Opt::flag("U", Some('U'), &["force-share"]).about("share the file with whoever has it locked"),
    Opt::value("object", None, &["object"]).takes("OBJECT", "define an object, such as a secret"),
    Opt::flag("image-opts", None, &["image-opts"])
        .about("the file is given as options of block drivers"),
    Opt::value("backing-policy", None, &["backing-policy"])
        .takes(
            "none|directory|any",
            "which files the image may name as its backing file or data file (any)",
        )
        .words(BACKING_POLICY),
];

/// A file to open at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    /// Its name, or its options.
    pub(super) text: String,
    /// The text is options, which are part of how it is opened.
    pub(super) is_options: bool,
}

/// A command line that runs commands.
pub(super) struct CommandLine {
    /// Commands of `-c`.
    pub(super) commands: Vec<String>,
    /// The file to open at the start.
    pub(super) file: Option<File>,
    /// Its format.
    pub(super) format: Option<String>,
    /// How it is opened.
    pub(super) how: HowToOpen,
    /// Objects.
    pub(super) objects: Objects,
    /// Buffers do not begin at a page.
    pub(super) misalign: bool,
}

/// What a command line asks for.
pub(super) enum Parsed {
    /// To run commands.
    Run(CommandLine),
    /// A text, which was printed.
    Done,
}

impl CommandLine {
    /// Reads the arguments after the program's name.
    ///
    /// # Errors
    /// They cannot be understood, which was said.
    pub(super) fn parse(arguments: &[String]) -> Result<Parsed, Failed> {
        let parsed =
            parse_options(&with_own(OPTIONS), arguments, Operands::Mixed).map_err(|message| {
                output_form::foresee(arguments);
                out::error_line(&message);
                out::text(&usage());
                Failed
            })?;
        output_form::choose(parsed.last("output")).map_err(refused)?;
        let mut line = Self {
            commands: Vec::new(),
            file: None,
            format: None,
            how: HowToOpen::new(),
            objects: Objects::default(),
            misalign: false,
        };
        let mut image_opts = false;
        for (id, value) in parsed.options {
            match id {
                "h" => {
                    out::text(&usage());
                    return Ok(Parsed::Done);
                }
                "V" => {
                    say!("{}", version());
                    return Ok(Parsed::Done);
                }
                "c" => line.commands.push(value),
                "f" => line.format = Some(value),
                "m" => line.misalign = true,
                "image-opts" => image_opts = true,
                "backing-policy" => choose_backing_policy(&value).map_err(refused)?,
                // It counts for what is said of the others too.
                "output" => {}
                "wait" => wait_for_locks(&value).map_err(refused)?,
                "object" => match line.objects.add(&value) {
                    Ok(ObjectOutcome::Added) => {}
                    Ok(ObjectOutcome::Help(text)) => {
                        out::text(&text);
                        return Ok(Parsed::Done);
                    }
                    Err(error) => return Err(refused(error)),
                },
                "T" => out::no_trace_event(&value),
                letter => take_letter(&mut line.how, letter, &value)?,
            }
        }
        line.set_file(parsed.operands, image_opts)?;
        Ok(Parsed::Run(line))
    }

    fn set_file(&mut self, mut operands: Vec<String>, image_opts: bool) -> Outcome {
        if operands.len() > 1 {
            out::text(&usage());
            return Err(Failed);
        }
        if image_opts && self.format.is_some() {
            out::error_line("--image-opts and -f are mutually exclusive");
            return Err(Failed);
        }
        if let Some(text) = operands.pop() {
            if image_opts {
                self.how.options = driver_options(&text);
            }
            self.file = Some(File { text, is_options: image_opts });
        }
        Ok(())
    }
}

/// An option was not taken, which is said.
fn refused(error: DiskError) -> Failed {
    out::report("", &error);
    Failed
}

fn take_letter(how: &mut HowToOpen, letter: &str, value: &str) -> Outcome {
    letter.chars().next().map_or(Ok(()), |letter| how.take(letter, value))
}

/// The version of the reference under its name, because scripts decide by it what they may use.
fn version() -> String {
    let own = env!("CARGO_PKG_VERSION");
    let name = personality::name();
    let first = match personality::is_native() {
        true => format!("{name} io version {own} (follows qemu-io {FOLLOWS})"),
        false => format!("{name} version {FOLLOWS} (Holstein {own})"),
    };
    format!("{first}\nLicensed under MIT or Apache-2.0\n")
}

/// What help tells about it.
pub(crate) fn page() -> Page {
    Page {
        name: "io",
        summary: "run commands on an open disk: read, write, zero, discard and many more",
        manual: &MANUAL,
        options: with_own(OPTIONS),
        common: Vec::new(),
        words: Vec::new(),
    }
}

const MANUAL: Manual = Manual {
    forms: &["[FILE]"],
    operands: &[("FILE", "the disk; the command 'open' opens one later")],
    notes: &[
        "Commands come from --cmd, else a line at a time from standard input. The command 'help' lists \
         them. The exit status is 1 if a command failed or the file could not be opened.",
        "With --output json there is no prompt, and what each command prints is in an object on a line of \
         its own, with the status of the command.",
    ],
    examples: &[
        (
            "io --cmd 'write -P 0x11 0 64k' --cmd 'read -P 0x11 0 64k' disk.qcow2",
            "write and read back",
        ),
        ("io --read-only --cmd map disk.qcow2", "what is allocated"),
        ("io --cmd 'help write'", "explain a command"),
    ],
};

fn usage() -> String {
    if personality::is_native() {
        return native::page_help(&page());
    }
    let name = personality::name();
    format!(
        "Usage: {name} [OPTIONS]... [-c STRING]... [file]
Runs commands on a disk: of -c, else of standard input.

  -c, --cmd STRING     run this command; may be repeated
  -f, --format FMT     the format of the file; without it it is guessed
  --image-opts         the file is given as options of block drivers
  -r, --read-only      open the file for reading only
  -s, --snapshot       writes go to a temporary overlay
  -C, --copy-on-read   keep what is read from a backing file in the image
  -n, --nocache        go past the page cache, as -t none
  -t, --cache MODE     the cache mode: none, writeback, writethrough,
                       directsync or unsafe
  -d, --discard MODE   what becomes of discards: ignore (off) or unmap (on)
  -i, --aio MODE       how requests are made: threads, native or io_uring
  -k, --native-aio     as -i native
  -m, --misalign       use buffers that do not begin at a page
  -U, --force-share    share the file with whoever has it locked
  --object OBJECT      define an object, such as a secret
  -T, --trace SPEC     accepted with a warning: there are no trace events
  -h, --help           show this text and exit
  -V, --version        show the version and exit

'{name} -c help' lists the commands.
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<CommandLine, Failed> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match CommandLine::parse(&arguments)? {
            Parsed::Run(line) => Ok(line),
            Parsed::Done => Err(Failed),
        }
    }

    #[test]
    fn options_may_follow_the_file() {
        let line = parse("-c length a.img -c map --read --cache=none -fraw").expect("well formed");
        assert_eq!(line.commands, ["length", "map"]);
        assert_eq!(line.file, Some(File { text: "a.img".into(), is_options: false }));
        assert_eq!(line.format.as_deref(), Some("raw"));
        assert!(!line.how.flags.writable && line.how.flags.cache.direct);
        assert!(!line.how.flags.cache.write_through);
    }

    #[test]
    fn options_of_drivers_are_read_once() {
        let line = parse("--image-opts driver=raw,file.filename=x").expect("well formed");
        assert!(line.file.is_some_and(|file| file.is_options));
        assert!(line.how.options.has("file.filename"));
    }

    #[test]
    fn what_cannot_be_understood_is_refused() {
        for bad in ["a b", "--image-opts -f raw x", "-t bad", "-d bad", "-i bad", "-x", "-c"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
