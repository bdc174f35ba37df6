//! Request heads, whole and in pieces; what must hold is stated in the crate.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| catamaran_http1::invariants::request_head(input));
