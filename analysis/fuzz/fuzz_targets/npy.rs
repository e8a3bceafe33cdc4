//! Fuzzes the reading of NumPy arrays and texts of numbers.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lightrail_analysis::formats::fuzz::npy(bytes));
