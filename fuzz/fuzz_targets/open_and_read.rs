//! See the body.

#![no_main]

#[path = "../bodies/open_and_read.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
