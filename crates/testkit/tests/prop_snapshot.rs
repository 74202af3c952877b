//! A snapshot behaves as a byte vector, and copies do not see each other's changes.

use holstein_storage::{MemStorage, Storage};
use holstein_testkit::{Pattern, SnapshotStorage, any_range_in};
use holstein_units::{HostOffset, HostRange};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Write(u64, u64),
    Zeroes(u64, u64),
    Discard(u64, u64),
    SetLen(u64),
    Copy,
}

fn op() -> impl Strategy<Value = Op> {
    let range = || any_range_in(40_000, 20_000, 4096);
    prop_oneof![
        4 => range().prop_map(|(at, len)| Op::Write(at, len)),
        1 => range().prop_map(|(at, len)| Op::Zeroes(at, len)),
        1 => range().prop_map(|(at, len)| Op::Discard(at, len)),
        1 => (0..40_000_u64).prop_map(Op::SetLen),
        1 => Just(Op::Copy),
    ]
}

proptest! {
    #[test]
    fn it_behaves_as_memory(ops in prop::collection::vec(op(), 1..25)) {
        let mut s = SnapshotStorage::new(holstein_testkit::DiskImage::new());
        let model = MemStorage::new();
        let mut copies = Vec::new();
        for (id, op) in (1..).zip(&ops) {
            let range = |at, len| HostRange::new(HostOffset::new(at), len).expect("small");
            for target in [&s as &dyn Storage, &model] {
                match *op {
                    Op::Write(at, len) => {
                        let len = usize::try_from(len).expect("small");
                        target.write_at(HostOffset::new(at), &Pattern::new(id).bytes(at, len))
                    }
                    Op::Zeroes(at, len) => target.write_zeroes(range(at, len)),
                    Op::Discard(at, len) => target.discard(range(at, len)),
                    Op::SetLen(len) => target.set_len(len),
                    Op::Copy => Ok(()),
                }
                .expect("memory does not fail");
            }
            if let Op::Copy = op {
                let mut image = s.image();
                copies.push((image.content_hash(), image.clone(), model.to_bytes().expect("small")));
                s = SnapshotStorage::new(image);
            }
            prop_assert_eq!(s.image().to_bytes().expect("small"), model.to_bytes().expect("small"));
        }
        for (hash, mut image, bytes) in copies {
            prop_assert_eq!(image.to_bytes().expect("small"), bytes);
            prop_assert_eq!(image.content_hash(), hash);
        }
    }
}
