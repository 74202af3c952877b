//! `map`: which ranges of a disk are held where.

use super::images::{json_output, named, number, open_image};
use super::shared_options::{FORCE_SHARE, FORMAT, IMAGE_OPTS};
use super::{Args, Command, Failure, Outcome};
use crate::disk::{Disk, Status};
use crate::node::OpenFlags;
use crate::out::say;
use crate::text::{Operands, Opt};
use crate::words::OUTPUT;

pub(super) const COMMAND: Command = Command {
    name: "map",
    summary: "show which ranges of an image hold data, and where",
    usage: "map [-f FMT | --image-opts] [-s OFFSET] [-l LENGTH] [-U] [--output human|json] \
            FILENAME",
    help: "\
  -f, --format FMT
     format of the image (found by its first bytes)
  --image-opts
     FILENAME is a string of options
  -s, --start-offset OFFSET, -l, --max-length LENGTH
     show only this range
  -U, --force-share
     do not look at the locks of others
  --output human|json
     form of the output (human)
",
    options: &[
        FORMAT,
        IMAGE_OPTS,
        Opt::value("start", Some('s'), &["start-offset"])
            .takes("OFFSET", "show what is at this byte and behind it"),
        Opt::value("length", Some('l'), &["max-length"])
            .takes("LENGTH", "show no more than so many bytes"),
        FORCE_SHARE,
        Opt::value("output", None, &["output"])
            .takes("human|json", "form of the output (human)")
            .words(OUTPUT),
    ],
    operands: Operands::Mixed,
    native: &[],
    manual: &super::manuals::MAP,
    run,
};

fn run(args: &Args) -> Outcome {
    let json = json_output(args)?;
    let start = number(args, "start", "start offset")?.unwrap_or(0);
    let length = number(args, "length", "max length")?;
    let [filename] = args.operands() else {
        return Err(Failure::Usage("Expecting one image file name".to_owned()));
    };
    let flags = OpenFlags { share: args.has("share"), ..OpenFlags::READ };
    let disk = open_image(named(filename, args)?, &flags, args)?;
    let end = length.map_or(disk.len(), |length| start.saturating_add(length).min(disk.len()));
    let shown = if json { show_json(&*disk, start, end) } else { show_human(&*disk, start, end) };
    disk.close()?;
    shown?;
    Ok(0)
}

/// Goes over the ranges from `start` to `end`, neighbours that are alike joined.
fn for_each(
    disk: &dyn Disk,
    start: u64,
    end: u64,
    mut show: impl FnMut(u64, &Status) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut at = start;
    let mut joined: Option<(u64, Status)> = None;
    while at < end {
        let next = disk.status(at, end - at).map_err(|error| {
            Failure::message(format!("Could not read file metadata: {}", error.strerror()))
        })?;
        let len = next.len.clamp(1, end - at);
        let next = Status { len, ..next };
        match &mut joined {
            Some((_, last)) if continues(last, &next) => last.len += len,
            _ => {
                if let Some((from, last)) = joined.replace((at, next)) {
                    show(from, &last)?;
                }
            }
        }
        at += len;
    }
    match joined {
        Some((from, last)) => show(from, &last),
        None => Ok(()),
    }
}

/// Whether `next` is like `last` and lies right behind it.
fn continues(last: &Status, next: &Status) -> bool {
    let offsets = match (last.offset, next.offset) {
        (Some(a), Some(b)) => a.checked_add(last.len) == Some(b),
        (None, None) => true,
        _ => false,
    };
    offsets
        && (last.present, last.zero, last.data, last.compressed, last.depth)
            == (next.present, next.zero, next.data, next.compressed, next.depth)
        && last.file == next.file
}

fn show_json(disk: &dyn Disk, start: u64, end: u64) -> Result<(), Failure> {
    let mut first = true;
    let mut line = |at: u64, status: &Status| {
        let Status { len, present, zero, data, compressed, depth, .. } = status;
        let open = if std::mem::take(&mut first) { "[" } else { ",\n" };
        let offset =
            status.offset.map(|offset| format!(", \"offset\": {offset}")).unwrap_or_default();
        say!(
            "{open}{{ \"start\": {at}, \"length\": {len}, \"depth\": {depth}, \"present\": \
             {present}, \"zero\": {zero}, \"data\": {data}, \"compressed\": \
             {compressed}{offset}}}"
        );
    };
    let walked = for_each(disk, start, end, |at, status| {
        line(at, status);
        Ok(())
    });
    if start >= end {
        line(start, &Status::nothing());
    }
    walked?;
    say!("]\n");
    Ok(())
}

fn show_human(disk: &dyn Disk, start: u64, end: u64) -> Result<(), Failure> {
    say!("{:<16}{:<16}{:<16}{}\n", "Offset", "Length", "Mapped to", "File");
    for_each(disk, start, end, |at, status| {
        if !status.data || status.zero {
            return Ok(());
        }
        let (Some(offset), Some(file)) = (status.offset, &status.file) else {
            return Err(Failure::message(
                "File contains external, encrypted or compressed clusters.",
            ));
        };
        say!("{:<16}{:<16}{:<16}{file}\n", hex(at), hex(status.len), hex(offset));
        Ok(())
    })
}

/// C's `%#x`: no prefix for zero.
fn hex(number: u64) -> String {
    if number == 0 { "0".to_owned() } else { format!("{number:#x}") }
}
