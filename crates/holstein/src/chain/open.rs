//! From a header that names a backing file to a chain.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holstein_format::{DecodePurpose, Header};
use holstein_storage::{
    Create, FileIdentity, FileOptions, FileStorage, ImageLock, LockMode, Storage,
};
use holstein_units::HostOffset;

use super::{
    BackingAnswer, BackingRequest, Chain, Layer, Members, RawLayer, has_protocol,
    resolve_backing_name, strip_file_protocol,
};
use crate::error::Cause;
use crate::open::read_header;
use crate::{Error, Format, OpenOptions, probe};

/// Bytes that decide about a format.
const PROBE_LEN: usize = 512;

/// The image on top of a chain that is opened.
pub(crate) struct Top<'a> {
    /// Its path, if it has one.
    pub(crate) path: Option<&'a Path>,
    /// Which file it is, if it is one.
    pub(crate) identity: Option<FileIdentity>,
    /// Its header, which names a backing file.
    pub(crate) header: &'a Header,
}

/// Opens what `top` leads to, as far as the policy of `options` allows.
///
/// # Errors
/// A file is not allowed, not there, in the chain twice, or of a format that is unknown. The error
/// names the file.
pub(crate) fn open_chain(options: &OpenOptions, top: &Top<'_>) -> Result<Chain, Error> {
    let mut members = Members::default();
    members.add(top.identity).map_err(|e| Error::from(Cause::Unsupported(e.to_string())))?;
    let mut layers: Vec<Arc<dyn Layer>> = Vec::new();
    let mut path = top.path.map(Path::to_path_buf);
    let mut header = top.header.clone();
    while let Some(stored) = &header.backing_file {
        let step = Step {
            options,
            stored,
            format: header.backing_format(),
            image: path.as_deref(),
            depth: layers.len() + 1,
        };
        let named = |cause| Error::from(cause).in_backing(stored);
        let found = step.find().map_err(|error| error.in_backing(stored))?;
        members.add(found.identity).map_err(|e| named(Cause::Unsupported(e.to_string())))?;
        match found.format {
            Format::Raw => {
                let raw = RawLayer::new(found.storage);
                layers.push(Arc::new(raw.map_err(|e| named(Cause::Header(Arc::new(e))))?));
                break;
            }
            Format::Qcow2 => {
                let next = read_header(&*found.storage, DecodePurpose::Use)
                    .and_then(|next| {
                        // What the caller said of caches and so on is meant for the image on top:
                        // others have other clusters, and may be of another version.
                        let alone = OpenOptions::new().no_backing();
                        layers.push(Arc::new(alone.open_storage_read_only(found.storage)?));
                        Ok(next)
                    })
                    .map_err(|error| error.in_backing(stored))?;
                header = next;
                path = found.path;
            }
            Format::Other(name) => {
                return Err(named(Cause::Unsupported(format!("format {name} is not supported"))));
            }
        }
    }
    Ok(Chain::new(layers))
}

/// One name to follow.
struct Step<'a> {
    options: &'a OpenOptions,
    stored: &'a [u8],
    format: Option<&'a [u8]>,
    image: Option<&'a Path>,
    depth: usize,
}

/// Where it led.
struct Found {
    storage: Arc<dyn Storage>,
    identity: Option<FileIdentity>,
    path: Option<PathBuf>,
    format: Format,
}

impl Step<'_> {
    fn find(&self) -> Result<Found, Error> {
        let path = self.path();
        let request = BackingRequest {
            image: self.image,
            stored: self.stored,
            path: path.as_deref(),
            format: self.format,
            depth: self.depth,
        };
        match (self.options.policy().decide(&request), path) {
            (BackingAnswer::Use { storage, format }, path) => {
                Ok(Found { storage, identity: None, path, format })
            }
            (BackingAnswer::Follow, Some(path)) => self.open(path),
            (BackingAnswer::Follow, None) => {
                Err(Cause::Unsupported("the name is not that of a file".to_owned()).into())
            }
            (BackingAnswer::Refuse, _) => {
                Err(Cause::Refused("the backing policy does not allow it".to_owned()).into())
            }
        }
    }

    /// The path to which the name leads, if it is the name of a file.
    fn path(&self) -> Option<PathBuf> {
        let image = self.image.map_or(&[][..], |image| image.as_os_str().as_bytes());
        let full = resolve_backing_name(image, self.stored).ok()?;
        let path = strip_file_protocol(&full);
        if path.len() == full.len() && has_protocol(path) || path.is_empty() {
            return None;
        }
        Some(PathBuf::from(OsStr::from_bytes(path)))
    }

    fn open(&self, path: PathBuf) -> Result<Found, Error> {
        let recorded = match self.format {
            Some(b"raw") => Some(Format::Raw),
            Some(b"qcow2") => Some(Format::Qcow2),
            Some(other) => {
                let name = String::from_utf8_lossy(other).escape_debug().to_string();
                return Err(Cause::Unsupported(format!("unknown format '{name}'")).into());
            }
            None if self.options.policy().probes() => None,
            None => {
                let text = "no format is recorded, and guessing it is not allowed";
                return Err(Cause::Refused(text.to_owned()).into());
            }
        };
        // Others may write to raw bytes; the metadata of an image has to stay.
        let lock = match recorded {
            Some(Format::Raw) => LockMode::Exact(ImageLock::READ_SHARED),
            _ => LockMode::Read,
        };
        let base = self.options.file.unwrap_or_default();
        let lock = if base.lock == LockMode::None { LockMode::None } else { lock };
        let options = FileOptions { write: false, create: Create::No, lock, ..base };
        let file = FileStorage::open(&path, &options)?;
        let identity = Some(file.identity());
        let storage: Arc<dyn Storage> = Arc::new(file);
        let format = match recorded {
            Some(format) => format,
            None => {
                let mut first = vec![0; PROBE_LEN];
                let got = storage.read_at(HostOffset::new(0), &mut first);
                let got = got.map_err(|e| Error::from(Cause::Header(Arc::new(e))))?;
                probe(&first[..got])
            }
        };
        Ok(Found { storage, identity, path: Some(path), format })
    }
}
