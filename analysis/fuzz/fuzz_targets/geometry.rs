//! Fuzzes the reading of geometry files of CrystFEL and psana.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lightrail_analysis::formats::fuzz::geometry(bytes));
