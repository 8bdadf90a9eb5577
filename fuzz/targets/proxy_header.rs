//! Bytes as the beginning of a connection behind `accept-proxy`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| smartstack_fuzz::proxy_header(bytes));
