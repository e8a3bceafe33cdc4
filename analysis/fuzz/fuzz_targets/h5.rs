//! Fuzzes the reading of HDF5 files.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lightrail_analysis::formats::fuzz::h5(bytes));
