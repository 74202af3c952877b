//! See the body.

#![no_main]

#[path = "../bodies/luks_header.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
