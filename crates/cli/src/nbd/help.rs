//! Help and version.

use super::command_line::OPTIONS;
use crate::manual::{Manual, Page};
use crate::output_form::with_own;
use crate::{native, personality};

/// The version of the reference whose options these are.
const FOLLOWS: &str = "10.0.2";

/// What the program was called as.
pub(super) fn called() -> String {
    match personality::is_native() {
        true => format!("{} nbd", personality::name()),
        false => personality::name().to_owned(),
    }
}

/// The version of the reference under its name, because scripts decide by it what they may use.
pub(super) fn version() -> String {
    let own = env!("CARGO_PKG_VERSION");
    let first = match personality::is_native() {
        true => format!("{} version {own} (follows qemu-nbd {FOLLOWS})", called()),
        false => format!("{} {FOLLOWS} (Holstein {own})", called()),
    };
    format!("{first}\nLicensed under MIT or Apache-2.0\n")
}

const MANUAL: Manual = Manual {
    forms: &["FILE", "--list"],
    operands: &[("FILE", "the disk that is offered")],
    notes: &[
        "The server ends when its last client has left, or by SIGTERM, SIGINT or SIGHUP.",
        "With --output json an object on standard output says where clients can come, once they can, if \
         the server stays in the foreground.",
    ],
    examples: &[
        ("nbd --socket /run/disk.sock disk.qcow2", "offer a disk to one client on this machine"),
        (
            "nbd --persistent --shared 0 --read-only --export-name disk disk.qcow2",
            "to any number of clients, for reading",
        ),
        ("nbd --list --socket /run/disk.sock", "list what a server has"),
    ],
};

/// What help tells about it.
pub(crate) fn page() -> Page {
    Page {
        name: "nbd",
        summary: "offer a disk to clients of the NBD protocol",
        manual: &MANUAL,
        options: with_own(OPTIONS),
        common: Vec::new(),
        words: Vec::new(),
    }
}

/// How it is used.
pub(super) fn usage() -> String {
    if personality::is_native() {
        return native::page_help(&page());
    }
    let name = called();
    format!(
        "Usage: {name} [OPTIONS]... FILE
   or: {name} -L [OPTIONS]...
Offers a disk to clients of the NBD protocol.

Where:
  -k, --socket PATH         listen on a path, which is removed at the end
  -b, --bind ADDRESS        listen on an address (0.0.0.0)
  -p, --port PORT           listen on a port (10809)
  -e, --shared NUM          clients at a time (1); 0 is any number
  -t, --persistent          go on when the last client has left
      --handshake-limit N   seconds that a client may take to begin (10);
                            0 is for ever
      --fork                go to the background once clients can come
      --pid-file PATH       write the number of the process to a file
  -L, --list                list what the server at such a place has
  -v, --verbose             say how sessions end that end badly

What:
  -x, --export-name NAME    the name that clients ask for (the empty one)
  -D, --description TEXT    words about the export
  -o, --offset BYTES        begin at this byte of the disk
  -A, --allocation-depth    show in which layer data is
  -B, --bitmap NAME         show a dirty bitmap; may be repeated
  -r, --read-only           refuse writes
  -s, --snapshot            writes go to a temporary overlay
  -l, --load-snapshot SNAP  offer an internal snapshot: an ID, a name, or
                            snapshot.id=ID,snapshot.name=NAME
  -f, --format FMT          the format of the file; without it it is guessed
      --image-opts          the file is given as options of block drivers
  -n, --nocache             go past the page cache, as --cache none
      --cache MODE          the cache mode: none, writeback, writethrough,
                            directsync or unsafe
      --aio MODE            how requests are made: threads, native, io_uring
      --discard MODE        what becomes of discards: ignore or unmap
      --detect-zeroes MODE  what becomes of zeros: off, on or unmap
      --object OBJECT       define an object, such as a secret
      --tls-creds ID        speak TLS with these credentials, and nothing else
      --tls-authz ID        rules about the names of clients that may come in
      --tls-hostname NAME   with -L, the name in the server's certificate
  -T, --trace SPEC          accepted with a warning: there are no trace events
  -h, --help                show this text and exit
  -V, --version             show the version and exit
"
    )
}
