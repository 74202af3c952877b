//! Helpers shared by the tests of the whole: the crash explorer and the fault explorer.
//!
//! ```text
//!   Config x Start --> Base (file, disk model)
//!   Program        --> Recorded (all that happened to the file, what is owed when)
//!                        --> every state that a cut can leave --> judge --> Violation
//! ```
//!
//! A [`Program`] prints as text that the program `crash` takes, so that every failure is one command
//! away.

#![forbid(unsafe_code)]

mod accepted;
mod base;
mod below;
mod config;
mod contents;
mod explorer;
mod fault_explorer;
mod fault_plan;
mod faulty_run;
mod features;
mod files;
mod judge;
mod judge_bitmaps;
mod layout;
mod listed;
pub mod long_faults;
mod long_options;
pub mod long_run;
mod moment;
mod name;
mod named;
mod noted;
mod op;
mod program;
mod recorded;
mod second_opinion;
mod session;
mod shape;
mod start;
pub mod twin;
mod unlocked;
mod violation;
mod whole_sectors;
mod witness;

pub use base::Base;
pub use below::{Below, Bytes, backing};
pub use config::Config;
pub use contents::{Reads, Stretch, for_each_stretch};
pub use explorer::{Depth, Explorer, Tally};
pub use fault_explorer::{FaultTally, explore_faults, explore_one_fault};
pub use fault_plan::FaultPlan;
pub use faulty_run::{Breach, Judged, Ran, count_calls, run_with_fault};
pub use features::{Feature, Features};
pub use files::{Files, Fixed};
pub use judge::{
    Found, expect_contents, expect_no_corruption, judge, judge_files, judge_files_reopened,
    judge_snapshots,
};
pub use layout::Layout;
pub use listed::{Listed, Presence, name};
pub use long_options::{each_option, number};
pub use moment::{Moment, Sharing};
pub use name::Name;
pub use named::{Sources, code_spans, document, table_rows, texts};
pub use noted::{Bits, Noted, Noting, Saved, Stored, bitmap_name, granularity};
pub use op::Op;
pub use program::Program;
pub use recorded::Recorded;
pub use second_opinion::SecondOpinion;
pub use session::{Session, is_refusal};
pub use shape::{Amend, Shape};
pub use start::Start;
pub use unlocked::{Key, key_change, passphrase};
pub use violation::Violation;
pub use whole_sectors::WholeSectors;
pub use witness::{Seen, Witness};
