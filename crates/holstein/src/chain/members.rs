//! The files of one chain.

use std::collections::HashSet;

use holstein_storage::FileIdentity;

/// A chain has at most this many images, the one on top included.
pub const MAX_LAYERS: usize = 200;

/// Why a file cannot be added to a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MembersError {
    /// The chain would never end.
    #[error("the file is in the chain already")]
    Loop,
    /// [`MAX_LAYERS`] are there already.
    #[error("the chain has more than {MAX_LAYERS} images")]
    TooLong,
}

/// Files that are in a chain, known by what they are and not by name.
#[derive(Clone, Debug, Default)]
pub struct Members {
    seen: HashSet<FileIdentity>,
    len: usize,
}

impl Members {
    /// Adds the next file, from the top down; one without identity only counts.
    ///
    /// # Errors
    /// It is there already, or there are too many.
    pub fn add(&mut self, identity: Option<FileIdentity>) -> Result<(), MembersError> {
        self.len += 1;
        if self.len > MAX_LAYERS {
            return Err(MembersError::TooLong);
        }
        match identity {
            Some(identity) if !self.seen.insert(identity) => Err(MembersError::Loop),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_ends_and_has_no_file_twice() {
        let identity = |ino| Some(FileIdentity { dev: 1, ino });
        let mut members = Members::default();
        assert_eq!(members.add(identity(1)), Ok(()));
        assert_eq!(members.add(identity(1)), Err(MembersError::Loop));
        let mut members = Members::default();
        for ino in 0..MAX_LAYERS as u64 {
            assert_eq!(members.add(identity(ino)), Ok(()));
        }
        assert_eq!(members.add(None), Err(MembersError::TooLong));
    }
}
