//! Every key of a trial: its range, default and meaning. What people read, and what a file is checked against.

/// The values a key may have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Range {
    /// A number from the first to the second, both included.
    Number(f64, f64),
    /// A whole number from the first to the second, both included.
    Whole(u64, u64),
    /// Numbers, each from the first to the second.
    Numbers(f64, f64),
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Any text that is not empty.
    Text,
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(low, high) => write!(f, "{low} to {high}"),
            Self::Whole(low, high) => write!(f, "whole, {low} to {high}"),
            Self::Numbers(low, high) => write!(f, "[{low} to {high}, ...]"),
            Self::Flag => f.write_str("true or false"),
            Self::Word(words) => f.write_str(&words.join(" | ")),
            Self::Text => f.write_str("text"),
        }
    }
}

/// One key of a trial.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its place, such as `spots.peakfinder8.snr`; of a list without the number.
    pub path: &'static str,
    /// What it may be.
    pub range: Range,
    /// What it is where left out, in words.
    pub default: &'static str,
    /// What it decides, with its unit.
    pub about: &'static str,
}

const fn key(path: &'static str, range: Range, default: &'static str, about: &'static str) -> Key {
    Key { path, range, default, about }
}

use Range::{Flag, Number, Numbers, Text, Whole, Word};

/// All keys, in the order of the documentation.
pub const KEYS: &[Key] = &[
    key("live", Flag, "false", "new runs are worked under this trial; the highest such one counts"),
    key("time_limit", Number(0.1, 3600.0), "10", "seconds one image may take; then its result is `timeout`"),
    key("detector.name", Text, "none", "the detector's name in the data"),
    key(
        "detector.kind",
        Word(&["jungfrau", "epix10ka", "epix100", "cspad", "rayonix", "counts", "corrected"]),
        "none",
        "what its raw pixels mean",
    ),
    key("detector.photon_energy", Number(100.0, 200_000.0), "none", "eV, where the data say none for a shot"),
    key(
        "detector.distance",
        Number(0.001, 100.0),
        "the geometry's",
        "metres from the interaction point, where the data say none",
    ),
    key("calibration.unit", Word(&["native", "photon"]), "native", "what a calibrated value counts"),
    key(
        "calibration.common_mode",
        Whole(0, 7),
        "0",
        "bits: 1 rows per bank, 2 columns per half panel, 4 whole banks; CSPAD: the algorithm, 1 or 5; 0 none",
    ),
    key(
        "calibration.common_mode_max",
        Number(0.0, 16384.0),
        "100",
        "ADU; a larger common mode is not applied",
    ),
    key("calibration.gains", Numbers(-1e6, 1e6), "the constants'", "ADU per keV, one per gain mode"),
    key(
        "calibration.min_raw",
        Number(-1e9, 1e9),
        "none",
        "a raw pixel below this is not measured in that image",
    ),
    key(
        "calibration.saturation",
        Number(1.0, 4.3e9),
        "the detector's",
        "a raw pixel at or above this is saturated",
    ),
    key("calibration.edge", Whole(0, 16), "0", "pixels at the edge of each panel that are not used"),
    key("calibration.neighbours", Flag, "false", "the four neighbours of a bad pixel are not used either"),
    key("constants.runs", Text, "all", "runs, such as 12, 12-20, 12-end"),
    key("constants.path", Text, "none", "where the calibration constants lie"),
    key("constants.sha256", Text, "none", "their checksum"),
    key("masks.runs", Text, "all", "runs, such as 12, 12-20, 12-end"),
    key("masks.path", Text, "none", "where the mask lies"),
    key("masks.sha256", Text, "none", "its checksum"),
    key("geometry.runs", Text, "all", "runs, such as 12, 12-20, 12-end"),
    key("geometry.path", Text, "none", "where the geometry lies"),
    key("geometry.sha256", Text, "none", "its checksum"),
    key(
        "spots.peakfinder8.threshold",
        Number(0.0, 1e9),
        "10",
        "no pixel at or below it belongs to a spot, calibrated units",
    ),
    key("spots.peakfinder8.snr", Number(1.0, 100.0), "5", "least signal over noise, of pixels and of spots"),
    key("spots.peakfinder8.min_pixels", Whole(1, 10_000), "2", "fewest pixels of a spot"),
    key("spots.peakfinder8.max_pixels", Whole(1, 10_000), "200", "most pixels of a spot"),
    key(
        "spots.peakfinder8.local_bg_radius",
        Whole(1, 20),
        "3",
        "half the radius of the background's disc, pixels",
    ),
    key(
        "spots.peakfinder8.max_spots",
        Whole(1, 100_000),
        "2048",
        "most spots of an image; the strongest are kept",
    ),
    key(
        "spots.peakfinder8.min_res",
        Whole(0, 65_000),
        "0",
        "pixels nearer to the beam are not looked at, pixels",
    ),
    key(
        "spots.peakfinder8.max_res",
        Whole(1, 65_000),
        "65000",
        "pixels farther from the beam are not looked at, pixels",
    ),
    key("spots.dispersion.extended", Flag, "true", "dispersion_extended, else plain dispersion"),
    key("spots.dispersion.gain", Number(1e-6, 1e6), "1", "value per photon, calibrated units"),
    key("spots.dispersion.sigma_b", Number(0.0, 1000.0), "6", "standard deviations of variance over mean"),
    key(
        "spots.dispersion.sigma_s",
        Number(0.0, 1000.0),
        "3",
        "standard deviations of a pixel over its background",
    ),
    key("spots.dispersion.kernel", Whole(1, 15), "3", "half width of the window, pixels"),
    key("spots.dispersion.min_count", Whole(2, 961), "2", "fewest valid pixels of a window"),
    key(
        "spots.dispersion.threshold",
        Number(0.0, 1e9),
        "0",
        "no pixel at or below it belongs to a spot, calibrated units",
    ),
    key("spots.dispersion.min_spot", Whole(1, 10_000), "3", "fewest pixels of a spot"),
    key("spots.dispersion.max_spot", Whole(1, 1_000_000), "1000", "most pixels of a spot"),
    key(
        "spots.dispersion.max_spots",
        Whole(1, 100_000),
        "2048",
        "most spots of an image; the strongest are kept",
    ),
    key("spots.dispersion.noise", Number(0.0, 1e6), "0", "read-out noise, calibrated units"),
    key("hit.min_spots", Whole(0, 100_000), "16", "fewest spots of a hit"),
    key("hit.max_spots", Whole(0, 100_000), "5000", "most spots of a hit"),
    key("hit.coarsest", Number(0.1, 10_000.0), "none", "angstrom; spots at lower resolution do not count"),
    key("hit.finest", Number(0.1, 10_000.0), "none", "angstrom; spots at higher resolution do not count"),
    key(
        "hit.resolution",
        Number(0.1, 10_000.0),
        "none",
        "angstrom; the image's estimate must be at least so fine",
    ),
    key("hit.min_total", Number(-1e18, 1e18), "none", "least total intensity, calibrated units"),
    key("hit.max_total", Number(-1e18, 1e18), "none", "largest total intensity, calibrated units"),
    key("profile.rings", Whole(1, 4096), "64", "rings of the radial profile of each result"),
    key("powder.hits", Flag, "true", "hits are summed into a virtual powder"),
    key("powder.misses_every", Whole(0, 1_000_000_000), "100", "of so many misses one is summed; 0 none"),
];
