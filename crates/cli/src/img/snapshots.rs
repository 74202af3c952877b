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
        Escaped(&record.id).to_string(),
        Escaped(&record.name).to_string(),
        human_size(record.vm_state_size()),
        local_time::format(record.date_sec.into()),
    )
}

/// The JSON object of a snapshot.
pub(super) fn to_json(record: &SnapshotRecord) -> Json {
    let text = |bytes: &[u8]| Json::Str(String::from_utf8_lossy(bytes).into_owned());
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
