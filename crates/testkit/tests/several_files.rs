//! Files that a power cut leaves beside each other.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::convert::Infallible;

use holstein_storage::{MemStorage, Storage};
use holstein_testkit::{
    Fault, FaultError, FaultStorage, IoKind, Lasting, Partial, RecordingStorage, SampleOptions,
};
use holstein_units::HostOffset;

fn put(file: &impl Storage, byte: u8) {
    file.write_at(HostOffset::new(0), &[byte]).expect("memory does not fail");
}

#[test]
fn a_barrier_is_one_of_its_file_alone() {
    let file = || MemStorage::from_bytes(&[0]);
    let one = RecordingStorage::new(file()).expect("memory");
    let two = RecordingStorage::beside(&one, file()).expect("memory");
    put(&one, 1);
    put(&two, 2);
    two.flush().expect("memory");
    put(&two, 3);
    one.flush().expect("memory");
    put(&one, 4);
    let mut found = BTreeSet::new();
    let byte = |image: &holstein_testkit::DiskImage| {
        let mut byte = [0];
        image.read(0, &mut byte);
        byte[0]
    };
    let visited: Result<_, Infallible> =
        two.log().for_each_state(&SampleOptions::default(), &mut |state| {
            found.insert((state.flushed, byte(&state.image), byte(&state.beside[0])));
            Ok(())
        });
    let counts = visited.expect("nothing fails");
    let expected = [
        // Either may be lost; then only the first may, with what came after the barrier.
        ([(0, 0), (1, 0), (0, 2), (1, 2)].as_slice(), 0),
        ([(0, 2), (1, 2), (0, 3), (1, 3)].as_slice(), 3),
        // Then the first is there, and the second is as before its last change or after it.
        ([(1, 2), (1, 3), (4, 2), (4, 3)].as_slice(), 5),
    ];
    let expected: BTreeSet<_> = expected
        .iter()
        .flat_map(|(pairs, flushed)| pairs.iter().map(move |(one, two)| (*flushed, *one, *two)))
        .collect();
    assert_eq!(found, expected);
    assert_eq!(counts.states, 12);
    assert_eq!(byte(&one.log().image_at(6)), 4);
}

#[test]
fn files_share_a_fault() {
    let one = FaultStorage::new(MemStorage::from_bytes(&[0]));
    let two = FaultStorage::beside(&one, MemStorage::from_bytes(&[0]));
    one.arm(Fault {
        after: 1,
        kinds: IoKind::CHANGES.to_vec(),
        error: FaultError::Eio,
        lasting: Lasting::Once,
        partial: Partial::Nothing,
    });
    put(&one, 1);
    assert!(two.write_at(HostOffset::new(0), &[2]).is_err());
    put(&one, 3);
    assert_eq!((one.counted(), two.fired()), (3, 1));
}
