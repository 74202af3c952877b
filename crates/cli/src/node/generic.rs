//! Options that every node has.

use std::collections::BTreeSet;

use super::{CacheMode, OpenFlags, Options};
use crate::disk::DiskError;
use crate::text::Json;

/// What to do about writes of zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum DetectZeroes {
    /// Write them as data.
    #[default]
    Off,
    /// Write them as zeroes.
    On,
    /// Write them as zeroes whose space may be given back.
    Unmap,
}

/// The generic options of one node, with what the command asks for as the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generic {
    /// Writes are possible.
    pub(crate) writable: bool,
    /// If the file cannot be written, it is opened for reading.
    pub(crate) auto_read_only: bool,
    /// Locks of others are not looked at.
    pub(crate) share: bool,
    /// The cache mode.
    pub(crate) cache: CacheMode,
    /// Guest discards go down.
    pub(crate) discard: bool,
    /// What to do about writes of zeros.
    pub(crate) detect_zeroes: DetectZeroes,
}

impl Generic {
    /// Takes the generic options out of a node's options. `top` is whether the command opens this
    /// node itself.
    ///
    /// # Errors
    /// A value is not one of those that the option has, or two of them exclude each other.
    pub(crate) fn take(
        options: &mut Options,
        flags: &OpenFlags,
        top: bool,
    ) -> Result<Self, DiskError> {
        let read_only = options.take_bool("read-only")?;
        let auto_read_only = options.take_bool("auto-read-only")?.unwrap_or(flags.auto_read_only);
        let share = options.take_bool("force-share")?;
        let direct = options.take_bool("cache.direct")?;
        let no_flush = options.take_bool("cache.no-flush")?;
        let writeback = if top { options.take_bool("cache.writeback")? } else { None };
        let discard = match options.take_text("discard")?.as_deref() {
            None => flags.discard,
            Some("ignore" | "off") => false,
            Some("unmap" | "on") => true,
            Some(_) => return Err(DiskError::invalid("Invalid discard option")),
        };
        let detect_zeroes = match options.take_text("detect-zeroes")?.as_deref() {
            None | Some("off") => DetectZeroes::Off,
            Some("on") => DetectZeroes::On,
            Some("unmap") if discard => DetectZeroes::Unmap,
            Some("unmap") => {
                return Err(DiskError::invalid(
                    "setting detect-zeroes to unmap is not allowed without setting discard \
                     operation to unmap",
                ));
            }
            Some(other) => {
                return Err(DiskError::invalid(format!("invalid parameter value: {other}")));
            }
        };
        check_node_name(options)?;
        let writable = flags.writable && !read_only.unwrap_or(false);
        let share = share.unwrap_or(flags.share);
        // Who only reads is content with a node that could be written; the option is still an offer.
        if share && (writable || read_only == Some(false)) {
            return Err(DiskError::invalid(
                "force-share=on can only be used with read-only images",
            ));
        }
        let cache = CacheMode {
            direct: direct.unwrap_or(flags.cache.direct),
            no_flush: no_flush.unwrap_or(flags.cache.no_flush),
            write_through: writeback.map_or(flags.cache.write_through, |back| !back),
            streaming: flags.cache.streaming,
        };
        Ok(Self { writable, auto_read_only, share, cache, discard, detect_zeroes })
    }

    /// Refuses a node that is for reading only where its user writes.
    ///
    /// # Errors
    /// The option `read-only` is on, and the flags ask for writing.
    pub(super) fn check_writer(&self, flags: &OpenFlags) -> Result<(), DiskError> {
        if flags.writable && !self.writable { Err(read_only_node()) } else { Ok(()) }
    }

    /// Refuses what only a disk can do, for a node that is the bytes under one.
    ///
    /// # Errors
    /// Writes of zeros are to be detected.
    pub(super) fn check_below(&self) -> Result<(), DiskError> {
        match self.detect_zeroes {
            DetectZeroes::Off => Ok(()),
            DetectZeroes::On | DetectZeroes::Unmap => Err(DiskError::unsupported(
                "the option 'detect-zeroes' is not available for a node under another in this \
                 version",
            )),
        }
    }

    /// What a node below inherits.
    pub(crate) fn child_flags(&self) -> OpenFlags {
        OpenFlags {
            writable: self.writable,
            auto_read_only: self.auto_read_only,
            share: self.share,
            cache: CacheMode { write_through: false, ..self.cache },
            discard: true,
            backing: true,
        }
    }
}

/// A node cannot be written that has to be.
pub(super) fn read_only_node() -> DiskError {
    DiskError::new(libc::EACCES, "Block node is read-only")
}

/// Refuses a name that two nodes of one image have.
///
/// # Errors
/// There is one.
pub(super) fn check_names(options: &Options) -> Result<(), DiskError> {
    let mut names = BTreeSet::new();
    for (key, value) in options.entries() {
        if let (true, Json::Str(name)) = (key == NODE_NAME || key.ends_with(DOT_NODE_NAME), value)
            && !names.insert(name)
        {
            let text = format!("Duplicate nodes with node-name='{name}'");
            return Err(DiskError::invalid(text));
        }
    }
    Ok(())
}

/// The option of a node's name, at the top of a tree and further down.
const NODE_NAME: &str = "node-name";
const DOT_NODE_NAME: &str = ".node-name";

/// A node's name only has to be well formed: nothing refers to it from a command line.
fn check_node_name(options: &mut Options) -> Result<(), DiskError> {
    let Some(name) = options.take_text(NODE_NAME)? else { return Ok(()) };
    let well_formed = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'));
    match (well_formed, name.len()) {
        (true, ..32) => Ok(()),
        (true, _) => Err(DiskError::invalid("Node name too long")),
        (false, _) => Err(DiskError::invalid(format!("Invalid node-name: '{name}'"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(text: &str, flags: OpenFlags) -> Result<Generic, String> {
        let mut options = Options::parse(text, None);
        let generic = Generic::take(&mut options, &flags, true).map_err(|e| e.to_string())?;
        assert!(options.is_empty(), "{text} is all generic");
        Ok(generic)
    }

    #[test]
    fn the_table_of_options_has_those_of_every_node() {
        let mut options = Options::default();
        Generic::take(&mut options, &OpenFlags::READ, true).expect("none is needed");
        assert_eq!(crate::option_table::listed("Every node"), options.asked.keys());
    }

    #[test]
    fn options_win_over_flags() {
        let generic = take("read-only=on,cache.direct=on,discard=off", OpenFlags::WRITE);
        let generic = generic.expect("the options are well formed");
        assert!(!generic.writable && generic.cache.direct && !generic.discard);
        let generic = take("cache.writeback=off,node-name=a-1", OpenFlags::WRITE);
        assert!(generic.expect("the options are well formed").cache.write_through);
    }

    #[test]
    fn contradictions_are_refused() {
        for (text, flags, error) in [
            (
                "force-share=on",
                OpenFlags::WRITE,
                "force-share=on can only be used with read-only images",
            ),
            ("discard=x", OpenFlags::READ, "Invalid discard option"),
            ("detect-zeroes=x", OpenFlags::READ, "invalid parameter value: x"),
            ("read-only=x", OpenFlags::READ, "Parameter 'read-only' expects 'on' or 'off'"),
            ("node-name=#x", OpenFlags::READ, "Invalid node-name: '#x'"),
            (
                "detect-zeroes=unmap",
                OpenFlags::READ,
                "setting detect-zeroes to unmap is not allowed without setting discard operation \
                 to unmap",
            ),
        ] {
            assert_eq!(take(text, flags).err().as_deref(), Some(error), "{text}");
        }
    }
}
