//! A trial: one set of analysis parameters with a number, typed, checked whole, never changed once used.
//!
//! [`Parameters`] is what a trial says; [`KEYS`] documents every key with its unit, range and default, and is what a file is
//! checked against before it becomes types. No file is opened here, nothing is sent.

mod check;
mod keys;
mod runs;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use check::{Fault, TrialError};
pub use keys::{KEYS, Key, Range};
pub use runs::Runs;

use crate::detectors::Kind;

/// An example of a whole trial, the one that the tests check.
pub const EXAMPLE: &str = include_str!("trial/example.toml");

/// What a trial says: everything that decides what an image's result is, and nothing else.
///
/// Made by [`Parameters::from_toml`] or [`Parameters::from_json`], which refuse an unknown key and a value out of range.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// `live`: whether new runs are worked under this trial; the highest such trial of an experiment is taken.
    #[serde(default)]
    pub live: bool,
    /// `time_limit`: seconds one image may take before its result is `timeout`.
    #[serde(default = "defaults::time_limit")]
    pub time_limit: f64,
    /// `[detector]`.
    pub detector: Detector,
    /// `[calibration]`.
    #[serde(default)]
    pub calibration: Calibration,
    /// `[[constants]]`: calibration constants per range of runs; of all files that hold a run, the first that has a constant
    /// counts for it.
    #[serde(default)]
    pub constants: Vec<Input>,
    /// `[[masks]]`: masks per range of runs; all that hold a run are combined.
    #[serde(default)]
    pub masks: Vec<Input>,
    /// `[[geometry]]`: geometry per range of runs; the first that holds a run counts.
    #[serde(default)]
    pub geometry: Vec<Input>,
    /// `[spots]`: how spots are found.
    #[serde(default)]
    pub spots: SpotFinder,
    /// `[hit]`: when an image is a hit.
    #[serde(default)]
    pub hit: HitRule,
    /// `[profile]`.
    #[serde(default)]
    pub profile: Profile,
    /// `[powder]`.
    #[serde(default)]
    pub powder: Powder,
}

/// Which detector of the data is worked, and what it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detector {
    /// Its name in the data, such as `jungfrau` or `CxiDs1`.
    pub name: String,
    /// What its raw pixels mean.
    pub kind: Kind,
    /// eV, where the data say none for a shot; also the energy that makes photons of keV.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub photon_energy: Option<f64>,
    /// Metres from the interaction point, where the data say none; the geometry's own where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance: Option<f64>,
}

/// From raw pixels to values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Calibration {
    /// What a value counts: `native` (keV for Jungfrau, ePix10ka and ePix100, ADU for CSPAD and Rayonix, counts) or `photon`.
    pub unit: Unit,
    /// Common mode, bits: 1 rows per bank, 2 columns per half panel, 4 whole banks (Jungfrau, ePix); for CSPAD the algorithm,
    /// 1 or 5; 0 none.
    pub common_mode: u8,
    /// The largest common mode that is taken away; a larger one is not applied.
    pub common_mode_max: f64,
    /// ADU per keV (counts per value for count detectors) in place of the constants' own, one per gain mode: 3 for Jungfrau
    /// (G0, G1, G2), 3 for ePix10ka (high, medium, low), 1 for the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gains: Option<Vec<f64>>,
    /// Raw pixels below this count as not measured in that image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_raw: Option<f64>,
    /// Raw pixels at or above this are saturated; the detector's own level where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saturation: Option<f64>,
    /// Pixels at a panel's (ASIC's) edge that are not used.
    pub edge: u8,
    /// Whether the four neighbours of a bad pixel are not used either.
    pub neighbours: bool,
}

impl Default for Calibration {
    fn default() -> Self {
        Self {
            unit: Unit::Native,
            common_mode: 0,
            common_mode_max: 100.0,
            gains: None,
            min_raw: None,
            saturation: None,
            edge: 0,
            neighbours: false,
        }
    }
}

/// What a calibrated value counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// What the constants give: keV, ADU or counts.
    #[default]
    Native,
    /// Photons of `detector.photon_energy`.
    Photon,
}

/// A file that a trial needs, for a range of runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// For which runs, such as `12-end`; all where left out.
    #[serde(default)]
    pub runs: Runs,
    /// Where it lies.
    pub path: String,
    /// What it must be.
    pub sha256: Sha256,
}

/// A SHA-256 checksum: 64 hexadecimal digits, kept in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256(String);

impl Sha256 {
    /// The checksum of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        use std::fmt::Write as _;
        let mut digits = String::with_capacity(64);
        for byte in sha2::Sha256::digest(bytes) {
            // Writing into a String cannot fail.
            let _ = write!(digits, "{byte:02x}");
        }
        Self(digits)
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Sha256 {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(format!("`{text}` is no SHA-256 checksum: 64 hexadecimal digits, as `sha256sum` prints them"))
        }
    }
}

impl TryFrom<String> for Sha256 {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Sha256> for String {
    fn from(sum: Sha256) -> Self {
        sum.0
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How spots are found: `[spots.peakfinder8]` or `[spots.dispersion]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpotFinder {
    /// Radial statistics, thresholds, connected pixels, local background.
    Peakfinder8(Peakfinder8),
    /// Variance over mean in a small window.
    Dispersion(Dispersion),
}

impl Default for SpotFinder {
    fn default() -> Self {
        Self::Peakfinder8(Peakfinder8::default())
    }
}

/// Parameters of [`crate::pipeline::peakfinder8`], named as in `CrystFEL`, OM and psana.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Peakfinder8 {
    /// No pixel at or below this value belongs to a spot (calibrated units).
    pub threshold: f32,
    /// Least signal over noise of a pixel above its ring, and of a spot above its surroundings.
    pub snr: f32,
    /// Fewest pixels of a spot.
    pub min_pixels: u32,
    /// Most pixels of a spot.
    pub max_pixels: u32,
    /// Half the radius of the disc around a spot whose pixels are its background, pixels.
    pub local_bg_radius: u32,
    /// Most spots of an image: the strongest are kept.
    pub max_spots: usize,
    /// Pixels nearer to the beam than this are not looked at (pixels).
    pub min_res: u32,
    /// Pixels farther from the beam than this are not looked at (pixels).
    pub max_res: u32,
}

impl Default for Peakfinder8 {
    fn default() -> Self {
        Self {
            threshold: 10.0,
            snr: 5.0,
            min_pixels: 2,
            max_pixels: 200,
            local_bg_radius: 3,
            max_spots: 2048,
            min_res: 0,
            max_res: 65_000,
        }
    }
}

/// Parameters of [`crate::pipeline::dispersion`], named as in DIALS.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dispersion {
    /// `dispersion_extended` (the default of DIALS) or plain `dispersion`.
    pub extended: bool,
    /// Value per photon: variance over mean of a flat background.
    pub gain: f32,
    /// Standard deviations by which variance over mean must exceed that of a flat background.
    pub sigma_b: f32,
    /// Standard deviations by which a pixel must exceed its background.
    pub sigma_s: f32,
    /// Half width of the window: 3 is 7 x 7 pixels.
    pub kernel: u32,
    /// Fewest valid pixels of a window.
    pub min_count: u32,
    /// No pixel at or below this value belongs to a spot (calibrated units).
    pub threshold: f32,
    /// Fewest pixels of a spot.
    pub min_spot: u32,
    /// Most pixels of a spot.
    pub max_spot: u32,
    /// Most spots of an image: the strongest are kept.
    pub max_spots: usize,
    /// Read-out noise (calibrated units), added in square to the variance that a flat background may have.
    pub noise: f32,
}

impl Default for Dispersion {
    fn default() -> Self {
        Self {
            extended: true,
            gain: 1.0,
            sigma_b: 6.0,
            sigma_s: 3.0,
            kernel: 3,
            min_count: 2,
            threshold: 0.0,
            min_spot: 3,
            max_spot: 1000,
            max_spots: 2048,
            noise: 0.0,
        }
    }
}

/// When an image is a hit: all that is said must hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HitRule {
    /// Fewest spots (of those in the resolution window).
    pub min_spots: usize,
    /// Most spots; a shot of salt or ice has more.
    pub max_spots: usize,
    /// Only spots at least this fine count, angstrom: the coarse end of the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coarsest: Option<f64>,
    /// Only spots at most this fine count, angstrom: the fine end of the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finest: Option<f64>,
    /// The image's resolution estimate must be this good, angstrom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolution: Option<f64>,
    /// Least total intensity of the image (calibrated units).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_total: Option<f64>,
    /// Largest total intensity of the image (calibrated units).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_total: Option<f64>,
}

impl Default for HitRule {
    fn default() -> Self {
        Self {
            min_spots: 16,
            max_spots: 5000,
            coarsest: None,
            finest: None,
            resolution: None,
            min_total: None,
            max_total: None,
        }
    }
}

/// The radial profile of each result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Profile {
    /// Rings of equal width from the beam to the farthest good pixel.
    pub rings: usize,
}

impl Default for Profile {
    fn default() -> Self {
        Self { rings: 64 }
    }
}

/// Virtual powders: sums of images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Powder {
    /// Whether hits are summed.
    pub hits: bool,
    /// Of so many misses one is summed; 0 none.
    pub misses_every: u32,
}

impl Default for Powder {
    fn default() -> Self {
        Self { hits: true, misses_every: 100 }
    }
}

mod defaults {
    pub(super) fn time_limit() -> f64 {
        10.0
    }
}
