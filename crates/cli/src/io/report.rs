//! What is printed about a request: sizes, times, rates and dumps.

use std::fmt::Write;
use std::time::Duration;

/// How a request is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Not at all (`-q`).
    Quiet,
    /// Two lines for people.
    Lines,
    /// One line of values with commas (`-C`).
    Values,
}

impl Style {
    /// The style that the flags `-q` and `-C` ask for.
    pub(super) fn of(quiet: bool, values: bool) -> Self {
        match (quiet, values) {
            (true, _) => Self::Quiet,
            (false, true) => Self::Values,
            (false, false) => Self::Lines,
        }
    }
}

/// One request that was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Done {
    /// The verb: `read`, `wrote` or `discard`.
    pub(super) verb: &'static str,
    /// Where it began, in bytes.
    pub(super) offset: u64,
    /// Its length in bytes.
    pub(super) count: u64,
    /// How long it took.
    pub(super) took: Duration,
}

impl Done {
    /// The report in the style asked for; empty for the quiet one.
    pub(super) fn report(&self, style: Style) -> String {
        let Self { verb, offset, count, took } = *self;
        let (bytes_rate, ops_rate) = (per_second(count as f64, took), per_second(1.0, took));
        match style {
            Style::Quiet => String::new(),
            Style::Values => {
                format!("{count},1,{},{bytes_rate:.3},{ops_rate:.3}\n", clock_text(took))
            }
            Style::Lines => format!(
                "{verb} {count}/{count} bytes at offset {offset}\n{}, 1 ops; {} ({}/sec and \
                 {ops_rate:.4} ops/sec)\n",
                size_text(count as f64),
                time_text(took),
                size_text(bytes_rate),
            ),
        }
    }
}

fn per_second(amount: f64, took: Duration) -> f64 {
    amount / took.as_secs_f64()
}

/// A time: `SS.ss sec` below one second, else as on a clock.
fn time_text(took: Duration) -> String {
    if took.as_secs() == 0 {
        format!("00.{:02} sec", took.subsec_millis() / 10)
    } else {
        clock_text(took)
    }
}

/// A time as `H:MM:SS.ss`.
fn clock_text(took: Duration) -> String {
    let seconds = took.as_secs();
    format!(
        "{}:{:02}:{:02}.{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        took.subsec_millis() / 10
    )
}

/// A size with three decimals and a unit, such as `1.039 MiB`; without a fraction of three zeros.
pub(super) fn size_text(bytes: f64) -> String {
    const UNITS: [(u32, &str); 6] =
        [(60, "EiB"), (50, "PiB"), (40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let scaled = UNITS.iter().find_map(|(shift, unit)| {
        let scale = (1u64 << shift) as f64;
        (bytes >= scale).then(|| (format!("{:.3}", bytes / scale), *unit))
    });
    let (number, unit) = scaled.unwrap_or_else(|| (format!("{bytes:.6}"), "bytes"));
    // Rates below one KiB have six decimals, and lose them all where the first three are zeros.
    let number = number.find(".000").map_or(number.as_str(), |point| &number[..point]);
    format!("{number} {unit}")
}

/// Sixteen bytes a line: offset, hexadecimal, and the letters and digits among them.
pub(super) fn dump_text(bytes: &[u8], offset: u64) -> String {
    let mut text = String::with_capacity(bytes.len().saturating_mul(5));
    for (line, at) in bytes.chunks(16).zip((offset..).step_by(16)) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{at:08x}:  ");
        for byte in line {
            let _ = write!(text, "{byte:02x} ");
        }
        text.push(' ');
        text.extend(
            line.iter().map(
                |byte| {
                    if byte.is_ascii_alphanumeric() { char::from(*byte) } else { '.' }
                },
            ),
        );
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_decimals_or_none() {
        for (bytes, text) in [
            (0.0, "0 bytes"),
            (512.0, "512 bytes"),
            (1023.0, "1023 bytes"),
            (1536.0, "1.500 KiB"),
            (65536.0, "64 KiB"),
            ((128u64 << 20) as f64, "128 MiB"),
            (0.319_011, "0.319011 bytes"),
            (5.000_312, "5 bytes"),
            (f64::INFINITY, "inf EiB"),
        ] {
            assert_eq!(size_text(bytes), text);
        }
    }

    #[test]
    fn times_change_their_form_at_one_second() {
        assert_eq!(time_text(Duration::from_millis(69)), "00.06 sec");
        assert_eq!(time_text(Duration::from_millis(1500)), "0:00:01.50");
        assert_eq!(clock_text(Duration::from_millis(3_723_040)), "1:02:03.04");
    }

    #[test]
    fn reports_have_the_reference_s_shape() {
        let took = Duration::from_millis(500);
        let done = Done { verb: "wrote", offset: 512, count: 1024, took };
        assert_eq!(
            done.report(Style::Lines),
            "wrote 1024/1024 bytes at offset 512\n1 KiB, 1 ops; 00.50 sec (2 KiB/sec and 2.0000 \
             ops/sec)\n"
        );
        assert_eq!(done.report(Style::Values), "1024,1,0:00:00.50,2048.000,2.000\n");
        assert_eq!(done.report(Style::Quiet), "");
    }

    #[test]
    fn dumps_end_with_a_short_line() {
        assert_eq!(
            dump_text(b"0123456789abcdef\0Z", 0xfff0),
            "0000fff0:  30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66  0123456789abcdef\n\
             00010000:  00 5a  .Z\n"
        );
        assert_eq!(dump_text(&[], 7), "");
    }
}
