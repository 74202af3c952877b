//! A virtual machine to try disks with: QEMU's system emulator, a kernel, and what a guest has in memory.
//!
//! All of it is fetched and unpacked under `target/guest`, also where the machine has a
//! qemu-system-x86_64: the packages of an older release would take the tools of a newer one away. A test
//! adds the first program of the guest, `init`, to `initrd.cpio`: the kernel takes several archives in
//! a row.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};

use crate::oracle;
use crate::unpacked::{self, Loader, PrivateApt, Tool, find_below, quiet};
use crate::workspace::Workspace;

/// The variable that tells tests where the parts of the machine are.
const VARIABLE: &str = "HOLSTEIN_GUEST";
const EMULATOR: Tool =
    Tool { path: "usr/bin/qemu-system-x86_64", data: &["usr/share/qemu", "usr/share/seabios"] };
const KERNEL: &str = "linux-image-cloud-amd64";
/// Files that tests use, below the folder.
const PARTS: [&str; 4] = ["bin/qemu-system-x86_64", "bin/busybox", "vmlinuz", "initrd.cpio"];

/// `cargo xtask guest`: prints where the parts are.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<bool> {
    ensure!(args.is_empty(), "guest takes no arguments");
    match locate(workspace) {
        Ok(folder) => {
            println!("{VARIABLE}={}", folder.display());
            Ok(true)
        }
        Err(reason) => {
            println!("{reason}");
            Ok(false)
        }
    }
}

/// Tells the programs that `command` starts where the parts are, if they are anywhere.
pub(crate) fn add_to(workspace: &Workspace, command: &mut Command) {
    if let Ok(folder) = locate(workspace) {
        command.env(VARIABLE, folder);
    }
}

/// The folder with the parts of the machine; they are fetched, once a run, where it is not there yet.
///
/// # Errors
/// A sentence for people: why there are none.
pub(crate) fn locate(workspace: &Workspace) -> Result<PathBuf, String> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    FOUND.get_or_init(|| find_or_fetch(workspace)).clone()
}

fn find_or_fetch(workspace: &Workspace) -> Result<PathBuf, String> {
    if std::env::consts::ARCH != "x86_64" {
        return Err("the guest is one of x86_64, as its machine has to be".to_owned());
    }
    let folder = workspace.target.join("guest");
    let ready = folder.join("ready");
    if PARTS.iter().all(|part| ready.join(part).is_file()) {
        return Ok(ready);
    }
    unpacked::fetch(&folder, &oracle::SOURCES, &[EMULATOR], &choose, &finish)
        .map_err(|error| format!("fetching a machine and a kernel failed: {error:#}"))?;
    Ok(ready)
}

fn choose(apt: &PrivateApt) -> Result<()> {
    let versions = apt.versions("qemu-system-x86")?;
    let version = oracle::choose_version(&versions).context("the suite has no QEMU 10")?;
    let emulator = format!("qemu-system-x86={version}");
    apt.unpack(&[emulator, "busybox-static".to_owned(), "e2fsprogs".to_owned()])?;
    let kernels = apt.versions(KERNEL)?;
    let kernel = kernels.first().with_context(|| format!("the suite has no {KERNEL}"))?;
    // What a kernel's package needs is for machines that install it.
    apt.unpack_alone(&apt.first_need(&format!("{KERNEL}={kernel}"))?)
}

/// Puts the kernel and the archive of the guest's files beside the unpacked ones.
fn finish(root: &Path) -> Result<()> {
    let kernel = find(root, |name| name.starts_with("vmlinuz-"))?;
    fs::rename(kernel, root.join("vmlinuz")).context("put the kernel in place")?;
    let busybox = program(root, "bin/busybox")?;
    if !root.join("bin/busybox").exists() {
        fs::copy(&busybox, root.join("bin/busybox")).context("put busybox in place")?;
    }
    let tree = root.join("guest");
    fill(root, &busybox, &tree)?;
    pack(&busybox, &tree, &root.join("initrd.cpio"))
}

/// The files of the guest: busybox, the programs of ext4 with their libraries, the driver of its disk.
fn fill(root: &Path, busybox: &Path, tree: &Path) -> Result<()> {
    for folder in ["bin", "sbin", "etc", "lib", "lib64", "proc", "sys", "dev", "mnt", "tmp"] {
        fs::create_dir_all(tree.join(folder)).context("create the guest's folders")?;
    }
    put(busybox, &tree.join("bin"))?;
    symlink("busybox", tree.join("bin/sh")).context("link the guest's shell")?;
    let loader = Loader::find(root)?;
    put(loader.path(), &tree.join("lib64"))?;
    for program in [program(root, "sbin/mke2fs")?, program(root, "sbin/e2fsck")?] {
        put(&program, &tree.join("sbin"))?;
        for library in loader.needs(&program)? {
            put(&library, &tree.join("lib"))?;
        }
    }
    put(&root.join("etc/mke2fs.conf"), &tree.join("etc"))?;
    let module = find(root, |name| name.starts_with("virtio_blk.ko"))?;
    let plain = tree.join("lib/virtio_blk.ko");
    if module.extension().is_some_and(|extension| extension == "xz") {
        let file = fs::File::create(&plain).context("create the guest's driver")?;
        let status = Command::new(busybox).arg("xzcat").arg(&module).stdout(file).status();
        ensure!(status.context("start busybox")?.success(), "unpack {}", module.display());
    } else {
        fs::copy(&module, &plain).context("copy the guest's driver")?;
    }
    Ok(())
}

/// Copies a file into a folder under its own name; what links lead to is copied.
fn put(file: &Path, folder: &Path) -> Result<()> {
    let name = file.file_name().context("a file has a name")?;
    fs::copy(file, folder.join(name)).with_context(|| format!("copy {}", file.display()))?;
    Ok(())
}

/// Packs a folder as the kernel takes it.
fn pack(busybox: &Path, tree: &Path, archive: &Path) -> Result<()> {
    let list = quiet(Command::new(busybox).args(["find", "."]).current_dir(tree))
        .context("list the guest's files")?;
    let names = archive.with_extension("list");
    fs::write(&names, list).context("write the list of the guest's files")?;
    let status = Command::new(busybox)
        .args(["cpio", "-o", "-H", "newc"])
        .current_dir(tree)
        .stdin(fs::File::open(&names).context("open the list of the guest's files")?)
        .stdout(fs::File::create(archive).context("create the guest's archive")?)
        .stderr(Stdio::null())
        .status();
    ensure!(status.context("start busybox")?.success(), "packing the guest's files failed");
    fs::remove_file(names).context("remove the list of the guest's files")
}

/// An unpacked program, which is below `usr` in newer packages.
fn program(root: &Path, path: &str) -> Result<PathBuf> {
    let places = [root.join(path), root.join("usr").join(path)];
    let found = places.into_iter().find(|place| place.is_file());
    found.with_context(|| format!("the fetched packages have no {path}"))
}

fn find(root: &Path, wanted: fn(&str) -> bool) -> Result<PathBuf> {
    find_below(root, wanted).context("a package lacks a file of the guest")
}
