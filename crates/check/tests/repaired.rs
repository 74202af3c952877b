//! Defects of every kind: found, put right, and nothing that could be read is lost.

mod common;
mod defects;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use common::{Builder, Folder, Image, Verdict, have_qemu, qemu_check, qemu_check_options};
use defects::base::{self, Shape};
use defects::reader::{contents, lost};
use defects::{Defect, Places};
use holstein_check::{RepairKind, RepairNote, RepairOptions, RepairOutcome, check, repair};
use holstein_format::Version;
use holstein_storage::{MemStorage, Storage};
use holstein_units::HostOffset;

/// Everything that is planted into images of all shapes.
fn everywhere() -> Vec<Defect> {
    let groups = [
        defects::counts(),
        defects::flags(),
        defects::l1_entries(),
        defects::l2_entries(),
        defects::refcount_tables(),
        defects::snapshots(),
        defects::files(),
    ];
    groups.concat()
}

fn storage_of(image: &Image) -> Arc<dyn Storage> {
    Arc::new(MemStorage::from_bytes(&image.bytes))
}

/// The bytes of a file that may have grown far: what is past 64 MiB is zeros and left out.
fn image_of(storage: &Arc<dyn Storage>) -> Image {
    let len = storage.len().expect("memory").min(64 << 20);
    let mut bytes = vec![0; usize::try_from(len).expect("small")];
    storage.read_at(HostOffset::new(0), &mut bytes).expect("memory");
    Image { bytes }
}

fn repaired(name: &str, image: &Image, kind: RepairKind) -> (RepairOutcome, Image) {
    let storage = storage_of(image);
    let outcome = repair(&storage, &RepairOptions::new(kind), &mut |_| {})
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    (outcome, image_of(&storage))
}

/// What `qemu-img check` says; `None` without it.
fn oracle(image: &Image, len: u64, folder: &Path) -> Verdict {
    let path = folder.join("image.qcow2");
    std::fs::write(&path, &image.bytes).expect("written");
    let file = std::fs::File::options().write(true).open(&path).expect("opened");
    file.set_len(len).expect("sparse");
    if image.header().data_file().is_none() {
        return qemu_check(&path);
    }
    let data = folder.join("data.raw");
    std::fs::write(&data, []).expect("written");
    qemu_check_options(&format!(
        "driver=qcow2,file.driver=file,file.filename={},data-file.driver=file,data-file.filename={}",
        path.display(),
        data.display()
    ))
}

/// Plants, repairs, and judges: what is not as it should be.
fn judge(clean: &Image, defect: &Defect, places: &Places, qemu: bool) -> Result<(), String> {
    let all = RepairOptions::new(RepairKind::All);
    let mut spoilt = clean.clone();
    (defect.spoil)(&mut spoilt, places);
    let folder = Folder::new();
    if qemu {
        let verdict = oracle(&spoilt, spoilt.bytes.len() as u64, &folder.0);
        let unseen = verdict.exit == 0 || verdict.lines.is_empty();
        if unseen != defect.judged.unseen {
            return Err(format!("seen by QEMU: {} {:?}", !unseen, verdict.lines.first()));
        }
    }
    let storage = storage_of(&spoilt);
    let outcome = repair(&storage, &all, &mut |_| {}).map_err(|error| error.to_string())?;
    let notes = outcome.plan.notes.iter().take(5);
    let notes: Vec<String> = notes.map(ToString::to_string).collect();
    if outcome.plan.is_empty() != defect.judged.harmless {
        return Err("not found".to_string());
    }
    if !outcome.report().is_clean() {
        return Err(format!("left: {:?} of {notes:?}", outcome.report().findings.first()));
    }
    let mut before = contents(&spoilt);
    let mut after = contents(&image_of(&storage));
    if defect.judged.loses_snapshots {
        before.retain(|name, _| name == "disk");
        after.retain(|name, _| name == "disk");
    }
    let mut lost = lost(&before, &after);
    let second_table = places.size / 8;
    lost.retain(|(name, guest)| {
        let garbage = (name == "disk" && *guest >= second_table) || name == "s2";
        // The data of a data file is not here.
        !(defect.judged.garbage && garbage) && spoilt.header().data_file().is_none()
    });
    if let Some(lost) = lost.first() {
        return Err(format!("lost {lost:?}: {notes:?}"));
    }
    let again = repair(&storage, &all, &mut |_| {}).map_err(|error| error.to_string())?;
    if !again.plan.is_empty() {
        return Err(format!("a second repair writes: {:?}", again.plan.notes.first()));
    }
    if qemu {
        let len = storage.len().map_err(|error| error.to_string())?;
        let verdict = oracle(&image_of(&storage), len, &folder.0);
        if verdict.exit != 0 {
            return Err(format!("not clean for QEMU: {:?} of {notes:?}", verdict.lines.first()));
        }
    }
    Ok(())
}

#[test]
fn planted_defects_are_found_and_put_right() {
    let qemu = have_qemu();
    let mut names = BTreeSet::new();
    let mut failures = Vec::new();
    let mut note = |name: &str, result: Result<(), String>| {
        if let Err(error) = result {
            failures.push(format!("{name}: {error}"));
        }
    };
    for (number, shape) in (0..).zip(Shape::SHAPES) {
        let clean = base::image(shape);
        let places = Places::of(shape, &clean);
        assert!(clean.check().expect("checked").is_clean(), "{shape:?}");
        for (round, defect) in (0..).zip(everywhere()) {
            // Large images take their time: a sample.
            if !(defect.fits)(shape) || (shape.bits > 16 && round % 13 != 0) {
                continue;
            }
            names.insert(defect.name);
            let asks = qemu && (number == 0 || round % 6 == number);
            let result = judge(&clean, &defect, &places, asks);
            note(&format!("{}, {shape:?}", defect.name), result);
        }
    }
    for (clean, defects) in
        [(base::extended(), defects::extended()), (base::data_file(), defects::data_file())]
    {
        for defect in defects {
            names.insert(defect.name);
            let places = Places::of(Shape::SHAPES[0], &clean);
            note(defect.name, judge(&clean, &defect, &places, qemu));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(names.len() >= 60, "{} kinds", names.len());
}

/// A repair of leaks lowers counts and touches nothing else.
#[test]
fn a_repair_of_leaks_only_lowers_counts() {
    for shape in Shape::SHAPES.into_iter().filter(|shape| shape.bits <= 16) {
        let clean = base::image(shape);
        let places = Places::of(shape, &clean);
        for defect in everywhere().iter().filter(|defect| (defect.fits)(shape)) {
            let mut spoilt = clean.clone();
            (defect.spoil)(&mut spoilt, &places);
            let storage = storage_of(&spoilt);
            let name = defect.name;
            let mut outcome = None;
            if let Ok(done) = repair(&storage, &RepairOptions::new(RepairKind::Leaks), &mut |_| {})
            {
                outcome = Some(done);
            }
            let after = image_of(&storage);
            let Some(outcome) = outcome else {
                assert_eq!(after.bytes, spoilt.bytes, "{name}: failed and wrote");
                continue;
            };
            assert_eq!(outcome.report().leaks, 0, "{name}");
            let lost = lost(&contents(&spoilt), &contents(&after));
            assert_eq!(lost.first(), None, "{name}");
        }
    }
}

/// What cannot be repaired is said, and the rest is repaired.
#[test]
fn more_references_than_a_count_can_say_remain_an_error() {
    let shape = Shape::SHAPES[2];
    let mut image = base::image(shape);
    let places = Places::of(shape, &image);
    image.put(places.l2_own + 8, image.get(places.l2_own));
    let (outcome, after) = repaired("overflow", &image, RepairKind::All);
    assert_eq!(outcome.plan.report.corruptions, 1);
    assert_eq!(outcome.plan.corruptions_fixed, 0);
    assert_eq!(after.bytes, image.bytes, "nothing was written");
}

/// An extended entry that is not aligned says which subclusters had data, and stays as it is.
#[test]
fn an_extended_entry_with_data_and_no_alignment_stays() {
    let mut image = base::extended();
    let l2 = image.l2();
    image.put(l2, image.get(l2) | 512);
    let words = [image.get(l2), image.get(l2 + 8)];
    let (outcome, after) = repaired("extended", &image, RepairKind::All);
    assert_eq!([after.get(l2), after.get(l2 + 8)], words);
    let offset = words[0] & !(1 << 63);
    let text = format!(
        "ERROR offset={offset:x}: Data cluster is not properly aligned; L2 entry corrupted."
    );
    let notes: Vec<String> = outcome.report().findings.iter().map(ToString::to_string).collect();
    assert_eq!(notes, [text]);
    image.put(l2 + 8, 1 << 32);
    let (outcome, after) = repaired("extended without data", &image, RepairKind::All);
    assert!(outcome.report().is_clean());
    assert_eq!([after.get(l2), after.get(l2 + 8)], [0, 1 << 32]);
}

/// The dirty and the corrupt bit go when all is well, and stay where something is left.
#[test]
fn a_repair_takes_the_marks_away() {
    let shape = Shape::SHAPES[2];
    let marked = |image: &Image| image.get(72) & 3;
    let mut image = base::image(shape);
    image.put(72, image.get(72) | 3);
    let (_, after) = repaired("marks", &image, RepairKind::All);
    assert_eq!(marked(&after), 0);
    let places = Places::of(shape, &image);
    image.put(places.l2_own + 8, image.get(places.l2_own));
    let (_, after) = repaired("marks and a count that overflows", &image, RepairKind::All);
    assert_eq!(marked(&after), 3);
}

/// The plan says what is written, and a plan that was made writes nothing by itself.
#[test]
fn plans_are_shown_before_they_are_done() {
    let shape = Shape::SHAPES[0];
    let mut image = base::image(shape);
    let places = Places::of(shape, &image);
    image.put(places.l2_own, image.get(places.l2_own) | 2);
    image.set_refcount(places.data_own / places.size, 3);
    let storage = storage_of(&image);
    let plan =
        holstein_check::plan_repair(&*storage, &RepairOptions::new(RepairKind::All), &mut |_| {})
            .expect("planned");
    let steps: Vec<String> = plan.steps().iter().map(ToString::to_string).collect();
    let (entry, cluster) = (places.l2_own, places.data_own / places.size);
    let raw = image.get(entry);
    assert_eq!(
        steps,
        [
            format!("replace entries:\n    {entry:#x}: {raw:016x} -> {:016x}", raw & !2),
            format!("lower refcounts:\n    cluster {cluster}: 3 -> 1"),
        ]
    );
    assert_eq!(image_of(&storage).bytes, image.bytes);
    plan.execute(&storage).expect("executed");
    let report = check(&*storage, &holstein_check::CheckOptions::default(), &mut |_| {});
    assert!(report.expect("checked").is_clean());
    // The file is not what it was.
    assert!(matches!(plan.execute(&storage), Err(holstein_check::RepairError::Changed { .. })));
}

/// Extra data that is cut off does not count against the limit of the table, so no snapshot goes for it.
#[test]
fn a_table_that_fits_once_extra_data_is_cut_loses_no_snapshot() {
    const LIMIT: u64 = 64 << 20;
    let fixed = |extra: u32| {
        let mut record = vec![0; 40];
        record[12..16].copy_from_slice(&[0xff; 4]);
        record[36..].copy_from_slice(&extra.to_be_bytes());
        record
    };
    let length = |extra: u64| (40 + extra + 2 * 65535).next_multiple_of(8);
    let fit = LIMIT / length(1024);
    // As they are, one more than fits is behind the limit; two behind the limit if both count.
    let large = 1024 + LIMIT + 8 - fit * length(1024);
    let mut b = Builder::new(16, Version::V3, false, 4, 64 << 20);
    let list = b.allocate((LIMIT + 4 * length(1024)).div_ceil(65536));
    let mut at = list;
    for index in 0..=fit {
        let extra = if index == fit - 2 { large } else { 1024 };
        let start = usize::try_from(at).expect("small");
        let record = fixed(u32::try_from(extra).expect("small"));
        b.bytes[start..start + 40].copy_from_slice(&record);
        at += length(extra);
        if index == fit - 1 {
            assert_eq!(at - list, LIMIT + 8);
        }
    }
    b.header.snapshots_offset = HostOffset::new(list);
    b.header.nb_snapshots = u32::try_from(fit + 1).expect("few");
    let image = b.finish();
    let storage = storage_of(&image);
    let options = RepairOptions::new(RepairKind::All);
    let outcome = repair(&storage, &options, &mut |_| {}).expect("repaired");
    let discarded = |note: &&RepairNote| matches!(note, RepairNote::SnapshotsDiscarded { .. });
    let notes: Vec<String> =
        outcome.plan.notes.iter().filter(discarded).map(ToString::to_string).collect();
    assert_eq!(notes, ["Discarding 1 overhanging snapshots (snapshot table is too big)"]);
    assert!(outcome.report().is_clean());
    let report = check(&*storage, &holstein_check::CheckOptions::default(), &mut |_| {});
    assert!(report.expect("checked").is_clean());
    let mut count = [0; 4];
    storage.read_at(HostOffset::new(60), &mut count).expect("memory");
    assert_eq!(u64::from(u32::from_be_bytes(count)), fit);
}
