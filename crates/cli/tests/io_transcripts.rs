//! Commands run by the real `qemu-io` and by the program under that name, word for word.
//!
//! Both get fresh copies of the same files, standard output and standard error in one file, and the
//! same input. What they print, their exit status, and what is in the files afterwards have to be
//! equal; only times and rates are taken out first. Without a `qemu-io` of version 10.0 nothing is
//! compared, which is said.

mod common;

use std::error::Error;
use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::oracle;
use holstein_testkit::Oracle;

type TestResult = Result<(), Box<dyn Error>>;

/// A directory of one test, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str) -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("io-{test}-{}", std::process::id()));
        fs::create_dir_all(path.join("start"))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left over is in the directory for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Makes the files that commands work on: `r.raw`, `q.qcow2`, `o.qcow2` over `b.raw`, `v.qcow2` of
/// version 2, and `s.txt`.
fn make_files(tools: &Oracle, dir: &Path) -> TestResult {
    let img =
        |line: &str| run_ok(Command::new(tools.qemu_img()).current_dir(dir).args(line.split(' ')));
    let io = |commands: &[&str], file: &str| {
        let commands = commands.iter().flat_map(|command| ["-c", command]);
        run_ok(Command::new(tools.qemu_io()).current_dir(dir).args(commands).arg(file))
    };
    fs::write(dir.join("r.raw"), vec![0; 1 << 20])?;
    fs::write(dir.join("b.raw"), vec![0x11; 1 << 20])?;
    fs::write(dir.join("s.txt"), b"0123456789")?;
    img("create -q -f qcow2 q.qcow2 1M")?;
    io(&["write -P 0x22 64k 100k", "write -z 512k 128k"], "q.qcow2")?;
    img("create -q -f qcow2 -F raw -b b.raw o.qcow2 2M")?;
    io(&["write -P 0x33 70k 10k"], "o.qcow2")?;
    img("create -q -f qcow2 -o compat=0.10 v.qcow2 1M")
}

fn run_ok(command: &mut Command) -> TestResult {
    let output = command.output()?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
    }
}

/// One run of a program: arguments, and standard input where there are no commands among them.
struct Case<'a> {
    arguments: Vec<&'a str>,
    input: Option<&'a str>,
}

impl<'a> Case<'a> {
    /// Arguments, separated by bars.
    fn line(line: &'a str) -> Self {
        Self { arguments: line.split('|').collect(), input: None }
    }
}

/// Runs one case in a fresh copy of the files; returns what was printed, and the exit status.
fn transcript(
    program: &Path,
    case: &Case<'_>,
    start: &Path,
    dir: &Path,
) -> std::io::Result<String> {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    fs::create_dir(dir)?;
    for file in fs::read_dir(start)? {
        let file = file?;
        fs::copy(file.path(), dir.join(file.file_name()))?;
    }
    let printed = dir.join("printed");
    let out = File::create(&printed)?;
    let input = dir.join("input");
    fs::write(&input, case.input.unwrap_or(""))?;
    let status = Command::new(program)
        .arg0("qemu-io")
        .args(&case.arguments)
        .current_dir(dir)
        .stdin(File::open(&input)?)
        .stdout(out.try_clone()?)
        .stderr(Stdio::from(out))
        .status()?;
    let printed = String::from_utf8_lossy(&fs::read(&printed)?).into_owned();
    let ended = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, signal) => format!("signal {}", signal.unwrap_or(0)),
    };
    let lines: String = printed.split_inclusive('\n').map(without_times).collect();
    Ok(format!("{lines}[{ended}]\n"))
}

/// A line without what differs from run to run: times and rates.
fn without_times(line: &str) -> String {
    if let Some(at) = line.find(" ops; ") {
        return format!("{} ops; X\n", &line[..at]);
    }
    let values: Vec<&str> = line.split(',').collect();
    match values[..] {
        [bytes, "1", time, _, _] if time.contains(':') => format!("{bytes},1,X\n"),
        _ => line.to_owned(),
    }
}

/// Runs all cases with both programs and fails with every difference.
fn check(test: &str, cases: &[Case<'_>]) -> TestResult {
    let Some(tools) = oracle(test) else { return Ok(()) };
    let scratch = Scratch::new(test)?;
    let start = scratch.0.join("start");
    make_files(&tools, &start)?;
    let (theirs, ours) = (scratch.0.join("theirs"), scratch.0.join("ours"));
    let mut differences = String::new();
    for case in cases {
        let expected = transcript(tools.qemu_io(), case, &start, &theirs)?;
        let found = transcript(Path::new(env!("CARGO_BIN_EXE_holstein")), case, &start, &ours)?;
        let arguments = case.arguments.join("|");
        if expected != found {
            differences.push_str(&format!(
                "--- qemu-io {arguments}\n{expected}+++ holstein {arguments}\n{found}"
            ));
        }
        if !same_disks(&tools, &theirs, &ours)? {
            differences.push_str(&format!("--- content after: {arguments}\n"));
        }
    }
    if differences.is_empty() { Ok(()) } else { Err(differences.into()) }
}

/// Whether the images of both directories have equal content, and ours are free of errors.
fn same_disks(tools: &Oracle, theirs: &Path, ours: &Path) -> std::io::Result<bool> {
    if fs::read(theirs.join("r.raw"))? != fs::read(ours.join("r.raw"))? {
        return Ok(false);
    }
    for name in ["q.qcow2", "o.qcow2", "v.qcow2"] {
        if fs::read(theirs.join(name))? == fs::read(ours.join(name))? {
            continue;
        }
        let img = |arguments: &[&str], files: &[&Path]| {
            Command::new(tools.qemu_img()).args(arguments).args(files).output()
        };
        let (theirs, ours) = (theirs.join(name), ours.join(name));
        let compare = img(&["compare", "-q", "-f", "qcow2", "-F", "qcow2"], &[&theirs, &ours])?;
        let check = img(&["check", "-q", "-f", "qcow2"], &[&ours])?;
        if !(compare.status.success() && check.status.success()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Cases of one command each on the raw file, and then its length.
fn on_raw<'a>(commands: &'a [&'a str]) -> Vec<Case<'a>> {
    let tail = ["-c", "length", "r.raw"];
    let case = |command: &'a &str| ["-f", "raw", "-c", *command].into_iter().chain(tail).collect();
    commands.iter().map(|command| Case { arguments: case(command), input: None }).collect()
}

#[test]
fn reads_on_raw() -> TestResult {
    #[rustfmt::skip]
    let commands = [
        "read 0 64k", "read 0", "read 0 1 2", "read x 1", "read 0 x", "read 9E 1", "read -1 5",
        "read 0 3G", "read -P 256 0 512", "read -P x 0 512", "read -P -1 0 512",
        "read -P 0 -l 1k 0 512", "read -P 0 -s 1k 0 512", "read -l 1k 0 512", "read -s x 0 512",
        "read -b 0 100", "read -b 1 512", "read -b 0 512", "read -C 0 1M", "read -Cq 0 1M",
        "read -Z 0 1", "read 1M 1", "read 1M 0", "read 2M 0", "read 0 0", "read -v 100 40",
        "read -vq 100 40", "read -r 0 512", "read -p 0 512", "r -P 1 0 512", "read -q -P 1 0 512",
        "read -P 1 -s 5 -l 3 -q 0 512", "read -P +5 -q 0 1", "read -P 010 -q 0 1",
        "read 0 1 -P", "read -- -1 5", "read -v 0 5 --", "read 0x10 0X10", "read 1.5k .5k",
        "readv 0", "readv 0 512 100", "readv -v 0 16 16", "readv -P 1 0 16 16", "readv -P 1 x",
        "readv 0 512 3G", "readv 0 0x7ffffe00 1", "readv 1M 512", "readv -C 0 512", "readv -b 0 1",
    ];
    check("reads", &on_raw(&commands))
}

#[test]
fn writes_on_raw() -> TestResult {
    #[rustfmt::skip]
    let commands = [
        "write 0 512", "w -P 0xaa 100 1000", "write 0", "write x 0", "write 0 3G", "write 1M 1",
        "write -z -n 0 3G", "write -P 1 -z 0 512", "write -P x -Z 0 1", "write -s /nonexist 0 512",
        "write -s /dev/null 0 512", "write -s . 0 512", "write -s s.txt 7 100", "write -n 0 512",
        "write -u 0 512", "write -b -z 0 512", "write -f -c 0 512", "write -c 0 100",
        "write -c 0 64k", "write -b 0 512", "write -c -z 0 512", "write -z 1000 3000",
        "write -zu 64k 64k", "write -zn 0 512", "write -zf 0 512", "write -fq 0 512",
        "write -C 0 512", "write -v 0 512", "write 0 0", "writev", "writev 0 512 1k -P 3",
        "writev -f 0 512", "writev -z 0 512", "writev 1M 512", "discard 0 64k", "d -C 0 512",
        "discard 1M 512", "discard 0 3G", "discard 0 512 4", "discard 0", "flush", "flush x",
    ];
    check("writes", &on_raw(&commands))
}

#[test]
fn asynchronous_requests_on_raw() -> TestResult {
    #[rustfmt::skip]
    let commands = [
        "aio_read 0 512", "aio_read -i 0 512", "aio_read -P 1 0 512", "aio_read -v 0 16",
        "aio_read 1M 512", "aio_read x 1", "aio_read -q 0 512", "aio_read -C 0 512 512",
        "aio_write 0 512", "aio_write -z 0 512 512", "aio_write -zu 0 512", "aio_write -u 0 512",
        "aio_write -i 0 512", "aio_write 1M 512", "aio_write -z 2M 512", "aio_write -f 0 512 5",
        "aio_write -n 0 1", "aio_flush", "aio_flush x",
    ];
    check("aio", &on_raw(&commands))
}

#[test]
fn other_commands_on_raw() -> TestResult {
    #[rustfmt::skip]
    let commands = [
        "nosuch", "", " ", " length ", "length x", "truncate", "truncate x", "truncate 8E",
        "truncate -m foo 1M", "truncate -m falloc 2M", "truncate 2M 2", "truncate -m off",
        "truncate 512k", "t -x 1", "alloc", "alloc 0", "alloc 512k 1M", "alloc 2M 1", "alloc 0 x",
        "map", "map x", "info", "sleep x", "sleep 1", "sleep -1", "sigraise x", "sigraise 0",
        "sigraise 999", "sigraise 15", "sigraise 9", "abort", "quit", "q x", "help", "help nosuch",
        "help read write", "? q", "break a b", "break", "resume a", "remove_break a", "zrp 0 1",
        "zone_report x 1", "zo 0 1", "zap 0 512", "zap 0 512 512", "reopen", "reopen -r -w",
        "reopen x", "reopen -c bad", "reopen -c none", "reopen -o nosuch=1", "reopen -o driver=raw",
        "reopen -r -o read-only=on", "open q.qcow2",
    ];
    check("others", &on_raw(&commands))
}

#[test]
fn files_are_opened_and_closed() -> TestResult {
    let lines = [
        "-c|open",
        "-c|open r.raw",
        "-c|open x y",
        "-c|open nosuch",
        "-c|open -Z",
        "-c|open -t bad r.raw",
        "-c|open -d bad r.raw",
        "-c|open -i bad r.raw",
        "-c|open -U r.raw",
        "-c|open -k r.raw",
        "-c|open -nk -o driver=raw r.raw|-c|read 0 5",
        "-c|open -i io_uring -o driver=raw r.raw|-c|length",
        "-c|open -o driver=foo r.raw",
        "-c|open -o driver=qcow2",
        "-c|open -o driver=qcow2 r.raw",
        "-c|open -o help",
        "-c|open -o foo",
        "-c|open -o driver=qcow2 -o driver=raw r.raw|-c|info",
        "-c|open -o driver=raw,offset=512,size=1k r.raw|-c|length|-c|write 0 1k",
        "-c|open -o driver=qcow2,file.filename=q.qcow2|-c|info",
        "-c|open -o file.filename=q.qcow2|-c|map",
        "-c|open -o nosuch=1 q.qcow2",
        "-c|open -r q.qcow2|-c|write 0 512|-c|reopen -w|-c|write 0 512",
        r#"-c|open json:{"driver":"qcow2","file.filename":"o.qcow2","backing":null}|-c|map"#,
        "-c|open -o backing.driver=raw o.qcow2|-c|read -P 0x11 0 64k|-c|map",
        "-c|close|-c|read 0 1|-c|alloc x|-c|discard|-c|help q|-c|sleep 1",
        "-c|open q.qcow2|-c|close|-c|close|-c|open v.qcow2|-c|open q.qcow2|-c|info",
        "--image-opts|-c|length|driver=qcow2,file.filename=q.qcow2",
        "--image-opts|-f|raw|driver=raw",
        "--image-opts|-c|length|q.qcow2",
        "-f|nosuch|-c|length|r.raw",
        "-f|qcow2|-c|length|r.raw",
        "-c|length|r.raw",
        "-rU|-c|length|q.qcow2",
        "-U|-c|length|q.qcow2",
        "-c|reopen -r|-c|write 0 512|-c|read 0 512|-c|reopen|-c|write 0 1|q.qcow2",
        "-c|reopen -o cache.direct=on -c none|-c|reopen -o ,|-c|length|q.qcow2",
        "-c|reopen -o overlap-check=all|-c|reopen -o overlap-check.template=none|q.qcow2",
        "-c|reopen -o overlap-check=bad|-c|write 0 512|-c|reopen -o driver=raw|q.qcow2",
        "-c|reopen -o cache-size=1M|-c|reopen -o l2-cache-size=2M|-c|length|q.qcow2",
        "-c|reopen -o refcount-cache-size=256T|-c|length|q.qcow2",
        "-c|reopen -o driver=qcow2|-c|reopen -o file.driver=file|-c|reopen -o file.driver=raw|q.qcow2",
        "-c|reopen -o backing.driver=raw|-c|reopen -o backing.driver=qcow2|-c|read 0 512|o.qcow2",
        "-t|bad|q.qcow2",
        "-i|bad|q.qcow2",
        "-d|bad|q.qcow2",
        "-r|-C|q.qcow2",
        "-c|length|q.qcow2|-r|-c|write 0 1|--cmd|flush|--cache=none",
        "-c|length|",
        "-s|-c|write -P 9 0 512|-c|read -P 9 0 512|-c|info|-c|map|o.qcow2",
        "-s|-f|raw|-c|write -P 9 0 512|-c|map|r.raw",
        "-s|-c|length|nosuch",
        "-C|-c|read -P 0x11 0 512|-c|map|o.qcow2",
        "-m|-n|-c|write -P 6 100 1000|-c|read -P 6 100 1000|q.qcow2",
        "-c|read 2M 1|-c|length|-c|quit|-c|map|q.qcow2",
        "-c|write -b -P 5 0 100k|-c|read -b -P 5 0 100k|-c|read -b 64k 64k|-c|info|q.qcow2",
        "-c|write -b -P 6 64k 512|-c|read -bv 64k 32|-c|read -b -P 6 64k 512|q.qcow2",
        "-c|write -b 0 100|-c|write -b 100 512|-c|read -b 0 512|v.qcow2",
        "-r|-c|write -b 0 512|-c|read -b 0 512|q.qcow2",
    ];
    let cases: Vec<_> = lines.into_iter().map(Case::line).collect();
    check("files", &cases)
}

#[test]
fn commands_on_qcow2() -> TestResult {
    let lines = [
        "-c|length|-c|info|-c|map|q.qcow2",
        "-c|length|-c|info|-c|map|o.qcow2",
        "-c|length|-c|info|-c|map|v.qcow2",
        "-c|read -P 0x22 64k 100k|-c|read -P 0 0 64k|-c|read -P 0 164k 400k|q.qcow2",
        "-c|read -P 0x11 0 70k|-c|read -P 0x33 70k 10k|-c|read -P 0 1M 1M|-c|read 2M 1|o.qcow2",
        "-c|write 0 64k|-c|map|-c|alloc 0 1M|-c|alloc 130k 1k|q.qcow2",
        "-c|write 100 1000|-c|read -v 96 16|-c|map|q.qcow2",
        "-c|write -P 5 60k 10k|-c|read -P 5 60k 10k|-c|read -P 0x33 70k 10k|-c|map|o.qcow2",
        "-c|write -z 64k 64k|-c|map|-c|read -P 0 64k 64k|o.qcow2",
        "-c|write -zu 64k 64k|-c|map|q.qcow2",
        "-c|write -zn 64k 64k|-c|write -zn 1k 1k|-c|write -zn 65k 1k|q.qcow2",
        "-c|write -zn 64k 64k|-c|write -zn 1k 1k|-c|write -zn 1984k 64k|o.qcow2",
        "-c|discard 65k 63k|-c|map|-c|discard 64k 64k|-c|map|q.qcow2",
        "-c|discard 64k 64k|-c|map|-c|read -P 0 64k 64k|o.qcow2",
        "-d|ignore|-c|discard 64k 64k|-c|map|-c|read -P 0x22 64k 64k|q.qcow2",
        "-c|truncate 2M|-c|length|-c|read -P 0 1M 1M|-c|map|q.qcow2",
        "-c|truncate -m metadata 2M|-c|map|q.qcow2",
        "-c|truncate 1000|-c|length|-r|q.qcow2",
        "-c|writev -P 4 60k 1k 2k 30k|-c|readv -P 4 60k 30k 3k|q.qcow2",
        "-c|aio_write -z 60k 100k|-c|aio_flush|-c|read -P 0 60k 100k|q.qcow2",
        "-c|write -P 1 0 1M|-c|discard 0 1M|-c|map|-c|write -P 2 512k 64k|-c|map|q.qcow2",
        "-c|write -P 1 0 1M|-c|write -P 2 1 3|-c|read -v 0 16|-c|map|v.qcow2",
        "-c|write -z 0 64k|-c|map|-c|read -P 0 0 64k|v.qcow2",
        "-c|write -c 0 64k|-c|read -P 0xcd 0 64k|-c|map|-c|write -c 0 64k|-c|write -c 64k 64k|q.qcow2",
        "-c|write -c 512 64k|-c|write -c 0 512|-c|write -c 960k 64k|-c|write -c 1M 64k|q.qcow2",
        "-c|write -c -P 9 512k 64k|-c|write -P 8 513k 1k|-c|read -P 9 514k 62k|q.qcow2",
        "-c|write -c 0 0|-c|write -cC 192k 256k|-c|write -cq -s s.txt 0 64k|q.qcow2",
        "-c|write -c -P 1 0 64k|-c|write -z 0 64k|-c|write -c -P 2 0 64k|-c|discard 0 64k|-c|map|q.qcow2",
        "-c|write -c -P 1 0 64k|-c|discard 0 64k|-c|write -c -P 2 0 64k|-c|read -P 2 0 64k|v.qcow2",
        "-c|write -c -P 1 0 128k|-c|read -P 1 0 128k|-c|read -P 0x11 128k 10k|-c|map|o.qcow2",
        "-r|-c|write -c 0 64k|q.qcow2",
        "-c|reopen -o detect-zeroes=on|-c|write -c -P 0 256k 64k|-c|map|q.qcow2",
        "-c|write 0 512|-c|sigraise 9|q.qcow2",
    ];
    let cases: Vec<_> = lines.into_iter().map(Case::line).collect();
    check("qcow2", &cases)
}

#[test]
fn debugging_nodes() -> TestResult {
    const NODE: &str = "driver=qcow2,file.driver=blkdebug,file.image.filename=q.qcow2,file.";
    let mut texts = vec![
        "-c|read 0 512|-c|info|blkdebug::q.qcow2".to_owned(),
        "-c|read 0 512|-c|map|-f|raw|blkdebug::r.raw".to_owned(),
        "-c|read 0 512|blkdebug:nosuch:q.qcow2".to_owned(),
        "-c|read 0 512|blkdebug:q.qcow2".to_owned(),
        "--image-opts|-c|length|driver=blkdebug".to_owned(),
        "--image-opts|-c|length|-c|info|driver=blkdebug,image.filename=r.raw".to_owned(),
        "-c|open -o driver=blkdebug,image.driver=qcow2,align=4k,max-transfer=64k blkdebug::q.qcow2\
         |-c|write -P 33 1000 128k|-c|read -P 33 1000 128k|-c|write -z 5000 200k"
            .to_owned(),
        "-f|qcow2|-c|break foo A|-c|break read_aio A|-c|remove_break B|-c|resume B|-c|resume A\
         |blkdebug::q.qcow2"
            .to_owned(),
        "-f|qcow2|-c|break read_aio A|-c|aio_read 64k 512|-c|wait_break A|-c|resume A|-c|resume A\
         |-c|aio_flush|blkdebug::q.qcow2"
            .to_owned(),
        "-f|qcow2|-c|break write_aio A|-c|aio_write -P 1 0 512|-c|wait_break A\
         |-c|write -P 2 70k 1k|-c|remove_break A|-c|aio_flush|-c|read -P 1 0 512|blkdebug::q.qcow2"
            .to_owned(),
    ];
    // Rules: what is wrong with them, and what they do to requests.
    for rule in [
        "foo=1",
        "align=3",
        "align=4k,max-transfer=1000",
        "inject-error.0.event=foo",
        "inject-error.0.errno=5",
        "inject-error.0.event=none",
        "inject-error.0.event=l2_load,inject-error.0.errno=x",
        "inject-error.0.event=l2_load,inject-error.0.iotype=foo",
        "inject-error.0.event=l2_load,inject-error.0.once=foo",
        "inject-error.0.event=l2_load,inject-error.0.foo=1",
        "inject-error.0.event=l2_load,inject-error.0.state=x",
        "set-state.0.event=l2_load,set-state.0.foo=1",
        "set-state.0.event=l2_load,set-state.0.new_state=x",
        "inject-error.0.event=l2_load,inject-error.0.once=on",
        "inject-error.0.event=read_aio,inject-error.0.errno=28",
        "inject-error.0.event=read_aio,inject-error.0.sector=-1",
        "inject-error.0.event=read_aio,inject-error.0.iotype=write",
        "set-state.0.event=read_aio,set-state.0.new_state=2,inject-error.0.event=read_aio,\
         file.inject-error.0.state=2",
    ] {
        let rule = rule.replace(",inject", ",file.inject").replace(",set-", ",file.set-");
        let rule = rule.replace(",max-", ",file.max-");
        texts.push(format!(
            "--image-opts|-c|read 64k 4k|-c|read -P 0x22 64k 4k|-c|read -P 0x22 80k 4k|{NODE}{rule}"
        ));
    }
    for event in ["l1_update", "l2_update", "write_aio", "refblock_update_part", "cluster_alloc"] {
        texts.push(format!(
            "--image-opts|-c|write 700k 1k|-c|write 700k 1k|{NODE}inject-error.0.event={event},\
             file.inject-error.0.once=on"
        ));
    }
    // VM state is written through like everything else.
    texts.push(format!(
        "-c|write -b 0 512|-c|close|-c|open -o {NODE}inject-error.0.event=l2_update,\
         file.inject-error.0.errno=28,file.inject-error.0.once=on|-c|write -b 64k 64k|q.qcow2"
    ));
    let cases: Vec<_> = texts.iter().map(|text| Case::line(text)).collect();
    check("blkdebug", &cases)
}

#[test]
fn a_request_that_nobody_resumes_goes_on_at_the_end() -> TestResult {
    let scratch = Scratch::new("unresumed")?;
    let run = |name: &str, arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holstein"));
        command.arg0(name).args(arguments).current_dir(&scratch.0).output()
    };
    run("qemu-img", &["create", "-q", "-f", "qcow2", "q.qcow2", "1M"])?;
    let stopped = ["-c", "break write_aio A", "-c", "aio_write 0 1k", "-c", "wait_break A"];
    let output = run("qemu-io", &[&stopped[..], &["-f", "qcow2", "blkdebug::q.qcow2"]].concat())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("Resuming request 'A'\nwrote 1024/1024 bytes"), "{text}");
    Ok(())
}

#[test]
fn corruption_is_said_once_and_only_writes_mark_it() -> TestResult {
    let scratch = Scratch::new("corrupt")?;
    let run = |name: &str, arguments: &[&str]| -> Result<String, Box<dyn Error>> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holstein"));
        let output = command.arg0(name).args(arguments).current_dir(&scratch.0).output()?;
        Ok([output.stdout, output.stderr]
            .map(|b| String::from_utf8_lossy(&b).into_owned())
            .concat())
    };
    run("qemu-img", &["create", "-q", "-f", "qcow2", "q.qcow2", "1M"])?;
    run("qemu-io", &["-c", "write 0 128k", "q.qcow2"])?;
    // The first entry of the L2 table, behind header, refcounts and L1 table.
    let path = scratch.0.join("q.qcow2");
    let mut bytes = fs::read(&path)?;
    bytes[0x40000..0x40008].copy_from_slice(&0x8000_0000_0005_0200_u64.to_be_bytes());
    fs::write(&path, bytes)?;
    let reads = ["-c", "read 0 4k", "-c", "read 0 4k", "-c", "read 64k 4k", "q.qcow2"];
    for arguments in [&reads[..], &[&["-r"][..], &reads[..]].concat()] {
        let text = run("qemu-io", arguments)?;
        assert_eq!(text.matches("qcow2: Image is corrupt: ").count(), 1, "{text}");
        assert_eq!(text.matches("read failed: Input/output error").count(), 2, "{text}");
        assert!(text.contains("read 4096/4096 bytes at offset 65536"), "{text}");
    }
    let text = run("qemu-img", &["map", "q.qcow2"])?;
    assert!(text.contains("qemu-img: Could not read file metadata: Input/output error"), "{text}");
    assert!(run("qemu-img", &["info", "q.qcow2"])?.contains("corrupt: false"));
    let writes = ["-c", "read 0 4k", "-c", "write 0 4k", "-c", "write 64k 4k", "q.qcow2"];
    let text = run("qemu-io", &writes)?;
    assert_eq!(text.matches("qcow2: Marking image as corrupt: ").count(), 1, "{text}");
    assert_eq!(text.matches("write failed: ").count(), 2, "{text}");
    assert!(run("qemu-img", &["info", "q.qcow2"])?.contains("corrupt: true"));
    Ok(())
}

#[test]
fn lines_of_standard_input_and_the_order_of_both_outputs() -> TestResult {
    let inputs = [
        "",
        "length",
        "length\nlength\n",
        "\n  \nnosuch\nquit\nlength\n",
        "length\n# foo\nread 0\nread -Z 0\nwrite 0 512\nsleep x\n",
        // The sleep is for the write to end in it, on a machine that has other work too.
        "aio_read 2M 1\nlength\naio_write 0 1\nsleep 500\nlength\naio_read 0 4\naio_flush\nquit\n",
        "read -v 0 16k\nnosuch\nread -v 0 20k\nnosuch\n",
        "length\r\nlength\t\n\tlength\n",
    ];
    let mut cases = Vec::new();
    for arguments in [vec!["-f", "raw", "r.raw"], vec!["q.qcow2"], vec!["-f", "raw", "-r", "r.raw"]]
    {
        for input in inputs {
            cases.push(Case { arguments: arguments.clone(), input: Some(input) });
        }
    }
    let files = "open -o driver=raw r.raw\nread 0 5\nclose\nclose\nopen nosuch\nlength\nquit\n";
    for input in [files, "", "length", "nosuch"] {
        cases.push(Case { arguments: vec![], input: Some(input) });
    }
    cases.push(Case::line("-f|raw|-c|length|-c|nosuch|-c|sigraise 0|-c|nosuch|-c|map|r.raw"));
    cases.push(Case::line("-f|raw|-c|help|-c|nosuch|-c|help|-c|nosuch|-c|help|-c|nosuch|r.raw"));
    check("prompt", &cases)
}
