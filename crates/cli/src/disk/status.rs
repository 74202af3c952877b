//! The state of a range of a disk, and modes of allocation.

/// How the bytes of one range are held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    /// Bytes from the asked position that are alike.
    pub(crate) len: u64,
    /// Some layer of the chain holds the range itself.
    pub(crate) present: bool,
    /// The range reads as zeros.
    pub(crate) zero: bool,
    /// The range has payload that must be read.
    pub(crate) data: bool,
    /// The payload is compressed.
    pub(crate) compressed: bool,
    /// How many backing steps down the holding layer is.
    pub(crate) depth: u32,
    /// Where the payload begins in the file, if it lies there linearly.
    pub(crate) offset: Option<u64>,
    /// The file that holds the payload.
    pub(crate) file: Option<String>,
}

impl Status {
    /// A range of nothing, as past the end.
    pub(crate) fn nothing() -> Self {
        Self {
            len: 0,
            present: false,
            zero: false,
            data: false,
            compressed: false,
            depth: 0,
            offset: None,
            file: None,
        }
    }
}

/// What to allocate where an image grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preallocation {
    /// Nothing.
    Off,
    /// Tables, but no blocks of the host.
    Metadata,
    /// Blocks of the host, without writing them.
    Falloc,
    /// Blocks of the host, written with zeros.
    Full,
}

impl Preallocation {
    /// The mode of that name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "off" => Some(Self::Off),
            "metadata" => Some(Self::Metadata),
            "falloc" => Some(Self::Falloc),
            "full" => Some(Self::Full),
            _ => None,
        }
    }
}
