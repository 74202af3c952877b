//! What bitmaps need of the image file.

use holstein_units::HostOffset;

/// Bytes of a directory or a table that are read at once.
pub(crate) const PIECE: usize = 64 << 10;

/// Reads metadata of the image file.
pub trait ReadFile {
    /// Why that failed.
    type Error;

    /// Fills `into` from `at` on; all of it must be there.
    ///
    /// # Errors
    /// Whatever reading fails with, the end of the file included.
    fn read(&self, at: HostOffset, into: &mut [u8]) -> Result<(), Self::Error>;

    /// Whether the file holds anything but zeros in the `len` bytes from `at` on, as far as it can tell
    /// without reading them.
    fn holds_data(&self, at: HostOffset, len: u64) -> bool {
        let _ = (at, len);
        true
    }

    /// Whether something else is known to lie in a cluster.
    fn is_taken(&self, cluster: HostOffset) -> bool;
}

/// Writes clusters of bitmaps to new places.
pub trait WriteFile {
    /// Why that failed.
    type Error;

    /// Counts `clusters` clusters in a row, and says where they begin.
    ///
    /// # Errors
    /// Whatever allocating fails with.
    fn allocate(&mut self, clusters: u64) -> Result<HostOffset, Self::Error>;

    /// Writes from the start of a place that [`Self::allocate`] gave; what is left of the last cluster
    /// is never looked at.
    ///
    /// # Errors
    /// Whatever writing fails with.
    fn write(&mut self, at: HostOffset, bytes: &[u8]) -> Result<(), Self::Error>;
}
