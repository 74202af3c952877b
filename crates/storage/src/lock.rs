//! QEMU's image locks: shared locks on single bytes of the file.
//!
//! Who uses a permission holds a shared lock on byte 100 + bit; who does not let others use it holds
//! one on byte 200 + bit. A conflict is a lock of somebody else on the opposite byte. All locks are
//! shared, so they never make each other fail; the look afterwards decides, and of two that race
//! at least one sees the other.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;

use crate::ofd;

/// The first byte of locks for permissions in use.
const USED_BASE: u64 = 100;
/// The first byte of locks for permissions not shared.
const UNSHARED_BASE: u64 = 200;

/// One thing that a user of an image does with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Reads data that nobody changes meanwhile without notice.
    ConsistentRead,
    /// Changes what the guest sees.
    Write,
    /// Writes data without changing what the guest sees.
    WriteUnchanged,
    /// Changes the length.
    Resize,
}

impl Permission {
    /// All four, in the order of their bits.
    pub const ALL: [Self; 4] =
        [Self::ConsistentRead, Self::Write, Self::WriteUnchanged, Self::Resize];

    /// The number of the bit, 0 to 3; bytes 100 and 200 plus this are locked for it.
    #[must_use]
    pub const fn bit(self) -> u8 {
        match self {
            Self::ConsistentRead => 0,
            Self::Write => 1,
            Self::WriteUnchanged => 2,
            Self::Resize => 3,
        }
    }
}

impl fmt::Display for Permission {
    /// QEMU's word for it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConsistentRead => "consistent read",
            Self::Write => "write",
            Self::WriteUnchanged => "write unchanged",
            Self::Resize => "resize",
        })
    }
}

/// A set of [`Permission`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Permissions(u8);

impl Permissions {
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// The set of these.
    #[must_use]
    pub const fn of(list: &[Permission]) -> Self {
        let mut bits = 0;
        let mut i = 0;
        while i < list.len() {
            bits |= 1 << list[i].bit();
            i += 1;
        }
        Self(bits)
    }

    /// Whether it has `permission`.
    #[must_use]
    pub const fn contains(self, permission: Permission) -> bool {
        self.0 & (1 << permission.bit()) != 0
    }

    /// Its members in the order of their bits.
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.into_iter().filter(move |&p| self.contains(p))
    }

    /// Maximal runs of neighbouring bits, as first bit and number of bits.
    fn runs(self) -> impl Iterator<Item = (u64, u64)> {
        let mut bits = u64::from(self.0);
        let mut at = 0_u64;
        std::iter::from_fn(move || {
            if bits == 0 {
                return None;
            }
            let skip = u64::from(bits.trailing_zeros());
            let run = u64::from((bits >> skip).trailing_ones());
            let first = at + skip;
            bits >>= skip + run;
            at = first + run;
            Some((first, run))
        })
    }
}

/// The permissions that an opener uses, and those that it does not let others use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct ImageLock {
    /// What this opener does.
    pub used: Permissions,
    /// What others must not do meanwhile.
    pub unshared: Permissions,
}

const WRITE_AND_RESIZE: Permissions = Permissions::of(&[Permission::Write, Permission::Resize]);

impl ImageLock {
    /// A reader of a qcow2 image or a backing file: others may read too.
    pub const READ: Self =
        Self { used: Permissions::of(&[Permission::ConsistentRead]), unshared: WRITE_AND_RESIZE };
    /// A writer of a qcow2 image: the only one.
    pub const WRITE: Self = Self {
        used: Permissions::of(&[Permission::ConsistentRead, Permission::Write, Permission::Resize]),
        unshared: WRITE_AND_RESIZE,
    };
    /// A reader that lets others write (`-U`), and QEMU's reader of a raw image.
    pub const READ_SHARED: Self =
        Self { used: Permissions::of(&[Permission::ConsistentRead]), unshared: Permissions::NONE };
    /// QEMU's writer of a raw image without a guest: lets others write.
    pub const WRITE_SHARED: Self = Self {
        used: Permissions::of(&[Permission::ConsistentRead, Permission::Write]),
        unshared: Permissions::NONE,
    };
    /// What QEMU holds while it makes a file: writes and cuts, lets others write, not cut.
    pub const CREATE: Self =
        Self { used: WRITE_AND_RESIZE, unshared: Permissions::of(&[Permission::Resize]) };
    /// A reader of an external data file: others may write to it, not cut it.
    pub const READ_DATA: Self =
        Self { unshared: Permissions::of(&[Permission::Resize]), ..Self::READ_SHARED };
    /// A writer of an external data file, which gets the length of the disk.
    pub const WRITE_DATA: Self = Self { used: Self::WRITE.used, ..Self::READ_DATA };
}

/// Which lock to take on a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum LockMode {
    /// [`ImageLock::READ`].
    #[default]
    Read,
    /// [`ImageLock::WRITE`].
    Write,
    /// [`ImageLock::READ_SHARED`].
    ReadShared,
    /// No lock, and no look at the locks of others.
    None,
    /// These permissions.
    Exact(ImageLock),
}

impl LockMode {
    /// The permissions to lock; `None` for no lock.
    #[must_use]
    pub const fn permissions(self) -> Option<ImageLock> {
        match self {
            Self::Read => Some(ImageLock::READ),
            Self::Write => Some(ImageLock::WRITE),
            Self::ReadShared => Some(ImageLock::READ_SHARED),
            Self::None => None,
            Self::Exact(lock) => Some(lock),
        }
    }
}

/// A lock could not be had. The texts are QEMU's, which programs look for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Somebody does not let others have a permission that was asked for.
    #[error("Failed to get \"{0}\" lock")]
    Used(Permission),
    /// Somebody uses a permission that was to be kept from others.
    #[error("Failed to get shared \"{0}\" lock")]
    Unshared(Permission),
    /// A byte could not be locked at all: somebody holds an exclusive lock on it.
    #[error("Failed to lock byte {byte}")]
    Byte {
        /// The byte's offset in the file.
        byte: u64,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

/// Locks the bytes of `lock` and looks for conflicts; undoes all on an error.
///
/// Returns false, with nothing locked, where the file system has no such locks; QEMU goes on
/// without a lock there too.
///
/// # Errors
/// [`LockError`] for the first conflict, in QEMU's order: permissions used before those not shared,
/// by bit.
pub(crate) fn acquire(fd: BorrowedFd<'_>, lock: ImageLock) -> Result<bool, LockError> {
    match take_and_look(fd, lock) {
        Ok(true) => Ok(true),
        Ok(false) => Ok(false),
        Err(error) => {
            release(fd);
            Err(error)
        }
    }
}

/// Drops all locks on bytes of permissions.
pub(crate) fn release(fd: BorrowedFd<'_>) {
    // A failure leaves the locks to the end of the open file, which is where they end at the latest.
    drop(ofd::release(fd, USED_BASE, UNSHARED_BASE + 4 - USED_BASE));
}

fn take_and_look(fd: BorrowedFd<'_>, lock: ImageLock) -> Result<bool, LockError> {
    let held = [(USED_BASE, lock.used), (UNSHARED_BASE, lock.unshared)];
    for (base, set) in held {
        for (first, count) in set.runs() {
            if let Err(source) = ofd::share(fd, base + first, count) {
                // Not even a look works: there are no locks here.
                if ofd::others_hold(fd, base + first, count).is_err() {
                    release(fd);
                    return Ok(false);
                }
                return Err(LockError::Byte { byte: base + first, source });
            }
        }
    }
    type Conflict = fn(Permission) -> LockError;
    let looked_at: [(u64, Permissions, Conflict); 2] = [
        (UNSHARED_BASE, lock.used, LockError::Used),
        (USED_BASE, lock.unshared, LockError::Unshared),
    ];
    for (base, set, conflict) in looked_at {
        for (first, count) in set.runs() {
            let look = |byte, count| {
                ofd::others_hold(fd, byte, count).map_err(|source| LockError::Byte { byte, source })
            };
            if !look(base + first, count)? {
                continue;
            }
            for permission in set.iter() {
                let bit = u64::from(permission.bit());
                if (first..first + count).contains(&bit) && look(base + bit, 1)? {
                    return Err(conflict(permission));
                }
            }
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_cover_the_set() {
        for bits in 0..16 {
            let set = Permissions(bits);
            let from_runs = set.runs().flat_map(|(first, n)| first..first + n).collect::<Vec<_>>();
            let from_iter = set.iter().map(|p| u64::from(p.bit())).collect::<Vec<_>>();
            assert_eq!(from_runs, from_iter, "bits {bits:#b}");
        }
        assert_eq!(Permissions(0b1011).runs().collect::<Vec<_>>(), [(0, 2), (3, 1)]);
    }

    #[test]
    fn texts_are_those_programs_look_for() {
        let text = LockError::Unshared(Permission::Write).to_string();
        assert_eq!(text, r#"Failed to get shared "write" lock"#);
        assert_eq!(LockError::Used(Permission::Write).to_string(), r#"Failed to get "write" lock"#);
    }
}
