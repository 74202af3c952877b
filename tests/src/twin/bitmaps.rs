//! Bitmaps of images as both sides read them.

use holstein::ReadOnlyImage;
use holstein_testkit::Oracle;

use super::bits::{Bitmap, Bits};
use super::{Place, Row};

/// The name of a copy of a bitmap.
const COPY: &str = "copy";

/// The bitmaps as ours reads them.
///
/// # Errors
/// What the library says, or that one is inconsistent.
pub(super) fn read_by_us(image: &ReadOnlyImage) -> Result<Bits, String> {
    let mut bits = Bits::default();
    for info in image.bitmaps().map_err(|e| e.to_string())? {
        let name = String::from_utf8_lossy(&info.name).into_owned();
        if info.inconsistent {
            return Err(format!("{name} is inconsistent"));
        }
        let bitmap = image.bitmap(&info.name).map_err(|e| format!("{name}: {e}"))?;
        let unit = bitmap.granularity().bytes();
        let mut one = Bitmap { unit, recording: info.recording, ..Bitmap::default() };
        bitmap.extents().for_each(|(at, len)| one.mark(at..at + len));
        bits.0.insert(name, one);
    }
    Ok(bits)
}

/// The bitmaps as theirs reads them: the list that `info` shows, and the bits of a copy that it makes of
/// each. The image is changed.
///
/// # Errors
/// What a command says.
pub(super) fn read_by_them(oracle: &Oracle, row: Row, place: &Place) -> Result<Bits, String> {
    let mut words = vec!["info".into()];
    words.extend(row.flags());
    words.push(row.image_word(place));
    let info = oracle.img_ok(&words).map_err(|e| e.to_string())?;
    let mut bits = listed(&info)?;
    for (name, one) in &mut bits.0 {
        let run = |command: &str| {
            let mut words: Vec<std::ffi::OsString> = command.split(' ').map(Into::into).collect();
            words.extend(row.flags());
            words.extend([row.image_word(place), COPY.into()]);
            oracle.img_ok(&words).map_err(|e| e.to_string())
        };
        run(&format!("bitmap --add --disable -g {} --merge {name}", one.unit))?;
        let text = |e: holstein::Error| e.to_string();
        let image = row.open(place, false)?.open_read_only(place.image()).map_err(text)?;
        let copy = image.bitmap(COPY).map_err(text)?;
        copy.extents().for_each(|(at, len)| one.mark(at..at + len));
        drop(image);
        run("bitmap --remove")?;
    }
    Ok(bits)
}

/// The list of bitmaps in what `info` says, without bits.
fn listed(info: &str) -> Result<Bits, String> {
    let mut bits = Bits::default();
    let mut lines = info.lines().skip_while(|line| line.trim() != "bitmaps:").skip(1);
    let mut recording = false;
    let mut name = None;
    // The list is indented further than what follows.
    while let Some(line) = lines.next().filter(|line| line.starts_with("        ")) {
        let line = line.trim();
        if line == "flags:" {
            recording = false;
        } else if let Some((_, flag)) = line.split_once("]: ") {
            match flag {
                "auto" => recording = true,
                _ => return Err(format!("a bitmap is {flag}")),
            }
        } else if let Some(text) = line.strip_prefix("name: ") {
            name = Some(text.to_owned());
        } else if let (Some(text), Some(name)) = (line.strip_prefix("granularity: "), name.take()) {
            let unit = text.parse().map_err(|_| format!("a granularity of {text:?}"))?;
            bits.0.insert(name, Bitmap { unit, recording, ..Bitmap::default() });
        }
    }
    Ok(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read() {
        let info = "Format specific information:\n    compat: 1.1\n    bitmaps:\n        [0]:\n            \
                    flags:\n                [0]: auto\n            name: a\n            granularity: 4096\n        \
                    [1]:\n            flags:\n            name: b\n            granularity: 65536\n    refcount \
                    bits: 16\n    name: c\n    granularity: 1\n";
        let bits = listed(info).expect("a list");
        let kinds: Vec<_> = bits.0.iter().map(|(name, b)| (&**name, b.unit, b.recording)).collect();
        assert_eq!(kinds, [("a", 4096, true), ("b", 65536, false)]);
        let broken = info.replace("auto", "in-use");
        assert!(listed(&broken).is_err());
    }
}
