//! Rows as text and JSON.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::measure::Pair;

/// How a figure is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit {
    /// Thousands of requests in a second; `work` is a number of requests.
    Requests,
    /// MiB in a second; `work` is in bytes.
    Bytes,
}

impl Unit {
    fn figure(self, work: f64, seconds: f64) -> f64 {
        match self {
            Self::Requests => work / seconds / 1000.0,
            Self::Bytes => work / seconds / 1_048_576.0,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Requests => "k/s",
            Self::Bytes => "MiB/s",
        }
    }
}

/// Who the other side is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Other {
    RawFile,
    Qemu,
    /// The cipher alone, on bytes in memory.
    Cipher,
}

/// A line of the table.
#[derive(Debug)]
pub(crate) enum Line {
    /// Two sides and their ratio.
    Compared {
        name: &'static str,
        unit: Unit,
        /// Requests or bytes of one round.
        work: f64,
        other: Other,
        pair: Pair,
        /// The least ratio.
        need: f64,
        note: String,
    },
    /// A figure of ours that must stay below a bound.
    Bounded {
        name: &'static str,
        figure: f64,
        spread: f64,
        unit: &'static str,
        /// The figure must be below it.
        bound: f64,
        note: String,
    },
    /// Not measured, and why.
    Skipped { name: &'static str, why: String },
}

impl Line {
    /// Whether it was measured and is not what it must be.
    pub(crate) fn is_missed(&self) -> bool {
        match self {
            Self::Compared { pair, need, .. } => pair.ratio.median() < *need,
            Self::Bounded { figure, bound, .. } => figure >= bound,
            Self::Skipped { .. } => false,
        }
    }

    fn cells(&self) -> [String; 7] {
        let verdict = if self.is_missed() { "MISSED" } else { "ok" }.to_owned();
        match self {
            Self::Compared { name, unit, work, other, pair, need, note: _ } => {
                let show = |times: &crate::measure::Times| {
                    let figure = unit.figure(*work, times.median());
                    format!("{figure:.1} ±{:.0}%", times.spread() * 100.0)
                };
                let (qemu, raw) = match other {
                    Other::Qemu => (show(&pair.other), String::new()),
                    Other::RawFile | Other::Cipher => (String::new(), show(&pair.other)),
                };
                let ratio =
                    format!("{:.2} ±{:.0}%", pair.ratio.median(), pair.ratio.spread() * 100.0);
                let name = format!("{name} [{}]", unit.name());
                [name, show(&pair.ours), qemu, raw, ratio, format!(">= {need:.2}"), verdict]
            }
            Self::Bounded { name, figure, spread, unit, bound, note: _ } => [
                format!("{name} [{unit}]"),
                format!("{figure:.2} ±{:.0}%", spread * 100.0),
                String::new(),
                String::new(),
                String::new(),
                format!("< {bound}"),
                verdict,
            ],
            Self::Skipped { name, .. } => {
                let none = String::new;
                [(*name).to_owned(), none(), none(), none(), none(), none(), "skipped".to_owned()]
            }
        }
    }

    fn note(&self) -> Option<String> {
        match self {
            Self::Compared { name, note, .. } | Self::Bounded { name, note, .. } => {
                (!note.is_empty()).then(|| format!("{name}: {note}"))
            }
            Self::Skipped { name, why } => Some(format!("{name}: skipped, {why}")),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Compared { name, unit, work, other, pair, need, note } => {
                let side = |times: &crate::measure::Times| {
                    json!({
                        "median": unit.figure(*work, times.median()),
                        "seconds": times.median(),
                        "spread": times.spread(),
                    })
                };
                let key = match other {
                    Other::Qemu => "qemu",
                    Other::RawFile => "raw",
                    Other::Cipher => "cipher",
                };
                json!({
                    "name": name, "unit": unit.name(), "ours": side(&pair.ours),
                    key: side(&pair.other), "ratio": pair.ratio.median(),
                    "ratio_spread": pair.ratio.spread(), "need": need,
                    "ok": !self.is_missed(), "note": note,
                })
            }
            Self::Bounded { name, figure, spread, unit, bound, note } => json!({
                "name": name, "unit": unit, "ours": { "median": figure, "spread": spread },
                "below": bound, "ok": !self.is_missed(), "note": note,
            }),
            Self::Skipped { name, why } => json!({ "name": name, "skipped": why }),
        }
    }
}

/// The table, and below it what the rows have to say.
pub(crate) fn text(lines: &[Line]) -> String {
    let head = ["row", "ours", "QEMU", "bare", "ratio", "need", ""].map(str::to_owned);
    let cells: Vec<[String; 7]> =
        std::iter::once(head).chain(lines.iter().map(Line::cells)).collect();
    let mut widths = [0; 7];
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &cells {
        for (n, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            // Writing to a string cannot fail.
            let _ = if n == 0 || n == 6 {
                write!(text, "{cell:<width$}  ")
            } else {
                write!(text, "{cell:>width$}  ")
            };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text.push_str(
        "\nmedian ± half the distance of the quartiles; ratios are of the two sides of one round\n",
    );
    for note in lines.iter().filter_map(Line::note) {
        let _ = writeln!(text, "{note}");
    }
    text
}

/// All of it as one object.
pub(crate) fn json(machine: &str, lines: &[Line]) -> Value {
    json!({
        "machine": machine,
        "rows": lines.iter().map(Line::json).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Times;

    #[test]
    fn rows_say_whether_they_miss() {
        let times = |n: f64| Times::new(vec![n]);
        let line = |need| Line::Compared {
            name: "read",
            unit: Unit::Requests,
            work: 2000.0,
            other: Other::Qemu,
            pair: Pair { ours: times(1.0), other: times(2.0), ratio: times(2.0) },
            need,
            note: String::new(),
        };
        assert!(!line(2.0).is_missed());
        assert!(line(2.1).is_missed());
        let shown = text(&[line(2.1)]);
        let row = shown.lines().nth(1).expect("a head and a row");
        for cell in ["read [k/s]", "2.0 ±0%", "1.0 ±0%", ">= 2.10", "MISSED"] {
            assert!(row.contains(cell), "{row}");
        }
        assert_eq!(json("m", &[line(2.0)])["rows"][0]["ratio"], 2.0);
    }
}
