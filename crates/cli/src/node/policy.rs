//! Which backing files and data files an image may name.

use std::path::Path;
use std::sync::OnceLock;

use holstein::chain::{
    BackingAnswer, BackingPolicy, BackingRequest, has_protocol, strip_file_protocol,
};

use crate::disk::DiskError;

/// The variable that restricts backing and data files, so that scripts which know only the classic options
/// can be restricted from outside.
const VARIABLE: &str = "HOLSTEIN_BACKING";
/// The option that does the same.
const OPTION: &str = "--backing-policy";

/// What the command line says; it goes before the environment.
static CHOSEN: OnceLock<Choice> = OnceLock::new();

/// What an image may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    /// Nothing.
    Nothing,
    /// Files in its own directory.
    Directory,
    /// Any file, and what is no file.
    Anything,
}

impl Choice {
    fn parse(text: &str, source: &str) -> Result<Self, DiskError> {
        match text {
            "any" => Ok(Self::Anything),
            "none" => Ok(Self::Nothing),
            "directory" => Ok(Self::Directory),
            _ => {
                Err(DiskError::invalid(format!("{source} has to be 'none', 'directory' or 'any'")))
            }
        }
    }

    fn allows(self, image: &str, backing: &str) -> bool {
        let policy = match self {
            Self::Anything => return true,
            Self::Nothing => return false,
            Self::Directory => BackingPolicy::same_directory(),
        };
        let path = strip_file_protocol(backing.as_bytes());
        let path = if path.len() == backing.len() && has_protocol(path) {
            None
        } else {
            std::str::from_utf8(path).ok().map(Path::new)
        };
        let request = BackingRequest::new(Some(Path::new(image)), backing.as_bytes(), path);
        matches!(policy.decide(&request), BackingAnswer::Follow)
    }
}

/// Restricts backing and data files for the rest of the program (`--backing-policy`).
///
/// # Errors
/// The text is no policy.
pub(crate) fn choose_backing_policy(text: &str) -> Result<(), DiskError> {
    let choice = Choice::parse(text, OPTION)?;
    // Options are read before the first image is opened; only the first one counts.
    CHOSEN.get_or_init(|| choice);
    Ok(())
}

/// Refuses a file that an image names, as a backing file or as its data file, where the policy does not
/// allow it.
///
/// # Errors
/// The policy forbids it, or is none.
pub(super) fn check_named_file(image: &str, backing: &str) -> Result<(), DiskError> {
    let (choice, source) = match (CHOSEN.get(), std::env::var(VARIABLE).as_deref()) {
        (Some(chosen), _) => (*chosen, OPTION),
        (None, Err(std::env::VarError::NotPresent) | Ok("")) => return Ok(()),
        (None, text) => (Choice::parse(text.unwrap_or_default(), VARIABLE)?, VARIABLE),
    };
    if choice.allows(image, backing) {
        return Ok(());
    }
    Err(DiskError::new(libc::EPERM, format!("{source} does not allow '{backing}'")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_have_names() {
        assert_eq!(Choice::parse("none", VARIABLE), Ok(Choice::Nothing));
        assert_eq!(Choice::parse("directory", VARIABLE), Ok(Choice::Directory));
        assert_eq!(Choice::parse("any", VARIABLE), Ok(Choice::Anything));
        assert!(Choice::parse("all", OPTION).is_err());
    }

    #[test]
    fn what_is_no_file_is_in_no_directory() {
        assert!(Choice::Anything.allows("image", "nbd://x"));
        assert!(!Choice::Directory.allows("image", "nbd://x"));
        assert!(!Choice::Directory.allows("image", "json:{}"));
        assert!(!Choice::Nothing.allows("image", "base"));
    }
}
