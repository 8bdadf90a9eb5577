//! Bytes as a body in chunks.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| smartstack_fuzz::chunks(bytes));
