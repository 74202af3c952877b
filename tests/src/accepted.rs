//! Bytes that were found right already.

use std::collections::{HashMap, HashSet};

use holstein_units::SECTOR;

/// Stretches of the disk that were judged right at one moment. States of a moment differ in little,
/// and comparing bytes with bytes is quicker than looking up each sector.
#[derive(Clone, Debug, Default)]
pub(crate) struct Accepted {
    stretches: HashMap<u64, Vec<u8>>,
    zeros: HashSet<(u64, u64)>,
}

impl Accepted {
    /// Judges the bytes at `at`, sector by sector, but for those that were found right here last.
    pub(crate) fn judge<E>(
        &mut self,
        at: u64,
        bytes: &[u8],
        mut judge: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let known = self.stretches.entry(at).or_default();
        if known == bytes {
            return Ok(());
        }
        let mut from = 0;
        while from < bytes.len() {
            let here = at + from as u64;
            let to = bytes.len().min(from + usize::try_from(SECTOR - here % SECTOR).unwrap_or(1));
            let part = &bytes[from..to];
            if known.get(from..to) != Some(part) {
                judge(here, part)?;
            }
            from = to;
        }
        known.clear();
        known.extend_from_slice(bytes);
        Ok(())
    }

    /// Whether so many zeros were found right here.
    pub(crate) fn holds_zeros(&self, at: u64, len: u64) -> bool {
        self.zeros.contains(&(at, len))
    }

    /// So many zeros are right here.
    pub(crate) fn put_zeros(&mut self, at: u64, len: u64) {
        self.zeros.insert((at, len));
    }
}
