//! Images to start from.

use std::sync::Arc;

use holstein::format::{RefcountOrder, RefcountTableEntry, field_offset};
use holstein::{CreateOptions, Image, OpenOptions};
use holstein_storage::{MemStorage, Storage};
use holstein_testkit::{DiskImage, DiskModel, Oracle, Pattern, RecordingStorage, TempDir};
use holstein_units::HostOffset;

use crate::contents::{Stretch, for_each_stretch};
use crate::judge::expect_contents;
use crate::{Config, Files, Fixed, Layout, Listed, Moment, Name, Op, Session, Shape, Start, name};

/// Numbers of the patterns in starts begin here, those in programs at 1.
const FIRST_ID: u64 = 1000;

/// An image to start from, and what its disk holds.
#[derive(Debug)]
pub struct Base {
    /// What kind of image it is.
    pub config: Config,
    /// The file, its data file and its base where it has them.
    pub storages: Vec<MemStorage>,
    /// The same, cheap to copy.
    pub images: Vec<DiskImage>,
    /// The files below these.
    pub fixed: Option<Arc<Fixed>>,
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
        let mut id = FIRST_ID;
        let below = match start {
            Start::Overlay => Some(make_below(config, layout, &mut id)?),
            _ => None,
        };
        let [storage, data] = [(); 2].map(|()| Arc::new(MemStorage::new()));
        let shared = |file: &Arc<MemStorage>| Arc::<MemStorage>::clone(file) as Arc<dyn Storage>;
        let mut create = config.create(layout.size);
        let mut shape = Shape::of(config);
        let mut model = DiskModel::new(layout.size);
        let mut fixed = None;
        let mut storages = vec![Arc::clone(&storage)];
        if config.has_data_file() {
            create = create.data_file(b"data".to_vec(), shared(&data), shape.raw);
            storages.push(data);
        }
        if let Some((base, files, moment)) = &below {
            shape.backing = Some(Name::Base);
            create = based_on(create, Name::Base);
            model.cover(&moment.model, moment.model.size(), true);
            storages.push(Arc::clone(base));
            fixed = Some(Arc::clone(files));
        }
        create.create_on(shared(&storage)).and_then(Image::close).map_err(text)?;
        let files = Files::new(config, storages.iter().map(shared).collect(), fixed.clone());
        let mut moment = Moment::durable(model).of_shape(shape).of_kind(config);
        perform_rounds(&files, start.rounds(layout), &mut moment, &mut id)?;
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
        let mut storages: Vec<_> = storages.iter().map(|file| MemStorage::clone(file)).collect();
        storages[0] = file;
        let shared = |file: &MemStorage| Arc::new(file.clone()) as Arc<dyn Storage>;
        let files = Files::new(config, storages.iter().map(shared).collect(), fixed.clone());
        let image = files.open_read_only().map_err(|e| format!("the start: {e}"))?;
        expect_contents(&image, &moment, false)?;
        let model = read_model(&image)?;
        let listed = (start == Start::Snapshot).then(|| Listed::durable(0, model.clone()));
        let images: Result<Vec<_>, _> = storages.iter().map(copy_of).collect();
        // What was discarded on the way is known now.
        moment.found(model);
        moment.snapshots.extend(listed);
        moment.below = below.map(|(.., moment)| Box::new(moment));
        Ok(Some(Self { config, storages, images: images?, fixed, moment }))
    }

    /// The files, in these storages in place of those of the start.
    #[must_use]
    pub fn files(&self, storages: Vec<Arc<dyn Storage>>) -> Files {
        Files::new(self.config, storages, self.fixed.clone())
    }
}

/// A file's content, cheap to copy.
fn copy_of(file: &MemStorage) -> Result<DiskImage, String> {
    let recording = RecordingStorage::new(file.clone()).map_err(|e| format!("copy: {e}"))?;
    Ok(recording.log().initial().clone())
}

/// Makes requests in rounds; the image is closed after each.
fn perform_rounds(
    files: &Files,
    rounds: Vec<Vec<Op>>,
    moment: &mut Moment,
    id: &mut u64,
) -> Result<(), String> {
    let text = |e: holstein::Error| format!("make the start: {e}");
    for round in rounds {
        let mut session = Session::over(files, OpenOptions::new()).map_err(text)?;
        for op in round {
            session.perform(op, *id).map_err(text)?;
            moment.done(op, *id, moment.model.size());
            *id += 1;
        }
        moment.closing();
        session.close().map_err(text)?;
        moment.closed();
    }
    Ok(())
}

fn based_on(create: CreateOptions, name: Name) -> CreateOptions {
    create.backing_file(name.text().into(), Some(b"qcow2".to_vec()))
}

/// Makes the files below an overlay, each shorter than the one over it: the base and what its disk
/// holds, and those that are never written to.
fn make_below(
    config: Config,
    layout: Layout,
    id: &mut u64,
) -> Result<(Arc<MemStorage>, Arc<Fixed>, Moment), String> {
    let config = config.without_data_file();
    let c = layout.cluster;
    let text = |e: holstein::Error| format!("make what is below: {e}");
    let mut make = |files: &Files, create: CreateOptions, mut moment: Moment, ops: Vec<Op>| {
        create.create_on(Arc::clone(&files.own)).and_then(Image::close).map_err(text)?;
        perform_rounds(files, vec![ops], &mut moment, id)?;
        Ok::<_, String>(moment)
    };
    let [base, lowest, other] = [(); 3].map(|()| Arc::new(MemStorage::new()));
    let files = |file: &Arc<MemStorage>, fixed| {
        Files::new(config, vec![Arc::<MemStorage>::clone(file) as Arc<dyn Storage>], fixed)
    };
    // What lies under a cluster of the overlay is in one, two or none of them.
    let size = layout.at(3);
    let disk = Moment::durable(DiskModel::new(size));
    let under = make(
        &files(&lowest, None),
        config.create(size),
        disk.clone(),
        vec![Op::Write { at: layout.at(0), len: 2 * c }],
    )?;
    let others = vec![Op::Write { at: layout.at(1), len: 2 * c }];
    make(&files(&other, None), config.create(size), disk, others)?;
    let fixed = Arc::new(Fixed { lowest, other });
    let size = layout.at(5) + 512;
    let mut model = DiskModel::new(size);
    model.cover(&under.model, under.model.size(), true);
    let shape = Shape { backing: Some(Name::Lowest), ..Shape::of(config) };
    let moment = make(
        &files(&base, Some(Arc::clone(&fixed))),
        based_on(config.create(size), Name::Lowest),
        Moment::durable(model).of_shape(shape),
        vec![
            Op::Write { at: layout.at(1), len: c },
            Op::Write { at: layout.at(4), len: layout.bit() },
            Op::Write { at: layout.at(5), len: 512 },
        ],
    )?;
    Ok((base, fixed, moment))
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
            moment.done(Op::Compressed { at, len }, id, layout.size);
        }
        oracle.io((&path, "qcow2"), &commands).map_err(text)?;
        moment.closing();
        moment.closed();
    }
    let file = MemStorage::from_bytes(&std::fs::read(&path).map_err(text)?);
    if start == Start::Lost {
        file.write_at(HostOffset::new(field_offset::SNAPSHOTS), &[0; 12]).map_err(text)?;
    }
    Ok(file)
}
