//! A client's bytes as the head of a request.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| smartstack_fuzz::request_head(bytes));
