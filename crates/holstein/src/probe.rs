//! Which format some bytes look like.

/// A format, as far as the first bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// A qcow2 image.
    Qcow2,
    /// Nothing known: raw, or anything.
    Raw,
    /// A format that this library does not handle.
    Other(&'static str),
}

/// Guesses the format of a file from its first bytes, 512 are enough.
///
/// A guest can write whatever it likes to the start of a raw disk. Where the format is known, say it
/// instead of asking here.
#[must_use]
pub fn probe(first: &[u8]) -> Format {
    let version = |at: usize| {
        first.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes)
    };
    let magics: [(&[u8], Format); 6] = [
        (b"LUKS\xba\xbe", Format::Other("luks")),
        (b"KDMV", Format::Other("vmdk")),
        (b"vhdxfile", Format::Other("vhdx")),
        (b"conectix", Format::Other("vpc")),
        (b"QED\0", Format::Other("qed")),
        (b"COWD", Format::Other("vmdk")),
    ];
    if first.starts_with(b"QFI\xfb") {
        return match version(4) {
            0 => Format::Raw,
            1 => Format::Other("qcow"),
            _ => Format::Qcow2,
        };
    }
    magics.iter().find(|(magic, _)| first.starts_with(magic)).map_or(Format::Raw, |(_, f)| *f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magics_are_recognised_and_all_else_is_raw() {
        assert_eq!(probe(b"QFI\xfb\0\0\0\x03"), Format::Qcow2);
        assert_eq!(probe(b"QFI\xfb\0\0\0\x01"), Format::Other("qcow"));
        assert_eq!(probe(b"QFI\xfb"), Format::Raw);
        assert_eq!(probe(b""), Format::Raw);
        assert_eq!(probe(b"LUKS\xba\xbe\0\x01"), Format::Other("luks"));
    }
}
