//! `check`: whether the tables of an image agree with each other.

use std::sync::Arc;

use holstein_check::{
    CheckError, CheckOptions, Phase, Progress as At, RepairError, RepairKind, RepairOptions,
    RepairPlan, Report, check, plan_repair,
};
use holstein_format::DecodePurpose;
use holstein_storage::Storage;

use super::images::{cache_mode, json_output, named, open_files};
use super::meter::Unit;
use super::progress::Progress;
use super::shared_options::{FORCE_SHARE, FORMAT, IMAGE_OPTS};
use super::{Args, Command, Failure, Outcome};
use crate::disk::DiskError;
use crate::node::{CacheMode, Driver, OpenFlags, QcowOptions, check_fit, read_header};
use crate::out::{self, say};
use crate::personality;
use crate::text::{Json, Operands, Opt, strerror};
use crate::words::{CACHES, OUTPUT, REPAIR};

pub(super) const COMMAND: Command = Command {
    name: "check",
    summary: "check an image for errors",
    usage: "check [-f FMT | --image-opts] [-T CACHE] [-r leaks|all [--dry-run]] [-U] \
            [--output human|json] [-q] FILENAME",
    help: "\
  -f, --format FMT
     format of the image (found by its first bytes)
  --image-opts
     FILENAME is a string of options
  -T, --cache CACHE
     cache mode (writeback)
  -r, --repair leaks|all
     put right what is found: leaked clusters only, or everything
  --dry-run
     print what a repair would write, and write nothing
  -U, --force-share
     do not look at the locks of others
  --output human|json
     form of the output (human)
  -q, --quiet
     print only what is wrong
exit status: 0 consistent, 1 not checked, 2 corrupt, 3 leaks, 63 no check for this format
",
    options: &[
        FORMAT,
        IMAGE_OPTS,
        Opt::value("cache", Some('T'), &["cache"])
            .takes("CACHE", "cache mode (writeback)")
            .words(CACHES),
        Opt::value("repair", Some('r'), &["repair"])
            .takes("leaks|all", "put right what is found: leaked clusters only, or everything")
            .words(REPAIR),
        Opt::flag("dry-run", None, &["dry-run"])
            .about("print what a repair would write, and write nothing"),
        FORCE_SHARE,
        Opt::value("output", None, &["output"])
            .takes("human|json", "form of the output (human)")
            .words(OUTPUT),
        Opt::flag("quiet", Some('q'), &["quiet"]).about("print only what is wrong"),
    ],
    operands: Operands::Mixed,
    native: &[super::shared_options::PROGRESS],
    manual: &super::manuals::CHECK,
    run,
};

const CORRUPT: u8 = 2;
const LEAKS: u8 = 3;
const NO_CHECK: u8 = 63;

fn run(args: &Args) -> Outcome {
    let kind = match args.last("repair") {
        None => None,
        Some("leaks") => Some(RepairKind::Leaks),
        Some("all") => Some(RepairKind::All),
        Some(other) => {
            return Err(Failure::Usage(format!(
                "--repair (-r) expects 'leaks' or 'all' not '{other}'"
            )));
        }
    };
    let dry = args.has("dry-run");
    if dry && !personality::is_native() {
        return Err(Failure::Usage("unrecognized option '--dry-run'".to_owned()));
    }
    if dry && kind.is_none() {
        return Err(Failure::Usage("--dry-run needs --repair".to_owned()));
    }
    let json = json_output(args)?;
    let [filename] = args.operands() else {
        return Err(Failure::Usage("Expecting one image file name".to_owned()));
    };
    let cache = cache_mode(args, "cache", CacheMode::WRITEBACK, "source cache option")?;
    let access = if kind.is_some() && !dry { OpenFlags::WRITE } else { OpenFlags::READ };
    let flags = OpenFlags { share: args.has("share"), cache, ..access };
    let mut layer = open_files(named(filename, args)?, &flags)?;
    let file = match (&layer.file, layer.driver) {
        (Some(file), Driver::Qcow2) => file.clone(),
        _ => {
            let text = "This image format does not support checks";
            return Err(Failure::message(text).with_status(NO_CHECK));
        }
    };
    let prefix = format!("Could not open '{filename}': ");
    QcowOptions::take(&mut layer.options)
        .and_then(|qcow| match read_header(&file, DecodePurpose::Check) {
            Ok(header) => check_fit(&layer.generic, &qcow, &header),
            // The check says what is wrong with it.
            Err(_) => Ok(()),
        })
        .map_err(|error| Failure::Error(prefix.clone(), error, 1))?;
    let output = Output { json, quiet: args.has("quiet"), filename };
    let (report, fixed) = match kind {
        None => (examine(args, &*file.storage, prefix)?, Fixed::default()),
        Some(kind) => repair(args, &file.storage, kind, dry, &output, prefix)?,
    };
    if report.check_errors > 0 {
        out::error_line("Check failed");
    }
    output.print(&report, &fixed);
    Ok(match (report.check_errors > 0, report.corruptions > 0, report.leaks > 0) {
        (true, ..) => 1,
        (_, true, _) => CORRUPT,
        (_, _, true) => LEAKS,
        _ => 0,
    })
}

/// How results are printed.
struct Output<'a> {
    json: bool,
    quiet: bool,
    filename: &'a str,
}

impl Output<'_> {
    fn print(&self, report: &Report, fixed: &Fixed) {
        if self.quiet {
        } else if self.json {
            say!("{}\n", to_json(report, fixed, self.filename).pretty());
        } else {
            print_human(report);
        }
    }
}

/// What a repair has put right.
#[derive(Default)]
struct Fixed {
    corruptions: u64,
    leaks: u64,
}

/// Shows how far the check is.
fn show(progress: &mut Progress, at: At) {
    progress.enter(match at.phase {
        Phase::ActiveTables => "tables",
        Phase::Snapshots => "snapshots",
        Phase::Refcounts => "refcounts",
        Phase::CopiedFlags => "flags",
    });
    progress.update(at.done, at.total);
}

/// Checks, and prints what is found.
fn examine(args: &Args, storage: &dyn Storage, prefix: String) -> Result<Report, Failure> {
    let mut progress = Progress::start(args, 1.0, Unit::Steps);
    let checked = check(storage, &CheckOptions::default(), &mut |at| show(&mut progress, at));
    progress.finish(checked.is_ok());
    let report = checked.map_err(|error| unchecked(&error, prefix))?;
    for finding in &report.findings {
        out::error_text(&format!("{finding}\n"));
    }
    print_dropped(&report);
    Ok(report)
}

fn print_dropped(report: &Report) {
    if report.findings_dropped > 0 {
        out::error_text(&format!("and {} more\n", report.findings_dropped));
    }
}

/// Checks, repairs, and checks again if there was anything to repair.
fn repair(
    args: &Args,
    storage: &Arc<dyn Storage>,
    kind: RepairKind,
    dry: bool,
    output: &Output<'_>,
    prefix: String,
) -> Result<(Report, Fixed), Failure> {
    let mut progress = Progress::start(args, 1.0, Unit::Steps);
    let options = RepairOptions::new(kind);
    let planned = plan_repair(&**storage, &options, &mut |at| show(&mut progress, at));
    progress.finish(planned.is_ok());
    let plan = planned.map_err(|error| unrepaired(&error, prefix.clone()))?;
    for note in &plan.notes {
        out::error_text(&format!("{note}\n"));
    }
    print_dropped(&plan.report);
    if dry {
        return Ok(print_steps(plan));
    }
    plan.execute(storage).map_err(|error| unrepaired(&error, prefix.clone()))?;
    let fixed = Fixed { corruptions: plan.corruptions_fixed, leaks: plan.leaks_fixed };
    if fixed.corruptions == 0 && fixed.leaks == 0 {
        return Ok((plan.report, fixed));
    }
    if !output.quiet && !output.json {
        say!(
            "The following inconsistencies were found and repaired:\n\n    {} leaked clusters\n    {} \
             corruptions\n\nDouble checking the fixed image now...\n",
            fixed.leaks,
            fixed.corruptions
        );
    }
    drop(plan);
    Ok((examine(args, &**storage, prefix)?, fixed))
}

/// Prints what would be written.
fn print_steps(plan: RepairPlan) -> (Report, Fixed) {
    if plan.is_empty() {
        say!("Nothing would be written.\n");
    }
    for (number, step) in (1..).zip(plan.steps()) {
        say!("{number}. {step}\n");
    }
    (plan.report, Fixed::default())
}

/// Why nothing was repaired, or not everything.
fn unrepaired(error: &RepairError, prefix: String) -> Failure {
    match error {
        RepairError::Check(error) => unchecked(error, prefix),
        RepairError::RebuildNeeded => {
            Failure::message(format!("Check failed: {}", strerror(libc::EIO)))
        }
        error => {
            out::error_text(&format!("ERROR {error}\n"));
            Failure::message(format!("Check failed: {}", strerror(libc::EIO)))
        }
    }
}

/// Why there is no report: the header, or something that could not be read.
fn unchecked(error: &CheckError, prefix: String) -> Failure {
    let text = error.qemu_message();
    match error {
        CheckError::Header(_) => Failure::Error(prefix, DiskError::invalid(text), 1),
        CheckError::Read { source, .. } => {
            let errno = source.raw_os_error().unwrap_or(libc::EIO);
            out::error_text(&format!("ERROR {text}\n"));
            Failure::message(format!("Check failed: {}", strerror(errno)))
        }
        error => {
            out::error_line(&text);
            let errno = match error {
                CheckError::TooManySnapshots { .. }
                | CheckError::SnapshotTableTooLarge { .. }
                | CheckError::SnapshotExtra { .. } => libc::EFBIG,
                _ => libc::EINVAL,
            };
            Failure::message(format!("Check failed: {}", strerror(errno)))
        }
    }
}

/// Counts that are zero are left out, except that of the errors of the check itself.
fn to_json(report: &Report, fixed: &Fixed, filename: &str) -> Json {
    let mut out = Json::Map(Vec::new());
    let mut push = |key, count: u64| {
        if count > 0 || key == "check-errors" {
            out.push(key, count);
        }
    };
    push("image-end-offset", report.image_end_offset);
    push("compressed-clusters", report.compressed_clusters);
    push("total-clusters", report.total_clusters);
    push("corruptions", report.corruptions);
    push("corruptions-fixed", fixed.corruptions);
    push("check-errors", report.check_errors);
    push("leaks", report.leaks);
    push("leaks-fixed", fixed.leaks);
    push("allocated-clusters", report.allocated_clusters);
    out.push("filename", filename);
    out.push("format", "qcow2");
    if report.fragmented_clusters > 0 {
        out.push("fragmented-clusters", report.fragmented_clusters);
    }
    out
}

fn print_human(report: &Report) {
    let Report { corruptions, leaks, check_errors, .. } = report;
    if report.is_clean() {
        say!("No errors were found on the image.\n");
    } else {
        if *corruptions > 0 {
            say!(
                "\n{corruptions} errors were found on the image.\nData may be corrupted, or \
                 further writes to the image may corrupt it.\n"
            );
        }
        if *leaks > 0 {
            say!(
                "\n{leaks} leaked clusters were found on the image.\nThis means waste of disk \
                 space, but no harm to data.\n"
            );
        }
        if *check_errors > 0 {
            say!("\n{check_errors} internal errors have occurred during the check.\n");
        }
    }
    let (total, allocated) = (report.total_clusters, report.allocated_clusters);
    if total != 0 && allocated != 0 {
        let percent = |part: u64, whole: u64| part as f64 * 100.0 / whole as f64;
        say!(
            "{allocated}/{total} = {:.2}% allocated, {:.2}% fragmented, {:.2}% compressed \
             clusters\n",
            percent(allocated, total),
            percent(report.fragmented_clusters, allocated),
            percent(report.compressed_clusters, allocated)
        );
    }
    if report.image_end_offset > 0 {
        say!("Image end offset: {}\n", report.image_end_offset);
    }
}
