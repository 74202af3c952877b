//! Pictures of an allocation map, from the JSON of `holstein map`: cells of text, and an SVG.

use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

const COLUMNS: u64 = 64;
const ROWS: u64 = 8;
/// The SVG has finer cells.
const SVG_COLUMNS: u64 = 128;
const SVG_ROWS: u64 = 32;
const CELL: u64 = 7;
/// Colours of data at the start and at the end of the image file: red, green, blue.
const START: [u8; 3] = [38, 92, 178];
const END: [u8; 3] = [196, 48, 84];

/// What a range of the disk is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Bytes in the image.
    Data,
    /// Zeroes that the image states.
    Zero,
    /// Nothing in the image.
    Hole,
}

#[derive(Debug)]
struct Extent {
    start: u64,
    length: u64,
    kind: Kind,
    /// Where in the image file the data are.
    offset: Option<u64>,
}

/// An allocation map.
#[derive(Debug)]
pub(super) struct Map {
    extents: Vec<Extent>,
    size: u64,
}

/// What one cell of a picture covers, in bytes.
#[derive(Debug, Default, Clone, Copy)]
struct Cell {
    data: u64,
    zero: u64,
    hole: u64,
    /// Host offset of the first data in it.
    offset: Option<u64>,
}

impl Map {
    /// Reads the output of `map --output=json`.
    pub(super) fn parse(json: &[u8]) -> Result<Map> {
        let value: Value = serde_json::from_slice(json).context("the map is no JSON")?;
        let list = value.as_array().context("the map is no list")?;
        let mut extents = Vec::new();
        let mut size = 0;
        for entry in list {
            let number = |key: &str| {
                entry
                    .get(key)
                    .and_then(Value::as_u64)
                    .with_context(|| format!("no {key} in the map"))
            };
            let flag = |key: &str| {
                entry
                    .get(key)
                    .and_then(Value::as_bool)
                    .with_context(|| format!("no {key} in the map"))
            };
            let (start, length) = (number("start")?, number("length")?);
            ensure!(start == size, "the map has a gap or an overlap at {size}");
            size = start.checked_add(length).context("the map is longer than a disk can be")?;
            let kind = match (flag("data")?, flag("present")?) {
                (true, _) => Kind::Data,
                (false, true) => Kind::Zero,
                (false, false) => Kind::Hole,
            };
            let offset = entry.get("offset").and_then(Value::as_u64);
            extents.push(Extent { start, length, kind, offset });
        }
        ensure!(size > 0, "the map is empty");
        Ok(Map { extents, size })
    }

    /// The disk as rows of cells, with sums and a legend.
    pub(super) fn text(&self) -> String {
        let cells = self.cells(COLUMNS * ROWS);
        let mut text = String::new();
        for row in cells.chunks(usize::try_from(COLUMNS).unwrap_or(1)) {
            text.push_str("  |");
            text.extend(row.iter().map(|cell| cell.glyph()));
            text.push_str("|\n");
        }
        let sum = self.cells(1).first().copied().unwrap_or_default();
        let percent = |part: u64| part as f64 * 100.0 / self.size as f64;
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "  a cell is {}; {} extents\n  # data {:.1} %  + mostly not data  z zeroes {:.1} %  . hole {:.1} %",
            super::size::human(self.size.div_ceil(COLUMNS * ROWS)),
            self.extents.len(),
            percent(sum.data),
            percent(sum.zero),
            percent(sum.hole)
        );
        text
    }

    /// The disk as an SVG: data coloured by where in the image file it lies.
    pub(super) fn svg(&self) -> String {
        let cells = self.cells(SVG_COLUMNS * SVG_ROWS);
        let ends = self.extents.iter().filter_map(|extent| Some(extent.offset? + extent.length));
        let end = ends.max().unwrap_or(1).max(1);
        let (width, height) = (SVG_COLUMNS * CELL, SVG_ROWS * CELL);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <title>Allocation map</title>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
            width + 20,
            height + 50
        );
        for (number, cell) in (0_u64..).zip(&cells) {
            let (x, y) = (10 + number % SVG_COLUMNS * CELL, 10 + number / SVG_COLUMNS * CELL);
            let size = CELL - 1;
            // Writing to a string cannot fail.
            let _ = writeln!(
                svg,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{size}\" height=\"{size}\" fill=\"{}\"/>",
                cell.colour(end)
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"10\" y=\"{}\">{} disk, a cell is {}. Grey: hole. Yellow: zeroes. \
             Blue to red: data, by its place from the start to the end of the image file.</text>\n</svg>",
            height + 34,
            super::size::human(self.size),
            super::size::human(self.size.div_ceil(SVG_COLUMNS * SVG_ROWS))
        );
        svg
    }

    /// The disk cut into `count` cells of the same size.
    fn cells(&self, count: u64) -> Vec<Cell> {
        let step = self.size.div_ceil(count).max(1);
        let mut cells = vec![Cell::default(); usize::try_from(count).unwrap_or(1)];
        for extent in &self.extents {
            let mut at = extent.start;
            let end = extent.start + extent.length;
            while at < end {
                let number = at / step;
                let until = end.min((number + 1) * step);
                let Some(cell) = usize::try_from(number).ok().and_then(|n| cells.get_mut(n)) else {
                    break;
                };
                match extent.kind {
                    Kind::Data => {
                        cell.data += until - at;
                        let offset = extent.offset.map(|offset| offset + (at - extent.start));
                        cell.offset = cell.offset.or(offset);
                    }
                    Kind::Zero => cell.zero += until - at,
                    Kind::Hole => cell.hole += until - at,
                }
                at = until;
            }
        }
        cells
    }
}

impl Cell {
    fn glyph(&self) -> char {
        let rest = self.zero + self.hole;
        if self.data == 0 && rest == 0 {
            ' '
        } else if self.data >= rest {
            '#'
        } else if self.data > 0 {
            '+'
        } else if self.zero >= self.hole {
            'z'
        } else {
            '.'
        }
    }

    fn colour(&self, end: u64) -> String {
        if self.data > 0 {
            let place = self.offset.unwrap_or_default() as f64 / end as f64;
            let share = self.data as f64 / (self.data + self.zero + self.hole) as f64;
            let channels = START.iter().zip(END).map(|(start, end)| {
                let full = f64::from(*start) * (1.0 - place) + f64::from(end) * place;
                // A cell that is only partly data is paler.
                let tint = 255.0 - (255.0 - full) * (0.4 + 0.6 * share);
                format!("{:02x}", tint as u8)
            });
            format!("#{}", channels.collect::<String>())
        } else if self.zero > 0 && self.zero >= self.hole {
            "#f2d94e".to_owned()
        } else {
            "#e4e4e4".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"[
{ "start": 0, "length": 262144, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 327680},
{ "start": 262144, "length": 131072, "depth": 0, "present": true, "zero": true, "data": false, "compressed": false},
{ "start": 393216, "length": 131072, "depth": 0, "present": false, "zero": true, "data": false, "compressed": false}]"#;

    #[test]
    fn cells_show_data_zeroes_and_holes_in_their_places() -> Result<()> {
        let map = Map::parse(JSON.as_bytes())?;
        let text = map.text();
        let rows: Vec<&str> = text.lines().collect();
        let row = |glyph: &str| format!("  |{}|", glyph.repeat(64));
        let expected: Vec<String> = ["#", "#", "#", "#", "z", "z", ".", "."].map(row).to_vec();
        assert_eq!(rows.get(..8).context("eight rows")?, expected.as_slice());
        assert!(text.contains("data 50.0 %"), "{text}");
        let svg = map.svg();
        let cells = usize::try_from(SVG_COLUMNS * SVG_ROWS)?;
        assert_eq!(svg.matches("<rect").count(), cells + 1);
        assert!(svg.ends_with("</svg>\n"));
        Ok(())
    }

    #[test]
    fn a_map_with_a_gap_is_refused() {
        let gap = JSON.replace("262144, \"length\"", "270336, \"length\"");
        assert!(Map::parse(gap.as_bytes()).is_err());
        assert!(Map::parse(b"[]").is_err());
    }
}
