//! The snapshot table in a repair: read past its faults, and written anew.

use holstein_format::{MAX_SNAPSHOT_EXTRA_BYTES, SnapshotRecord};

use super::note::RepairNote;
use crate::check::Check;
use crate::error::CheckError;

/// What a repair changes in the list of snapshots.
#[derive(Debug, Default)]
pub(crate) struct SnapshotChanges {
    /// The table has to be written anew.
    pub(crate) rewrite: bool,
    /// Indices of the records that are given up, ascending.
    pub(crate) dropped: Vec<u32>,
}

impl SnapshotChanges {
    /// Gives up a record; they come in ascending order.
    pub(crate) fn drop_record(&mut self, index: u32) {
        self.rewrite = true;
        self.dropped.push(index);
    }
}

/// The fields of a record with a length of their own, as its fixed part announces them.
struct Lengths {
    extra: u32,
    id_and_name: u64,
}

fn lengths(fixed: &[u8; SnapshotRecord::FIXED_BYTES]) -> Lengths {
    let [
        ..,
        i0,
        i1,
        n0,
        n1,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        e0,
        e1,
        e2,
        e3,
    ] = *fixed;
    Lengths {
        extra: u32::from_be_bytes([e0, e1, e2, e3]),
        id_and_name: u64::from(u16::from_be_bytes([i0, i1]))
            + u64::from(u16::from_be_bytes([n0, n1])),
    }
}

impl Check<'_> {
    /// Reads a record however much extra data it has; returns it with the bytes that it takes, and
    /// with its extra data cut off at the limit.
    pub(crate) fn read_any_record(
        &mut self,
        index: u32,
        at: u64,
    ) -> Result<(SnapshotRecord, u64), CheckError> {
        const WHAT: &str = "the snapshot table";
        let mut fixed = [0; SnapshotRecord::FIXED_BYTES];
        self.source.read(WHAT, at, &mut fixed)?;
        let Lengths { extra, id_and_name } = lengths(&fixed);
        let kept = extra.min(MAX_SNAPSHOT_EXTRA_BYTES);
        if kept < extra {
            self.note(RepairNote::ExtraDiscarded { index, size: extra });
            self.count_fixed(1);
        }
        let fixed_bytes = SnapshotRecord::FIXED_BYTES as u64;
        let length = |bytes: u64| usize::try_from(bytes).expect("at most 132 KiB");
        let mut bytes = vec![0; length(fixed_bytes + u64::from(kept) + id_and_name)];
        let (head, rest) = bytes.split_at_mut(SnapshotRecord::FIXED_BYTES);
        head.copy_from_slice(&fixed);
        if let Some(field) = head.last_chunk_mut::<4>() {
            *field = kept.to_be_bytes();
        }
        let (extra_bytes, names) = rest.split_at_mut(length(kept.into()));
        let after = at.saturating_add(fixed_bytes);
        self.source.read(WHAT, after, extra_bytes)?;
        self.source.read(WHAT, after.saturating_add(extra.into()), names)?;
        let total = fixed_bytes + u64::from(extra) + id_and_name;
        match SnapshotRecord::decode(&bytes) {
            Ok((record, _)) => Ok((record, total)),
            // The bytes are exactly as many as the record takes.
            Err(_) => Err(CheckError::SnapshotTableTooLarge { index, overhanging: 1 }),
        }
    }

    /// Whether a snapshot's L1 table is so far past the end of the file that it never was there, and
    /// the record is given up.
    pub(crate) fn snapshot_is_lost(&mut self, at: u64, entries: u32) -> bool {
        let bytes = u64::from(entries) * 8;
        self.all_planner().is_some()
            && bytes > 0
            && !self.is_countable(at, bytes)
            && !self.can_grow_to(at, bytes)
    }

    /// Notes snapshots that are dropped from the end of the list.
    pub(crate) fn discard_snapshots(&mut self, count: u32, too_long: bool) {
        self.note(RepairNote::SnapshotsDiscarded { count, too_long });
        self.count_fixed(count.into());
    }

    /// Counts faults that the plan puts right and that have a note of their own.
    fn count_fixed(&mut self, count: u64) {
        self.report.corruptions += count;
        if let Some(planner) = &mut self.planner {
            planner.corruptions_fixed += count;
        }
    }
}

/// The table with records that have all fields of version 3, as QEMU writes it.
pub(crate) fn encode(records: &[SnapshotRecord], disk_size: u64) -> Vec<u8> {
    let mut table = Vec::new();
    for record in records {
        let mut record = record.clone();
        let whole = SnapshotRecord::extra_data(
            record.vm_state_size(),
            record.disk_size().unwrap_or(disk_size),
            u64::MAX,
        );
        if let Some(missing) = whole.get(record.extra.len()..) {
            record.extra.truncate(record.extra.len() / 8 * 8);
            let from = record.extra.len();
            debug_assert!(from <= whole.len() - missing.len());
            record.extra.extend(whole.get(from..).unwrap_or_default());
        }
        table.resize(table.len().next_multiple_of(8), 0);
        // Its fields came from a record, so they fit in one.
        table.extend(record.encode().unwrap_or_default());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use holstein_units::HostOffset;

    #[test]
    fn missing_fields_are_added_and_unknown_ones_kept() {
        let record = |extra: &[u8]| SnapshotRecord {
            l1_table_offset: HostOffset::new(65536),
            l1_size: 1,
            id: b"1".to_vec(),
            name: b"name".to_vec(),
            date_sec: 1,
            date_nsec: 2,
            vm_clock_nsec: 3,
            vm_state_size_32: 77,
            extra: extra.to_vec(),
        };
        let long: Vec<u8> = (0..50).collect();
        let mut eight = 5_u64.to_be_bytes().to_vec();
        eight.push(9);
        let table = encode(&[record(&[]), record(&eight), record(&long)], 1 << 20);
        let mut rest = table.as_slice();
        let mut next = || {
            let (record, length) = SnapshotRecord::decode(rest).expect("a record");
            rest = rest.get(length.next_multiple_of(8)..).unwrap_or_default();
            record
        };
        assert_eq!(next().extra, SnapshotRecord::extra_data(77, 1 << 20, u64::MAX));
        assert_eq!(next().extra, SnapshotRecord::extra_data(5, 1 << 20, u64::MAX));
        assert_eq!(next().extra, long);
    }
}
