//! Fuzzes the reading of LCLS-I streams and small files.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lightrail_analysis::formats::fuzz::xtc(bytes));
