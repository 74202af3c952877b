//! `snapshot`: internal snapshots, listed, taken, applied and deleted.

use holstein::{NewSnapshot, SnapshotSelector};

use super::images::{named, open_files, open_image};
use super::meter::Unit;
use super::progress::Progress;
use super::shared_options::{FORCE_SHARE, FORMAT, IMAGE_OPTS, PROGRESS};
use super::{Args, Command, Failure, Outcome, snapshots};
use crate::disk::DiskError;
use crate::node::{Driver, OpenFlags, QcowFacts, QcowOptions, check_fit};
use crate::text::{Operands, Opt};

pub(super) const COMMAND: Command = Command {
    name: "snapshot",
    summary: "list, take, apply or delete internal snapshots of an image",
    usage: "snapshot [-f FMT | --image-opts] [-l | -c NAME | -a NAME | -d NAME] [-U] [-q] \
            FILENAME",
    help: "\
  -f, --format FMT
     format of the image (found by its first bytes)
  --image-opts
     FILENAME is a string of options
  -l, --list
     list the snapshots, as without an action
  -c, --create NAME
     take one; names need not be unique, IDs are counted up
  -a, --apply NAME
     make the disk what the snapshot with this ID, or else name, holds, its size included
  -d, --delete NAME
     delete the first snapshot with this name
  -U, --force-share
     do not look at the locks of others
  -q, --quiet
     accepted for scripts; what there is to print is printed all the same
",
    options: &[
        FORMAT,
        IMAGE_OPTS,
        Opt::flag("list", Some('l'), &["list"]).about("list the snapshots, as without an action"),
        Opt::value("apply", Some('a'), &["apply"])
            .takes("NAME", "make the disk what the snapshot with this ID, or else name, holds"),
        Opt::value("create", Some('c'), &["create"])
            .takes("NAME", "take one; names need not be unique, IDs are counted up"),
        Opt::value("delete", Some('d'), &["delete"])
            .takes("NAME", "delete the first snapshot with this name"),
        FORCE_SHARE,
        Opt::flag("quiet", Some('q'), &["quiet"])
            .about("accepted for scripts; what there is to print is printed all the same"),
    ],
    operands: Operands::Mixed,
    native: &[PROGRESS],
    manual: &super::manuals::SNAPSHOT,
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
    if let Some((action, name)) = actions.first()
        && *action != "list"
    {
        return change(args, filename, action, name);
    }
    let flags = OpenFlags { share: args.has("share"), backing: false, ..OpenFlags::READ };
    let layer = open_files(named(filename, args)?, &flags)?;
    let (Some(file), Driver::Qcow2) = (&layer.file, layer.driver) else { return Ok(0) };
    let failed = |error| Failure::Error(format!("Could not open '{filename}': "), error, 1);
    let facts = QcowFacts::read(file).map_err(failed)?;
    QcowOptions::take(&mut layer.options.clone())
        .and_then(|qcow| check_fit(&layer.generic, &qcow, &facts.header))
        .map_err(failed)?;
    let records = facts.snapshots.records();
    if !records.is_empty() {
        args.report.say(&format!("Snapshot list:\n{}\n", snapshots::HEADER));
        for record in records {
            args.report.say(&format!("{}\n", snapshots::row(record)));
        }
    }
    args.report.set("filename", filename.as_str());
    args.report.set("snapshots", records.iter().map(snapshots::to_json).collect::<Vec<_>>());
    Ok(0)
}

/// The longest name that a new snapshot gets.
const NAME_BYTES: usize = 255;

/// Takes, applies or deletes a snapshot.
fn change(args: &Args, filename: &str, action: &str, name: &str) -> Outcome {
    // No guest data is looked at, so the backing file stays closed.
    let flags = OpenFlags { share: args.has("share"), backing: false, ..OpenFlags::WRITE };
    let disk = open_image(named(filename, args)?, &flags, args)?;
    let mut progress = Progress::own(args, Unit::Steps);
    let mut heard = |done, total| progress.update(done, total);
    let result = match (action, disk.snapshots()) {
        ("create", Some(disk)) => {
            let end = name.len().min(NAME_BYTES);
            let mut new = NewSnapshot::named(&name.as_bytes()[..end]);
            new.icount = Some(0);
            disk.create(&new, &mut heard).map(drop)
        }
        ("create", None) => Err(DiskError::from_errno(libc::ENOTSUP)),
        ("apply", Some(disk)) => disk.apply(name.into(), &mut heard),
        ("apply", None) => Err(DiskError::unsupported("Block driver does not support snapshots")),
        (_, Some(disk)) => {
            let name = SnapshotSelector::Name(name.as_bytes());
            disk.delete(name, &mut heard).map_err(|error| match error.errno() {
                libc::ENOENT => DiskError::new(libc::ENOENT, "snapshot not found"),
                _ => error,
            })
        }
        (_, None) => Err(DiskError::new(libc::ENOENT, "snapshot not found")),
    };
    progress.finish(result.is_ok());
    let closed = disk.close();
    result.map_err(|error| {
        Failure::Error(format!("Could not {action} snapshot '{name}': "), error, 1)
    })?;
    closed?;
    args.report.set("filename", filename);
    args.report.set("action", action);
    args.report.set("name", name);
    Ok(0)
}
