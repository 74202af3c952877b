//! File names with a protocol in front.

use super::blkdebug::split_name;
use super::driver::{is_known_elsewhere, unavailable};
use super::{Driver, Options, nbd};
use crate::disk::DiskError;

/// Makes a file name part of a protocol node's options.
///
/// A `:` before the first `/` ends a protocol; `file:` is cut off, `null-co://` opens a null disk.
/// With `plain` the name is taken as it is, as where the driver is given.
///
/// # Errors
/// The protocol is unknown, or not available in this version.
pub(crate) fn parse_filename(
    filename: &str,
    plain: bool,
    options: &mut Options,
) -> Result<(), DiskError> {
    let protocol = match filename.find([':', '/']) {
        Some(at) if filename[at..].starts_with(':') => Some(&filename[..at]),
        _ => None,
    };
    match protocol {
        Some("file") => {
            let path = &filename["file:".len()..];
            // What is left of the name must not begin like a protocol.
            let path = if has_protocol(path) { format!("./{path}") } else { path.to_owned() };
            options.set("filename", path);
        }
        Some(protocol @ ("host_device" | "host_cdrom" | "null-co" | "null-aio")) if !plain => {
            options.set("driver", protocol);
            let rest = &filename[protocol.len() + 1..];
            match (protocol, rest) {
                ("host_device" | "host_cdrom", path) => options.set("filename", path),
                (_, "//") => {}
                _ => {
                    return Err(DiskError::invalid(
                        "The only allowed filename for this driver is '".to_owned()
                            + protocol
                            + "://'",
                    ));
                }
            }
        }
        Some("blkdebug") => {
            if !plain {
                options.set("driver", "blkdebug");
            }
            split_name(filename, options)?;
        }
        Some(protocol) if !plain && nbd::is_protocol(protocol) => {
            options.set("driver", Driver::Nbd.name());
            nbd::split_name(filename, options)?;
        }
        Some(protocol)
            if !plain && is_known_elsewhere(protocol.split('+').next().unwrap_or("")) =>
        {
            return Err(unavailable(protocol));
        }
        Some(protocol) if !plain => {
            return Err(DiskError::new(libc::ENOENT, format!("Unknown protocol '{protocol}'")));
        }
        _ => options.set("filename", filename),
    }
    if !options.has("driver") {
        options.set("driver", Driver::File.name());
    }
    Ok(())
}

/// Whether a name has a protocol in front.
pub(crate) fn has_protocol(filename: &str) -> bool {
    holstein::chain::has_protocol(filename.as_bytes())
}

/// The path of a name that may have `file:` in front.
pub(crate) fn strip_file_protocol(filename: &str) -> &str {
    filename.strip_prefix("file:").unwrap_or(filename)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(filename: &str) -> Result<Vec<(String, String)>, String> {
        let mut options = Options::default();
        parse_filename(filename, false, &mut options).map_err(|error| error.to_string())?;
        let text = |value: &crate::text::Json| value.compact().trim_matches('"').to_owned();
        Ok(options.entries().iter().map(|(key, value)| (key.clone(), text(value))).collect())
    }

    fn ok(entries: &[(&str, &str)]) -> Result<Vec<(String, String)>, String> {
        Ok(entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn a_colon_before_the_first_slash_ends_a_protocol() {
        assert_eq!(parsed("a.img"), ok(&[("filename", "a.img"), ("driver", "file")]));
        assert_eq!(parsed("./a:b"), ok(&[("filename", "./a:b"), ("driver", "file")]));
        assert_eq!(parsed("file:a:b"), ok(&[("filename", "./a:b"), ("driver", "file")]));
        assert_eq!(parsed("null-co://"), ok(&[("driver", "null-co")]));
        let path = [("driver", "nbd"), ("server.type", "unix"), ("server.path", "/s")];
        assert_eq!(parsed("nbd:unix:/s"), ok(&path));
        assert_eq!(parsed("zzz:foo"), Err("Unknown protocol 'zzz'".to_owned()));
        assert_eq!(
            parsed("ssh://h/x"),
            Err("driver 'ssh' is not available in this version".to_owned())
        );
    }
}
