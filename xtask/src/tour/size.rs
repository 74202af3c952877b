//! Sizes as people write them.

const UNITS: [(char, u32); 4] = [('K', 10), ('M', 20), ('G', 30), ('T', 40)];

/// Reads `4G`, `160M` or a number of bytes.
pub(super) fn parse(text: &str) -> Option<u64> {
    let upper = text.to_ascii_uppercase();
    for (letter, shift) in UNITS {
        if let Some(number) = upper.strip_suffix(letter) {
            return number.parse::<u64>().ok()?.checked_mul(1 << shift);
        }
    }
    upper.parse().ok()
}

/// Bytes in the unit that gives a number a person can read.
pub(super) fn human(bytes: u64) -> String {
    let mut number = bytes as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if number < 1024.0 {
            break;
        }
        number /= 1024.0;
        unit = next;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{number:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        assert_eq!(parse("4G"), Some(4 << 30));
        assert_eq!(parse("160m"), Some(160 << 20));
        assert_eq!(parse("512"), Some(512));
        assert_eq!(parse("x"), None);
        assert_eq!(human(512), "512 B");
        assert_eq!(human(3 << 19), "1.5 MiB");
    }
}
