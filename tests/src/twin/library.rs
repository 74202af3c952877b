//! The side that is the library.

use holstein::CreateOptions;

use super::{Answer, BackingFormat, Place, Row, Side};
use crate::{Op, Session};

/// The library; the image stays open from one request to the next.
#[derive(Debug, Default)]
pub struct Library {
    session: Option<Session<'static>>,
}

impl Side for Library {
    fn create(&mut self, row: Row, place: &Place) -> Result<(), String> {
        let text = |e: holstein::Error| format!("create: {e}");
        let mut options = row.create();
        if let (Some(below), Some(disk)) = (row.backing, row.below()) {
            let io = |e: std::io::Error| format!("make what lies below: {e}");
            let mut content = vec![0; usize::try_from(disk.size()).map_err(|e| e.to_string())?];
            disk.read(0, &mut content);
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
        let session = match self.session.take() {
            Some(session) => self.session.insert(session),
            None => {
                let options = row.open(place)?;
                let image = place.image();
                let session =
                    Session::new(move || options.open(&image)).map_err(|e| format!("open: {e}"))?;
                self.session.insert(session)
            }
        };
        Ok(session.perform(op, id).map_err(|e| e.to_string()))
    }

    fn close(&mut self, _: Row, _: &Place) -> Result<(), String> {
        let closed = self.session.take().map_or(Ok(()), |mut session| session.close());
        closed.map_err(|e| format!("close: {e}"))
    }
}
