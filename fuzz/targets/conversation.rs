//! A client's bytes as a whole connection, in any packets.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| smartstack_fuzz::conversation(bytes));
