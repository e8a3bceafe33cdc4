//! Fuzzes the reading of CBF files.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lightrail_analysis::formats::fuzz::cbf(bytes));
