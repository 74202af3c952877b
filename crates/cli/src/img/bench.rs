//! `bench`: how fast requests of one kind are.

use std::time::Instant;

use super::bench_run::{Flushes, Plan, run_requests};
use super::images::{named, number, open_image, out_of_range, size_within};
use super::meter::Unit;
use super::progress::Progress;
use super::shared_options::{CACHE, FORCE_SHARE, FORMAT, IMAGE_OPTS, PROGRESS};
use super::{Args, Command, Failure, Outcome};
use crate::disk::DiskError;
use crate::node::{CacheMode, OpenFlags};
use crate::text::{Json, Operands, Opt, parse_c_integer};
use crate::words::AIO;

pub(super) const COMMAND: Command = Command {
    name: "bench",
    summary: "measure how fast requests are",
    usage: "bench [-f FMT | --image-opts] [-t CACHE] [-c COUNT] [-d DEPTH] [-o OFFSET] \
            [-s BUFFER_SIZE] [-S STEP_SIZE] [-i AIO] [-n] [-w [--pattern PATTERN] \
            [--flush-interval INTERVAL [--no-drain]]] [-U] [-q] FILENAME",
    help: "\
  -f, --format FMT
     format of the image (found by its first bytes)
  --image-opts
     FILENAME is a string of options
  -t, --cache CACHE
     cache mode (writeback)
  -c, --count COUNT
     requests in all (75000)
  -d, --depth DEPTH
     requests at a time (64); each is made by a thread, of which there are at most 256
  -o, --offset OFFSET
     where the first request begins (0)
  -s, --buffer-size BUFFER_SIZE
     bytes of a request (4096)
  -S, --step-size STEP_SIZE
     how far from the start of one request that of the next is (as long as a request); behind the
     end of the disk they go on at its start
  -i, --aio AIO, -n, --native
     threads, native or io_uring; native wants a cache mode past the page cache; requests are made
     in the same way under each of these names
  -w, --write
     write; what is there is lost
  --pattern PATTERN
     the byte that is written (0)
  --flush-interval INTERVAL
     flush after so many requests, and no more than so many are under way
  --no-drain
     requests go on while a flush is under way
  -U, --force-share
     do not look at the locks of others
  -q, --quiet
     changes nothing
",
    options: &[
        FORMAT,
        IMAGE_OPTS,
        CACHE,
        Opt::value("count", Some('c'), &["count"]).takes("COUNT", "requests in all (75000)"),
        Opt::value("depth", Some('d'), &["depth"]).takes("DEPTH", "requests at a time (64)"),
        Opt::value("offset", Some('o'), &["offset"])
            .takes("OFFSET", "where the first request begins (0)"),
        Opt::value("buffer-size", Some('s'), &["buffer-size"])
            .takes("BUFFER_SIZE", "bytes of a request (4096)"),
        Opt::value("step-size", Some('S'), &["step-size"]).takes(
            "STEP_SIZE",
            "from the start of one request to that of the next (as long as a request)",
        ),
        Opt::value("aio", Some('i'), &["aio"])
            .takes("AIO", "how requests are made: threads, native or io_uring")
            .words(AIO),
        Opt::flag("native", Some('n'), &["native"]).about("as --aio native"),
        Opt::flag("write", Some('w'), &["write"]).about("write; what is there is lost"),
        Opt::value("pattern", None, &["pattern"]).takes("PATTERN", "the byte that is written (0)"),
        Opt::value("flush-interval", None, &["flush-interval"])
            .takes("INTERVAL", "flush after so many requests"),
        Opt::flag("no-drain", None, &["no-drain"])
            .about("requests go on while a flush is under way"),
        FORCE_SHARE,
        Opt::flag("quiet", Some('q'), &["quiet"])
            .about("accepted for scripts; results are printed all the same"),
    ],
    operands: Operands::Mixed,
    native: &[PROGRESS],
    manual: &super::manuals::BENCH,
    run,
};

const MOST: u64 = i32::MAX as u64;

fn run(args: &Args) -> Outcome {
    let count = integer(args, "count", "request count", 1, MOST)?.unwrap_or(75_000);
    let depth = integer(args, "depth", "queue depth", 1, MOST)?.unwrap_or(64);
    let start = number(args, "offset", "offset")?.unwrap_or(0);
    let len = size(args, "buffer-size", "buffer size", 1)?.unwrap_or(4096);
    let step = size(args, "step-size", "step size", 0)?.unwrap_or(0);
    let step = if step == 0 { len } else { step };
    let native = native(args)?;
    let pattern = integer(args, "pattern", "pattern byte", 0, 255)?.unwrap_or(0);
    let interval = integer(args, "flush-interval", "flush interval", 0, MOST)?.unwrap_or(0);
    let cache = match args.last("cache") {
        None => CacheMode::WRITEBACK,
        Some(name) => {
            CacheMode::parse(name).ok_or_else(|| Failure::message("Invalid cache mode"))?
        }
    };
    let [name] = args.operands() else {
        return Err(Failure::Usage("Expecting one image file name".to_owned()));
    };
    let write = args.has("write");
    if !write && interval > 0 {
        return Err(Failure::message("--flush-interval is only available in write tests"));
    }
    if interval > 0 && interval < depth {
        return Err(Failure::message("Flush interval can't be smaller than depth"));
    }
    let flags = if write { OpenFlags::WRITE } else { OpenFlags::READ };
    let flags = OpenFlags { share: args.has("share"), cache, ..flags };
    if native && !cache.direct {
        // That the image cannot be opened at all is said first.
        open_image(named(name, args)?, &OpenFlags { cache, ..OpenFlags::READ }, args)?.close()?;
        let text = "aio=native was specified, but it requires cache.direct=on, which was not \
                    specified.";
        let prefix = format!("Could not open '{name}': ");
        return Err(Failure::Error(prefix, DiskError::invalid(text), 1));
    }
    let disk = open_image(named(name, args)?, &flags, args)?;

    let kind = if write { "write" } else { "read" };
    args.report.say(&format!(
        "Sending {count} {kind} requests, {len} bytes each, {depth} in parallel (starting at offset \
         {start}, step size {step})\n"
    ));
    if interval > 0 {
        args.report.say(&format!("Sending flush every {interval} requests\n"));
    }
    let flushes = match interval {
        0 => Flushes::None,
        every if args.has("no-drain") => Flushes::Beside(every),
        every => Flushes::Between(every),
    };
    let write = write.then_some(u8::try_from(pattern).unwrap_or(0));
    let plan = Plan { count, depth, start, len, step, write, flushes };
    let mut progress = Progress::own(args, Unit::Steps);
    let began = Instant::now();
    let ran = run_requests(&*disk, &plan, &mut |done, total| progress.update(done, total));
    let seconds = began.elapsed().as_secs_f64();
    progress.finish(ran.is_ok());
    if let Err(error) = &ran {
        let text = format!("Failed request: {}", error.strerror());
        return Err(Failure::message(text));
    }
    args.report.say(&format!("Run completed in {seconds:.3} seconds.\n"));
    disk.close()?;
    for (key, value) in [("requests", count), ("request-size", len), ("depth", depth)] {
        args.report.set(key, value);
    }
    args.report.set("kind", kind);
    args.report.set("seconds", Json::Float(seconds));
    Ok(0)
}

/// Whether requests are to go past the page cache by the kernel's own queue.
fn native(args: &Args) -> Result<bool, Failure> {
    match args.last("aio") {
        Some("native") => Ok(true),
        None | Some("threads" | "io_uring") => Ok(args.has("native")),
        Some(other) => Err(Failure::message(format!("Invalid aio option: {other}"))),
    }
}

/// A plain number between `least` and `most`.
fn integer(
    args: &Args,
    option: &str,
    what: &str,
    least: u64,
    most: u64,
) -> Result<Option<u64>, Failure> {
    let Some(text) = args.last(option) else { return Ok(None) };
    let negative =
        text.trim_start().strip_prefix('-').is_some_and(|n| parse_c_integer(n).is_some());
    match parse_c_integer(text) {
        Some(number) if (least..=most).contains(&number) => Ok(Some(number)),
        None if !negative => Err(Failure::message(format!("Invalid {what} specified: '{text}'."))),
        _ => Err(out_of_range(what, least, most)),
    }
}

/// A number of bytes of a request, at least `least`.
fn size(args: &Args, option: &str, what: &str, least: u64) -> Result<Option<u64>, Failure> {
    args.last(option).map(|text| size_within(text, what, least, MOST)).transpose()
}
