//! The snapshot table and the tables of the snapshots.

use holstein_format::{
    MAX_L1_ENTRIES, MAX_SNAPSHOT_EXTRA_BYTES, MAX_SNAPSHOT_TABLE_BYTES, MAX_SNAPSHOTS, RecordError,
    SnapshotRecord, Version,
};

use crate::check::Check;
use crate::error::CheckError;
use crate::finding::Corruption;
use crate::options::Phase;
use crate::repair::SnapshotChanges;

/// Bytes that are read at a time.
const CHUNK: u64 = 64 << 10;

/// The snapshots of the image, with no more memory than their table has bytes.
pub(crate) struct Snapshots {
    records: Vec<SnapshotRecord>,
    /// Bytes of the table, without padding behind the last record.
    bytes: u64,
    /// Records that a repair leaves out, or changes.
    changes: SnapshotChanges,
}

impl Snapshots {
    /// Reads the table; past the end of the file it goes on with zeros.
    pub(crate) fn read(check: &mut Check<'_>) -> Result<Self, CheckError> {
        let header = check.header;
        let count = header.nb_snapshots;
        let repairs = check.all_planner().is_some();
        if count > MAX_SNAPSHOTS {
            if !repairs {
                return Err(CheckError::TooManySnapshots { count });
            }
            check.discard_snapshots(count - MAX_SNAPSHOTS, false);
        }
        let count = count.min(MAX_SNAPSHOTS);
        let offset = header.snapshots_offset;
        if !header.geometry.is_aligned(offset) || i64::try_from(offset.get()).is_err() {
            return Err(CheckError::SnapshotTableOffset { offset });
        }
        let mut snapshots =
            Self { records: Vec::new(), bytes: 0, changes: SnapshotChanges::default() };
        if repairs {
            snapshots.read_any(check, count)?;
            return Ok(snapshots);
        }
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
                        if snapshots.bytes > MAX_SNAPSHOT_TABLE_BYTES {
                            return Err(CheckError::SnapshotTableTooLarge {
                                index,
                                overhanging: header.nb_snapshots - index,
                            });
                        }
                        snapshots.keep(check, index, record);
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

    /// Reads the table past faults that a repair puts right.
    ///
    /// What counts against the limit is the table without the extra data that is cut off.
    fn read_any(&mut self, check: &mut Check<'_>, count: u32) -> Result<(), CheckError> {
        let table = check.header.snapshots_offset.get();
        let mut packed = 0_u64;
        for index in 0..count {
            let start = self.bytes.next_multiple_of(8);
            let (record, length) = check.read_any_record(index, table.saturating_add(start))?;
            let texts = record.id.len() as u64 + record.name.len() as u64;
            let whole = SnapshotRecord::FIXED_BYTES as u64 + record.extra.len() as u64 + texts;
            packed = packed.next_multiple_of(8) + whole;
            if packed > MAX_SNAPSHOT_TABLE_BYTES {
                check.discard_snapshots(count - index, true);
                break;
            }
            self.bytes = start + length;
            self.changes.rewrite |= length > whole;
            self.keep(check, index, record);
        }
        Ok(())
    }

    /// The records, those too that a repair gives up.
    pub(crate) fn records(&self) -> &[SnapshotRecord] {
        &self.records
    }

    /// Bytes of the table as it is.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) const fn changes(&self) -> &SnapshotChanges {
        &self.changes
    }

    /// The records that remain after a repair.
    pub(crate) fn kept(&self) -> Vec<SnapshotRecord> {
        let records = (0..).zip(&self.records);
        records
            .filter(|(index, _)| self.changes.dropped.binary_search(index).is_err())
            .map(|(_, record)| record.clone())
            .collect()
    }

    fn keep(&mut self, check: &mut Check<'_>, index: u32, record: SnapshotRecord) {
        let short = record.extra.len() < SnapshotRecord::MIN_EXTRA_BYTES;
        if short && check.header.version == Version::V3 {
            self.changes.rewrite = true;
            check.judge_fixed(|check| {
                check.corruption(Corruption::SnapshotIncomplete { index: index.into() });
            });
        }
        self.records.push(record);
    }

    /// Counts what the snapshots refer to, and their table.
    pub(crate) fn count(&mut self, check: &mut Check<'_>) -> Result<(), CheckError> {
        let total = self.records.len() as u64;
        if total != 0 && check.has_data_file() {
            let count = check.header.nb_snapshots;
            check.corruption(Corruption::SnapshotsWithDataFile { count });
        }
        for (index, record) in (0..).zip(&self.records) {
            check.progress(Phase::Snapshots, index.into(), total);
            let (id, name) = (&record.id, &record.name);
            let at = record.l1_table_offset;
            if !check.header.geometry.is_aligned(at) {
                self.changes.drop_record(index);
                let (id, name, offset) = (id.clone(), name.clone(), at.get());
                check.judge_fixed(|check| {
                    check.corruption(Corruption::SnapshotL1Unaligned { id, name, offset });
                });
            } else if u64::from(record.l1_size) > MAX_L1_ENTRIES {
                self.changes.drop_record(index);
                let (id, name, entries) = (id.clone(), name.clone(), record.l1_size);
                check.judge_fixed(|check| {
                    check.corruption(Corruption::SnapshotL1TooLarge { id, name, entries });
                });
            } else if check.snapshot_is_lost(at.get(), record.l1_size) {
                self.changes.drop_record(index);
                let (offset, size) = (at.get(), u64::from(record.l1_size) * 8);
                check.judge_fixed(|check| {
                    check.corruption(Corruption::PastEnd { offset, size });
                });
            } else {
                check.walk_l1(at.get(), record.l1_size, Phase::Snapshots)?;
            }
        }
        check.count_structure(check.header.snapshots_offset.get(), self.bytes)
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
