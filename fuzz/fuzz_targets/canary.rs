//! A planted bug that every fuzzer must find; see the body.

#![no_main]

#[path = "../bodies/canary.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
