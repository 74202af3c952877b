//! Names from an image, printed for people.

use core::fmt::{self, Write as _};

/// Displays bytes of unknown encoding: text as it is, control characters and broken UTF-8 escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() {
                    write!(f, "{}", c.escape_default())?;
                } else {
                    f.write_char(c)?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;

    #[test]
    fn control_characters_and_broken_text_are_escaped() {
        assert_eq!(Escaped(b"a\x1b[31m\nb\xffc\0").to_string(), "a\\u{1b}[31m\\nb\\xffc\\u{0}");
        assert_eq!(Escaped("größe".as_bytes()).to_string(), "größe");
    }
}
