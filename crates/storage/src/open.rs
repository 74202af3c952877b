//! Opening a file without being fooled by what its name leads to.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, StatxFlags};
use rustix::io::retry_on_intr;

use crate::direct::Direct;
use crate::file::Kind;
use crate::{
    Create, FileIdentity, FileKind, FileOptions, FileStorage, OpenError, lock, lock_holders,
};

/// Blocks of direct I/O where the operating system does not say.
const DEFAULT_ALIGNMENT: u32 = 4096;

impl FileStorage {
    /// Opens the file or block device at `path`.
    ///
    /// Never waits for the other end of a FIFO. Nothing is changed before the lock was taken, except
    /// that a missing file is made where the options say so.
    ///
    /// # Errors
    /// [`OpenError::FileType`] for what is no regular file or block device, unless the options allow
    /// it; FIFOs are never allowed. [`OpenError::Lock`] if another process excludes us.
    pub fn open(path: impl AsRef<Path>, options: &FileOptions) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let failed = |source: io::Error| OpenError::Io { path: path.to_path_buf(), source };
        if options.create != Create::No && !options.write {
            let text = "a file that is created must be writable";
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, text)));
        }
        let mut flags = OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        flags |= if options.write { OFlags::RDWR } else { OFlags::RDONLY };
        flags |= match options.create {
            Create::No => OFlags::empty(),
            Create::New => OFlags::CREATE | OFlags::EXCL,
            Create::Truncate => OFlags::CREATE,
        };
        if options.direct {
            flags |= OFlags::DIRECT;
        }
        let mode = Mode::from_raw_mode(0o644);
        let file = retry_on_intr(|| rustix::fs::open(path, flags, mode))
            .map_err(|errno| failed(errno.into()))?;
        Self::set_up(File::from(file), path, options)
    }

    /// Takes over a file that is open already, to which `path` gives a name in messages.
    ///
    /// The lock belongs to the open file description: duplicates made elsewhere share it.
    ///
    /// # Errors
    /// As for [`FileStorage::open`]; [`OpenError::Descriptor`] if it cannot be read, or written
    /// where the options say so, appends, or is to be created.
    pub fn from_file(
        file: File,
        path: impl AsRef<Path>,
        options: &FileOptions,
    ) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let unfit = |reason| OpenError::Descriptor { path: path.to_path_buf(), reason };
        let failed = |source: io::Error| OpenError::Io { path: path.to_path_buf(), source };
        if options.create == Create::New {
            return Err(unfit("an open file is not new"));
        }
        let flags = rustix::fs::fcntl_getfl(&file).map_err(|errno| failed(errno.into()))?;
        let access = flags & OFlags::RWMODE;
        if access == OFlags::WRONLY {
            return Err(unfit("it is open for writing only"));
        }
        if options.write && access != OFlags::RDWR {
            return Err(unfit("it is open for reading only"));
        }
        if flags.contains(OFlags::APPEND) {
            return Err(unfit("it is open for appending"));
        }
        if flags.contains(OFlags::DIRECT) != options.direct {
            let mut wanted = flags;
            wanted.set(OFlags::DIRECT, options.direct);
            rustix::fs::fcntl_setfl(&file, wanted).map_err(|errno| failed(errno.into()))?;
        }
        Self::set_up(file, path, options)
    }

    fn set_up(file: File, path: &Path, options: &FileOptions) -> Result<Self, OpenError> {
        let failed = |source: io::Error| OpenError::Io { path: path.to_path_buf(), source };
        let stat = rustix::fs::fstat(&file).map_err(|errno| failed(errno.into()))?;
        let kind = match kind_of(&stat) {
            Ok(kind) => kind,
            Err(FileKind::CharacterDevice | FileKind::Socket) if options.allow_special => {
                Kind::Special
            }
            Err(kind) => return Err(OpenError::FileType { path: path.to_path_buf(), kind }),
        };
        let held = match options.lock.permissions() {
            Some(wanted) => {
                let taken = lock::acquire(file.as_fd(), wanted).map_err(|source| {
                    let holders = match options.skip_holders {
                        true => Vec::new(),
                        false => lock_holders(identity_of(&stat, kind)),
                    };
                    OpenError::Lock { path: path.to_path_buf(), holders, source }
                })?;
                taken.then_some(wanted)
            }
            None => None,
        };
        let direct = options.direct.then(|| Direct::new(direct_alignment(file.as_fd(), kind)));
        let identity = identity_of(&stat, kind);
        let storage = Self::new(file, kind, options, direct, held, identity);
        if options.create == Create::Truncate && kind == Kind::Regular && stat.st_size != 0 {
            retry_on_intr(|| rustix::fs::ftruncate(storage.file(), 0))
                .map_err(|errno| failed(errno.into()))?;
        }
        Ok(storage)
    }
}

fn kind_of(stat: &Stat) -> Result<Kind, FileKind> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(Kind::Regular),
        FileType::BlockDevice => Ok(Kind::Block),
        FileType::Directory => Err(FileKind::Directory),
        FileType::Fifo => Err(FileKind::Fifo),
        FileType::CharacterDevice => Err(FileKind::CharacterDevice),
        FileType::Socket => Err(FileKind::Socket),
        _ => Err(FileKind::Other),
    }
}

fn identity_of(stat: &Stat, kind: Kind) -> FileIdentity {
    match kind {
        Kind::Block => FileIdentity { dev: stat.st_rdev, ino: 0 },
        Kind::Regular | Kind::Special => FileIdentity { dev: stat.st_dev, ino: stat.st_ino },
    }
}

/// What the operating system asks of direct I/O: the larger of its two numbers.
fn direct_alignment(fd: BorrowedFd<'_>, kind: Kind) -> u32 {
    let asked = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN);
    if let Ok(statx) = asked
        && statx.stx_mask & StatxFlags::DIOALIGN.bits() != 0
        && statx.stx_dio_offset_align != 0
    {
        return statx.stx_dio_offset_align.max(statx.stx_dio_mem_align);
    }
    if kind == Kind::Block
        && let Ok(sector) = rustix::fs::ioctl_blksszget(fd)
    {
        return sector;
    }
    DEFAULT_ALIGNMENT
}
