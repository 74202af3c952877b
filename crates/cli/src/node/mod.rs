//! From a name or an option tree to an open disk.
//!
//! A node is a driver with options over other nodes: `qcow2` over `file`, `raw` with a window over
//! `file`, and so on. [`open_layer`] opens the files of an image and finds its format, which is all
//! that inspecting commands need; [`open_disk`] goes on to a [`Disk`] that can be read and written.
//!
//! # Invariants
//! With a format given nothing is probed. Options that no driver knows are errors.

mod backing;
mod blkdebug;
mod cache;
mod chain;
mod data_file;
mod driver;
mod facts;
mod file_node;
mod filter;
mod generic;
mod header;
mod image_ref;
mod keep_space;
mod layer;
mod lock_wait;
mod luks;
mod nbd;
mod open;
mod options;
mod overlay;
mod policy;
mod probe;
mod protocol;
mod qcow2_options;

pub(crate) use backing::{ChainMembers, backing_name, check_protocol};
pub(crate) use blkdebug::{COR_WRITE, Debugger};
pub(crate) use cache::CacheMode;
pub(crate) use chain::OpenChain;
pub(crate) use driver::Driver;
pub(crate) use facts::QcowFacts;
pub(crate) use file_node::{FileNode, identity_of, open_error as open_file_error};
pub(crate) use generic::Generic;
pub(crate) use header::read_header;
pub(crate) use image_ref::ImageRef;
pub(crate) use layer::{Layer, open_layer};
pub(crate) use lock_wait::{WAIT, open_when_free, wait_for_locks, wait_silently};
pub(crate) use luks::volume_facts;
pub(crate) use nbd::{
    ExportStates, State, in_words as nbd_error, is_export, open_target as open_export,
};
pub(crate) use open::{check_fit, open_disk};
pub(crate) use options::{Options, parse_option_size};
pub(crate) use overlay::open_overlay;
pub(crate) use policy::choose_backing_policy;
pub(crate) use probe::{Probed, probe};
pub(crate) use protocol::{has_protocol, strip_file_protocol};
pub(crate) use qcow2_options::{QcowOptions, overlap_mask};

/// How a command opens an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenFlags {
    /// Open for writing; a node that cannot be written is an error.
    pub(crate) writable: bool,
    /// The default of the node option of that name: a file that forbids writing is opened for reading.
    pub(crate) auto_read_only: bool,
    /// Do not look at the locks of others (`-U`); only for reading.
    pub(crate) share: bool,
    /// The cache mode.
    pub(crate) cache: CacheMode,
    /// Guest discards go down to the file (`discard=unmap`).
    pub(crate) discard: bool,
    /// Open the chain of backing files; without it unallocated areas read as zeros.
    pub(crate) backing: bool,
}

impl OpenFlags {
    /// Reading, with the default cache mode and the backing chain.
    pub(crate) const READ: Self = Self {
        writable: false,
        auto_read_only: false,
        share: false,
        cache: CacheMode::WRITEBACK,
        discard: false,
        backing: true,
    };

    /// Writing, with the default cache mode, discards and the backing chain.
    pub(crate) const WRITE: Self = Self { writable: true, discard: true, ..Self::READ };
}
