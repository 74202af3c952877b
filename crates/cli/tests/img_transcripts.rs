//! Command lines run by the real `qemu-img` and by the program under that name, word for word.
//!
//! A file in `transcripts/` is a list of shell lines. Those that begin with `@` prepare files and
//! run with the real tools in both directories; what `@=` makes has random parts or the time in it
//! and is copied from one to the other. The other lines run with the real tools in one directory
//! and with the program in the other, and have to print the same to standard output and to standard
//! error, and end with the same status. Space taken on the host is left out. Without a `qemu-img` of
//! version 10.0 nothing is compared, which is said.

mod common;

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use holstein_storage::{FileOptions, FileStorage, LockMode};

type TestResult = Result<(), Box<dyn Error>>;

/// A directory that goes away at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("img-{name}-{}", std::process::id()));
        for part in ["bin", "real", "theirs", "ours"] {
            fs::create_dir_all(path.join(part))?;
        }
        for tool in ["qemu-img", "qemu-io"] {
            symlink(env!("CARGO_BIN_EXE_holstein"), path.join("bin").join(tool))?;
        }
        Ok(Self(path))
    }

    fn join(&self, part: &str) -> PathBuf {
        self.0.join(part)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left over is in the directory for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A directory with the real tools, if they are there; says so if not.
fn real_tools(scratch: &Scratch, test: &str) -> std::io::Result<Option<PathBuf>> {
    let Some(oracle) = common::oracle(test) else { return Ok(None) };
    let tools = scratch.join("real");
    for (name, path) in [("qemu-img", oracle.qemu_img()), ("qemu-io", oracle.qemu_io())] {
        // A bare name is found on the path of the shell too.
        if path.components().count() > 1 {
            symlink(fs::canonicalize(path)?, tools.join(name))?;
        }
    }
    Ok(Some(tools))
}

/// Runs a shell line; `bin` has the tools that come first.
fn shell(line: &str, dir: &Path, bin: &Path) -> std::io::Result<Output> {
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", bin.display());
    Command::new("sh").arg("-c").arg(line).current_dir(dir).env("PATH", path).output()
}

/// A line without the number of a node that has no name: `#block123`.
fn without_node_number(line: &str) -> String {
    let Some((before, after)) = line.split_once("#block") else { return line.to_owned() };
    let after = after.trim_start_matches(|c: char| c.is_ascii_digit());
    format!("{before}#block{}", without_node_number(after))
}

/// Text without what depends on the file system, on time or on the number of nodes.
fn comparable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.split_inclusive('\n').map(|line| {
        let head =
            ["disk size: ", "\"actual-size\": ", "Run completed in "].into_iter().find_map(|key| {
                let at = line.find(key)?;
                Some(line[..at + key.len()].to_owned() + "...\n")
            });
        without_node_number(&head.unwrap_or_else(|| line.to_owned()))
    });
    lines.collect()
}

fn replay(name: &str, script: &str) -> TestResult {
    let scratch = Scratch::new(name)?;
    let Some(real) = real_tools(&scratch, name)? else { return Ok(()) };
    let (theirs, ours, bin) = (scratch.join("theirs"), scratch.join("ours"), scratch.join("bin"));
    let mut differences = Vec::new();
    for line in script.lines().filter(|line| !line.is_empty()) {
        if let Some(preparation) = line.strip_prefix('@') {
            let (random, preparation) = match preparation.strip_prefix('=') {
                Some(preparation) => (true, preparation),
                None => (false, preparation),
            };
            let output = shell(preparation, &theirs, &real)?;
            assert!(output.status.success(), "{preparation}: {output:?}");
            let repeat = if random { "cp -a ../theirs/. ." } else { preparation };
            assert!(shell(repeat, &ours, &real)?.status.success(), "{repeat}");
            continue;
        }
        let expected = shell(line, &theirs, &real)?;
        let found = shell(line, &ours, &bin)?;
        for (what, expected, found) in [
            ("standard output", comparable(&expected.stdout), comparable(&found.stdout)),
            ("standard error", comparable(&expected.stderr), comparable(&found.stderr)),
            ("status", expected.status.to_string(), found.status.to_string()),
        ] {
            if expected != found {
                differences
                    .push(format!("$ {line}\n{what}, expected:\n{expected}\nfound:\n{found}\n"));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}

macro_rules! transcripts {
    ($($name:ident),*) => {$(
        #[test]
        fn $name() -> TestResult {
            replay(stringify!($name), include_str!(concat!("transcripts/", stringify!($name), ".txt")))
        }
    )*};
}

transcripts!(
    amend,
    bench,
    backing,
    bitmap,
    bitmaps,
    blkdebug,
    chain,
    check,
    compare,
    compress,
    convert,
    create,
    creation_values,
    data_file,
    dd,
    encrypt,
    filters,
    luks,
    luks_keys,
    luks_volume,
    secrets,
    info,
    map,
    measure,
    node_options,
    open_values,
    options,
    overlap,
    resize,
    snapshot
);

#[test]
fn the_compress_driver_takes_disks_of_any_size() -> TestResult {
    let scratch = Scratch::new("compress-size")?;
    let (dir, bin) = (scratch.join("ours"), scratch.join("bin"));
    for line in [
        "qemu-img create -q -f qcow2 a.qcow2 1100k",
        "qemu-io -c 'open -o driver=compress,file.driver=qcow2 a.qcow2' -c 'write -P 7 1090k 10k'",
        "qemu-io -r -c 'read -P 7 1090k 10k' -c 'read -P 0 1088k 2k' a.qcow2",
        "qemu-img check a.qcow2 | grep '100.00% compressed clusters'",
    ] {
        let output = shell(line, &dir, &bin)?;
        assert!(output.status.success(), "{line}: {output:?}");
    }
    Ok(())
}

#[test]
fn the_shape_of_a_filter_is_shown_without_its_backing_file() -> TestResult {
    let scratch = Scratch::new("filter-backing")?;
    let (dir, bin) = (scratch.join("ours"), scratch.join("bin"));
    let made = "qemu-img create -q -f qcow2 base.qcow2 1M && qemu-img create -q -f qcow2 -b base.qcow2 \
                -F qcow2 top.qcow2 && rm base.qcow2";
    assert!(shell(made, &dir, &bin)?.status.success());
    for (filter, child) in [("compress", "file"), ("blkdebug", "image")] {
        let node = format!("{child}.driver=qcow2,{child}.file.filename=top.qcow2");
        let line = format!("qemu-img info --image-opts driver={filter},{node}");
        let output = shell(&line, &dir, &bin)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{output:?}");
        assert!(said.contains(&format!("Child node '/{child}'")), "{said}");
        assert!(!said.contains("/backing'"), "{said}");
    }
    Ok(())
}

#[test]
fn writes_that_cannot_be_tested_are_refused() -> TestResult {
    let scratch = Scratch::new("untested")?;
    let (dir, bin) = (scratch.join("ours"), scratch.join("bin"));
    let succeeds = |line: &str| Ok::<_, std::io::Error>(shell(line, &dir, &bin)?.status.success());
    assert!(succeeds(
        "qemu-img create -q -f qcow2 a.qcow2 1M && qemu-io -c 'write 0 64k' a.qcow2"
    )?);
    assert!(succeeds("qemu-img snapshot -c one a.qcow2")?);
    let mut bytes = fs::read(dir.join("a.qcow2"))?;
    let table = bytes[64..72].iter().fold(0, |at, byte| at << 8 | usize::from(*byte));
    // The L1 table of the snapshot is off its cluster.
    bytes[table..table + 8].copy_from_slice(&0x40_0200_u64.to_be_bytes());
    fs::write(dir.join("a.qcow2"), &bytes)?;
    let tested = "qemu-io -c 'open -o overlap-check.inactive-l2=on a.qcow2' -c 'write 0 4k'";
    let output = shell(tested, &dir, &bin)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("the snapshot is broken"), "{output:?}");
    assert!(fs::read(dir.join("a.qcow2"))? == bytes, "nothing is written");
    assert!(succeeds("qemu-io -c 'write 0 4k' a.qcow2")?, "without the test it can be");
    Ok(())
}

#[test]
fn an_emptied_image_knows_its_own_steps() -> TestResult {
    let scratch = Scratch::new("emptied")?;
    let (dir, bin) = (scratch.join("ours"), scratch.join("bin"));
    for (event, stops) in [
        ("l1_update", true),
        ("empty_image_prepare", false),
        ("reftable_update", false),
        ("refblock_alloc", false),
    ] {
        let rule = format!("[inject-error]\nevent = \"{event}\"\n");
        fs::write(dir.join("rules"), rule)?;
        let made = shell(
            "qemu-img create -q -f qcow2 base.qcow2 1M && rm -f top.qcow2 && qemu-img create -q -f \
             qcow2 -b base.qcow2 -F qcow2 top.qcow2 && qemu-io -c 'write -P 3 0 64k' top.qcow2",
            &dir,
            &bin,
        )?;
        assert!(made.status.success(), "{made:?}");
        let output = shell("qemu-img commit blkdebug:rules:top.qcow2", &dir, &bin)?;
        assert_eq!(output.status.success(), !stops, "{event}: {output:?}");
        let after = "qemu-img check -q top.qcow2 && qemu-img check -q base.qcow2 && \
                     qemu-io -r -c 'read -P 3 0 64k' top.qcow2";
        let after = shell(after, &dir, &bin)?;
        assert!(after.status.success(), "{event}: {after:?}");
    }
    Ok(())
}

#[test]
fn results_are_held_back_while_errors_go_out_at_once() -> TestResult {
    let scratch = Scratch::new("order")?;
    let Some(real) = real_tools(&scratch, "order of output")? else { return Ok(()) };
    let dir = scratch.join("theirs");
    let prepare = "qemu-img create -q -f qcow2 c.qcow2 1M && qemu-io -c 'write 0 64k' c.qcow2 && \
                   qemu-img create -q r.raw 1M";
    assert!(shell(prepare, &dir, &real)?.status.success());
    for line in [
        "qemu-img map c.qcow2 nosuch 2>&1",
        "qemu-img resize r.raw 2M 2>&1",
        "qemu-img convert -p c.qcow2 nodir/x 2>&1",
        "qemu-img create -f qcow2 nodir/x 1M 2>&1",
    ] {
        let expected = shell(line, &dir, &real)?;
        let found = shell(line, &dir, &scratch.join("bin"))?;
        let text = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(text(&found), text(&expected), "{line}");
    }
    Ok(())
}

#[test]
fn a_target_that_was_made_goes_away_again_and_others_stay() -> TestResult {
    let scratch = Scratch::new("cleanup")?;
    let (dir, bin) = (scratch.join("ours"), scratch.join("bin"));
    let run = |line: &str| shell(line, &dir, &bin);
    fs::write(dir.join("src.raw"), vec![0x5a; 4 << 20])?;
    fs::write(dir.join("old.raw"), "precious")?;
    // A limit on the size of files stands in for a disk that is full.
    let limited = "trap '' XFSZ; ulimit -f 2048;";
    for format in ["raw", "qcow2"] {
        let made = run(&format!("{limited} qemu-img convert -f raw -O {format} src.raw new"))?;
        assert_eq!(made.status.code(), Some(1), "{made:?}");
        assert!(!dir.join("new").exists(), "{format}: the target is removed");
        let text = String::from_utf8_lossy(&made.stderr).into_owned();
        assert!(text.contains("File too large"), "{text}");
        let made = run(&format!("{limited} qemu-img convert -f raw -O {format} src.raw old.raw"))?;
        let text = String::from_utf8_lossy(&made.stderr).into_owned();
        assert!(dir.join("old.raw").exists(), "{format}: what was there stays");
        assert!(text.contains("'old.raw' was there before"), "{text}");
    }
    // Options that do not fit are found before a file is touched.
    fs::write(dir.join("old.raw"), "precious")?;
    let made = run("qemu-img create -f qcow2 -o cluster_size=1000 old.raw 1M")?;
    assert_eq!(made.status.code(), Some(1));
    assert_eq!(fs::read(dir.join("old.raw"))?, b"precious");
    Ok(())
}

#[test]
fn data_files_follow_the_policy_and_check_needs_none() -> TestResult {
    let scratch = Scratch::new("data-policy")?;
    let (dir, bin) = (scratch.join("ours"), scratch.join("bin"));
    let run = |line: &str| shell(line, &dir, &bin);
    fs::create_dir(dir.join("sub"))?;
    for name in ["near.raw", "sub/far.raw"] {
        let image = if name == "near.raw" { "near.qcow2" } else { "far.qcow2" };
        let made = run(&format!("qemu-img create -q -f qcow2 -o data_file={name} {image} 1M"))?;
        assert!(made.status.success(), "{made:?}");
    }
    for (policy, image, opened) in [
        ("any", "far.qcow2", true),
        ("directory", "near.qcow2", true),
        ("directory", "far.qcow2", false),
        ("none", "near.qcow2", false),
    ] {
        let output = run(&format!("HOLSTEIN_BACKING={policy} qemu-img map {image}"))?;
        assert_eq!(output.status.success(), opened, "{policy} {image}: {output:?}");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(opened || text.contains("HOLSTEIN_BACKING does not allow"), "{text}");
    }
    // What the user names is not a name in an image.
    let given = "driver=qcow2,file.filename=far.qcow2,data-file.filename=sub/far.raw";
    assert!(
        run(&format!("HOLSTEIN_BACKING=none qemu-img map --image-opts {given}"))?.status.success()
    );
    // A source is not emptied to become the data file of its copy.
    fs::write(dir.join("src.raw"), [7; 4096])?;
    let copied = run("qemu-img convert -f raw -O qcow2 -o data_file=src.raw src.raw new.qcow2")?;
    assert_eq!(copied.status.code(), Some(1), "{copied:?}");
    assert_eq!(fs::read(dir.join("src.raw"))?, [7; 4096]);
    assert!(!dir.join("new.qcow2").exists());
    // A copy that fails takes both of its files away.
    let copied = run("qemu-img convert -c -f raw -O qcow2 -o data_file=d.raw src.raw new.qcow2")?;
    assert_eq!(copied.status.code(), Some(1), "{copied:?}");
    assert!(!dir.join("new.qcow2").exists() && !dir.join("d.raw").exists());
    // An image is not its own data file, for readers either.
    assert!(run("qemu-img amend -q -o data_file=near.qcow2 near.qcow2")?.status.success());
    let output = run("qemu-img map near.qcow2")?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("is its own data file"), "{output:?}");
    fs::remove_file(dir.join("sub/far.raw"))?;
    assert!(run("qemu-img check far.qcow2")?.status.success());
    assert!(!run("qemu-img map far.qcow2")?.status.success());
    Ok(())
}

#[test]
fn a_granularity_is_taken_as_it_is_given() -> TestResult {
    let scratch = Scratch::new("granularity")?;
    let (dir, bin) = (scratch.join("ours"), scratch.join("bin"));
    assert!(shell("qemu-img create -q -f qcow2 a.qcow2 1M", &dir, &bin)?.status.success());
    let added = shell("qemu-img bitmap --add -g 4295032832 a.qcow2 b", &dir, &bin)?;
    let text = String::from_utf8_lossy(&added.stderr).into_owned();
    assert_eq!(added.status.code(), Some(1), "{text}");
    assert!(text.contains("Granularity must be power of 2 and at least 512"), "{text}");
    Ok(())
}

#[test]
fn bitmaps_that_are_lost_are_told_of_and_the_status_says_so() -> TestResult {
    let scratch = Scratch::new("lost")?;
    let (dir, bin) = (scratch.join("ours"), scratch.join("bin"));
    let run = |line: &str| shell(line, &dir, &bin);
    assert!(run("qemu-img create -q -f qcow2 a.qcow2 1G")?.status.success());
    assert!(run("qemu-img bitmap --add a.qcow2 b")?.status.success());
    // The file has no room left for another table and directory.
    let file = fs::OpenOptions::new().write(true).open(dir.join("a.qcow2"))?;
    let size = file.metadata()?.len().next_multiple_of(65_536);
    file.set_len(size)?;
    let full = format!("driver=qcow2,file.driver=raw,file.size={size},file.file.filename=a.qcow2");
    for line in
        ["qemu-img amend -o lazy_refcounts=on --image-opts", "qemu-io -c flush --image-opts"]
    {
        let output = run(&format!("{line} {full}"))?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{line}: {text}");
        assert!(text.contains("Lost persistent bitmaps"), "{line}: {text}");
        assert!(text.contains("'b' to file: No space left on device"), "{line}: {text}");
    }
    let info = run("qemu-img info a.qcow2")?;
    assert!(String::from_utf8_lossy(&info.stdout).contains("in-use"), "{info:?}");
    Ok(())
}

#[test]
fn locks_of_others_are_minded_unless_options_say_otherwise() -> TestResult {
    let scratch = Scratch::new("locks")?;
    let (dir, bin) = (scratch.join("ours"), scratch.join("bin"));
    assert!(shell("qemu-img create -q -f qcow2 a.qcow2 1M", &dir, &bin)?.status.success());
    let mut writer = Command::new(bin.join("qemu-io"))
        .arg("a.qcow2")
        .current_dir(&dir)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    // The answer to a command says that the image is open.
    let (mut to, from) = (writer.stdin.take(), writer.stdout.take());
    to.as_mut().ok_or("its input")?.write_all(b"length\n")?;
    let mut answer = String::new();
    BufReader::new(from.ok_or("its output")?).read_line(&mut answer)?;
    for (line, held) in [
        ("qemu-img map a.qcow2", true),
        ("qemu-img map --image-opts driver=qcow2,file.locking=on,file.filename=a.qcow2", true),
        ("qemu-img map --image-opts driver=qcow2,file.locking=auto,file.filename=a.qcow2", true),
        ("qemu-img map --image-opts driver=qcow2,file.locking=off,file.filename=a.qcow2", false),
        ("qemu-img map --image-opts driver=qcow2,force-share=off,file.filename=a.qcow2", true),
        ("qemu-img map --image-opts driver=qcow2,force-share=on,file.filename=a.qcow2", false),
        ("qemu-img map --image-opts driver=qcow2,file.force-share=on,file.filename=a.qcow2", false),
        ("qemu-img map -U a.qcow2", false),
    ] {
        let output = shell(line, &dir, &bin)?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.success(), !held, "{line}: {text}");
        assert_eq!(text.contains("Failed to get shared \"write\" lock"), held, "{line}: {text}");
    }
    drop(to);
    assert!(writer.wait()?.success());
    Ok(())
}

#[test]
fn who_reads_opens_for_reading_whatever_could_be_written() -> TestResult {
    let scratch = Scratch::new("readers")?;
    let (dir, bin) = (scratch.join("ours"), scratch.join("bin"));
    assert!(shell("qemu-img create -q -f qcow2 a.qcow2 1M", &dir, &bin)?.status.success());
    // Somebody who reads and lets nobody write.
    let held = FileOptions { lock: LockMode::Read, ..FileOptions::default() };
    let held = FileStorage::open(dir.join("a.qcow2"), &held)?;
    let given = "--image-opts driver=qcow2,read-only=off,file.filename=a.qcow2";
    for (line, opened) in [
        (format!("qemu-img map {given}"), true),
        (format!("qemu-img convert -O raw {given} x.raw"), true),
        (format!("qemu-io -r -c 'write -q 0 512' {given}"), false),
    ] {
        let output = shell(&line, &dir, &bin)?;
        assert_eq!(output.status.success(), opened, "{line}: {output:?}");
    }
    drop(held);
    Ok(())
}

#[test]
fn trace_events_are_said_not_to_be_there() -> TestResult {
    let scratch = Scratch::new("trace")?;
    let (dir, bin) = (scratch.join("ours"), scratch.join("bin"));
    let run = |line: &str| shell(line, &dir, &bin);
    assert!(run("qemu-img create -q -f qcow2 a.qcow2 1M")?.status.success());
    for (spec, text) in [
        ("qcow2_writev_start_req", "warning: trace event 'qcow2_writev_start_req' does not exist"),
        ("enable=nosuch", "warning: trace event 'nosuch' does not exist"),
        ("qcow2_*", "warning: there are no trace events, 'qcow2_*' has no effect"),
        ("file=log", "warning: there are no trace events, 'file=log' has no effect"),
    ] {
        for command in ["qemu-img -T '@' info a.qcow2", "qemu-io --trace '@' -c length a.qcow2"] {
            let output = run(&command.replace('@', spec))?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && said.contains(text), "{command}, {spec}: {said}");
        }
    }
    Ok(())
}

#[test]
fn what_this_version_lacks_is_refused_by_name() -> TestResult {
    let scratch = Scratch::new("refused")?;
    let (dir, bin) = (scratch.join("ours"), scratch.join("bin"));
    let run = |line: &str| shell(line, &dir, &bin);
    assert!(run("qemu-img create -q -f qcow2 a.qcow2 1M")?.status.success());
    for line in ["qemu-img create -f vmdk b.vmdk 1M", "qemu-img info ssh://localhost/x"] {
        let output = run(line)?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{line}: {text}");
        assert!(text.contains("not available in this version"), "{line}: {text}");
    }
    assert!(!dir.join("b.qcow2").exists());
    Ok(())
}
