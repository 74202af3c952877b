//! See the body.

#![no_main]

#[path = "../bodies/bitmap_directory.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
