//! `amend`: another version, refcount width or size for an image.

use super::amend_list::{AmendList, help};
use super::images::{cache_mode, named, open_files, open_image};
use super::meter::Unit;
use super::progress::Progress;
use super::shared_options::{CACHE, FORMAT, IMAGE_OPTS, PROGRESS, QUIET};
use super::{Args, Command, Failure, Outcome};
use crate::node::{CacheMode, Driver, OpenFlags, QcowFacts};
use crate::personality;
use crate::text::{Operands, Opt, asks_for_help, join_lists};

pub(super) const COMMAND: Command = Command {
    name: "amend",
    summary: "change options of an existing image",
    usage: "amend [-f FMT | --image-opts] [-t CACHE] [--force] [-p] [-q] -o OPTIONS FILENAME",
    help: "\
  -o, --options OPTIONS
     key=value,... of what changes; '-o help' lists them
  -f, --format FMT
     format of the image (found by its first bytes)
  --image-opts
     FILENAME is a string of options
  -t, --cache CACHE
     cache mode of the image (writeback)
  --force
     allow erasing or overwriting the last key of an encrypted image
  -p, --progress
     show progress
  -q, --quiet
     print nothing
",
    options: &[
        Opt::value("options", Some('o'), &["options"])
            .takes("OPTIONS", "key=value,... of what changes; 'help' lists them"),
        FORMAT,
        IMAGE_OPTS,
        CACHE,
        Opt::flag("force", None, &["force"])
            .about("allow erasing or overwriting the last key of an encrypted image"),
        PROGRESS,
        QUIET,
    ],
    operands: Operands::Mixed,
    native: &[],
    manual: &super::manuals::AMEND,
    run,
};

fn run(args: &Args) -> Outcome {
    let lists = args.parsed.all("options");
    let list = join_lists(&lists).map_err(Failure::message)?;
    if lists.is_empty() {
        return Err(Failure::Usage("Must specify options (-o)".to_owned()));
    }
    let wants_help = asks_for_help(&list);
    if wants_help && let Some(format) = args.last("format") {
        let driver = Driver::named(format)
            .map_err(|_| Failure::message(format!("Unknown file format '{format}'")))?;
        return print_help(args, driver);
    }
    let [filename] = args.operands() else {
        return Err(Failure::message("Expecting one image file name"));
    };
    let cache = cache_mode(args, "cache", CacheMode::WRITEBACK, "cache option")?;
    let image = named(filename, args)?;
    let layer = open_files(image.clone(), &OpenFlags { backing: false, ..OpenFlags::READ })?;
    if wants_help {
        return print_help(args, layer.driver);
    }
    let prefix = format!("Could not open '{}': ", image.text);
    let (Some(file), Driver::Qcow2) = (&layer.file, layer.driver) else {
        return Err(cannot_amend(layer.driver));
    };
    let facts = QcowFacts::read(file).map_err(|error| Failure::Error(prefix.clone(), error, 1))?;
    let wanted = AmendList::parse(&list)?;
    drop(layer);
    let mut disk = open_image(image, &OpenFlags { cache, ..OpenFlags::WRITE }, args)?;
    let mut progress = Progress::start(args, 1.0, Unit::Steps);
    let amended = wanted.judge(&facts, &args.objects).and_then(|judged| {
        if let Some(change) = &judged.keys {
            disk.change_keys(change, args.has("force"))?;
        }
        disk.amend(&judged.options, &mut |done, total| progress.update(done, total))?;
        // The downgrade comes last, so all before it is done.
        judged.no_downgrade.map_or(Ok(()), Err)
    });
    // The line of the reference ends with 100 percent in any case.
    progress.finish(amended.is_ok() || !personality::is_native());
    let closed = disk.close();
    amended?;
    closed?;
    args.report.set("filename", filename.as_str());
    Ok(0)
}

fn print_help(args: &Args, driver: Driver) -> Outcome {
    if driver != Driver::Qcow2 {
        return Err(cannot_amend(driver));
    }
    args.report.show(&help());
    Ok(0)
}

fn cannot_amend(driver: Driver) -> Failure {
    let name = driver.name();
    Failure::message(format!("Format driver '{name}' does not support option amendment"))
}
