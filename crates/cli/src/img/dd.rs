//! `dd`: a copy of some blocks into a new image.

use super::create_list::{CreateFormat, CreateList, Place};
use super::images::{named, open_files, open_image, size, size_within};
use super::make::make_image;
use super::meter::Unit;
use super::progress::Progress;
use super::stage::Stage;
use super::target_file::TargetFile;
use super::{Args, Command, Failure, Outcome};
use crate::disk::{Disk, DiskError};
use crate::node::{
    CacheMode, ImageRef, OpenFlags, check_protocol, identity_of, strip_file_protocol,
};
use crate::out;
use crate::text::{Operands, Opt};
use crate::words::FORMATS;

pub(super) const COMMAND: Command = Command {
    name: "dd",
    summary: "copy blocks of an image into a new image",
    usage: "dd [-f FMT | --image-opts] [-O OUT_FMT] [-U] [bs=SIZE] [count=N] [skip=N] if=INPUT \
            of=OUTPUT",
    help: "\
  -f, --format FMT
     format of the input (found by its first bytes)
  --image-opts
     INPUT is a string of options
  -O, --output-format OUT_FMT
     format of the output (raw)
  -U, --force-share
     do not look at the locks of others on the input
  bs=SIZE
     bytes of a block (512)
  count=N
     blocks from the start of the input on, those that are skipped among them
  skip=N
     blocks that are left out
",
    options: &[
        Opt::value("format", Some('f'), &["format"])
            .takes("FMT", "format of the input (found by its first bytes)")
            .words(FORMATS),
        Opt::flag("image-opts", None, &["image-opts"]).about("INPUT is a string of options"),
        Opt::value("out-format", Some('O'), &["output-format"])
            .takes("OUT_FMT", "format of the output (raw)")
            .words(FORMATS),
        Opt::flag("share", Some('U'), &["force-share"])
            .about("do not look at the locks of others on the input"),
    ],
    operands: Operands::Mixed,
    native: &[super::shared_options::PROGRESS],
    manual: &super::manuals::DD,
    run,
};

/// Bytes that are copied at a time; blocks only say which range it is.
const BUFFER: usize = 1 << 20;
const MAX_BLOCK: u64 = i32::MAX as u64;

/// The operands.
struct Operation<'a> {
    input: &'a str,
    output: &'a str,
    block: u64,
    count: Option<u64>,
    skip: u64,
}

fn run(args: &Args) -> Outcome {
    let operation = parse(args.operands())?;
    let out_format = args.last("out-format").unwrap_or("raw");
    let flags = OpenFlags { share: args.has("share"), ..OpenFlags::READ };
    let layer = open_files(named(operation.input, args)?, &flags)?;
    let input = layer.into_disk(&args.objects).map_err(|error| {
        Failure::Error(format!("Could not open '{}': ", operation.input), error, 1)
    })?;
    let format = CreateFormat::named(out_format)?;
    check_protocol(operation.output)?;
    let end = match operation.count.and_then(|count| count.checked_mul(operation.block)) {
        Some(wanted) => wanted.min(input.len()),
        None => input.len(),
    };
    let start = operation.skip.saturating_mul(operation.block);
    let size = end.saturating_sub(start);
    let path = strip_file_protocol(operation.output);
    refuse_same(&*input, path)?;
    let mut list = CreateList::new(format, Place::of(operation.output));
    list.set("size", &size.to_string())?;
    let failed = |error| {
        let prefix = format!("{}: error while creating output image: ", operation.output);
        Failure::Error(prefix, error, 1)
    };
    let stage = Stage::before(operation.output, &list).map_err(failed)?;
    let guard = TargetFile::before(strip_file_protocol(stage.name()));
    // Only options ask for preallocation, and here are none.
    let made =
        make_image(stage.name(), &list, &args.objects, &mut |_, _| {}).and_then(|()| stage.made());
    if let Err(error) = made {
        // The file was removed already where that is right.
        guard.keep();
        return Err(failed(stage.error(error)));
    }
    if start > end {
        out::error_line(&format!("{}: cannot skip to specified offset", operation.input));
    }
    let flags = OpenFlags { cache: CacheMode::WRITEBACK, ..OpenFlags::WRITE };
    let image = ImageRef::named(stage.name(), Some(out_format));
    let mut progress = Progress::own(args, Unit::Bytes);
    let copied = open_image(image, &flags, args).and_then(|output| {
        let copied = copy(&*input, &*output, start, end, &mut progress);
        let closed = output.close();
        copied?;
        Ok(closed?)
    });
    progress.finish(copied.is_ok());
    let copied = copied.map_err(|failure| stage.worded(failure)).and_then(|()| Ok(stage.finish()?));
    args.report.set("filename", operation.output);
    args.report.set("format", out_format);
    args.report.set("virtual-size", size);
    match copied {
        Ok(()) => {
            guard.keep();
            Ok(0)
        }
        Err(Failure::Error(prefix, error, status)) => {
            Err(Failure::Error(prefix, guard.failed(error), status))
        }
        Err(other) => Err(other),
    }
}

/// Takes the operands apart; later ones win.
fn parse(operands: &[String]) -> Result<Operation<'_>, Failure> {
    let (mut input, mut output) = (None, None);
    let (mut block, mut count, mut skip) = (512, None, 0);
    for operand in operands {
        let (key, value) = operand
            .split_once('=')
            .ok_or_else(|| Failure::message(format!("unrecognized operand {operand}")))?;
        match key {
            "if" => input = Some(value),
            "of" => output = Some(value),
            "bs" => block = size_within(value, "bs", 1, MAX_BLOCK)?,
            "count" => count = Some(size(value, "count")?),
            "skip" => skip = size(value, "skip")?,
            _ => return Err(Failure::message(format!("unrecognized operand {key}"))),
        }
    }
    match (input, output) {
        (Some(input), Some(output)) => Ok(Operation { input, output, block, count, skip }),
        _ => Err(Failure::message("Must specify both input and output files")),
    }
}

/// Refuses an output that is the input, or under it, by whatever name.
fn refuse_same(input: &dyn Disk, path: &str) -> Result<(), Failure> {
    let mut files = Vec::new();
    input.files(&mut files);
    match identity_of(path) {
        Some(target) if files.contains(&target) => Err(Failure::from(
            DiskError::new(libc::EAGAIN, "Failed to get \"write\" lock")
                .with_hint(format!("Is another process using the image [{path}]?")),
        )),
        _ => Ok(()),
    }
}

/// Copies the bytes from `start` to `end` to the start of the output.
fn copy(
    input: &dyn Disk,
    output: &dyn Disk,
    start: u64,
    end: u64,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let mut buffer = vec![0; BUFFER];
    let mut at = start;
    while at < end {
        let len = usize::try_from(end - at).map_or(BUFFER, |rest| rest.min(BUFFER));
        let data = &mut buffer[..len];
        input.read_at(at, data).map_err(|error| {
            Failure::message(format!(
                "error while reading from input image file: {}",
                error.strerror()
            ))
        })?;
        output.write_at(at - start, data, false).map_err(|error| {
            Failure::message(format!(
                "error while writing to output image file: {}",
                error.strerror()
            ))
        })?;
        at += len as u64;
        progress.update(at - start, end - start);
    }
    Ok(())
}
