//! Enumeration of crash states against a model that cuts at every position and keeps plain bytes.

use std::collections::BTreeSet;

use holstein_storage::{MemStorage, Storage};
use holstein_testkit::{
    CrashLog, DiskImage, Entry, Pattern, RecordingStorage, SampleOptions, Tearing,
};
use holstein_units::{HostOffset, HostRange};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Write { at: u64, len: usize },
    Zeroes { at: u64, len: u64 },
    Hole { at: u64, len: u64 },
    SetLen(u64),
    Allocate { at: u64, len: u64 },
    Flush,
    Mark,
}

fn ops(most: usize) -> impl Strategy<Value = Vec<Op>> {
    let at = || prop_oneof![0..12_000_u64, (0..24_u64).prop_map(|n| n * 512), Just(4096_u64)];
    let len = || prop_oneof![1..3000_u64, (1..20_u64).prop_map(|n| n * 512), Just(4096_u64)];
    let op = prop_oneof![
        4 => (at(), len()).prop_map(|(at, len)| {
            Op::Write { at, len: usize::try_from(len).expect("small") }
        }),
        1 => (at(), len()).prop_map(|(at, len)| Op::Zeroes { at, len }),
        1 => (at(), len()).prop_map(|(at, len)| Op::Hole { at, len }),
        1 => (0..16_000_u64).prop_map(Op::SetLen),
        1 => (at(), len()).prop_map(|(at, len)| Op::Allocate { at, len }),
        2 => Just(Op::Flush),
        1 => Just(Op::Mark),
    ];
    prop::collection::vec(op, 0..most)
}

fn range(at: u64, len: u64) -> HostRange {
    HostRange::new(HostOffset::new(at), len).expect("small")
}

fn record(before: &[u8], ops: &[Op]) -> RecordingStorage<MemStorage> {
    let s = RecordingStorage::new(MemStorage::from_bytes(before)).expect("memory");
    for (id, op) in (1..).zip(ops) {
        match *op {
            Op::Write { at, len } => {
                s.write_at(HostOffset::new(at), &Pattern::new(id).bytes(at, len))
            }
            Op::Zeroes { at, len } => s.write_zeroes(range(at, len)),
            Op::Hole { at, len } => s.discard(range(at, len)),
            Op::SetLen(len) => s.set_len(len),
            Op::Allocate { at, len } => s.allocate(range(at, len)),
            Op::Flush => s.flush(),
            Op::Mark => {
                s.mark(id);
                Ok(())
            }
        }
        .expect("memory does not fail");
    }
    s
}

/// The same changes on plain bytes.
fn apply(bytes: &mut Vec<u8>, entry: &Entry, most: usize) {
    let grow = |bytes: &mut Vec<u8>, end: u64| {
        let end = usize::try_from(end).expect("small");
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        end
    };
    match entry {
        Entry::Write { at, data } => {
            let data = &data[..data.len().min(most)];
            let end = grow(bytes, at.get() + data.len() as u64);
            bytes[end - data.len()..end].copy_from_slice(data);
        }
        Entry::Zeroes(r) => {
            let len = usize::try_from(r.len).expect("small").min(most);
            let start = usize::try_from(r.start.get()).expect("small");
            grow(bytes, r.start.get() + len as u64);
            bytes[start..start + len].fill(0);
        }
        Entry::Hole(r) => {
            let start = usize::try_from(r.start.get()).expect("small").min(bytes.len());
            let len = usize::try_from(r.len).expect("small").min(most);
            let end = (start + len).min(bytes.len());
            bytes[start..end].fill(0);
        }
        Entry::SetLen(len) => bytes.resize(usize::try_from(*len).expect("small"), 0),
        Entry::Allocate(r) => {
            grow(bytes, r.end().get());
        }
        Entry::Flush | Entry::Mark(_) => {}
    }
}

type States = BTreeSet<(usize, Vec<u8>)>;

/// All states of all cuts, each with the position after its last barrier.
fn model_states(log: &CrashLog, before: &[u8], torn: bool) -> States {
    let mut states = States::new();
    for cut in log.cuts() {
        let flushed = log.flushed_before(cut);
        let mut base = before.to_vec();
        log.entries()[..flushed].iter().for_each(|e| apply(&mut base, e, usize::MAX));
        let tail = &log.entries()[flushed..cut];
        for mask in 0..1_u32 << tail.len() {
            let picked = (0..tail.len()).filter(|n| mask & (1 << n) != 0).collect::<Vec<_>>();
            let build = |torn: Option<(usize, usize)>| {
                let mut bytes = base.clone();
                for &n in &picked {
                    let most = torn.filter(|t| t.0 == n).map_or(usize::MAX, |t| t.1);
                    apply(&mut bytes, &tail[n], most);
                }
                bytes
            };
            states.insert((flushed, build(None)));
            for &n in picked.iter().filter(|_| torn) {
                let (at, len) = match &tail[n] {
                    Entry::Write { at, data } => (at.get(), data.len() as u64),
                    Entry::Zeroes(r) | Entry::Hole(r) => (r.start.get(), r.len),
                    _ => continue,
                };
                let borders =
                    (at + 1..at + len).filter(|b| b % 512 == 0).map(|b| b - at).collect::<Vec<_>>();
                let middle = ((at + len / 2) / 512 * 512).checked_sub(at).filter(|&n| n > 0);
                for most in [borders.first().copied(), middle, borders.last().copied()] {
                    if let Some(most) = most.filter(|most| borders.contains(most)) {
                        let most = usize::try_from(most).expect("small");
                        states.insert((flushed, build(Some((n, most)))));
                    }
                }
            }
        }
    }
    states
}

fn visited(log: &CrashLog, options: &SampleOptions) -> States {
    let mut states = States::new();
    let counts = log
        .for_each_state(options, &mut |state| {
            assert!(state.flushed <= state.cut && state.cut <= state.until, "{state}");
            assert_eq!(log.flushed_before(state.until), state.flushed, "{state}");
            assert_eq!(log.last_mark_before(state.until), state.mark, "{state}");
            let bytes = state.image.to_bytes().expect("small");
            let mut again = DiskImage::from_bytes(&bytes);
            assert_eq!(
                again.content_hash(),
                state.hash,
                "the hash is that of the content: {state}"
            );
            assert!(states.insert((state.flushed, bytes)), "visited twice: {state}");
            Ok::<(), std::convert::Infallible>(())
        })
        .expect("the visitor does not fail");
    assert_eq!(counts.states, states.len() as u64);
    states
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn exhaustive_enumeration_is_that_of_every_cut(ops in ops(8), before in 0..9000_usize) {
        let before = Pattern::new(0).bytes(0, before);
        let log = record(&before, &ops).log();
        for tearing in [Tearing::Never, Tearing::Every] {
            let options = SampleOptions { tearing, growth: false, ..SampleOptions::default() };
            let expected = model_states(&log, &before, tearing == Tearing::Every);
            prop_assert_eq!(visited(&log, &options), expected);
        }
    }

    #[test]
    fn samples_are_possible_and_repeatable(ops in ops(14), every in any::<bool>()) {
        let log = record(&[], &ops).log();
        let options = SampleOptions {
            seed: 5,
            max_exhaustive: 2,
            samples: 3,
            tearing: if every { Tearing::Every } else { Tearing::Last },
            growth: false,
        };
        let states = visited(&log, &options);
        prop_assert_eq!(&states, &visited(&log, &options));
        let possible = model_states(&log, &[], true);
        prop_assert!(states.is_subset(&possible));
        // What a killed process leaves is always among them, at each cut.
        for cut in log.cuts() {
            let bytes = log.image_at(cut).to_bytes().expect("small");
            let state = (log.flushed_before(cut), bytes);
            prop_assert!(states.contains(&state), "everything before {} arrived", cut);
        }
    }

    #[test]
    fn recorded_changes_give_the_file_itself(ops in ops(30), before in 0..70_000_usize) {
        let before = Pattern::new(0).bytes(0, before);
        let s = record(&before, &ops);
        let log = s.log();
        prop_assert_eq!(log.initial().to_bytes().expect("small"), before);
        let end = log.image_at(log.entries().len());
        prop_assert_eq!(end.to_bytes().expect("small"), s.inner().to_bytes().expect("small"));
    }
}

#[test]
fn a_lost_write_may_have_grown_the_file() {
    let s = record(&[], &[Op::Write { at: 0, len: 512 }, Op::Write { at: 2048, len: 512 }]);
    let lens = |growth| {
        let options = SampleOptions { tearing: Tearing::Never, growth, ..Default::default() };
        let states = visited(&s.log(), &options);
        let mut lens = states.iter().map(|(_, bytes)| bytes.len()).collect::<Vec<_>>();
        lens.sort_unstable();
        lens
    };
    assert_eq!(lens(false), [0, 512, 2560, 2560]);
    // Both lost but the first one's size; the first there and the second one's size.
    assert_eq!(lens(true), [0, 512, 512, 2560, 2560, 2560]);
}

#[test]
fn an_error_of_the_visitor_stops_it() {
    let s = record(&[], &[Op::Write { at: 0, len: 512 }, Op::Flush, Op::Write { at: 0, len: 9 }]);
    let mut visits = 0;
    let result = s.log().for_each_state(&SampleOptions::default(), &mut |_| {
        visits += 1;
        if visits == 2 { Err("seen enough") } else { Ok(()) }
    });
    assert_eq!((result, visits), (Err("seen enough"), 2));
}
