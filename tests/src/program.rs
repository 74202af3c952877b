//! Programs: requests one after the other on a certain image.

use std::fmt;
use std::str::FromStr;

use holstein::format::Version;
use holstein_testkit::{DiskModel, Rng};

use crate::{Amend, Config, Feature, Layout, Listed, Moment, Name, Op, Shape, Start};

/// Requests on an image that is opened for them and closed after them. Prints and parses as
/// `v3:512:16/filled/w@0+512,f`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Program {
    /// The kind of image.
    pub config: Config,
    /// What it holds.
    pub start: Start,
    /// The requests, in order.
    pub ops: Vec<Op>,
}

impl Program {
    /// All programs of `len` requests from the alphabet of a configuration, in which each request
    /// has something to do.
    #[must_use]
    pub fn all(config: Config, start: Start, len: u32) -> Vec<Self> {
        let mut alphabet = Layout::new(config).alphabet();
        match start {
            Start::Snapshot => alphabet.extend([Op::Apply(0), Op::Delete(0)]),
            Start::Lost | Start::BlockEdge => alphabet.push(Op::Repair),
            Start::Overlay => {
                alphabet.retain(|op| !matches!(op, Op::Snapshot(_) | Op::Apply(_) | Op::Delete(_)));
                alphabet.push(Op::Commit);
                let names = [None, Some(Name::Alias), Some(Name::Lowest), Some(Name::Other)];
                alphabet.extend(names.map(Op::Rebase));
            }
            Start::TableEdge => alphabet.retain(|op| !is_too_much(start, *op)),
            _ => {}
        }
        let letters = alphabet.len();
        (0..letters.pow(len))
            .map(|number| {
                let digit = |place| alphabet[number / letters.pow(place) % letters];
                Self { config, start, ops: (0..len).rev().map(digit).collect() }
            })
            .filter(Self::makes_sense)
            .collect()
    }

    /// Whether each request has something to do; the others are those of a shorter program.
    fn makes_sense(&self) -> bool {
        let disk = DiskModel::new(Layout::new(self.config).size);
        let mut shape = Shape::of(self.config);
        let mut below = None;
        if self.start == Start::Overlay {
            shape.backing = Some(Name::Base);
            below = Some(Box::new(Moment::durable(disk.clone())));
        }
        let durable = Moment::durable(disk.clone()).of_shape(shape).of_kind(self.config);
        let mut moment = Moment { below, ..durable };
        let made = Layout::new(self.config);
        for op in self.start.rounds(made).concat() {
            if let Op::Bitmap(..) = op {
                moment.done(op, 0, disk.size());
            }
        }
        if self.start == Start::Snapshot {
            moment.snapshots.push(Listed::durable(0, disk));
        }
        (1..).zip(&self.ops).all(|(id, &op)| {
            let size = moment.sizes[0];
            let allowed = moment.allows(op, size);
            // What the disk holds does not matter.
            let matters = !matches!(
                op,
                Op::Write { .. } | Op::Zero { .. } | Op::Discard { .. } | Op::Compressed { .. }
            );
            if allowed && matters {
                moment.done(op, id, size);
            }
            allowed
        })
    }

    /// A random program of 3 to 8 requests anywhere around the places of the layout.
    #[must_use]
    pub fn random(config: Config, start: Start, rng: &mut Rng) -> Self {
        let layout = Layout::new(config);
        let mut size = layout.size;
        let count = 3 + rng.below(6);
        let featured = layout.featured();
        let ops = (0..count).map(|_| match start {
            Start::Overlay if rng.below(5) == 0 => random_move(rng),
            _ if !featured.is_empty() && rng.below(6) == 0 => {
                let n = usize::try_from(rng.below(featured.len() as u64)).expect("an index");
                featured[n]
            }
            _ => random_op(layout, &mut size, rng),
        });
        Self {
            config,
            start,
            ops: ops.filter(|op| !is_too_much(start, *op) && !is_past(config, *op)).collect(),
        }
    }
}

/// A commit or a rebase.
fn random_move(rng: &mut Rng) -> Op {
    match rng.below(7) {
        0..=2 => Op::Commit,
        3 => Op::Rebase(None),
        4 => Op::Rebase(Some(Name::Lowest)),
        5 => Op::Rebase(Some(Name::Other)),
        _ => Op::Rebase(Some(if rng.coin() { Name::Base } else { Name::Alias })),
    }
}

/// Whether a request makes hundreds of changes between two barriers: their combinations take minutes
/// and say nothing that those of a few changes do not.
fn is_too_much(start: Start, op: Op) -> bool {
    start == Start::TableEdge && matches!(op, Op::Amend(Amend::Width(_)))
}

/// Whether a request makes an image what its options do not go together with.
fn is_past(config: Config, op: Op) -> bool {
    config.has(Feature::NoUnref) && op == Op::Amend(Amend::Compat(Version::V2))
}

/// A request within a disk of `size` bytes, which it may let grow.
fn random_op(layout: Layout, size: &mut u64, rng: &mut Rng) -> Op {
    let cluster = layout.cluster;
    let first: u64 = match rng.below(8) {
        0 => 0,
        1 => (*size - 1) / cluster,
        2 => rng.below(8),
        // Around the end of one of the tables, mostly the first.
        _ => layout.at(rng.below(8)) / cluster + rng.below(6).saturating_sub(2) * layout.per_table,
    };
    let unit = match rng.below(4) {
        0 => 1,
        1 => 512,
        _ => cluster,
    };
    let start = first.min((*size - 1) / cluster) * cluster;
    let at = (start + rng.below(cluster) / unit * unit).min(*size - 1);
    let most = match rng.below(4) {
        0 => 3 * cluster,
        1 => cluster,
        _ => (2 * cluster).min(4096),
    };
    let len = ((1 + rng.below(most)).div_ceil(unit) * unit).min(*size - at);
    match rng.below(24) {
        0..=5 => Op::Write { at, len },
        6 | 7 => Op::Zero { at, len, unmap: true },
        8 => Op::Zero { at, len, unmap: false },
        9..=11 => Op::Discard { at: at / cluster * cluster, len },
        12 => Op::Flush,
        13 if rng.below(3) == 0 => Op::Repair,
        13 => Op::Reopen,
        14 => {
            let len = len.next_multiple_of(cluster).min(3 * cluster);
            let at = at / cluster * cluster;
            Op::Compressed { at, len: if at + len > *size { *size - at } else { len } }
        }
        22 => Op::Amend(Amend::Compat(if rng.coin() { Version::V2 } else { Version::V3 })),
        23 if rng.coin() => Op::Amend(Amend::Lazy(rng.coin())),
        23 => Op::Amend(Amend::Width(1 << rng.below(7))),
        16 | 17 => Op::Snapshot(1 + rng.below(3)),
        18 => Op::Apply(rng.below(4)),
        19 => Op::Delete(rng.below(4)),
        15 if *size > cluster.max(1024) => {
            let most = match rng.below(3) {
                0 => cluster.min(8192) / 512,
                1 => 3 * cluster / 512,
                _ => (*size - 512) / 512,
            };
            let by = (1 + rng.below(most)).min((*size - 512) / 512) * 512;
            *size -= by;
            Op::Shrink { by }
        }
        _ => {
            let sectors = match rng.below(3) {
                0 => 1 + rng.below(3),
                1 => 2 * cluster / 512,
                _ => layout.per_table * cluster / 512,
            };
            *size += sectors * 512;
            Op::Grow { by: sectors * 512 }
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/", self.config, self.start)?;
        for (n, op) in self.ops.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            write!(f, "{comma}{op}")?;
        }
        Ok(())
    }
}

impl FromStr for Program {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is not of the form v3:512:16/filled/w@0+512,f");
        let (config, rest) = text.split_once('/').ok_or_else(bad)?;
        let (start, ops) = rest.split_once('/').ok_or_else(bad)?;
        let ops = ops.split(',').filter(|op| !op.is_empty()).map(Op::from_str);
        Ok(Self {
            config: config.parse()?,
            start: start.parse()?,
            ops: ops.collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_print_and_parse() {
        let mut rng = Rng::new(7);
        for config in Config::all().into_iter().chain(Config::featured()) {
            for n in 0..50 {
                let start = if n % 2 == 0 { Start::Reuse } else { Start::Overlay };
                let program = Program::random(config, start, &mut rng);
                assert_eq!(program.to_string().parse(), Ok(program));
            }
        }
        assert!("v3:512:16/filled/x".parse::<Program>().is_err());
    }

    #[test]
    fn all_programs_differ() {
        let all = Program::all(Config::SMALL, Start::Empty, 2);
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert!(all.len() > 100);
        assert_eq!(all.len(), distinct.len());
    }
}
