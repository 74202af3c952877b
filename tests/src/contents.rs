//! What an image's disk reads as, extent by extent.

use std::cell::RefCell;
use std::sync::Arc;

use holstein::chain::{Chain, Held};
use holstein::{Error, ExtentKind, Image, ReadOnlyImage, SnapshotReader};

/// The reading half that both kinds of open images have.
pub trait Reads {
    /// Bytes of the disk.
    fn size(&self) -> u64;

    /// The length of the extent at `at`, and what it is.
    ///
    /// # Errors
    /// What the library says.
    fn extent(&self, at: u64) -> Result<(u64, ExtentKind), Error>;

    /// Whether what is unallocated may read as something else than zeros.
    fn has_backing(&self) -> bool;

    /// Reads.
    ///
    /// # Errors
    /// What the library says.
    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), Error>;
}

macro_rules! reads {
    ($image:ty, $chain:expr) => {
        impl Reads for $image {
            fn size(&self) -> u64 {
                self.virtual_size()
            }

            fn extent(&self, at: u64) -> Result<(u64, ExtentKind), Error> {
                let extent = self.extent_at(at, self.virtual_size() - at)?;
                let chain: Option<&Arc<Chain>> = $chain(self);
                if let (Some(chain), ExtentKind::Unallocated) = (chain, extent.kind)
                    && let Ok(below) = chain.extent_at(at, extent.len)
                {
                    let zero = below.held != Held::Data;
                    let kind = if zero { ExtentKind::Zero } else { ExtentKind::Unallocated };
                    return Ok((below.len, kind));
                }
                Ok((extent.len, extent.kind))
            }

            fn has_backing(&self) -> bool {
                self.header().backing_file.is_some()
            }

            fn read(&self, at: u64, into: &mut [u8]) -> Result<(), Error> {
                self.read_at(at, into)
            }
        }
    };
}

reads!(Image, Image::chain);
reads!(ReadOnlyImage, ReadOnlyImage::chain);
reads!(SnapshotReader, |_| None);

/// A stretch of the disk.
#[derive(Clone, Copy, Debug)]
pub enum Stretch<'a> {
    /// Bytes, at most 2 MiB of them.
    Bytes(&'a [u8]),
    /// So many zeros, said by the tables alone.
    Zeros(u64),
}

/// Hands over the whole disk in order, until `visit` fails.
///
/// # Errors
/// What `visit` or the library says, as text.
pub fn for_each_stretch(
    image: &impl Reads,
    visit: &mut dyn FnMut(u64, Stretch<'_>) -> Result<(), String>,
) -> Result<(), String> {
    BUFFER.with_borrow_mut(|buffer| for_each_stretch_through(buffer, image, visit))
}

thread_local! {
    /// Millions of disks are read whole; a compressed cluster is best read at once.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; 2 << 20]);
}

fn for_each_stretch_through(
    buffer: &mut [u8],
    image: &impl Reads,
    visit: &mut dyn FnMut(u64, Stretch<'_>) -> Result<(), String>,
) -> Result<(), String> {
    let has_backing = image.has_backing();
    let mut at = 0;
    while at < image.size() {
        let (len, kind) = image.extent(at).map_err(|e| format!("extent at {at:#x}: {e}"))?;
        if len == 0 {
            return Err(format!("extent at {at:#x} is empty"));
        }
        let zeros = match kind {
            ExtentKind::Zero => true,
            ExtentKind::Unallocated => !has_backing,
            _ => false,
        };
        if zeros {
            visit(at, Stretch::Zeros(len))?;
            at += len;
            continue;
        }
        let end = at + len;
        while at < end {
            let n = usize::try_from(end - at).map_or(buffer.len(), |n| n.min(buffer.len()));
            let part = &mut buffer[..n];
            image.read(at, part).map_err(|e| format!("read {n} bytes at {at:#x}: {e}"))?;
            visit(at, Stretch::Bytes(part))?;
            at += n as u64;
        }
    }
    Ok(())
}
