//! An image under a program: open, and now and then closed and opened again.

use std::sync::Arc;

use holstein::check::{self, RepairKind, RepairOptions};
use holstein::{Error, ErrorKind, Image, OpenOptions, Preallocation};

use crate::moment::bytes;
use crate::{Files, Noting, Op, bitmap_name, granularity, key_change, name};

/// Opens the image.
type Open<'a> = Box<dyn Fn() -> Result<Image, Error> + 'a>;

/// An image and the way to open it again.
pub struct Session<'a> {
    open: Open<'a>,
    image: Option<Image>,
    /// What a commit and a rebase need beside the image.
    files: Option<Files>,
}

impl std::fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("image", &self.image).finish_non_exhaustive()
    }
}

impl<'a> Session<'a> {
    /// A session on an image that is opened at once.
    ///
    /// # Errors
    /// What the library says.
    pub fn new(open: impl Fn() -> Result<Image, Error> + 'a) -> Result<Self, Error> {
        let image = Some(open()?);
        Ok(Self { open: Box::new(open), image, files: None })
    }

    /// A session on an image over the files that it names.
    ///
    /// # Errors
    /// What the library says.
    pub fn over(files: &Files, options: OpenOptions) -> Result<Session<'static>, Error> {
        let (own, open) = (files.clone(), files.clone());
        let session = Session::new(move || open.open(&options))?;
        Ok(Session { files: Some(own), ..session })
    }

    /// The image, unless it could not be opened again.
    #[must_use]
    pub fn image(&self) -> Option<&Image> {
        self.image.as_ref()
    }

    /// Makes a request; a write writes pattern `id`. Where the image could not be opened again it is
    /// tried once more.
    ///
    /// # Errors
    /// What the library says.
    pub fn perform(&mut self, op: Op, id: u64) -> Result<(), Error> {
        let image = match self.image.take() {
            Some(image) => self.image.insert(image),
            None => self.image.insert((self.open)()?),
        };
        match op {
            Op::Write { at, len } => image.write_at(at, &bytes(id, at, len)),
            Op::Zero { at, len, unmap } => image.write_zeroes(at, len, unmap),
            Op::Discard { at, len } => image.discard(at, len),
            Op::Compressed { at, len } => image.write_compressed_at(at, &bytes(id, at, len)),
            Op::Flush => image.flush(),
            Op::Grow { by } => image.resize(image.virtual_size() + by, Preallocation::Off),
            Op::Shrink { by } => image.shrink(image.virtual_size() - by),
            Op::Snapshot(number) => image.create_snapshot(name(number)).map(drop),
            Op::Apply(number) => image.apply_snapshot(&*name(number)),
            Op::Delete(number) => image.delete_snapshot(&*name(number)),
            Op::Amend(amend) => image.amend(&amend.options(), &mut |_, _| {}),
            Op::Bitmap(noting, number) => {
                let name = bitmap_name(number);
                match noting {
                    Noting::Add => image.add_bitmap(name, granularity(), true),
                    Noting::Remove => image.remove_bitmap(name),
                    Noting::Clear => image.clear_bitmap(name),
                    Noting::On | Noting::Off => image.record_in_bitmap(name, noting == Noting::On),
                }
            }
            Op::Passphrase { number, add } => image.change_keys(&key_change(number, add), false),
            Op::Commit => {
                self.close()?;
                self.files().commit()?;
                self.image = Some((self.open)()?);
                Ok(())
            }
            Op::Rebase(to) => {
                // As a command does, which is over after it, whatever came of it.
                let image = self.image.take().expect("it was opened above");
                let rebased = self.files().rebase(&image, to);
                rebased.and(image.close())?;
                self.image = Some((self.open)()?);
                Ok(())
            }
            Op::Repair => {
                let storage = Arc::clone(image.storage());
                self.close()?;
                check::repair(&storage, &RepairOptions::new(RepairKind::All), &mut |_| {})?;
                drop(storage);
                self.image = Some((self.open)()?);
                Ok(())
            }
            Op::Reopen => {
                self.close()?;
                self.image = Some((self.open)()?);
                Ok(())
            }
        }
    }

    fn files(&self) -> &Files {
        self.files.as_ref().expect("a program over a base has its files")
    }

    /// Closes the image, if it is open.
    ///
    /// # Errors
    /// What the library says.
    pub fn close(&mut self) -> Result<(), Error> {
        self.image.take().map_or(Ok(()), Image::close)
    }

    /// Leaves the image as it is after a panic: closing it would panic again.
    pub fn abandon(&mut self) {
        if let Some(image) = self.image.take() {
            std::mem::forget(image);
        }
    }
}

/// Whether the library refused a request for what it is, rather than failing at it.
#[must_use]
pub fn is_refusal(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported)
}
