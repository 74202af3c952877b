//! What it was measured on, in one line.

use std::fs;
use std::path::Path;

use crate::qemu::Qemu;

/// Processor, cores, memory, kernel, file system, QEMU, and how busy the machine is.
pub(crate) fn line(dir: &Path, qemu: Result<&Qemu, &String>) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let cpu = field(&cpuinfo, "model name").unwrap_or("unknown processor").to_owned();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = field(&read("/proc/meminfo"), "MemTotal")
        .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib.div_ceil(1 << 20));
    let kernel = read("/proc/sys/kernel/osrelease").trim().to_owned();
    let load = read("/proc/loadavg").split_whitespace().next().unwrap_or("?").to_owned();
    let mounts = read("/proc/self/mounts");
    let fs = file_system(&mounts, dir).unwrap_or("unknown file system");
    let qemu = match qemu {
        Ok(qemu) => format!("qemu-img {}", qemu.version()),
        Err(reason) => format!("no qemu-img: {reason}"),
    };
    format!(
        "{cpu}, {cores} cores, {memory} GiB, Linux {kernel}, files on {fs}, {qemu}, load {load}"
    )
}

/// The value of a `name : value` line.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}

/// The type of the file system with the longest mount point above `dir`.
fn file_system<'a>(mounts: &'a str, dir: &Path) -> Option<&'a str> {
    let dir = dir.canonicalize().ok()?;
    mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let (point, kind) = (words.next()?, words.next()?);
            dir.starts_with(point).then_some((point.len(), kind))
        })
        .max_by_key(|(len, _)| *len)
        .map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_mount_point_counts() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /nowhere tmpfs rw 0 0\nx /proc proc rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/")), Some("ext4"));
        assert_eq!(file_system(mounts, Path::new("/proc")), Some("proc"));
        assert_eq!(field("a: 1\nmodel name\t: Fast\n", "model name"), Some("Fast"));
    }
}
