//! Words that values of options often are.

/// Formats of images.
pub(crate) const FORMATS: &[&str] = &["luks", "qcow2", "raw"];
/// Cache modes.
pub(crate) const CACHES: &[&str] = &["directsync", "none", "unsafe", "writeback", "writethrough"];
/// Ways of making requests.
pub(crate) const AIO: &[&str] = &["io_uring", "native", "threads"];
/// What becomes of discards.
pub(crate) const DISCARD: &[&str] = &["ignore", "off", "on", "unmap"];
/// What becomes of zeros.
pub(crate) const DETECT_ZEROES: &[&str] = &["off", "on", "unmap"];
/// Forms of the output.
pub(crate) const OUTPUT: &[&str] = &["human", "json"];
/// What is allocated before it is written.
pub(crate) const PREALLOCATION: &[&str] = &["falloc", "full", "metadata", "off"];
/// What is put right.
pub(crate) const REPAIR: &[&str] = &["all", "leaks"];
/// Which files an image may name.
pub(crate) const BACKING_POLICY: &[&str] = &["any", "directory", "none"];
