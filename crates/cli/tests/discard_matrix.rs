//! Zeroes and discards of every kind of cluster, by the real `qemu-io` and by the program under that
//! name: the same tables, the same counts, the same bytes and the same holes have to come out; where clusters are
//! given up and others needed at once, which we place elsewhere, the same states.
//!
//! Both get copies of one image with a cluster of each kind, in version 2 and 3, with and without a
//! backing file; the options say what the host hears of. Without a `qemu-io` of version 10.0 nothing
//! is compared, which is said.

mod common;

use std::error::Error;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use holstein_testkit::{Oracle, TempDir, Verdict};
use rustix::fs::SeekFrom;

type TestResult = Result<(), Box<dyn Error>>;

const CLUSTER: u64 = 64 << 10;

/// Seven clusters and a half.
const SIZE: u64 = 15 * CLUSTER / 2;

/// Clusters 1 and 5 have data, 2 is zeros, 3 is zeros with space, 4 is compressed, 6 has half of it
/// written; 0 and the half at the end are not allocated.
const PREPARE: [&str; 5] = [
    "write -P 1 64k 64k",
    "write -P 3 192k 64k",
    "write -c -P 4 256k 64k",
    "write -P 5 320k 64k",
    "write -P 6 384k 32k",
];

/// What version 3 has more than that.
const ZEROS: [&str; 2] = ["write -z 128k 64k", "write -z 192k 64k"];

const OPTIONS: [&str; 7] = [
    "discard=unmap",
    "discard=ignore",
    "discard=unmap,pass-discard-request=off",
    "discard=ignore,pass-discard-request=on",
    "discard=unmap,pass-discard-other=on",
    "discard=unmap,discard-no-unref=on",
    "discard=unmap,discard-no-unref=on,pass-discard-request=off",
];

const COMMANDS: [&str; 9] = [
    "discard 0 480k",
    "discard 100k 200k",
    "discard 448k 32k",
    "write -z 0 480k",
    "write -zu 0 480k",
    "write -z 100k 200k",
    "write -zu 100k 300k",
    "write -z 390k 10k",
    "write -zu 448k 32k",
];

fn run(program: &Path, dir: &Path, arguments: &[&str]) -> TestResult {
    let output = Command::new(program).arg0("qemu-io").args(arguments).current_dir(dir).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() && !text.contains("failed") {
        return Ok(());
    }
    Err(format!("{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr)).into())
}

/// An image with a cluster of each kind.
fn make(oracle: &Oracle, dir: &Path, compat: &str, backing: bool) -> std::io::Result<()> {
    let image = dir.join("q.qcow2");
    let path = image.display().to_string();
    let list = format!("compat={compat},cluster_size={CLUSTER}");
    let size = SIZE.to_string();
    let mut arguments = vec!["create", "-q", "-f", "qcow2", "-o", &list];
    if backing {
        fs::write(dir.join("b.raw"), vec![9; 480 << 10])?;
        arguments.extend(["-b", "b.raw", "-F", "raw"]);
    }
    arguments.extend([path.as_str(), size.as_str()]);
    oracle.img_ok(arguments)?;
    let mut commands: Vec<String> = PREPARE.map(str::to_owned).to_vec();
    if compat == "1.1" {
        commands.extend(ZEROS.map(str::to_owned));
    }
    oracle.io((&image, "qcow2"), &commands).map(drop)
}

/// Which parts of a file are data, as starts and ends.
fn data(path: &Path) -> Result<Vec<(u64, u64)>, Box<dyn Error>> {
    let file = File::open(path)?;
    let mut parts = Vec::new();
    let mut at = 0;
    while let Ok(start) = rustix::fs::seek(&file, SeekFrom::Data(at)) {
        let end = rustix::fs::seek(&file, SeekFrom::Hole(start))?;
        parts.push((start, end));
        at = end;
    }
    Ok(parts)
}

/// The first cluster of the file in which two images differ, if there is one.
fn difference(theirs: &[u8], ours: &[u8]) -> Option<String> {
    let cluster = usize::try_from(CLUSTER).unwrap_or(1);
    if theirs.len() != ours.len() {
        return Some(format!("{} bytes, not {}", ours.len(), theirs.len()));
    }
    let mut pairs = theirs.chunks(cluster).zip(ours.chunks(cluster)).enumerate();
    let (n, (theirs, ours)) = pairs.find(|(_, (theirs, ours))| theirs != ours)?;
    let word = theirs.chunks(8).zip(ours.chunks(8)).position(|(a, b)| a != b)?;
    let show = |bytes: &[u8]| format!("{:02x?}", bytes.get(word * 8..word * 8 + 8));
    Some(format!("cluster {n}, word {word}: {}, not {}", show(ours), show(theirs)))
}

/// How the oracle maps an image, without the places.
fn states(oracle: &Oracle, image: &Path) -> std::io::Result<String> {
    let path = image.display().to_string();
    let map = oracle.img_ok(["map", "--output=json", "-f", "qcow2", &path])?;
    let without = |line: &str| line.split(", \"offset\"").next().unwrap_or_default().to_owned();
    Ok(map.lines().map(without).collect::<Vec<_>>().join("\n"))
}

/// Runs one command under all options on copies of the image in `start`.
fn compare(oracle: &Oracle, start: &Path, dir: &TempDir, what: &str) -> TestResult {
    let copies: [(PathBuf, &Path); 2] = [
        (dir.file("theirs"), oracle.qemu_io()),
        (dir.file("ours"), Path::new(env!("CARGO_BIN_EXE_holstein"))),
    ];
    let mut differences = Vec::new();
    for options in OPTIONS {
        // In version 2 no place is kept, and the two kinds of options tell what is to be told.
        if what.starts_with("0.10") && options.contains(',') {
            continue;
        }
        for command in COMMANDS {
            for (copy, program) in &copies {
                fs::create_dir_all(copy)?;
                for file in fs::read_dir(start)? {
                    let file = file?;
                    fs::copy(file.path(), copy.join(file.file_name()))?;
                }
                let open = format!("open -o {options} q.qcow2");
                run(program, copy, &["-c", &open, "-c", command])?;
            }
            let [theirs, ours] = copies.each_ref().map(|(copy, _)| copy.join("q.qcow2"));
            // The other side gives a cluster out again that it has freed just now; places differ.
            if what.starts_with("0.10") && command.starts_with("write") {
                let same = oracle.same((&theirs, "qcow2"), (&ours, "qcow2"))?
                    && states(oracle, &theirs)? == states(oracle, &ours)?
                    && oracle.check(&ours)?.0 == Verdict::Clean;
                if !same {
                    differences.push(format!("{what}, {options}: {command}"));
                }
                continue;
            }
            let differs = match difference(&fs::read(&theirs)?, &fs::read(&ours)?) {
                Some(text) => Some(text),
                None => {
                    let (theirs, ours) = (data(&theirs)?, data(&ours)?);
                    (theirs != ours).then(|| format!("data at {ours:x?}, not {theirs:x?}"))
                }
            };
            differences.extend(differs.map(|text| format!("{what}, {options}: {command}: {text}")));
        }
    }
    if differences.is_empty() { Ok(()) } else { Err(differences.join("\n").into()) }
}

#[test]
fn zeroes_and_discards_leave_what_the_other_side_leaves() -> TestResult {
    let Some(oracle) = common::oracle("discard matrix") else { return Ok(()) };
    let mut failures = Vec::new();
    for compat in ["0.10", "1.1"] {
        for backing in [false, true] {
            let dir = TempDir::new("discard-matrix")?;
            let start = dir.file("start");
            fs::create_dir_all(&start)?;
            make(&oracle, &start, compat, backing)?;
            let what = format!("{compat}, backing {backing}");
            failures.extend(compare(&oracle, &start, &dir, &what).err().map(|e| e.to_string()));
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n").into()) }
}
