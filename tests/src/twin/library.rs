//! The side that is the library.

use std::sync::Arc;

use holstein::chain::{Chain, Layer, RawLayer};
use holstein::{
    AmendOptions, CommitOptions, CreateOptions, Granularity, NewBacking, OpenOptions, RawTarget,
    RebaseOptions,
};
use holstein_storage::{FileOptions, FileStorage};

use super::lower::bytes_of;
use super::{Answer, BackingFormat, BackingRow, BitmapOp, Change, Place, Row, Side, bitmap_name};
use crate::{Op, Session};

/// The library; the image stays open from one request to the next.
#[derive(Debug, Default)]
pub struct Library {
    session: Option<Session<'static>>,
}

impl Library {
    /// The image, open.
    fn opened(&mut self, row: Row, place: &Place) -> Result<&mut Session<'static>, String> {
        if self.session.is_none() {
            let options = row.open(place, true)?;
            let image = place.image();
            let session = Session::new(move || options.open(&image));
            self.session = Some(session.map_err(|e| format!("open: {e}"))?);
        }
        self.session.as_mut().ok_or_else(|| "it was opened above".to_owned())
    }
}

impl Side for Library {
    fn create(&mut self, row: Row, place: &Place) -> Result<(), String> {
        let text = |e: holstein::Error| format!("create: {e}");
        let mut options = row.create(place)?;
        if let (Some(below), Some(disk)) = (row.backing, row.below()) {
            let io = |e: std::io::Error| format!("make what lies below: {e}");
            let content = bytes_of(&disk);
            match below.format {
                BackingFormat::Raw => std::fs::write(place.below(), &content).map_err(io)?,
                BackingFormat::Qcow2 => {
                    let image = CreateOptions::new(disk.size())
                        .cluster_size(row.cluster_below())
                        .create(place.below())
                        .map_err(text)?;
                    image.write_at(0, &content).and_then(|()| image.close()).map_err(text)?;
                }
            }
            let format = below.format.word().as_bytes().to_vec();
            options = options.backing_file(Place::BELOW.as_bytes().to_vec(), Some(format));
        }
        options.create(place.image()).and_then(holstein::Image::close).map_err(text)
    }

    fn perform(
        &mut self,
        row: Row,
        place: &Place,
        op: Op,
        _: u64,
        id: u64,
    ) -> Result<Answer, String> {
        let session = self.opened(row, place)?;
        Ok(session.perform(op, id).map_err(|e| e.to_string()))
    }

    fn bitmap(&mut self, row: Row, place: &Place, op: BitmapOp) -> Result<Answer, String> {
        let session = self.opened(row, place)?;
        let image = session.image().ok_or("the image did not open again")?;
        let done = match op {
            BitmapOp::Add { number, unit, recording } => {
                let unit = Granularity::new(unit).ok_or("no granularity")?;
                image.add_bitmap(bitmap_name(number), unit, recording)
            }
            BitmapOp::Remove(number) => image.remove_bitmap(bitmap_name(number)),
            BitmapOp::Record { number, on } => image.record_in_bitmap(bitmap_name(number), on),
            BitmapOp::Clear(number) => image.clear_bitmap(bitmap_name(number)),
            BitmapOp::Merge { into, from } => image
                .bitmap(bitmap_name(from))
                .and_then(|from| image.merge_bitmap(bitmap_name(into), &from)),
        };
        Ok(done.map_err(text))
    }

    fn change(
        &mut self,
        (row, after): (Row, Row),
        place: &Place,
        change: Change,
    ) -> Result<Answer, String> {
        self.close(row, place)?;
        let amend = |options: AmendOptions| amend(row, place, &options);
        Ok(match change {
            Change::Commit { keep } => commit(row, place, keep),
            Change::Rebase { compress, .. } => rebase(row, place, after.backing, compress),
            Change::Rename => rename(row, place, after.backing),
            Change::Version(version) => amend(AmendOptions::new().version(version)),
            Change::Width(bits) => amend(AmendOptions::new().refcount_bits(bits)),
            Change::Lazy(lazy) => amend(AmendOptions::new().lazy_refcounts(lazy)),
            Change::NotRaw => amend(AmendOptions::new().data_file_raw(false)),
        })
    }

    fn close(&mut self, _: Row, _: &Place) -> Result<(), String> {
        let closed = self.session.take().map_or(Ok(()), |mut session| session.close());
        closed.map_err(|e| format!("close: {e}"))
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn commit(row: Row, place: &Place, keep: bool) -> Answer {
    let Some(BackingRow { format, file, .. }) = row.backing else {
        return Err("there is no backing file".to_owned());
    };
    let path = place.folder().join(file.file());
    let overlay =
        row.open(place, true)?.backing_chain(Arc::default()).open(place.image()).map_err(text)?;
    let options = CommitOptions::new().keep(keep);
    match format {
        BackingFormat::Raw => {
            let writing = FileOptions { write: true, ..FileOptions::default() };
            let base = FileStorage::open(&path, &writing).map_err(text)?;
            let base = RawTarget::new(Arc::new(base));
            options.run(&overlay, &base, &mut |_, _| {}).map_err(text)?;
        }
        BackingFormat::Qcow2 => {
            let base = OpenOptions::new().open(path).map_err(text)?;
            options.run(&overlay, &base, &mut |_, _| {}).map_err(text)?;
            base.close().map_err(text)?;
        }
    }
    overlay.close().map_err(text)
}

fn rebase(row: Row, place: &Place, onto: Option<BackingRow>, compress: bool) -> Answer {
    let image = row.open(place, true)?.open(place.image()).map_err(text)?;
    let layer = |backing: BackingRow| -> Result<Arc<dyn Layer>, String> {
        let path = place.folder().join(backing.file.file());
        Ok(match backing.format {
            BackingFormat::Raw => {
                let file = FileStorage::open(&path, &FileOptions::default()).map_err(text)?;
                Arc::new(RawLayer::new(Arc::new(file)).map_err(text)?)
            }
            BackingFormat::Qcow2 => {
                Arc::new(OpenOptions::new().open_read_only(path).map_err(text)?)
            }
        })
    };
    let chain = onto.map(layer).transpose()?.map(|layer| Chain::new(vec![layer]));
    let new = chain.as_ref().map_or(NewBacking::Nothing, NewBacking::Chain);
    let options = RebaseOptions::new().compress(compress);
    let name = onto.as_ref().map(recorded);
    options.run(&image, new, name, &mut |_, _| {}).map_err(text)?;
    image.close().map_err(text)
}

fn rename(row: Row, place: &Place, onto: Option<BackingRow>) -> Answer {
    let image = row.open(place, true)?.open(place.image()).map_err(text)?;
    image.set_backing_file(onto.as_ref().map(recorded)).map_err(text)?;
    image.close().map_err(text)
}

/// What an image records of its backing file.
fn recorded(backing: &BackingRow) -> (&[u8], Option<&[u8]>) {
    (backing.file.file().as_bytes(), Some(backing.format.word().as_bytes()))
}

fn amend(row: Row, place: &Place, options: &AmendOptions) -> Answer {
    let mut image = row.open(place, true)?.open(place.image()).map_err(text)?;
    image.amend(options, &mut |_, _| {}).map_err(text)?;
    image.close().map_err(text)
}
