//! `bitmap`: persistent dirty bitmaps, added, removed, cleared, switched and merged.

use holstein::Granularity;

use super::images::{named, number, open_image};
use super::shared_options::{FORMAT, IMAGE_OPTS};
use super::{Args, Command, Failure, Outcome};
use crate::disk::{Disk, DiskError, NODE, no_bitmap};
use crate::node::{ImageRef, OpenFlags};
use crate::out;
use crate::text::{Json, Operands, Opt};
use crate::words::FORMATS;

pub(super) const COMMAND: Command = Command {
    name: "bitmap",
    summary: "change a persistent dirty bitmap of an image",
    usage: "bitmap (--merge SOURCE | --add | --remove | --clear | --enable | --disable)... \
            [-f FMT | --image-opts] [-b SRC_FILENAME [-F SRC_FMT]] [-g GRANULARITY] FILENAME BITMAP",
    help: "\
  -f, --format FMT
     format of the image (found by its first bytes)
  --image-opts
     FILENAME is a string of options
  --add
     add BITMAP, which records from then on
  -g, --granularity GRANULARITY
     what a bit of the new bitmap stands for: a power of two from 512 to 2G (a cluster, within 4k and
     64k)
  --remove
     remove BITMAP, an inconsistent one too
  --clear
     mark all of BITMAP as clean
  --enable, --disable
     begin or cease to record what is written
  --merge SOURCE
     mark as dirty in BITMAP what is dirty in SOURCE
  -b, --source-file SRC_FILENAME
     the image that has SOURCE (FILENAME)
  -F, --source-format SRC_FMT
     format of that image
  Several actions are done in their order, up to the first that fails.
",
    options: &[
        FORMAT,
        IMAGE_OPTS,
        Opt::flag("add", None, &["add"]).about("add BITMAP, which records from then on"),
        Opt::value("granularity", Some('g'), &["granularity"]).takes("GRANULARITY", "bytes that a bit of the new bitmap stands for, a power of two (a cluster, within 4k and 64k)"),
        Opt::flag("remove", None, &["remove"]).about("remove BITMAP, an inconsistent one too"),
        Opt::flag("clear", None, &["clear"]).about("mark all of BITMAP as clean"),
        Opt::flag("enable", None, &["enable"]).about("begin to record what is written"),
        Opt::flag("disable", None, &["disable"]).about("cease to record what is written"),
        Opt::value("merge", None, &["merge"]).takes("SOURCE", "mark as dirty in BITMAP what is dirty in SOURCE"),
        Opt::value("source-file", Some('b'), &["source-file"]).takes("SRC_FILENAME", "the image that has SOURCE (FILENAME)").file(),
        Opt::value("source-format", Some('F'), &["source-format"]).takes("SRC_FMT", "format of that image").words(FORMATS),
    ],
    operands: Operands::Mixed,
    native: &[],
    manual: &super::manuals::BITMAP,
    run,
};

/// The options that are actions.
const ACTIONS: [&str; 6] = ["add", "remove", "clear", "enable", "disable", "merge"];

fn run(args: &Args) -> Outcome {
    let granularity = number(args, "granularity", "granularity")?.filter(|bytes| *bytes > 0);
    let options = args.parsed.options.iter();
    let actions: Vec<_> = options.filter(|(option, _)| ACTIONS.contains(option)).collect();
    for (wrong, text) in [
        (
            actions.is_empty(),
            "Need at least one of --add, --remove, --clear, --enable, --disable, or --merge",
        ),
        (granularity.is_some() && !args.has("add"), "granularity only supported with --add"),
        (args.has("source-format") && !args.has("source-file"), "-F only supported with -b"),
        (
            args.has("source-file") && !args.has("merge"),
            "Merge bitmap source file only supported with --merge",
        ),
    ] {
        if wrong {
            return Err(Failure::message(text));
        }
    }
    let [filename, bitmap] = args.operands() else {
        return Err(Failure::message("Expecting filename and bitmap name"));
    };
    // No guest data is looked at, so backing files stay closed.
    let flags = OpenFlags { backing: false, ..OpenFlags::WRITE };
    let disk = open_image(named(filename, args)?, &flags, args)?;
    let source = match args.last("source-file") {
        Some(source) => {
            let image = ImageRef::named(source, args.last("source-format"));
            let flags = OpenFlags { backing: false, ..OpenFlags::READ };
            Some(open_image(image, &flags, args)?)
        }
        None => None,
    };
    let job = Job { disk: &*disk, source: source.as_deref(), bitmap, granularity };
    let result = actions.iter().try_for_each(|(action, value)| {
        job.act(action, value).map_err(|error| {
            Failure::Error(format!("Operation {action} on bitmap {bitmap} failed: "), error, 1)
        })
    });
    // What was done before an action that failed stays.
    let closed = disk.close();
    result?;
    if let Err(error) = closed {
        // The reference tries twice.
        out::report("", &error);
        out::error_line(&format!("Error while closing the image: {}", error.strerror()));
        out::report("", &error);
        return Err(Failure::Said(1));
    }
    args.report.set("filename", filename.as_str());
    args.report.set("bitmap", bitmap.as_str());
    let actions = actions.iter().map(|(action, _)| Json::str(*action)).collect::<Vec<_>>();
    args.report.set("actions", actions);
    Ok(0)
}

/// What the actions work on.
struct Job<'a> {
    disk: &'a dyn Disk,
    source: Option<&'a dyn Disk>,
    bitmap: &'a str,
    granularity: Option<u64>,
}

impl Job<'_> {
    fn act(&self, action: &str, value: &str) -> Result<(), DiskError> {
        if action == "add" {
            return self.add();
        }
        let name = self.bitmap.as_bytes();
        let bitmaps = self.disk.bitmaps().ok_or_else(|| no_bitmap(name))?;
        match action {
            "remove" => bitmaps.remove(name),
            "clear" => bitmaps.clear(name),
            "enable" => bitmaps.record(name, true),
            "disable" => bitmaps.record(name, false),
            _ => {
                // What is wrong with the destination comes first.
                bitmaps.get(name)?;
                let source = self.source.unwrap_or(self.disk).bitmaps();
                let source = source.ok_or_else(|| no_bitmap(value.as_bytes()))?;
                bitmaps.merge(name, &source.get(value.as_bytes())?)
            }
        }
    }

    fn add(&self) -> Result<(), DiskError> {
        let granularity = match self.granularity {
            Some(bytes) => Some(Granularity::new(bytes).ok_or_else(|| {
                DiskError::invalid("Granularity must be power of 2 and at least 512")
            })?),
            None => None,
        };
        let bitmaps = self.disk.bitmaps().ok_or_else(|| {
            DiskError::unsupported(format!(
                "Can't store persistent bitmaps to {NODE}: Operation not supported"
            ))
        })?;
        bitmaps.add(self.bitmap.as_bytes(), granularity)
    }
}
