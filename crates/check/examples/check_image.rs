//! Checks an image file and prints what `qemu-img check` would print of it, and how long it took.

use std::time::Instant;

use holstein_check::{CheckOptions, check};
use holstein_storage::{FileOptions, FileStorage};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: check_image FILE")?;
    let storage = FileStorage::open(path, &FileOptions::default())?;
    let start = Instant::now();
    let report = check(&storage, &CheckOptions::default(), &mut |_| {})?;
    let took = start.elapsed();
    for finding in &report.findings {
        println!("{finding}");
    }
    println!(
        "{} corruptions, {} leaks, {} of {} clusters allocated, end {}, {took:.1?}",
        report.corruptions,
        report.leaks,
        report.allocated_clusters,
        report.total_clusters,
        report.image_end_offset
    );
    Ok(())
}
