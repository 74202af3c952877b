//! Which backing files an image may lead to.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holstein_storage::Storage;

use crate::Format;

/// One step of a chain that somebody has to allow.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct BackingRequest<'a> {
    /// The image that names the file, where it has a path.
    pub image: Option<&'a Path>,
    /// The name as the image stores it: any bytes.
    pub stored: &'a [u8],
    /// The path to which it leads; none if it is not the name of a file.
    pub path: Option<&'a Path>,
    /// The format that the image records.
    pub format: Option<&'a [u8]>,
    /// How many images are above it.
    pub depth: usize,
}

impl<'a> BackingRequest<'a> {
    /// A request for the file under the image on top, of a format that is not recorded.
    #[must_use]
    pub fn new(image: Option<&'a Path>, stored: &'a [u8], path: Option<&'a Path>) -> Self {
        Self { image, stored, path, format: None, depth: 1 }
    }
}

/// What becomes of a request.
#[non_exhaustive]
pub enum BackingAnswer {
    /// The image is not opened.
    Refuse,
    /// The path is opened.
    Follow,
    /// This is opened in its place; its own backing file, if it names one, is asked for in turn.
    Use {
        /// The bytes.
        storage: Arc<dyn Storage>,
        /// What they are.
        format: Format,
    },
}

type Ask = dyn Fn(&BackingRequest<'_>) -> BackingAnswer + Send + Sync;

#[derive(Clone, Default)]
enum Allow {
    #[default]
    Nothing,
    SameDirectory,
    Below(PathBuf),
    Anything,
    Ask(Arc<Ask>),
}

/// Which backing files are opened. The default opens none.
///
/// Whatever the policy, only regular files and block devices are opened, without waiting, and only
/// formats that are recorded are believed, unless [`Self::probe`] allows more.
#[derive(Clone, Default)]
#[must_use]
pub struct BackingPolicy {
    allow: Allow,
    probe: bool,
}

impl fmt::Debug for BackingPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let allow = match &self.allow {
            Allow::Nothing => "nothing",
            Allow::SameDirectory => "same directory",
            Allow::Below(_) => "below a directory",
            Allow::Anything => "anything",
            Allow::Ask(_) => "ask",
        };
        f.debug_struct("BackingPolicy").field("allow", &allow).field("probe", &self.probe).finish()
    }
}

impl BackingPolicy {
    /// No file.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Any file. For images that are trusted as much as the program is.
    pub fn anything() -> Self {
        Self { allow: Allow::Anything, probe: false }
    }

    /// Files in the directory of the image that names them, after links were followed.
    pub fn same_directory() -> Self {
        Self { allow: Allow::SameDirectory, probe: false }
    }

    /// Files in `directory` or further down, after links were followed.
    pub fn below(directory: impl Into<PathBuf>) -> Self {
        Self { allow: Allow::Below(directory.into()), probe: false }
    }

    /// What `ask` says; it is asked once for each file, from the top down.
    pub fn ask(ask: impl Fn(&BackingRequest<'_>) -> BackingAnswer + Send + Sync + 'static) -> Self {
        Self { allow: Allow::Ask(Arc::new(ask)), probe: false }
    }

    /// Whether the format of a backing file may be guessed where none is recorded. Off by default: a
    /// guest can write the header of an image that names any file to the start of a raw disk.
    pub fn probe(mut self, probe: bool) -> Self {
        self.probe = probe;
        self
    }

    /// Whether formats may be guessed.
    pub(crate) fn probes(&self) -> bool {
        self.probe
    }

    /// Whether nothing is followed.
    pub(crate) fn is_nothing(&self) -> bool {
        matches!(self.allow, Allow::Nothing)
    }

    /// What the policy says to a request; for programs that open files themselves.
    #[must_use]
    pub fn decide(&self, request: &BackingRequest<'_>) -> BackingAnswer {
        let allowed = match (&self.allow, request.path) {
            (Allow::Ask(ask), _) => return ask(request),
            (Allow::Nothing, _) | (_, None) => false,
            (Allow::Anything, _) => true,
            (Allow::SameDirectory, Some(path)) => request.image.is_some_and(|image| {
                let near = real(image).and_then(|image| Some(image.parent()?.to_path_buf()));
                near.is_some() && near == real(path).and_then(|p| Some(p.parent()?.to_path_buf()))
            }),
            (Allow::Below(directory), Some(path)) => {
                real(directory).is_some_and(|top| real(path).is_some_and(|p| p.starts_with(top)))
            }
        };
        if allowed { BackingAnswer::Follow } else { BackingAnswer::Refuse }
    }
}

/// The path without links; none for what is not there.
fn real(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use holstein_testkit::TempDir;

    #[test]
    fn links_out_of_the_directory_are_seen() -> std::io::Result<()> {
        let dir = TempDir::new("policy")?;
        std::fs::create_dir(dir.file("sub"))?;
        for name in ["image", "near", "sub/far"] {
            std::fs::write(dir.file(name), "")?;
        }
        std::os::unix::fs::symlink(dir.file("sub/far"), dir.file("link"))?;
        let image = dir.file("image");
        let allows = |policy: &BackingPolicy, name: &str| {
            let path = dir.file(name);
            let request = BackingRequest::new(Some(&image), name.as_bytes(), Some(&path));
            matches!(policy.decide(&request), BackingAnswer::Follow)
        };
        let same = BackingPolicy::same_directory();
        assert!(allows(&same, "near"));
        assert!(!allows(&same, "sub/far"));
        assert!(!allows(&same, "link"));
        assert!(!allows(&same, "missing"));
        let below = BackingPolicy::below(dir.file("sub"));
        assert!(allows(&below, "sub/far"));
        assert!(allows(&below, "link"));
        assert!(!allows(&below, "near"));
        assert!(!allows(&BackingPolicy::default(), "near"));
        assert!(allows(&BackingPolicy::anything(), "sub/far"));
        Ok(())
    }
}
