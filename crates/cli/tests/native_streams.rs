//! `convert` to standard output and from standard input.

mod common;

use std::error::Error;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use holstein_testkit::TempDir;

const OURS: &str = env!("CARGO_BIN_EXE_holstein");
const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

type TestResult = Result<(), Box<dyn Error>>;

/// An empty directory that goes away at the end.
struct Scratch(TempDir);

impl Scratch {
    fn new(name: &str) -> std::io::Result<Self> {
        Ok(Self(TempDir::new(&format!("native-{name}"))?))
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.file(name)
    }

    /// Runs the program with bytes in a pipe as its input.
    fn piped(&self, line: &str, input: &[u8]) -> Result<Output, Box<dyn Error>> {
        let mut child = Command::new(OURS)
            .args(line.split_whitespace())
            .current_dir(self.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut pipe = child.stdin.take().ok_or("no pipe")?;
        let input = input.to_owned();
        let writer = std::thread::spawn(move || {
            // Who refuses the input does not read it.
            let _ = pipe.write_all(&input);
        });
        let output = child.wait_with_output()?;
        writer.join().map_err(|_| "the writer")?;
        Ok(output)
    }

    fn run(&self, line: &str) -> std::io::Result<Output> {
        let arguments = line.split_whitespace();
        Command::new(OURS).args(arguments).current_dir(self.0.path()).stdin(Stdio::null()).output()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A disk with data, zeros and holes at places that fit no cluster.
fn disk(scratch: &Scratch, name: &str, len: usize) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut bytes = vec![0; len];
    let file = File::create(scratch.join(name))?;
    file.set_len(len as u64)?;
    let ranges = [
        (0, 512),
        (70 * KIB, 3 * KIB),
        (MIB - 512, 1024),
        (3 * MIB, MIB + 512),
        (6 * MIB, 64 * KIB),
        // The last sector is data too.
        (len - 512, 512),
    ];
    for (seed, (at, size)) in ranges.into_iter().enumerate() {
        let range = at.min(len)..(at + size).min(len);
        for (index, byte) in bytes[range.clone()].iter_mut().enumerate() {
            *byte = (index * 7 + index / 512 * 13 + seed + 1) as u8;
        }
        file.write_all_at(&bytes[range.clone()], range.start as u64)?;
    }
    Ok(bytes)
}

#[test]
fn a_qcow2_image_goes_out_in_one_pass() -> TestResult {
    let scratch = Scratch::new("out")?;
    let oracle = common::oracle("a_qcow2_image_goes_out_in_one_pass");
    let bytes = disk(&scratch, "a", 7 * MIB + 1536)?;
    for options in [
        "compat=1.1",
        "compat=0.10",
        "cluster_size=512",
        "cluster_size=4k,refcount_bits=64",
        "cluster_size=2M",
        "cluster_size=16k,extended_l2=on",
        "refcount_bits=1,lazy_refcounts=on",
        "compression_type=zstd",
    ] {
        let output = scratch.run(&format!("convert -f raw -O qcow2 -o {options} a -"))?;
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{options}: {:?}",
            text(&output.stderr)
        );
        fs::write(scratch.join("b"), &output.stdout)?;
        let checked = scratch.run("check b")?;
        assert_eq!(checked.status.code(), Some(0), "{options}: {checked:?}");
        let compared = scratch.run("compare -f raw -F qcow2 a b")?;
        assert_eq!(compared.status.code(), Some(0), "{options}: {compared:?}");
        // It is as small as one that was made in a file.
        let line = format!("convert -f raw -O qcow2 -S 0 -o {options} a c");
        assert!(scratch.run(&line)?.status.success());
        let (streamed, whole) =
            (output.stdout.len() as u64, fs::metadata(scratch.join("c"))?.len());
        assert!(streamed <= whole, "{options}: {streamed} bytes, {whole} in a file of all data");
        if let Some(oracle) = &oracle {
            for arguments in
                [&["check", "b"][..], &["compare", "-f", "raw", "-F", "qcow2", "a", "b"]]
            {
                let output = Command::new(oracle.qemu_img())
                    .args(arguments)
                    .current_dir(scratch.0.path())
                    .output()?;
                assert!(output.status.success(), "{options}: {output:?}");
            }
        }
        let back = scratch.run("convert -f qcow2 -O raw b -")?;
        assert!(back.status.success() && back.stdout == bytes, "{options}: back again");
    }
    Ok(())
}

#[test]
fn what_is_not_allocated_takes_no_room_and_several_sources_are_one() -> TestResult {
    let scratch = Scratch::new("sparse")?;
    disk(&scratch, "a", MIB)?;
    let bytes =
        [disk(&scratch, "a", MIB)?, vec![0; 64 * MIB], disk(&scratch, "c", 4 * MIB)?].concat();
    assert!(scratch.run("create -q -f qcow2 b 64M")?.status.success());
    let output = scratch.run("convert -O qcow2 a b c -")?;
    assert!(output.status.success(), "{:?}", text(&output.stderr));
    assert!(output.stdout.len() < 6 * MIB, "{} bytes", output.stdout.len());
    fs::write(scratch.join("d"), &output.stdout)?;
    assert_eq!(scratch.run("check d")?.status.code(), Some(0));
    let raw = scratch.run("convert -f qcow2 d -")?;
    assert!(raw.stdout == bytes, "{} bytes", raw.stdout.len());
    // A disk of nothing.
    assert!(scratch.run("create -q -f raw e 0")?.status.success());
    let output = scratch.run("convert -f raw -O qcow2 e -")?;
    fs::write(scratch.join("f"), &output.stdout)?;
    assert_eq!(scratch.run("check f")?.status.code(), Some(0));
    Ok(())
}

#[test]
fn a_snapshot_and_a_chain_go_out_too() -> TestResult {
    let scratch = Scratch::new("chain")?;
    let bytes = disk(&scratch, "base", 4 * MIB)?;
    for line in [
        "create -q -f qcow2 -b base -F raw top",
        "snapshot -c before top",
        "io -c write\u{a0}0\u{a0}1M top",
    ] {
        let arguments = line.split(' ').map(|word| word.replace('\u{a0}', " "));
        let output = Command::new(OURS).args(arguments).current_dir(scratch.0.path()).output()?;
        assert!(output.status.success(), "{line}: {output:?}");
    }
    for (options, expected) in
        [("-l before", bytes.clone()), ("", [vec![0xcd; MIB], bytes[MIB..].to_vec()].concat())]
    {
        let raw = scratch.run(&format!("convert {options} top -"))?;
        assert!(raw.stdout == expected, "{options}: {:?}", text(&raw.stderr));
        fs::write(
            scratch.join("out"),
            scratch.run(&format!("convert -O qcow2 {options} top -"))?.stdout,
        )?;
        assert!(scratch.run("convert out -")?.stdout == expected, "{options}");
        assert_eq!(scratch.run("check out")?.status.code(), Some(0));
    }
    Ok(())
}

#[test]
fn a_pipe_becomes_a_file_of_any_format() -> TestResult {
    let scratch = Scratch::new("in")?;
    for (len, kept) in [(0, 0), (5 * MIB, 5 * MIB), (3 * MIB + 100, 3 * MIB + 512)] {
        let mut bytes = vec![0; len];
        for (index, byte) in bytes.iter_mut().enumerate().skip(MIB).take(MIB) {
            *byte = (index / 3) as u8;
        }
        if let Some(last) = bytes.last_mut() {
            *last = 1;
        }
        for line in [
            "convert - out",
            "convert -S 0 - out",
            "convert -f raw -O qcow2 - out",
            "convert -S 64k -O qcow2 -o cluster_size=4k - out",
            "convert -S 0 -O qcow2 - out",
        ] {
            let output = scratch.piped(line, &bytes)?;
            assert!(output.status.success(), "{line}: {output:?}");
            let format = if line.contains("qcow2") { "qcow2" } else { "raw" };
            let found = scratch.run(&format!("convert -f {format} out -"))?.stdout;
            assert_eq!(found.len(), kept, "{line}");
            assert!(found[..len] == bytes && found[len..].iter().all(|byte| *byte == 0), "{line}");
            if format == "qcow2" {
                assert_eq!(scratch.run("check out")?.status.code(), Some(0), "{line}");
            }
            assert_eq!(fs::read_dir(scratch.0.path())?.count(), 1, "{line}");
        }
    }
    let json = scratch.piped("convert -O qcow2 - out --output=json", &[1; 1024])?;
    let result: serde_json::Value = serde_json::from_slice(&json.stdout)?;
    assert_eq!(result["virtual-size"], 1024);
    Ok(())
}

#[test]
fn a_pipe_goes_out_as_it_is() -> TestResult {
    let scratch = Scratch::new("both")?;
    let bytes: Vec<u8> = (0..3 * MIB).map(|index| (index / 100) as u8).collect();
    let output = scratch.piped("convert - -", &bytes)?;
    assert!(output.status.success() && output.stdout == bytes, "{:?}", text(&output.stderr));
    // A file as standard input has a length, so it can be anything.
    disk(&scratch, "a", 2 * MIB)?;
    let mut child = Command::new(OURS)
        .args(["convert", "-f", "raw", "-O", "qcow2", "-", "-"])
        .stdin(File::open(scratch.join("a"))?)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut image = Vec::new();
    child.stdout.take().ok_or("no pipe")?.read_to_end(&mut image)?;
    assert!(child.wait()?.success());
    fs::write(scratch.join("b"), image)?;
    assert_eq!(scratch.run("compare -f raw -F qcow2 a b")?.status.code(), Some(0));
    Ok(())
}

#[test]
fn what_streams_do_not_have_is_refused_before_anything_is_written() -> TestResult {
    let scratch = Scratch::new("refused")?;
    disk(&scratch, "a", MIB)?;
    for (line, said) in [
        (
            "convert -c -O qcow2 a -",
            "the option -c, --compress has no meaning where the target is standard output",
        ),
        ("convert -m 4 a -", "the option -m, --parallel NUM has no meaning"),
        (
            "convert -O qcow2 -o preallocation=full a -",
            "'preallocation' has no meaning where the target",
        ),
        ("convert -O qcow2 -B a -F raw a -", "the option -b, --backing BACKING has no meaning"),
        ("convert -o size=1 a -", "the options 'size=1' have no meaning"),
        ("convert -O luks a -", "standard output takes images of the formats raw and qcow2"),
        ("convert --output=json a -", ""),
        ("convert -f qcow2 - out", "a pipe holds a raw disk, and 'qcow2' cannot be read from it"),
        (
            "convert -l x - out",
            "the option -l, --snapshot SNAPSHOT has no meaning where the source is a pipe",
        ),
        ("convert a - out", "a pipe has to be the only source"),
        ("convert -O qcow2 - -", "the length of a pipe shows at its end"),
        ("convert - nbd://localhost/x", "a pipe can be copied into a file alone"),
        ("convert no -", "Could not open 'no'"),
    ] {
        let output = scratch.piped(line, &[1; 4096])?;
        assert_eq!(output.status.code(), Some(1), "{line}");
        assert!(output.stdout.is_empty(), "{line}");
        let found = text(&output.stderr);
        assert!(found.contains(said) && !found.is_empty(), "{line}: {found}");
        assert_eq!(fs::read_dir(scratch.0.path())?.count(), 1, "{line}");
    }
    // A reader that goes away is an error.
    let mut child = Command::new(OURS)
        .args(["convert", "-f", "raw", "a", "-"])
        .current_dir(scratch.0.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    drop(child.stdout.take());
    let output = child.wait_with_output()?;
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert_eq!(said, "holstein: error while writing to standard output: Broken pipe\n");
    Ok(())
}

#[test]
fn a_minus_is_a_name_under_the_classic_names() -> TestResult {
    let scratch = Scratch::new("classic-minus")?;
    let classic = scratch.join("qemu-img");
    std::os::unix::fs::symlink(OURS, &classic)?;
    disk(&scratch, "a", MIB)?;
    let mut convert = Command::new(&classic);
    let output = convert
        .args(["convert", "-f", "raw", "-O", "raw", "a", "-"])
        .current_dir(scratch.0.path())
        .output()?;
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    assert_eq!(fs::read(scratch.join("-"))?, fs::read(scratch.join("a"))?);
    Ok(())
}
