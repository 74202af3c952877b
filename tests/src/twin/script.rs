//! Random sequences.

use holstein_testkit::Rng;

use super::{BitmapOp, Row, Step};
use crate::Op;

/// Writes the steps of a sequence: the same for the same row and seed.
#[must_use]
pub fn steps(row: Row, seed: u64) -> Vec<Step> {
    let mut rng = Rng::new(seed);
    let count = 8 + rng.below(25);
    let mut script = Script { row, rng, size: row.size() };
    (0..count).map(|_| script.step()).collect()
}

/// Changes of the backing file.
const REBASES: &[&str] = &[
    "b=none", "b=first", "b=first", "b=raw", "b=qcow2", "b=copy", "bc=none", "bc=first", "bc=qcow2",
];

/// Changes of the format.
const AMENDS: &[&str] = &["a=v2", "a=v2", "a=v3", "a=v3", "a=lazy", "a=prompt", "a=mapped"];

/// Changes of the width of refcounts. The reference takes seconds for each where clusters are large,
/// as it goes over all the counts that there could be.
const WIDTHS: &[&str] = &["a=1", "a=2", "a=4", "a=8", "a=16", "a=16", "a=32", "a=64"];

struct Script {
    row: Row,
    rng: Rng,
    /// Bytes of the disk, if nothing was refused.
    size: u64,
}

impl Script {
    fn step(&mut self) -> Step {
        if self.row.bitmaps && self.rng.below(4) == 0 {
            return Step::Bitmap(self.bitmap());
        }
        Step::Op(match self.rng.below(54) {
            0..=10 => {
                let (at, len) = self.range();
                Op::Write { at, len }
            }
            11..=14 => {
                let (at, len) = self.range();
                Op::Zero { at, len, unmap: self.rng.coin() }
            }
            15..=20 => {
                let (at, len) = self.range();
                Op::Discard { at, len }
            }
            21 | 22 => Op::Flush,
            23 | 24 => {
                let by = self.step_of_size();
                self.size += by;
                Op::Grow { by }
            }
            25 => {
                let by = match self.rng.below(3) {
                    0 => self.size / 2 / 512 * 512,
                    _ => self.step_of_size(),
                };
                if by >= self.size {
                    return Step::Op(Op::Flush);
                }
                self.size -= by;
                Op::Shrink { by }
            }
            26..=28 => {
                let cluster = self.row.cluster;
                let (at, len) = self.range();
                let at = at / cluster * cluster;
                Op::Compressed { at, len: len.next_multiple_of(cluster).min(self.size - at) }
            }
            29 => Op::Repair,
            30..=32 => Op::Reopen,
            33..=36 => Op::Snapshot(self.rng.below(4)),
            37 | 38 => Op::Apply(self.rng.below(4)),
            39 | 40 => Op::Delete(self.rng.below(4)),
            41 | 42 => return Step::Swap,
            43..=45 => return self.change(&["m", "m", "mk"]),
            46..=49 => return self.change(REBASES),
            50 | 51 if self.row.cluster <= 8192 => return self.change(WIDTHS),
            _ => return self.change(AMENDS),
        })
    }

    /// A request about one of three bitmaps.
    fn bitmap(&mut self) -> BitmapOp {
        let number = self.rng.below(3);
        match self.rng.below(10) {
            0..=3 => {
                let unit = 512 << (self.rng.below(4) * 2);
                BitmapOp::Add { number, unit, recording: self.rng.below(4) > 0 }
            }
            4 => BitmapOp::Remove(number),
            5 | 6 => BitmapOp::Record { number, on: self.rng.coin() },
            7 => BitmapOp::Clear(number),
            _ => BitmapOp::Merge { into: number, from: self.rng.below(3) },
        }
    }

    /// A change, one of these words.
    fn change(&mut self, words: &[&str]) -> Step {
        let word = words[usize::try_from(self.rng.below(words.len() as u64)).expect("an index")];
        word.parse().expect("the word of a change")
    }

    /// How much the disk grows.
    fn step_of_size(&mut self) -> u64 {
        let cluster = self.row.cluster;
        match self.rng.below(4) {
            0 => 512 * (1 + self.rng.below(4)),
            1 => cluster.max(1024) + 512,
            // A larger L1 table, where that costs little.
            2 if cluster <= 1024 => cluster * cluster / 8,
            _ => 2 * cluster,
        }
    }

    /// A range of the disk, of up to three clusters or 96 KiB, mostly where others are.
    fn range(&mut self) -> (u64, u64) {
        let cluster = self.row.cluster;
        let clusters = self.size.div_ceil(cluster);
        let per_table = cluster / 8;
        let number = match self.rng.below(8) {
            0 => self.rng.below(clusters),
            1 => clusters - 1,
            2 | 3 => self.rng.below(6),
            _ => (per_table + self.rng.below(6)).saturating_sub(3),
        };
        let unit = match self.rng.below(4) {
            0 => 1,
            1 => 512,
            _ => cluster,
        };
        let start = number.min(clusters - 1) * cluster;
        let at = (start + self.rng.below(cluster) / unit * unit).min(self.size - 1);
        let most = match self.rng.below(4) {
            0 => 3 * cluster,
            1 => cluster,
            2 => (6 * cluster).min(96 << 10),
            _ => (2 * cluster).min(4096),
        };
        let len = (1 + self.rng.below(most)).next_multiple_of(unit);
        (at, len.min(self.size - at))
    }
}
