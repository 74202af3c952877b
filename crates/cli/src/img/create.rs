//! `create`: a new image.

use super::create_list::{CreateFormat, CreateList, Place, help};
use super::make::make_image;
use super::meter::Unit;
use super::progress::Progress;
use super::shared_options::{PROGRESS, QUIET};
use super::stage::Stage;
use super::{Args, Command, Failure, Outcome};
use crate::disk::DiskError;
use crate::node::{ImageRef, OpenFlags, Options, backing_name, check_protocol, open_layer};
use crate::out;
use crate::text::{Operands, Opt, asks_for_help, join_lists};
use crate::words::FORMATS;

pub(super) const COMMAND: Command = Command {
    name: "create",
    summary: "create and format a new image file",
    usage: "create [-q] [-f FMT] [-o OPTIONS] [-b BACKING [-F BACKING_FMT]] [-u] FILENAME [SIZE]",
    help: "\
  -f, --format FMT
     format of the new image (raw)
  -o, --options OPTIONS
     key=value,... of the format; '-o help' lists them
  -b, --backing BACKING, -F, --backing-format BACKING_FMT
     file whose content shows where the new image holds nothing, and its format
  -u, --backing-unsafe
     do not open the backing file; SIZE is then needed
  -q, --quiet
     print nothing
  SIZE
     bytes, or a number with k, M, G, T, P or E; the default is that of the backing file
",
    options: &[
        Opt::value("format", Some('f'), &["format"])
            .takes("FMT", "format of the new image (raw)")
            .words(FORMATS),
        Opt::value("options", Some('o'), &["options"])
            .takes("OPTIONS", "key=value,... of the format; 'help' lists them"),
        Opt::value("backing", Some('b'), &["backing"])
            .takes("BACKING", "file whose content shows where the new image holds nothing")
            .file(),
        Opt::value("backing-format", Some('F'), &["backing-format"])
            .takes("BACKING_FMT", "format of the backing file")
            .words(FORMATS),
        Opt::value("backing-format", Some('B'), &[])
            .takes("BACKING_FMT", "as --backing-format")
            .words(FORMATS),
        Opt::flag("unsafe", Some('u'), &["backing-unsafe"])
            .about("do not open the backing file; SIZE is then needed"),
        QUIET,
    ],
    operands: Operands::Mixed,
    native: &[PROGRESS],
    manual: &super::manuals::CREATE,
    run,
};

fn run(args: &Args) -> Outcome {
    let format = args.last("format").unwrap_or("raw");
    let list = match args.parsed.all("options") {
        lists if lists.is_empty() => String::new(),
        lists => join_lists(&lists).map_err(Failure::message)?,
    };
    let operands = args.operands();
    if asks_for_help(&list) {
        let filename = operands.first().map(String::as_str);
        let format = CreateFormat::named(format)?;
        if let Some(filename) = filename {
            check_protocol(filename)?;
        }
        args.report.show(&help(format, filename));
        return Ok(0);
    }
    let (filename, size) = match operands {
        [] => return Err(Failure::Usage("Expecting image file name".to_owned())),
        [filename] => (filename, None),
        [filename, size] => (filename, Some(super::images::size(size, "image size")?)),
        [_, _, unexpected, ..] => {
            return Err(Failure::Usage(format!("Unexpected argument: {unexpected}")));
        }
    };
    let wanted = Wanted {
        filename,
        format,
        list: &list,
        backing: args.last("backing"),
        backing_format: args.last("backing-format"),
        size,
        open_backing: !args.has("unsafe"),
        quiet: args.has("quiet"),
    };
    let failed = |error| Failure::Error(format!("{filename}: "), error, 1);
    let size = create(&wanted, args).map_err(failed)?;
    args.report.set("filename", filename.as_str());
    args.report.set("format", format);
    args.report.set("virtual-size", size);
    Ok(0)
}

/// What the command line asks for.
struct Wanted<'a> {
    filename: &'a str,
    format: &'a str,
    list: &'a str,
    backing: Option<&'a str>,
    backing_format: Option<&'a str>,
    size: Option<u64>,
    open_backing: bool,
    quiet: bool,
}

/// Checks everything, says what is made, makes it, and returns the size that was asked for.
fn create(wanted: &Wanted<'_>, args: &Args) -> Result<u64, DiskError> {
    let format = CreateFormat::named(wanted.format)?;
    check_protocol(wanted.filename)?;
    let mut list = CreateList::parse_in(format, Place::of(wanted.filename), wanted.list)?;
    if wanted.size.is_some() && list.given("size").is_some() {
        return Err(DiskError::invalid("The image size must be specified only once"));
    }
    if let Some(size) = wanted.size {
        list.set("size", &size.to_string())?;
    }
    if let Some(name) = wanted.backing
        && !list.set_text("backing_file", name)
    {
        return Err(unfit(format, "Backing file"));
    }
    if let Some(name) = wanted.backing_format
        && !list.set_text("backing_fmt", name)
    {
        return Err(unfit(format, "Backing file format"));
    }
    if let Some(size) = backing_size(wanted, &list)?
        && list.given("size").is_none()
    {
        list.set("size", &size.to_string())?;
    }
    if list.given("size").is_none() {
        return Err(DiskError::invalid("Image creation needs a size parameter"));
    }
    let size = list.number("size").unwrap_or(0);
    if !wanted.quiet {
        let (name, format) = (wanted.filename, wanted.format);
        args.report.say(&format!("Formatting '{name}', fmt={format} {}\n", list.shown()));
        out::flush();
    }
    let stage = Stage::before(wanted.filename, &list)?;
    let mut progress = Progress::own(args, Unit::Bytes);
    let mut heard = |done, total| progress.update(done, total);
    let made = make_image(stage.name(), &list, &args.objects, &mut heard)
        .and_then(|()| stage.made())
        .map_err(|error| stage.error(error));
    progress.finish(made.is_ok());
    made?;
    stage.finish()?;
    Ok(size)
}

fn unfit(format: CreateFormat, what: &str) -> DiskError {
    DiskError::invalid(format!("{what} not supported for file format '{}'", format.name()))
}

/// Looks at the backing file that was asked for, and returns its size where it was opened.
fn backing_size(wanted: &Wanted<'_>, list: &CreateList) -> Result<Option<u64>, DiskError> {
    let Some(backing) = list.given("backing_file") else { return Ok(None) };
    if backing.is_empty() {
        return Err(DiskError::invalid("Expected backing file name, got empty string"));
    }
    if backing == wanted.filename {
        return Err(DiskError::invalid(
            "Error: Trying to create an image with the same filename as the backing file",
        ));
    }
    let backing_format = list.given("backing_fmt");
    let unnamed = || DiskError::invalid("Backing file specified without backing format");
    if !wanted.open_backing {
        return if backing_format.is_none() { Err(unnamed()) } else { Ok(None) };
    }
    let name = backing_name(wanted.filename, backing)?;
    let image = ImageRef {
        filename: Some(name.clone()),
        options: Options::default(),
        format: backing_format.map(str::to_owned),
        text: name,
    };
    // Only its size is wanted: neither its own backing file nor a lock on it.
    let flags = OpenFlags { backing: false, share: true, ..OpenFlags::READ };
    let unopened = |error: DiskError| error.with_hint("Could not open backing image.");
    let layer = open_layer(image, &flags).map_err(unopened)?;
    let size = layer.virtual_size().map_err(unopened)?;
    if backing_format.is_none() {
        let found = layer.driver.name();
        return Err(unnamed().with_hint(format!("Detected format of {found}.")));
    }
    Ok(Some(size))
}
