//! A client's bytes, read by the engine and by the oracle.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: smartstack_fuzz::oracle::check(),
    |bytes: &[u8]| smartstack_fuzz::differential::request(bytes)
);
