//! `commit`: what an image holds goes into a disk below it.

use std::io;
use std::sync::{Mutex, PoisonError};

use holstein::{CommitOptions, CommitTarget};

use super::convert_copy::Pace;
use super::images::{cache_mode, named, number, open_files};
use super::meter::Unit;
use super::progress::Progress;
use super::shared_options::{CACHE, FORMAT, IMAGE_OPTS, PROGRESS, QUIET};
use super::{Args, Command, Failure, Outcome};
use crate::disk::{Disk, DiskError, Preallocation, engine_error, os_error};
use crate::node::{CacheMode, OpenChain, OpenFlags, open_layer};
use crate::out;
use crate::text::{Operands, Opt};

pub(super) const COMMAND: Command = Command {
    name: "commit",
    summary: "commit an image into its backing file",
    usage: "commit [-f FMT | --image-opts] [-t CACHE] [-b BASE] [-d] [-r RATE] [-p] [-q] FILENAME",
    help: "\
  -f, --format FMT
     format of the image (found by its first bytes)
  --image-opts
     FILENAME is a string of options
  -t, --cache CACHE
     cache mode (writeback)
  -b, --base BASE
     a backing file further down, instead of the first one; the image is not emptied then
  -d, --drop
     do not empty the image afterwards
  -r, --rate RATE
     bytes written in a second
  -p, --progress
     show progress
  -q, --quiet
     print nothing
",
    options: &[
        FORMAT,
        IMAGE_OPTS,
        CACHE,
        Opt::value("base", Some('b'), &["base"])
            .takes("BASE", "a backing file further down; the image is not emptied then")
            .file(),
        Opt::flag("drop", Some('d'), &["drop"]).about("do not empty the image afterwards"),
        Opt::value("rate", Some('r'), &["rate"]).takes("RATE", "bytes written in a second"),
        PROGRESS,
        QUIET,
    ],
    operands: Operands::Mixed,
    native: &[],
    manual: &super::manuals::COMMIT,
    run,
};

fn run(args: &Args) -> Outcome {
    let rate = number(args, "rate", "rate limit")?.filter(|rate| *rate > 0);
    let [filename] = args.operands() else {
        return Err(Failure::Usage("Expecting one image file name".to_owned()));
    };
    let cache = cache_mode(args, "cache", CacheMode::WRITEBACK, "cache option")?;
    let flags = OpenFlags { cache, ..OpenFlags::WRITE };
    let prefix = || format!("Could not open '{filename}': ");
    let unopened = |error| Failure::Error(prefix(), error, 1);
    let top = open_files(named(filename, args)?, &flags)?;
    let mut chain = OpenChain::collect(top, &args.objects).map_err(unopened)?;
    let index = match args.last("base") {
        Some(base) => chain.find(base).ok_or_else(|| {
            Failure::message(format!("Did not find '{base}' in the backing chain of '{filename}'"))
        })?,
        None => 1,
    };
    // The base is opened anew, for writing; what is under it is its own. Its device works while
    // the rest is copied.
    let written = OpenFlags { cache: CacheMode { streaming: true, ..cache }, ..flags };
    let below = chain.links.drain(index.min(chain.links.len())..).next();
    let overlay = chain.into_overlay(&args.objects).map_err(unopened)?;
    let base = below
        .and_then(|link| link.image)
        .ok_or_else(|| Failure::message("Image does not have a backing file"))?;
    let text = base.text.clone();
    let opened = open_layer(base, &written).and_then(|mut layer| {
        // It was guessed before, without a word, when the image was opened.
        layer.warns = false;
        layer.into_disk(&args.objects)
    });
    let base =
        opened.map_err(|error| Failure::Error(format!("Could not open '{text}': "), error, 1))?;

    let mut progress = Progress::start(args, 1.0, Unit::Bytes);
    let committed = commit(&*overlay, &*base, rate, &mut progress);
    progress.finish(committed.is_ok());
    let emptied = match &committed {
        Ok(()) if index == 1 && !args.has("drop") && args.last("base").is_none() => {
            empty(&*overlay, filename)
        }
        _ => Ok(()),
    };
    let closed = overlay.close();
    let base_closed = base.close();
    committed?;
    emptied?;
    closed?;
    if let Err(error) = base_closed {
        // The reference tries twice.
        out::report("", &error);
        out::report("", &error);
        out::error_line(&format!("Error while closing the image: {}", error.strerror()));
        return Err(Failure::Said(1));
    }
    if !args.has("quiet") {
        args.report.say("Image committed.\n");
    }
    args.report.set("filename", filename.as_str());
    args.report.set("base", text);
    Ok(0)
}

/// Copies and flushes.
fn commit(
    overlay: &dyn Disk,
    base: &dyn Disk,
    rate: Option<u64>,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let image = overlay.image().ok_or_else(|| Failure::message("the image is not writable"))?;
    let cluster = base.info()?.cluster_size.unwrap_or(holstein_units::SECTOR);
    let pace = rate.map(|rate| Mutex::new(Pace::new(rate)));
    let wait = |bytes| {
        if let Some(pace) = &pace {
            pace.lock().unwrap_or_else(PoisonError::into_inner).wait(bytes);
        }
    };
    CommitOptions::new()
        .keep(true)
        .before_write(&wait)
        .run(image, &Base { disk: base, cluster }, &mut |done, total| progress.update(done, total))
        .map_err(|error| Failure::Error("Block job failed: ".to_owned(), job_error(&error), 1))
}

/// The words of the reference for a job that failed: those of the system.
fn job_error(error: &holstein::Error) -> DiskError {
    match error.io().and_then(io::Error::raw_os_error) {
        Some(errno) => DiskError::from_errno(errno),
        None => engine_error(error),
    }
}

fn empty(overlay: &dyn Disk, filename: &str) -> Result<(), Failure> {
    let Some(image) = overlay.image() else { return Ok(()) };
    let failed =
        |error| Failure::Error(format!("Could not empty {filename}: "), engine_error(&error), 1);
    image.make_empty().map_err(failed)
}

/// A disk of the program as the base of a commit.
struct Base<'a> {
    disk: &'a dyn Disk,
    cluster: u64,
}

impl CommitTarget for Base<'_> {
    fn len(&self) -> u64 {
        self.disk.len()
    }

    fn cluster_size(&self) -> u64 {
        self.cluster
    }

    fn grow(&self, len: u64) -> io::Result<()> {
        self.disk.truncate(len, Preallocation::Off, &mut |_, _| {}).map_err(os_error)
    }

    fn write_at(&self, at: u64, from: &[u8]) -> io::Result<()> {
        self.disk.write_at(at, from, false).map_err(os_error)
    }

    fn write_zeroes(&self, at: u64, len: u64) -> io::Result<()> {
        self.disk.write_zeroes(at, len, true, false).map_err(os_error)
    }

    fn flush(&self) -> io::Result<()> {
        self.disk.flush().map_err(os_error)
    }
}
