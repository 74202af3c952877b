//! JSON results, errors and progress under our own name.

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Write};
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
        ("create -p -f qcow2 -o preallocation=full d 2M", true),
        ("create -p -q -f qcow2 -o preallocation=full d 2M", false),
        ("resize -p --preallocation full d 3M", true),
        ("snapshot -p -c one d", true),
        ("measure -p -O qcow2 a", true),
        ("bench -p -c 10 d", true),
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
fn each_command_on_an_open_disk_is_an_object() -> TestResult {
    let scratch = Scratch::new("io")?;
    assert!(scratch.run("create -q -f qcow2 a 1M")?.status.success());
    let commands = ["write -P 1 0 64k", "read -P 2 0 1k", "nothing", "aio_write 64k 4k", "length"];
    let run = |file: &str, input: &str| -> Result<Output, Box<dyn Error>> {
        let mut io = Command::new(OURS);
        io.args(["io", "--output=json", file]).current_dir(scratch.0.path());
        if input.is_empty() {
            io.args(commands.iter().flat_map(|command| ["--cmd", command]));
        }
        let mut child =
            io.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().ok_or("no input")?.write_all(input.as_bytes())?;
        Ok(child.wait_with_output()?)
    };
    for input in [String::new(), commands.join("\n")] {
        let output = run("a", &input)?;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let lines = text(&output.stdout);
        let lines: Vec<Value> =
            lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let done: Vec<_> = lines.iter().filter(|line| !line["command"].is_null()).collect();
        let names: Vec<_> = done.iter().map(|line| line["command"].as_str()).collect();
        assert_eq!(names, commands.map(Some), "{lines:?}");
        let statuses: Vec<_> = done.iter().map(|line| line["status"].as_u64()).collect();
        assert_eq!(statuses, [0, 1, 1, 0, 0].map(Some), "{lines:?}");
        let said = |line: &Value, words: &str| {
            line["output"].as_str().is_some_and(|output| output.contains(words))
        };
        assert!(said(done[0], "wrote 65536/65536 bytes at offset 0\n"), "{lines:?}");
        assert!(said(done[1], "Pattern verification failed"), "{lines:?}");
        // Whenever it ended, it is told of once.
        let late = lines.iter().filter(|line| said(line, "wrote 4096/4096 bytes at offset 65536"));
        assert_eq!(late.count(), 1, "{lines:?}");
        assert_eq!(objects(&output)?.len(), 1, "{output:?}");
        assert!(text(&output.stderr).contains("not found"), "{output:?}");
    }
    // The last form counts.
    let human = scratch.run("io --output=json --output=human --cmd length a")?;
    assert_eq!(text(&human.stdout), "1 MiB\n");
    let missing = run("b", "")?;
    assert_eq!(missing.status.code(), Some(1));
    assert!(objects(&missing)?[0]["error"]["message"].is_string(), "{missing:?}");
    assert_eq!(text(&missing.stdout), "");
    Ok(())
}

#[test]
fn a_server_says_in_json_where_it_is_and_what_another_one_has() -> TestResult {
    let scratch = Scratch::new("nbd")?;
    assert!(scratch.run("create -q -f qcow2 a 1M")?.status.success());
    let socket = scratch.0.file("s");
    let mut server = Command::new(OURS)
        .args(["nbd", "--output=json", "-t", "-x", "disk", "-D", "words", "-f", "qcow2", "-k"])
        .args([&socket, &scratch.0.file("a")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(server.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    let said: Value = serde_json::from_str(&line)?;
    let wanted = json!({
        "listening": {"path": socket.to_str()},
        "export": "disk",
        "size": 1 << 20,
        "read-only": false,
        "pid": server.id(),
    });
    assert_eq!(said, wanted);
    let list = format!("nbd --list --output=json -k {}", socket.display());
    let listed = scratch.run(&list)?;
    server.kill()?;
    server.wait()?;
    assert!(listed.status.success(), "{listed:?}");
    let listed: Value = serde_json::from_slice(&listed.stdout)?;
    let export = &listed["exports"][0];
    assert_eq!((&export["name"], &export["size"]), (&json!("disk"), &json!(1 << 20)));
    assert_eq!(export["description"], "words");
    assert!(export["flags"].as_array().is_some_and(|flags| flags.contains(&json!("flush"))));
    assert_eq!(export["contexts"], json!(["base:allocation"]));
    // Where nobody listens, that is an error, in the same form.
    let refused = scratch.run("nbd --list --output=json -k nowhere")?;
    assert_eq!(refused.status.code(), Some(1));
    assert!(objects(&refused)?[0]["error"]["message"].is_string(), "{refused:?}");
    Ok(())
}

/// A meter that nobody feeds ends with one of one.
#[test]
fn every_command_that_can_take_long_counts_its_work() -> TestResult {
    let scratch = Scratch::new("work")?;
    noise(&scratch.0.file("a"), 1 << 20)?;
    for (line, unit, total) in [
        ("create -p -f qcow2 -o preallocation=full b 2M", "bytes", 2 << 20),
        ("create -p -f raw -o preallocation=full c 3M", "bytes", 3 << 20),
        ("resize -p --preallocation falloc b 5M", "bytes", 3 << 20),
        ("resize -p -f raw --preallocation full c 5M", "bytes", 2 << 20),
        ("bench -p -c 77 b", "steps", 77),
        ("measure -p -O qcow2 b", "bytes", 5 << 20),
        ("dd -p if=a of=d", "bytes", 1 << 20),
    ] {
        let output = scratch.run(&format!("{line} --output=json"))?;
        assert!(output.status.success(), "{line}: {output:?}");
        let states = objects(&output)?;
        let last = &states.last().ok_or("no progress")?["progress"];
        assert_eq!((last[unit].as_u64(), last["total"].as_u64()), (Some(total), Some(total)));
    }
    // A table for each 32 KiB of the disk.
    let made = "create -q -f qcow2 -o cluster_size=512,preallocation=metadata s 1M";
    assert!(scratch.run(made)?.status.success());
    for action in ["-c", "-a", "-d"] {
        if action == "-a" {
            // Something is lost by it.
            let io = ["io", "--cmd", "write 0 1M", "s"];
            assert!(Command::new(OURS).args(io).current_dir(scratch.0.path()).status()?.success());
        }
        let output = scratch.run(&format!("snapshot -p {action} one s --output=json"))?;
        assert!(output.status.success(), "{action}: {output:?}");
        let states = objects(&output)?;
        let last = &states.last().ok_or("no progress")?["progress"];
        assert!(last["total"].as_u64().is_some_and(|total| total >= 32), "{action}: {last}");
    }
    // Space first, and then the copy.
    let output =
        scratch.run("convert -p --rate-limit 300k -m 1 -O qcow2 -o preallocation=full a e")?;
    let said = text(&output.stderr);
    assert!(output.status.success() && said.contains("copy: "), "{said}");
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
