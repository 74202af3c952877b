//! The bytes of the node below, behind rules and limits.

use std::io::{self, IoSlice, IoSliceMut};
use std::sync::Arc;

use holstein_storage::{Capabilities, Storage};
use holstein_units::{HostOffset, HostRange};

use super::gate::Gate;

/// Storage whose requests fail and stop by rules.
pub(super) struct DebugStorage {
    below: Arc<dyn Storage>,
    gate: Gate,
}

impl DebugStorage {
    pub(super) fn new(below: Arc<dyn Storage>, gate: Gate) -> Self {
        Self { below, gate }
    }
}

impl Storage for DebugStorage {
    fn read_vectored_at(&self, at: HostOffset, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.gate.read(&*self.below, at, into)
    }

    fn write_vectored_at(&self, at: HostOffset, from: &[IoSlice<'_>]) -> io::Result<()> {
        self.gate.write(&*self.below, at, from)
    }

    fn write_zeroes(&self, range: HostRange) -> io::Result<()> {
        self.gate.write_zeroes(&*self.below, range)
    }

    fn discard(&self, range: HostRange) -> io::Result<()> {
        self.gate.discard(&*self.below, range)
    }

    fn flush(&self) -> io::Result<()> {
        self.gate.flush(&*self.below)
    }

    fn len(&self) -> io::Result<u64> {
        self.below.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.below.set_len(len)
    }

    fn allocate(&self, range: HostRange) -> io::Result<()> {
        self.gate.allocate(&*self.below, range)
    }

    fn capabilities(&self) -> Capabilities {
        self.below.capabilities()
    }

    fn extent_at(&self, at: HostOffset) -> io::Result<(bool, u64)> {
        self.gate.question(at.get(), 1)?;
        self.below.extent_at(at)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Debugger;
    use super::super::limits::Limits;
    use super::*;
    use crate::node::Options;
    use holstein_storage::MemStorage;

    fn storage(text: &str) -> (Arc<MemStorage>, DebugStorage) {
        let mut options = Options::parse(text, None);
        let limits = Limits::take(&mut options).expect("the limits fit");
        let rules = super::super::rules::take(&mut options).expect("the rules are well formed");
        let bytes: Vec<u8> = (0..=255).cycle().take(16384).collect();
        let below = Arc::new(MemStorage::from_bytes(&bytes));
        let shared: Arc<dyn Storage> = Arc::<MemStorage>::clone(&below);
        (below, DebugStorage::new(shared, Gate::new(Arc::new(Debugger::new(rules)), limits)))
    }

    #[test]
    fn what_surrounds_a_write_stays() {
        let (below, debug) = storage("align=4k,max-transfer=8k");
        debug.write_at(HostOffset::new(4000), &[7; 9000]).expect("memory takes it");
        let mut back = vec![0; 16384];
        assert_eq!(below.read_at(HostOffset::new(0), &mut back).expect("memory gives it"), 16384);
        let expected = |at: usize| {
            if (4000..13000).contains(&at) { 7 } else { u8::try_from(at % 256).expect("a byte") }
        };
        assert!(back.iter().enumerate().all(|(at, byte)| *byte == expected(at)));
        let mut part = [0; 300];
        assert_eq!(debug.read_at(HostOffset::new(3900), &mut part).expect("it is there"), 300);
        assert_eq!(part[..], back[3900..4200]);
        let mut past = [1; 100];
        assert_eq!(debug.read_at(HostOffset::new(16350), &mut past).expect("the end"), 34);
    }

    #[test]
    fn zeroes_and_discards_are_cut() {
        let (below, debug) = storage(
            "opt-write-zero=4k,max-write-zero=4k,inject-error.0.event=none,\
                                      inject-error.0.iotype=write-zeroes,inject-error.0.sector=9",
        );
        let range = |start, len| HostRange { start: HostOffset::new(start), len };
        debug.write_zeroes(range(100, 4000)).expect("no unit is whole");
        assert!(debug.write_zeroes(range(0, 12288)).is_err(), "the second unit is refused");
        let mut back = vec![1; 8192];
        below.read_at(HostOffset::new(0), &mut back).expect("memory gives it");
        assert!(back[..4100].iter().all(|byte| *byte == 0) && back[4101] != 0);
    }
}
