//! The program as `qemu-nbd`: the same clients meet it and the real server, and have to see the same.
//!
//! The clients are the real `qemu-img` and `qemu-io`. Where one of the real programs of version 10.0 is
//! missing, what needs it is skipped, which is said.

mod common;

use std::error::Error;
use std::fs;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use holstein_testkit::{Oracle, TempDir, skipped};
use rustix::process::{Pid, Signal, kill_process};

type TestResult<T = ()> = Result<T, Box<dyn Error>>;

const OURS: &str = env!("CARGO_BIN_EXE_holstein");

/// The real server, if it is of the release whose texts are ours; says so if not.
fn real_server(test: &str) -> Option<PathBuf> {
    let path = std::env::var_os("HOLSTEIN_QEMU_NBD").unwrap_or_else(|| "qemu-nbd".into());
    let said = Command::new(&path).arg("--version").output().ok();
    let said = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    if said.is_some_and(|text| text.starts_with("qemu-nbd 10.0.")) {
        return Some(path.into());
    }
    skipped(&format!("{test}: there is no qemu-nbd of version 10.0"));
    None
}

fn server_command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg0("qemu-nbd").stdin(Stdio::null());
    command
}

/// A server in the background.
struct Running {
    dir: PathBuf,
}

impl Running {
    /// Starts a server in a folder, on the socket `s` there, and waits until clients can come.
    fn start(program: &Path, dir: &Path, arguments: &[&str]) -> TestResult<Self> {
        let socket = dir.join("s").display().to_string();
        let pid_file = dir.join("pid").display().to_string();
        let mut command = server_command(program);
        command.args(["--fork", "-t", "-k", &socket, "--pid-file", &pid_file]).args(arguments);
        let output = command.current_dir(dir).output()?;
        if output.status.success() {
            return Ok(Self { dir: dir.to_owned() });
        }
        Err(format!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
    }

    fn pid(&self) -> TestResult<Pid> {
        let text = fs::read_to_string(self.dir.join("pid"))?;
        Pid::from_raw(text.trim().parse()?).ok_or_else(|| "not a process".into())
    }

    /// Ends the server as a signal does, and waits until it is gone.
    fn end(self) -> TestResult {
        let pid = self.pid()?;
        kill_process(pid, Signal::TERM)?;
        let begin = Instant::now();
        while kill_process(pid, Signal::CONT).is_ok() && !is_defunct(pid) {
            if begin.elapsed() > Duration::from_secs(30) {
                return Err("the server does not end".into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(!self.dir.join("s").exists(), "the socket is removed");
        Ok(())
    }
}

/// A process that ended and has no parent that asks for it.
fn is_defunct(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")))
}

fn text(output: &Output) -> String {
    let status = output.status.code().unwrap_or(-1);
    let said = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
    let timed = |line: &&str| !line.contains(" ops; ") && !line.starts_with("Run completed");
    let lines: Vec<&str> = said.lines().filter(timed).collect();
    format!("{}\n[{status}]\n", lines.join("\n"))
}

/// An image with data, zeros, a snapshot of another content, and two bitmaps.
fn make_image(oracle: &Oracle, dir: &Path) -> TestResult {
    let run = |program: &Path, words: &[&str]| -> TestResult {
        let output = Command::new(program).args(words).current_dir(dir).output()?;
        if output.status.success() { Ok(()) } else { Err(text(&output).into()) }
    };
    let img = |words: &[&str]| run(oracle.qemu_img(), words);
    let io = |command: &str| run(oracle.qemu_io(), &["-f", "qcow2", "-c", command, "i.qcow2"]);
    fs::write(dir.join("b.raw"), vec![5; 300 << 10])?;
    img(&["create", "-q", "-f", "qcow2", "-b", "b.raw", "-F", "raw", "i.qcow2", "4M"])?;
    img(&["bitmap", "--add", "i.qcow2", "b0"])?;
    io("write -P 7 1M 100k")?;
    img(&["snapshot", "-c", "old", "i.qcow2"])?;
    img(&["bitmap", "--add", "i.qcow2", "b1"])?;
    io("write -P 8 1088k 64k")?;
    io("write -z 2M 200k")?;
    fs::copy(dir.join("i.qcow2"), dir.join("fresh.qcow2"))?;
    Ok(())
}

/// A client: its program, and arguments in which `@` is the server's socket.
type Client = (&'static str, &'static [&'static str]);

const URI: &str = "nbd+unix:///?socket=@";

const READS: &[Client] = &[
    ("nbd", &["-L", "-k", "@"]),
    ("img", &["info", URI]),
    ("img", &["info", "nbd+unix:///wrong?socket=@"]),
    ("img", &["map", "--output=json", "-f", "raw", URI]),
    ("io", &["-r", "-f", "raw", "-c", "read -P 5 0 300k", "-c", "read -P 0 2M 2M", URI]),
    ("io", &["-r", "-f", "raw", "-c", "read -P 7 1M 64k", "-c", "read -P 8 1088k 64k", URI]),
    ("io", &["-f", "raw", "-c", "read -v 1150k 64", "-c", "read 4M 512", URI]),
];

const WRITES: &[Client] = &[
    ("io", &["-f", "raw", "-c", "write -P 1 0 1M", "-c", "write -P 2 12345 54321", URI]),
    ("io", &["-f", "raw", "-c", "write -z 100k 333k", "-c", "write -zu 3M 1M", URI]),
    ("io", &["-f", "raw", "-t", "writeback", "-c", "write -f -P 3 2M 64k", "-c", "flush", URI]),
    ("io", &["-f", "raw", "-c", "discard 1M 128k", "-c", "read -P 0 1M 64k", URI]),
    ("io", &["-f", "raw", "-c", "write -P 4 4M 512", URI]),
    ("img", &["map", "--output=json", "-f", "raw", URI]),
    ("img", &["bench", "-f", "raw", "-w", "-c", "500", "-d", "32", "-s", "4096", "-q", URI]),
];

const BITMAPS: &[Client] = &[
    (
        "img",
        &[
            "map",
            "--output=json",
            "--image-opts",
            "driver=nbd,server.type=unix,server.path=@,x-dirty-bitmap=qemu:dirty-bitmap:b0",
        ],
    ),
    (
        "img",
        &[
            "map",
            "--output=json",
            "--image-opts",
            "driver=nbd,server.type=unix,server.path=@,x-dirty-bitmap=qemu:dirty-bitmap:b1",
        ],
    ),
    (
        "img",
        &[
            "map",
            "--output=json",
            "--image-opts",
            "driver=nbd,server.type=unix,server.path=@,x-dirty-bitmap=qemu:allocation-depth",
        ],
    ),
    ("nbd", &["-L", "-k", "@"]),
];

/// Questions about ranges; what a filter prefers as sizes of requests is another matter.
const RANGES: &[Client] = BITMAPS.split_at(3).0;

const COMPRESS: &str = "driver=compress,file.driver=qcow2,file.file.filename=i.qcow2";
const COPY_ON_READ: &str = "driver=copy-on-read,file.driver=qcow2,file.file.filename=i.qcow2";
const BLKDEBUG: &str = "driver=blkdebug,image.driver=qcow2,image.file.filename=i.qcow2";
const DISCARD: &str = "driver=qcow2,file.filename=i.qcow2,discard=unmap,detect-zeroes=unmap";

/// Servers, by their options, and the clients that they meet.
const SCENES: &[(&[&str], &[Client])] = &[
    (&["-f", "qcow2", "i.qcow2"], READS),
    (&["-f", "qcow2", "-r", "-e", "3", "-D", "words", "i.qcow2"], READS),
    (&["-f", "qcow2", "-e", "0", "--discard=unmap", "i.qcow2"], WRITES),
    (&["-f", "qcow2", "i.qcow2"], WRITES),
    (&["-f", "qcow2", "-r", "i.qcow2"], WRITES),
    (&["-f", "qcow2", "-s", "i.qcow2"], WRITES),
    (&["-f", "qcow2", "-l", "old", "i.qcow2"], READS),
    (&["-f", "qcow2", "-o", "0x100000", "i.qcow2"], READS),
    (&["--image-opts", "driver=qcow2,file.filename=i.qcow2"], READS),
    (&["-f", "raw", "--discard=unmap", "--detect-zeroes=unmap", "b.raw"], WRITES),
    (&["-f", "qcow2", "-A", "-B", "b0", "-B", "b1", "i.qcow2"], BITMAPS),
    (&["-f", "qcow2", "-A", "-r", "-B", "b1", "-B", "b0", "i.qcow2"], BITMAPS),
    (&["-A", "-B", "b0", "-B", "b1", "--image-opts", COMPRESS], RANGES),
    (&["-A", "-B", "b0", "-B", "b1", "--image-opts", COPY_ON_READ], RANGES),
    (&["-A", "-B", "b0", "-B", "b1", "--image-opts", BLKDEBUG], RANGES),
    (&["-A", "-B", "b0", "-B", "b1", "--image-opts", DISCARD], RANGES),
    (&["--image-opts", BLKDEBUG], READS),
    (&["--image-opts", BLKDEBUG], WRITES),
];

#[test]
fn clients_see_the_same_at_both_servers() -> TestResult {
    let test = "clients_see_the_same_at_both_servers";
    let Some(oracle) = common::oracle(test) else { return Ok(()) };
    let Some(real) = real_server(test) else { return Ok(()) };
    let dir = TempDir::new("nbd-same")?;
    let dir = dir.path();
    make_image(&oracle, dir)?;
    let raw = fs::read(dir.join("b.raw"))?;
    for (arguments, clients) in SCENES {
        let mut seen = Vec::new();
        for server in [Path::new(OURS), &real] {
            fs::copy(dir.join("fresh.qcow2"), dir.join("i.qcow2"))?;
            fs::write(dir.join("b.raw"), &raw)?;
            let running = Running::start(server, dir, arguments)?;
            let mut said = String::new();
            for (program, words) in *clients {
                let program = match *program {
                    "img" => oracle.qemu_img(),
                    "io" => oracle.qemu_io(),
                    _ => &real,
                };
                let words = words
                    .iter()
                    .map(|word| word.replace('@', &dir.join("s").display().to_string()));
                said += &text(&Command::new(program).args(words).current_dir(dir).output()?);
            }
            running.end()?;
            let copy = dir.join(format!("end{}.raw", seen.len()));
            oracle.convert((&dir.join("i.qcow2"), "qcow2"), (&copy, "raw"))?;
            seen.push((said, fs::read(copy)?, fs::read(dir.join("b.raw"))?));
        }
        assert_eq!(seen[0].0, seen[1].0, "{arguments:?}");
        assert!(seen[0].1 == seen[1].1, "{arguments:?}: the image holds something else");
        assert!(seen[0].2 == seen[1].2, "{arguments:?}: the raw file holds something else");
        assert_eq!(oracle.check(&dir.join("i.qcow2"))?.0, holstein_testkit::Verdict::Clean);
    }
    Ok(())
}

#[test]
fn refusals_are_those_of_the_real_server() -> TestResult {
    let test = "refusals_are_those_of_the_real_server";
    let Some(oracle) = common::oracle(test) else { return Ok(()) };
    let Some(real) = real_server(test) else { return Ok(()) };
    let dir = TempDir::new("nbd-refusals")?;
    let dir = dir.path();
    make_image(&oracle, dir)?;
    let socket = dir.join("s").display().to_string();
    for line in [
        "",
        "i.qcow2 i.qcow2",
        "-c",
        "--zzz i.qcow2",
        "-e x i.qcow2",
        "-e -1 i.qcow2",
        "-k relative i.qcow2",
        "-o 64k i.qcow2",
        "-k @ -o 5000000 -f qcow2 i.qcow2",
        "-k @ -f raw --image-opts i.qcow2",
        "--cache=bad i.qcow2",
        "-n --cache=none i.qcow2",
        "--aio=bad i.qcow2",
        "--aio=native --aio=native i.qcow2",
        "-k @ --aio=native -f qcow2 i.qcow2",
        "--discard=bad i.qcow2",
        "--discard=unmap --discard=unmap i.qcow2",
        "--detect-zeroes=bad i.qcow2",
        "--detect-zeroes=unmap --discard=unmap i.qcow2",
        "-k @ -f qcow2 -l nope i.qcow2",
        "-k @ -f raw -l nope b.raw",
        "-l snapshot.foo=1 i.qcow2",
        "-k @ -f qcow2 -B nope i.qcow2",
        "-k @ nofile",
        "-k @ -f nofmt i.qcow2",
        "-k @ -f qcow2 b.raw",
        "-k /nodir/s i.qcow2",
        "-p abc i.qcow2",
        "-k @ --pid-file=/nodir/x -f qcow2 i.qcow2",
        "-k @ --fork -f qcow2 nofile",
        "--handshake-limit=x i.qcow2",
        "-L i.qcow2",
        "-L -x a",
        "-L -k @",
        "--tls-authz=x i.qcow2",
        "--tls-hostname=x i.qcow2",
        "--tls-creds=x i.qcow2",
        "--tls-creds=x --selinux-label=x i.qcow2",
        "--tls-creds=x -f raw --image-opts i.qcow2",
        "--tls-creds=x --tls-hostname=x i.qcow2",
        "--object secret,id=x,data=y --tls-creds=x i.qcow2",
        "-L -k @ --tls-creds=x",
        "-L -k @ --tls-creds=x --tls-authz=x",
        "-L -k @ --tls-authz=x",
        "-L -k @ --tls-hostname=x",
        "--object tls-creds-x509,id=a i.qcow2",
        "--object tls-creds-x509,id=a,dir=/nowhere i.qcow2",
        "--object authz-list-file,id=a,filename=x i.qcow2",
        "--object secret,id=a i.qcow2",
        "--object nosuch,id=a i.qcow2",
    ] {
        let words: Vec<String> =
            line.split_whitespace().map(|word| word.replace('@', &socket)).collect();
        let said: Vec<String> = [Path::new(OURS), &real]
            .into_iter()
            .map(|server| {
                let output = server_command(server).args(&words).current_dir(dir).output()?;
                // It stays behind where the real server does not come to its end.
                let _ = fs::remove_file(&socket);
                Ok(text(&output))
            })
            .collect::<TestResult<_>>()?;
        assert_eq!(said[0], said[1], "{line}");
    }
    Ok(())
}

/// A server of ours in the foreground.
fn foreground(dir: &Path, arguments: &[&str]) -> TestResult<std::process::Child> {
    let image = dir.join("f.raw");
    fs::write(&image, vec![3; 1 << 20])?;
    let socket = dir.join("s").display().to_string();
    let mut command = server_command(Path::new(OURS));
    command.args(["-k", &socket, "-f", "raw"]).args(arguments).arg(&image);
    let child = command.stderr(Stdio::piped()).spawn()?;
    wait_for("the socket", || dir.join("s").exists())?;
    Ok(child)
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) -> TestResult {
    let begin = Instant::now();
    while !done() {
        if begin.elapsed() > Duration::from_secs(30) {
            return Err(format!("there is no {what}").into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Says hello; the server's first bytes come back.
fn hello(dir: &Path) -> TestResult<UnixStream> {
    let mut stream = UnixStream::connect(dir.join("s"))?;
    let mut hello = [0; 18];
    stream.read_exact(&mut hello)?;
    assert_eq!(&hello[..16], b"NBDMAGICIHAVEOPT");
    Ok(stream)
}

#[test]
fn a_signal_ends_it_and_a_client_without_an_export_does_not() -> TestResult {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let dir = TempDir::new("nbd-signal")?;
        let mut child = foreground(dir.path(), &[])?;
        drop(hello(dir.path())?);
        std::thread::sleep(Duration::from_millis(50));
        let waiting = hello(dir.path())?;
        kill_process(Pid::from_child(&child), signal)?;
        assert_eq!(child.wait()?.code(), Some(0));
        assert!(!dir.path().join("s").exists());
        drop(waiting);
    }
    Ok(())
}

#[test]
fn the_last_client_ends_it_unless_it_is_persistent() -> TestResult {
    let dir = TempDir::new("nbd-last")?;
    let mut child = foreground(dir.path(), &[])?;
    let mut stream = hello(dir.path())?;
    let mut said = 3_u32.to_be_bytes().to_vec();
    said.extend(b"IHAVEOPT\0\0\0\x01\0\0\0\0");
    std::io::Write::write_all(&mut stream, &said)?;
    stream.read_exact(&mut [0; 10])?;
    drop(stream);
    assert_eq!(child.wait()?.code(), Some(0));
    assert!(!dir.path().join("s").exists());
    Ok(())
}

#[test]
fn a_pid_file_is_locked_while_the_server_runs() -> TestResult {
    let dir = TempDir::new("nbd-pid")?;
    let dir = dir.path();
    fs::write(dir.join("f.raw"), vec![3; 1 << 20])?;
    let running = Running::start(Path::new(OURS), dir, &["-f", "raw", "f.raw"])?;
    let pid_file = dir.join("pid").display().to_string();
    let other = dir.join("s2").display().to_string();
    let output = server_command(Path::new(OURS))
        .args(["--fork", "-k", &other, "--pid-file", &pid_file, "-r", "-f", "raw", "f.raw"])
        .current_dir(dir)
        .output()?;
    let text = text(&output);
    assert!(
        text.ends_with("qemu-nbd: Cannot lock pid file: Resource temporarily unavailable\n[1]\n"),
        "{text}"
    );
    running.end()?;
    assert!(dir.join("pid").exists(), "it stays behind");
    Ok(())
}

#[test]
fn a_socket_of_the_service_manager_is_used() -> TestResult {
    let test = "a_socket_of_the_service_manager_is_used";
    let dir = TempDir::new("nbd-activation")?;
    fs::write(dir.path().join("f.raw"), vec![3; 1 << 20])?;
    let script = "import os, socket, sys
s = socket.socket(socket.AF_UNIX); s.bind('s'); s.listen(5)
s.set_inheritable(True)
_ = s.fileno() == 3 or os.dup2(s.fileno(), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')
os.execv(sys.argv[1], ['qemu-nbd'] + sys.argv[2:])";
    let mut python = Command::new("python3");
    python.args(["-c", script, OURS, "-f", "raw", "f.raw"]).current_dir(dir.path());
    let Ok(mut child) = python.stdin(Stdio::null()).spawn() else {
        skipped(&format!("{test}: there is no python3"));
        return Ok(());
    };
    wait_for("server", || hello(dir.path()).is_ok())?;
    kill_process(Pid::from_child(&child), Signal::TERM)?;
    assert_eq!(child.wait()?.code(), Some(0));
    assert!(dir.path().join("s").exists(), "it belongs to somebody else");
    Ok(())
}

#[test]
fn what_is_no_socket_is_kept() -> TestResult {
    let dir = TempDir::new("nbd-kept")?;
    let path = dir.path().join("s");
    fs::write(&path, "mine")?;
    let socket = path.display().to_string();
    let serve = |image: &str| server_command(Path::new(OURS)).args(["-k", &socket, image]).output();
    let output = serve("nofile")?;
    assert_eq!(
        text(&output),
        format!("qemu-nbd: Failed to bind socket to {socket}: Address already in use\n[1]\n")
    );
    assert_eq!(fs::read_to_string(&path)?, "mine");
    fs::remove_file(&path)?;
    assert_eq!(serve("nofile")?.status.code(), Some(1));
    assert!(!path.exists(), "a socket of a server that did not start is removed");
    Ok(())
}

#[test]
fn what_is_not_there_is_refused_in_words() -> TestResult {
    for (words, reason) in [
        (&["-c", "/dev/nbd0", "x"][..], "option '--connect' is not available in this version"),
        (&["-d", "/dev/nbd0"], "option '--disconnect' is not available in this version"),
    ] {
        let output = server_command(Path::new(OURS)).args(words).output()?;
        assert_eq!(text(&output), format!("qemu-nbd: {reason}\n[1]\n"));
    }
    let output = Command::new(OURS).args(["nbd", "--version"]).output()?;
    assert!(text(&output).starts_with("holstein nbd version "), "{}", text(&output));
    Ok(())
}
