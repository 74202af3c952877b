//! Where the name of a backing file leads.

/// Why a name leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// A relative name needs a directory to start at, and the image has none.
    #[error("the name is relative, and the image has no directory")]
    NoDirectory,
}

/// The name under which a backing file is found, as QEMU finds it.
///
/// * `image`: the name of the image that stores the other one.
/// * `stored`: what it stores. A relative name starts at the directory of the image; an absolute one,
///   and one with a protocol in front, is taken as it is.
///
/// # Errors
/// [`NameError::NoDirectory`].
pub fn resolve_backing_name(image: &[u8], stored: &[u8]) -> Result<Vec<u8>, NameError> {
    if stored.is_empty() || has_protocol(stored) || stored.starts_with(b"/") {
        return Ok(stored.to_vec());
    }
    if image.is_empty() || image.starts_with(b"json:") {
        return Err(NameError::NoDirectory);
    }
    let slash = image.iter().rposition(|byte| *byte == b'/');
    let mut name = image[..slash.map_or(0, |at| at + 1)].to_vec();
    name.extend_from_slice(stored);
    Ok(name)
}

/// Whether a name has a protocol in front: a `:` before the first `/`.
#[must_use]
pub fn has_protocol(name: &[u8]) -> bool {
    let end = name.iter().position(|byte| matches!(byte, b':' | b'/'));
    end.is_some_and(|at| name[at] == b':')
}

/// The path of a name that may have `file:` in front.
#[must_use]
pub fn strip_file_protocol(name: &[u8]) -> &[u8] {
    name.strip_prefix(b"file:").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_names_start_at_the_image() {
        let name = |image: &str, stored: &str| {
            resolve_backing_name(image.as_bytes(), stored.as_bytes())
                .map(|name| String::from_utf8_lossy(&name).into_owned())
        };
        assert_eq!(name("sub/o.qcow2", "../b"), Ok("sub/../b".to_owned()));
        assert_eq!(name("o.qcow2", "b"), Ok("b".to_owned()));
        assert_eq!(name("sub/o.qcow2", "/b"), Ok("/b".to_owned()));
        assert_eq!(name("sub/o.qcow2", "file:b"), Ok("file:b".to_owned()));
        assert_eq!(name("sub/o.qcow2", "./a:b"), Ok("sub/./a:b".to_owned()));
        assert_eq!(name("json:{}", "b"), Err(NameError::NoDirectory));
        assert_eq!(name("json:{}", "nbd://h/x"), Ok("nbd://h/x".to_owned()));
    }
}
