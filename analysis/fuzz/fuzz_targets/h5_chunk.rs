//! Fuzzes the reading of stored HDF5 chunks.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lightrail_analysis::formats::fuzz::h5_chunk(bytes));
