//! Opening the image and the socket, and serving.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::sync::Arc;

use holstein_nbd::{
    AcceptOptions, Context, ExportSettings, Listener, Security, Server, SessionError, Waker, accept,
};

use super::command_line::{CommandLine, Place};
use super::export::DiskExport;
use super::pid_file::PidFile;
use super::{Failure, Outcome, background, signals};
use crate::disk::{Disk, DiskError};
use crate::img;
use crate::node::{open_disk, open_overlay, wait_silently};
use crate::out;
use crate::text::Json;

/// A path that is removed when this is dropped.
struct Removed(Option<String>);

impl Drop for Removed {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // It may be gone already.
            let _ = fs::remove_file(path);
        }
    }
}

/// Serves an image until a signal or the last client ends it.
///
/// # Errors
/// The image or the socket cannot be opened, or closing the image fails.
pub(super) fn serve(line: CommandLine) -> Outcome<()> {
    background::leave_terminal();
    // Clients that find the socket should not have to wait as well.
    let early = if line.waits { Some(open_when_free(&line)?) } else { None };
    let (listener, _removed) = listen(&line.place)?;
    let disk = early.map_or_else(|| open(&line), Ok)?;
    if line.offset > disk.len() {
        let text = format!(
            "Offset ({}) cannot be greater than size of the containing file ({})",
            line.offset,
            disk.len()
        );
        return Err(Failure::message(text));
    }
    let contexts = contexts(&line, &*disk)?;
    let read_only = disk.read_only();
    let listening = Json::map([
        ("listening", place(&line.place)),
        ("export", line.name.as_str().into()),
        ("size", (disk.len() - line.offset).into()),
        ("read-only", read_only.into()),
        ("pid", std::process::id().into()),
    ]);
    let export = Arc::new(DiskExport::new(disk, line.offset));
    let settings = ExportSettings {
        name: line.name,
        description: line.description,
        read_only,
        multi_conn: line.clients != Some(1),
        contexts,
        ..ExportSettings::default()
    };
    let shared: Arc<dyn holstein_nbd::Export> = Arc::clone(&export) as _;
    let security = line.tls.map(|tls| Arc::new(tls) as Arc<dyn Security>);
    let server = Server::new()
        .handshake_limit(line.handshake_limit)
        .security(security)
        .export(shared, settings);
    let waker = Arc::new(Waker::new().map_err(|error| Failure::prefixed("", error))?);
    signals::end_by(&waker).map_err(|error| Failure::prefixed("", error))?;
    let _pid_file = line.pid_file.as_deref().map(PidFile::write).transpose()?;
    std::env::set_current_dir("/")
        .map_err(|error| Failure::prefixed("Could not chdir to root directory: ", error))?;
    if out::is_json() && !background::is_child() {
        out::object_line(&listening);
    }
    background::ready()?;
    let options = AcceptOptions { clients: line.clients, persistent: line.persistent };
    let report = |error: &SessionError| {
        if line.verbose {
            match error {
                SessionError::Security(_) | SessionError::Insecure => {
                    out::error_line(&format!("option negotiation failed: {error}"));
                }
                error => out::error_line(&error.to_string()),
            }
        }
    };
    let served = accept(&server, &listener, options, &waker, &report);
    drop(server);
    // Sessions have ended: nobody else has the disk.
    let closed = Arc::into_inner(export).map(|export| export.into_disk().close());
    served.map_err(|error| Failure::prefixed("", error))?;
    Ok(closed.transpose().map(|_| ())?)
}

/// Opens the image, when it is free.
fn open_when_free(line: &CommandLine) -> Outcome<Box<dyn Disk>> {
    if background::is_child() {
        // Whoever started this process takes a word from it for a failure.
        wait_silently();
    }
    open(line)
}

/// Opens the image, and what goes on top of it.
fn open(line: &CommandLine) -> Outcome<Box<dyn Disk>> {
    let text = &line.image.text;
    let opened = if line.overlay {
        open_overlay(&line.image, &line.flags, &line.objects)
    } else {
        open_disk(line.image.clone(), &line.flags, &line.objects)
    };
    let disk = opened
        .map_err(|error| Failure::prefixed(format!("Failed to blk_new_open '{text}': "), error))?;
    match &line.snapshot {
        None => Ok(disk),
        Some(word) => word.load(disk).map_err(|failure| match failure {
            img::Failure::Error(prefix, error, _) => Failure::prefixed(prefix, error),
            img::Failure::Usage(text) => Failure::message(text),
            img::Failure::Said(_) => Failure::message("Failed to load snapshot"),
        }),
    }
}

/// What clients can ask about ranges, in the order in which the reference lists it.
fn contexts(line: &CommandLine, disk: &dyn Disk) -> Outcome<Vec<Context>> {
    let mut contexts = Vec::new();
    if line.allocation_depth {
        contexts.push(Context::AllocationDepth);
    }
    for name in line.bitmaps.iter().rev() {
        if !disk.has_bitmap(name)? {
            return Err(Failure::message(format!("Bitmap '{name}' is not found")));
        }
        contexts.push(Context::DirtyBitmap(name.clone()));
    }
    Ok(contexts)
}

/// Where clients can come.
fn place(place: &Place) -> Json {
    match place {
        Place::Path(path) => Json::map([("path", path.as_str().into())]),
        Place::Port(address, port) => {
            Json::map([("address", address.as_str().into()), ("port", port.as_str().into())])
        }
        Place::Inherited => Json::map([("inherited", true.into())]),
    }
}

fn listen(place: &Place) -> Outcome<(Listener, Removed)> {
    match place {
        Place::Path(path) => {
            remove_socket(path)?;
            let listener = Listener::unix(path).map_err(|error| {
                if error.kind() == io::ErrorKind::InvalidInput {
                    let error =
                        DiskError::invalid(format!("UNIX socket path '{path}' is too long"));
                    return error.with_hint("Path must be less than 108 bytes").into();
                }
                Failure::prefixed(format!("Failed to bind socket to {path}: "), error)
            })?;
            Ok((listener, Removed(Some(path.clone()))))
        }
        Place::Port(address, port) => {
            let listener = listen_on_port(address, port)?;
            Ok((listener, Removed(None)))
        }
        Place::Inherited => {
            let inherited = holstein_storage::first_inherited_file().and_then(Listener::inherited);
            let listener = inherited
                .map_err(|error| Failure::prefixed("Failed to use socket activation: ", error))?;
            Ok((listener, Removed(None)))
        }
    }
}

/// A socket that a server left behind is removed; anything else that is there is kept.
fn remove_socket(path: &str) -> Outcome<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path)
            .map_err(|error| Failure::prefixed(format!("Failed to unlink socket {path}: "), error)),
        _ => Ok(()),
    }
}

fn listen_on_port(address: &str, port: &str) -> Outcome<Listener> {
    let unresolved = |reason: &str| {
        Failure::message(format!("address resolution failed for {address}:{port}: {reason}"))
    };
    let number: u16 =
        port.parse().map_err(|_| unresolved("Servname not supported for ai_socktype"))?;
    let found = std::net::ToSocketAddrs::to_socket_addrs(&(address, number));
    let found: Vec<_> = found.map_err(|_| unresolved("Name or service not known"))?.collect();
    Listener::tcp(&found[..]).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => Failure::prefixed("Failed to find an available port: ", error),
        _ => Failure::prefixed("Failed to bind socket: ", error),
    })
}
