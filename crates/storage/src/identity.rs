//! Which file it is, whatever it is called.

/// Device and inode: equal for two names of one file, and only then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileIdentity {
    /// The device that holds the file; for a block device, the device itself.
    pub dev: u64,
    /// The inode; 0 for a block device, which may have many device nodes.
    pub ino: u64,
}
