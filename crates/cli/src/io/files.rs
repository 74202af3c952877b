//! `open` and `close`.

use std::sync::Arc;

use super::letters::Letters;
use super::session::{Session, SharedDisk, usage};
use super::{Failed, Outcome};
use crate::disk::{CopyOnRead, Disk, DiskError};
use crate::node::{CacheMode, ImageRef, OpenFlags, Options, open_disk, open_overlay};
use crate::objects::Objects;
use crate::out;
use crate::text::parse_list;

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

/// Says that the value of an option is not one that it has.
pub(super) fn invalid(what: &str, value: &str) -> Failed {
    out::error_line(&format!("Invalid {what} option: {value}"));
    Failed
}

/// A file that is open, and how to open it again.
pub(super) struct Opened {
    /// The disk.
    pub(super) disk: SharedDisk,
    /// The image as it was named.
    pub(super) image: ImageRef,
    /// How it was opened.
    pub(super) how: HowToOpen,
}

impl Opened {
    /// Opens an image, or says why it cannot be opened.
    pub(super) fn open(
        name: Option<&str>,
        format: Option<&str>,
        how: HowToOpen,
        objects: &Objects,
    ) -> Result<Self, Failed> {
        let mut how = how;
        let read_only = how.options.clone().take_bool("read-only");
        if how.flags.share && how.options.refuses_share() {
            out::error_line("-U conflicts with image options");
            return Err(Failed);
        }
        // The option of the node wins over that of the command.
        how.flags.writable |= matches!(read_only, Ok(Some(false)));
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
    pub(super) fn close(self) -> Result<(), DiskError> {
        match Arc::into_inner(self.disk) {
            Some(disk) => disk.close(),
            None => Err(DiskError::new(libc::EBUSY, "requests are still in flight")),
        }
    }
}

/// Opens the node tree with what goes on top of it.
pub(super) fn open_with(
    image: &ImageRef,
    how: &HowToOpen,
    objects: &Objects,
) -> Result<Box<dyn Disk>, DiskError> {
    if how.copy_on_read && !how.flags.writable {
        return Err(DiskError::invalid("Can't use copy-on-read on read-only device"));
    }
    let disk = if how.snapshot {
        open_overlay(image, &how.flags, objects)?
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
        // Nobody would resume them any more.
        if let Some(debugger) = self.opened.as_ref().and_then(|opened| opened.disk.debugger()) {
            debugger.let_all_go();
        }
        self.jobs.wait_all();
        let Some(opened) = self.opened.take() else { return Ok(()) };
        opened.close().map_err(|error| {
            out::report("", &error);
            Failed
        })
    }
}

/// `close`: closes the file.
pub(super) fn close(session: &mut Session, _words: &[&str]) -> Outcome {
    session.close()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_of_both_command_lines_set_the_same_things() {
        let mut how = HowToOpen::new();
        assert!(how.flags.writable && how.flags.cache.write_through && how.flags.discard);
        for (letter, value) in [('r', ""), ('t', "unsafe"), ('d', "off"), ('i', "native")] {
            assert_eq!(how.take(letter, value), Ok(()));
        }
        assert!(!how.flags.writable && how.flags.cache.no_flush && !how.flags.discard);
        assert!(how.native_aio);
        for (letter, value) in [('t', "x"), ('d', ""), ('i', "posix")] {
            assert_eq!(how.take(letter, value), Err(Failed));
        }
    }
}
