//! Passes the input of libFuzzer to the target `values`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::values(data));
