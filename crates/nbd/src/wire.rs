//! Fixed structures as bytes: big-endian, packed.
//!
//! # Spec
//! "Newstyle negotiation" and "Transmission" of the NBD protocol.

use zerocopy::byteorder::{BE, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

macro_rules! wire {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
        #[repr(C)]
        pub(crate) struct $name {
            $($(#[$field_doc])* pub(crate) $field: $kind<BE>,)*
        }

        impl $name {
            /// Bytes that it takes.
            #[allow(dead_code, reason = "not every length is asked for")]
            pub(crate) const LEN: usize = size_of::<Self>();
        }
    };
}

wire!(
    /// What the server says first.
    Hello { magic: U64, option_magic: U64, flags: U16, }
);
wire!(
    /// Before the data of an option.
    OptionHeader { magic: U64, option: U32, len: U32, }
);
wire!(
    /// Before the data of a reply to an option.
    OptionReply { magic: U64, option: U32, kind: U32, len: U32, }
);
wire!(
    /// What [`crate::numbers::option::EXPORT_NAME`] is answered with, before padding.
    ExportReply { size: U64, flags: U16, }
);
wire!(
    /// Size and flags of an export.
    InfoExport { kind: U16, size: U64, flags: U16, }
);
wire!(
    /// Block sizes of an export.
    InfoBlockSize { kind: U16, minimum: U32, preferred: U32, maximum: U32, }
);
wire!(
    /// A request with a length of 32 bits.
    CompactRequest { magic: U32, flags: U16, command: U16, cookie: U64, at: U64, len: U32, }
);
wire!(
    /// A request with a length of 64 bits.
    ExtendedRequest { magic: U32, flags: U16, command: U16, cookie: U64, at: U64, len: U64, }
);
wire!(
    /// A reply without chunks.
    SimpleReply { magic: U32, error: U32, cookie: U64, }
);
wire!(
    /// Before a chunk with a length of 32 bits.
    Chunk { magic: U32, flags: U16, kind: U16, cookie: U64, len: U32, }
);
wire!(
    /// Before a chunk with a length of 64 bits.
    ExtendedChunk { magic: U32, flags: U16, kind: U16, cookie: U64, at: U64, len: U64, }
);
wire!(
    /// A hole in a reply to a read.
    Hole { at: U64, len: U32, }
);
wire!(
    /// A failure, before its message.
    Failure { error: U32, message_len: U16, }
);
wire!(
    /// An extent with a length of 32 bits.
    CompactExtent { len: U32, flags: U32, }
);
wire!(
    /// An extent with a length of 64 bits.
    ExtendedExtent { len: U64, flags: U64, }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_lengths_of_the_protocol() {
        assert_eq!((Hello::LEN, OptionHeader::LEN, OptionReply::LEN), (18, 16, 20));
        assert_eq!((ExportReply::LEN, InfoExport::LEN, InfoBlockSize::LEN), (10, 12, 14));
        assert_eq!((CompactRequest::LEN, ExtendedRequest::LEN), (28, 32));
        assert_eq!((SimpleReply::LEN, Chunk::LEN, ExtendedChunk::LEN), (16, 20, 32));
        assert_eq!((Hole::LEN, Failure::LEN), (12, 6));
        assert_eq!((CompactExtent::LEN, ExtendedExtent::LEN), (8, 16));
    }
}
