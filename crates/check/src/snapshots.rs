//! The snapshot table and the tables of the snapshots.

use holstein_format::{
    MAX_L1_ENTRIES, MAX_SNAPSHOT_EXTRA_BYTES, MAX_SNAPSHOT_TABLE_BYTES, MAX_SNAPSHOTS, RecordError,
    SnapshotRecord, Version,
};

use crate::check::Check;
use crate::error::CheckError;
use crate::finding::Corruption;
use crate::options::Phase;

/// Bytes that are read at a time.
const CHUNK: u64 = 64 << 10;

/// The snapshots of the image, with no more memory than their table has bytes.
pub(crate) struct Snapshots {
    records: Vec<SnapshotRecord>,
    /// Bytes of the table, without padding behind the last record.
    bytes: u64,
}

impl Snapshots {
    /// Reads the table; past the end of the file it goes on with zeros.
    pub(crate) fn read(check: &mut Check<'_>) -> Result<Self, CheckError> {
        let header = check.header;
        let count = header.nb_snapshots;
        if count > MAX_SNAPSHOTS {
            return Err(CheckError::TooManySnapshots { count });
        }
        let offset = header.snapshots_offset;
        if !header.geometry.is_aligned(offset) || i64::try_from(offset.get()).is_err() {
            return Err(CheckError::SnapshotTableOffset { offset });
        }
        let mut snapshots = Self { records: Vec::new(), bytes: 0 };
        let mut window = Vec::new();
        let mut window_at = 0;
        for index in 0..count {
            let start = snapshots.bytes.next_multiple_of(8);
            loop {
                let used = usize::try_from(start - window_at).unwrap_or(usize::MAX);
                let rest = window.get(used..).unwrap_or_default();
                match SnapshotRecord::decode(rest) {
                    Ok((record, length)) => {
                        snapshots.bytes = start + length as u64;
                        snapshots.keep(check, index, record)?;
                        break;
                    }
                    Err(RecordError::Truncated { .. }) => {
                        // A record is at most 132 KiB long, so this comes to an end.
                        let rest = rest.to_vec();
                        let from = start + rest.len() as u64;
                        window = read_on(check, offset.get(), from, rest)?;
                        window_at = start;
                    }
                    Err(error) => return Err(extra_error(index, error)),
                }
            }
        }
        Ok(snapshots)
    }

    fn keep(
        &mut self,
        check: &mut Check<'_>,
        index: u32,
        record: SnapshotRecord,
    ) -> Result<(), CheckError> {
        if self.bytes > MAX_SNAPSHOT_TABLE_BYTES {
            return Err(CheckError::SnapshotTableTooLarge { index });
        }
        let short = record.extra.len() < SnapshotRecord::MIN_EXTRA_BYTES;
        if short && check.header.version == Version::V3 {
            check.corruption(Corruption::SnapshotIncomplete { index: index.into() });
        }
        self.records.push(record);
        Ok(())
    }

    /// Counts what the snapshots refer to, and their table.
    pub(crate) fn count(&self, check: &mut Check<'_>) -> Result<(), CheckError> {
        let total = self.records.len() as u64;
        if total != 0 && check.has_data_file() {
            let count = check.header.nb_snapshots;
            check.corruption(Corruption::SnapshotsWithDataFile { count });
        }
        for (index, record) in (0..).zip(&self.records) {
            check.progress(Phase::Snapshots, index, total);
            let (id, name) = (&record.id, &record.name);
            let at = record.l1_table_offset;
            if !check.header.geometry.is_aligned(at) {
                check.corruption(Corruption::SnapshotL1Unaligned {
                    id: id.clone(),
                    name: name.clone(),
                    offset: at.get(),
                });
            } else if u64::from(record.l1_size) > MAX_L1_ENTRIES {
                check.corruption(Corruption::SnapshotL1TooLarge {
                    id: id.clone(),
                    name: name.clone(),
                    entries: record.l1_size,
                });
            } else {
                check.walk_l1(at.get(), record.l1_size, Phase::Snapshots)?;
            }
        }
        check.count_region(check.header.snapshots_offset.get(), self.bytes)
    }
}

/// `rest` and the chunk of the table that follows it.
fn read_on(
    check: &Check<'_>,
    table: u64,
    from: u64,
    mut rest: Vec<u8>,
) -> Result<Vec<u8>, CheckError> {
    let have = rest.len();
    rest.resize(have + usize::try_from(CHUNK).expect("64 KiB"), 0);
    let chunk = rest.get_mut(have..).unwrap_or_default();
    check.source.read("the snapshot table", table.saturating_add(from), chunk)?;
    Ok(rest)
}

fn extra_error(index: u32, error: RecordError) -> CheckError {
    let size = match error {
        RecordError::ExtraTooLarge { size } => size,
        // Decoding a record fails in no other way but by being short.
        _ => MAX_SNAPSHOT_EXTRA_BYTES,
    };
    CheckError::SnapshotExtra { index, size }
}
