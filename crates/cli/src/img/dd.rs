//! `dd`: a copy of some blocks into a new image.

use super::create_list::{CreateFormat, CreateList};
use super::images::{named, open_files, open_image, size, size_within};
use super::make::make_image;
use super::target_file::TargetFile;
use super::{Args, Command, Failure, Outcome};
use crate::disk::{Disk, DiskError};
use crate::node::{
    CacheMode, ImageRef, OpenFlags, check_protocol, identity_of, strip_file_protocol,
};
use crate::out;
use crate::text::{Operands, Opt};

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
        Opt::value("format", Some('f'), &["format"]),
        Opt::flag("image-opts", None, &["image-opts"]),
        Opt::value("out-format", Some('O'), &["output-format"]),
        Opt::flag("share", Some('U'), &["force-share"]),
    ],
    operands: Operands::Mixed,
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
    let mut list = CreateList::new(format);
    list.set("size", &size.to_string())?;
    let guard = TargetFile::before(path);
    if let Err(error) = make_image(operation.output, &list, &args.objects) {
        // The file was removed already where that is right.
        guard.keep();
        let prefix = format!("{}: error while creating output image: ", operation.output);
        return Err(Failure::Error(prefix, error, 1));
    }
    if start > end {
        out::error_line(&format!("{}: cannot skip to specified offset", operation.input));
    }
    let flags = OpenFlags { cache: CacheMode::WRITEBACK, ..OpenFlags::WRITE };
    let image = ImageRef::named(operation.output, Some(out_format));
    let copied = open_image(image, &flags, args).and_then(|output| {
        let copied = copy(&*input, &*output, start, end);
        let closed = output.close();
        copied?;
        Ok(closed?)
    });
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
fn copy(input: &dyn Disk, output: &dyn Disk, start: u64, end: u64) -> Result<(), Failure> {
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
    }
    Ok(())
}
