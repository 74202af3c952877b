//! Sizes for people: three significant digits and a unit.

/// Writes `bytes` as `1.48 MiB`: C's `%0.3g` of the size in the first unit that keeps it below 1000.
pub(crate) fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    // The unit is chosen from the binary exponent, where a number that would reach 1000 moves on:
    // frexp(bytes / (1000/1024)) as the reference computes it.
    let value = bytes as f64;
    let scaled = value / (1000.0 / 1024.0);
    let exponent = if scaled < 1.0 { 0 } else { exponent_of(scaled) };
    let unit = (exponent / 10).min(UNITS.len() - 1);
    let divisor = (1u64 << (unit * 10)) as f64;
    format!("{} {}", three_digits(value / divisor), UNITS[unit])
}

/// `e` such that `value` is in `2^e .. 2^(e+1)`.
fn exponent_of(value: f64) -> usize {
    let bits = value.to_bits() >> 52 & 0x7ff;
    usize::try_from(bits).map_or(0, |biased| biased.saturating_sub(1023))
}

/// C's `%0.3g` for numbers from 0 below 2000.
fn three_digits(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    // Scientific notation rounds to three significant digits and shows the exponent after rounding.
    let scientific = format!("{value:.2e}");
    let exponent: i32 =
        scientific.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or_default();
    if !(-4..3).contains(&exponent) {
        let (mantissa, _) = scientific.split_once('e').unwrap_or((&scientific, ""));
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trimmed(mantissa), exponent.abs());
    }
    let decimals = usize::try_from(2 - exponent).unwrap_or(0);
    trimmed(&format!("{value:.decimals$}")).to_owned()
}

/// Without zeros at the end of a fraction.
fn trimmed(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_look_as_the_reference_prints_them() {
        for (bytes, text) in [
            (0, "0 B"),
            (512, "512 B"),
            (999, "999 B"),
            (1000, "0.977 KiB"),
            (1024, "1 KiB"),
            (200_704, "196 KiB"),
            (1000 << 10, "0.977 MiB"),
            (1_376_256, "1.31 MiB"),
            (1_552_384, "1.48 MiB"),
            (64 << 20, "64 MiB"),
            (1 << 30, "1 GiB"),
            (i64::MAX as u64, "8 EiB"),
        ] {
            assert_eq!(human_size(bytes), text, "{bytes}");
        }
    }
}
