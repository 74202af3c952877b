//! Header extensions that other programs may leave, in images of both sides.

mod interop;

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use holstein::format::{DecodePurpose, Header, HeaderExtension, Version};
use holstein::{AmendOptions, CreateOptions, OpenOptions};
use holstein_storage::{MemStorage, Storage};
use holstein_testkit::{Entry, RecordingStorage};
use holstein_units::HostOffset;
use interop::{Bench, Maker, Script};

/// A type that nobody knows.
const STRANGE: u32 = 0x1234_5678;
/// The type of the table of feature names.
const FEATURE_NAMES: u32 = 0x6803_f857;
/// The type that ends extensions.
const END: u32 = 0;
/// Where autoclear features are.
const AUTOCLEAR: u64 = 88;

/// An extension, padded to 8 bytes with `pad`.
fn extension(kind: u32, data: &[u8], pad: u8) -> Vec<u8> {
    let mut bytes = [kind.to_be_bytes(), (data.len() as u32).to_be_bytes()].concat();
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(8), pad);
    bytes
}

/// A table of one feature name.
fn names(name: &str) -> Vec<u8> {
    let mut entry = vec![0; 48];
    entry[1] = 40;
    entry[2..2 + name.len()].copy_from_slice(name.as_bytes());
    entry
}

/// What may stand behind a header, in `room` bytes, by what it is; all of it is allowed.
fn areas(room: usize) -> Vec<(&'static str, Vec<u8>)> {
    let end = [0; 8];
    let filled = |kinds: &[u32]| {
        let all = kinds.iter().cycle().take(room / 8);
        all.flat_map(|kind| extension(*kind, &[], 0)).collect::<Vec<_>>()
    };
    vec![
        (
            "junk in the padding and behind the end",
            [&extension(STRANGE, b"13 bytes long", 0xff)[..], &end, &[0xaa; 24]].concat(),
        ),
        (
            "an end with a length",
            [&extension(STRANGE, b"kept", 0)[..], &[0, 0, 0, 0, 0, 0, 0, 99]].concat(),
        ),
        (
            "extensions without data",
            [&extension(STRANGE, &[], 0)[..], &extension(FEATURE_NAMES, &[], 0), &end].concat(),
        ),
        ("no end", filled(&[STRANGE, STRANGE + 1])),
        (
            "no end behind one that fills the rest",
            extension(STRANGE, &vec![0x5a; (room - 8) / 8 * 8], 0),
        ),
        (
            "two of a kind",
            [
                &extension(FEATURE_NAMES, &names("first"), 0)[..],
                &extension(FEATURE_NAMES, &names("second"), 0),
                &extension(STRANGE, b"first", 1),
                &extension(STRANGE, b"second", 1),
                &end,
            ]
            .concat(),
        ),
    ]
}

/// The header of an image.
fn header(bench: &Bench) -> Header {
    let bytes = std::fs::read(&bench.image).expect("the image");
    Header::decode(&bytes, bytes.len() as u64, DecodePurpose::Use).expect("a header")
}

/// The extensions that nobody knows, in an order of their own: the other side turns them round.
fn strange(header: &Header) -> Vec<HeaderExtension> {
    let unknown = |one: &&HeaderExtension| matches!(one, HeaderExtension::Unknown { .. });
    let mut all: Vec<_> = header.extensions.iter().filter(unknown).cloned().collect();
    all.sort_by_key(|one| format!("{one:?}"));
    all
}

/// Where extensions begin in the image.
fn behind_the_header(bench: &Bench) -> usize {
    match header(bench).version {
        Version::V2 => 72,
        Version::V3 => header(bench).header_length as usize,
    }
}

/// Puts `area` behind the header and zeros after it, to the end of the first cluster.
fn put(bench: &Bench, area: &[u8]) {
    let from = behind_the_header(bench);
    let mut bytes = vec![0; bench.cluster as usize - from];
    bytes[..area.len()].copy_from_slice(area);
    let file = std::fs::File::options().write(true).open(&bench.image).expect("opened");
    file.write_all_at(&bytes, from as u64).expect("written");
}

/// The first cluster of the image behind the header.
fn area(bench: &Bench) -> Vec<u8> {
    let bytes = std::fs::read(&bench.image).expect("the image");
    bytes[behind_the_header(bench)..bench.cluster as usize].to_vec()
}

fn each(name: &str, mut f: impl FnMut(&mut Bench, &str)) {
    let Some(mut bench) = Bench::new(name) else { return };
    for (maker, version) in [
        (Maker::Qemu, Version::V2),
        (Maker::Qemu, Version::V3),
        (Maker::Ours, Version::V2),
        (Maker::Ours, Version::V3),
    ] {
        bench.start(maker, version, 12, 16);
        let room = bench.cluster as usize - behind_the_header(&bench);
        for (what, bytes) in areas(room) {
            bench.start(maker, version, 12, 16);
            put(&bench, &bytes);
            f(&mut bench, &format!("{maker:?}, {version:?}: {what}"));
        }
    }
}

/// Both sides open such images, write to them in turn, and leave alone what is behind the header.
#[test]
fn strange_extensions_stay_while_both_sides_write() {
    let mut seed = 0;
    each("extensions", |bench, what| {
        seed += 1;
        let before = area(bench);
        let mut script = Script::new(seed, bench.cluster, bench.size());
        for _ in 0..2 {
            bench.write_ours(&script.ops(6));
            assert_eq!(area(bench), before, "{what}: after ours");
            bench.write_qemu(&script.ops(6));
            assert_eq!(area(bench), before, "{what}: after theirs");
        }
        bench.judge(what);
    });
}

/// A header that is written anew has them all, by whichever side it was written.
#[test]
fn strange_extensions_come_through_a_new_header() {
    let mut seen = 0;
    each("new headers", |bench, what| {
        let old = header(bench);
        let kept = strange(&old);
        let bytes = std::fs::read(&bench.image).expect("the image");
        let image = bench.image.display().to_string();
        let other = if old.version == Version::V2 { "1.1" } else { "0.10" };
        let theirs = bench.oracle.img_ok(["amend", "-o", &format!("compat={other}"), &image]);
        let by_them = theirs.is_ok().then(|| strange(&header(bench)));
        std::fs::write(&bench.image, &bytes).expect("put back");
        let version = if old.version == Version::V2 { Version::V3 } else { Version::V2 };
        let mut open = OpenOptions::new().open(&bench.image).expect("opened");
        let ours = open.amend(&AmendOptions::new().version(version), &mut |_, _| {});
        open.close().expect("closed");
        assert_eq!(ours.is_ok(), by_them.is_some(), "{what}: {ours:?}, {theirs:?}");
        if ours.is_err() {
            assert_eq!(header(bench), old, "{what}: refused and changed");
            return;
        }
        seen += 1;
        assert_eq!(header(bench).version, version, "{what}");
        assert_eq!(strange(&header(bench)), kept, "{what}: ours");
        assert_eq!(by_them, Some(kept), "{what}: theirs");
        bench.judge(what);
    });
    let met = Bench::new("new headers").is_some();
    assert!(!met || seen > 12, "{seen}");
}

/// What goes past the end is refused by both, and neither writes.
#[test]
fn extensions_past_their_end_are_refused_by_both() {
    let Some(mut bench) = Bench::new("past the end") else { return };
    for version in [Version::V2, Version::V3] {
        bench.start(Maker::Qemu, version, 12, 16);
        let at = behind_the_header(&bench);
        let room = bench.cluster as usize - at;
        let lengths = [(room - 8, true), (room - 7, false), (1 << 31, false)];
        let kinds = [STRANGE, FEATURE_NAMES, END];
        for (kind, (length, right)) in kinds.iter().flat_map(|kind| lengths.map(|l| (*kind, l))) {
            bench.start(Maker::Qemu, version, 12, 16);
            let mut frame = extension(kind, &[], 0);
            frame[4..].copy_from_slice(&(length as u32).to_be_bytes());
            put(&bench, &frame);
            let before = std::fs::read(&bench.image).expect("the image");
            let image = bench.image.display().to_string();
            let theirs = bench.oracle.img_ok(["info", &image]);
            let ours = OpenOptions::new().open(&bench.image);
            let what = format!("{version:?}, type {kind:#x}: {length:#x}");
            assert_eq!((ours.is_ok(), theirs.is_ok()), (right, right), "{what}: {ours:?}");
            if let Err(error) = ours {
                let error = error.to_string();
                assert!(error.contains(&format!("offset {at} ")), "{error} does not name {at}");
                assert!(before == std::fs::read(&bench.image).expect("the image"), "written");
            }
        }
    }
}

/// Bits whose meaning is not known go, durably, before anything else of the image changes: whoever set
/// them may not learn of the change otherwise.
#[test]
fn unknown_autoclear_bits_go_before_anything_else_changes() {
    let file = Arc::new(MemStorage::new());
    let create = CreateOptions::new(1 << 20).cluster_size(4096);
    let image = create.create_on(Arc::<MemStorage>::clone(&file)).expect("created");
    image.close().expect("closed");
    file.write_at(HostOffset::new(AUTOCLEAR), &(1_u64 << 40).to_be_bytes()).expect("set");
    let recorded = Arc::new(RecordingStorage::new(file).expect("recorded"));
    let storage = Arc::clone(&recorded) as Arc<dyn Storage>;
    let image = OpenOptions::new().open_storage(storage).expect("opened");
    image.write_at(5000, &[7; 100]).expect("written");
    image.close().expect("closed");
    let log = recorded.log();
    let entries = log.entries();
    let is_change = |entry: &Entry| !matches!(entry, Entry::Flush | Entry::Mark(_));
    let first = entries.iter().position(is_change).expect("something was written");
    assert!(
        matches!(&entries[first], Entry::Write { at, data } if at.get() <= AUTOCLEAR
            && data.get((AUTOCLEAR - at.get()) as usize..).is_some_and(|d| d.starts_with(&[0; 8]))),
        "{log}"
    );
    assert_eq!(entries[first + 1], Entry::Flush, "{log}");
    assert!(entries[first + 2..].iter().any(is_change), "{log}");
}
