//! Plain integers and booleans.

/// An integer as C's `strtoull` with base 0 reads it: decimal, `0x` hexadecimal or `0` octal,
/// leading blanks and a plus sign allowed, nothing after it.
pub(crate) fn parse_c_integer(text: &str) -> Option<u64> {
    let text = text.trim_start_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    let text = text.strip_prefix('+').unwrap_or(text);
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        digits(hex, 16)
    } else if text.len() > 1 && text.starts_with('0') {
        digits(&text[1..], 8)
    } else {
        digits(text, 10)
    }
}

/// Digits of one base and nothing else.
fn digits(text: &str, base: u32) -> Option<u64> {
    if text.is_empty() || !text.chars().all(|c| c.is_digit(base)) {
        return None;
    }
    u64::from_str_radix(text, base).ok()
}

/// A boolean of an option list.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "on" | "yes" | "true" | "y" => Some(true),
        "off" | "no" | "false" | "n" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_follow_the_base_detection_of_c() {
        assert_eq!(parse_c_integer("12"), Some(12));
        assert_eq!(parse_c_integer("0x1F"), Some(31));
        assert_eq!(parse_c_integer("010"), Some(8));
        assert_eq!(parse_c_integer("0"), Some(0));
        assert_eq!(parse_c_integer(" +7"), Some(7));
        for bad in ["", "12k", "0x", "08", "-1", "1.0", "18446744073709551616"] {
            assert_eq!(parse_c_integer(bad), None, "{bad}");
        }
    }

    #[test]
    fn booleans_have_four_spellings_each() {
        assert_eq!(parse_bool("on"), Some(true));
        assert_eq!(parse_bool("n"), Some(false));
        assert_eq!(parse_bool("ON"), None);
        assert_eq!(parse_bool(""), None);
    }
}
