//! The stages an image goes through: calibrate, find spots, decide. Pure: no file, no clock, no Kafka.
//!
//! [`Chain::compile`] makes tables of a trial once, [`Chain::process`] takes images through them. Later stages (indexing,
//! integration) take an [`Outcome`] and the same chain.

mod chain;
mod components;
pub mod dispersion;
mod hands;
mod hit;
mod pass;
pub mod peakfinder8;
pub(crate) mod places;
mod powder;
mod regions;
mod rings;
mod statistics;
#[cfg(test)]
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::float_cmp
)] // made-up numbers are small
mod tests;
mod tiles;

pub use crate::simd::Level;
pub use chain::{Chain, ChainError, ChainHash, ImageError, Workspace};
pub use hit::{Reason, Seen};
pub use powder::{Powder, Powders};
pub use regions::Regions;
pub use rings::Rings;

/// A spot. Coordinates count in the data array of its panel, whole numbers are pixel centres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spot {
    /// Panel of the data array.
    pub panel: u16,
    /// Centroid along a row, pixels.
    pub fast: f32,
    /// Centroid along a column, pixels.
    pub slow: f32,
    /// Sum over its pixels above the background, calibrated units.
    pub intensity: f32,
    /// Its largest pixel above the background, calibrated units.
    pub peak: f32,
    /// The background per pixel, calibrated units.
    pub background: f32,
    /// The background's standard deviation per pixel, calibrated units.
    pub sigma: f32,
    /// Intensity over sigma, as peakfinder8 defines it (per pixel, not per sum).
    pub snr: f32,
    /// How many pixels it has.
    pub pixels: u32,
    /// Its resolution, angstrom; not a number where photon energy or distance are not known.
    pub resolution: f32,
}

/// What came of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Whether it is a hit.
    pub hit: bool,
    /// Why it is none; nothing for a hit.
    pub reason: Option<Reason>,
    /// All its spots, those outside the hit's resolution window too, in the order of the data array.
    pub spots: Vec<Spot>,
    /// How many of them lie in the hit's resolution window.
    pub counted: usize,
    /// Angstrom that nine of ten spots do not exceed in fineness; `None` with fewer than ten or unknown energy or distance.
    pub resolution: Option<f32>,
    /// Good pixels at their detector's upper end.
    pub saturated: u32,
    /// How full the fullest pixel within one of a spot's centre is, 1 from saturation on; `None` without spots or where the
    /// detector's level is not known.
    pub saturation: Option<f32>,
    /// Sum over good pixels, calibrated units.
    pub total: f64,
    /// Mean value per ring ([`Chain::profile_radii`]), calibrated units; not a number for a ring without pixels.
    pub profile: Vec<f32>,
    /// The photon energy used, eV.
    pub photon_energy: Option<f64>,
    /// The distance used, metres.
    pub distance: Option<f64>,
}
