//! The numbers of the protocol, by their names in its description.
//!
//! # Spec
//! "Values" of the NBD protocol.

/// The first eight bytes that a server says.
pub const HELLO_MAGIC: u64 = 0x4e42_444d_4147_4943;
/// Announces options, and begins each of them.
pub const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
/// Begins a reply to an option.
pub const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
/// Begins a request with a length of 32 bits.
pub const REQUEST_MAGIC: u32 = 0x2560_9513;
/// Begins a request with a length of 64 bits.
pub const EXTENDED_REQUEST_MAGIC: u32 = 0x21e4_1c71;
/// Begins a reply without chunks.
pub const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
/// Begins a chunk with a length of 32 bits.
pub const CHUNK_MAGIC: u32 = 0x668e_33ef;
/// Begins a chunk with a length of 64 bits.
pub const EXTENDED_CHUNK_MAGIC: u32 = 0x6e8a_278c;

/// Payload of a read or write, in bytes, that every side has to take, and that this one takes at most.
pub const MAX_PAYLOAD: u32 = 32 << 20;
/// Bytes of an export's name, a description or a query, at most.
pub const MAX_STRING: usize = 4096;
/// Extents of one status reply, at most: 1 MiB of them.
pub const MAX_EXTENTS: usize = 1 << 17;

/// Handshake flags; those of the client have the same values.
pub mod handshake {
    /// Errors in options leave the connection usable.
    pub const FIXED_NEWSTYLE: u16 = 1;
    /// No padding behind the reply to [`super::option::EXPORT_NAME`].
    pub const NO_ZEROES: u16 = 2;
}

/// Options.
pub mod option {
    /// Choose an export and begin, without a way to report errors.
    pub const EXPORT_NAME: u32 = 1;
    /// End the session.
    pub const ABORT: u32 = 2;
    /// List the exports.
    pub const LIST: u32 = 3;
    /// Begin TLS.
    pub const STARTTLS: u32 = 5;
    /// Describe an export.
    pub const INFO: u32 = 6;
    /// Choose an export and begin.
    pub const GO: u32 = 7;
    /// Replies come in chunks.
    pub const STRUCTURED_REPLY: u32 = 8;
    /// List metadata contexts.
    pub const LIST_META_CONTEXT: u32 = 9;
    /// Choose metadata contexts.
    pub const SET_META_CONTEXT: u32 = 10;
    /// Requests and replies have 64-bit lengths.
    pub const EXTENDED_HEADERS: u32 = 11;
}

/// Types of replies to options; errors have the top bit.
pub mod option_reply {
    /// Done.
    pub const ACK: u32 = 1;
    /// An export.
    pub const SERVER: u32 = 2;
    /// A property of an export.
    pub const INFO: u32 = 3;
    /// A metadata context.
    pub const META_CONTEXT: u32 = 4;
    /// The bit that errors have.
    pub const ERROR: u32 = 1 << 31;
    /// The option is not known.
    pub const ERR_UNSUP: u32 = ERROR | 1;
    /// The server is not willing.
    pub const ERR_POLICY: u32 = ERROR | 2;
    /// The option makes no sense.
    pub const ERR_INVALID: u32 = ERROR | 3;
    /// The server has no TLS in this build.
    pub const ERR_PLATFORM: u32 = ERROR | 4;
    /// TLS has to come first.
    pub const ERR_TLS_REQD: u32 = ERROR | 5;
    /// There is no such export.
    pub const ERR_UNKNOWN: u32 = ERROR | 6;
    /// The server ends.
    pub const ERR_SHUTDOWN: u32 = ERROR | 7;
    /// The client has to ask for block sizes.
    pub const ERR_BLOCK_SIZE_REQD: u32 = ERROR | 8;
    /// The option is too large.
    pub const ERR_TOO_BIG: u32 = ERROR | 9;
    /// Extended headers are in use.
    pub const ERR_EXT_HEADER_REQD: u32 = ERROR | 10;
}

/// Properties of an export.
pub mod info {
    /// Size and transmission flags.
    pub const EXPORT: u16 = 0;
    /// The name.
    pub const NAME: u16 = 1;
    /// Words for people.
    pub const DESCRIPTION: u16 = 2;
    /// Minimum, preferred and maximum block size.
    pub const BLOCK_SIZE: u16 = 3;
}

/// Transmission flags: what can be done with an export.
pub mod transmission {
    /// Always set.
    pub const HAS_FLAGS: u16 = 1;
    /// Writes are refused.
    pub const READ_ONLY: u16 = 1 << 1;
    /// Flushes are understood.
    pub const SEND_FLUSH: u16 = 1 << 2;
    /// [`super::command_flag::FUA`] is understood.
    pub const SEND_FUA: u16 = 1 << 3;
    /// The disk turns.
    pub const ROTATIONAL: u16 = 1 << 4;
    /// Trims are understood.
    pub const SEND_TRIM: u16 = 1 << 5;
    /// Zeroing is understood.
    pub const SEND_WRITE_ZEROES: u16 = 1 << 6;
    /// [`super::command_flag::DF`] is understood.
    pub const SEND_DF: u16 = 1 << 7;
    /// A flush on one connection covers what was written on others.
    pub const CAN_MULTI_CONN: u16 = 1 << 8;
    /// The size may change.
    pub const SEND_RESIZE: u16 = 1 << 9;
    /// Cache requests are understood.
    pub const SEND_CACHE: u16 = 1 << 10;
    /// [`super::command_flag::FAST_ZERO`] is understood.
    pub const SEND_FAST_ZERO: u16 = 1 << 11;
    /// Status requests may name contexts.
    pub const BLOCK_STATUS_PAYLOAD: u16 = 1 << 12;
}

/// Commands.
pub mod command {
    /// Read.
    pub const READ: u16 = 0;
    /// Write.
    pub const WRITE: u16 = 1;
    /// End the session.
    pub const DISC: u16 = 2;
    /// Make durable.
    pub const FLUSH: u16 = 3;
    /// Give up content.
    pub const TRIM: u16 = 4;
    /// Read ahead.
    pub const CACHE: u16 = 5;
    /// Write zeros.
    pub const WRITE_ZEROES: u16 = 6;
    /// Ask for the state of a range.
    pub const BLOCK_STATUS: u16 = 7;
}

/// Flags of commands.
pub mod command_flag {
    /// The result is durable before the reply.
    pub const FUA: u16 = 1;
    /// Zeros keep their space.
    pub const NO_HOLE: u16 = 2;
    /// One chunk of data only.
    pub const DF: u16 = 4;
    /// One extent only.
    pub const REQ_ONE: u16 = 8;
    /// Fail rather than write zeros slowly.
    pub const FAST_ZERO: u16 = 16;
    /// The length is that of a payload.
    pub const PAYLOAD_LEN: u16 = 32;
}

/// Types of chunks; errors have the top bit.
pub mod chunk {
    /// The flag of the last chunk of a reply.
    pub const DONE: u16 = 1;
    /// Nothing.
    pub const NONE: u16 = 0;
    /// Data at an offset.
    pub const OFFSET_DATA: u16 = 1;
    /// Zeros at an offset.
    pub const OFFSET_HOLE: u16 = 2;
    /// Extents with 32-bit lengths.
    pub const BLOCK_STATUS: u16 = 5;
    /// Extents with 64-bit lengths.
    pub const BLOCK_STATUS_EXT: u16 = 6;
    /// A failure.
    pub const ERROR: u16 = 1 << 15 | 1;
    /// A failure at an offset.
    pub const ERROR_OFFSET: u16 = 1 << 15 | 2;
}

/// States in the context `base:allocation`.
pub mod allocation {
    /// No space is taken.
    pub const HOLE: u32 = 1;
    /// The range reads as zeros.
    pub const ZERO: u32 = 2;
}
