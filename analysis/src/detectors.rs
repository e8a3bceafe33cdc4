//! What each detector's raw pixels mean: tables compiled once per trial, kernels that apply them. No input or output.
//!
//! [`Constants`] are what files and the data's configuration give; [`Calibration::compile`] checks them against the data's
//! shape and makes one table of them. A value is keV (Jungfrau, `ePix10ka`, `ePix100`), ADU (CSPAD, Rayonix) or counts, and
//! photons where the trial asks for them.

mod calibration;
mod common_mode;
mod epix10ka;
mod kind;
mod mask;
mod steps;
#[cfg(test)]
mod tests;

pub use calibration::{Calibration, CalibrationError, Entry, PixelError};
pub use kind::Kind;
pub use mask::Mask;
pub(crate) use steps::{Code, Steps};

use crate::frame::Shape;

/// One kind of constant: a value per pixel for each gain mode, mode by mode, in the order of the data array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modes<T> {
    /// The data array that they belong to.
    pub shape: Shape,
    /// Gain modes.
    pub modes: usize,
    /// `modes * shape.len()` values.
    pub values: Vec<T>,
}

impl<T> Modes<T> {
    /// The values of one mode; the last mode's where there are fewer.
    pub fn of(&self, mode: usize) -> &[T] {
        let length = self.shape.len();
        let from = mode.min(self.modes.saturating_sub(1)) * length;
        &self.values[from..from + length]
    }
}

/// A detector's constants; which of them are needed its kind says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Constants {
    /// ADU of a pixel without light: Jungfrau 3 (G0, G1, G2), `ePix10ka` 7 (FH, FM, FL, `AHL_H`, `AML_M`, `AHL_L`, `AML_L`),
    /// the others 1.
    pub pedestals: Option<Modes<f32>>,
    /// ADU added to the pedestals, same modes.
    pub offsets: Option<Modes<f32>>,
    /// ADU per keV (Jungfrau, `ePix10ka`, `ePix100`), raw per value (the others), same modes; Jungfrau's G1 and G2 are negative.
    pub gains: Option<Modes<f32>>,
    /// Not zero where a pixel is bad in any mode.
    pub status: Option<Modes<u64>>,
    /// Per pixel what the detector was set to: `ePix10ka`, bits 2 and 3 of `asicPixelConfig` and bit 4 for the trbit.
    pub configuration: Option<Modes<u8>>,
}
