//! The three feature masks.

macro_rules! features {
    ($(#[$doc:meta])* $name:ident { $($(#[$bit_doc:meta])* $bit:ident = $shift:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
        pub struct $name(u64);

        impl $name {
            $($(#[$bit_doc])* pub const $bit: Self = Self(1 << $shift);)*
            /// All bits with a known meaning.
            pub const KNOWN: Self = Self(0 $(| (1 << $shift))*);

            /// The mask with these bits, known or not.
            #[must_use]
            pub const fn new(bits: u64) -> Self {
                Self(bits)
            }

            /// All bits, known or not.
            #[must_use]
            pub const fn bits(self) -> u64 {
                self.0
            }

            /// Whether all bits of `other` are set.
            #[must_use]
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// Sets the bits of `other`.
            pub const fn insert(&mut self, other: Self) {
                self.0 |= other.0;
            }

            /// Clears the bits of `other`.
            pub const fn remove(&mut self, other: Self) {
                self.0 &= !other.0;
            }

            /// The bits without a known meaning.
            #[must_use]
            pub const fn unknown(self) -> u64 {
                self.0 & !Self::KNOWN.0
            }
        }
    };
}

features! {
    /// Features without which an image must not be opened.
    IncompatibleFeatures {
        /// Refcounts may be stale and are to be rebuilt before they are trusted.
        DIRTY = 0,
        /// A structure is known to be bad; nothing but a repair may write.
        CORRUPT = 1,
        /// Guest data lives in another file.
        DATA_FILE = 2,
        /// The compression type is present and not deflate.
        COMPRESSION = 3,
        /// L2 entries are 16 bytes and clusters have 32 subclusters.
        EXTENDED_L2 = 4,
    }
}

features! {
    /// Features that a reader may ignore.
    CompatibleFeatures {
        /// A writer may postpone refcount updates under the dirty bit.
        LAZY_REFCOUNTS = 0,
    }
}

features! {
    /// Features that a writer which does not know them must clear before its first write.
    AutoclearFeatures {
        /// The bitmaps extension is consistent with the image.
        BITMAPS = 0,
        /// The data file alone is a valid raw image of the disk.
        RAW_DATA_FILE = 1,
    }
}
