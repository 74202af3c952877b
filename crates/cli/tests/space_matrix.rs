//! How much space images take, by the real `qemu-img` and by the program under that name: what `measure`
//! foretells for every kind of image and source, and what preallocation leaves in new, grown and
//! converted images.
//!
//! Without a `qemu-img` of version 10.0 nothing is compared, which is said.

mod common;

use std::error::Error;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use holstein_testkit::{Oracle, TempDir, skipped};

type TestResult = Result<(), Box<dyn Error>>;

const SECRET: [&str; 2] = ["--object", "secret,id=s,data=abc"];

/// One of the two programs, in a directory of its own.
struct Side {
    program: PathBuf,
    dir: TempDir,
}

impl Side {
    /// Runs the command after `qemu-img`, with the secret; words are apart by blanks.
    fn words(&self, line: &str) -> std::io::Result<Output> {
        self.with(&self.program, line)
    }

    /// The same with another program.
    fn with(&self, program: &Path, line: &str) -> std::io::Result<Output> {
        let mut words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
        words.splice(1..1, SECRET);
        Command::new(program).arg0("qemu-img").args(words).current_dir(self.dir.path()).output()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.file(name)
    }
}

/// Both sides: theirs, ours.
fn sides(oracle: &Oracle, name: &str) -> std::io::Result<[Side; 2]> {
    Ok([
        Side {
            program: oracle.qemu_img().to_owned(),
            dir: TempDir::new(&format!("{name}-theirs"))?,
        },
        Side {
            program: PathBuf::from(env!("CARGO_BIN_EXE_holstein")),
            dir: TempDir::new(&format!("{name}-ours"))?,
        },
    ])
}

/// What a program printed and how it ended.
fn told(output: &Output) -> (String, String, Option<i32>) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

/// Images of each kind of source, made by the real programs in the directory of a side.
fn make_sources(oracle: &Oracle, side: &Side) -> TestResult {
    let real = oracle.qemu_img();
    let io = |name: &str, format: &str, commands: &[&str]| {
        let commands: Vec<String> = commands.iter().map(|&command| command.to_owned()).collect();
        oracle.io((&side.file(name), format), &commands)
    };
    let run = |line: &str| -> TestResult {
        let made = side.with(real, line)?;
        assert!(made.status.success(), "{line}: {made:?}");
        Ok(())
    };
    fs::File::create(side.file("a.raw"))?.set_len(10 << 20)?;
    io("a.raw", "raw", &["write 64k 192k", "write 1000k 5k", "write 9M 1M"])?;
    fs::File::create(side.file("odd.raw"))?.set_len(10_485_000)?;
    run("create -q -f qcow2 a.qcow2 10M")?;
    let commands = ["write 64k 192k", "write -z 1M 1M", "write -P 0 3M 64k", "write 9M 9k"];
    io("a.qcow2", "qcow2", &commands)?;
    run("snapshot -c one a.qcow2")?;
    for bitmap in ["a.qcow2 b0", "-g 512 a.qcow2 other", "-g 1M --disable a.qcow2 x"] {
        run(&format!("bitmap --add {bitmap}"))?;
    }
    io("a.qcow2", "qcow2", &["write 4M 2M", "discard 64k 64k"])?;
    run("create -q -f qcow2 -o compat=0.10 v2.qcow2 10M")?;
    io("v2.qcow2", "qcow2", &["write 64k 192k"])?;
    run("create -q -f qcow2 -o extended_l2=on,cluster_size=128k e.qcow2 10M")?;
    io("e.qcow2", "qcow2", &["write 64k 5k", "write 1M 128k", "write -z 2M 4k"])?;
    run("create -q -f qcow2 -o cluster_size=4k,compression_type=zstd z.qcow2 3M")?;
    io("z.qcow2", "qcow2", &["write -c 64k 4k", "write -c 68k 4k", "write -c 1M 4k"])?;
    run("create -q -f qcow2 -b a.qcow2 -F qcow2 top.qcow2 16M")?;
    io("top.qcow2", "qcow2", &["write 12M 70k", "write -z 64k 64k"])?;
    run("create -q -f qcow2 -o data_file=dr.raw,data_file_raw=on dr.qcow2 10M")?;
    run("create -q -f qcow2 -o encrypt.format=aes,encrypt.key-secret=s aes.qcow2 5M")
}

#[test]
fn measures_are_those_of_the_other_side() -> TestResult {
    let Some(oracle) = common::oracle("measures") else { return Ok(()) };
    let sides = sides(&oracle, "measure")?;
    for side in &sides {
        make_sources(&oracle, side)?;
    }
    let sources = [
        "--size 0",
        "--size 1",
        "--size 65537",
        "--size 1G",
        "--size 3T",
        "-f raw a.raw",
        "-f raw odd.raw",
        "a.qcow2",
        "-l one a.qcow2",
        "v2.qcow2",
        "e.qcow2",
        "z.qcow2",
        "top.qcow2",
        "dr.qcow2",
        "--image-opts driver=qcow2,encrypt.key-secret=s,file.filename=aes.qcow2",
        "aes.qcow2",
    ];
    let luks = "encrypt.format=luks,encrypt.key-secret=s";
    let options = [
        "",
        "compat=0.10",
        "compression_type=zstd,lazy_refcounts=on,nocow=on,extent_size_hint=1M",
        "cluster_size=512",
        "cluster_size=512,refcount_bits=1",
        "cluster_size=2M,refcount_bits=1",
        "cluster_size=2M,refcount_bits=64,extended_l2=on",
        "cluster_size=16k,extended_l2=on",
        "refcount_bits=1",
        "preallocation=metadata",
        "preallocation=falloc,extended_l2=on",
        "preallocation=full,cluster_size=512",
        "data_file=x.raw",
        "data_file=x.raw,data_file_raw=on,preallocation=metadata",
        "backing_file=a.qcow2,backing_fmt=qcow2",
        "backing_file=a.qcow2,backing_fmt=qcow2,extended_l2=on,preallocation=falloc",
        "encrypt.format=aes,encrypt.key-secret=s",
    ];
    let mut differences = Vec::new();
    let mut cells = 0;
    let mut compare = |line: &str| -> TestResult {
        let [theirs, ours] = [sides[0].words(line)?, sides[1].words(line)?].map(|o| told(&o));
        cells += 1;
        if theirs != ours {
            differences.push(format!("$ qemu-img {line}\nexpected {theirs:?}\nfound    {ours:?}"));
        }
        Ok(())
    };
    for (n, list) in options.iter().enumerate() {
        let list = if list.is_empty() { String::new() } else { format!("-o {list}") };
        for (m, source) in sources.iter().enumerate() {
            let output = if (n + m) % 2 == 0 { "json" } else { "human" };
            compare(&format!("measure -O qcow2 --output={output} {list} {source}"))?;
        }
    }
    for source in sources {
        compare(&format!("measure -O raw {source}"))?;
    }
    // Theirs derives a key to see how long a header is, which takes seconds.
    compare(&format!("measure -O qcow2 -o {luks},cluster_size=2M,preallocation=metadata a.qcow2"))?;
    compare("measure -O luks -o key-secret=s -f raw odd.raw")?;
    assert!(
        differences.is_empty(),
        "{} of {cells}:\n{}",
        differences.len(),
        differences.join("\n")
    );
    Ok(())
}

/// Features with which preallocation has something to do, and the size of a cluster.
const FEATURES: [(&str, u64); 12] = [
    ("compat=0.10", 65_536),
    ("compat=1.1", 65_536),
    ("extended_l2=on", 65_536),
    ("data_file=d.raw", 65_536),
    ("data_file=d.raw,data_file_raw=on", 65_536),
    ("encrypt.format=aes,encrypt.key-secret=s", 65_536),
    ("extended_l2=on,backing_file=b.raw,backing_fmt=raw", 65_536),
    ("cluster_size=512", 512),
    ("cluster_size=2M", 2 << 20),
    ("cluster_size=4k", 4096),
    ("refcount_bits=1", 65_536),
    ("refcount_bits=64", 65_536),
];

/// Those that matter when images grow or are copied.
const FEWER: usize = 9;

const MODES: [&str; 4] = ["off", "metadata", "falloc", "full"];

/// A run of the disk that is alike: begin, length, and what `map` says of it but for its place.
type Run = (u64, u64, Vec<String>);

/// The numbers and words of one line of `map --output=json`.
fn field(line: &str, key: &str) -> Option<String> {
    let (_, rest) = line.split_once(&format!("\"{key}\": "))?;
    Some(rest.split([',', '}']).next().unwrap_or_default().to_owned())
}

/// What is where in an image, and what it takes.
#[derive(Debug, PartialEq)]
struct Picture {
    map: Vec<Run>,
    /// What `check` counts: allocated clusters, and everything that is wrong.
    counts: Vec<(&'static str, Option<String>)>,
    len: u64,
    data_len: Option<u64>,
    /// Bytes on the host of both files.
    space: u64,
}

impl Picture {
    /// As the real program sees the image.
    fn of(oracle: &Oracle, dir: &Path, encrypted: bool) -> Result<Self, Box<dyn Error>> {
        let image = if encrypted {
            "--image-opts driver=qcow2,encrypt.key-secret=s,file.filename=x.qcow2"
        } else {
            "-f qcow2 x.qcow2"
        };
        let ask = |command: &str| -> Result<String, Box<dyn Error>> {
            let mut arguments = vec![command, "--output=json"];
            arguments.extend(SECRET);
            arguments.extend(image.split(' '));
            let output =
                Command::new(oracle.qemu_img()).args(arguments).current_dir(dir).output()?;
            assert!(output.status.success(), "{command} in {}: {output:?}", dir.display());
            Ok(String::from_utf8(output.stdout)?)
        };
        let mut map: Vec<Run> = Vec::new();
        for line in ask("map")?.lines() {
            let number = |key| field(line, key).and_then(|text| text.parse::<u64>().ok());
            let (Some(start), Some(len)) = (number("start"), number("length")) else { continue };
            let mut kind: Vec<String> = ["depth", "present", "zero", "data", "compressed"]
                .iter()
                .filter_map(|key| field(line, key))
                .collect();
            kind.push(field(line, "offset").is_some().to_string());
            match map.last_mut() {
                Some((_, before, same)) if *same == kind => *before += len,
                _ => map.push((start, len, kind)),
            }
        }
        let check = ask("check")?;
        let counts = ["allocated-clusters", "total-clusters", "leaks", "corruptions"]
            .map(|key| (key, field(&check, key).map(|text| text.trim().to_owned())));
        let file = fs::metadata(dir.join("x.qcow2"))?;
        let data = fs::metadata(dir.join("d.raw")).ok();
        Ok(Self {
            map,
            counts: counts.to_vec(),
            len: file.len(),
            data_len: data.as_ref().map(fs::Metadata::len),
            space: 512 * (file.blocks() + data.map_or(0, |data| data.blocks())),
        })
    }
}

/// Makes an image on both sides by command lines, and compares what comes out.
struct Matrix<'a> {
    oracle: &'a Oracle,
    sides: [Side; 2],
    cells: usize,
    differences: Vec<String>,
}

impl<'a> Matrix<'a> {
    fn new(oracle: &'a Oracle, name: &str) -> std::io::Result<Self> {
        let sides = sides(oracle, name)?;
        for side in &sides {
            fs::write(side.file("b.raw"), vec![7; 1 << 20])?;
            let source = fs::File::create(side.file("src.raw"))?;
            source.set_len(4 << 20)?;
            let commands = ["write 64k 100k", "write 3M 64k"].map(str::to_owned);
            oracle.io((&side.file("src.raw"), "raw"), &commands)?;
        }
        Ok(Self { oracle, sides, cells: 0, differences: Vec::new() })
    }

    /// An image as both sides begin with, made by the real programs.
    fn begin(&self, feature: &str, size: &str, encrypted: bool) -> TestResult {
        for side in &self.sides {
            let _ = fs::remove_file(side.file("d.raw"));
            let program = self.oracle.qemu_img().to_owned();
            let made = Command::new(program)
                .args(["create", "-q"])
                .args(SECRET)
                .args(["-f", "qcow2", "-o", feature, "x.qcow2", size])
                .current_dir(side.dir.path())
                .output()?;
            assert!(made.status.success(), "{made:?}");
            let image = if encrypted {
                "driver=qcow2,encrypt.key-secret=s,file.filename=x.qcow2"
            } else {
                "driver=qcow2,file.filename=x.qcow2"
            };
            let written = Command::new(self.oracle.qemu_io())
                .args(["-c", "write -q 0 100k", "-c", "write -q 1400k 100k"])
                .args(SECRET)
                .args(["--image-opts", image])
                .current_dir(side.dir.path())
                .output()?;
            assert!(written.status.success(), "{written:?}");
        }
        Ok(())
    }

    /// Runs the line on both sides and judges the images.
    fn cell(
        &mut self,
        line: &str,
        feature: (&str, u64),
        judge: impl Fn(&Picture, &Picture) -> Option<String>,
    ) -> TestResult {
        let [theirs, ours] = [self.sides[0].words(line)?, self.sides[1].words(line)?];
        self.cells += 1;
        let (theirs, ours) = (told(&theirs), told(&ours));
        let wrong = if theirs != ours {
            Some(format!("expected {theirs:?}\nfound    {ours:?}"))
        } else if theirs.2 == Some(0) {
            let encrypted = feature.0.starts_with("encrypt");
            let picture = |side: &Side| Picture::of(self.oracle, side.dir.path(), encrypted);
            let (theirs, ours) = (picture(&self.sides[0])?, picture(&self.sides[1])?);
            judge(&theirs, &ours).map(|what| format!("{what}\n{theirs:?}\n{ours:?}"))
        } else {
            None
        };
        if let Some(wrong) = wrong {
            self.differences.push(format!("$ qemu-img {line}\n{wrong}"));
        }
        Ok(())
    }

    fn end(self, cells: usize) {
        assert_eq!(self.cells, cells);
        let wrong = self.differences;
        assert!(wrong.is_empty(), "{} of {cells}:\n{}", wrong.len(), wrong.join("\n"));
    }
}

/// Same map, same counts, and files that are as long but for some clusters.
///
/// A data file of ours ends with the disk, and theirs with a cluster. The space on the host is the same but
/// for what encryption takes, and for space that they ask for and do not get.
fn alike(
    theirs: &Picture,
    ours: &Picture,
    cluster: u64,
    clusters: u64,
    space: u64,
) -> Option<String> {
    let whole = |len: u64| len.div_ceil(cluster);
    let near = |a: u64, b: u64, most: u64| a.abs_diff(b) <= most;
    if theirs.map != ours.map {
        Some("the maps differ".to_owned())
    } else if theirs.counts != ours.counts {
        Some("the counts differ".to_owned())
    } else if !near(whole(theirs.len), whole(ours.len), clusters) {
        Some(format!("the lengths differ by more than {clusters} clusters"))
    } else if theirs.data_len.map(whole) != ours.data_len.map(whole) {
        Some("the lengths of the data files differ".to_owned())
    } else if !near(theirs.space, ours.space, space) {
        Some(format!("the space differs by more than {space} bytes"))
    } else {
        None
    }
}

/// Bytes of space that may differ for a feature and a mode, where the lengths may by some clusters. Not
/// compared is where zeros are encrypted, and what theirs does not reserve in a data file.
fn tolerance((feature, cluster): (&str, u64), mode: &str, clusters: u64) -> u64 {
    let encrypted = feature.starts_with("encrypt") && mode == "metadata";
    let reserved = feature.starts_with("data_file") && matches!(mode, "falloc" | "full");
    if encrypted || reserved { u64::MAX } else { cluster.max(16 << 10) * (1 + clusters) }
}

#[test]
fn new_images_are_preallocated_as_by_the_other_side() -> TestResult {
    let Some(oracle) = common::oracle("preallocation") else { return Ok(()) };
    let mut matrix = Matrix::new(&oracle, "prealloc")?;
    for feature in FEATURES {
        for mode in MODES {
            for side in &matrix.sides {
                let _ = fs::remove_file(side.file("d.raw"));
            }
            let (list, cluster) = feature;
            let line = format!("create -q -f qcow2 -o {list},preallocation={mode} x.qcow2 3000k");
            let space = tolerance(feature, mode, 0);
            matrix.cell(&line, feature, |theirs, ours| alike(theirs, ours, cluster, 0, space))?;
        }
    }
    matrix.end(48);
    Ok(())
}

/// A host that keeps the written part of a cluster apart from the reserved rest may need space to say so.
#[test]
fn a_cluster_of_which_the_disk_has_a_part_is_one_piece_on_the_host() -> TestResult {
    let dir = TempDir::new("reserved")?;
    let side = Side { program: PathBuf::from(env!("CARGO_BIN_EXE_holstein")), dir };
    let run = |line: &str| -> TestResult {
        let done = side.words(line)?;
        assert!(done.status.success(), "{line}: {done:?}");
        Ok(())
    };
    run("create -q -f qcow2 x.qcow2 64k")?;
    // A whole cluster of 64 KiB, and half of another.
    run("resize -q --preallocation=falloc x.qcow2 160k")?;
    let image = side.file("x.qcow2");
    let found = Command::new("filefrag").arg("-v").arg(&image).output();
    let Some(pieces) = found.ok().filter(|found| found.status.success()) else {
        skipped("pieces on the host are not compared: there is no filefrag, or it cannot see them");
        return Ok(());
    };
    let pieces = String::from_utf8(pieces.stdout)?;
    let last = pieces.lines().rfind(|line| line.contains("eof")).unwrap_or_default();
    assert!(!last.is_empty() && !last.contains("unwritten"), "{pieces}");
    assert!(pieces.contains("unwritten"), "the whole cluster is reserved: {pieces}");
    Ok(())
}

#[test]
fn grown_images_are_preallocated_as_by_the_other_side() -> TestResult {
    let Some(oracle) = common::oracle("preallocation of growth") else { return Ok(()) };
    let mut matrix = Matrix::new(&oracle, "prealloc-grown")?;
    for &feature in &FEATURES[..FEWER] {
        let (list, cluster) = feature;
        let encrypted = list.starts_with("encrypt");
        for mode in MODES {
            matrix.begin(list, "1500k", encrypted)?;
            let image = if encrypted {
                "--image-opts driver=qcow2,encrypt.key-secret=s,file.filename=x.qcow2"
            } else {
                "x.qcow2"
            };
            // Their tables get a place of their own then, and their refcounts too.
            let clusters = if matches!(mode, "falloc" | "full") { 2 } else { 0 };
            let line = format!("resize -q --preallocation={mode} {image} 5000k");
            let space = tolerance(feature, mode, clusters);
            matrix.cell(&line, feature, |theirs, ours| {
                alike(theirs, ours, cluster, clusters, space)
            })?;
        }
    }
    matrix.end(36);
    Ok(())
}

#[test]
fn copies_are_preallocated_as_by_the_other_side() -> TestResult {
    let Some(oracle) = common::oracle("preallocation of copies") else { return Ok(()) };
    let mut matrix = Matrix::new(&oracle, "prealloc-copy")?;
    for &feature in &FEATURES[..FEWER] {
        for mode in MODES {
            for side in &matrix.sides {
                let _ = fs::remove_file(side.file("d.raw"));
            }
            let (list, cluster) = feature;
            let line = format!(
                "convert -q -f raw -O qcow2 -o {list},preallocation={mode} src.raw x.qcow2"
            );
            // Preallocated clusters that read as noise are given up again by theirs.
            let noise = list.starts_with("encrypt") && mode != "off";
            let space = tolerance(feature, mode, 0);
            matrix.cell(&line, feature, |theirs, ours| {
                if noise { None } else { alike(theirs, ours, cluster, 0, space) }
            })?;
        }
    }
    matrix.end(36);
    Ok(())
}

#[test]
fn measures_take_what_images_can_be_made_with() -> TestResult {
    let ours = Side {
        program: PathBuf::from(env!("CARGO_BIN_EXE_holstein")),
        dir: TempDir::new("measure-versions")?,
    };
    for (one, other) in [("v2", "0.10"), ("v3", "1.1")] {
        let [one, other] = [one, other]
            .map(|version| ours.words(&format!("measure -O qcow2 -o compat={version} --size 1G")));
        let (one, other) = (one?, other?);
        assert!(one.status.success(), "{one:?}");
        assert_eq!(told(&one), told(&other));
    }
    let list = "backing_file=x,backing_fmt=raw,preallocation=metadata";
    let cannot_be = ours.words(&format!("measure -O qcow2 -o {list} --size 1G"))?;
    assert_eq!(cannot_be.status.code(), Some(1), "{cannot_be:?}");
    Ok(())
}
