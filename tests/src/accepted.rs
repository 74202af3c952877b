//! Bytes that were found right already.

use std::collections::HashMap;

/// Stretches of the disk that were judged right at one moment. States of a moment differ in little,
/// and comparing bytes with bytes is quicker than looking up each sector.
#[derive(Clone, Debug, Default)]
pub(crate) struct Accepted {
    stretches: HashMap<u64, Vec<u8>>,
}

impl Accepted {
    /// Whether these bytes were found right here last.
    pub(crate) fn holds(&self, at: u64, bytes: &[u8]) -> bool {
        self.stretches.get(&at).is_some_and(|found| found == bytes)
    }

    /// These bytes are right here.
    pub(crate) fn put(&mut self, at: u64, bytes: &[u8]) {
        let stretch = self.stretches.entry(at).or_default();
        stretch.clear();
        stretch.extend_from_slice(bytes);
    }
}
