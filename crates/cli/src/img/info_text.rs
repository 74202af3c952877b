//! The form of `info` for people.

use super::info::NodeInfo;
use super::snapshots;
use crate::node::QcowFacts;
use crate::out::say;
use crate::text::{dump, human_size};

/// Prints one image or node, four blanks in for every level.
pub(super) fn print_human(info: &NodeInfo, depth: usize) {
    print_node(info, depth, "");
}

fn print_node(info: &NodeInfo, depth: usize, path: &str) {
    let indent = "    ".repeat(depth);
    let size = format!("{} ({} bytes)", human_size(info.virtual_size), info.virtual_size);
    let actual = info.actual_size.map_or_else(|| "unavailable".to_owned(), human_size);
    if info.is_file {
        say!("{indent}filename: {}\n", info.filename);
        say!("{indent}protocol type: {}\n", info.format);
        say!("{indent}file length: {size}\n");
    } else {
        say!("{indent}image: {}\n", info.filename);
        say!("{indent}file format: {}\n", info.format);
        say!("{indent}virtual size: {size}\n");
    }
    say!("{indent}disk size: {actual}\n");
    match (&info.qcow, info.cluster_size) {
        (Some(qcow), _) => print_qcow(info, qcow, depth),
        (None, Some(size)) => {
            say!("{indent}cluster_size: {size}\n");
            print_snapshots(info, &indent);
        }
        (None, None) => {}
    }
    if let Some(facts) = &info.volume {
        say!("{indent}encrypted: yes\n");
        say!("{indent}Format specific information:\n{}", dump(facts, depth + 1));
    }
    for (name, child) in &info.children {
        let path = format!("{path}/{name}");
        say!("{indent}Child node '{path}':\n");
        print_node(child, depth + 1, &path);
    }
}

/// The snapshots of an image, or of the image under a filter.
fn print_snapshots(info: &NodeInfo, indent: &str) {
    if !info.snapshots.is_empty() {
        say!("{indent}Snapshot list:\n{indent}{}\n", snapshots::HEADER);
        for record in &info.snapshots {
            say!("{indent}{}\n", snapshots::row(record));
        }
    }
}

/// What only qcow2 images have.
fn print_qcow(info: &NodeInfo, qcow: &QcowFacts, depth: usize) {
    let indent = "    ".repeat(depth);
    if qcow.is_encrypted() {
        say!("{indent}encrypted: yes\n");
    }
    say!("{indent}cluster_size: {}\n", qcow.header.geometry.cluster_size());
    if qcow.is_dirty() {
        say!("{indent}cleanly shut down: no\n");
    }
    if let Some(backing) = &info.backing {
        let actual = match &backing.full {
            None => " (cannot determine actual path)".to_owned(),
            Some(full) if *full == backing.stored => String::new(),
            Some(full) => format!(" (actual path: {full})"),
        };
        say!("{indent}backing file: {}{actual}\n", backing.stored);
        if let Some(format) = &backing.format {
            say!("{indent}backing file format: {format}\n");
        }
    }
    print_snapshots(info, &indent);
    say!("{indent}Format specific information:\n{}", dump(&qcow.specific, depth + 1));
}
