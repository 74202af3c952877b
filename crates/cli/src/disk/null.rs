//! A disk of zeros that forgets what is written.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Disk, DiskError, DiskInfo, Heard, Preallocation, Result, Status};
use crate::node::Options;

/// Bytes of a null disk without a size.
const DEFAULT_SIZE: u64 = 1 << 30;

/// The disk of `null-co` and `null-aio`.
pub(crate) struct NullDisk {
    driver: &'static str,
    len: AtomicU64,
    read_zeroes: bool,
    latency: Duration,
    name: String,
}

impl NullDisk {
    /// A disk by the driver's options `size`, `latency-ns` and `read-zeroes`.
    ///
    /// # Errors
    /// A value is not of its option's type.
    pub(crate) fn from_options(
        driver: &'static str,
        options: &mut Options,
        name: String,
    ) -> Result<Self> {
        Ok(Self {
            driver,
            len: AtomicU64::new(options.take_size("size")?.unwrap_or(DEFAULT_SIZE)),
            latency: Duration::from_nanos(options.take_number("latency-ns")?.unwrap_or(0)),
            read_zeroes: options.take_bool("read-zeroes")?.unwrap_or(false),
            name,
        })
    }

    fn request(&self, at: u64, len: u64) -> Result<()> {
        if at.checked_add(len).is_none_or(|end| end > self.len()) {
            return Err(DiskError::from_errno(libc::EIO));
        }
        if !self.latency.is_zero() {
            std::thread::sleep(self.latency);
        }
        Ok(())
    }
}

impl Disk for NullDisk {
    fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> Result<()> {
        self.request(at, into.len() as u64)?;
        into.fill(0);
        Ok(())
    }

    fn write_at(&self, at: u64, from: &[u8], _fua: bool) -> Result<()> {
        self.request(at, from.len() as u64)
    }

    fn write_zeroes(&self, at: u64, len: u64, _unmap: bool, _fua: bool) -> Result<()> {
        self.request(at, len)
    }

    fn discard(&self, at: u64, len: u64) -> Result<()> {
        self.request(at, len)
    }

    fn flush(&self) -> Result<()> {
        self.request(0, 0)
    }

    fn truncate(
        &self,
        _len: u64,
        _preallocation: Preallocation,
        _progress: Heard<'_>,
    ) -> Result<()> {
        Err(DiskError::unsupported("Image format driver does not support resize"))
    }

    fn status(&self, at: u64, len: u64) -> Result<Status> {
        let len = len.min(self.len().saturating_sub(at));
        if len == 0 {
            return Ok(Status::nothing());
        }
        Ok(Status {
            len,
            present: self.read_zeroes,
            zero: self.read_zeroes,
            data: false,
            offset: self.read_zeroes.then_some(at),
            file: Some(self.name.clone()),
            ..Status::nothing()
        })
    }

    fn info(&self) -> Result<DiskInfo> {
        Ok(DiskInfo {
            format: self.driver,
            cluster_size: None,
            subcluster_size: None,
            vm_state_offset: None,
            specific: None,
            filename: self.name.clone(),
        })
    }

    fn read_only(&self) -> bool {
        false
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
