//! Which format a file begins as.

/// What the first bytes of a file look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probed {
    /// No format that is known: raw.
    Raw,
    /// A qcow2 image of version 2 or later.
    Qcow2,
    /// A format of the reference, by its name.
    Other(&'static str),
}

/// Bytes that probing looks at.
pub(crate) const PROBE_LEN: usize = 512;

/// Recognises a format by the first [`PROBE_LEN`] bytes of a file, or fewer where it is shorter.
pub(crate) fn probe(start: &[u8]) -> Probed {
    if let Some(rest) = start.strip_prefix(b"QFI\xfb") {
        return match rest.first_chunk().copied().map(u32::from_be_bytes) {
            Some(1) => Probed::Other("qcow"),
            Some(2..) => Probed::Qcow2,
            _ => Probed::Raw,
        };
    }
    const AT_START: &[(&[u8], &str)] = &[
        (b"QED\0", "qed"),
        (b"LUKS\xba\xbe\0\x01", "luks"),
        (b"KDMV", "vmdk"),
        (b"COWD", "vmdk"),
        (b"vhdxfile", "vhdx"),
        (b"conectix", "vpc"),
        (b"WithoutFreeSpace", "parallels"),
        (b"WithouFreSpacExt", "parallels"),
        (b"Bochs Virtual HD Image", "bochs"),
        (b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop", "cloop"),
    ];
    if let Some((_, name)) = AT_START.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Probed::Other(name);
    }
    // The signature of VDI follows 64 bytes of text.
    if start.get(0x40..0x44) == Some(&[0x7f, 0x10, 0xda, 0xbe]) {
        return Probed::Other("vdi");
    }
    if is_vmdk_descriptor(start) { Probed::Other("vmdk") } else { Probed::Raw }
}

/// A text of comments and empty lines up to `version=1`, `2` or `3`.
fn is_vmdk_descriptor(start: &[u8]) -> bool {
    for line in start.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let blank = line.iter().all(|byte| *byte == b' ');
        if line.first() == Some(&b'#') || blank {
            continue;
        }
        return matches!(line, b"version=1" | b"version=2" | b"version=3");
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magic_numbers_decide() {
        assert_eq!(probe(b"QFI\xfb\0\0\0\x03"), Probed::Qcow2);
        assert_eq!(probe(b"QFI\xfb\0\0\0\x01"), Probed::Other("qcow"));
        assert_eq!(probe(b"QFI\xfb\0\0\0\0"), Probed::Raw);
        assert_eq!(probe(b"QFI\xfb"), Probed::Raw);
        assert_eq!(probe(b""), Probed::Raw);
        assert_eq!(probe(b"LUKS\xba\xbe\0\x01"), Probed::Other("luks"));
        assert_eq!(probe(b"# Disk DescriptorFile\nversion=1\n"), Probed::Other("vmdk"));
        assert_eq!(probe(&[0; 512]), Probed::Raw);
    }
}
