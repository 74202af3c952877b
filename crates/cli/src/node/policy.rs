//! Which backing files an image may name.

use std::path::Path;

use super::protocol::{has_protocol, strip_file_protocol};
use crate::disk::DiskError;

/// The variable that restricts backing files; commands have no option for it, so that scripts which
/// know only the classic names can be restricted from outside.
const VARIABLE: &str = "HOLSTEIN_BACKING";

/// What an image may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BackingPolicy {
    /// Nothing.
    None,
    /// Files in its own directory.
    Directory,
    /// Any file.
    Any,
}

impl BackingPolicy {
    /// The policy of the environment; any file where it says nothing.
    ///
    /// # Errors
    /// The variable has a value that is no policy.
    pub(super) fn from_environment() -> Result<Self, DiskError> {
        match std::env::var(VARIABLE).as_deref() {
            Err(std::env::VarError::NotPresent) | Ok("" | "any") => Ok(Self::Any),
            Ok("none") => Ok(Self::None),
            Ok("directory") => Ok(Self::Directory),
            _ => Err(DiskError::invalid(format!(
                "{VARIABLE} has to be 'none', 'directory' or 'any'"
            ))),
        }
    }

    /// Refuses a backing file that the policy does not allow.
    ///
    /// # Errors
    /// The policy forbids it, or the directories cannot be compared.
    pub(super) fn check(self, image: &str, backing: &str) -> Result<(), DiskError> {
        let forbidden =
            || DiskError::new(libc::EPERM, format!("{VARIABLE} does not allow '{backing}'"));
        match self {
            Self::Any => Ok(()),
            Self::None => Err(forbidden()),
            Self::Directory => {
                let path = strip_file_protocol(backing);
                if has_protocol(path) {
                    return Err(forbidden());
                }
                let parent = |path: &str| {
                    let real = Path::new(path).canonicalize()?;
                    Ok::<_, std::io::Error>(real.parent().map(Path::to_path_buf))
                };
                if parent(path)? == parent(image)? { Ok(()) } else { Err(forbidden()) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_out_of_the_directory_are_seen() {
        let dir = std::env::temp_dir().join(format!("holstein-policy-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("sub")).expect("temporary files can be made");
        for name in ["image", "near", "sub/far"] {
            std::fs::write(dir.join(name), "").expect("temporary files can be made");
        }
        std::os::unix::fs::symlink(dir.join("sub/far"), dir.join("link"))
            .expect("links can be made");
        let path = |name: &str| dir.join(name).to_string_lossy().into_owned();
        let check = |name| BackingPolicy::Directory.check(&path("image"), &path(name));
        assert!(check("near").is_ok());
        assert!(check("sub/far").is_err());
        assert!(check("link").is_err());
        assert!(BackingPolicy::None.check(&path("image"), &path("near")).is_err());
        assert!(BackingPolicy::Any.check(&path("image"), &path("sub/far")).is_ok());
        std::fs::remove_dir_all(&dir).expect("the directory is ours");
    }
}
