//! What encrypts sectors.

/// Bytes of a sector: the unit of encryption.
pub const SECTOR: usize = 512;

/// Where the number of a sector comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbering {
    /// Its place on the disk.
    Guest,
    /// Its place in the file that holds the payload.
    Host,
}

/// A cipher with its keys.
///
/// # Concurrency
/// Calls share nothing.
pub trait SectorCipher: Send + Sync {
    /// Which number of a sector it wants.
    fn numbering(&self) -> Numbering;

    /// Encrypts whole sectors in place, of which the first has number `first` and each the number
    /// after the one before it. What is left over at the end stays as it is.
    fn encrypt(&self, first: u64, sectors: &mut [u8]);

    /// Undoes [`Self::encrypt`].
    fn decrypt(&self, first: u64, sectors: &mut [u8]);
}
