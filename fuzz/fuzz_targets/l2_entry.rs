//! See the body.

#![no_main]

#[path = "../bodies/l2_entry.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
