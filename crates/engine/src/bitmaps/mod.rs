//! Persistent dirty bitmaps of an open disk.
//!
//! ```text
//!   open for writing:  bits read | every entry marked in use, in place -> barrier
//!   write:             the request ends -> its range is set in memory, in every bitmap that records
//!   close:             bits, tables and a new directory to new clusters -> run -> barrier -> header -> barrier
//!                      -> the old ones are given up
//! ```
//!
//! A write that the file could know of comes after the first barrier, and a bitmap without the mark after
//! the last run: so a crash leaves bitmaps that hold, or such as say that they do not. Marking in
//! place needs no detour by the autoclear bit, as QEMU makes it: any part of it that a crash leaves is right.
//!
//! A bitmap in use, or of a kind that is not known, is kept in the file as it is; it is never used, and
//! it can be removed.
//!
//! # Spec
//! "Bitmaps"; rules C9, C12.

mod change;
mod file;
mod list;
mod open;
mod store;

pub use list::BitmapInfo;
pub(crate) use list::Bitmaps;
