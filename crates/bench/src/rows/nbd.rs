//! The server of network block devices beside `qemu-nbd`, asked by fio and by nbdcopy over a socket.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{Bench, CONTENT, REQUEST};
use crate::measure::{as_f64, bytes_f64, interleaved};
use crate::qemu::{Qemu, run};
use crate::raw_file;
use crate::table::{Line, Other, Unit};

pub(crate) const READ: &str = "nbd-read-4k";
pub(crate) const WRITE: &str = "nbd-write-4k";
pub(crate) const READ_DEEP: &str = "nbd-read-4k-d32";
pub(crate) const WRITE_DEEP: &str = "nbd-write-4k-d32";
pub(crate) const READ_TWO: &str = "nbd-read-4k-d32-two";
pub(crate) const WRITE_TWO: &str = "nbd-write-4k-d32-two";
pub(crate) const COPY_FROM: &str = "nbd-copy-from";
pub(crate) const COPY_TO: &str = "nbd-copy-to";

/// What clients ask for.
#[derive(Clone, Copy)]
pub(super) struct Load {
    write: bool,
    /// Requests under way on a connection.
    depth: u32,
    connections: u32,
}

impl Load {
    pub(super) const fn new(write: bool, depth: u32, connections: u32) -> Self {
        Self { write, depth, connections }
    }
}

/// Random requests of 4 KiB by fio.
pub(super) fn requests(bench: &Bench<'_>, name: &'static str, load: Load) -> Result<Line> {
    let servers = match Servers::start(bench, "fio") {
        Ok(servers) => servers?,
        Err(why) => return Ok(Line::Skipped { name, why }),
    };
    let engines = run(Path::new("fio"), ["--enghelp"])?;
    if !engines.lines().any(|line| line.trim() == "nbd") {
        return Ok(Line::Skipped { name, why: "this fio has no engine nbd".to_owned() });
    }
    let (full, quick) = if load.depth == 1 { (50_000, 4_000) } else { (200_000, 16_000) };
    let count = bench.options.choose(full, quick);
    let size = servers.size;
    let pair = interleaved(
        bench.options.rounds(9, 3),
        Box::new(|| fio(&servers.ours.uri(), size, load, count)),
        Box::new(|| fio(&servers.theirs.uri(), size, load, count)),
    )?;
    servers.end(bench)?;
    let what = if load.write { "writes in place, flushed at the end," } else { "reads" };
    let note = format!(
        "random {what} of 4 KiB by fio through a socket, {} under way on each of {} connections; \
         {} MiB image in the page cache",
        load.depth,
        load.connections,
        size >> 20
    );
    let need = if load.depth == 1 { 1.3 } else { 1.5 };
    let work = as_f64(count);
    Ok(Line::Compared { name, unit: Unit::Requests, work, other: Other::Qemu, pair, need, note })
}

/// The whole disk by nbdcopy: from the server to nowhere, or a file to it.
pub(super) fn copy(bench: &Bench<'_>, name: &'static str, write: bool) -> Result<Line> {
    let servers = match Servers::start(bench, "nbdcopy") {
        Ok(servers) => servers?,
        Err(why) => return Ok(Line::Skipped { name, why }),
    };
    let size = servers.size;
    let raw = bench.scratch.fresh("source.raw");
    if write {
        raw_file::filled(&raw, CONTENT + 1, size)?;
    }
    let raw = raw.display().to_string();
    let pass = |server: &Server| -> Result<f64> {
        let uri = server.uri();
        let uri = uri.as_str();
        let words = if write { vec!["--flush", raw.as_str(), uri] } else { vec![uri, "null:"] };
        let start = Instant::now();
        run(Path::new("nbdcopy"), words)?;
        Ok(start.elapsed().as_secs_f64())
    };
    let pair = interleaved(
        bench.options.rounds(9, 3),
        Box::new(|| pass(&servers.ours)),
        Box::new(|| pass(&servers.theirs)),
    )?;
    servers.end(bench)?;
    bench.scratch.fresh("source.raw");
    let what = if write { "a file to the server, flushed" } else { "the server to nowhere" };
    let note =
        format!("nbdcopy of {what}; {} MiB image in the page cache, all allocated", size >> 20);
    let work = bytes_f64(size);
    Ok(Line::Compared { name, unit: Unit::Bytes, work, other: Other::Qemu, pair, need: 1.1, note })
}

/// How many seconds fio says that `count` requests took.
fn fio(uri: &str, size: u64, load: Load, count: usize) -> Result<f64> {
    let each = count / usize::try_from(load.connections)?;
    let mode = if load.write { "randwrite" } else { "randread" };
    let mut args: Vec<String> = ["--name=bench", "--ioengine=nbd", "--group_reporting"]
        .iter()
        .chain(&["--norandommap", "--randrepeat=1", "--output-format=json"])
        .map(|&word| word.to_owned())
        .collect();
    args.extend([
        format!("--uri={uri}"),
        format!("--rw={mode}"),
        format!("--bs={REQUEST}"),
        format!("--size={size}"),
        format!("--iodepth={}", load.depth),
        format!("--numjobs={}", load.connections),
        format!("--number_ios={each}"),
        // As many bytes may be more than there are on the disk.
        format!("--io_size={}", each * REQUEST),
    ]);
    if load.write {
        args.push("--end_fsync=1".to_owned());
    }
    let said = run(Path::new("fio"), args)?;
    let seconds = parse(&said, load.write, each * usize::try_from(load.connections)?);
    seconds.with_context(|| format!("fio said {said}"))
}

/// The seconds in what fio says of its first group, which has made `count` requests without an error.
fn parse(text: &str, write: bool, count: usize) -> Option<f64> {
    let value: Value = serde_json::from_str(text.get(text.find('{')?..)?).ok()?;
    let group = value.get("jobs")?.get(0)?;
    let side = group.get(if write { "write" } else { "read" })?;
    let whole = group.get("error")?.as_u64()? == 0
        && side.get("total_ios")?.as_u64()? == u64::try_from(count).ok()?;
    let seconds = side.get("runtime")?.as_f64()? / 1000.0;
    (whole && seconds > 0.0).then_some(seconds)
}

/// Two servers of disks with the same content.
struct Servers<'a> {
    ours: Server,
    theirs: Server,
    images: [PathBuf; 2],
    qemu: &'a Qemu,
    size: u64,
}

impl<'a> Servers<'a> {
    /// Starts both; the outer error is why the row is skipped.
    fn start(bench: &Bench<'a>, client: &str) -> Result<Result<Self>, String> {
        let (qemu, program) = bench.programs()?;
        for needed in [qemu.nbd().as_path(), Path::new(client)] {
            run(needed, ["--version"]).map_err(|error| format!("{error:#}"))?;
        }
        Ok(Self::start_programs(bench, qemu, &program))
    }

    fn start_programs(bench: &Bench<'a>, qemu: &'a Qemu, program: &Path) -> Result<Self> {
        let size = bench.disk_size();
        let image = bench.full_image("ours.qcow2", size)?;
        let copy = bench.scratch.fresh("theirs.qcow2");
        std::fs::copy(&image, &copy).context("copy the image")?;
        let ours = Server::start(program, &["nbd"], bench.scratch.fresh("ours.socket"), &image)?;
        let theirs = bench.scratch.fresh("theirs.socket");
        let theirs = Server::start(&qemu.nbd(), &[], theirs, &copy)?;
        Ok(Self { ours, theirs, images: [image, copy], qemu, size })
    }

    /// Ends both; what they leave must be whole.
    fn end(self, bench: &Bench<'_>) -> Result<()> {
        self.ours.end()?;
        self.theirs.end()?;
        self.images.iter().try_for_each(|image| self.qemu.check(image))?;
        for name in ["ours.qcow2", "theirs.qcow2"] {
            bench.scratch.fresh(name);
        }
        Ok(())
    }
}

/// A server, which ends with the row.
struct Server {
    child: Child,
    socket: PathBuf,
}

impl Server {
    /// Starts it and waits until it listens.
    fn start(program: &Path, first: &[&str], socket: PathBuf, image: &Path) -> Result<Self> {
        let child = Command::new(program)
            .args(first)
            .args(["-t", "-e", "0", "-f", "qcow2", "--cache=writeback", "-k"])
            .arg(&socket)
            .arg(image)
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let mut server = Self { child, socket };
        let begin = Instant::now();
        while UnixStream::connect(&server.socket).is_err() {
            if server.child.try_wait()?.is_some() || begin.elapsed() > Duration::from_secs(30) {
                bail!("{} does not listen", program.display());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    fn uri(&self) -> String {
        format!("nbd+unix:///?socket={}", self.socket.display())
    }

    /// Ends it as a signal does.
    fn end(mut self) -> Result<()> {
        run(Path::new("kill"), [self.child.id().to_string()])?;
        let status = self.child.wait()?;
        ensure!(status.success(), "a server ended with {status}");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing is left to be killed where it ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_count_only_where_all_requests_were_made() {
        let said = |error: u32, count: u32| {
            format!(
                "fio: connected\n{{\"jobs\": [{{\"error\": {error}, \"read\": {{\"total_ios\": \
                 {count}, \"runtime\": 250}}, \"write\": {{\"total_ios\": 0, \"runtime\": 0}}}}]}}"
            )
        };
        assert_eq!(parse(&said(0, 40), false, 40), Some(0.25));
        assert_eq!(parse(&said(5, 40), false, 40), None);
        assert_eq!(parse(&said(0, 39), false, 40), None);
        assert_eq!(parse(&said(0, 40), true, 40), None);
        assert_eq!(parse("fio: no such engine", false, 40), None);
    }
}
