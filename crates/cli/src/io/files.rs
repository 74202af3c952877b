//! `open`, `close` and `reopen`.

use std::sync::Arc;

use super::copy_on_read::CopyOnRead;
use super::letters::Letters;
use super::session::{Session, SharedDisk, usage};
use super::{Failed, Outcome, overlay};
use crate::disk::{Disk, DiskError};
use crate::node::{CacheMode, ImageRef, OpenFlags, Options, open_disk};
use crate::objects::Objects;
use crate::out;
use crate::text::{Json, parse_list};

/// How a file is opened; the options of the command line and of `open` are the same.
#[derive(Clone, Debug)]
pub(super) struct HowToOpen {
    /// Flags of the node tree.
    pub(super) flags: OpenFlags,
    /// Writes go to a temporary overlay.
    pub(super) snapshot: bool,
    /// What is read from a backing file is written to the image.
    pub(super) copy_on_read: bool,
    /// The kernel's native asynchronous I/O is asked for.
    pub(super) native_aio: bool,
    /// Options of the block driver.
    pub(super) options: Options,
}

impl HowToOpen {
    /// For writing, every write durable, discards passed on.
    pub(super) fn new() -> Self {
        Self {
            flags: OpenFlags { cache: CacheMode::WRITETHROUGH, ..OpenFlags::WRITE },
            snapshot: false,
            copy_on_read: false,
            native_aio: false,
            options: Options::default(),
        }
    }

    /// Takes the option of that letter.
    ///
    /// # Errors
    /// Its value is not one that it has, which is said.
    pub(super) fn take(&mut self, letter: char, value: &str) -> Outcome {
        match letter {
            'r' => self.flags.writable = false,
            's' => self.snapshot = true,
            'C' => self.copy_on_read = true,
            'U' => self.flags.share = true,
            'k' => self.native_aio = true,
            'n' => self.flags.cache = CacheMode { direct: true, ..CacheMode::WRITEBACK },
            't' => {
                self.flags.cache =
                    CacheMode::parse(value).ok_or_else(|| invalid("cache", value))?;
            }
            'd' => {
                self.flags.discard = match value {
                    "off" | "ignore" => false,
                    "on" | "unmap" => true,
                    _ => return Err(invalid("discard", value)),
                };
            }
            'i' => {
                self.native_aio = match value {
                    "native" => true,
                    // How requests reach the kernel is our choice: both give the same results.
                    "threads" | "io_uring" => false,
                    _ => return Err(invalid("aio", value)),
                };
            }
            _ => {
                let options = driver_options(value);
                let earlier = std::mem::replace(&mut self.options, options);
                self.options.fill_from(earlier);
            }
        }
        Ok(())
    }
}

/// Options of a driver, with the reference's warning for those without a value.
pub(super) fn driver_options(list: &str) -> Options {
    for pair in parse_list(list).into_iter().filter(|pair| pair.value.is_none()) {
        if matches!(pair.key.as_str(), "help" | "?") {
            continue;
        }
        let given = pair.key.clone();
        let (key, value) = pair.flag_form();
        out::error_line(&format!("warning: short-form boolean option '{given}' deprecated"));
        out::error_text(&format!("Please use {key}={value} instead\n"));
    }
    Options::parse(list, None)
}

fn invalid(what: &str, value: &str) -> Failed {
    out::error_line(&format!("Invalid {what} option: {value}"));
    Failed
}

/// A file that is open, and how to open it again.
pub(super) struct Opened {
    /// The disk.
    pub(super) disk: SharedDisk,
    image: ImageRef,
    how: HowToOpen,
}

impl Opened {
    /// Opens an image, or says why it cannot be opened.
    pub(super) fn open(
        name: Option<&str>,
        format: Option<&str>,
        how: HowToOpen,
        objects: &Objects,
    ) -> Result<Self, Failed> {
        let mut image = match name {
            Some(name) => ImageRef::named(name, format),
            None => ImageRef { format: format.map(str::to_owned), ..ImageRef::default() },
        };
        image.options = how.options.clone();
        if how.native_aio && !image.options.has("file.aio") {
            image.options.set("file.aio", "native");
        }
        match open_with(&image, &how, objects) {
            Ok(disk) => Ok(Self { disk: Arc::new(disk), image, how }),
            Err(error) => {
                let device = name.map(|name| format!(" device {name}")).unwrap_or_default();
                out::report(&format!("can't open{device}: "), &error);
                Err(Failed)
            }
        }
    }

    /// Closes the file; no request may be in flight.
    fn close(self) -> Result<(), DiskError> {
        match Arc::into_inner(self.disk) {
            Some(disk) => disk.close(),
            None => Err(DiskError::new(libc::EBUSY, "requests are still in flight")),
        }
    }
}

/// Opens the node tree with what goes on top of it.
fn open_with(
    image: &ImageRef,
    how: &HowToOpen,
    objects: &Objects,
) -> Result<Box<dyn Disk>, DiskError> {
    if how.copy_on_read && !how.flags.writable {
        return Err(DiskError::invalid("Can't use copy-on-read on read-only device"));
    }
    let disk = if how.snapshot {
        overlay::open(image, how, objects)?
    } else {
        open_disk(image.clone(), &how.flags, objects)?
    };
    Ok(if how.copy_on_read { Box::new(CopyOnRead::new(disk)) } else { disk })
}

/// `open`: opens a file for the commands that follow.
pub(super) fn open(session: &mut Session, words: &[&str]) -> Outcome {
    let mut how = HowToOpen::new();
    let mut letters = Letters::new(words, "rsCnkUt:d:i:o:");
    for option in letters.by_ref() {
        if option.letter == '?' {
            return Err(usage(words));
        }
        how.take(option.letter, option.value)?;
    }
    let operands = letters.operands();
    let name = match operands[..] {
        [] => None,
        [name] => Some(name),
        _ => return Err(usage(words)),
    };
    session.open(name, None, how)
}

impl Session {
    /// Opens a file, unless one is open.
    pub(super) fn open(
        &mut self,
        name: Option<&str>,
        format: Option<&str>,
        how: HowToOpen,
    ) -> Outcome {
        if self.opened.is_some() {
            out::error_line("file open already, try 'help close'");
            return Err(Failed);
        }
        self.opened = Some(Opened::open(name, format, how, &self.objects)?);
        Ok(())
    }

    /// Waits for requests and closes the file, if one is open.
    pub(super) fn close(&mut self) -> Outcome {
        self.jobs.wait_all();
        let Some(opened) = self.opened.take() else { return Ok(()) };
        opened.close().map_err(|error| {
            out::report("close failed: ", &error);
            Failed
        })
    }
}

/// `close`: closes the file.
pub(super) fn close(session: &mut Session, _words: &[&str]) -> Outcome {
    session.close()
}

/// `reopen`: opens the same image in another way.
pub(super) fn reopen(session: &mut Session, words: &[&str]) -> Outcome {
    let mut writable = None;
    let mut cache = None;
    let mut changes = Options::default();
    let mut letters = Letters::new(words, "c:o:rw");
    for option in letters.by_ref() {
        match option.letter {
            'c' => {
                let mode = CacheMode::parse(option.value);
                cache = Some(mode.ok_or_else(|| invalid("cache", option.value))?);
            }
            'o' => {
                let earlier = std::mem::replace(&mut changes, driver_options(option.value));
                changes.fill_from(earlier);
            }
            'r' | 'w' if writable.is_some() => {
                out::error_line("Only one -r/-w option may be given");
                return Err(Failed);
            }
            'r' => writable = Some(false),
            'w' => writable = Some(true),
            _ => return Err(usage(words)),
        }
    }
    if !letters.operands().is_empty() {
        return Err(usage(words));
    }
    session.jobs.wait_all();
    let Some(opened) = session.opened.take() else { return Err(Failed) };
    let changes = match opened.real_changes(changes, writable, cache) {
        Ok(changes) => changes,
        Err(failed) => {
            session.opened = Some(opened);
            return Err(failed);
        }
    };
    let (old_image, old_how) = (opened.image.clone(), opened.how.clone());
    if old_how.snapshot && (writable.is_some() || cache.is_some() || !changes.is_empty()) {
        session.opened = Some(opened);
        out::error_line("a temporary overlay cannot be reopened in another way");
        return Err(Failed);
    }
    let (mut image, mut how) = (old_image.clone(), old_how.clone());
    how.flags.writable = writable.unwrap_or(how.flags.writable);
    how.flags.cache = cache.unwrap_or(how.flags.cache);
    let earlier = std::mem::replace(&mut image.options, changes);
    image.options.fill_from(earlier);
    // One process cannot hold the locks twice, so the image is closed before it is opened again.
    opened.close().map_err(|error| {
        out::report("", &error);
        Failed
    })?;
    let objects = &session.objects;
    let refused = match open_with(&image, &how, objects) {
        Ok(disk) => {
            session.opened = Some(Opened { disk: Arc::new(disk), image, how });
            return Ok(());
        }
        Err(error) => error,
    };
    out::report("", &refused);
    match open_with(&old_image, &old_how, objects) {
        Ok(disk) => {
            session.opened = Some(Opened { disk: Arc::new(disk), image: old_image, how: old_how });
        }
        Err(error) => out::report("cannot go back to the earlier options: ", &error),
    }
    Err(Failed)
}

/// Options that can change while an image is open; names that end in a dot stand for all below.
const CHANGEABLE: &[&str] = &[
    "auto-read-only",
    "cache.direct",
    "cache.no-flush",
    "cache.writeback",
    "cache-clean-interval",
    "cache-size",
    "detect-zeroes",
    "discard",
    "discard-no-unref",
    "l2-cache-entry-size",
    "l2-cache-size",
    "lazy-refcounts",
    "overlap-check",
    "overlap-check.",
    "pass-discard-other",
    "pass-discard-request",
    "pass-discard-snapshot",
    "read-only",
    "refcount-cache-size",
];

impl Opened {
    /// The options that really change; refuses those that cannot, or that are given in two ways.
    fn real_changes(
        &self,
        changes: Options,
        writable: Option<bool>,
        cache: Option<CacheMode>,
    ) -> Result<Options, Failed> {
        let mut real = Options::default();
        for (key, value) in changes.entries() {
            let complaint = match key.as_str() {
                "read-only" if writable.is_some() => "Cannot set both -r/-w and 'read-only'",
                "cache.direct" | "cache.no-flush" | "cache.writeback" if cache.is_some() => {
                    "Cannot set both -c and the cache options"
                }
                key if is_changeable(key) || self.has_option(key, value) => {
                    real.set(key, value.clone());
                    continue;
                }
                key => &format!("Cannot change the option '{key}'"),
            };
            out::error_line(complaint);
            return Err(Failed);
        }
        Ok(real)
    }

    /// Whether the image was opened with that option, given or found.
    fn has_option(&self, key: &str, value: &Json) -> bool {
        let format = self.disk.info().map(|info| Json::str(info.format));
        self.image.options.entries().iter().any(|(known, set)| known == key && set == value)
            || key == "driver" && format.is_ok_and(|format| format == *value)
    }
}

/// Whether an option can change while an image is open.
fn is_changeable(key: &str) -> bool {
    CHANGEABLE.iter().any(|known| *known == key || known.ends_with('.') && key.starts_with(known))
}
