//! Options that several commands have, with the same meaning.

use crate::text::Opt;
use crate::words::{CACHES, FORMATS};

/// The format of the image.
pub(super) const FORMAT: Opt = Opt::value("format", Some('f'), &["format"])
    .takes("FMT", "format of the image (found by its first bytes)")
    .words(FORMATS);

/// The name is a string of options.
pub(super) const IMAGE_OPTS: Opt =
    Opt::flag("image-opts", None, &["image-opts"]).about("FILENAME is a string of options");

/// The cache mode.
pub(super) const CACHE: Opt = Opt::value("cache", Some('t'), &["cache"])
    .takes("CACHE", "cache mode (writeback)")
    .words(CACHES);

/// Progress; some commands show it under our own name alone.
pub(super) const PROGRESS: Opt =
    Opt::flag("progress", Some('p'), &["progress"]).about("show progress");

/// Silence.
pub(super) const QUIET: Opt = Opt::flag("quiet", Some('q'), &["quiet"]).about("print nothing");

/// Images that are in use are read all the same.
pub(super) const FORCE_SHARE: Opt =
    Opt::flag("share", Some('U'), &["force-share"]).about("do not look at the locks of others");
