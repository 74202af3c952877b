//! Options of the command line.

use std::time::Duration;

use holstein_nbd::numbers::MAX_STRING;
use holstein_tls::{TlsClient, TlsServer};

use super::activation::Activation;
use super::tls::Tls;
use super::{Failure, Outcome, help};
use crate::img::SnapshotWord;
use crate::node::{CacheMode, ImageRef, OpenFlags, choose_backing_policy, wait_for_locks};
use crate::objects::{Objects, Outcome as ObjectOutcome};
use crate::out;
use crate::output_form::{self, with_own};
use crate::text::{Operands, Opt, parse_c_integer, parse_options};
use crate::words::{AIO, BACKING_POLICY, CACHES, DETECT_ZEROES, DISCARD, FORMATS};

/// The options, in the order in which they are looked for.
pub(super) const OPTIONS: &[Opt] = &[
    Opt::flag("help", Some('h'), &["help"]).about("show this text and exit"),
    Opt::flag("version", Some('V'), &["version"]).about("show the version and exit"),
    Opt::value("bind", Some('b'), &["bind"]).takes("ADDRESS", "listen on an address (0.0.0.0)"),
    Opt::value("port", Some('p'), &["port"]).takes("PORT", "listen on a port (10809)"),
    Opt::value("socket", Some('k'), &["socket"])
        .takes("PATH", "listen on a path, which is removed at the end")
        .file(),
    Opt::value("offset", Some('o'), &["offset"]).takes("BYTES", "begin at this byte of the disk"),
    Opt::flag("read-only", Some('r'), &["read-only"]).about("refuse writes"),
    Opt::value("bitmap", Some('B'), &["bitmap"])
        .takes("NAME", "show a dirty bitmap; may be repeated"),
    Opt::flag("snapshot", Some('s'), &["snapshot"]).about("writes go to a temporary overlay"),
    Opt::value("load-snapshot", Some('l'), &["load-snapshot"]).takes(
        "SNAP",
        "offer an internal snapshot: an ID, a name, or snapshot.id=ID,snapshot.name=NAME",
    ),
    Opt::flag("nocache", Some('n'), &["nocache"]).about("go past the page cache, as --cache none"),
    Opt::value("cache", None, &["cache"])
        .takes("MODE", "the cache mode: none, writeback, writethrough, directsync or unsafe")
        .words(CACHES),
    Opt::value("aio", None, &["aio"])
        .takes("MODE", "how requests are made: threads, native or io_uring")
        .words(AIO),
    Opt::value("discard", None, &["discard"])
        .takes("MODE", "what becomes of discards: ignore or unmap")
        .words(DISCARD),
    Opt::value("detect-zeroes", None, &["detect-zeroes"])
        .takes("MODE", "what becomes of zeros: off, on or unmap")
        .words(DETECT_ZEROES),
    Opt::value("connect", Some('c'), &["connect"])
        .takes("DEVICE", "refused: devices of the kernel are not served in this version")
        .file(),
    Opt::flag("disconnect", Some('d'), &["disconnect"])
        .about("refused: devices of the kernel are not served in this version"),
    Opt::flag("list", Some('L'), &["list"]).about("list what the server at such a place has"),
    Opt::value("shared", Some('e'), &["shared"])
        .takes("NUM", "clients at a time (1); 0 is any number"),
    Opt::value("format", Some('f'), &["format"])
        .takes("FMT", "the format of the file (found by its first bytes)")
        .words(FORMATS),
    Opt::flag("persistent", Some('t'), &["persistent"])
        .about("go on when the last client has left"),
    Opt::flag("verbose", Some('v'), &["verbose"]).about("say how sessions end that end badly"),
    Opt::value("object", None, &["object"]).takes("OBJECT", "define an object, such as a secret"),
    Opt::flag("allocation-depth", Some('A'), &["allocation-depth"])
        .about("show in which layer data is"),
    Opt::value("export-name", Some('x'), &["export-name"])
        .takes("NAME", "the name that clients ask for (the empty one)"),
    Opt::value("description", Some('D'), &["description"]).takes("TEXT", "words about the export"),
    Opt::value("tls-creds", None, &["tls-creds"])
        .takes("ID", "speak TLS with these credentials, and nothing else"),
    Opt::value("tls-authz", None, &["tls-authz"])
        .takes("ID", "rules about the names of clients that may come in"),
    Opt::value("tls-hostname", None, &["tls-hostname"])
        .takes("NAME", "with --list, the name in the server's certificate"),
    Opt::value("selinux-label", None, &["selinux-label"])
        .takes("LABEL", "refused: labels are not available in this version"),
    Opt::value("handshake-limit", None, &["handshake-limit"])
        .takes("N", "seconds that a client may take to begin (10); 0 is for ever"),
    Opt::flag("image-opts", None, &["image-opts"])
        .about("the file is given as options of block drivers"),
    Opt::value("trace", Some('T'), &["trace"])
        .takes("SPEC", "accepted with a warning: there are no trace events"),
    Opt::flag("fork", None, &["fork"]).about("go to the background once clients can come"),
    Opt::value("pid-file", None, &["pid-file"])
        .takes("PATH", "write the number of the process to a file")
        .file(),
    Opt::value("backing-policy", None, &["backing-policy"])
        .takes(
            "none|directory|any",
            "which files the image may name as its backing file or data file (any)",
        )
        .words(BACKING_POLICY),
];

/// Options that say something about the disk.
const ABOUT_DISK: [&str; 11] = [
    "export-name",
    "description",
    "offset",
    "format",
    "load-snapshot",
    "bitmap",
    "allocation-depth",
    "aio",
    "discard",
    "cache",
    "nocache",
];

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On a path of the file system.
    Path(String),
    /// On an address and a port.
    Port(String, String),
    /// Where the program that started this one listens already.
    Inherited,
}

/// A command line that serves an image.
pub(super) struct CommandLine {
    /// The image.
    pub(super) image: ImageRef,
    /// How it is opened.
    pub(super) flags: OpenFlags,
    /// Writes go to a temporary overlay.
    pub(super) overlay: bool,
    /// An internal snapshot instead of the disk.
    pub(super) snapshot: Option<SnapshotWord>,
    /// Where the export begins, in bytes.
    pub(super) offset: u64,
    /// Where clients come from.
    pub(super) place: Place,
    /// Clients at a time; `None` is any number.
    pub(super) clients: Option<usize>,
    /// Go on after the last client.
    pub(super) persistent: bool,
    /// The export's name.
    pub(super) name: String,
    /// Words about it.
    pub(super) description: Option<String>,
    /// Bitmaps to show, in the order in which they were given.
    pub(super) bitmaps: Vec<String>,
    /// Show in which layer data is.
    pub(super) allocation_depth: bool,
    /// How long a handshake may take.
    pub(super) handshake_limit: Option<Duration>,
    /// Go to the background.
    pub(super) fork: bool,
    /// Where the number of the process goes.
    pub(super) pid_file: Option<String>,
    /// Wait while another program has the image.
    pub(super) waits: bool,
    /// Say more.
    pub(super) verbose: bool,
    /// Objects.
    pub(super) objects: Objects,
    /// What makes connections secure.
    pub(super) tls: Option<TlsServer>,
}

/// What a command line asks for.
pub(super) enum Parsed {
    /// To serve an image.
    Serve(Box<CommandLine>),
    /// To list what another server has, over a connection that is made secure where that is wanted.
    List(Place, Option<TlsClient>),
    /// A text, which was printed.
    Done,
}

/// Options whose meaning needs more than one of them.
#[derive(Default)]
struct Pieces {
    cache: Option<CacheMode>,
    aio: Option<String>,
    discard: Option<bool>,
    detect_zeroes: Option<String>,
    format: Option<String>,
    image_opts: bool,
    path: Option<String>,
    bind: Option<String>,
    port: Option<String>,
    list: bool,
    /// Something was said about the disk.
    about_disk: bool,
    tls: Tls,
    selinux: bool,
}

impl Pieces {
    fn set_cache(&mut self, mode: &str) -> Outcome<()> {
        if self.cache.is_some() {
            return Err(Failure::message("-n and --cache can only be specified once"));
        }
        let parsed = CacheMode::parse(mode);
        let invalid = || Failure::message(format!("Invalid cache mode `{mode}'"));
        self.cache = Some(parsed.ok_or_else(invalid)?);
        Ok(())
    }

    fn set_aio(&mut self, mode: String) -> Outcome<()> {
        if self.aio.is_some() {
            return Err(Failure::message("--aio can only be specified once"));
        }
        if !["native", "threads", "io_uring"].contains(&mode.as_str()) {
            return Err(Failure::message(format!("Invalid aio mode '{mode}'")));
        }
        self.aio = Some(mode);
        Ok(())
    }

    fn set_discard(&mut self, mode: &str) -> Outcome<()> {
        if self.discard.is_some() {
            return Err(Failure::message("--discard can only be specified once"));
        }
        self.discard = Some(match mode {
            "ignore" | "off" => false,
            "unmap" | "on" => true,
            _ => return Err(Failure::message(format!("Invalid discard mode `{mode}'"))),
        });
        Ok(())
    }

    fn set_detect_zeroes(&mut self, mode: String) -> Outcome<()> {
        match mode.as_str() {
            "off" | "on" => {}
            // The order of the two options counts.
            "unmap" if self.discard == Some(true) => {}
            "unmap" => {
                return Err(Failure::message(
                    "setting detect-zeroes to unmap is not allowed without setting discard \
                     operation to unmap",
                ));
            }
            _ => {
                return Err(Failure::message(format!(
                    "Failed to parse detect_zeroes mode: invalid parameter value: {mode}"
                )));
            }
        }
        self.detect_zeroes = Some(mode);
        Ok(())
    }

    fn check(&self) -> Outcome<()> {
        if self.selinux {
            return Err(Failure::message("SELinux support not enabled in this binary"));
        }
        Ok(())
    }

    fn place(&mut self, activation: Activation) -> Outcome<Place> {
        if activation == Activation::Socket {
            let given = self.path.is_some() || self.bind.is_some() || self.port.is_some();
            if given {
                return Err(Failure::message(
                    "Unix socket can't be set when using socket activation",
                ));
            }
            return Ok(Place::Inherited);
        }
        match self.path.take() {
            Some(path) if !path.starts_with('/') => {
                Err(Failure::message("socket path must be absolute"))
            }
            Some(path) => Ok(Place::Path(path)),
            None => Ok(Place::Port(
                self.bind.take().unwrap_or_else(|| "0.0.0.0".to_owned()),
                self.port.take().unwrap_or_else(|| "10809".to_owned()),
            )),
        }
    }

    fn image(&self, text: &str) -> Outcome<ImageRef> {
        if self.image_opts && self.format.is_some() {
            return Err(Failure::message("--image-opts and -f are mutually exclusive"));
        }
        let mut image = ImageRef::of(text, self.format.as_deref(), self.image_opts)?;
        if let Some(mode) = &self.detect_zeroes {
            image.options.set("detect-zeroes", mode.as_str());
        }
        if let Some(mode) = &self.aio
            && !image.options.has("file.aio")
        {
            image.options.set("file.aio", mode.as_str());
        }
        Ok(image)
    }
}

impl CommandLine {
    /// Reads the arguments after the program's name.
    ///
    /// # Errors
    /// What cannot be understood, or cannot be done in this version.
    pub(super) fn parse(arguments: &[String]) -> Outcome<Parsed> {
        let parsed =
            parse_options(&with_own(OPTIONS), arguments, Operands::Mixed).map_err(|message| {
                output_form::foresee(arguments);
                out::error_line(&message);
                let name = help::called();
                Failure::message(format!("Try `{name} --help' for more information."))
            })?;
        output_form::choose(parsed.last("output"))?;
        let mut line = Self::default();
        let mut pieces = Pieces::default();
        for (id, value) in parsed.options {
            if let Some(text) = line.take(&mut pieces, id, value)? {
                out::text(&text);
                return Ok(Parsed::Done);
            }
        }
        line.finish(pieces, &parsed.operands)
    }

    /// Takes one option; returns a text that is to be printed instead of anything else.
    fn take(
        &mut self,
        pieces: &mut Pieces,
        id: &'static str,
        value: String,
    ) -> Outcome<Option<String>> {
        pieces.about_disk |= ABOUT_DISK.contains(&id);
        match id {
            "help" => return Ok(Some(help::usage())),
            "version" => return Ok(Some(help::version())),
            "bind" => pieces.bind = Some(value),
            "port" => pieces.port = Some(value),
            "socket" => {
                if !value.starts_with('/') {
                    return Err(Failure::message("socket path must be absolute"));
                }
                pieces.path = Some(value);
            }
            "offset" => {
                let offset = parse_c_integer(&value);
                let invalid = || Failure::message(format!("Invalid offset '{value}'"));
                self.offset = offset.ok_or_else(invalid)?;
            }
            "read-only" => self.flags.writable = false,
            "bitmap" => self.bitmaps.push(value),
            "snapshot" => self.overlay = true,
            "load-snapshot" => {
                let invalid =
                    |_| Failure::message(format!("Failed in parsing snapshot param `{value}'"));
                self.snapshot = Some(SnapshotWord::parse(&value).map_err(invalid)?);
            }
            "nocache" => pieces.set_cache("none")?,
            "cache" => pieces.set_cache(&value)?,
            "aio" => pieces.set_aio(value)?,
            "discard" => pieces.set_discard(&value)?,
            "detect-zeroes" => pieces.set_detect_zeroes(value)?,
            "list" => pieces.list = true,
            "connect" | "disconnect" => {
                let text = format!("option '--{id}' is not available in this version");
                return Err(Failure::message(text));
            }
            "shared" => {
                let count = parse_c_integer(&value).and_then(|count| i32::try_from(count).ok());
                let invalid =
                    || Failure::message(format!("Invalid shared device number '{value}'"));
                let count = count.ok_or_else(invalid)?;
                self.clients = usize::try_from(count).ok().filter(|count| *count > 0);
            }
            "format" => pieces.format = Some(value),
            "persistent" => self.persistent = true,
            "wait" => {
                wait_for_locks(&value)?;
                self.waits = true;
            }
            "verbose" => self.verbose = true,
            "object" => {
                if let ObjectOutcome::Help(text) = self.objects.add(&value)? {
                    return Ok(Some(text));
                }
            }
            "allocation-depth" => self.allocation_depth = true,
            "export-name" => {
                if value.len() > MAX_STRING {
                    return Err(Failure::message(format!("export name '{value}' too long")));
                }
                self.name = value;
            }
            "description" => {
                if value.len() > MAX_STRING {
                    let text = format!("export description '{value}' too long");
                    return Err(Failure::message(text));
                }
                self.description = Some(value);
            }
            "tls-creds" => pieces.tls.credentials = Some(value),
            "tls-authz" => pieces.tls.authorization = Some(value),
            "tls-hostname" => pieces.tls.host = Some(value),
            "selinux-label" => pieces.selinux = true,
            "handshake-limit" => {
                let limit = parse_c_integer(&value).and_then(|limit| u32::try_from(limit).ok());
                let invalid = || Failure::message(format!("Invalid handshake limit '{value}'"));
                let limit = limit.ok_or_else(invalid)?;
                self.handshake_limit = (limit > 0).then(|| Duration::from_secs(u64::from(limit)));
            }
            "image-opts" => pieces.image_opts = true,
            "fork" => self.fork = true,
            "pid-file" => self.pid_file = Some(value),
            "backing-policy" => choose_backing_policy(&value)?,
            // It counts for what is said of the others too.
            "output" => {}
            _ => out::no_trace_event(&value),
        }
        Ok(None)
    }

    fn finish(mut self, mut pieces: Pieces, operands: &[String]) -> Outcome<Parsed> {
        if pieces.list {
            if !operands.is_empty() {
                return Err(Failure::message("List mode is incompatible with a file name"));
            }
            if pieces.about_disk {
                let text = "List mode is incompatible with per-device settings";
                return Err(Failure::message(text));
            }
            let tls = std::mem::take(&mut pieces.tls).client(&self.objects)?;
            pieces.check()?;
            let place = pieces.place(Activation::of_environment()?)?;
            let tls = tls.map(|tls| tls.to(&place));
            return Ok(Parsed::List(place, tls));
        }
        let [file] = operands else {
            let hint = format!("Try `{} --help' for more information.", help::called());
            let error = crate::disk::DiskError::invalid("Invalid number of arguments");
            return Err(error.with_hint(hint).into());
        };
        self.tls = pieces.tls.server(&self.objects)?;
        pieces.check()?;
        self.place = pieces.place(Activation::of_environment()?)?;
        self.image = pieces.image(file)?;
        self.flags.cache = pieces.cache.unwrap_or(CacheMode::WRITEBACK);
        self.flags.discard = pieces.discard.unwrap_or(false);
        if self.snapshot.is_some() {
            self.flags.writable = false;
        }
        Ok(Parsed::Serve(Box::new(self)))
    }
}

impl Default for CommandLine {
    fn default() -> Self {
        Self {
            image: ImageRef::default(),
            flags: OpenFlags::WRITE,
            overlay: false,
            snapshot: None,
            offset: 0,
            place: Place::Inherited,
            clients: Some(1),
            persistent: false,
            name: String::new(),
            description: None,
            bitmaps: Vec::new(),
            allocation_depth: false,
            handshake_limit: Some(Duration::from_secs(10)),
            fork: false,
            pid_file: None,
            waits: false,
            verbose: false,
            objects: Objects::default(),
            tls: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Outcome<CommandLine> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match CommandLine::parse(&arguments)? {
            Parsed::Serve(line) => Ok(*line),
            Parsed::List(..) | Parsed::Done => Err(Failure::message("a text")),
        }
    }

    fn refused(line: &str) -> String {
        let failure = parse(line).err();
        failure.map(|failure| format!("{}{}", failure.prefix, failure.error)).unwrap_or_default()
    }

    #[test]
    fn a_command_line_says_what_and_where() {
        let line = parse("-k /s -x exp -D d -t -e 0 -f raw -A -B a -B b -o 0x200 -r img");
        let line = line.unwrap_or_else(|failure| panic!("{failure:?}"));
        assert_eq!(line.place, Place::Path("/s".to_owned()));
        assert_eq!((line.name.as_str(), line.description.as_deref()), ("exp", Some("d")));
        assert_eq!((line.clients, line.persistent, line.offset), (None, true, 512));
        assert_eq!(line.bitmaps, ["a", "b"]);
        assert!(line.allocation_depth && !line.flags.writable && !line.flags.discard);
        let line = parse("img").unwrap_or_else(|failure| panic!("{failure:?}"));
        assert_eq!(line.place, Place::Port("0.0.0.0".to_owned(), "10809".to_owned()));
        assert_eq!((line.clients, line.handshake_limit), (Some(1), Some(Duration::from_secs(10))));
        assert!(line.flags.writable);
        let line = parse("-l x img").unwrap_or_else(|failure| panic!("{failure:?}"));
        assert!(!line.flags.writable && line.snapshot.is_some());
    }

    #[test]
    fn refusals_are_those_of_the_reference() {
        for (line, text) in [
            ("", "Invalid number of arguments"),
            ("a b", "Invalid number of arguments"),
            ("-e x a", "Invalid shared device number 'x'"),
            ("-e -1 a", "Invalid shared device number '-1'"),
            ("-k rel a", "socket path must be absolute"),
            ("-o 64k a", "Invalid offset '64k'"),
            ("-f raw --image-opts a", "--image-opts and -f are mutually exclusive"),
            ("--cache=bad a", "Invalid cache mode `bad'"),
            ("-n --cache=none a", "-n and --cache can only be specified once"),
            ("--aio=bad a", "Invalid aio mode 'bad'"),
            ("--discard=bad a", "Invalid discard mode `bad'"),
            ("--handshake-limit=x a", "Invalid handshake limit 'x'"),
            ("--tls-authz=x a", "--tls-authz is not permitted without --tls-creds"),
            ("--tls-hostname=x a", "--tls-hostname is not permitted without --tls-creds"),
            ("--tls-creds=x a", "Failed to get TLS creds: No TLS credentials with id 'x'"),
            (
                "--object secret,id=s,data=x --tls-creds=s a",
                "Failed to get TLS creds: Object with id 's' is not TLS credentials",
            ),
            ("--tls-creds=x --tls-hostname=y a", "TLS hostname is only supported with export list"),
            (
                "-L --tls-creds=x --tls-authz=y",
                "TLS authorization is incompatible with export list",
            ),
            ("-L --tls-creds=x", "Failed to get TLS creds: No TLS credentials with id 'x'"),
            ("-L --tls-hostname=x", "--tls-hostname is not permitted without --tls-creds"),
        ] {
            assert_eq!(refused(line), text, "{line}");
        }
        let late = refused("--detect-zeroes=unmap --discard=unmap a");
        assert!(late.starts_with("setting detect-zeroes to unmap is not allowed"), "{late}");
        assert!(parse("--discard=unmap --detect-zeroes=unmap a").is_ok());
    }
}
