//! `snapshot`: internal snapshots, which this version lists.

use super::images::{named, open_files};
use super::{Args, Command, Failure, Outcome, snapshots};
use crate::node::{Driver, OpenFlags, QcowFacts};
use crate::out::say;
use crate::text::{Operands, Opt};

pub(super) const COMMAND: Command = Command {
    name: "snapshot",
    summary: "list the internal snapshots of an image",
    usage: "snapshot [-f FMT | --image-opts] [-l] [-U] [-q] FILENAME",
    help: "\
  -f, --format FMT
     format of the image (found by its first bytes)
  --image-opts
     FILENAME is a string of options
  -l, --list
     list the snapshots; nothing else is available in this version
  -U, --force-share
     do not look at the locks of others
  -q, --quiet
     accepted for scripts; a list is printed all the same
",
    options: &[
        Opt::value("format", Some('f'), &["format"]),
        Opt::flag("image-opts", None, &["image-opts"]),
        Opt::flag("list", Some('l'), &["list"]),
        Opt::value("apply", Some('a'), &["apply"]),
        Opt::value("create", Some('c'), &["create"]),
        Opt::value("delete", Some('d'), &["delete"]),
        Opt::flag("share", Some('U'), &["force-share"]),
        Opt::flag("quiet", Some('q'), &["quiet"]),
    ],
    operands: Operands::Mixed,
    run,
};

fn run(args: &Args) -> Outcome {
    let actions = args
        .parsed
        .options
        .iter()
        .filter(|(option, _)| matches!(*option, "list" | "apply" | "create" | "delete"));
    let actions: Vec<_> = actions.collect();
    if actions.len() > 1 {
        return Err(Failure::Usage("Cannot mix '-l', '-a', '-c', '-d'".to_owned()));
    }
    let [filename] = args.operands() else {
        return Err(Failure::Usage("Expecting one image file name".to_owned()));
    };
    if actions.iter().any(|(option, _)| *option != "list") {
        return Err(Failure::message(
            "changing snapshots (-a, -c, -d) is not available in this version",
        ));
    }
    let flags = OpenFlags { share: args.has("share"), backing: false, ..OpenFlags::READ };
    let layer = open_files(named(filename, args)?, &flags)?;
    let (Some(file), Driver::Qcow2) = (&layer.file, layer.driver) else { return Ok(0) };
    let facts = QcowFacts::read(file)
        .map_err(|error| Failure::Error(format!("Could not open '{filename}': "), error, 1))?;
    let records = facts.snapshots.records();
    if !records.is_empty() {
        say!("Snapshot list:\n{}\n", snapshots::HEADER);
        for record in records {
            say!("{}\n", snapshots::row(record));
        }
    }
    Ok(0)
}
