//! JSON results, errors and progress under our own name.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use holstein_testkit::{TempDir, skipped};
use serde_json::{Value, json};

const OURS: &str = env!("CARGO_BIN_EXE_holstein");

type TestResult = Result<(), Box<dyn Error>>;

/// An empty directory that goes away at the end.
struct Scratch(TempDir);

impl Scratch {
    fn new(name: &str) -> std::io::Result<Self> {
        Ok(Self(TempDir::new(&format!("native-{name}"))?))
    }

    fn run(&self, line: &str) -> std::io::Result<Output> {
        holstein(line, self.0.path())
    }
}

fn holstein(line: &str, dir: &Path) -> std::io::Result<Output> {
    let arguments = line.split_whitespace();
    Command::new(OURS).args(arguments).current_dir(dir).stdin(Stdio::null()).output()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The objects of standard error, one a line.
fn objects(output: &Output) -> Result<Vec<Value>, Box<dyn Error>> {
    let lines = text(&output.stderr);
    lines.lines().map(|line| Ok(serde_json::from_str(line).map_err(|_| line.to_owned())?)).collect()
}

#[test]
fn every_command_has_its_result_as_one_object() -> TestResult {
    let scratch = Scratch::new("results")?;
    let size = 1 << 20;
    for (line, expected) in [
        (
            "create -f qcow2 a 1M",
            json!({"command": "create", "status": 0, "filename": "a",
            "format": "qcow2", "virtual-size": size}),
        ),
        (
            "create -f raw b 1M",
            json!({"command": "create", "status": 0, "filename": "b",
            "format": "raw", "virtual-size": size}),
        ),
        ("compare a b", json!({"command": "compare", "status": 0, "identical": true})),
        (
            "bitmap --add --disable a m",
            json!({"command": "bitmap", "status": 0, "filename": "a",
            "bitmap": "m", "actions": ["add", "disable"]}),
        ),
        ("amend -o lazy_refcounts=on a", json!({"command": "amend", "status": 0, "filename": "a"})),
        (
            "snapshot -c one a",
            json!({"command": "snapshot", "status": 0, "filename": "a",
            "action": "create", "name": "one"}),
        ),
        (
            "snapshot -d one a",
            json!({"command": "snapshot", "status": 0, "filename": "a",
            "action": "delete", "name": "one"}),
        ),
        (
            "snapshot a",
            json!({"command": "snapshot", "status": 0, "filename": "a",
            "snapshots": []}),
        ),
        (
            "resize a 2M",
            json!({"command": "resize", "status": 0, "filename": "a",
            "virtual-size": 2 * size}),
        ),
        (
            "compare -s a b",
            json!({"command": "compare", "status": 1, "identical": false,
            "difference": "size"}),
        ),
        (
            "convert -O qcow2 b c",
            json!({"command": "convert", "status": 0, "filename": "c",
            "format": "qcow2", "virtual-size": size}),
        ),
        (
            "dd bs=64k count=2 if=b of=d",
            json!({"command": "dd", "status": 0, "filename": "d",
            "format": "raw", "virtual-size": 128 << 10}),
        ),
        (
            "create -f qcow2 -b c -F qcow2 e",
            json!({"command": "create", "status": 0,
            "filename": "e", "format": "qcow2", "virtual-size": size}),
        ),
        ("commit e", json!({"command": "commit", "status": 0, "filename": "e", "base": "c"})),
        (
            "rebase -b b -F raw e",
            json!({"command": "rebase", "status": 0, "filename": "e",
            "backing-filename": "b"}),
        ),
    ] {
        let output = scratch.run(&format!("{line} --output=json"))?;
        assert_eq!(text(&output.stderr), "", "{line}");
        let found: Value = serde_json::from_slice(&output.stdout)?;
        assert_eq!(found, expected, "{line}");
        assert_eq!(output.status.code().map(i64::from), expected["status"].as_i64(), "{line}");
    }
    let bench: Value = serde_json::from_slice(&scratch.run("bench -c 10 b --output json")?.stdout)?;
    assert_eq!((bench["requests"].as_u64(), bench["kind"].as_str()), (Some(10), Some("read")));
    assert!(bench["seconds"].is_f64(), "{bench}");
    // These have it from the reference.
    for line in ["info a", "map a", "check a", "measure -O qcow2 a"] {
        let output = scratch.run(&format!("{line} --output=json"))?;
        assert!(output.status.success() && output.stderr.is_empty(), "{line}: {output:?}");
        let _: Value = serde_json::from_slice(&output.stdout)?;
    }
    // A list of options that is asked for is a fact too.
    for line in ["create -f qcow2 -o help", "amend -f qcow2 -o help", "measure -O qcow2 -o help a"]
    {
        let found: Value =
            serde_json::from_slice(&scratch.run(&format!("{line} --output=json"))?.stdout)?;
        assert_eq!(
            found["text"].as_str(),
            Some(text(&scratch.run(line)?.stdout).as_str()),
            "{line}"
        );
    }
    Ok(())
}

#[test]
fn a_list_of_snapshots_is_that_of_info() -> TestResult {
    let scratch = Scratch::new("snapshots")?;
    for line in ["create -q -f qcow2 a 1M", "snapshot -c one a", "snapshot -c two a"] {
        assert!(scratch.run(line)?.status.success(), "{line}");
    }
    let listed: Value = serde_json::from_slice(&scratch.run("snapshot a --output=json")?.stdout)?;
    let info: Value = serde_json::from_slice(&scratch.run("info a --output=json")?.stdout)?;
    assert_eq!(listed["snapshots"], info["snapshots"]);
    assert_eq!(listed["snapshots"][1]["name"], "two");
    Ok(())
}

#[test]
fn errors_are_objects_with_the_same_message_and_status() -> TestResult {
    let scratch = Scratch::new("errors")?;
    fs::write(scratch.0.file("raw"), [0; 4096])?;
    for line in [
        "amend -o lazy_refcounts=on no",
        "amend -o lazy_refcounts=on -f raw raw",
        "bench no",
        "bitmap --add no b",
        "bitmap no b",
        "check no",
        "check -f raw raw",
        "commit no",
        "commit -f raw raw",
        "compare no no",
        "compare no",
        "convert no out",
        "convert -r x raw out",
        "create -f nosuch out 1M",
        "create out",
        "create -f qcow2 -b raw out",
        "create -f qcow2 -o cluster_size=3 out 1M",
        "dd if=no of=out",
        "dd if=raw",
        "info no",
        "map no",
        "measure no",
        "measure -O qcow2 -o nosuch=1 --size 1",
        "rebase -u no",
        "rebase no",
        "resize no 1M",
        "resize -f raw raw -512",
        "snapshot -c x no",
        "snapshot -c x -d x no",
        "info --nosuch no",
        "info --object secret,id=x raw",
        "info --backing-policy nosuch raw",
        "info --wait=x raw",
    ] {
        let plain = scratch.run(line)?;
        let found = scratch.run(&format!("{line} --output=json"))?;
        assert_ne!(plain.status.code(), Some(0), "{line}");
        assert_eq!(found.status.code(), plain.status.code(), "{line}");
        assert_eq!(text(&found.stdout), "", "{line}");
        let mut said = String::new();
        for object in objects(&found)? {
            let (kind, entry) = object
                .as_object()
                .and_then(|object| object.iter().next())
                .ok_or_else(|| format!("{line}: {object}"))?;
            assert!(["error", "warning"].contains(&kind.as_str()), "{line}: {object}");
            let message = entry["message"].as_str().ok_or("no message")?;
            let warning = if kind == "warning" { "warning: " } else { "" };
            said.push_str(&format!("holstein: {warning}{message}\n"));
            if let Some(hint) = entry["hint"].as_str() {
                said.push_str(&format!("{hint}\n"));
            }
        }
        let command = line.split(' ').next().unwrap_or_default();
        let expected = text(&plain.stderr).replace(&format!("holstein {command}: "), "holstein: ");
        assert_eq!(said, expected, "{line}");
    }
    let unknown = scratch.run("resize raw 1M --output=xml")?;
    let said = "holstein: --output expects 'human' or 'json' not 'xml'\n\
                Try 'holstein resize --help' for more info\n";
    assert_eq!((text(&unknown.stderr).as_str(), unknown.status.code()), (said, Some(1)));
    assert_eq!(fs::read(scratch.0.file("raw"))?, [0; 4096], "nothing was done");
    Ok(())
}

/// A raw disk of random looking bytes.
fn noise(path: &Path, len: usize) -> std::io::Result<()> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
    .take(len)
    .collect();
    fs::write(path, bytes)
}

#[test]
fn progress_is_objects_with_rate_and_time_left() -> TestResult {
    let scratch = Scratch::new("progress")?;
    noise(&scratch.0.file("a"), 6 << 20)?;
    let line = "convert -p --rate-limit 2M -m 1 -O qcow2 a b --output=json";
    let output = scratch.run(line)?;
    assert!(output.status.success(), "{output:?}");
    let _: Value = serde_json::from_slice(&output.stdout)?;
    let states = objects(&output)?;
    assert!(states.len() >= 2, "{states:?}");
    let mut before = 0.0;
    for state in &states {
        let state = &state["progress"];
        let percent = state["percent"].as_f64().ok_or("no percent")?;
        assert!(percent >= before, "{states:?}");
        before = percent;
        assert_eq!(state["total"].as_u64(), Some(6 << 20));
    }
    let first = &states[0]["progress"];
    let rate = first["rate"].as_f64().ok_or("no rate")?;
    assert!((0.5..8.0).contains(&(rate / f64::from(1 << 20))), "{first}");
    assert!(first["eta"].as_f64().is_some_and(|eta| eta > 0.0 && eta < 10.0), "{first}");
    let last = &states[states.len() - 1]["progress"];
    assert_eq!((last["percent"].as_f64(), last["bytes"].as_u64()), (Some(100.0), Some(6 << 20)));
    Ok(())
}

#[test]
fn progress_goes_to_standard_error_where_it_is_asked_for() -> TestResult {
    let scratch = Scratch::new("lines")?;
    noise(&scratch.0.file("a"), 1 << 20)?;
    for (line, shown) in [
        ("convert -O qcow2 a b", false),
        ("convert -p -O qcow2 a b", true),
        ("convert -p -q -O qcow2 a b", false),
        ("compare -p a b", true),
        ("check -p b", true),
        ("dd -p if=a of=c", true),
        ("amend -p -o compat=0.10 b", true),
    ] {
        let output = scratch.run(line)?;
        assert!(output.status.success(), "{line}: {output:?}");
        let said = text(&output.stderr);
        if shown {
            let last = said.lines().last().unwrap_or_default();
            assert!(last.starts_with("100.0 %") && last.ends_with(" s"), "{line}: {said}");
        } else {
            assert_eq!(said, "", "{line}");
        }
        assert!(!text(&output.stdout).contains("/100%"), "{line}");
    }
    Ok(())
}

#[test]
fn a_terminal_shows_what_takes_longer_than_a_second() -> TestResult {
    let test = "a_terminal_shows_what_takes_longer_than_a_second";
    let scratch = Scratch::new("terminal")?;
    noise(&scratch.0.file("a"), 4 << 20)?;
    for (options, shown) in
        [("--rate-limit 2M -m 1", true), ("-m 1", false), ("-q --rate-limit 2M", false)]
    {
        let line = format!("{OURS} convert {options} -O qcow2 a b");
        let mut script = Command::new("script");
        script
            .args(["-qec", &line, "typescript"])
            .current_dir(scratch.0.path())
            .stdin(Stdio::null());
        let Ok(output) = script.output() else {
            skipped(&format!("{test}: there is no script(1)"));
            return Ok(());
        };
        assert!(output.status.success(), "{output:?}");
        let said = text(&output.stdout);
        assert_eq!(said.contains("/s  ETA 0:0"), shown, "{options}: {said:?}");
        assert!(!shown || said.ends_with('\r'), "the line is gone at the end: {said:?}");
    }
    Ok(())
}
