//! Sizes: digits with an optional fraction and a one-letter suffix.

/// Why a text is not a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SizeError {
    /// Not the grammar of a size.
    Invalid,
    /// Negative, or too large for the number it goes into.
    Range,
}

/// Reads a size in bytes, up to `u64::MAX`.
///
/// Decimal digits, an optional fraction (of a scale above bytes, or zero), and one of `b k m g t p e` in either
/// case; or `0x` and hexadecimal digits for whole bytes. Leading blanks and a plus sign are
/// tolerated, nothing may follow. A negative number is out of range, and no size if more than digits follow. The product is exact and rounded half up.
pub(crate) fn parse_size(text: &str) -> Result<u64, SizeError> {
    let text = text.trim_start_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    match negative {
        true if !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit()) => {
            Err(SizeError::Range)
        }
        true => Err(SizeError::Invalid),
        false => magnitude(text),
    }
}

/// The size without its sign.
fn magnitude(text: &str) -> Result<u64, SizeError> {
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        if hex.is_empty() || !hex.bytes().all(|c| c.is_ascii_hexdigit()) {
            return Err(SizeError::Invalid);
        }
        return u64::from_str_radix(hex, 16).map_err(|_| SizeError::Range);
    }
    let end = text.bytes().position(|c| !c.is_ascii_digit()).unwrap_or(text.len());
    let (whole, rest) = text.split_at(end);
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => {
            let end = rest.bytes().position(|c| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (fraction, suffix) = rest.split_at(end);
            (Some(fraction), suffix)
        }
        None => (None, rest),
    };
    if whole.is_empty() && fraction.is_none_or(str::is_empty) {
        return Err(SizeError::Invalid);
    }
    let shift = match suffix.as_bytes() {
        [] => None,
        [letter] => Some(shift_of(*letter).ok_or(SizeError::Invalid)?),
        _ => return Err(SizeError::Invalid),
    };
    // A fraction of bytes makes no sense, unless it is none.
    let shift = shift.unwrap_or(0);
    if shift == 0 && fraction.is_some_and(|digits| digits.bytes().any(|c| c != b'0')) {
        return Err(SizeError::Invalid);
    }
    let whole: u64 = match whole {
        "" => 0,
        digits => digits.parse().map_err(|_| SizeError::Range)?,
    };
    let bytes = u128::from(whole) << shift;
    let bytes = bytes + fraction_of(fraction.unwrap_or(""), shift);
    u64::try_from(bytes).map_err(|_| SizeError::Range)
}

/// `0.DIGITS` times two to the power of `shift`, rounded half up.
fn fraction_of(digits: &str, shift: u32) -> u128 {
    // Long multiplication of the digits by the scale: the carry out of the first digit is the whole
    // part, and the digit after the point decides the rounding.
    let mut digits: Vec<u128> = digits.bytes().map(|c| u128::from(c - b'0')).collect();
    let mut carry = 0;
    for digit in digits.iter_mut().rev() {
        let product = (*digit << shift) + carry;
        *digit = product % 10;
        carry = product / 10;
    }
    carry + u128::from(digits.first().is_some_and(|digit| *digit >= 5))
}

/// The power of two that a suffix stands for.
fn shift_of(letter: u8) -> Option<u32> {
    match letter.to_ascii_lowercase() {
        b'b' => Some(0),
        b'k' => Some(10),
        b'm' => Some(20),
        b'g' => Some(30),
        b't' => Some(40),
        b'p' => Some(50),
        b'e' => Some(60),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_grammar_accepts_what_the_reference_accepts() {
        for (text, bytes) in [
            ("0", 0),
            ("1024", 1024),
            ("1b", 1),
            ("64K", 65536),
            ("1.5M", 1_572_864),
            (".5G", 1 << 29),
            ("1.k", 1024),
            ("0.0000001k", 0),
            ("0.5001k", 512),
            (" +3k", 3072),
            ("0x10", 16),
            ("0x1e", 30),
            ("5e", 5 << 60),
            ("010", 10),
            ("1.", 1),
            ("1.0b", 1),
            ("1.99999999999999999999k", 2048),
            ("0.0005k", 1),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn the_grammar_refuses_what_the_reference_refuses() {
        for text in [
            "", "k", ".", ".k", "1.5", "1.5b", "1kb", "1KiB", "1e3", "0x", "0x10k", "0x1g", "1 ",
            "1k ", "++1", "-", "-1k", "-0x1",
        ] {
            assert_eq!(parse_size(text), Err(SizeError::Invalid), "{text}");
        }
        for text in ["-0", "-1", "16E", "18446744073709551616", "0x10000000000000000"] {
            assert_eq!(parse_size(text), Err(SizeError::Range), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whole_numbers_with_a_suffix_are_products(n in 0u64..1 << 40, power in 0usize..3) {
            let text = format!("{n}{}", ["b", "K", "m"][power]);
            prop_assert_eq!(parse_size(&text), Ok(n << (10 * power)));
        }

        #[test]
        fn halves_round_up(n in 0u64..1 << 20) {
            prop_assert_eq!(parse_size(&format!("{n}.5k")), Ok(n * 1024 + 512));
        }
    }
}
