//! Text in and out: numbers, sizes, option lists, JSON, options of command lines.

mod dump;
mod getopt;
mod human;
mod json;
mod json_parse;
mod keyval;
mod number;
mod size;
mod strerror;

pub(crate) use dump::dump;
pub(crate) use getopt::{Arg, Operands, Opt, Parsed, Values, parse_options};
pub(crate) use human::human_size;
pub(crate) use json::Json;
pub(crate) use json_parse::parse_json;
pub(crate) use keyval::{asks_for_help, join_lists, parse_list, quote_commas};
pub(crate) use number::{parse_bool, parse_c_integer};
pub(crate) use size::{SizeError, parse_size};
pub(crate) use strerror::strerror;
