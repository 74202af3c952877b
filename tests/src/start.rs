//! What images hold when a program starts.

use std::fmt;
use std::str::FromStr;

use holstein::format::Version;

use crate::layout::RESTING;
use crate::{Config, Feature, Layout, Noting, Op};

/// What an image holds when a program starts; all of it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Start {
    /// Nothing.
    Empty,
    /// Some clusters with data.
    Filled,
    /// Zero clusters with and without a place, beside data.
    Zeroed,
    /// Free clusters with old data in the middle of the file.
    Reuse,
    /// One cluster before the end of what the refcount blocks count.
    BlockEdge,
    /// Two clusters before the end of what the refcount table can count.
    TableEdge,
    /// Data that a snapshot shares; made by `qemu-img`.
    Snapshot,
    /// The same, but the list of snapshots is lost: all that is only theirs has leaked, and all that
    /// they share is counted twice.
    Lost,
    /// Compressed clusters; made by `qemu-io`.
    Compressed,
    /// Data over a shorter base with data of its own, which is over a third image.
    Overlay,
}

impl Start {
    /// Those made by Holstein alone.
    pub const OWN: [Self; 7] = [
        Self::Empty,
        Self::Filled,
        Self::Zeroed,
        Self::Reuse,
        Self::BlockEdge,
        Self::TableEdge,
        Self::Overlay,
    ];
    /// Those that need the reference programs.
    pub const FOREIGN: [Self; 3] = [Self::Snapshot, Self::Lost, Self::Compressed];

    /// Whether a configuration can have it, in a size that is fit for many tries.
    #[must_use]
    pub fn fits(self, config: Config) -> bool {
        match self {
            Self::Zeroed => config.version == Version::V3,
            // There are two of all its clusters; and what is raw has no base.
            Self::Overlay => config.cluster <= 64 << 10 && !config.has(Feature::RawData),
            Self::BlockEdge => config.counters_per_block() <= 1 << 15,
            // All blocks that a table of one cluster names.
            // With bitmaps, which move at each closing, that takes minutes.
            Self::TableEdge => {
                !config.has(Feature::Bitmaps)
                    && config.counters_per_block() * (config.cluster / 8) <= 1 << 15
            }
            Self::Snapshot | Self::Lost => {
                config.refcount_bits > 1 && !config.has_data_file() && !config.is_encrypted()
            }
            Self::Compressed => !config.has_data_file() && !config.is_encrypted(),
            _ => true,
        }
    }

    /// The rounds of requests that make it; the image is closed after each.
    #[must_use]
    pub(crate) fn rounds(self, layout: Layout) -> Vec<Vec<Op>> {
        let mut rounds = self.plain_rounds(layout);
        if layout.config.has(Feature::Bitmaps) {
            // What the first round writes is known to the one that rests, what comes later to the other.
            if rounds.is_empty() {
                rounds.push(Vec::new());
            }
            rounds[0].insert(0, Op::Bitmap(Noting::Add, RESTING));
            let rest = Op::Bitmap(Noting::Off, RESTING);
            rounds[0].extend([rest, Op::Bitmap(Noting::Add, 0)]);
        }
        rounds
    }

    fn plain_rounds(self, layout: Layout) -> Vec<Vec<Op>> {
        let c = layout.cluster;
        let fill = vec![
            Op::Write { at: layout.at(0), len: 3 * c },
            Op::Write { at: layout.at(4), len: layout.bit() },
        ];
        match self {
            Self::Empty | Self::Compressed => vec![],
            Self::Filled | Self::Snapshot | Self::Lost => vec![fill],
            Self::BlockEdge | Self::TableEdge => {
                vec![vec![Op::Write { at: layout.at(1), len: c }]]
            }
            Self::Overlay => vec![vec![Op::Write { at: layout.at(3), len: c }]],
            Self::Zeroed => vec![vec![
                Op::Write { at: layout.at(0), len: 4 * c },
                Op::Flush,
                Op::Zero { at: layout.at(0), len: c, unmap: false },
                Op::Zero { at: layout.at(1), len: c, unmap: true },
                Op::Zero { at: layout.at(3), len: 2 * c, unmap: false },
            ]],
            Self::Reuse => vec![
                vec![
                    Op::Write { at: 0, len: 4 * c },
                    Op::Write { at: layout.at(0), len: c },
                    Op::Write { at: layout.at(2), len: c },
                ],
                vec![Op::Discard { at: 0, len: 4 * c }],
            ],
        }
    }
}

const NAMES: [(Start, &str); 10] = [
    (Start::Empty, "empty"),
    (Start::Filled, "filled"),
    (Start::Zeroed, "zeroed"),
    (Start::Reuse, "reuse"),
    (Start::BlockEdge, "block-edge"),
    (Start::TableEdge, "table-edge"),
    (Start::Snapshot, "snapshot"),
    (Start::Lost, "lost"),
    (Start::Compressed, "compressed"),
    (Start::Overlay, "overlay"),
];

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(start, _)| start == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        NAMES
            .iter()
            .find(|(_, name)| *name == text)
            .map(|(start, _)| *start)
            .ok_or_else(|| format!("{text:?} is no start: {}", NAMES.map(|(_, n)| n).join(", ")))
    }
}
