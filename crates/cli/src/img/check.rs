//! `check`: whether the tables of an image agree with each other.

use holstein_check::{CheckError, CheckOptions, Report, check};

use super::images::{cache_mode, json_output, named, open_files};
use super::{Args, Command, Failure, Outcome};
use crate::disk::DiskError;
use crate::node::{CacheMode, Driver, OpenFlags, QcowOptions};
use crate::out::{self, say};
use crate::text::{Json, Operands, Opt, strerror};

pub(super) const COMMAND: Command = Command {
    name: "check",
    summary: "check an image for errors",
    usage: "check [-f FMT | --image-opts] [-T CACHE] [-U] [--output human|json] [-q] FILENAME",
    help: "\
  -f, --format FMT
     format of the image (found by its first bytes)
  --image-opts
     FILENAME is a string of options
  -T, --cache CACHE
     cache mode (writeback)
  -U, --force-share
     do not look at the locks of others
  --output human|json
     form of the output (human)
  -q, --quiet
     print only what is wrong
exit status: 0 consistent, 1 not checked, 2 corrupt, 3 leaks, 63 no check for this format
",
    options: &[
        Opt::value("format", Some('f'), &["format"]),
        Opt::flag("image-opts", None, &["image-opts"]),
        Opt::value("cache", Some('T'), &["cache"]),
        Opt::value("repair", Some('r'), &["repair"]),
        Opt::flag("share", Some('U'), &["force-share"]),
        Opt::value("output", None, &["output"]),
        Opt::flag("quiet", Some('q'), &["quiet"]),
    ],
    operands: Operands::Mixed,
    run,
};

const CORRUPT: u8 = 2;
const LEAKS: u8 = 3;
const NO_CHECK: u8 = 63;

fn run(args: &Args) -> Outcome {
    match args.last("repair") {
        None => {}
        Some("leaks" | "all") => {
            return Err(Failure::message("repairing (-r) is not available in this version"));
        }
        Some(other) => {
            return Err(Failure::Usage(format!(
                "--repair (-r) expects 'leaks' or 'all' not '{other}'"
            )));
        }
    }
    let json = json_output(args)?;
    let [filename] = args.operands() else {
        return Err(Failure::Usage("Expecting one image file name".to_owned()));
    };
    let cache = cache_mode(args, "cache", CacheMode::WRITEBACK, "source cache option")?;
    let flags = OpenFlags { share: args.has("share"), cache, ..OpenFlags::READ };
    let mut layer = open_files(named(filename, args)?, &flags)?;
    let file = match (&layer.file, layer.driver) {
        (Some(file), Driver::Qcow2) => file.clone(),
        _ => {
            let text = "This image format does not support checks";
            return Err(Failure::message(text).with_status(NO_CHECK));
        }
    };
    let prefix = format!("Could not open '{filename}': ");
    QcowOptions::take(&mut layer.options, &args.objects)
        .and_then(|options| options.check_encryption_of(&file))
        .map_err(|error| Failure::Error(prefix.clone(), error, 1))?;
    let mut report = check(&*file.storage, &CheckOptions::default(), &mut |_| {})
        .map_err(|error| unchecked(&error, prefix))?;
    for finding in &report.findings {
        out::error_text(&format!("{finding}\n"));
    }
    if report.findings_dropped > 0 {
        out::error_text(&format!("and {} more\n", report.findings_dropped));
    }
    report.findings.clear();
    if !args.has("quiet") {
        if json {
            say!("{}\n", to_json(&report, filename).pretty());
        } else {
            print_human(&report);
        }
    }
    Ok(match (report.check_errors > 0, report.corruptions > 0, report.leaks > 0) {
        (true, ..) => 1,
        (_, true, _) => CORRUPT,
        (_, _, true) => LEAKS,
        _ => 0,
    })
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
        _ => {
            out::error_text(&format!("{text}\n"));
            Failure::message(format!("Check failed: {}", strerror(libc::EINVAL)))
        }
    }
}

/// Counts that are zero are left out, except that of the errors of the check itself.
fn to_json(report: &Report, filename: &str) -> Json {
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
    push("check-errors", report.check_errors);
    push("leaks", report.leaks);
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
