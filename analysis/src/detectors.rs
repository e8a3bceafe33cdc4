//! What each detector's raw pixels mean: tables compiled once per trial, kernels that apply them. No input or output.
