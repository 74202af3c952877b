//! `compare`: whether two images have the same content.

use super::images::{cache_mode, named_as, open_image};
use super::meter::Unit;
use super::progress::Progress;
use super::shared_options::{FORCE_SHARE, PROGRESS, QUIET};
use super::{Args, Command, Failure, Outcome};
use crate::disk::{Disk, DiskError, Status};
use crate::node::{CacheMode, OpenFlags};
use crate::text::{Operands, Opt};
use crate::words::{CACHES, FORMATS};
use crate::zero::is_zero;

pub(super) const COMMAND: Command = Command {
    name: "compare",
    summary: "check whether two images have the same content",
    usage: "compare [-f FMT | --image-opts] [-F FMT] [-T CACHE] [-s] [-U] [-p] [-q] FILENAME1 \
            FILENAME2",
    help: "\
  -f, --a-format FMT, -F, --b-format FMT
     formats of the images (found by their first bytes)
  --image-opts
     the names are strings of options
  -s, --strict
     sizes and allocation have to be equal as well
  -T, --cache CACHE
     cache mode (writeback)
  -U, --force-share
     do not look at the locks of others
  -p, --progress
     show progress
  -q, --quiet
     print nothing
exit status: 0 identical, 1 different or wrong usage, 2 cannot open, 3 cannot query, 4 cannot read
",
    options: &[
        Opt::value("format", Some('f'), &["a-format", "left-format"])
            .takes("FMT", "format of the first image (found by its first bytes)")
            .words(FORMATS),
        Opt::value("second-format", Some('F'), &["b-format", "right-format"])
            .takes("FMT", "format of the second image (found by its first bytes)")
            .words(FORMATS),
        Opt::flag("image-opts", None, &["image-opts"]).about("the names are strings of options"),
        Opt::flag("strict", Some('s'), &["strict"])
            .about("sizes and allocation have to be equal as well"),
        Opt::value("cache", Some('T'), &["cache"])
            .takes("CACHE", "cache mode (writeback)")
            .words(CACHES),
        FORCE_SHARE,
        PROGRESS,
        QUIET,
    ],
    operands: Operands::Mixed,
    native: &[],
    manual: &super::manuals::COMPARE,
    run,
};

/// Bytes that are read at a time.
const BUFFER: usize = 2 << 20;
const SECTOR: usize = 512;

/// What the comparison comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Identical,
    Mismatch(u64),
    SizeMismatch,
    StatusMismatch(u64),
}

fn run(args: &Args) -> Outcome {
    let [first, second] = args.operands() else {
        return Err(Failure::Usage("Expecting two image file names".to_owned()));
    };
    let cache = cache_mode(args, "cache", CacheMode::WRITEBACK, "source cache option")
        .map_err(|failure| failure.with_status(2))?;
    let flags = OpenFlags { share: args.has("share"), cache, ..OpenFlags::READ };
    let open = |name: &str, format: Option<&str>| {
        named_as(name, format, args)
            .and_then(|image| open_image(image, &flags, args))
            .map_err(|failure| failure.with_status(2))
    };
    let a = open(first, args.last("format"))?;
    let b = open(second, args.last("second-format"))?;
    let quiet = args.has("quiet");
    let progress = Progress::start(args, 2.0, Unit::Bytes);
    let mut comparison = Comparison {
        a: (&*a, first),
        b: (&*b, second),
        strict: args.has("strict"),
        say: &|text: &str| {
            if !quiet {
                args.report.say(text);
            }
        },
        progress,
    };
    let verdict = comparison.run();
    let status = match &verdict {
        Ok(verdict) => {
            let text = match verdict {
                Verdict::Identical => "Images are identical.".to_owned(),
                Verdict::Mismatch(at) => format!("Content mismatch at offset {at}!"),
                Verdict::SizeMismatch => "Strict mode: Image size mismatch!".to_owned(),
                Verdict::StatusMismatch(at) => {
                    format!("Strict mode: Offset {at} block status mismatch!")
                }
            };
            if *verdict == Verdict::Identical {
                comparison.progress.complete();
            }
            comparison.progress.settle();
            if !quiet {
                args.report.say(&format!("{text}\n"));
            }
            tell(args, verdict);
            u8::from(*verdict != Verdict::Identical)
        }
        Err(_) => 0,
    };
    comparison.progress.finish(false);
    verdict?;
    Ok(status)
}

/// The verdict for a program.
fn tell(args: &Args, verdict: &Verdict) {
    let (difference, offset) = match verdict {
        Verdict::Identical => (None, None),
        Verdict::Mismatch(at) => (Some("content"), Some(*at)),
        Verdict::SizeMismatch => (Some("size"), None),
        Verdict::StatusMismatch(at) => (Some("allocation"), Some(*at)),
    };
    args.report.set("identical", difference.is_none());
    if let Some(difference) = difference {
        args.report.set("difference", difference);
    }
    if let Some(offset) = offset {
        args.report.set("offset", offset);
    }
}

/// Two disks side by side.
struct Comparison<'a> {
    a: (&'a dyn Disk, &'a str),
    b: (&'a dyn Disk, &'a str),
    strict: bool,
    /// Prints text.
    say: &'a dyn Fn(&str),
    progress: Progress,
}

impl Comparison<'_> {
    fn run(&mut self) -> Result<Verdict, Failure> {
        let (len_a, len_b) = (self.a.0.len(), self.b.0.len());
        if self.strict && len_a != len_b {
            return Ok(Verdict::SizeMismatch);
        }
        let (common, total) = (len_a.min(len_b), len_a.max(len_b));
        let mut buffers = (vec![0; BUFFER], vec![0; BUFFER]);
        let mut at = 0;
        while at < common {
            let status_a = status(self.a, at, common - at)?;
            let status_b = status(self.b, at, common - at)?;
            let len = status_a.len.min(status_b.len).max(1);
            // How a range without data is held is compared too.
            if self.strict && held(&status_a) != held(&status_b) {
                return Ok(Verdict::StatusMismatch(at));
            }
            let verdict = match (is_void(&status_a), is_void(&status_b)) {
                (true, true) => None,
                (false, true) => self.find_data(self.a, &mut buffers.0, at, len, total)?,
                (true, false) => self.find_data(self.b, &mut buffers.0, at, len, total)?,
                (false, false) => self.find_difference(&mut buffers, at, len, total)?,
            };
            if let Some(at) = verdict {
                return Ok(Verdict::Mismatch(at));
            }
            at += len;
            self.progress.update(at, total);
        }
        if len_a != len_b {
            (self.say)("Warning: Image size mismatch!\n");
            let longer = if len_a > len_b { self.a } else { self.b };
            while at < total {
                let status = status(longer, at, total - at)?;
                let len = status.len.max(1);
                if !is_void(&status)
                    && let Some(at) = self.find_data(longer, &mut buffers.0, at, len, total)?
                {
                    return Ok(Verdict::Mismatch(at));
                }
                at += len;
                self.progress.update(at, total);
            }
        }
        Ok(Verdict::Identical)
    }

    /// The first sector of the range that is not zero.
    fn find_data(
        &mut self,
        disk: (&dyn Disk, &str),
        buffer: &mut [u8],
        at: u64,
        len: u64,
        total: u64,
    ) -> Result<Option<u64>, Failure> {
        let mut done = 0;
        while done < len {
            let piece = piece_of(buffer, len - done);
            read(disk, at + done, piece)?;
            if !is_zero(piece) {
                let sector = piece.chunks(SECTOR).position(|sector| !is_zero(sector));
                return Ok(sector.map(|sector| at + done + (sector * SECTOR) as u64));
            }
            done += piece.len() as u64;
            self.progress.update(at + done, total);
        }
        Ok(None)
    }

    /// The first sector of the range that differs.
    fn find_difference(
        &mut self,
        buffers: &mut (Vec<u8>, Vec<u8>),
        at: u64,
        len: u64,
        total: u64,
    ) -> Result<Option<u64>, Failure> {
        let mut done = 0;
        while done < len {
            let a = piece_of(&mut buffers.0, len - done);
            let b = piece_of(&mut buffers.1, len - done);
            read(self.a, at + done, a)?;
            read(self.b, at + done, b)?;
            if a != b {
                let mut sectors = a.chunks(SECTOR).zip(b.chunks(SECTOR));
                let sector = sectors.position(|(a, b)| a != b);
                return Ok(sector.map(|sector| at + done + (sector * SECTOR) as u64));
            }
            done += a.len() as u64;
            self.progress.update(at + done, total);
        }
        Ok(None)
    }
}

/// How a range is held, as far as a strict comparison looks.
fn held(status: &Status) -> (bool, bool, bool, bool, bool) {
    (status.zero, status.data, status.present, status.compressed, status.offset.is_some())
}

/// Reads as zeros without being read.
fn is_void(status: &Status) -> bool {
    status.zero
}

/// The part of a buffer for the rest of a range.
fn piece_of(buffer: &mut [u8], rest: u64) -> &mut [u8] {
    let len = usize::try_from(rest).map_or(buffer.len(), |rest| rest.min(buffer.len()));
    &mut buffer[..len]
}

fn status((disk, name): (&dyn Disk, &str), at: u64, len: u64) -> Result<Status, Failure> {
    disk.status(at, len).map_err(|_| {
        let text = format!("Sector allocation test failed for {name}");
        Failure::Error(String::new(), DiskError::invalid(text), 3)
    })
}

fn read((disk, name): (&dyn Disk, &str), at: u64, into: &mut [u8]) -> Result<(), Failure> {
    disk.read_at(at, into).map_err(|error| {
        let text = format!("Error while reading offset {at} of {name}: {}", error.strerror());
        Failure::Error(String::new(), DiskError::invalid(text), 4)
    })
}
