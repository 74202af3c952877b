//! Twin images: the same requests made of Holstein and of the reference programs, each on an image of
//! its own, and all that can be seen compared.
//!
//! ```text
//!   Row, seed --> Script: steps          a step is a request, or the two images change places
//!   Twin: [Place; 2] x [Side; 2]         ours: the library, or our program; theirs: QEMU's
//!     --> after each stretch: disks, snapshots, checks, each image read by both
//! ```
//!
//! What QEMU is known to get wrong is listed in [`Known`], and there alone.

mod bitmap_op;
mod bitmaps;
mod bits;
mod change;
mod known;
mod library;
mod long;
mod lower;
mod opening;
mod pair;
mod place;
mod row;
mod rows;
mod script;
mod shrink;
mod side;
mod step;
mod templates;
mod tools;

pub use bitmap_op::{BitmapOp, bitmap_name};
pub use bits::{Bitmap, Bits};
pub use change::Change;
pub use known::{Facts, Known};
pub use library::Library;
pub use long::{LongTwin, TwinOutcome, run};
pub use lower::{Lower, Lowers};
pub use pair::{Pair, TwinTally};
pub use place::Place;
pub use row::{BackingFormat, BackingRow, BackingSize, DataRow, Encryption, Row};
pub use script::steps;
pub use shrink::shrink;
pub use side::{Answer, Side};
pub use step::{Step, parse_steps, print_steps};
pub use tools::Tools;
