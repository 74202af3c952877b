//! Cache modes.

/// What a cache mode means for the files of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CacheMode {
    /// Go past the page cache.
    pub(crate) direct: bool,
    /// Flushes do nothing.
    pub(crate) no_flush: bool,
    /// Every write is durable on return.
    pub(crate) write_through: bool,
    /// The file is written in order, in large pieces, most of them once: its device may work meanwhile.
    pub(crate) streaming: bool,
}

impl CacheMode {
    /// Page cache, flushes honoured.
    pub(crate) const WRITEBACK: Self =
        Self { direct: false, no_flush: false, write_through: false, streaming: false };
    /// Page cache, no flush at all.
    pub(crate) const UNSAFE: Self = Self { no_flush: true, ..Self::WRITEBACK };
    /// Page cache, every write durable.
    pub(crate) const WRITETHROUGH: Self = Self { write_through: true, ..Self::WRITEBACK };

    /// The mode of that name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "writeback" => Some(Self::WRITEBACK),
            "none" | "off" => Some(Self { direct: true, ..Self::WRITEBACK }),
            "writethrough" => Some(Self::WRITETHROUGH),
            "directsync" => Some(Self { direct: true, ..Self::WRITETHROUGH }),
            "unsafe" => Some(Self::UNSAFE),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_combinations_of_three_bits() {
        let bits = |name| CacheMode::parse(name).map(|m| (m.direct, m.no_flush, m.write_through));
        assert_eq!(bits("writeback"), Some((false, false, false)));
        assert_eq!(bits("none"), Some((true, false, false)));
        assert_eq!(bits("off"), bits("none"));
        assert_eq!(bits("writethrough"), Some((false, false, true)));
        assert_eq!(bits("directsync"), Some((true, false, true)));
        assert_eq!(bits("unsafe"), Some((false, true, false)));
        assert_eq!(bits("bad"), None);
    }
}
