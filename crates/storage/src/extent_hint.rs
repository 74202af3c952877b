//! How much a file system reserves at a time for one file, which rustix does not wrap.

#![expect(
    unsafe_code,
    reason = "the attributes of a file of a file system are read and set by ioctl"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use crate::FileStorage;

/// The kernel's `fsxattr`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    cow_extent_size: u32,
    rest: [u8; 8],
}

/// `FS_IOC_FSGETXATTR`, as most architectures number it; others refuse it.
const GET: libc::Ioctl = 0x801c_581f;
/// `FS_IOC_FSSETXATTR`.
const SET: libc::Ioctl = 0x401c_5820;
/// `FS_XFLAG_EXTSIZE`: the extent size counts.
const USES_EXTENT_SIZE: u32 = 0x800;

impl FileStorage {
    /// Asks the file system to reserve space for the file in extents of `bytes` bytes, a multiple of its
    /// blocks, so that a file that grows in small steps stays in few pieces.
    ///
    /// # Errors
    /// The file system has no such hint (only one or two have), or not that one; the file is as before.
    pub fn set_extent_size_hint(&self, bytes: u32) -> io::Result<()> {
        let fd = self.file().as_fd();
        let attributes = get(fd)?;
        let flags = attributes.flags | USES_EXTENT_SIZE;
        set(fd, &Attributes { flags, extent_size: bytes, ..attributes })
    }
}

fn get(fd: BorrowedFd<'_>) -> io::Result<Attributes> {
    let mut attributes = Attributes::default();
    // SAFETY: the call writes at most the 28 bytes of the structure, whose layout is the kernel's; the
    // descriptor is open for as long as `fd` is borrowed.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), GET, &raw mut attributes) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(attributes) }
}

fn set(fd: BorrowedFd<'_>, attributes: &Attributes) -> io::Result<()> {
    // SAFETY: the call reads the 28 bytes of the structure, whose layout is the kernel's; the descriptor
    // is open for as long as `fd` is borrowed.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), SET, &raw const *attributes) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Create, FileOptions};

    /// File systems that know the hint keep it; others say that they do not, or take no notice.
    #[test]
    fn a_hint_is_kept_or_refused() {
        assert_eq!(size_of::<Attributes>(), 28);
        let path = std::env::temp_dir().join(format!("extent-hint-{}", std::process::id()));
        let options = FileOptions { write: true, create: Create::New, ..FileOptions::default() };
        let file = FileStorage::open(&path, &options).expect("a new file");
        let hinted = file.set_extent_size_hint(1 << 20);
        let after = get(file.file().as_fd());
        std::fs::remove_file(&path).expect("removed");
        match hinted {
            Ok(()) => {
                // Some take the call and forget the hint.
                let after = after.expect("it was read before");
                let kept = (after.extent_size, after.flags & USES_EXTENT_SIZE);
                assert!([(1 << 20, USES_EXTENT_SIZE), (0, 0)].contains(&kept), "{after:?}");
            }
            Err(error) => {
                let expected = [libc::EOPNOTSUPP, libc::ENOTTY, libc::EINVAL];
                assert!(error.raw_os_error().is_some_and(|n| expected.contains(&n)), "{error}");
            }
        }
    }
}
