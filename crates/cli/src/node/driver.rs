//! The drivers that exist, here and elsewhere.

use crate::disk::DiskError;

/// A driver of this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Driver {
    /// Bytes as they are.
    Raw,
    /// The format this program is about.
    Qcow2,
    /// A LUKS volume.
    Luks,
    /// A regular file.
    File,
    /// A block or character device.
    HostDevice,
    /// A disc drive.
    HostCdrom,
    /// A node that fails or stops requests by rules.
    Blkdebug,
    /// A node that compresses what is written to the one under it.
    Compress,
    /// A node that keeps what is read in the one under it.
    CopyOnRead,
    /// An export of an NBD server.
    Nbd,
    /// A disk of zeros that forgets what is written.
    NullCo,
    /// The same under its other name.
    NullAio,
}

/// Drivers that the reference has and this version has not.
const ELSEWHERE: &[&str] = &[
    "blklogwrites",
    "blkreplay",
    "blkverify",
    "bochs",
    "cloop",
    "copy-before-write",
    "dmg",
    "ftp",
    "ftps",
    "gluster",
    "http",
    "https",
    "iscsi",
    "nfs",
    "null",
    "nvme",
    "parallels",
    "preallocate",
    "qcow",
    "qed",
    "quorum",
    "rbd",
    "replication",
    "ssh",
    "throttle",
    "vdi",
    "vhdx",
    "vmdk",
    "vpc",
    "vvfat",
];

impl Driver {
    /// The driver of that name.
    ///
    /// # Errors
    /// There is none of that name, or this version does not have it.
    pub(crate) fn named(name: &str) -> Result<Self, DiskError> {
        match name {
            "raw" => Ok(Self::Raw),
            "qcow2" => Ok(Self::Qcow2),
            "luks" => Ok(Self::Luks),
            "file" => Ok(Self::File),
            "host_device" => Ok(Self::HostDevice),
            "host_cdrom" => Ok(Self::HostCdrom),
            "blkdebug" => Ok(Self::Blkdebug),
            "compress" => Ok(Self::Compress),
            "copy-on-read" => Ok(Self::CopyOnRead),
            "nbd" => Ok(Self::Nbd),
            "null-co" => Ok(Self::NullCo),
            "null-aio" => Ok(Self::NullAio),
            _ if is_known_elsewhere(name) => Err(unavailable(name)),
            _ => Err(DiskError::invalid(format!("Unknown driver '{name}'"))),
        }
    }

    /// Whether there is a driver of that name, here or elsewhere.
    pub(crate) fn is_known(name: &str) -> bool {
        Self::named(name).is_ok() || is_known_elsewhere(name)
    }

    /// The name of the driver.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Luks => "luks",
            Self::File => "file",
            Self::HostDevice => "host_device",
            Self::HostCdrom => "host_cdrom",
            Self::Blkdebug => "blkdebug",
            Self::Compress => "compress",
            Self::CopyOnRead => "copy-on-read",
            Self::Nbd => "nbd",
            Self::NullCo => "null-co",
            Self::NullAio => "null-aio",
        }
    }

    /// Whether it is no format, but what formats stand on.
    pub(crate) fn is_protocol(self) -> bool {
        !matches!(self, Self::Raw | Self::Qcow2 | Self::Luks | Self::Compress | Self::CopyOnRead)
    }
}

/// Whether the reference has a driver of that name which this version lacks.
pub(crate) fn is_known_elsewhere(name: &str) -> bool {
    ELSEWHERE.contains(&name)
}

/// The error for a driver that the reference has and this version has not.
pub(crate) fn unavailable(name: &str) -> DiskError {
    DiskError::unsupported(format!("driver '{name}' is not available in this version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_that_are_elsewhere_are_refused_by_name() {
        for name in ELSEWHERE {
            let error = Driver::named(name).expect_err("it is not here");
            assert_eq!(
                error.to_string(),
                format!("driver '{name}' is not available in this version")
            );
            assert!(Driver::is_known(name));
        }
        let error = Driver::named("nosuch").expect_err("there is none");
        assert_eq!(error.to_string(), "Unknown driver 'nosuch'");
        assert!(!Driver::is_known("nosuch"));
    }
}
