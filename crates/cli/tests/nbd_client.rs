//! The program as a client of NBD servers: it and the real tools meet the same server, and have to say
//! the same.
//!
//! Without the real programs of version 10.0 nothing is compared, which is said.

mod common;

use std::error::Error;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use holstein_testkit::{Oracle, TempDir, skipped};

type TestResult<T = ()> = Result<T, Box<dyn Error>>;

const OURS: &str = env!("CARGO_BIN_EXE_holstein");

/// A server in the foreground; it ends with its last client.
struct Server(Child);

impl Server {
    fn start(program: &Path, dir: &Path, arguments: &[&str]) -> TestResult<Self> {
        let socket = dir.join("s");
        let mut command = Command::new(program);
        command.arg0("qemu-nbd").arg("-t").arg("-k").arg(&socket).args(arguments).current_dir(dir);
        let server = Self(command.stdin(Stdio::null()).spawn()?);
        let begin = Instant::now();
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            if begin.elapsed() > Duration::from_secs(30) {
                return Err(format!("{arguments:?}: nobody listens").into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

/// What a command says, without what takes another time in each run.
fn said(command: &mut Command) -> TestResult<String> {
    let output = command.stdin(Stdio::null()).output()?;
    let text = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains(" ops; ")).collect();
    Ok(format!("{}\n[{:?}]\n", lines.join("\n"), output.status.code()))
}

struct Clients {
    oracle: Oracle,
    server: PathBuf,
}

impl Clients {
    fn find(test: &str) -> Option<Self> {
        let oracle = common::oracle(test)?;
        let server = std::env::var_os("HOLSTEIN_QEMU_NBD").unwrap_or_else(|| "qemu-nbd".into());
        let version = Command::new(&server).arg("--version").output().ok();
        if version.is_some_and(|output| output.stdout.starts_with(b"qemu-nbd 10.0.")) {
            return Some(Self { oracle, server: server.into() });
        }
        skipped(&format!("{test}: there is no qemu-nbd of version 10.0"));
        None
    }

    /// Runs a command line by the real program and by ours; `@` is the server's socket.
    fn compare(&self, dir: &Path, line: &str) -> TestResult {
        let mut words = line
            .split(' ')
            .map(|word| word.replace('@', &dir.join("s").display().to_string()).replace('_', " "));
        let name = words.next().ok_or("an empty line")?;
        let words: Vec<String> = words.collect();
        let real = match name.as_str() {
            "qemu-img" => self.oracle.qemu_img(),
            "qemu-io" => self.oracle.qemu_io(),
            _ => &self.server,
        };
        let theirs = said(Command::new(real).arg0(&name).args(&words).current_dir(dir))?;
        let ours = said(Command::new(OURS).arg0(&name).args(&words).current_dir(dir))?;
        assert_eq!(ours, theirs, "{line}");
        Ok(())
    }
}

fn make_images(oracle: &Oracle, dir: &Path) -> TestResult {
    let image = dir.join("i.qcow2");
    oracle.create(&image, "", 8 << 20)?;
    for command in ["write -P 7 1M 100k", "write -z 2M 1M", "write -P 9 7M 1M"] {
        let mut io = Command::new(oracle.qemu_io());
        assert!(io.args(["-f", "qcow2", "-c", command]).arg(&image).output()?.status.success());
    }
    fs::write(dir.join("r.raw"), vec![4; 3 << 20])?;
    Ok(())
}

const READS: &[&str] = &[
    "qemu-img info nbd+unix:///exp?socket=@",
    "qemu-img info --output=json nbd:unix:@:exportname=exp",
    "qemu-img info --image-opts driver=nbd,server.type=unix,server.path=@,export=exp",
    "qemu-img info --image-opts driver=raw,file.driver=nbd,file.path=@,file.export=exp",
    "qemu-img map --output=json nbd+unix:///exp?socket=@",
    "qemu-img map nbd+unix:///exp?socket=@",
    "qemu-img measure -O qcow2 nbd+unix:///exp?socket=@",
    "qemu-img compare -f raw -F qcow2 nbd+unix:///exp?socket=@ copy.qcow2",
    "qemu-img info nbd+unix:///wrong?socket=@",
    "qemu-img info nbd+unix:///?socket=/nodir/s",
    "qemu-img info nbd:unix:/nodir/s",
    "qemu-img info nbd://127.0.0.1:1/",
    "qemu-io -r -f raw -c length -c read_-P_7_1M_100k -c read_-P_0_2M_1M nbd+unix:///exp?socket=@",
    "qemu-io -r -f raw -c read_-v_1150k_64 -c read_8M_1 nbd+unix:///exp?socket=@",
    "qemu-nbd -L -k @",
];

#[test]
fn both_programs_read_the_same_from_a_server() -> TestResult {
    let Some(clients) = Clients::find("both_programs_read_the_same_from_a_server") else {
        return Ok(());
    };
    let dir = TempDir::new("nbd-client")?;
    let dir = dir.path();
    make_images(&clients.oracle, dir)?;
    fs::copy(dir.join("i.qcow2"), dir.join("copy.qcow2"))?;
    for server in [clients.server.as_path(), Path::new(OURS)] {
        for shape in [&["-f", "qcow2", "-e", "2", "i.qcow2"][..], &["-f", "qcow2", "-r", "i.qcow2"]]
        {
            let arguments = [&["-x", "exp", "-D", "words"][..], shape].concat();
            let _server = Server::start(server, dir, &arguments)?;
            for line in READS {
                clients.compare(dir, line)?;
            }
        }
    }
    Ok(())
}

const WRITES: &[&str] = &[
    "qemu-io -f raw -c write_-P_1_100_5000 -c write_-z_64k_1M -c discard_2M_64k nbd:unix:@",
    "qemu-io -f raw -c write_-P_1_8M_512 -c flush nbd:unix:@",
    "qemu-img convert -n -f raw -O raw r.raw nbd:unix:@",
    "qemu-img convert -f raw -O qcow2 nbd:unix:@ out.qcow2",
    "qemu-img compare -f raw -F qcow2 nbd:unix:@ out.qcow2",
    "qemu-img dd -f raw -O raw bs=1M count=2 if=nbd:unix:@ of=out.raw",
];

#[test]
fn what_both_programs_write_to_a_server_is_the_same() -> TestResult {
    let Some(clients) = Clients::find("what_both_programs_write_to_a_server_is_the_same") else {
        return Ok(());
    };
    let dir = TempDir::new("nbd-client-writes")?;
    let dir = dir.path();
    make_images(&clients.oracle, dir)?;
    let mut ends = Vec::new();
    for server in [clients.server.as_path(), Path::new(OURS)] {
        fs::write(dir.join("t.raw"), vec![6; 8 << 20])?;
        let running = Server::start(server, dir, &["-f", "raw", "--discard=unmap", "t.raw"])?;
        for line in WRITES {
            clients.compare(dir, line)?;
        }
        drop(running);
        ends.push(fs::read(dir.join("t.raw"))?);
    }
    assert!(ends[0] == ends[1]);
    assert!(ends[0][..3 << 20].iter().all(|byte| *byte == 4));
    Ok(())
}

#[test]
fn images_lie_on_exports_and_stand_on_them() -> TestResult {
    let Some(clients) = Clients::find("images_lie_on_exports_and_stand_on_them") else {
        return Ok(());
    };
    let dir = TempDir::new("nbd-client-images")?;
    let dir = dir.path();
    make_images(&clients.oracle, dir)?;
    let base = format!("nbd+unix:///?socket={}", dir.join("s").display());
    let _server = Server::start(Path::new(OURS), dir, &["-f", "raw", "-e", "3", "-r", "i.qcow2"])?;
    let line =
        ["create", "-q", "-u", "-f", "qcow2", "-b", &base, "-F", "qcow2", "over.qcow2", "8M"];
    assert!(
        Command::new(clients.oracle.qemu_img()).args(line).current_dir(dir).status()?.success()
    );
    for line in [
        "qemu-img info -f qcow2 nbd:unix:@",
        "qemu-img check -f qcow2 nbd:unix:@",
        "qemu-img map --output=json -f qcow2 nbd:unix:@",
        "qemu-img info --backing-chain over.qcow2",
        "qemu-io -r -f qcow2 -c read_-P_7_1M_100k -c read_-P_9_7M_1M over.qcow2",
        "qemu-img info json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"nbd\",\"path\":\"@\"}}",
    ] {
        clients.compare(dir, line)?;
    }
    Ok(())
}

const TARGETS: &[&str] = &[
    "qemu-img create -f raw nbd:unix:@ 4M",
    "qemu-img create -f raw nbd:unix:@ 2M",
    "qemu-io -r -f raw -c read_-P_0_0_512 -c read_-P_6_512_1M nbd:unix:@",
    "qemu-img create -f raw nbd:unix:@ 9M",
    "qemu-img create -f raw -o preallocation=full nbd:unix:@ 1M",
    "qemu-img create -f raw -o nocow=on nbd:unix:@ 1M",
    "qemu-img create -f raw -o preallocation=off nbd:unix:@ 1M",
    "qemu-img create -f qcow2 -o extent_size_hint=1M nbd:unix:@ 1M",
    "qemu-img create -f raw -o help nbd:unix:@",
    "qemu-img create -f qcow2 -o help nbd:unix:@",
    "qemu-img convert -O raw -o help zero.raw nbd:unix:@",
    "qemu-img convert -f raw -O raw -o nocow=on zero.raw nbd:unix:@",
    "qemu-img create -f qcow2 nbd:unix:@ 1G",
    "qemu-img info nbd:unix:@",
    "qemu-img check nbd:unix:@",
    "qemu-img create -f qcow2 -o preallocation=full nbd:unix:@ 1M",
    "qemu-img compare -f qcow2 -F raw nbd:unix:@ zero.raw",
    "qemu-img create -f raw nbd:unix:/nodir/x 1M",
    "qemu-img create -f qcow2 nbd:unix:/nodir/x 1M",
    "qemu-img create -f qcow2 null-co:// 1M",
    "qemu-img convert -f qcow2 -O qcow2 i.qcow2 nbd:unix:@",
    "qemu-img compare -f qcow2 -F qcow2 i.qcow2 nbd:unix:@",
    "qemu-img check nbd:unix:@",
    "qemu-img convert -n -f qcow2 -O qcow2 i.qcow2 nbd:unix:@",
    "qemu-img convert -c -f qcow2 -O qcow2 i.qcow2 nbd:unix:@",
    "qemu-img check nbd:unix:@",
    "qemu-img compare -f qcow2 -F qcow2 i.qcow2 nbd:unix:@",
    "qemu-img convert -f raw -O raw large.raw nbd:unix:@",
    "qemu-img dd -f raw -O raw bs=1M count=2 if=r.raw of=nbd:unix:@",
    "qemu-img resize -f raw nbd:unix:@ 9M",
];

#[test]
fn images_are_made_in_exports() -> TestResult {
    let Some(clients) = Clients::find("images_are_made_in_exports") else { return Ok(()) };
    let dir = TempDir::new("nbd-client-targets")?;
    let dir = dir.path();
    make_images(&clients.oracle, dir)?;
    fs::write(dir.join("t.raw"), vec![6; 8 << 20])?;
    fs::write(dir.join("zero.raw"), vec![0; 1 << 20])?;
    fs::write(dir.join("large.raw"), vec![1; 9 << 20])?;
    let _server = Server::start(Path::new(OURS), dir, &["-f", "raw", "t.raw"])?;
    for line in TARGETS {
        clients.compare(dir, line)?;
    }
    Ok(())
}

#[test]
fn states_of_any_context_are_shown_as_those_of_holes() -> TestResult {
    let test = "states_of_any_context_are_shown_as_those_of_holes";
    let Some(clients) = Clients::find(test) else { return Ok(()) };
    let dir = TempDir::new("nbd-client-contexts")?;
    let dir = dir.path();
    let img = |line: &str| {
        let mut command = Command::new(clients.oracle.qemu_img());
        command.args(line.split(' ')).current_dir(dir).status()
    };
    let io = |line: &str, image: &str| {
        let mut command = Command::new(clients.oracle.qemu_io());
        command.args(["-f", "qcow2", "-c", line, image]).current_dir(dir).output()
    };
    assert!(img("create -q -f qcow2 a.qcow2 1M")?.success());
    assert!(io("write 0 192k", "a.qcow2")?.status.success());
    assert!(img("create -q -f qcow2 -b a.qcow2 -F qcow2 b.qcow2")?.success());
    assert!(io("write 64k 64k", "b.qcow2")?.status.success());
    assert!(img("create -q -f qcow2 -b b.qcow2 -F qcow2 c.qcow2")?.success());
    assert!(img("bitmap --add c.qcow2 b0")?.success());
    assert!(io("write 128k 64k", "c.qcow2")?.status.success());
    assert!(io("write -z 512k 64k", "c.qcow2")?.status.success());
    for server in [clients.server.as_path(), Path::new(OURS)] {
        let _server = Server::start(server, dir, &["-A", "-B", "b0", "-f", "qcow2", "c.qcow2"])?;
        for context in
            ["base:allocation", "qemu:dirty-bitmap:b0", "qemu:allocation-depth", "nope", "qemu:"]
        {
            for line in [
                "qemu-img map --output=json --image-opts driver=nbd,server.type=unix,server.path=@",
                "qemu-img map --image-opts driver=nbd,server.type=unix,server.path=@",
            ] {
                clients.compare(dir, &format!("{line},x-dirty-bitmap={context}"))?;
            }
        }
        for line in [
            "qemu-img map --output=json --image-opts driver=raw,file.driver=nbd,file.path=@,\
             file.x-dirty-bitmap=qemu:dirty-bitmap:b0",
            "qemu-img info --image-opts driver=nbd,path=@,reconnect-delay=1,open-timeout=1",
            "qemu-img info --image-opts driver=nbd,path=@,reconnect-delay=x",
            "qemu-img info --image-opts driver=nbd,path=/nodir/s,open-timeout=1",
        ] {
            clients.compare(dir, line)?;
        }
    }
    Ok(())
}

#[test]
fn a_client_goes_on_with_a_server_that_comes_back() -> TestResult {
    let dir = TempDir::new("nbd-client-again")?;
    let dir = dir.path();
    fs::write(dir.join("t.raw"), vec![6; 1 << 20])?;
    let serve = || Server::start(Path::new(OURS), dir, &["-f", "raw", "t.raw"]);
    let server = serve()?;
    let socket = dir.join("s").display().to_string();
    let mut client = Command::new(OURS);
    client.arg0("qemu-io").args(["-t", "none", "-n", "--image-opts"]);
    client.args(["-c", "write -P 1 0 64k", "-c", "sleep 1000", "-c", "write -P 2 64k 64k"]);
    client.arg(format!("driver=nbd,path={socket},reconnect-delay=60"));
    let client = client.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    std::thread::sleep(Duration::from_millis(400));
    drop(server);
    std::thread::sleep(Duration::from_millis(900));
    let server = serve()?;
    let output = client.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.matches("wrote 65536/65536").count() == 2, "{said}");
    drop(server);
    let bytes = fs::read(dir.join("t.raw"))?;
    assert!(
        bytes[..65536].iter().all(|b| *b == 1) && bytes[65536..131_072].iter().all(|b| *b == 2)
    );
    Ok(())
}
