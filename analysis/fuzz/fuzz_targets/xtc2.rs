//! Fuzzes the reading of LCLS-II streams.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lightrail_analysis::formats::fuzz::xtc2(bytes));
