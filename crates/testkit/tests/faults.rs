//! Faults hit the call they are meant for.

use std::io;

use holstein_storage::{MemStorage, Storage};
use holstein_testkit::{Fault, FaultError, FaultStorage, IoKind, Lasting, Partial};
use holstein_units::{HostOffset, HostRange};

fn fault(after: u64, kinds: &[IoKind], lasting: Lasting, partial: Partial) -> Fault {
    Fault { after, kinds: kinds.to_vec(), error: FaultError::Enospc, lasting, partial }
}

/// One call of each kind, in the order of `IoKind::ALL`.
fn calls(s: &impl Storage) -> Vec<io::Result<()>> {
    let range = HostRange::new(HostOffset::new(0), 512).expect("small");
    vec![
        s.read_at(HostOffset::new(0), &mut [0; 512]).map(drop),
        s.write_at(HostOffset::new(0), &[1; 512]),
        s.write_zeroes(range),
        s.discard(range),
        s.flush(),
        s.set_len(4096),
        s.allocate(range),
    ]
}

#[test]
fn every_kind_fails_at_its_number_once_or_from_there_on() {
    for n in 0..14_usize {
        for lasting in [Lasting::Once, Lasting::FromThereOn] {
            let s = FaultStorage::new(MemStorage::new());
            s.arm(fault(n as u64, &IoKind::ALL, lasting, Partial::Nothing));
            let results = (0..2).flat_map(|_| calls(&s)).collect::<Vec<_>>();
            for (i, result) in results.iter().enumerate() {
                let fails = if lasting == Lasting::Once { i == n } else { i >= n };
                assert_eq!(result.is_err(), fails, "call {i} with a fault at {n}");
                if let Err(error) = result {
                    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
                }
            }
            assert_eq!((s.seen(), s.counted()), (14, 14));
            assert_eq!(s.fired(), results.iter().filter(|r| r.is_err()).count() as u64);
            s.disarm();
            assert!(calls(&s).iter().all(Result::is_ok));
        }
    }
}

#[test]
fn only_the_chosen_kinds_count() {
    for (number, kind) in IoKind::ALL.into_iter().enumerate() {
        let s = FaultStorage::new(MemStorage::new());
        s.arm(fault(1, &[kind], Lasting::Once, Partial::Nothing));
        assert!(calls(&s).iter().all(Result::is_ok));
        let failed = calls(&s).iter().map(Result::is_err).collect::<Vec<_>>();
        let expected = (0..7).map(|n| n == number).collect::<Vec<_>>();
        assert_eq!(failed, expected, "{kind:?}");
        assert_eq!(s.counted(), 2);
    }
}

#[test]
fn a_failing_write_arrives_as_far_as_it_was_told_to() {
    for (partial, arrives) in
        [(Partial::Nothing, 0), (Partial::Half, 924), (Partial::Everything, 2048)]
    {
        let s = FaultStorage::new(MemStorage::from_bytes(&[9; 4096]));
        s.arm(fault(0, &[IoKind::Write, IoKind::Zeroes], Lasting::FromThereOn, partial));
        s.write_at(HostOffset::new(100), &[1; 2048]).expect_err("it was told to fail");
        let mut expected = vec![9; 4096];
        expected[100..100 + arrives].fill(1);
        assert_eq!(s.inner().to_bytes().expect("small"), expected, "{partial:?}");
        let range = HostRange::new(HostOffset::new(100), 2048).expect("small");
        s.write_zeroes(range).expect_err("it was told to fail");
        expected[100..100 + arrives].fill(0);
        assert_eq!(s.inner().to_bytes().expect("small"), expected, "{partial:?}");
    }
}
