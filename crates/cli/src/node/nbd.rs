//! Exports of NBD servers, as bytes under a format.

use std::sync::Arc;
use std::time::{Duration, Instant};

use holstein_nbd::numbers::{allocation, option_reply, transmission};
use holstein_nbd::{Address, Client, ClientError, ConnectOptions, NbdStorage, Security, Target};
use holstein_tls::TlsClient;

use holstein_storage::Storage;
use holstein_units::{HostOffset, HostRange, SECTOR};

use super::generic::read_only_node;
use super::keep_space::under_options;
use super::{Driver, FileNode, Generic, OpenFlags, Options};
use crate::disk::DiskError;
use crate::objects::client_credentials;
use crate::text::Json;

/// How long to wait between attempts to reach a server that is not there yet.
const AGAIN: Duration = Duration::from_millis(500);

/// Whether a protocol in front of a name is one of the names of this driver.
pub(super) fn is_protocol(protocol: &str) -> bool {
    matches!(protocol, "nbd" | "nbd+tcp" | "nbd+unix")
}

/// Makes a name part of the options.
///
/// # Errors
/// The name is not one of an export.
pub(super) fn split_name(filename: &str, options: &mut Options) -> Result<(), DiskError> {
    let target = Target::parse(filename).map_err(|error| DiskError::invalid(error.to_string()))?;
    match &target.address {
        Address::Unix(path) => {
            options.set("server.type", "unix");
            options.set("server.path", path.to_string_lossy().as_ref());
        }
        Address::Tcp { host, port } => {
            options.set("server.type", "inet");
            options.set("server.host", host.as_str());
            options.set("server.port", port.to_string().as_str());
        }
    }
    if !target.export.is_empty() {
        options.set("export", target.export.as_str());
    }
    Ok(())
}

/// Connects to the export that the options describe.
///
/// # Errors
/// The options do not say where it is, the server cannot be reached or does not have it, or it cannot
/// be written to and should be.
pub(super) fn open(mut options: Options, flags: &OpenFlags) -> Result<FileNode, DiskError> {
    let generic = Generic::take(&mut options, flags, false)?;
    generic.check_below()?;
    let target = Target {
        address: take_address(&mut options)?,
        export: options.take_text("export")?.unwrap_or_default(),
    };
    let wait = Duration::from_secs(options.take_number("open-timeout")?.unwrap_or(0));
    let delay = Duration::from_secs(options.take_number("reconnect-delay")?.unwrap_or(0));
    let context = options.take_text("x-dirty-bitmap")?;
    let tls = Tls {
        credentials: options.take_text("tls-creds")?,
        host: options.take_text("tls-hostname")?,
    };
    if let Some(unknown) = options.first_key() {
        return Err(DiskError::invalid(format!(
            "Block protocol 'nbd' doesn't support the option '{unknown}'"
        )));
    }
    let security = tls.security(&target.address)?;
    let connecting = ConnectOptions { context, security };
    let client = connect(&target, &connecting, wait)?;
    if connecting.context.is_some() && client.facts().context.is_none() {
        return Err(DiskError::invalid("Could not open image: Invalid argument"));
    }
    generic.check_writer(flags)?;
    if client.can(transmission::READ_ONLY) && generic.writable {
        return Err(if generic.auto_read_only {
            read_only_node()
        } else {
            let text = "request on write denied without write permission";
            DiskError::new(libc::EACCES, text)
        });
    }
    let tree = tree(&target, &tls);
    let name = target.to_string();
    let is_depth = connecting.context.as_deref() == Some("qemu:allocation-depth");
    let storage = Arc::new(NbdStorage::lasting(client, target, connecting, delay));
    let states = ExportStates { storage: Arc::clone(&storage), is_depth };
    let storage = under_options(storage, &generic);
    Ok(FileNode::remote(storage, Driver::Nbd.name(), name, tree, states))
}

/// The options of a node about TLS.
struct Tls {
    /// The name of the credentials.
    credentials: Option<String>,
    /// The name that the server has to have, where it is not that of the host.
    host: Option<String>,
}

impl Tls {
    /// What makes the connection secure, if that is wanted. A name without credentials means nothing, as
    /// for the reference.
    fn security(&self, address: &Address) -> Result<Option<Arc<dyn Security>>, DiskError> {
        let Some(id) = &self.credentials else { return Ok(None) };
        let host = self.host.clone().or_else(|| match address {
            Address::Tcp { host, .. } => Some(host.clone()),
            Address::Unix(_) => None,
        });
        Ok(Some(Arc::new(TlsClient::new(client_credentials(id)?, host))))
    }
}

/// What a server says about the parts of an export.
#[derive(Clone)]
pub(crate) struct ExportStates {
    storage: Arc<NbdStorage>,
    /// The states are numbers of layers.
    is_depth: bool,
}

impl ExportStates {
    /// The state at a byte within the export; nothing where the server does not tell. Whatever was asked
    /// about, the reference takes its lowest bits for those of holes and zeros.
    ///
    /// # Errors
    /// What the server says.
    pub(crate) fn at(&self, at: u64) -> Result<Option<State>, DiskError> {
        let Some(extent) = self.storage.state_at(at)? else { return Ok(None) };
        let flags = if self.is_depth { extent.flags.min(2) } else { extent.flags };
        let (data, zero) = (flags & allocation::HOLE == 0, flags & allocation::ZERO != 0);
        Ok(Some(State { len: extent.len, data, zero }))
    }
}

/// The state of a part of an export.
pub(crate) struct State {
    /// Bytes that are alike.
    pub(crate) len: u64,
    /// It is no hole.
    pub(crate) data: bool,
    /// It reads as zeros.
    pub(crate) zero: bool,
}

/// Whether a name is one of an export.
pub(crate) fn is_export(filename: &str) -> bool {
    matches!(filename.split_once(':'), Some((protocol, _)) if is_protocol(protocol))
}

/// Opens an export as what an image is to be made in: it has to be there, and its first sector, which
/// may say what it was before, is cleared.
///
/// # Errors
/// There is no such export, or it cannot be written to.
pub(crate) fn open_target(filename: &str) -> Result<Arc<dyn Storage>, DiskError> {
    let failed = |error: DiskError| {
        error.prefixed(
            "Protocol driver 'nbd' does not support creating new images, so an existing image must \
             be selected as the target; however, opening the given target as an existing image \
             failed: ",
        )
    };
    let mut options = Options::default();
    split_name(filename, &mut options)?;
    let node = open(options, &OpenFlags::WRITE).map_err(failed)?;
    let first = SECTOR.min(node.len()?);
    let first = HostRange { start: HostOffset::new(0), len: first };
    node.storage.write_zeroes(first)?;
    Ok(node.storage)
}

/// Takes the address, under its names of today and of before.
fn take_address(options: &mut Options) -> Result<Address, DiskError> {
    let mut take = |new: &str, old: &str| -> Result<Option<String>, DiskError> {
        let (new, old) = (options.take_text(new)?, options.take_text(old)?);
        Ok(new.or(old))
    };
    let kind = take("server.type", "type")?;
    let (path, host) = (take("server.path", "path")?, take("server.host", "host")?);
    let port = take("server.port", "port")?;
    match (kind.as_deref(), path, host) {
        (None | Some("unix"), Some(path), None) => Ok(Address::Unix(path.into())),
        (None | Some("inet"), None, Some(host)) => {
            let port = port.as_deref().unwrap_or("10809");
            let invalid = |_| {
                DiskError::invalid(format!(
                    "address resolution failed for {host}:{port}: Servname not supported for \
                     ai_socktype"
                ))
            };
            Ok(Address::Tcp { port: port.parse().map_err(invalid)?, host: host.clone() })
        }
        (None, None, None) => Err(DiskError::invalid("NBD server address missing")),
        (None, Some(_), Some(_)) => {
            Err(DiskError::invalid("path and host may not be used at the same time"))
        }
        (Some("unix"), ..) => Err(DiskError::invalid("Parameter 'server.path' is missing")),
        (Some("inet"), ..) => Err(DiskError::invalid("Parameter 'server.host' is missing")),
        (Some(other), ..) => Err(DiskError::unsupported(format!(
            "servers of type '{other}' are not available in this version"
        ))),
    }
}

/// Connects; a server that is not there may come within the time.
fn connect(target: &Target, options: &ConnectOptions, wait: Duration) -> Result<Client, DiskError> {
    let begin = Instant::now();
    loop {
        match Client::connect_with(target, options) {
            Ok(client) => return Ok(client),
            Err(ClientError::Connect { .. } | ClientError::Io(_) | ClientError::Reply(_))
                if begin.elapsed() < wait =>
            {
                std::thread::sleep(AGAIN.min(wait.saturating_sub(begin.elapsed())));
            }
            Err(error) => return Err(in_words(&error)),
        }
    }
}

/// The reference's words, with those of the server on a line of their own.
pub(crate) fn in_words(error: &ClientError) -> DiskError {
    match error {
        ClientError::Connect { address, source } => {
            DiskError::from(source).prefixed(format_args!("Failed to connect to '{address}': "))
        }
        ClientError::Refused { kind, text, .. } => {
            let refused = DiskError::invalid(error.to_string());
            if text.is_empty() {
                refused
            } else if *kind == option_reply::ERR_TLS_REQD {
                refused.with_hint(format!(
                    "Did you forget a valid tls-creds?\nserver reported: {text}"
                ))
            } else {
                refused.with_hint(format!("server reported: {text}"))
            }
        }
        ClientError::Io(source) => cut_off(source).prefixed("Failed to read initial magic: "),
        ClientError::Reply(source) => cut_off(source).prefixed("Failed to read option reply: "),
        ClientError::Security(source) => DiskError::from(source),
        ClientError::Protocol(_) => DiskError::invalid(error.to_string()),
    }
}

/// The reference's words for a connection that ends too early.
fn cut_off(error: &std::io::Error) -> DiskError {
    if error.kind() == std::io::ErrorKind::UnexpectedEof && error.get_ref().is_none() {
        return DiskError::invalid("Unexpected end-of-file before all data were read");
    }
    DiskError::from(error)
}

/// The node in its canonical form.
fn tree(target: &Target, tls: &Tls) -> Json {
    let mut tree = match &target.address {
        Address::Unix(path) => Json::map([
            ("server.path", path.to_string_lossy().as_ref().into()),
            ("driver", Driver::Nbd.name().into()),
            ("server.type", "unix".into()),
        ]),
        Address::Tcp { host, port } => Json::map([
            ("server.host", host.as_str().into()),
            ("server.port", port.to_string().as_str().into()),
            ("driver", Driver::Nbd.name().into()),
            ("server.type", "inet".into()),
        ]),
    };
    if !target.export.is_empty() {
        tree.push("export", target.export.as_str());
    }
    for (key, value) in [("tls-creds", &tls.credentials), ("tls-hostname", &tls.host)] {
        if let Some(value) = value {
            tree.push(key, value.as_str());
        }
    }
    tree
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Result<Address, String> {
        take_address(&mut Options::parse(text, None)).map_err(|error| error.to_string())
    }

    #[test]
    fn addresses_have_names_of_today_and_of_before() {
        let unix = Ok(Address::Unix("/s".into()));
        assert_eq!(address("server.type=unix,server.path=/s"), unix);
        assert_eq!(address("path=/s"), unix);
        let tcp = |port| Ok(Address::Tcp { host: "h".to_owned(), port });
        assert_eq!(address("server.type=inet,server.host=h,server.port=7"), tcp(7));
        assert_eq!(address("host=h"), tcp(10809));
        for bad in ["", "path=/s,host=h", "server.type=unix", "server.type=fd,server.str=3"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
