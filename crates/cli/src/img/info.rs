//! `info`: what an image is, without opening any other file.

use holstein_format::SnapshotRecord;

use super::images::{cache_mode, json_output, named, open_files};
use super::info_text::print_human;
use super::shared_options::{CACHE, FORCE_SHARE, FORMAT, IMAGE_OPTS};
use super::{Args, Command, Failure, Outcome};
use crate::disk::DiskError;
use crate::node::{
    CacheMode, ChainMembers, Driver, FileNode, ImageRef, Layer, OpenFlags, QcowFacts, QcowOptions,
    backing_name, check_fit, volume_facts,
};
use crate::objects::Objects;
use crate::out::say;
use crate::text::{Json, Operands, Opt};
use crate::words::OUTPUT;

pub(super) const COMMAND: Command = Command {
    name: "info",
    summary: "show information about an image",
    usage: "info [-f FMT | --image-opts] [-b] [-U] [-t CACHE] [--output human|json] FILENAME",
    help: "\
  -f, --format FMT
     format of the image (found by its first bytes)
  --image-opts
     FILENAME is a string of options
  -b, --backing-chain
     show the backing files as well
  -U, --force-share
     do not look at the locks of others
  -t, --cache CACHE
     cache mode (writeback)
  --output human|json
     form of the output (human)
",
    options: &[
        FORMAT,
        IMAGE_OPTS,
        Opt::flag("chain", Some('b'), &["backing-chain"]).about("show the backing files as well"),
        FORCE_SHARE,
        CACHE,
        Opt::value("output", None, &["output"])
            .takes("human|json", "form of the output (human)")
            .words(OUTPUT),
    ],
    operands: Operands::Mixed,
    native: &[],
    manual: &super::manuals::INFO,
    run,
};

/// What is shown of one node.
pub(super) struct NodeInfo {
    pub(super) filename: String,
    pub(super) format: String,
    pub(super) virtual_size: u64,
    pub(super) actual_size: Option<u64>,
    pub(super) cluster_size: Option<u64>,
    /// What only images have, not files.
    pub(super) qcow: Option<QcowFacts>,
    /// The snapshots of the image, or of the one under a filter.
    pub(super) snapshots: Vec<SnapshotRecord>,
    /// The own facts of an encrypted volume.
    pub(super) volume: Option<Json>,
    pub(super) backing: Option<Backing>,
    pub(super) dirty: Option<bool>,
    /// A file rather than an image.
    pub(super) is_file: bool,
    pub(super) children: Vec<(&'static str, NodeInfo)>,
}

/// The backing file as it is stored, and where it leads.
pub(super) struct Backing {
    pub(super) stored: String,
    pub(super) full: Option<String>,
    pub(super) format: Option<String>,
}

fn run(args: &Args) -> Outcome {
    let json = json_output(args)?;
    let [filename] = args.operands() else {
        return Err(Failure::Usage("Expecting one image file name".to_owned()));
    };
    let cache = cache_mode(args, "cache", CacheMode::WRITEBACK, "cache option")?;
    let flags = OpenFlags { share: args.has("share"), backing: false, cache, ..OpenFlags::READ };
    let images = collect(named(filename, args)?, &flags, args)?;
    if json {
        let objects: Vec<Json> = images.iter().map(to_json).collect();
        match (args.has("chain"), objects.into_iter().next()) {
            (false, Some(object)) => say!("{}\n", object.pretty()),
            _ => say!("{}\n", Json::List(images.iter().map(to_json).collect()).pretty()),
        }
    } else {
        for (index, image) in images.iter().enumerate() {
            if index > 0 {
                say!("\n");
            }
            print_human(image, 0);
        }
    }
    Ok(0)
}

/// The image, and where the chain is asked for those below it.
fn collect(image: ImageRef, flags: &OpenFlags, args: &Args) -> Result<Vec<NodeInfo>, Failure> {
    let chain = args.has("chain");
    let mut images = Vec::new();
    let mut seen = ChainMembers::default();
    let mut next = Some(image);
    while let Some(image) = next.take() {
        let text = image.text.clone();
        let hidden = image.options.hides_backing();
        let layer = open_files(image, flags)?;
        seen.add(&text, layer.file.as_ref().and_then(|file| file.identity))?;
        let prefix = || format!("Could not open '{text}': ");
        let info =
            layer_info(layer, &args.objects).map_err(|error| Failure::Error(prefix(), error, 1))?;
        if let (true, false, Some(backing)) = (chain, hidden, &info.backing) {
            let full = backing.full.clone().ok_or_else(|| {
                Failure::message(format!(
                    "Could not determine absolute backing filename, but backing filename '{}' \
                     present",
                    backing.stored
                ))
            })?;
            next = Some(ImageRef::named(&full, backing.format.as_deref()));
        }
        images.push(info);
    }
    Ok(images)
}

/// What is known about one image.
fn layer_info(layer: Layer, objects: &Objects) -> Result<NodeInfo, DiskError> {
    let format = layer.driver.name().to_owned();
    let filename = layer.name.clone();
    if let Some(below) = layer.filtered {
        let child = child_name(&format);
        return filter_info((filename, format, child), *below, objects);
    }
    let Some(file) = &layer.file else {
        let disk = layer.into_disk(objects)?;
        return Ok(NodeInfo {
            filename,
            format,
            virtual_size: disk.len(),
            actual_size: Some(0),
            cluster_size: None,
            qcow: None,
            snapshots: Vec::new(),
            volume: None,
            backing: None,
            dirty: None,
            is_file: false,
            children: Vec::new(),
        });
    };
    let actual_size = file.allocated();
    let children = match layer.driver {
        Driver::Raw | Driver::Qcow2 | Driver::Luks => vec![("file", file_info(file)?)],
        _ => children_of(file)?,
    };
    if layer.driver == Driver::Qcow2 {
        let facts = QcowFacts::read(file)?;
        let qcow = QcowOptions::take(&mut layer.options.clone())?;
        check_fit(&layer.generic, &qcow, &facts.header)?;
        let backing = facts.backing_file().map(|stored| Backing {
            full: backing_name(layer.place(), &stored).ok(),
            format: facts.backing_format(),
            stored,
        });
        return Ok(NodeInfo {
            filename,
            format,
            virtual_size: facts.header.size,
            actual_size,
            cluster_size: Some(facts.header.geometry.cluster_size()),
            dirty: Some(facts.is_dirty()),
            snapshots: facts.snapshots.records().to_vec(),
            qcow: Some(facts),
            volume: None,
            backing,
            is_file: false,
            children,
        });
    }
    let dirty = (!file.has_no_file()).then_some(false);
    let (virtual_size, volume) = match layer.driver {
        Driver::Luks => volume_facts(file).map(|(size, facts)| (size, Some(facts)))?,
        _ => (layer.into_disk(objects)?.len(), None),
    };
    Ok(NodeInfo {
        filename,
        format,
        virtual_size,
        actual_size,
        cluster_size: None,
        qcow: None,
        snapshots: Vec::new(),
        volume,
        backing: None,
        dirty,
        is_file: false,
        children,
    })
}

/// What is known about a filter: all that it shows is of the node under it.
fn filter_info(
    (filename, format, child): (String, String, &'static str),
    below: Layer,
    objects: &Objects,
) -> Result<NodeInfo, DiskError> {
    let below = layer_info(below, objects)?;
    // Nobody knows what a debugging node takes.
    let actual_size = below.actual_size.filter(|_| format != Driver::Blkdebug.name());
    Ok(NodeInfo {
        filename,
        format,
        virtual_size: below.virtual_size,
        actual_size,
        cluster_size: below.cluster_size,
        qcow: None,
        snapshots: below.snapshots.clone(),
        volume: None,
        backing: None,
        dirty: Some(false),
        is_file: false,
        children: vec![(child, below)],
    })
}

/// The name of the node under a node of this format.
fn child_name(format: &str) -> &'static str {
    if format == Driver::Blkdebug.name() { "image" } else { "file" }
}

/// What is known about a node under an image.
fn file_info(file: &FileNode) -> Result<NodeInfo, DiskError> {
    let children = children_of(file)?;
    Ok(NodeInfo {
        filename: file.name.clone(),
        format: file.driver.to_owned(),
        virtual_size: file.len()?.next_multiple_of(512),
        actual_size: file.allocated(),
        cluster_size: None,
        qcow: None,
        snapshots: Vec::new(),
        volume: None,
        backing: None,
        dirty: (!file.has_no_file()).then_some(false),
        is_file: children.is_empty(),
        children,
    })
}

/// The node under a node, with its name there.
fn children_of(file: &FileNode) -> Result<Vec<(&'static str, NodeInfo)>, DiskError> {
    let name = child_name(file.driver);
    file.child.iter().map(|child| Ok((name, file_info(child)?))).collect()
}

/// The JSON object of a node; the order of the keys is part of the format.
fn to_json(info: &NodeInfo) -> Json {
    let mut out = Json::Map(Vec::new());
    let children = info
        .children
        .iter()
        .map(|(name, child)| Json::map([("name", (*name).into()), ("info", to_json(child))]));
    out.push("children", children.collect::<Vec<_>>());
    if let Some(format) = info.backing.as_ref().and_then(|backing| backing.format.as_deref()) {
        out.push("backing-filename-format", format);
    }
    if !info.snapshots.is_empty() {
        let snapshots = info.snapshots.iter().map(super::snapshots::to_json);
        out.push("snapshots", snapshots.collect::<Vec<_>>());
    }
    out.push("virtual-size", info.virtual_size);
    out.push("filename", info.filename.as_str());
    if let Some(size) = info.cluster_size {
        out.push("cluster-size", size);
    }
    out.push("format", info.format.as_str());
    if let Some(size) = info.actual_size {
        out.push("actual-size", size);
    }
    let specific = match &info.qcow {
        Some(qcow) => Some(qcow.specific.clone()),
        None if info.volume.is_some() => info.volume.clone(),
        None if info.format == "file" => Some(Json::Map(Vec::new())),
        None => None,
    };
    if let Some(data) = specific {
        out.push(
            "format-specific",
            Json::map([("type", info.format.as_str().into()), ("data", data)]),
        );
    }
    if let Some(full) = info.backing.as_ref().and_then(|backing| backing.full.as_deref()) {
        out.push("full-backing-filename", full);
    }
    if info.volume.is_some() || info.qcow.as_ref().is_some_and(QcowFacts::is_encrypted) {
        out.push("encrypted", true);
    }
    if let Some(backing) = &info.backing {
        out.push("backing-filename", backing.stored.as_str());
    }
    if let Some(dirty) = info.dirty {
        out.push("dirty-flag", dirty);
    }
    out
}
