//! The side that is programs: QEMU's, or ours under their names.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use holstein::format::Version;
use holstein_testkit::Oracle;

use super::lower::bytes_of;
use super::{Answer, BackingFormat, Change, Place, Row, Side};
use crate::moment::bytes;
use crate::{Op, name};

/// Programs like `qemu-img` and `qemu-io`. Requests that move data are gathered and made by one
/// process, as many as come before one that is not.
#[derive(Debug)]
pub struct Tools {
    img: PathBuf,
    io: PathBuf,
    commands: Vec<String>,
    /// Known faults are steered clear of.
    careful: bool,
    /// Snapshots that were made and not deleted.
    snapshots: u64,
}

impl Tools {
    /// The programs at these paths.
    #[must_use]
    pub fn new(img: &Path, io: &Path) -> Self {
        let (img, io) = (img.to_owned(), io.to_owned());
        Self { img, io, commands: Vec::new(), careful: false, snapshots: 0 }
    }

    /// QEMU's own.
    #[must_use]
    pub fn reference(oracle: &Oracle) -> Self {
        Self { careful: true, ..Self::new(oracle.qemu_img(), oracle.qemu_io()) }
    }

    /// Runs the image program; the answer has what it said when it failed.
    fn img(&self, words: &[OsString]) -> Result<Answer, String> {
        let mut command = Command::new(&self.img);
        command.args(words);
        let output = run(&mut command)?;
        Ok(if output.status.success() { Ok(()) } else { Err(said(&output)) })
    }

    fn snapshot(
        &mut self,
        row: Row,
        place: &Place,
        what: &str,
        number: u64,
    ) -> Result<Answer, String> {
        self.flush(row, place)?;
        let mut snapshot = words(&format!("snapshot -q {what} {}", name(number)));
        snapshot.push(place.image().into());
        let answer = self.img(&snapshot)?;
        match what {
            "-c" if answer.is_ok() => self.snapshots += 1,
            "-d" if answer.is_ok() => self.snapshots = self.snapshots.saturating_sub(1),
            _ => {}
        }
        Ok(answer)
    }

    fn resize(&mut self, row: Row, place: &Place, how: &str, size: u64) -> Result<Answer, String> {
        self.flush(row, place)?;
        let mut resize = words(&format!("resize -q -f qcow2{how}"));
        resize.extend([place.image().into(), size.to_string().into()]);
        self.img(&resize)
    }

    fn img_ok(&self, words: &[OsString]) -> Result<(), String> {
        self.img(words)?.map_err(|said| format!("{words:?}: {said}"))
    }

    /// Runs the gathered commands.
    fn flush(&mut self, row: Row, place: &Place) -> Result<(), String> {
        if self.commands.is_empty() {
            return Ok(());
        }
        let mut command = Command::new(&self.io);
        command.args(["-d", "unmap", "--image-opts"]);
        for line in self.commands.drain(..) {
            command.args(["-c", &line]);
        }
        // Known::DiscardThroughSnapshots
        let barred = self.careful && self.snapshots > 0;
        let no_unref = if row.no_unref && !barred { ",discard-no-unref=on" } else { "" };
        let image = place.image();
        command.arg(format!(
            "driver=qcow2{no_unref},file.driver=file,file.filename={}",
            image.display()
        ));
        let output = run(&mut command)?;
        let said = said(&output);
        // It says nothing where all goes well, and fails with 0 now and then.
        if output.status.success() && said.is_empty() {
            return Ok(());
        }
        Err(format!("{command:?}: {said}"))
    }
}

impl Side for Tools {
    fn create(&mut self, row: Row, place: &Place) -> Result<(), String> {
        let mut create = words("create -q -f qcow2");
        if let (Some(below), Some(disk)) = (row.backing, row.below()) {
            let text = |e: std::io::Error| format!("make what lies below: {e}");
            let content = bytes_of(&disk);
            let raw = match below.format {
                BackingFormat::Raw => place.below(),
                BackingFormat::Qcow2 => place.folder().join("raw"),
            };
            std::fs::write(&raw, &content).map_err(text)?;
            if below.format == BackingFormat::Qcow2 {
                let mut convert = words("convert -f raw -O qcow2 -o");
                convert.push(format!("cluster_size={}", row.cluster_below()).into());
                convert.extend([raw.clone().into(), place.below().into()]);
                self.img_ok(&convert)?;
                std::fs::remove_file(&raw).map_err(text)?;
            }
            create.extend(words(&format!("-b {} -F {}", Place::BELOW, below.format.word())));
        }
        create.extend(words(&format!("-o {}", row.create_words())));
        create.extend([place.image().into(), row.size().to_string().into()]);
        self.img_ok(&create)
    }

    fn perform(
        &mut self,
        row: Row,
        place: &Place,
        op: Op,
        size: u64,
        id: u64,
    ) -> Result<Answer, String> {
        let line = match op {
            Op::Write { at, len } => {
                format!("write -q -s {} {at} {len}", source(place, id, at, len)?)
            }
            Op::Zero { at, len, unmap: true } => format!("write -q -z -u {at} {len}"),
            Op::Zero { at, len, unmap: false } => format!("write -q -z {at} {len}"),
            Op::Discard { at, len } => format!("discard -q {at} {len}"),
            Op::Compressed { at, len } => {
                format!("write -q -c -s {} {at} {len}", source(place, id, at, len)?)
            }
            Op::Flush => "flush".to_owned(),
            Op::Grow { by } => return self.resize(row, place, "", size + by),
            Op::Shrink { by } => return self.resize(row, place, " --shrink", size - by),
            Op::Snapshot(number) => return self.snapshot(row, place, "-c", number),
            Op::Apply(number) => return self.snapshot(row, place, "-a", number),
            Op::Delete(number) => return self.snapshot(row, place, "-d", number),
            Op::Amend(amend) => {
                self.flush(row, place)?;
                let mut command = words(&format!("amend -q -f qcow2 -o {}", amend.words()));
                command.push(place.image().into());
                return self.img(&command);
            }
            Op::Commit | Op::Rebase(_) => return Err(format!("{op}: twins have no such files")),
            Op::Repair => {
                self.flush(row, place)?;
                let mut check = words("check -q -f qcow2 -r all");
                check.push(place.image().into());
                return self.img(&check);
            }
            Op::Reopen => return self.flush(row, place).map(Ok),
        };
        self.commands.push(line);
        Ok(Ok(()))
    }

    fn change(
        &mut self,
        (row, after): (Row, Row),
        place: &Place,
        change: Change,
    ) -> Result<Answer, String> {
        self.flush(row, place)?;
        let onto = || match after.backing {
            Some(backing) => {
                words(&format!("-b {} -F {}", backing.file.file(), backing.format.word()))
            }
            None => vec!["-b".into(), OsString::new()],
        };
        let (command, more) = match change {
            Change::Commit { keep: false } => ("commit -q -f qcow2", Vec::new()),
            Change::Commit { keep: true } => ("commit -q -d -f qcow2", Vec::new()),
            Change::Rebase { compress: false, .. } => ("rebase -q -f qcow2", onto()),
            Change::Rebase { compress: true, .. } => ("rebase -q -c -f qcow2", onto()),
            Change::Rename => ("rebase -q -u -f qcow2", onto()),
            Change::Version(Version::V2) => ("amend -q -f qcow2 -o compat=0.10", Vec::new()),
            Change::Version(_) => ("amend -q -f qcow2 -o compat=1.1", Vec::new()),
            Change::Lazy(true) => ("amend -q -f qcow2 -o lazy_refcounts=on", Vec::new()),
            Change::Lazy(false) => ("amend -q -f qcow2 -o lazy_refcounts=off", Vec::new()),
            Change::Width(bits) => {
                ("amend -q -f qcow2 -o", vec![format!("refcount_bits={bits}").into()])
            }
        };
        let mut line = words(command);
        line.extend(more);
        line.push(place.image().into());
        self.img(&line)
    }

    fn close(&mut self, row: Row, place: &Place) -> Result<(), String> {
        self.flush(row, place)
    }
}

/// The name of a file with what a write writes.
fn source(place: &Place, id: u64, at: u64, len: u64) -> Result<String, String> {
    let source = place.folder().join(format!("write-{id}"));
    std::fs::write(&source, bytes(id, at, len)).map_err(|e| format!("write a pattern out: {e}"))?;
    Ok(source.display().to_string())
}

fn words(line: &str) -> Vec<OsString> {
    line.split(' ').map(OsString::from).collect()
}

fn run(command: &mut Command) -> Result<Output, String> {
    command.stdin(Stdio::null()).output().map_err(|e| format!("start {command:?}: {e}"))
}

fn said(output: &Output) -> String {
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    text.trim().to_owned()
}
