//! Fuzzes the reading of LCLS-II small files that grow.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lightrail_analysis::formats::fuzz::smd(bytes));
