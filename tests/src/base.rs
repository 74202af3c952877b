//! Images to start from.

use std::sync::Arc;

use holstein::format::{RefcountOrder, RefcountTableEntry, field_offset};
use holstein::{Image, OpenOptions};
use holstein_storage::{MemStorage, Storage};
use holstein_testkit::{DiskImage, DiskModel, Oracle, Pattern, RecordingStorage, TempDir};
use holstein_units::HostOffset;

use crate::contents::{Stretch, for_each_stretch};
use crate::judge::expect_contents;
use crate::{Config, Layout, Listed, Moment, Session, Shape, Start, name};

/// Numbers of the patterns in starts begin here, those in programs at 1.
const FIRST_ID: u64 = 1000;

/// An image to start from, and what its disk holds.
#[derive(Debug)]
pub struct Base {
    /// The file.
    pub storage: MemStorage,
    /// The same, cheap to copy.
    pub image: DiskImage,
    /// The disk, durable.
    pub moment: Moment,
}

impl Base {
    /// Makes the image of a start; `None`, said loudly, where it needs reference programs that are
    /// not there.
    ///
    /// # Errors
    /// Whatever fails, as text.
    pub fn new(config: Config, start: Start) -> Result<Option<Self>, String> {
        let layout = Layout::new(config);
        let text = |e: holstein::Error| format!("make the start: {e}");
        let storage = Arc::new(MemStorage::new());
        let on = || Arc::<MemStorage>::clone(&storage) as Arc<dyn Storage>;
        config.create(layout.size).create_on(on()).and_then(Image::close).map_err(text)?;
        let mut moment = Moment::durable(DiskModel::new(layout.size)).of_shape(Shape::of(config));
        let mut id = FIRST_ID;
        for round in start.rounds(layout) {
            let open = || OpenOptions::new().open_storage(on());
            let mut session = Session::new(open).map_err(text)?;
            for op in round {
                session.perform(op, id).map_err(text)?;
                moment.done(op, id, layout.size);
                id += 1;
            }
            session.close().map_err(text)?;
        }
        let mut file = MemStorage::clone(&storage);
        match start {
            Start::BlockEdge => fill_counts(&file, config, config.counters_per_block(), 1)?,
            Start::TableEdge => {
                let end = config.counters_per_block() * (config.cluster / 8);
                fill_counts(&file, config, end, 2)?;
            }
            Start::Snapshot | Start::Lost | Start::Compressed => {
                let Some(oracle) = Oracle::find_or_skip(
                    &format!("start {start}"),
                    holstein_testkit::Version { major: 8, minor: 0, patch: 0 },
                ) else {
                    return Ok(None);
                };
                file = by_oracle(&oracle, &file, start, layout, &mut moment)?;
            }
            _ => {}
        }
        let image = OpenOptions::new()
            .open_storage_read_only(Arc::new(file.clone()))
            .map_err(|e| format!("open the start: {e}"))?;
        expect_contents(&image, &moment, false)?;
        let model = read_model(&image)?;
        let listed = (start == Start::Snapshot).then(|| Listed::durable(0, model.clone()));
        let recording = RecordingStorage::new(file.clone()).map_err(|e| format!("copy: {e}"))?;
        let copy = recording.log().initial().clone();
        let mut moment = Moment::durable(model).of_shape(Shape::of(config));
        moment.snapshots.extend(listed);
        Ok(Some(Self { storage: file, image: copy, moment }))
    }
}

/// A model of what the disk reads as; all of it is durable.
fn read_model(image: &holstein::ReadOnlyImage) -> Result<DiskModel, String> {
    let mut model = DiskModel::new(image.virtual_size());
    for_each_stretch(image, &mut |at, stretch| {
        if let Stretch::Bytes(bytes) = stretch {
            model.write(at, bytes);
        }
        Ok(())
    })?;
    model.flush();
    Ok(model)
}

/// Counts all clusters below `end` but the last `left`, as if they had leaked, with a block for each
/// stretch of them.
fn fill_counts(file: &MemStorage, config: Config, end: u64, left: u64) -> Result<(), String> {
    let text = |e: std::io::Error| format!("fill the counts: {e}");
    let cluster = config.cluster;
    let size = usize::try_from(cluster).map_err(|e| e.to_string())?;
    let order = RefcountOrder::from_bits(config.refcount_bits).ok_or("no such width")?;
    let per_block = config.counters_per_block();
    // Where new images have their table and their first block.
    let (table, first_block) = (cluster, 2 * cluster);
    let used = file.len().map_err(text)?.div_ceil(cluster);
    for index in 0..end.div_ceil(per_block) {
        let first = index * per_block;
        let at = if index == 0 { first_block } else { first * cluster };
        let mut block = vec![0; size];
        file.read_at(HostOffset::new(at), &mut block).map_err(text)?;
        let from = if index == 0 { used } else { first };
        for n in from..(first + per_block).min(end - left) {
            order.write(&mut block, n - first, 1);
        }
        file.write_at(HostOffset::new(at), &block).map_err(text)?;
        let entry = RefcountTableEntry::Block(HostOffset::new(at)).encode();
        file.write_at(HostOffset::new(table + index * 8), &entry.to_be_bytes()).map_err(text)?;
    }
    file.set_len((end - left) * cluster).map_err(text)
}

/// Lets the reference programs add what Holstein does not make.
fn by_oracle(
    oracle: &Oracle,
    file: &MemStorage,
    start: Start,
    layout: Layout,
    moment: &mut Moment,
) -> Result<MemStorage, String> {
    let text = |e: std::io::Error| format!("reference programs: {e}");
    let dir = TempDir::new("start").map_err(text)?;
    let path = dir.file("image");
    std::fs::write(&path, file.to_bytes().map_err(text)?).map_err(text)?;
    if matches!(start, Start::Snapshot | Start::Lost) {
        let name = name(0);
        let args = ["snapshot".as_ref(), "-c".as_ref(), name.as_ref(), path.as_os_str()];
        oracle.img_ok(args).map_err(text)?;
    } else {
        let mut commands = Vec::new();
        for (id, n) in (FIRST_ID..).zip([0, 1, 3, 4]) {
            let (at, len) = (layout.at(n), layout.cluster);
            let size = usize::try_from(len).map_err(|e| e.to_string())?;
            let bytes = Pattern::new(id).bytes(at, size);
            let source = dir.file(&format!("pattern-{n}"));
            std::fs::write(&source, &bytes).map_err(text)?;
            commands.push(format!("write -c -s {} {at} {len}", source.display()));
            moment.model.write(at, &bytes);
        }
        oracle.io((&path, "qcow2"), &commands).map_err(text)?;
    }
    let file = MemStorage::from_bytes(&std::fs::read(&path).map_err(text)?);
    if start == Start::Lost {
        file.write_at(HostOffset::new(field_offset::SNAPSHOTS), &[0; 12]).map_err(text)?;
    }
    Ok(file)
}
