//! Passes the input of libFuzzer to the target of this name.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::resolv_conf(data));
