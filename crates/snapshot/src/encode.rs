//! The table as bytes, and its changes.

use holstein_format::{MAX_SNAPSHOT_TABLE_BYTES, MAX_SNAPSHOTS, SnapshotRecord};

use crate::{SnapshotError, SnapshotTable};

impl SnapshotTable {
    /// The ID for the next snapshot: one more than the largest there is, read as a number.
    #[must_use]
    pub fn next_id(&self) -> u64 {
        let largest = self.records().iter().map(|record| leading_number(&record.id)).max();
        match largest.unwrap_or(0).checked_add(1) {
            Some(next) => next,
            // Somebody has taken the last number there is: take the first that is free.
            None => (1..)
                .find(|id| {
                    let id = id.to_string();
                    self.records().iter().all(|record| record.id != id.as_bytes())
                })
                .unwrap_or(0),
        }
    }

    /// Appends a record.
    ///
    /// # Errors
    /// [`SnapshotError::Full`]; nothing is changed then.
    pub fn push(&mut self, record: SnapshotRecord) -> Result<(), SnapshotError> {
        let count = self.records().len();
        if count >= usize::try_from(MAX_SNAPSHOTS).unwrap_or(usize::MAX) {
            return Err(SnapshotError::Full { count });
        }
        self.records_mut().push(record);
        Ok(())
    }

    /// Takes a record out; the others keep their order.
    pub fn remove(&mut self, index: usize) -> Option<SnapshotRecord> {
        (index < self.records().len()).then(|| self.records_mut().remove(index))
    }

    /// Gives records of old writers all known fields, as each program does that writes the list anew;
    /// what a record says stays byte for byte. What it does not say is taken from the disk as it is:
    /// `disk_size` bytes.
    pub fn complete(&mut self, disk_size: u64) {
        for record in self.records_mut() {
            let size = record.disk_size().unwrap_or(disk_size);
            let known = SnapshotRecord::extra_data(record.vm_state_size(), size, u64::MAX);
            if let Some(missing) = known.get(record.extra.len() / 8 * 8..) {
                record.extra.truncate(record.extra.len() / 8 * 8);
                record.extra.extend_from_slice(missing);
            }
        }
    }

    /// The table as bytes of the file, and notes their number.
    ///
    /// # Errors
    /// [`SnapshotError::Full`] if they are too many; [`SnapshotError::New`].
    pub fn encode(&mut self) -> Result<Vec<u8>, SnapshotError> {
        let mut bytes = Vec::new();
        for record in self.records() {
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            let record = record.encode().map_err(|source| SnapshotError::New { source })?;
            bytes.extend_from_slice(&record);
            if bytes.len() as u64 > MAX_SNAPSHOT_TABLE_BYTES {
                return Err(SnapshotError::Full { count: self.records().len() });
            }
        }
        self.set_bytes(bytes.len() as u64);
        Ok(bytes)
    }
}

/// The decimal number that an ID begins with, 0 without one.
fn leading_number(id: &[u8]) -> u64 {
    id.iter().take_while(|byte| byte.is_ascii_digit()).fold(0_u64, |number, digit| {
        number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use holstein_storage::{MemStorage, Storage};
    use holstein_units::HostOffset;

    use super::*;
    use crate::NewSnapshot;

    fn record(id: &str) -> SnapshotRecord {
        let mut record = NewSnapshot::named("n")
            .record(&SnapshotTable::default(), 4096, 1)
            .expect("a short name");
        record.id = id.as_bytes().to_vec();
        record
    }

    #[test]
    fn the_next_id_is_one_more_than_the_largest() {
        let mut table = SnapshotTable::default();
        assert_eq!(table.next_id(), 1);
        for (id, next) in [("7", 8), ("3", 8), ("12x", 13), ("x", 13), ("", 13)] {
            table.push(record(id)).expect("there is room");
            assert_eq!(table.next_id(), next);
        }
        table.push(record("18446744073709551615")).expect("there is room");
        assert_eq!(table.next_id(), 1);
        table.push(record("1")).expect("there is room");
        assert_eq!(table.next_id(), 2);
    }

    #[test]
    fn a_table_reads_back_with_unknown_extra_data() {
        let mut table = SnapshotTable::default();
        for (n, extra) in [24_usize, 25, 1024, 0, 16].into_iter().enumerate() {
            let mut one = record(&n.to_string());
            one.extra = (0..extra).map(|n| u8::try_from(n % 251).expect("small")).collect();
            table.push(one).expect("there is room");
        }
        let bytes = table.encode().expect("it is small");
        let storage = MemStorage::new();
        let at = HostOffset::new(512);
        storage.write_at(at, &bytes).expect("memory takes it");
        let read = SnapshotTable::read_from(&storage, at, 5).expect("it is whole");
        assert_eq!(read, table);
        assert_eq!(read.bytes(), bytes.len() as u64);
    }

    #[test]
    fn records_without_all_known_fields_are_completed() {
        let mut table = SnapshotTable::default();
        for extra in [vec![], vec![1; 15], vec![2; 16], vec![3; 24], vec![4; 40]] {
            let mut one = record("1");
            one.vm_state_size_32 = 9;
            one.extra = extra;
            table.push(one).expect("there is room");
        }
        let before = table.clone();
        table.complete(1 << 20);
        let [none, half, two, rest @ ..] = table.records() else { panic!("five records") };
        assert_eq!(
            (none.vm_state_size(), none.disk_size(), none.icount()),
            (9, Some(1 << 20), None)
        );
        assert_eq!((&half.extra[..8], half.disk_size()), (&[1; 8][..], Some(1 << 20)));
        assert_eq!((&two.extra[..16], two.icount()), (&[2; 16][..], None));
        assert_eq!(rest, &before.records()[3..]);
        assert!(table.records().iter().all(|record| record.extra.len() >= 24));
    }

    #[test]
    fn one_more_than_the_limit_is_refused() {
        let mut table = SnapshotTable::default();
        for _ in 0..MAX_SNAPSHOTS {
            table.push(record("1")).expect("there is room");
        }
        assert!(matches!(table.push(record("1")), Err(SnapshotError::Full { count: 65_536 })));
    }
}
