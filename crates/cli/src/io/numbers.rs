//! Numbers in commands, with their messages.

use super::Failed;
use crate::out::say;
use crate::text::{SizeError, parse_size};

/// The longest request, in bytes.
pub(super) const MAX_REQUEST: u64 = 0x7fff_fe00;

/// Reads an offset or length, or says what is wrong with it.
pub(super) fn number(text: &str) -> Result<u64, Failed> {
    number_shown(text, text)
}

/// Reads a number whose message shows another word.
pub(super) fn number_shown(text: &str, shown: &str) -> Result<u64, Failed> {
    match parse_size(text) {
        Ok(value) if i64::try_from(value).is_ok() => Ok(value),
        Ok(_) | Err(SizeError::Range) => {
            say!("Parsing error: argument too large -- {shown}\n");
            Err(Failed)
        }
        Err(SizeError::Invalid) => {
            say!(
                "Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- {shown}\n"
            );
            Err(Failed)
        }
    }
}

/// Reads a pattern: a C integer that is a byte.
pub(super) fn pattern(text: &str) -> Result<u8, Failed> {
    let value = c_long(text).and_then(|value| u8::try_from(value).ok());
    value.ok_or_else(|| {
        say!("{text} is not a valid pattern byte\n");
        Failed
    })
}

/// Reads a whole number of milliseconds, at most as many as fit into 64 bits of nanoseconds.
pub(super) fn milliseconds(text: &str) -> Result<u64, Failed> {
    const MOST: u64 = u64::MAX / 1_000_000;
    let value = c_long(text).and_then(|value| u64::try_from(value).ok());
    value.filter(|value| *value <= MOST).ok_or_else(|| {
        say!("{text} is not a valid number\n");
        Failed
    })
}

/// An integer as C's `strtol` with base 0 reads it.
fn c_long(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) if !digits.starts_with(['+', '-']) => (true, digits),
        Some(_) => return None,
        None => (false, text),
    };
    let value = i64::try_from(crate::text::parse_c_integer(digits)?).ok()?;
    Some(if negative { -value } else { value })
}

/// Says which of offset and length is no multiple of a sector, if one is not.
pub(super) fn check_sectors(offset: u64, count: u64) -> Result<(), Failed> {
    for (name, value) in [("offset", offset), ("count", count)] {
        if value % holstein_units::SECTOR != 0 {
            say!("{value} is not a sector-aligned value for '{name}'\n");
            return Err(Failed);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_c_integers_of_one_byte() {
        for (text, byte) in
            [("0", 0), ("0xaa", 0xaa), ("010", 8), ("+5", 5), ("-0", 0), ("255", 255)]
        {
            assert_eq!(pattern(text), Ok(byte), "{text}");
        }
        for text in ["256", "-1", "x", "1k", "", "-+1", "99999999999999999999"] {
            assert_eq!(pattern(text), Err(Failed), "{text}");
        }
    }

    #[test]
    fn numbers_end_at_the_largest_signed_one() {
        assert_eq!(number("0x7fffffffffffffff"), Ok(i64::MAX as u64));
        for text in ["8E", "-1", "x", "1kb"] {
            assert_eq!(number(text), Err(Failed), "{text}");
        }
    }

    #[test]
    fn waiting_times_have_a_bound() {
        assert_eq!(milliseconds("0x10"), Ok(16));
        for text in ["-1", "1.5", "18446744073709551615"] {
            assert_eq!(milliseconds(text), Err(Failed), "{text}");
        }
    }
}
