//! `tour`: the main job on real input. A directory tree becomes an ext4 file system, that a qcow2 image;
//! the image is checked, written to, checked again, converted back and compared; the map is drawn.
//!
//! Nothing is taken on trust: the raw file gets the same writes from here, and what comes back must equal
//! it byte for byte, be a clean file system for `e2fsck`, and show the written bytes through `debugfs`.

mod marker;
mod picture;
mod show;
mod size;
mod tree;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::apt;
use crate::conformance;
use crate::oracle;
use crate::workspace::Workspace;
use marker::Marker;
use show::Show;

/// Choices of the command line.
struct Options {
    /// Size of the disk, in bytes.
    size: u64,
    /// Bytes of generated and copied files in it, about.
    data: u64,
    /// Whether the raw disks stay.
    keep: bool,
}

/// The programs that make and judge file systems.
struct FileSystemTools {
    mke2fs: PathBuf,
    e2fsck: PathBuf,
    debugfs: PathBuf,
}

/// Runs the tour; `false` when something did not come out as it should.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<bool> {
    let options = Options::parse(args)?;
    let tools = FileSystemTools::find()?;
    let began = Instant::now();
    println!("Building holstein in release mode (the first time takes a minute).");
    let program = conformance::build(workspace)?;
    let folder = workspace.target.join("tour");
    if folder.exists() {
        fs::remove_dir_all(&folder).context("clear the last tour")?;
    }
    fs::create_dir_all(&folder).context("create the folder of the tour")?;
    let show = Show::new(&folder, &program);

    show.heading("A directory of real files");
    let made = tree::make(workspace, &folder.join("tree"), options.data)?;
    println!(
        "{} files and {} folders, {} of data, {} in holes",
        made.files,
        made.folders,
        size::human(made.data),
        size::human(made.holes)
    );
    let passed = disk(workspace, &show, &tools, &options);
    fs::remove_dir_all(folder.join("tree")).context("remove the directory of the tour")?;
    if !options.keep {
        for name in ["disk.raw", "back.raw", "peer.qcow2"] {
            let _ = fs::remove_file(folder.join(name));
        }
    }
    passed?;
    println!("\nThe tour ended well in {:.1} s.", began.elapsed().as_secs_f64());
    println!("The image is {}", folder.join("disk.qcow2").display());
    println!("The picture is {}", folder.join("map.svg").display());
    Ok(true)
}

impl Options {
    fn parse(args: &[String]) -> Result<Options> {
        let mut options = Options { size: 512 << 20, data: 160 << 20, keep: false };
        let mut words = args.iter();
        while let Some(word) = words.next() {
            let mut value = || {
                let text = words.next().with_context(|| format!("{word} needs a size"))?;
                size::parse(text).with_context(|| format!("{text:?} is no size"))
            };
            match word.as_str() {
                "--size" => options.size = value()?,
                "--data" => options.data = value()?,
                "--keep" => options.keep = true,
                other => bail!("tour knows no argument {other:?}"),
            }
        }
        let room = options.size / 10 * 7;
        ensure!(
            options.data <= room,
            "{} of data need a disk of more than {}",
            size::human(options.data),
            size::human(options.size)
        );
        Ok(options)
    }
}

impl FileSystemTools {
    fn find() -> Result<FileSystemTools> {
        let need = |program| apt::need(program, "e2fsprogs").map_err(anyhow::Error::msg);
        Ok(FileSystemTools {
            mke2fs: need("mke2fs")?,
            e2fsck: need("e2fsck")?,
            debugfs: need("debugfs")?,
        })
    }
}

/// Everything after the directory: disk, image, writes and the way back.
fn disk(
    workspace: &Workspace,
    show: &Show,
    tools: &FileSystemTools,
    options: &Options,
) -> Result<()> {
    let raw = show.path("disk.raw");
    let image = show.path("disk.qcow2");

    show.heading("An ext4 file system made of it");
    let mebibytes = format!("{}M", options.size >> 20);
    show.run(
        Command::new(&tools.mke2fs)
            .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-L", "holstein", "-d", "tree"])
            .args(["disk.raw", &mebibytes]),
    )?;
    show.size("disk.raw")?;

    show.heading("Raw to qcow2");
    show.holstein(&["convert", "-f", "raw", "-O", "qcow2", "disk.raw", "disk.qcow2"])?;
    show.size("disk.qcow2")?;
    beside_peer(workspace, show, &raw, &image)?;
    show.holstein(&["info", "disk.qcow2"])?;
    show.holstein(&["check", "disk.qcow2"])?;

    show.heading("Writes into it");
    let marker = Marker::find(&raw)?;
    println!(
        "{} is at {} of the disk, {} in one piece",
        tree::MARKER,
        marker.at,
        size::human(marker.length)
    );
    let writes = marker.writes();
    let mut command = vec!["io".to_owned()];
    for write in &writes {
        // Each is read back at once: the next one overwrites a part of it.
        command.extend(["-c".to_owned(), write.command()]);
        command.extend(["-c".to_owned(), write.read_back()]);
    }
    command.push("disk.qcow2".to_owned());
    show.holstein(&command)?;
    show.holstein(&["check", "disk.qcow2"])?;
    let target = File::options().write(true).open(&raw).context("open disk.raw")?;
    for write in &writes {
        let bytes = vec![write.pattern; usize::try_from(write.length).context("a write's length")?];
        target.write_all_at(&bytes, write.at).context("write the same into disk.raw")?;
    }

    show.heading("qcow2 to raw, and what came back");
    show.holstein(&["convert", "-f", "qcow2", "-O", "raw", "disk.qcow2", "back.raw"])?;
    show.size("back.raw")?;
    show.holstein(&["compare", "-f", "raw", "-F", "qcow2", "disk.raw", "disk.qcow2"])?;
    show.run(Command::new("cmp").args(["disk.raw", "back.raw"]))?;
    let sums = show.run(Command::new("sha256sum").args(["disk.raw", "back.raw"]))?;
    let mut sums = sums.lines().filter_map(|line| line.split_whitespace().next());
    ensure!(
        matches!((sums.next(), sums.next()), (Some(a), Some(b)) if a == b),
        "the sums of disk.raw and back.raw differ"
    );
    show.run(Command::new(&tools.e2fsck).args(["-fn", "back.raw"]))?;
    let file = show.hidden(Command::new(&tools.debugfs).args([
        "-R",
        &format!("cat /{}", tree::MARKER),
        "back.raw",
    ]))?;
    ensure!(marker.shown_in(&file, &writes), "the file {} does not hold the writes", tree::MARKER);
    println!("{} in the file system holds what was written", tree::MARKER);

    show.heading("The allocation map");
    let map = show.hidden(&mut show.program(&["map", "--output=json", "disk.qcow2"]))?;
    let map = picture::Map::parse(&map)?;
    print!("{}", map.text());
    fs::write(show.path("map.svg"), map.svg()).context("write map.svg")
}

/// How much room the same image takes when qemu-img makes it, where there is one.
fn beside_peer(workspace: &Workspace, show: &Show, raw: &Path, image: &Path) -> Result<()> {
    let oracle = match oracle::locate(workspace) {
        Ok(oracle) => oracle,
        Err(reason) => {
            println!("(not compared with qemu-img: {reason})");
            return Ok(());
        }
    };
    let peer = show.path("peer.qcow2");
    show.hidden(
        Command::new(&oracle.img)
            .args(["convert", "-f", "raw", "-O", "qcow2"])
            .args([raw, peer.as_path()]),
    )?;
    show.hidden(Command::new(&oracle.img).args(["check", "-q"]).arg(image))
        .context("qemu-img check finds fault with the image")?;
    let ours = fs::metadata(image).context("measure disk.qcow2")?.blocks() * 512;
    let theirs = fs::metadata(&peer).context("measure peer.qcow2")?.blocks() * 512;
    println!(
        "qemu-img {} finds no fault with it, and makes {} of the same disk: {:+.2} %",
        oracle.version,
        size::human(theirs),
        (ours as f64 / theirs as f64 - 1.0) * 100.0
    );
    Ok(())
}
