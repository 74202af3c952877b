//! `convert` where a side is standard input or output, which is `-` under our own name.

use std::fs;
use std::io::{self, IsTerminal};

use super::convert::{COMMAND, Plan, create_target, open_sources, open_target};
use super::convert_copy::CopyOptions;
use super::convert_source::Sources;
use super::create_list::{CreateFormat, CreateList};
use super::images::cache_mode;
use super::make_qcow2::QcowPlan;
use super::progress::Progress;
use super::{Failure, stream_in, stream_out};
use crate::node::{CacheMode, is_export, strip_file_protocol};
use crate::{out, personality};

/// The name of a stream.
const STREAM: &str = "-";

/// Options, by their `id`, that say nothing where the target is standard output.
const NOT_OUT: [&str; 14] = [
    "no-create",
    "target-is-zero",
    "target-image-opts",
    "cache",
    "backing",
    "backing-format",
    "sparse",
    "compress",
    "parallel",
    "out-of-order",
    "copy-range",
    "bitmaps",
    "skip-broken",
    "salvage",
];
/// The same where the source is a pipe.
const NOT_IN: [&str; 14] = [
    "image-opts",
    "source-cache",
    "snapshot",
    "share",
    "no-create",
    "target-is-zero",
    "target-image-opts",
    "compress",
    "parallel",
    "out-of-order",
    "copy-range",
    "bitmaps",
    "skip-broken",
    "salvage",
];
/// Options of qcow2 that an image has which is written in one pass.
const IN_ONE_PASS: [&str; 7] = [
    "size",
    "compat",
    "cluster_size",
    "extended_l2",
    "lazy_refcounts",
    "refcount_bits",
    "compression_type",
];

/// Which sides are streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Streams {
    /// The source is a pipe.
    Input,
    /// The target is standard output.
    Output,
    /// Both.
    Both,
}

/// The name under which a source is opened: standard input is a file, where it is no pipe.
pub(super) fn streamed(name: &str) -> &str {
    if personality::is_native() && name == STREAM { "/dev/stdin" } else { name }
}

impl Streams {
    /// What the command line asks for; nothing where both sides are files.
    ///
    /// # Errors
    /// It asks for what streams do not have.
    pub(super) fn of(plan: &Plan<'_>) -> Result<Option<Self>, Failure> {
        if !personality::is_native() {
            return Ok(None);
        }
        let input = plan.sources.iter().any(|name| name == STREAM) && !stream_in::is_file();
        let output = plan.target == STREAM && !plan.args.has("no-create");
        let streams = match (input, output) {
            (false, false) => return Ok(None),
            (true, false) => Self::Input,
            (false, true) => Self::Output,
            (true, true) => Self::Both,
        };
        if input {
            refuse_options(plan, &NOT_IN, "the source is a pipe")?;
            if plan.sources.len() > 1 {
                return Err(Failure::message("a pipe has to be the only source"));
            }
            if let Some(format @ ("qcow2" | "luks")) = plan.args.last("format") {
                let text =
                    format!("a pipe holds a raw disk, and '{format}' cannot be read from it");
                return Err(Failure::message(text));
            }
            if io::stdin().is_terminal() {
                return Err(Failure::message("standard input is a terminal, and holds no disk"));
            }
        }
        if output {
            refuse_options(plan, &NOT_OUT, "the target is standard output")?;
            if out::is_json() {
                let text = "--output=json has no place where the target is standard output";
                return Err(Failure::message(text));
            }
        }
        Ok(Some(streams))
    }

    /// Converts.
    pub(super) fn convert(self, plan: &Plan<'_>, progress: &mut Progress) -> Result<(), Failure> {
        match self {
            Self::Input => fill(plan, progress),
            Self::Output => write(plan, progress),
            Self::Both if plan.out_format == "raw" => {
                refuse_list(plan)?;
                stream_in::pass_on(plan.rate, progress)
            }
            Self::Both => Err(Failure::message(
                "the length of a pipe shows at its end, and is at the start of such an image: one of \
                 both has to be a file",
            )),
        }
    }
}

fn refuse_options(plan: &Plan<'_>, ids: &[&str], place: &str) -> Result<(), Failure> {
    let given = |id: &str| plan.args.has(id);
    let Some(id) = ids.iter().find(|id| given(id)) else { return Ok(()) };
    let option = COMMAND.options.iter().find(|option| option.id == *id);
    let form = option.map(|option| option.form()).unwrap_or_default();
    Err(Failure::message(format!("the option {form} has no meaning where {place}")))
}

/// Refuses options of a raw image, none of which a stream has.
fn refuse_list(plan: &Plan<'_>) -> Result<(), Failure> {
    if plan.list.is_empty() {
        return Ok(());
    }
    let text =
        format!("the options '{}' have no meaning where the target is standard output", plan.list);
    Err(Failure::message(text))
}

/// Makes a file of a pipe.
fn fill(plan: &Plan<'_>, progress: &mut Progress) -> Result<(), Failure> {
    let cache = cache_mode(plan.args, "cache", CacheMode::UNSAFE, "cache option")?;
    let path = strip_file_protocol(plan.target);
    if is_export(path) || fs::metadata(path).is_ok_and(|present| !present.is_file()) {
        return Err(Failure::message("a pipe can be copied into a file alone"));
    }
    // Its length is known in the end.
    let (stage, guard) = create_target(plan, &Sources::default(), None, progress)?;
    let filled = open_target(plan, stage.name(), cache).and_then(|target| {
        let filled = stream_in::fill(&*target, plan.sparse, plan.rate, progress);
        let closed = target.close();
        let len = filled?;
        closed?;
        Ok(len)
    });
    let len = filled.map_err(|failure| stage.worded(failure))?;
    stage.finish()?;
    guard.keep();
    plan.args.report.set("filename", plan.target);
    plan.args.report.set("format", plan.out_format);
    plan.args.report.set("virtual-size", len);
    Ok(())
}

/// Writes an image to standard output.
fn write(plan: &Plan<'_>, progress: &mut Progress) -> Result<(), Failure> {
    let cache = cache_mode(plan.args, "source-cache", CacheMode::WRITEBACK, "source cache option")?;
    let (sources, _) = open_sources(plan, cache)?;
    match CreateFormat::named(plan.out_format)? {
        CreateFormat::Raw | CreateFormat::File => {
            refuse_list(plan)?;
            stream_out::raw(&sources, plan.rate, progress)
        }
        CreateFormat::Luks => {
            let text = "standard output takes images of the formats raw and qcow2, not 'luks'";
            Err(Failure::message(text))
        }
        CreateFormat::Qcow2 => {
            let mut list = CreateList::parse(CreateFormat::Qcow2, &plan.list)?;
            list.set("size", &sources.len().to_string())?;
            if let Some(option) = list.names().find(|name| !IN_ONE_PASS.contains(name)) {
                let text = format!("'{option}' has no meaning where the target is standard output");
                return Err(Failure::message(text));
            }
            let qcow = QcowPlan::judge(&list, sources.len(), &plan.args.objects)?;
            let options = CopyOptions {
                sparse: plan.sparse,
                workers: None,
                in_order: true,
                rate: plan.rate,
                salvage: false,
                quiet: plan.args.has("quiet"),
                direct: false,
                signals: false,
                offload: false,
                target_is_zero: true,
                compress: false,
                backing: None,
                mapped: false,
            };
            stream_out::qcow2(&sources, &qcow, &options, progress)
        }
    }
}
