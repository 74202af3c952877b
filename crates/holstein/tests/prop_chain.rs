//! Property: chains of images of any sizes and cluster sizes read as a stack of byte vectors, and
//! commit and rebase leave what is read.

use std::sync::Arc;

use holstein::chain::{Chain, Layer, RawLayer};
use holstein::format::Version;
use holstein::storage::{MemStorage, Storage};
use holstein::{
    CommitOptions, CommitTarget, CreateOptions, Image, NewBacking, OpenOptions, RawTarget,
    RebaseOptions,
};
use proptest::prelude::*;

/// Sizes of disks are multiples of this.
const UNIT: u64 = 512;
/// The largest disk in units.
const MAX: u64 = 96;

#[derive(Clone, Debug)]
enum Op {
    Write { at: u64, len: u64, byte: u8 },
    Zero { at: u64, len: u64, unmap: bool },
    Compress { at: u64, byte: u8 },
}

#[derive(Clone, Debug)]
struct Plan {
    units: u64,
    cluster: u64,
    v2: bool,
    extended: bool,
    ops: Vec<Op>,
}

fn op() -> impl Strategy<Value = Op> {
    let place = || (0..MAX * UNIT, 1..8 * UNIT);
    prop_oneof![
        4 => (place(), 1u8..).prop_map(|((at, len), byte)| Op::Write { at, len, byte }),
        2 => (place(), any::<bool>()).prop_map(|((at, len), unmap)| Op::Zero { at, len, unmap }),
        1 => (0..MAX * UNIT, any::<u8>()).prop_map(|(at, byte)| Op::Compress { at, byte }),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let cluster = prop_oneof![Just(512u64), Just(1024), Just(4096), Just(16384), Just(16384)];
    (1..MAX, cluster, 0..4, prop::collection::vec(op(), 0..8)).prop_map(
        |(units, cluster, kind, ops)| Plan {
            units,
            cluster,
            v2: kind < 2,
            extended: kind == 3 && cluster == 16384,
            ops,
        },
    )
}

/// A chain from the bottom up; the bottom is raw if `raw` says so.
#[derive(Clone, Debug)]
struct Stack {
    raw: Option<Vec<u8>>,
    images: Vec<Plan>,
}

fn stack(images: std::ops::Range<usize>) -> impl Strategy<Value = Stack> {
    let raw = prop::option::of(
        (1..MAX * UNIT, any::<u8>())
            .prop_map(|(len, seed)| (0..len).map(|n| (n / 97) as u8 ^ seed).collect::<Vec<u8>>()),
    );
    (raw, prop::collection::vec(plan(), images)).prop_map(|(raw, images)| Stack { raw, images })
}

/// What is built of a [`Stack`]: storages from the top down, and what the top reads as.
struct Built {
    files: Vec<(Arc<MemStorage>, bool)>,
    model: Vec<u8>,
}

fn chain_of(files: &[(Arc<MemStorage>, bool)]) -> Chain {
    let layer = |(file, raw): &(Arc<MemStorage>, bool)| -> Arc<dyn Layer> {
        let storage = Arc::<MemStorage>::clone(file) as Arc<dyn Storage>;
        if *raw {
            return Arc::new(RawLayer::new(storage).expect("memory has a length"));
        }
        let alone = OpenOptions::new().no_backing();
        Arc::new(alone.open_storage_read_only(storage).expect("the image was just made"))
    };
    Chain::new(files.iter().map(layer).collect())
}

fn open(files: &[(Arc<MemStorage>, bool)]) -> Image {
    let chain = Arc::new(chain_of(&files[1..]));
    let storage = Arc::<MemStorage>::clone(&files[0].0);
    OpenOptions::new().backing_chain(chain).open_storage(storage).expect("the image is sound")
}

fn perform(image: &Image, op: &Op, model: &mut [u8]) {
    let size = model.len() as u64;
    let cut = |at: u64, len: u64| {
        let at = at % size;
        (at, len.min(size - at))
    };
    let range = |at: u64, len: u64| at as usize..(at + len) as usize;
    match *op {
        Op::Write { at, len, byte } => {
            let (at, len) = cut(at, len);
            image.write_at(at, &vec![byte; len as usize]).expect("memory does not fail");
            model[range(at, len)].fill(byte);
        }
        Op::Zero { at, len, unmap } => {
            let (at, len) = cut(at, len);
            image.write_zeroes(at, len, unmap).expect("memory does not fail");
            model[range(at, len)].fill(0);
        }
        Op::Compress { at, byte } => {
            let at = at % size / image.cluster_size() * image.cluster_size();
            let len = image.cluster_size().min(size - at);
            let own = image.extent_at(at, len).expect("memory does not fail");
            let free = own.kind == holstein::ExtentKind::Unallocated && own.host.is_none();
            if free && own.len == len {
                let bytes = vec![byte; len as usize];
                image.write_compressed_at(at, &bytes).expect("the cluster is free");
                model[range(at, len)].fill(byte);
            }
        }
    }
}

fn build(stack: &Stack) -> Built {
    let mut files: Vec<(Arc<MemStorage>, bool)> = Vec::new();
    let mut model = Vec::new();
    if let Some(bytes) = &stack.raw {
        files.push((Arc::new(MemStorage::from_bytes(bytes)), true));
        model.clone_from(bytes);
        model.resize(bytes.len().next_multiple_of(512), 0);
    }
    for plan in &stack.images {
        let file = Arc::new(MemStorage::new());
        let mut options = CreateOptions::new(plan.units * UNIT).cluster_size(plan.cluster);
        if plan.extended {
            options = options.extended_l2(true);
        }
        if plan.v2 {
            options = options.version(Version::V2);
        }
        if let Some((_, raw)) = files.first() {
            let format = if *raw { b"raw".to_vec() } else { b"qcow2".to_vec() };
            options = options.backing_file(b"below".to_vec(), Some(format));
        }
        let storage = Arc::<MemStorage>::clone(&file) as Arc<dyn Storage>;
        options.create_on(storage).and_then(Image::close).expect("memory does not fail");
        files.insert(0, (file, false));
        model.resize((plan.units * UNIT) as usize, 0);
        let image = open(&files);
        for op in &plan.ops {
            perform(&image, op, &mut model);
        }
        image.close().expect("memory does not fail");
    }
    Built { files, model }
}

fn content(files: &[(Arc<MemStorage>, bool)]) -> Vec<u8> {
    let image = chain_of(files);
    let mut bytes = vec![1; holstein::Backing::len(&image) as usize];
    image.read_at(0, &mut bytes).expect("the chain is sound");
    bytes
}

fn check_all(files: &[(Arc<MemStorage>, bool)]) {
    for (file, raw) in files {
        if !raw {
            let options = holstein::check::CheckOptions::default();
            let report = holstein::check::check(&**file, &options, &mut |_| {})
                .expect("the image can be read");
            assert!(report.is_clean(), "{report:?}");
        }
    }
}

fn quiet(_: u64, _: u64) {}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_chain_reads_as_its_model(stack in stack(1..5)) {
        let built = build(&stack);
        prop_assert!(open(&built.files).chain().is_some());
        let mut bytes = vec![1; built.model.len()];
        open(&built.files).read_at(0, &mut bytes).expect("the image is sound");
        prop_assert!(bytes == built.model, "the image over its chain differs");
        prop_assert!(content(&built.files) == built.model, "the chain alone differs");
        check_all(&built.files);
    }

    #[test]
    fn a_commit_moves_the_content_down(stack in stack(2..5), pick in any::<prop::sample::Index>()) {
        let built = build(&stack);
        let base = 1 + pick.index(built.files.len() - 1);
        let between = Arc::new(chain_of(&built.files[1..base]));
        let top = Arc::<MemStorage>::clone(&built.files[0].0);
        let overlay = OpenOptions::new().backing_chain(between).open_storage(top)
            .expect("the image is sound");
        let run = |target: &dyn CommitTarget| {
            CommitOptions::new().keep(base > 1).run(&overlay, target, &mut quiet)
        };
        let target_v2_grows = {
            let (file, raw) = &built.files[base];
            let below = built.files.get(base + 1).is_some();
            !raw && below && {
                let header = OpenOptions::new().no_backing()
                    .open_storage_read_only(Arc::<MemStorage>::clone(file))
                    .expect("the image is sound").header();
                header.version == Version::V2 && header.size < built.model.len() as u64
            }
        };
        let result = if built.files[base].1 {
            let file = Arc::<MemStorage>::clone(&built.files[base].0);
            run(&RawTarget::new(file))
        } else {
            let image = open(&built.files[base..]);
            let result = run(&image);
            image.close().expect("memory does not fail");
            result
        };
        overlay.close().expect("memory does not fail");
        match result {
            Ok(()) => {
                let mut below = content(&built.files[base..]);
                prop_assert!(below.len() >= built.model.len());
                below.truncate(built.model.len());
                prop_assert!(below == built.model, "the base differs");
            }
            // A version 2 image cannot hide a longer backing file.
            Err(error) => prop_assert!(target_v2_grows, "{error}"),
        }
        if base == 1 {
            prop_assert!(content(&built.files) == built.model, "the overlay differs");
        }
        check_all(&built.files);
    }

    #[test]
    fn a_rebase_keeps_the_content(
        stack in stack(1..4),
        other in prop::option::of(stack_of_some()),
        member in prop::option::of(any::<prop::sample::Index>()),
        compress in any::<bool>(),
    ) {
        let built = build(&stack);
        let other = other.map(|other| build(&other).files).unwrap_or_default();
        let chain = chain_of(&other);
        let image = open(&built.files);
        let depth = built.files.len() - 1;
        let (new, files) = match member {
            Some(index) if depth > 0 => {
                let index = index.index(depth);
                (NewBacking::Member(index), built.files[1 + index..].to_vec())
            }
            _ if other.is_empty() => (NewBacking::Nothing, Vec::new()),
            _ => (NewBacking::Chain(&chain), other.clone()),
        };
        let name = files.first().map(|(_, raw)| {
            (b"new".as_slice(), Some(if *raw { b"raw".as_slice() } else { b"qcow2".as_slice() }))
        });
        RebaseOptions::new().compress(compress).run(&image, new, name, &mut quiet)
            .expect("memory does not fail");
        let header = image.header();
        prop_assert_eq!(header.backing_file.as_deref(), name.map(|(name, _)| name));
        prop_assert_eq!(header.backing_format(), name.and_then(|(_, format)| format));
        image.close().expect("memory does not fail");
        let mut all = vec![built.files[0].clone()];
        all.extend(files);
        prop_assert!(content(&all) == built.model, "the content differs over the new backing");
        check_all(&all);
    }
}

/// A stack of at least one disk.
fn stack_of_some() -> impl Strategy<Value = Stack> {
    stack(0..3).prop_filter("one disk at least", |s| s.raw.is_some() || !s.images.is_empty())
}
