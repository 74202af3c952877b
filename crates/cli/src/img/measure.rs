//! `measure`: how much space an image would take.

use super::create_list::{CreateFormat, CreateList, help};
use super::encryption::luks_volume;
use super::images::{json_output, named, number, open_files};
use super::meter::Unit;
use super::progress::Progress;
use super::shared_options::{FORCE_SHARE, IMAGE_OPTS, PROGRESS};
use super::snapshot_word::SnapshotWord;
use super::{Args, Command, Failure, Outcome};
use crate::disk::{Disk, DiskError, luks_error};
use crate::node::{Driver, OpenFlags, QcowFacts};
use crate::out::{self, say};
use crate::personality;
use crate::text::{Json, Operands, Opt, asks_for_help, join_lists, strerror};
use crate::words::{FORMATS, OUTPUT};

pub(super) const COMMAND: Command = Command {
    name: "measure",
    summary: "calculate the file size that a new image would need",
    usage: "measure [-O OUT_FMT] [-o OPTIONS] [--output human|json] [-f FMT | --image-opts] \
            [-l SNAPSHOT] [-U] FILENAME\nmeasure [-O OUT_FMT] [-o OPTIONS] [--output human|json] -s SIZE",
    help: "\
  -O, --target-format OUT_FMT
     format of the new image (raw)
  -o, --target-format-options OPTIONS
     key=value,... of that format
  -s, --size SIZE
     bytes of an empty disk
  -f, --source-format FMT
     format of the image that would be converted (found by its first bytes)
  --image-opts
     FILENAME is a string of options
  -l, --snapshot SNAPSHOT
     measure an internal snapshot: its ID or name, or snapshot.id=ID,snapshot.name=NAME
  -U, --force-share
     do not look at the locks of others
  --output human|json
     form of the output (human)
",
    options: &[
        Opt::value("format", Some('f'), &["format", "source-format"])
            .takes("FMT", "format of the image that would be converted (found by its first bytes)")
            .words(FORMATS),
        IMAGE_OPTS,
        Opt::value("snapshot", Some('l'), &["snapshot"]).takes(
            "SNAPSHOT",
            "measure an internal snapshot: its ID or name, or snapshot.id=ID,snapshot.name=NAME",
        ),
        Opt::value("out-format", Some('O'), &["target-format"])
            .takes("OUT_FMT", "format of the new image (raw)")
            .words(FORMATS),
        Opt::value("options", Some('o'), &["options", "target-format-options"])
            .takes("OPTIONS", "key=value,... of that format; 'help' lists them"),
        Opt::value("size", Some('s'), &["size"]).takes("SIZE", "bytes of an empty disk"),
        FORCE_SHARE,
        Opt::value("output", None, &["output"])
            .takes("human|json", "form of the output (human)")
            .words(OUTPUT),
    ],
    operands: Operands::Mixed,
    native: &[PROGRESS],
    manual: &super::manuals::MEASURE,
    run,
};

/// What an image would take, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Measure {
    required: u64,
    fully_allocated: u64,
    bitmaps: Option<u64>,
}

fn run(args: &Args) -> Outcome {
    let json = json_output(args)?;
    let size = number(args, "size", "image size")?;
    let filename = match args.operands() {
        [] => None,
        [filename] => Some(filename),
        _ => return Err(Failure::message("At most one filename argument is allowed.")),
    };
    if filename.is_none() && (args.has("image-opts") || args.has("format") || args.has("snapshot"))
    {
        return Err(Failure::message("--image-opts, -f, and -l require a filename argument."));
    }
    match (filename, size) {
        (None, None) => {
            return Err(Failure::message("Either --size N or one filename must be specified."));
        }
        (Some(_), Some(_)) => {
            return Err(Failure::message("--size N cannot be used together with a filename."));
        }
        _ => {}
    }
    let snapshot = args.last("snapshot").map(SnapshotWord::parse).transpose()?;
    let out_format = args.last("out-format").unwrap_or("raw");
    let format = CreateFormat::named(out_format)?;
    let list = match args.parsed.all("options") {
        lists if lists.is_empty() => String::new(),
        lists => join_lists(&lists).map_err(Failure::message)?,
    };
    // In the reference's dialect `help` is an option that nothing has.
    if personality::is_native() && asks_for_help(&list) {
        let text = help(format, None);
        match json {
            true => say!("{}\n", Json::map([("text", text.into())]).pretty()),
            false => out::text(&text),
        }
        return Ok(0);
    }
    let list = CreateList::parse(format, &list).map_err(|error| {
        out::report("", &error);
        Failure::message(format!("Invalid options for file format '{out_format}'"))
    })?;
    let measure = match (filename, size) {
        (Some(filename), _) => measure_image(filename, &list, snapshot.as_ref(), args)?,
        (None, size) => plan_for(&list, size.unwrap_or(0), None, args)?,
    };
    if json {
        let mut object = Json::Map(Vec::new());
        if let Some(bitmaps) = measure.bitmaps {
            object.push("bitmaps", bitmaps);
        }
        object.push("required", measure.required);
        object.push("fully-allocated", measure.fully_allocated);
        say!("{}\n", object.pretty());
    } else {
        say!("required size: {}\n", measure.required);
        say!("fully allocated size: {}\n", measure.fully_allocated);
        if let Some(bitmaps) = measure.bitmaps {
            say!("bitmaps size: {bitmaps}\n");
        }
    }
    Ok(0)
}

/// What a copy of the image would take.
fn measure_image(
    filename: &str,
    list: &CreateList,
    snapshot: Option<&SnapshotWord>,
    args: &Args,
) -> Result<Measure, Failure> {
    let flags = OpenFlags { share: args.has("share"), ..OpenFlags::READ };
    let layer = open_files(named(filename, args)?, &flags)?;
    let failed = |error| Failure::Error(format!("Could not open '{filename}': "), error, 1);
    let facts = match (&layer.file, layer.driver) {
        (Some(file), Driver::Qcow2) => Some(QcowFacts::read(file).map_err(failed)?),
        _ => None,
    };
    let mut disk = layer.into_disk(&args.objects).map_err(failed)?;
    if let Some(word) = snapshot {
        disk = word.load(disk)?;
    }
    let mut measure = plan_for(list, disk.len(), Some(&*disk), args)?;
    let version_3 = !matches!(list.given("compat"), Some("0.10" | "v2"));
    if let (CreateFormat::Qcow2, true, Some(facts)) = (list.format(), version_3, facts)
        && facts.header.version == holstein_format::Version::V3
    {
        let cluster = list.number("cluster_size").unwrap_or(65536);
        measure.bitmaps = Some(bitmaps_size(&facts.specific, disk.len(), cluster));
    }
    disk.close()?;
    Ok(measure)
}

/// What an image of `size` bytes would take that holds what `source` does.
fn plan_for(
    list: &CreateList,
    size: u64,
    source: Option<&dyn Disk>,
    args: &Args,
) -> Result<Measure, Failure> {
    let whole = size.next_multiple_of(holstein_units::SECTOR);
    if list.format() == CreateFormat::Luks {
        let (format, _) = luks_volume(list, &args.objects)?;
        let header = format.area_bytes().map_err(|error| luks_error(&error))?;
        let whole = header.saturating_add(size);
        return Ok(Measure { required: whole, fully_allocated: whole, bitmaps: None });
    }
    if list.format() != CreateFormat::Qcow2 {
        return Ok(Measure { required: whole, fully_allocated: whole, bitmaps: None });
    }
    let plan = super::make_qcow2::QcowPlan::judge(list, whole, &args.objects);
    let plan = plan.map_err(|error| match error.errno() {
        libc::EFBIG => DiskError::new(
            libc::EFBIG,
            "The image size is too large (try using a larger cluster size)",
        ),
        _ => error,
    })?;
    let disk = whole
        .checked_next_multiple_of(plan.cluster_size())
        .ok_or_else(|| Failure::from(DiskError::from_errno(libc::EFBIG)))?;
    let fully_allocated = disk + metadata_size(disk, &plan) + plan.encryption_size();
    let data = match source {
        _ if plan.allocates_all() => disk,
        None => 0,
        // Whatever the source does not hold may have to hide what the backing file does.
        Some(_) if plan.has_backing() => disk,
        Some(source) => {
            let mut progress = Progress::own(args, Unit::Bytes);
            let data = data_in_clusters(source, plan.cluster_size(), &mut progress);
            progress.finish(data.is_ok());
            data?.min(disk)
        }
    };
    Ok(Measure { required: fully_allocated - disk + data, fully_allocated, bitmaps: None })
}

/// Bytes of header, tables and refcounts of a full image whose disk takes `disk` bytes.
fn metadata_size(disk: u64, plan: &super::make_qcow2::QcowPlan) -> u64 {
    let cluster = plan.cluster_size();
    let entry = plan.l2_entry_size();
    let l2_bytes = (disk / cluster).next_multiple_of(cluster / entry) * entry;
    let l1_bytes = (l2_bytes / cluster).next_multiple_of(cluster / 8) * 8;
    let tables = cluster + l2_bytes + l1_bytes;
    let clusters = (tables + disk) / cluster;
    let refcounts_per_block = cluster * 8 / u64::from(plan.refcount_bits());
    // Blocks and table count themselves too, so this goes on until nothing is added.
    let (mut blocks, mut table) = (0, 0);
    loop {
        let more = (clusters + table + blocks).div_ceil(refcounts_per_block);
        let longer = more.div_ceil(cluster / 8);
        if (more, longer) == (blocks, table) {
            return tables + (blocks + table) * cluster;
        }
        (blocks, table) = (more, longer);
    }
}

/// Bytes of the clusters in which the disk has data.
fn data_in_clusters(
    disk: &dyn Disk,
    cluster: u64,
    progress: &mut Progress,
) -> Result<u64, Failure> {
    let mut total = 0;
    let mut at = 0;
    while at < disk.len() {
        let status = disk.status(at, disk.len() - at).map_err(|error| {
            Failure::message(format!("Unable to get block status: {}", strerror(error.errno())))
        })?;
        let mut end = at + status.len.max(1);
        if !status.zero && status.data {
            end = end.next_multiple_of(cluster);
            total += at % cluster + (end - at);
        }
        at = end;
        progress.update(at, disk.len());
    }
    Ok(total)
}

/// Bytes that the bitmaps of an image would take in a new one.
fn bitmaps_size(specific: &Json, disk: u64, cluster: u64) -> u64 {
    let Some(Json::List(bitmaps)) = specific.get("bitmaps") else { return 0 };
    let (mut total, mut directory) = (0, 0);
    for bitmap in bitmaps {
        let (Some(Json::Str(name)), Some(Json::Int(granularity))) =
            (bitmap.get("name"), bitmap.get("granularity"))
        else {
            continue;
        };
        let granularity = u64::try_from(*granularity).unwrap_or(1).max(1);
        let bytes = disk.div_ceil(granularity).div_ceil(8);
        let clusters = bytes.div_ceil(cluster);
        total += clusters * cluster + (clusters * 8).next_multiple_of(cluster);
        directory += (24 + name.len() as u64).next_multiple_of(8);
    }
    total + directory.next_multiple_of(cluster)
}

#[cfg(test)]
mod tests {
    use super::super::make_qcow2::QcowPlan;
    use super::*;
    use crate::objects::Objects;

    fn full(options: &str, size: u64) -> u64 {
        let list =
            CreateList::parse(CreateFormat::Qcow2, options).expect("the list is well formed");
        let plan = QcowPlan::judge(&list, size, &Objects::default());
        let plan = plan.expect("the options fit");
        let disk = size.next_multiple_of(plan.cluster_size());
        disk + metadata_size(disk, &plan)
    }

    #[test]
    fn full_images_have_the_sizes_of_the_reference() {
        assert_eq!(full("", 1 << 30), 1_074_135_040);
        assert_eq!(full("cluster_size=2M", 1 << 40), 1_099_524_210_688);
        assert_eq!(full("extended_l2=on", 1 << 40), 1_099_813_879_808);
        assert_eq!(full("refcount_bits=1", 1 << 40), 1_099_648_204_800);
    }
}
