//! A backend's bytes as the head of an answer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| smartstack_fuzz::response_head(bytes));
