//! `resize`: another length for a disk.

use super::images::{named, open_image};
use super::meter::Unit;
use super::progress::Progress;
use super::shared_options::{FORMAT, IMAGE_OPTS, PROGRESS, QUIET};
use super::{Args, Command, Failure, Outcome};
use crate::disk::{Disk, Heard, Preallocation};
use crate::node::{OpenFlags, parse_option_size};
use crate::out;
use crate::text::{Operands, Opt};
use crate::words::PREALLOCATION;

pub(super) const COMMAND: Command = Command {
    name: "resize",
    summary: "change the size of an image",
    usage: "resize [-f FMT | --image-opts] [--preallocation MODE] [--shrink] [-q] FILENAME \
            [+|-]SIZE",
    help: "\
  -f, --format FMT
     format of the image (found by its first bytes)
  --image-opts
     FILENAME is a string of options
  --preallocation off|metadata|falloc|full
     what to allocate where the image grows (off)
  --shrink
     the image may become smaller; data behind its new end is lost
  -q, --quiet
     print nothing
  SIZE
     the new size, or with + or - the change
",
    options: &[
        FORMAT,
        IMAGE_OPTS,
        Opt::value("preallocation", None, &["preallocation"])
            .takes(
                "MODE",
                "what to allocate where the image grows: off, metadata, falloc or full (off)",
            )
            .words(PREALLOCATION),
        Opt::flag("shrink", None, &["shrink"])
            .about("the image may become smaller; data behind its new end is lost"),
        QUIET,
    ],
    operands: Operands::Negative,
    native: &[PROGRESS],
    manual: &super::manuals::RESIZE,
    run,
};

/// How the new size relates to the present one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    To(u64),
    Up(u64),
    Down(u64),
}

fn run(args: &Args) -> Outcome {
    let (filename, size) = match args.operands() {
        [filename, size] => (filename, size),
        [] | [_] => {
            return Err(Failure::Usage("Expecting image file name and size".to_owned()));
        }
        _ => return Err(Failure::Usage("Extra argument(s) in command line".to_owned())),
    };
    let preallocation = match args.last("preallocation") {
        None => Preallocation::Off,
        Some(name) => Preallocation::parse(name)
            .ok_or_else(|| Failure::message(format!("Invalid preallocation mode '{name}'")))?,
    };
    let image = named(filename, args)?;
    let change = parse_change(size)?;
    let disk = open_image(image, &OpenFlags::WRITE, args)?;
    let mut progress = Progress::own(args, Unit::Bytes);
    let mut heard = |done, total| progress.update(done, total);
    let resized = resize(&*disk, change, preallocation, args.has("shrink"), &mut heard);
    progress.finish(resized.is_ok());
    let len = disk.len();
    let closed = disk.close();
    resized?;
    closed?;
    if !args.has("quiet") {
        args.report.say("Image resized.\n");
    }
    args.report.set("filename", filename.as_str());
    args.report.set("virtual-size", len);
    Ok(0)
}

fn parse_change(text: &str) -> Result<Change, Failure> {
    let size = |text| parse_option_size("size", text);
    Ok(match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(more), _) => Change::Up(size(more)?),
        (_, Some(less)) => Change::Down(size(less)?),
        (None, None) => Change::To(size(text)?),
    })
}

fn resize(
    disk: &dyn Disk,
    change: Change,
    preallocation: Preallocation,
    shrink: bool,
    progress: Heard<'_>,
) -> Result<(), Failure> {
    let old = disk.len();
    let new = match change {
        Change::To(size) => Some(size),
        Change::Up(more) => old.checked_add(more),
        Change::Down(less) => old.checked_sub(less),
    };
    let new = new
        .filter(|new| *new > 0 && i64::try_from(*new).is_ok())
        .ok_or_else(|| Failure::message("New image size must be positive"))?;
    if new <= old && preallocation != Preallocation::Off {
        return Err(Failure::message("Preallocation can only be used for growing images"));
    }
    if new < old && !shrink {
        out::error_line("Use the --shrink option to perform a shrink operation.");
        out::error_line(
            "warning: Shrinking an image will delete all data beyond the shrunken image's end. \
             Before performing such an operation, make sure there is no important data there.",
        );
        return Err(Failure::Said(1));
    }
    Ok(disk.truncate(new, preallocation, progress)?)
}
