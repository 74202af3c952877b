//! `help`, and the longer texts about commands.

use super::session::Session;
use super::table::{COMMANDS, find};
use super::{Failed, Outcome};
use crate::out::{self, say};

/// `help`: all commands in a line each, or more about one.
pub(super) fn help(_session: &mut Session, words: &[&str]) -> Outcome {
    let Some(name) = words.get(1) else {
        for command in COMMANDS {
            out::text(&command.one_line(command.name));
        }
        out::text("\nUse 'help commandname' for extended help.\n");
        return Ok(());
    };
    let Some(command) = find(name) else {
        say!("command {name} not found\n");
        return Err(Failed);
    };
    out::text(&command.one_line(name));
    out::text(command.help.unwrap_or(""));
    Ok(())
}

/// More about `read`.
pub(super) const READ: &str = "
 Reads LEN bytes at OFF; for instance 'read -v 512 1k' shows the third and
 fourth sector.
 -b, -- read the VM state instead of the disk
 -C, -- report as values with commas: bytes,ops,time,bytes/s,ops/s
 -l, -- with -P: how many bytes have to match
 -p, -- accepted, without effect
 -P, -- fail unless every byte is this one
 -q, -- no report
 -r, -- accepted, without effect on the result
 -s, -- with -P: where in the bytes read the match begins
 -v, -- show the bytes

";

/// More about `readv`.
pub(super) const READV: &str = "
 Reads into several buffers, one for each LEN; for instance 'readv -v 512 1k 1k'
 shows two KiB.
 -C, -- report as values with commas: bytes,ops,time,bytes/s,ops/s
 -P, -- fail unless every byte is this one
 -q, -- no report
 -r, -- accepted, without effect on the result
 -v, -- show the bytes

";

/// More about `write`.
pub(super) const WRITE: &str = "
 Writes LEN bytes at OFF, each of them 0xcd where nothing else is asked for; for
 instance 'write -P 0x5a 512 1k'.
 -b, -- write the VM state instead of the disk
 -c, -- write a compressed cluster (not available in this version)
 -C, -- report as values with commas: bytes,ops,time,bytes/s,ops/s
 -f, -- durable on return
 -n, -- with -z: fail where zeros would have to be written as data
 -p, -- accepted, without effect
 -P, -- write this byte
 -q, -- no report
 -r, -- accepted, without effect on the result
 -s, -- write the bytes of this file, over and over
 -u, -- with -z: the space may be given back
 -z, -- write zeroes

";

/// More about `writev`.
pub(super) const WRITEV: &str = "
 Writes from several buffers, one for each LEN; for instance 'writev 512 1k 1k'
 writes two KiB.
 -C, -- report as values with commas: bytes,ops,time,bytes/s,ops/s
 -f, -- durable on return
 -P, -- write this byte
 -q, -- no report
 -r, -- accepted, without effect on the result

";

/// More about `aio_read`.
pub(super) const AIO_READ: &str = "
 Starts a read and returns; the report comes when it is done. The command itself
 succeeds once the read was started, whatever comes of it. 'aio_flush' waits.
 -C, -- report as values with commas: bytes,ops,time,bytes/s,ops/s
 -i, -- only say that an invalid request was made
 -P, -- compare every byte with this one
 -q, -- no report
 -r, -- accepted, without effect on the result
 -v, -- show the bytes

";

/// More about `aio_write`.
pub(super) const AIO_WRITE: &str = "
 Starts a write and returns; the report comes when it is done. The command itself
 succeeds once the write was started, whatever comes of it. 'aio_flush' waits.
 -C, -- report as values with commas: bytes,ops,time,bytes/s,ops/s
 -f, -- durable when it is done
 -i, -- only say that an invalid request was made
 -P, -- write this byte
 -q, -- no report
 -r, -- accepted, without effect on the result
 -u, -- with -z: the space may be given back
 -z, -- write zeroes

";

/// More about `discard`.
pub(super) const DISCARD: &str = "
 Gives LEN bytes at OFF back; what they read as afterwards depends on the format.
 -C, -- report as values with commas: bytes,ops,time,bytes/s,ops/s
 -q, -- no report

";

/// More about `open`.
pub(super) const OPEN: &str = "
 Opens a file for the commands that follow; for instance
 'open -n -o driver=qcow2 disk.img' opens a qcow2 image past the page cache.
 -r, -- for reading only
 -s, -- writes go to a temporary overlay
 -C, -- keep what is read from a backing file in the image
 -n, -- past the page cache, as -t none
 -U, -- share the file with whoever has it locked
 -k, -- as -i native
 -i, -- how requests are made: threads, native or io_uring
 -t, -- the cache mode: none, writeback, writethrough, directsync or unsafe
 -d, -- what becomes of discards: ignore (off) or unmap (on)
 -o, -- options of the block driver, KEY=VALUE and so on

";

/// More about `reopen`.
pub(super) const REOPEN: &str = "
 Opens the open image in another way; for instance 'reopen -o lazy-refcounts=on'.
 -r, -- for reading only
 -w, -- for writing
 -c, -- the cache mode, as -t of 'open'
 -o, -- options of the block driver, as -o of 'open'

";

/// More about `sigraise`.
pub(super) const SIGRAISE: &str = "
 Sends the program a signal by its number; for instance 'sigraise 9' kills it.

";
