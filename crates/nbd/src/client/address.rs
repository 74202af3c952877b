//! Where a server is, and which of its exports is meant: names as people write them.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// The port where a name has none.
const DEFAULT_PORT: u16 = 10_809;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// On a path of the file system.
    Unix(PathBuf),
    /// On a host, by name or number, and a port.
    Tcp {
        /// The host, without brackets.
        host: String,
        /// The port.
        port: u16,
    },
}

impl fmt::Display for Address {
    /// As messages have it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// An export of a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The server.
    pub address: Address,
    /// The export's name.
    pub export: String,
}

/// Why a name says no export.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    /// It does not begin as names of exports do.
    #[error("File name string for new protocols must start with 'nbd:'")]
    Scheme,
    /// It is not a URI that can be taken apart, or parts are missing or not expected.
    #[error("Invalid URI specified")]
    Uri,
    /// There is no port, or it is no number of one.
    #[error("{0}")]
    Port(String),
}

impl Target {
    /// Reads `nbd://HOST[:PORT]/[EXPORT]`, `nbd+tcp://...`, `nbd+unix:///[EXPORT]?socket=PATH`,
    /// `nbd:HOST:PORT[:exportname=NAME]` or `nbd:unix:PATH[:exportname=NAME]`.
    ///
    /// # Errors
    /// It is none of these.
    pub fn parse(name: &str) -> Result<Self, AddressError> {
        if let Some((scheme, rest)) = name.split_once("://") {
            return Self::parse_uri(scheme, rest);
        }
        let rest = name.strip_prefix("nbd:").ok_or(AddressError::Scheme)?;
        let (place, export) = rest.split_once(":exportname=").unwrap_or((rest, ""));
        let address = if let Some(path) = place.strip_prefix("unix:") {
            Address::Unix(path.into())
        } else {
            parse_host(place, None)?
        };
        Ok(Self { address, export: export.to_owned() })
    }

    fn parse_uri(scheme: &str, rest: &str) -> Result<Self, AddressError> {
        let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query)),
            None => (rest, None),
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let export = decode(path.strip_prefix('/').unwrap_or(path))?;
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let address = match scheme {
            "nbd+unix" => {
                let socket = query.and_then(|query| query.strip_prefix("socket="));
                if !authority.is_empty() {
                    return Err(AddressError::Uri);
                }
                Address::Unix(decode(socket.ok_or(AddressError::Uri)?)?.into())
            }
            "nbd" | "nbd+tcp" if query.is_none() && !host.is_empty() => {
                parse_host(host, Some(DEFAULT_PORT))?
            }
            _ => return Err(AddressError::Uri),
        };
        Ok(Self { address, export })
    }
}

/// A host and a port, of which the port may be missing where there is a default.
fn parse_host(text: &str, default: Option<u16>) -> Result<Address, AddressError> {
    let invalid = || AddressError::Port(format!("address '{text}' has no valid port"));
    let (host, port) = if let Some(numeric) = text.strip_prefix('[') {
        let (host, port) = numeric.split_once(']').ok_or_else(invalid)?;
        (host, port.strip_prefix(':'))
    } else {
        match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let port = match port {
        None | Some("") => default,
        Some(port) => port.parse().ok(),
    };
    Ok(Address::Tcp { host: host.to_owned(), port: port.ok_or_else(invalid)? })
}

/// Takes `%41` for `A`.
fn decode(text: &str) -> Result<String, AddressError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, tail) = rest.split_first_chunk::<2>().ok_or(AddressError::Uri)?;
        let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
        let byte = high.zip(low).map(|(high, low)| high << 4 | low);
        bytes.push(byte.and_then(|byte| u8::try_from(byte).ok()).ok_or(AddressError::Uri)?);
        rest = tail;
    }
    String::from_utf8(bytes).map_err(|_| AddressError::Uri)
}

/// The name as a URI.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Unix(path) if self.export.is_empty() => {
                write!(f, "nbd+unix://?socket={}", path.display())
            }
            Address::Unix(path) => {
                write!(f, "nbd+unix:///{}?socket={}", self.export, path.display())
            }
            Address::Tcp { host, port } if self.export.is_empty() => {
                write!(f, "nbd://{host}:{port}")
            }
            Address::Tcp { host, port } => write!(f, "nbd://{host}:{port}/{}", self.export),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_all_kinds_are_read() {
        let unix = |path: &str| Address::Unix(path.into());
        let tcp = |host: &str, port| Address::Tcp { host: host.to_owned(), port };
        for (name, address, export) in [
            ("nbd://h", tcp("h", 10809), ""),
            ("nbd://h:7/e%20x", tcp("h", 7), "e x"),
            ("nbd+tcp://[::1]:7/a/b", tcp("::1", 7), "a/b"),
            ("nbd+unix:///?socket=/s", unix("/s"), ""),
            ("nbd+unix://?socket=/s", unix("/s"), ""),
            ("nbd+unix:///exp?socket=/a%2fs", unix("/a/s"), "exp"),
            ("nbd:unix:/s", unix("/s"), ""),
            ("nbd:unix:/s:exportname=a:b", unix("/s"), "a:b"),
            ("nbd:localhost:10810:exportname=x", tcp("localhost", 10810), "x"),
            ("nbd:[::1]:9", tcp("::1", 9), ""),
        ] {
            let expected = Ok(Target { address, export: export.to_owned() });
            assert_eq!(Target::parse(name), expected, "{name}");
        }
        for bad in [
            "nbd+unix:///e",
            "nbd+unix://h/e?socket=/s",
            "nbd://h?socket=/s",
            "nbd:///e",
            "nbds://h",
            "nbd:h",
            "nbd:h:x",
            "nbd://h/%4",
            "nbd://h/%+4",
            "nbd://h/%4g",
            "x:y",
        ] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_shown_as_uris() {
        for (name, shown) in [
            ("nbd:unix:/s:exportname=e", "nbd+unix:///e?socket=/s"),
            ("nbd:unix:/s", "nbd+unix://?socket=/s"),
            ("nbd:h:10809", "nbd://h:10809"),
            ("nbd://h/e", "nbd://h:10809/e"),
        ] {
            let target = Target::parse(name).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(target.to_string(), shown);
        }
    }
}
