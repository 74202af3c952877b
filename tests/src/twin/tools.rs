//! The side that is programs: QEMU's, or ours under their names.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use holstein::format::Version;
use holstein_testkit::Oracle;

use super::lower::bytes_of;
use super::templates::Templates;
use super::{Answer, BackingFormat, BitmapOp, Change, Place, Row, Side, bitmap_name};
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
    templates: Arc<Templates>,
}

impl Tools {
    /// The programs at these paths.
    #[must_use]
    pub fn new(img: &Path, io: &Path, templates: &Arc<Templates>) -> Self {
        let (img, io, templates) = (img.to_owned(), io.to_owned(), Arc::clone(templates));
        Self { img, io, commands: Vec::new(), careful: false, snapshots: 0, templates }
    }

    /// QEMU's own.
    #[must_use]
    pub fn reference(oracle: &Oracle, templates: &Arc<Templates>) -> Self {
        Self { careful: true, ..Self::new(oracle.qemu_img(), oracle.qemu_io(), templates) }
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
        let command = format!("snapshot -q {what} {}", name(number));
        let answer = self.img(&about(&command, row, place))?;
        match what {
            "-c" if answer.is_ok() => self.snapshots += 1,
            "-d" if answer.is_ok() => self.snapshots = self.snapshots.saturating_sub(1),
            _ => {}
        }
        Ok(answer)
    }

    fn resize(&mut self, row: Row, place: &Place, how: &str, size: u64) -> Result<Answer, String> {
        self.flush(row, place)?;
        let mut resize = about(&format!("resize -q{how}"), row, place);
        resize.push(size.to_string().into());
        self.img(&resize)
    }

    /// Changes the backing file; the command is `rebase`.
    fn rebase(
        &self,
        command: &str,
        (row, after): (Row, Row),
        place: &Place,
    ) -> Result<Answer, String> {
        let name = after.backing.map_or("", |backing| backing.file.file());
        let opened = row.opened_name(place, name).filter(|_| !name.is_empty());
        let renamed = opened.is_some();
        let answer =
            self.img(&onto(command, opened.unwrap_or_else(|| name.into()), (row, after), place))?;
        if !renamed || answer.is_err() {
            return Ok(answer);
        }
        self.name_backing((row, after), place)
    }

    /// Changes the name of the backing file.
    fn name_backing(&self, (row, after): (Row, Row), place: &Place) -> Result<Answer, String> {
        let name = after.backing.map_or("", |backing| backing.file.file());
        self.img(&onto("rebase -q -u", name.into(), (row, after), place))
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
        command.args(["-d", "unmap", "--image-opts"]).args(row.secret_words());
        for line in self.commands.drain(..) {
            command.args(["-c", &line]);
        }
        // Known::DiscardThroughSnapshots
        let barred = self.careful && self.snapshots > 0;
        command.arg(row.options_word(place, row.no_unref && !barred));
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
        create.extend(words(&format!("-o {}", row.create_words(place))));
        create.extend(row.secret_words());
        create.extend([place.image().into(), row.size().to_string().into()]);
        self.templates.make(row, place, &mut || self.img_ok(&create))
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
                return self.img(&about(&format!("amend -q -o {}", amend.words()), row, place));
            }
            Op::Commit | Op::Rebase(_) | Op::Bitmap(..) | Op::Passphrase { .. } => {
                return Err(format!("{op}: twins have no such thing"));
            }
            Op::Repair => {
                self.flush(row, place)?;
                return self.img(&about("check -q -r all", row, place));
            }
            Op::Reopen => return self.flush(row, place).map(Ok),
        };
        self.commands.push(line);
        Ok(Ok(()))
    }

    fn bitmap(&mut self, row: Row, place: &Place, op: BitmapOp) -> Result<Answer, String> {
        self.flush(row, place)?;
        let (words, number) = match op {
            BitmapOp::Add { number, unit, recording } => {
                let off = if recording { "" } else { " --disable" };
                (format!("bitmap --add{off} -g {unit}"), number)
            }
            BitmapOp::Remove(number) => ("bitmap --remove".to_owned(), number),
            BitmapOp::Record { number, on: true } => ("bitmap --enable".to_owned(), number),
            BitmapOp::Record { number, on: false } => ("bitmap --disable".to_owned(), number),
            BitmapOp::Clear(number) => ("bitmap --clear".to_owned(), number),
            BitmapOp::Merge { into, from } => {
                (format!("bitmap --merge {}", bitmap_name(from)), into)
            }
        };
        let mut line = about(&words, row, place);
        line.push(bitmap_name(number).into());
        self.img(&line)
    }

    fn change(
        &mut self,
        (row, after): (Row, Row),
        place: &Place,
        change: Change,
    ) -> Result<Answer, String> {
        self.flush(row, place)?;
        let amend = |options: String| format!("amend -q -o {options}");
        let command = match change {
            Change::Commit { keep: false } => "commit -q".to_owned(),
            Change::Commit { keep: true } => "commit -q -d".to_owned(),
            Change::Rebase { compress, .. } => {
                let compress = if compress { " -c" } else { "" };
                return self.rebase(&format!("rebase -q{compress}"), (row, after), place);
            }
            Change::Rename => return self.name_backing((row, after), place),
            Change::Version(Version::V2) => amend("compat=0.10".to_owned()),
            Change::Version(_) => amend("compat=1.1".to_owned()),
            Change::Lazy(true) => amend("lazy_refcounts=on".to_owned()),
            Change::Lazy(false) => amend("lazy_refcounts=off".to_owned()),
            Change::Width(bits) => amend(format!("refcount_bits={bits}")),
            Change::NotRaw => amend("data_file_raw=off".to_owned()),
        };
        self.img(&about(&command, row, place))
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

/// The words of a command about an image.
fn about(command: &str, row: Row, place: &Place) -> Vec<OsString> {
    let mut line = words(command);
    line.extend(row.flags());
    line.push(row.image_word(place));
    line
}

/// The words of a command that puts an image over a file of this name, or over none.
fn onto(command: &str, name: OsString, (row, after): (Row, Row), place: &Place) -> Vec<OsString> {
    let mut line = words(command);
    line.extend([OsString::from("-b"), name]);
    if let Some(backing) = after.backing {
        line.extend(["-F".into(), backing.format.word().into()]);
    }
    line.extend(row.flags());
    line.push(row.image_word(place));
    line
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
