//! Speed of Holstein beside the bare file and qemu-img, in one table.
//!
//! Each row measures two sides in turn, round by round, in the order A B, B A, A B, so that whatever else
//! the machine does meets both. A figure is the median of its rounds; the ratio is the median of the
//! ratios within rounds, which a slow moment of the machine leaves alone. Offsets come from fixed
//! seeds and are the same on both sides.
//!
//! | module | owns |
//! |---|---|
//! | `measure` | rounds, medians, spread |
//! | `table` | rows as text and JSON |
//! | `rows` | what is measured |
//! | `qemu`, `raw_file` | the other sides |
//! | `scratch`, `offsets`, `machine`, `options` | files, seeds, the first line, arguments |

#![forbid(unsafe_code)]

mod machine;
mod measure;
mod offsets;
mod options;
mod qemu;
mod raw_file;
mod rows;
mod scratch;
mod table;

use std::process::ExitCode;

use anyhow::Result;

use crate::options::{Options, USAGE};
use crate::qemu::Qemu;
use crate::rows::Bench;
use crate::scratch::Scratch;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [command, rest @ ..] = args.as_slice()
        && command == rows::READS_CHILD
    {
        return finish(rows::reads_child(rest).map(|()| true));
    }
    match Options::parse(&args) {
        Ok(Some(options)) => finish(run(&options)),
        Ok(None) => {
            print!("{USAGE}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn finish(result: Result<bool>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures the rows that were asked for; `false` if one is below what it needs.
fn run(options: &Options) -> Result<bool> {
    let scratch = Scratch::new(options.dir.as_deref())?;
    let qemu = Qemu::find();
    let machine = machine::line(scratch.path(), qemu.as_ref());
    if !options.json {
        println!("{machine}");
        println!();
    }
    let bench = Bench { options, scratch: &scratch, qemu: qemu.as_ref().ok() };
    let lines = bench.run()?;
    let ok = lines.iter().all(|line| !line.is_missed());
    if options.json {
        println!("{}", table::json(&machine, &lines));
    } else {
        println!("{}", table::text(&lines));
    }
    Ok(ok)
}
