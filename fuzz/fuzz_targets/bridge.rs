//! Passes the input of libFuzzer to the target `bridge`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::bridge(data));
