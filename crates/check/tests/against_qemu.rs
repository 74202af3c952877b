//! The same images under our check and under the real one: made by QEMU, and spoilt at random.

mod common;

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use common::{Builder, Folder, Image, compare, have_qemu, lines, qemu_check};
use holstein_check::{Corruption, Finding, Report};
use holstein_format::{COPIED, Version};

fn run(folder: &Path, program: &str, arguments: &str) {
    let output = Command::new(program)
        .current_dir(folder)
        .args(arguments.split_whitespace())
        .output()
        .expect("the tools run");
    assert!(output.status.success(), "{program} {arguments}: {output:?}");
}

fn io(folder: &Path, image: &str, commands: &[&str]) {
    let mut command = Command::new("qemu-io");
    command.current_dir(folder);
    for line in commands {
        command.args(["-c", line]);
    }
    let output = command.arg(image).output().expect("the tools run");
    assert!(output.status.success(), "{commands:?}: {output:?}");
}

/// Images by QEMU: options, and commands of qemu-io and qemu-img.
fn made_by_qemu() -> &'static [(String, Image)] {
    static IMAGES: OnceLock<Vec<(String, Image)>> = OnceLock::new();
    IMAGES.get_or_init(|| {
        let folder = Folder::new();
        make_by_qemu(&folder.0)
    })
}

fn make_by_qemu(folder: &Path) -> Vec<(String, Image)> {
    let mut images = Vec::new();
    for (options, snapshots) in [
        ("compat=0.10", true),
        ("cluster_size=512", true),
        ("cluster_size=2M,refcount_bits=1", false),
        ("cluster_size=4k,refcount_bits=4", true),
        ("refcount_bits=2", false),
        ("cluster_size=512,refcount_bits=64", true),
        ("extended_l2=on", true),
        ("refcount_bits=8,lazy_refcounts=on", true),
        ("preallocation=metadata", false),
    ] {
        let name = "base.qcow2";
        run(folder, "qemu-img", &format!("create -q -f qcow2 -o {options} {name} 16M"));
        let writes =
            ["write -P 1 0 300k", "write -z 512k 64k", "write -P 2 3M 5k", "write -P 3 9M 1M"];
        io(folder, name, &writes);
        if snapshots {
            run(folder, "qemu-img", &format!("snapshot -c one {name}"));
            io(folder, name, &["write -P 4 100k 1M", "discard 9M 64k", "write -z 3M 2M"]);
            run(folder, "qemu-img", &format!("snapshot -c two {name}"));
            run(folder, "qemu-img", &format!("snapshot -c three {name}"));
            run(folder, "qemu-img", &format!("snapshot -d two {name}"));
        }
        if !options.contains("preallocation") {
            io(folder, name, &["write -c -P 5 12M 2M"]);
        }
        let bytes = std::fs::read(folder.join(name)).expect("read");
        images.push((options.to_string(), Image { bytes }));
    }
    images
}

#[test]
fn images_by_qemu_are_judged_as_qemu_judges_them() {
    if !have_qemu() {
        return;
    }
    let folder = Folder::new();
    for (name, image) in made_by_qemu() {
        let path = folder.0.join("base.qcow2");
        std::fs::write(&path, &image.bytes).expect("written");
        let report = image.check().expect("checked");
        compare(name, &report, &qemu_check(&path));
        assert!(report.is_clean(), "{name}: {:?}", lines(&report));
    }
}

/// What our check finds and QEMU's does not, or what makes the two walk different ways.
fn is_ours_alone(report: &Report) -> bool {
    report.findings.iter().any(|finding| {
        // QEMU walks the header as a table.
        let walks_header = |entry: u64| entry & 0x00ff_ffff_ffff_fe00 == 0;
        if let Finding::Corruption(Corruption::L1Reserved { entry }) = finding {
            return walks_header(*entry);
        }
        matches!(
            finding,
            Finding::Corruption(
                Corruption::L2AtHeader { .. }
                    | Corruption::DataAtHeader { .. }
                    | Corruption::ZeroFlagInVersion2 { .. }
                    | Corruption::TableAtHeader { .. }
                    | Corruption::Overflow { .. }
            )
        )
    })
}

/// Spoils entries of the tables that are there, with values that are near to honest ones.
fn spoil(image: &mut Image, state: &mut u64) {
    let mut next = |limit: u64| {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state % limit
    };
    let header = image.header();
    let size = header.geometry.cluster_size();
    let clusters = image.bytes.len() as u64 / size;
    let mut places = vec![header.l1_table_offset.get(), header.refcount_table_offset.get()];
    for entry in 0..u64::from(header.l1_size) {
        let l2 = image.get(header.l1_table_offset.get() + entry * 8) & 0x00ff_ffff_ffff_fe00;
        if l2 != 0 && l2 < clusters * size {
            places.push(l2);
        }
    }
    let block = image.get(header.refcount_table_offset.get());
    if block < clusters * size {
        places.push(block);
    }
    for _ in 0..=next(3) {
        let table = places[usize::try_from(next(places.len() as u64)).expect("few")];
        let reach = if table == header.l1_table_offset.get() { header.l1_size.into() } else { 32 };
        let at = table / size * size + next(reach) * 8;
        if at + 8 > image.bytes.len() as u64 {
            continue;
        }
        let old = image.get(at);
        let new = match next(6) {
            0 => old ^ COPIED,
            1 => old ^ 1 << next(64),
            2 => ((next(clusters + 3) + 1) * size) | COPIED,
            3 => (next(clusters + 3) + 1) * size,
            4 => old.wrapping_add(512),
            _ => 0,
        };
        image.put(at, new);
    }
    if next(8) == 0 {
        let keep = image.bytes.len() as u64 - next(4 * size);
        image.bytes.truncate(usize::try_from(keep).expect("small"));
    }
}

#[test]
fn spoilt_images_are_judged_as_qemu_judges_them() {
    if !have_qemu() {
        return;
    }
    let folder = Folder::new();
    let mut bases = made_by_qemu().to_vec();
    let mut b = Builder::new(9, Version::V3, false, 4, 1 << 20);
    (0..200).step_by(3).for_each(|guest| {
        b.data(guest);
    });
    bases.push(("by hand".to_string(), b.finish()));
    let path = folder.0.join("spoilt.qcow2");
    let (mut compared, mut found) = (0, 0);
    for round in 0..200_u64 {
        let (name, base) = &bases[usize::try_from(round).expect("small") % bases.len()];
        let mut image = base.clone();
        let mut state = 0x9e37_79b9_7f4a_7c15 ^ round.wrapping_mul(0x2545_f491_4f6c_dd1d);
        spoil(&mut image, &mut state);
        let Ok(report) = image.check() else { continue };
        if is_ours_alone(&report) {
            continue;
        }
        std::fs::write(&path, &image.bytes).expect("written");
        compare(&format!("{name}, round {round}"), &report, &qemu_check(&path));
        compared += 1;
        found += u64::from(!report.is_clean());
    }
    assert!(compared > 150 && found > 100, "{compared} compared, {found} with findings");
}
