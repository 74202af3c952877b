//! `convert`: a copy in another format.

use holstein_storage::FileIdentity;

use super::convert_bitmaps::{SourceBitmaps, no_bitmaps, refuse_target};
use super::convert_copy::{CopyOptions, copy};
use super::convert_source::Sources;
use super::convert_stream::{Streams, streamed};
use super::create_list::{CreateFormat, CreateList, Place, help};
use super::images::{cache_mode, named, number, open_files, open_image};
use super::make::make_image;
use super::meter::Unit;
use super::progress::Progress;
use super::shared_options::{PROGRESS, QUIET};
use super::snapshot_word::SnapshotWord;
use super::stage::Stage;
use super::target_file::TargetFile;
use super::{Args, Command, Failure, Outcome};
use crate::disk::{Disk, DiskError};
use crate::node::{
    CacheMode, ImageRef, OpenFlags, Options, check_protocol, identity_of, strip_file_protocol,
};
use crate::text::{
    Operands, Opt, SizeError, asks_for_help, join_lists, parse_c_integer, parse_list, parse_size,
};
use crate::words::{CACHES, FORMATS};

pub(super) const COMMAND: Command = Command {
    name: "convert",
    summary: "copy an image into another format",
    usage: "convert [-c] [-f FMT | --image-opts] [-T SRC_CACHE] [-l SNAPSHOT] [-U] [-O OUT_FMT] [-o OPTIONS] \
            [-B BACKING -F BACKING_FMT] [-t CACHE] [-S SPARSE_SIZE] [-n [--target-is-zero] \
            [--target-image-opts]] [-C] [-W] [-m NUM] [-r RATE] [--bitmaps [--skip-broken-bitmaps]] [--salvage] [-p] [-q] FILENAME \
            [FILENAME2...] OUTPUT_FILENAME",
    help: "\
  -c, --compress
     compress the clusters of the target
  -f, --source-format FMT
     format of the sources (found by their first bytes)
  --image-opts, --target-image-opts
     the names of the sources, or of the target, are strings of options
  -T, --source-cache SRC_CACHE, -t, --target-cache CACHE
     cache modes (writeback for sources, unsafe for the target)
  -l, --snapshot SNAPSHOT
     read an internal snapshot: its ID or name, or snapshot.id=ID,snapshot.name=NAME
  -U, --force-share
     do not look at the locks of others on the sources
  -O, --target-format OUT_FMT
     format of the target (raw)
  -o, --target-format-options OPTIONS
     key=value,... of the format; '-o help' lists them
  -B, --backing BACKING, -F, --backing-format BACKING_FMT
     backing file of the target, which has to hold what the source inherits
  -S, --sparse-size SPARSE_SIZE
     zeros of this length become holes (4k); 0 writes everything
  -n, --no-create
     the target exists
  --target-is-zero
     and it reads as zeros
  -C, --copy-range-offloading
     let the system copy between raw files
  -W, --oob-writes
     write in any order
  -m, --parallel NUM
     requests at a time, 1 to 16
  -r, --rate-limit RATE
     bytes written in a second
  --bitmaps
     copy the dirty bitmaps of the only source as well, with their granularity
  --skip-broken-bitmaps
     leave out those that are inconsistent
  --salvage
     what cannot be read becomes zeros
  -p, --progress
     show progress
  -q, --quiet
     print nothing
",
    options: &[
        Opt::value("format", Some('f'), &["source-format"])
            .takes("FMT", "format of the sources (found by their first bytes)")
            .words(FORMATS),
        Opt::flag("image-opts", None, &["image-opts", "source-image-opts"])
            .about("the names of the sources are strings of options"),
        Opt::value("source-cache", Some('T'), &["source-cache"])
            .takes("SRC_CACHE", "cache mode of the sources (writeback)")
            .words(CACHES),
        Opt::value("snapshot", Some('l'), &["snapshot"]).takes(
            "SNAPSHOT",
            "read an internal snapshot: its ID or name, or snapshot.id=ID,snapshot.name=NAME",
        ),
        Opt::flag("bitmaps", None, &["bitmaps"])
            .about("copy the dirty bitmaps of the only source as well"),
        Opt::flag("skip-broken", None, &["skip-broken-bitmaps"])
            .about("leave out bitmaps that are inconsistent"),
        Opt::flag("salvage", None, &["salvage"]).about("what cannot be read becomes zeros"),
        Opt::value("out-format", Some('O'), &["target-format", "output-format"])
            .takes("OUT_FMT", "format of the target (raw)")
            .words(FORMATS),
        Opt::flag("target-image-opts", None, &["target-image-opts"])
            .about("the name of the target is a string of options"),
        Opt::value("options", Some('o'), &["target-format-options"])
            .takes("OPTIONS", "key=value,... of the target's format; 'help' lists them"),
        Opt::value("cache", Some('t'), &["target-cache", "output-cache"])
            .takes("CACHE", "cache mode of the target (unsafe)")
            .words(CACHES),
        Opt::value("backing", Some('b'), &["backing"])
            .takes(
                "BACKING",
                "backing file of the target, which has to hold what the source inherits",
            )
            .file(),
        Opt::value("backing", Some('B'), &[]).takes("BACKING", "as --backing").file(),
        Opt::value("backing-format", Some('F'), &["backing-format"])
            .takes("BACKING_FMT", "format of that backing file")
            .words(FORMATS),
        Opt::value("sparse", Some('S'), &["sparse-size"])
            .takes("SPARSE_SIZE", "zeros of this length become holes (4k); 0 writes everything"),
        Opt::flag("no-create", Some('n'), &["no-create"])
            .about("the target exists, and is written where it is"),
        Opt::flag("target-is-zero", None, &["target-is-zero"]).about("the target reads as zeros"),
        Opt::flag("compress", Some('c'), &["compress"])
            .about("compress the clusters of the target"),
        Opt::flag("share", Some('U'), &["force-share"])
            .about("do not look at the locks of others on the sources"),
        Opt::value("rate", Some('r'), &["rate-limit", "rate"])
            .takes("RATE", "bytes written in a second"),
        Opt::value("parallel", Some('m'), &["parallel"])
            .takes("NUM", "requests at a time, 1 to 16"),
        Opt::flag("out-of-order", Some('W'), &["oob-writes"]).about("write in any order"),
        Opt::flag("copy-range", Some('C'), &["copy-range-offloading"])
            .about("let the system copy between raw files"),
        PROGRESS,
        QUIET,
    ],
    operands: Operands::Mixed,
    native: &[],
    manual: &super::manuals::CONVERT,
    run,
};

/// Zeros of this length become holes where nothing else is asked for.
const DEFAULT_SPARSE: u64 = 4096;
const MAX_SPARSE: u64 = 16 << 20;

/// The command line after its own checks.
pub(super) struct Plan<'a> {
    pub(super) args: &'a Args,
    pub(super) sources: &'a [String],
    pub(super) target: &'a str,
    pub(super) out_format: &'a str,
    pub(super) list: String,
    create: bool,
    pub(super) sparse: u64,
    workers: Option<usize>,
    pub(super) rate: Option<u64>,
    snapshot: Option<SnapshotWord>,
}

fn run(args: &Args) -> Outcome {
    let plan = match plan(args)? {
        Some(plan) => plan,
        None => return Ok(0),
    };
    let mut progress = Progress::start(args, 1.0, Unit::Bytes);
    let converted = convert(&plan, &mut progress);
    progress.conclude(converted)
}

/// Judges the command line as far as no file is needed; nothing is left where it asked for help.
fn plan(args: &Args) -> Result<Option<Plan<'_>>, Failure> {
    let sparse = match args.last("sparse") {
        None => DEFAULT_SPARSE,
        Some(text) => sparse_size(text)?,
    };
    let workers = args.last("parallel").map(parallel).transpose()?;
    let rate = number(args, "rate", "rate limit")?.filter(|rate| *rate > 0);
    let snapshot = args.last("snapshot").map(SnapshotWord::parse).transpose()?;
    let create = !args.has("no-create");
    let list = match args.parsed.all("options") {
        lists if lists.is_empty() => String::new(),
        lists => join_lists(&lists).map_err(Failure::message)?,
    };
    let out_format = args.last("out-format").unwrap_or("raw");
    refuse_combinations(args, create, !list.is_empty())?;
    let operands = args.operands();
    if asks_for_help(&list) {
        let format = CreateFormat::named(out_format)?;
        let target = operands.get(1..).and_then(<[String]>::last).map(String::as_str);
        if let Some(target) = target {
            check_protocol(target)?;
        }
        args.report.show(&help(format, target));
        return Ok(None);
    }
    let (target, sources) = match operands.split_last() {
        Some((target, sources)) if !sources.is_empty() => (target, sources),
        _ => return Err(Failure::message("Must specify image file name")),
    };
    if args.has("image-opts") && args.last("format").is_some()
        || args.has("target-image-opts") && args.last("out-format").is_some()
    {
        return Err(Failure::message("--image-opts and --format are mutually exclusive"));
    }
    Ok(Some(Plan {
        args,
        sources,
        target,
        out_format,
        list,
        create,
        sparse,
        workers,
        rate,
        snapshot,
    }))
}

/// Options that exclude each other.
fn refuse_combinations(args: &Args, create: bool, has_list: bool) -> Result<(), Failure> {
    let offload = args.has("copy-range");
    let texts = [
        (!create && has_list, "-o has no effect when skipping image creation"),
        (args.has("compress") && offload, "Cannot enable copy offloading when -c is used"),
        (args.last("sparse").is_some() && offload, "Cannot enable copy offloading when -S is used"),
        (args.has("salvage") && offload, "Cannot use copy offloading in salvaging mode"),
        (args.has("target-image-opts") && create, "--target-image-opts requires use of -n flag"),
        (args.has("target-is-zero") && create, "--target-is-zero requires use of -n flag"),
        (
            args.has("skip-broken") && !args.has("bitmaps"),
            "Use of --skip-broken-bitmaps requires --bitmaps",
        ),
    ];
    if let Some((_, text)) = texts.iter().find(|(wrong, _)| *wrong) {
        return Err(Failure::message(*text));
    }
    let is_raw = matches!(args.last("out-format"), None | Some("raw" | "file"));
    let cannot = is_raw || args.last("out-format") == Some("luks");
    if args.has("compress") && cannot {
        return Err(Failure::message("Compression not supported for this file format"));
    }
    Ok(())
}

fn sparse_size(text: &str) -> Result<u64, Failure> {
    let size = match parse_size(text) {
        Err(SizeError::Invalid) => {
            return Err(Failure::message(format!(
                "Invalid buffer size for sparse output specified: '{text}'."
            )));
        }
        Err(SizeError::Range) => u64::MAX,
        Ok(size) => size,
    };
    if size % holstein_units::SECTOR != 0 || size > MAX_SPARSE {
        return Err(Failure::message(format!(
            "Invalid buffer size for sparse output specified. Valid sizes are multiples of 512 up \
             to {MAX_SPARSE}. Select 0 to disable sparse detection (fully allocates output)."
        )));
    }
    Ok(size)
}

fn parallel(text: &str) -> Result<usize, Failure> {
    let number = parse_c_integer(text).ok_or_else(|| {
        Failure::message(format!("Invalid number of coroutines specified: '{text}'."))
    })?;
    usize::try_from(number).ok().filter(|number| (1..=16).contains(number)).ok_or_else(|| {
        Failure::message("Invalid number of coroutines specified. Must be between 1 and 16.")
    })
}

/// Opens both sides and copies.
fn convert(plan: &Plan<'_>, progress: &mut Progress) -> Result<(), Failure> {
    let args = plan.args;
    if let Some(streams) = Streams::of(plan)? {
        return streams.convert(plan, progress);
    }
    let source_cache =
        cache_mode(args, "source-cache", CacheMode::WRITEBACK, "source cache option")?;
    let cache = cache_mode(args, "cache", CacheMode::UNSAFE, "cache option")?;
    let (sources, bitmaps) = open_sources(plan, source_cache)?;
    let mut made = None;
    if plan.create {
        made = Some(create_target(plan, &sources, bitmaps.as_ref(), progress)?);
    } else {
        judge_bitmaps(plan, bitmaps.as_ref())?;
        refuse_same(plan, &sources, strip_file_protocol(plan.target))?;
    }
    let (stage, guard) = made.unzip();
    let name = stage.as_ref().map_or(plan.target, Stage::name);
    let target = open_target(plan, name, cache).map_err(|failure| worded(&stage, failure))?;
    let bitmaps = bitmaps.transpose()?;
    // Without creation the target was there before, and a half-written one is to be told of.
    let guard = guard.unwrap_or_else(|| TargetFile::before(strip_file_protocol(plan.target)));
    let how = How {
        direct: cache.direct || source_cache.direct,
        signals: !stage.as_ref().is_some_and(Stage::minds_signals),
    };
    let filled = fill_target(plan, &sources, bitmaps.as_ref(), target, how, progress)
        .map_err(|failure| worded(&stage, failure))
        .and_then(|()| stage.map_or(Ok(()), |stage| Ok(stage.finish()?)));
    if filled.is_ok() {
        args.report.set("filename", plan.target);
        args.report.set("format", plan.out_format);
        args.report.set("virtual-size", sources.len());
    }
    match (guard, filled) {
        (guard, Ok(())) => {
            guard.keep();
            Ok(())
        }
        // What fails before the first byte is copied leaves the target as it was.
        (guard, Err(Failure::Error(prefix, error, status)))
            if plan.create || prefix.starts_with("error while ") =>
        {
            Err(Failure::Error(prefix, guard.failed(error), status))
        }
        (_, Err(other)) => Err(other),
    }
}

/// A failure in words that name the target.
fn worded(stage: &Option<Stage>, failure: Failure) -> Failure {
    match stage {
        Some(stage) => stage.worded(failure),
        None => failure,
    }
}

/// The bitmaps to be copied, where that was asked for; what is wrong with them is said later.
pub(super) type WantedBitmaps = Option<Result<SourceBitmaps, Failure>>;

pub(super) fn open_sources(
    plan: &Plan<'_>,
    cache: CacheMode,
) -> Result<(Sources, WantedBitmaps), Failure> {
    let args = plan.args;
    let flags = OpenFlags { share: args.has("share"), cache, ..OpenFlags::READ };
    let mut disks = Vec::with_capacity(plan.sources.len());
    for name in plan.sources {
        let image = named(streamed(name), args)?;
        let prefix = format!("Could not open '{}': ", image.text);
        let layer = open_files(image, &flags)?;
        let disk =
            layer.into_disk(&args.objects).map_err(|error| Failure::Error(prefix, error, 1))?;
        disks.push((name, disk));
    }
    // They are those of the image, whatever snapshot of it is copied.
    let bitmaps = match disks.as_slice() {
        [(_, only)] if args.has("bitmaps") => Some(SourceBitmaps::of(&**only)),
        _ => None,
    };
    if let Some(word) = &plan.snapshot {
        if matches!(word, SnapshotWord::Word(_)) && disks.len() > 1 {
            return Err(Failure::message("No support for concatenating multiple snapshot"));
        }
        // Of several disks it is the first.
        let (name, first) = disks.remove(0);
        disks.insert(0, (name, word.load(first)?));
    }
    let mut sources = Sources::default();
    for (name, disk) in disks {
        sources.push(name, disk);
    }
    Ok((sources, bitmaps))
}

/// Refuses bitmaps that cannot be copied.
fn judge_bitmaps(
    plan: &Plan<'_>,
    bitmaps: Option<&Result<SourceBitmaps, Failure>>,
) -> Result<(), Failure> {
    if plan.args.has("bitmaps") && plan.sources.len() > 1 {
        return Err(Failure::message("Copying bitmaps only possible with single source"));
    }
    match bitmaps {
        None => Ok(()),
        Some(Err(failure)) => Err(failure.clone()),
        Some(Ok(_)) if plan.args.has("skip-broken") => Ok(()),
        Some(Ok(bitmaps)) => bitmaps.refuse_broken(),
    }
}

/// Makes the target; it goes away again unless it is kept.
pub(super) fn create_target(
    plan: &Plan<'_>,
    sources: &Sources,
    bitmaps: Option<&Result<SourceBitmaps, Failure>>,
    progress: &mut Progress,
) -> Result<(Stage, TargetFile), Failure> {
    let format = CreateFormat::named(plan.out_format)?;
    check_protocol(plan.target)?;
    let mut list = CreateList::parse_in(format, Place::of(plan.target), &plan.list)?;
    list.set("size", &sources.len().to_string())?;
    for (option, key, what) in [
        ("backing", "backing_file", "Backing file"),
        ("backing-format", "backing_fmt", "Backing file format"),
    ] {
        if let Some(value) = plan.args.last(option)
            && !list.set_text(key, value)
        {
            return Err(Failure::message(format!(
                "{what} not supported for file format '{}'",
                format.name()
            )));
        }
    }
    if list.given("backing_file").is_some() {
        if plan.sources.len() > 1 {
            return Err(Failure::message(
                "Having a backing file for the target makes no sense when concatenating multiple \
                 input images",
            ));
        }
        if list.given("backing_fmt").is_none() {
            return Err(Failure::message("Use of backing file requires explicit backing format"));
        }
    }
    if plan.args.has("compress") {
        refuse_to_compress(&list)?;
    }
    judge_bitmaps(plan, bitmaps)?;
    if bitmaps.is_some() && format != CreateFormat::Qcow2 {
        return Err(no_bitmaps(format.name()));
    }
    let path = strip_file_protocol(plan.target);
    refuse_same(plan, sources, path)?;
    let data = list.given("data_file").map(strip_file_protocol);
    if let Some(data) = data {
        refuse_same(plan, sources, data)?;
    }
    let failed = |error| {
        let prefix = format!("{}: error while converting {}: ", plan.target, plan.out_format);
        Failure::Error(prefix, error, 1)
    };
    let stage = Stage::before(plan.target, &list).map_err(failed)?;
    let guard = TargetFile::before_both(strip_file_protocol(stage.name()), data);
    let mut prepared = false;
    let mut heard = |done, total| {
        prepared = true;
        progress.prepared(done, total);
    };
    let made =
        make_image(stage.name(), &list, &plan.args.objects, &mut heard).and_then(|()| stage.made());
    if prepared {
        progress.enter("copy");
    }
    match made {
        Ok(()) => Ok((stage, guard)),
        Err(error) => {
            // The file was removed already where that is right.
            guard.keep();
            Err(failed(stage.error(error)))
        }
    }
}

/// Refuses what a target of compressed clusters cannot be.
fn refuse_to_compress(list: &CreateList) -> Result<(), Failure> {
    let both = |what| {
        Err(Failure::message(format!("Compression and {what} not supported at the same time")))
    };
    if list.given("encrypt.format").is_some() || list.is_on("encryption") {
        return both("encryption");
    }
    match list.given("preallocation") {
        None | Some("off") => Ok(()),
        Some(_) => both("preallocation"),
    }
}

/// Refuses a target that is a source, or is under one, by whatever name.
fn refuse_same(plan: &Plan<'_>, sources: &Sources, path: &str) -> Result<(), Failure> {
    let target: Option<FileIdentity> = match plan.args.has("target-image-opts") {
        true => Options::parse(plan.target, Some("file"))
            .take_text("file.filename")?
            .and_then(|path| identity_of(&path)),
        false => identity_of(path),
    };
    match target {
        Some(target) if sources.files().contains(&target) => {
            let error = DiskError::new(libc::EAGAIN, "Failed to get \"write\" lock")
                .with_hint(format!("Is another process using the image [{path}]?"));
            let prefix = if plan.create {
                format!("{}: error while converting {}: ", plan.target, plan.out_format)
            } else {
                format!("Could not open '{}': ", plan.target)
            };
            Err(Failure::Error(prefix, error, 1))
        }
        _ => Ok(()),
    }
}

pub(super) fn open_target(
    plan: &Plan<'_>,
    name: &str,
    cache: CacheMode,
) -> Result<Box<dyn Disk>, Failure> {
    let cache = CacheMode { streaming: true, ..cache };
    let flags = OpenFlags { cache, ..OpenFlags::WRITE };
    let image = if plan.args.has("target-image-opts") {
        ImageRef::from_options(name)
    } else {
        let mut image = ImageRef::named(name, Some(plan.out_format));
        // What it was encrypted with just now opens it.
        let key = if plan.out_format == "luks" { "key-secret" } else { "encrypt.key-secret" };
        if let Some(secret) = parse_list(&plan.list).into_iter().rfind(|pair| pair.key == key) {
            image.options.set(key, secret.value.unwrap_or_default());
        }
        image
    };
    open_image(image, &flags, plan.args)
}

/// Whether a new image of these options has a place for every cluster before anything is written.
fn maps_all(list: &str) -> bool {
    parse_list(list).iter().any(|pair| match pair.key.as_str() {
        "preallocation" => pair.value.as_deref() != Some("off"),
        "data_file_raw" => pair.value.as_deref() == Some("on"),
        _ => false,
    })
}

/// What the copy has to know of files.
#[derive(Clone, Copy, Debug)]
struct How {
    /// The page cache of one side is not used.
    direct: bool,
    /// Signals end the copy in order: nobody else minds them.
    signals: bool,
}

fn fill_target(
    plan: &Plan<'_>,
    sources: &Sources,
    bitmaps: Option<&SourceBitmaps>,
    target: Box<dyn Disk>,
    how: How,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let args = plan.args;
    if bitmaps.is_some() {
        refuse_target(&*target)?;
    }
    // Only a backing file that was asked for is taken to hold what the source inherits.
    let wants_backing = args.last("backing").is_some()
        || parse_list(&plan.list).iter().any(|pair| pair.key == "backing_file");
    let backing = target.backing_len().filter(|_| wants_backing);
    if backing.is_some() && args.has("target-is-zero") {
        return Err(Failure::message(
            "Cannot use --target-is-zero when the destination image has a backing file",
        ));
    }
    if target.len() < sources.len() {
        return Err(Failure::message("output file is smaller than input file"));
    }
    let fresh = plan.create && target.starts_zeroed() || args.has("target-is-zero");
    let options = CopyOptions {
        sparse: plan.sparse,
        workers: plan.workers,
        in_order: !args.has("out-of-order"),
        rate: plan.rate,
        salvage: args.has("salvage"),
        quiet: args.has("quiet"),
        direct: how.direct,
        signals: how.signals,
        offload: args.has("copy-range"),
        compress: args.has("compress"),
        target_is_zero: fresh && backing.is_none(),
        backing,
        mapped: plan.create && maps_all(&plan.list),
    };
    let copied = copy(sources, &*target, &options, progress)
        .and_then(|()| bitmaps.map_or(Ok(()), |bitmaps| bitmaps.copy_to(&*target)));
    let closed = target.close();
    copied?;
    closed.map_err(|error| {
        Failure::message(format!(
            "error while writing at byte {}: {}",
            sources.len(),
            error.strerror()
        ))
    })
}
