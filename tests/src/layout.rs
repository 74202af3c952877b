//! Where programs do what they do.

use holstein::format::Version;

use crate::{Amend, Config, Feature, Noting, Op};

/// The number of a bitmap that starts have beside number 0, and that does not record.
pub(crate) const RESTING: u64 = 8;

/// Places on the disk of a configuration. The disk needs five L2 tables, the last of them for a few
/// clusters. What the alphabet does is around the border between the first two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The configuration.
    pub config: Config,
    /// Bytes of a cluster.
    pub cluster: u64,
    /// Clusters that one L2 table maps.
    pub per_table: u64,
    /// Bytes of the disk before it grows.
    pub size: u64,
}

impl Layout {
    /// The places of a configuration.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let cluster = config.cluster;
        let per_table = config.clusters_per_table();
        // The last cluster is not whole, where clusters are of more than a sector.
        let part = if cluster > 512 { 512 } else { 0 };
        Self { config, cluster, per_table, size: (4 * per_table + 6) * cluster + part }
    }

    /// The first byte of cluster `n`, counted from the fourth before the end of the first table.
    #[must_use]
    pub fn at(self, n: u64) -> u64 {
        (self.per_table - 4 + n) * self.cluster
    }

    /// Half a cluster, but not much.
    #[must_use]
    pub fn bit(self) -> u64 {
        (self.cluster / 2).min(1024)
    }

    /// The operations of which programs of a certain length are all made: one for each kind, all
    /// around the same few clusters; then [`Self::featured`].
    #[must_use]
    pub fn alphabet(self) -> Vec<Op> {
        let Self { config, cluster, per_table, .. } = self;
        let bit = self.bit();
        let other_width = if config.refcount_bits == 16 { 64 } else { 16 };
        let mut all = vec![
            // Inside a cluster.
            Op::Write { at: self.at(1) + cluster / 4, len: bit },
            // Across clusters: the end of one, a whole one, and the start of one in the next table.
            Op::Write { at: self.at(3) - bit, len: bit + cluster + bit },
            // A whole cluster.
            Op::Write { at: self.at(1), len: cluster },
            // Over what many starts have there.
            Op::Write { at: self.at(1) - bit, len: 2 * bit },
            // Part of one cluster and all of the next.
            Op::Zero { at: self.at(2) - bit, len: bit + cluster, unmap: true },
            Op::Zero { at: self.at(0), len: 2 * cluster, unmap: false },
            Op::Discard { at: self.at(0), len: 3 * cluster },
            // Into a cluster of the first table; all the others go.
            Op::Shrink { by: self.size - self.at(1) - bit.next_multiple_of(512) },
            // In the next table, where there is nothing, or in zeros.
            Op::Compressed { at: self.at(4), len: 2 * cluster },
            Op::Snapshot(1),
            Op::Apply(1),
            Op::Delete(1),
            Op::Flush,
            // A larger L1 table.
            Op::Grow { by: per_table * cluster },
            // The same L1 table, and the rest of the last cluster.
            Op::Grow { by: 1024 },
            Op::Amend(Amend::Compat(Version::V2)),
            Op::Amend(Amend::Compat(Version::V3)),
            Op::Amend(Amend::Width(other_width)),
            Op::Amend(Amend::Lazy(!config.has(Feature::Lazy))),
        ];
        all.extend(self.featured());
        all.retain(|op| config.takes(*op));
        all
    }

    /// The operations that only the features of the image make interesting.
    #[must_use]
    pub fn featured(self) -> Vec<Op> {
        let Self { config, cluster, .. } = self;
        let mut all = Vec::new();
        if config.has(Feature::Extended) {
            let part = cluster / 32;
            all.extend([
                // Parts of two subclusters.
                Op::Write { at: self.at(1) + 5 * part - 100, len: 200 },
                // Two whole ones, and a part of a third.
                Op::Zero { at: self.at(1) + 8 * part, len: 2 * part + 100, unmap: true },
            ]);
        }
        if config.has(Feature::Zstd) {
            // Where something was, once it is discarded.
            all.push(Op::Compressed { at: self.at(1), len: cluster });
        }
        if config.has(Feature::Bitmaps) {
            all.extend([
                Op::Bitmap(Noting::Add, 1),
                Op::Bitmap(Noting::Remove, 0),
                Op::Bitmap(Noting::Clear, 0),
                Op::Bitmap(Noting::Off, 0),
                Op::Bitmap(Noting::On, RESTING),
                Op::Reopen,
            ]);
        }
        if config.has(Feature::Luks) {
            all.extend([
                Op::Passphrase { number: 1, add: true },
                Op::Passphrase { number: 2, add: true },
                Op::Passphrase { number: 0, add: false },
                Op::Passphrase { number: 1, add: false },
            ]);
        }
        if config.has(Feature::RawData) {
            all.push(Op::Amend(Amend::NotRaw));
        }
        all
    }
}
