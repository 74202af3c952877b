//! A virtual machine of QEMU, whose parts are where the variable `HOLSTEIN_GUEST` says.
#![allow(dead_code, reason = "each test file uses a part of this module")]

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use holstein_testkit::skipped;

type TestResult<T = ()> = Result<T, Box<dyn Error>>;

/// The longest that a guest may run: emulated, it needs 10 s, and more on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// What the first program of a guest does before anything else.
const BEGIN: &str = "#!/bin/sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
insmod /lib/virtio_blk.ko
";

/// The parts of a machine.
pub(crate) struct Machine(PathBuf);

impl Machine {
    /// Finds them; says so where there are none.
    pub(crate) fn find(test: &str) -> Option<Self> {
        let parts = std::env::var_os("HOLSTEIN_GUEST");
        if parts.is_none() {
            skipped(&format!(
                "{test}: there is no virtual machine; `cargo xtask guest` fetches one and prints the \
                 variable that names it"
            ));
        }
        parts.map(|parts| Self(parts.into()))
    }

    /// A machine without devices, `memory` MiB large.
    fn command(&self, memory: u32) -> Command {
        let mut command = Command::new(self.0.join("bin/qemu-system-x86_64"));
        command.args(["-machine", "q35,accel=tcg", "-cpu", "max", "-smp", "1", "-nodefaults"]);
        command.args(["-no-user-config", "-nographic", "-m", &memory.to_string()]);
        command
    }

    /// Boots a guest that sees `drive` as `/dev/vda`, runs the lines of a shell and ends; what its
    /// console showed.
    pub(crate) fn boot(&self, dir: &Path, drive: &str, lines: &str) -> TestResult<String> {
        let console = dir.join("console");
        let mut command = self.command(512);
        command
            .args(["-serial", "stdio", "-no-reboot", "-append", "console=ttyS0 panic=-1 quiet"])
            .arg("-kernel")
            .arg(self.0.join("vmlinuz"))
            .arg("-initrd")
            .arg(self.archive(dir, lines)?)
            .args(["-drive", &format!("{drive},if=none,id=disk,discard=unmap")])
            .args(["-device", "virtio-blk-pci,drive=disk"])
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(File::create(&console)?)
            .stderr(File::options().append(true).open(&console)?);
        let mut child = command.spawn()?;
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if begin.elapsed() > LIMIT {
                child.kill()?;
                break child.wait()?;
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        let shown = String::from_utf8_lossy(&fs::read(&console)?).into_owned();
        if status.success() { Ok(shown) } else { Err(format!("{status}: {shown}").into()) }
    }

    /// The files of a guest whose first program is that script: the kernel takes two archives in a row.
    fn archive(&self, dir: &Path, lines: &str) -> TestResult<PathBuf> {
        let folder = dir.join("guest");
        fs::create_dir_all(&folder)?;
        let init = folder.join("init");
        fs::write(&init, format!("{BEGIN}{lines}\npoweroff -f\n"))?;
        fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
        let mut packing = Command::new(self.0.join("bin/busybox"))
            .args(["cpio", "-o", "-H", "newc"])
            .current_dir(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        packing.stdin.take().ok_or("no input")?.write_all(b"init\n")?;
        let packed = packing.wait_with_output()?;
        assert!(packed.status.success(), "{packed:?}");
        let mut bytes = fs::read(self.0.join("initrd.cpio"))?;
        bytes.extend(packed.stdout);
        let path = dir.join("initrd.cpio");
        fs::write(&path, bytes)?;
        Ok(path)
    }

    /// A machine that does not run: it only has `drive` open.
    fn paused(&self, dir: &Path, drive: &str) -> Command {
        let mut command = self.command(64);
        command.args(["-S", "-monitor", "stdio", "-drive", drive]).current_dir(dir);
        command
    }

    /// Starts a machine that does not run, and waits until it has `drive` open.
    pub(crate) fn hold(&self, dir: &Path, drive: &str) -> TestResult<Paused> {
        let mut child = self
            .paused(dir, drive)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        // Drives are opened before the monitor greets.
        let output = BufReader::new(child.stdout.take().ok_or("no output")?);
        let mut paused = Paused { child, output };
        let mut greeting = String::new();
        paused.output.read_line(&mut greeting)?;
        assert!(greeting.contains("monitor"), "{greeting}");
        Ok(paused)
    }

    /// Starts a machine that must not come to have `drive` open; how it ended.
    pub(crate) fn refused(&self, dir: &Path, drive: &str) -> TestResult<Output> {
        let mut command = self.paused(dir, drive);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        // If it runs all the same, it ends; if not, nobody listens.
        let _ = child.stdin.take().ok_or("no input")?.write_all(b"quit\n");
        Ok(child.wait_with_output()?)
    }
}

/// A machine that does not run.
pub(crate) struct Paused {
    child: Child,
    /// Kept open: it says more until it ends.
    output: BufReader<ChildStdout>,
}

impl Paused {
    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a person would.
    pub(crate) fn end(mut self) -> TestResult {
        self.child.stdin.take().ok_or("no input")?.write_all(b"quit\n")?;
        let status = self.child.wait()?;
        assert!(status.success(), "{status}");
        Ok(())
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        // Nothing is left to be killed where it ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
