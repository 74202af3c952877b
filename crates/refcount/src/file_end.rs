//! Where the used part of the file ends.

use holstein_units::HostCluster;

use crate::refcounts::Inner;
use crate::{RefcountError, Refcounts};

impl Refcounts {
    /// The cluster behind the last one with a count above 0. Blocks on I/O.
    ///
    /// # Errors
    /// Whatever reading fails with; [`RefcountError::BadTableEntry`].
    pub fn used_end(&self) -> Result<HostCluster, RefcountError> {
        let inner = &self.0;
        inner.load_table()?;
        let bits = inner.block_bits();
        for index in (0..inner.table_entries()).rev() {
            let Some(block) = inner.block_at(index)? else { continue };
            let first = index << bits;
            if let Some(last) = inner.last_in_block(block, first)? {
                return Ok(HostCluster::new(last + 1));
            }
        }
        Ok(HostCluster::new(0))
    }
}

impl Inner {
    /// The last cluster with a count above 0 in a block whose first counter is that of `first`.
    fn last_in_block(
        &self,
        block: holstein_units::HostOffset,
        first: u64,
    ) -> Result<Option<u64>, RefcountError> {
        let per_word = 64 / u64::from(self.order.bits());
        let words_in_block = (1_u64 << self.block_bits()) / per_word;
        loop {
            let last = self.cache.read(block, |words| {
                // Most counters behind the last are 0, and a word of them is one look.
                let counts = |slot: &u64| {
                    let place = self.order.locate(*slot);
                    words.get(place.word) >> place.shift & self.order.mask() != 0
                };
                (0..words_in_block)
                    .rev()
                    .map(|word| word * per_word)
                    .filter(|first| words.get(self.order.locate(*first).word) != 0)
                    .find_map(|first| (first..first + per_word).rev().find(counts))
            });
            match last {
                Some(last) => return Ok(last.map(|slot| first + slot)),
                None => self.fetch_block(block)?,
            }
        }
    }
}
