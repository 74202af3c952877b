//! How internal snapshots are shown.

use holstein_format::{Escaped, SnapshotRecord};

use crate::local_time;
use crate::text::{Json, human_size};

/// The line over the rows of a listing.
pub(super) const HEADER: &str =
    "ID      TAG               VM_SIZE                DATE        VM_CLOCK     ICOUNT";

/// One row of a listing.
pub(super) fn row(record: &SnapshotRecord) -> String {
    let clock = record.vm_clock_nsec / 1_000_000;
    let seconds = clock / 1000;
    let clock = format!(
        "{:04}:{:02}:{:02}.{:03}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        clock % 1000
    );
    let icount = record.icount().map_or_else(|| "--".to_owned(), |icount| icount.to_string());
    format!(
        "{:<7} {:<16} {:>8} {:>19} {clock:>15} {icount:>10}",
        Escaped(shown(&record.id)).to_string(),
        Escaped(shown(&record.name)).to_string(),
        human_size(record.vm_state_size()),
        local_time::format(record.date_sec.into()),
    )
}

/// A word as far as it is shown: up to its first byte of 0, as in C.
fn shown(word: &[u8]) -> &[u8] {
    word.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The JSON object of a snapshot.
pub(super) fn to_json(record: &SnapshotRecord) -> Json {
    let text = |bytes: &[u8]| Json::Str(String::from_utf8_lossy(shown(bytes)).into_owned());
    let mut out = Json::Map(Vec::new());
    if let Some(icount) = record.icount() {
        out.push("icount", icount);
    }
    out.push("vm-clock-nsec", record.vm_clock_nsec % 1_000_000_000);
    out.push("name", text(&record.name));
    out.push("date-sec", record.date_sec);
    out.push("date-nsec", record.date_nsec);
    out.push("vm-clock-sec", record.vm_clock_nsec / 1_000_000_000);
    out.push("id", text(&record.id));
    out.push("vm-state-size", record.vm_state_size());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_end_at_their_first_byte_of_0() {
        assert_eq!(shown(b"name"), b"name");
        assert_eq!(shown(b""), b"");
        assert_eq!(shown(b"a\0b\0\0"), b"a");
        assert_eq!(shown(&[0; 65_535]), b"");
    }
}
