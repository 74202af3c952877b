//! `rebase`: another backing file, or none.

use holstein::chain::Chain;
use holstein::{ErrorKind, Image, NewBacking, RebaseOptions};

use super::images::{cache_mode, named, open_files};
use super::meter::Unit;
use super::progress::Progress;
use super::shared_options::{FORMAT, IMAGE_OPTS, PROGRESS, QUIET};
use super::{Args, Command, Failure, Outcome};
use crate::disk::{BackingDisks, Disk, DiskError, engine_error};
use crate::node::{CacheMode, Driver, ImageRef, OpenChain, OpenFlags, backing_name, open_layer};
use crate::objects::Objects;
use crate::text::{Json, Operands, Opt};
use crate::words::{CACHES, FORMATS};

pub(super) const COMMAND: Command = Command {
    name: "rebase",
    summary: "change the backing file of an image",
    usage: "rebase [-f FMT | --image-opts] [-t CACHE] [-b BACKING [-F BACKING_FMT] [-T CACHE]] \
            [-u] [-c] [-U] [-p] [-q] FILENAME",
    help: "\
  -f, --format FMT
     format of the image (found by its first bytes)
  --image-opts
     FILENAME is a string of options
  -t, --cache CACHE, -T, --backing-cache CACHE
     cache modes of the image and of the new backing file (writeback)
  -b, --backing BACKING, -F, --backing-format BACKING_FMT
     the new backing file and its format; '' for none
  -u, --backing-unsafe
     change the name alone: the caller knows that the content stays the same
  -c, --compress
     compress clusters that are copied
  -U, --force-share
     do not look at the locks of others on the new backing file
  -p, --progress
     show progress
  -q, --quiet
     print nothing
",
    options: &[
        FORMAT,
        IMAGE_OPTS,
        Opt::value("cache", Some('t'), &["cache"])
            .takes("CACHE", "cache mode of the image (writeback)")
            .words(CACHES),
        Opt::value("backing", Some('b'), &["backing"])
            .takes("BACKING", "the new backing file; '' for none")
            .file(),
        Opt::value("backing-format", Some('F'), &["backing-format"])
            .takes("BACKING_FMT", "format of the new backing file")
            .words(FORMATS),
        Opt::value("backing-cache", Some('T'), &["backing-cache"])
            .takes("CACHE", "cache mode of the new backing file (writeback)")
            .words(CACHES),
        Opt::flag("unsafe", Some('u'), &["backing-unsafe"])
            .about("change the name alone: the caller knows that the content stays the same"),
        Opt::flag("compress", Some('c'), &["compress"]).about("compress clusters that are copied"),
        Opt::flag("share", Some('U'), &["force-share"])
            .about("do not look at the locks of others on the new backing file"),
        PROGRESS,
        QUIET,
    ],
    operands: Operands::Mixed,
    native: &[],
    manual: &super::manuals::REBASE,
    run,
};

/// The longest name that the format has room for.
const MAX_NAME: usize = 1023;

/// The new name as it was given; none for no backing file.
struct Name<'a> {
    name: Option<&'a str>,
    format: Option<&'a str>,
}

impl Name<'_> {
    /// What is stored in the header.
    fn stored(&self) -> Option<(&[u8], Option<&[u8]>)> {
        self.name.map(|name| (name.as_bytes(), self.format.map(str::as_bytes)))
    }

    fn failed(&self, error: DiskError) -> Failure {
        let name = self.name.unwrap_or_default();
        Failure::Error(format!("Could not change the backing file to '{name}': "), error, 1)
    }

    /// What can be said about the name without the image.
    fn check(&self) -> Result<(), Failure> {
        if let Some(format) = self.format
            && !Driver::is_known(format)
        {
            return Err(Failure::message(format!("Invalid format name: '{format}'")));
        }
        if self.name.is_some() && self.format.is_none() {
            return Err(self.failed(DiskError::invalid("backing format must be specified")));
        }
        match self.name {
            Some(name) if name.len() > MAX_NAME => {
                Err(self.failed(DiskError::from_errno(libc::EINVAL)))
            }
            _ => Ok(()),
        }
    }

    /// A failure of the change itself.
    fn not_changed(&self, error: &holstein::Error) -> Failure {
        match error.format_error() {
            Some(_) => {
                self.failed(DiskError::new(libc::ENOSPC, "No space left in the file header"))
            }
            None if error.kind() == ErrorKind::InvalidInput => {
                self.failed(DiskError::from_errno(libc::EINVAL))
            }
            None => Failure::from(engine_error(error)),
        }
    }
}

fn run(args: &Args) -> Outcome {
    let [filename] = args.operands() else {
        return Err(Failure::Usage("Expecting one image file name".to_owned()));
    };
    let backing = args.last("backing");
    if backing.is_none() && !args.has("unsafe") {
        return Err(Failure::Usage(
            "Must specify backing file (-b) or use unsafe mode (-u)".to_owned(),
        ));
    }
    let mut progress = Progress::start(args, 2.0, Unit::Bytes);
    let rebased = rebase(args, filename, backing, &mut progress);
    args.report.set("filename", filename.as_str());
    args.report.set(
        "backing-filename",
        match backing {
            None | Some("") => Json::Null,
            Some(name) => name.into(),
        },
    );
    progress.conclude(rebased)
}

fn rebase(
    args: &Args,
    filename: &str,
    backing: Option<&str>,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let cache = cache_mode(args, "cache", CacheMode::WRITEBACK, "cache option")?;
    let below = cache_mode(args, "backing-cache", CacheMode::WRITEBACK, "source cache option")?;
    // What is copied goes to its device while the rest is compared.
    let cache = CacheMode { streaming: true, ..cache };
    let flags = OpenFlags { cache, backing: !args.has("unsafe"), ..OpenFlags::WRITE };
    let top = open_files(named(filename, args)?, &flags)?;
    let prefix = || format!("Could not open '{filename}': ");
    let unopened = |error| Failure::Error(prefix(), error, 1);
    let chain = OpenChain::collect(top, &args.objects).map_err(unopened)?;
    let Some(top) = chain.links.first() else { return Err(Failure::message("no image")) };
    let name =
        Name { name: backing.filter(|name| !name.is_empty()), format: args.last("backing-format") };
    if top.layer.driver != Driver::Qcow2 {
        // What can be said about opening it comes first.
        chain.into_overlay(&args.objects).map_err(unopened)?;
        return Err(name.failed(DiskError::from_errno(libc::ENOTSUP)));
    }
    name.check()?;
    if args.has("unsafe") {
        let disk = chain.into_overlay(&args.objects).map_err(unopened)?;
        let changed = writable(&*disk)?.set_backing_file(name.stored());
        let closed = disk.close();
        changed.map_err(|error| name.not_changed(&error))?;
        return Ok(closed?);
    }
    let new = match name.name {
        None => New::Nothing,
        Some(stored) => {
            let full = backing_name(&top.layer.name, stored)?;
            match chain.find(&full) {
                Some(index) => New::Member(index - 1),
                None => {
                    let flags =
                        OpenFlags { share: args.has("share"), cache: below, ..OpenFlags::READ };
                    New::Other(open_new(&full, name.format, &flags, &args.objects)?)
                }
            }
        }
    };
    let disk = chain.into_overlay(&args.objects).map_err(unopened)?;
    let rebased = RebaseOptions::new().compress(args.has("compress")).run(
        writable(&*disk)?,
        new.of(),
        name.stored(),
        &mut |done, total| progress.update(done, total),
    );
    let closed = disk.close();
    rebased.map_err(|error| name.not_changed(&error))?;
    Ok(closed?)
}

/// What is shown under the image afterwards.
enum New {
    Nothing,
    Member(usize),
    Other(BackingDisks),
}

impl New {
    fn of(&self) -> NewBacking<'_> {
        match self {
            Self::Nothing => NewBacking::Nothing,
            Self::Member(index) => NewBacking::Member(*index),
            Self::Other(disks) => {
                let chain: &Chain = disks.chain();
                NewBacking::Chain(chain)
            }
        }
    }
}

fn writable(disk: &dyn Disk) -> Result<&Image, Failure> {
    disk.image().ok_or_else(|| Failure::from(DiskError::from_errno(libc::EPERM)))
}

/// Opens the new backing file with all that is under it.
fn open_new(
    full: &str,
    format: Option<&str>,
    flags: &OpenFlags,
    objects: &Objects,
) -> Result<BackingDisks, Failure> {
    let opened = open_layer(ImageRef::named(full, format), flags)
        .and_then(|layer| OpenChain::collect(layer, objects)?.into_backing(objects));
    let prefix = || format!("Could not open new backing file '{full}': ");
    opened.map_err(|error| Failure::Error(prefix(), error, 1))
}
