//! The kinds of detector and what is known of each without constants.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::frame::PixelType;

/// What a detector's raw pixels mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// PSI Jungfrau: bits 15:14 the gain stage, 13:0 the ADC (facts: `UtilsJungfrau.py` of slac-lcls/lcls2).
    Jungfrau,
    /// SLAC `ePix10ka`: bit 14 switched, 13:0 the ADC, seven gain modes with the pixel's configuration.
    Epix10ka,
    /// SLAC `ePix100`: one gain, 13:0 the ADC.
    Epix100,
    /// CSPAD: 14 bits in i16.
    Cspad,
    /// Rayonix: u16, a constant dark of 10.
    Rayonix,
    /// Eiger and Pilatus: counts; a negative count, and the largest number of an unsigned type, is a pixel not measured.
    Counts,
    /// Calibrated already: any pixel type, values as they are.
    Corrected,
}

impl Kind {
    /// The word of a trial.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Jungfrau => "jungfrau",
            Self::Epix10ka => "epix10ka",
            Self::Epix100 => "epix100",
            Self::Cspad => "cspad",
            Self::Rayonix => "rayonix",
            Self::Counts => "counts",
            Self::Corrected => "corrected",
        }
    }

    /// What `calibration.common_mode` may be.
    pub fn common_modes(self) -> &'static [u8] {
        match self {
            Self::Jungfrau | Self::Epix10ka | Self::Epix100 => &[0, 1, 2, 3, 4, 5, 6, 7],
            Self::Cspad => &[0, 1, 5],
            Self::Rayonix | Self::Counts | Self::Corrected => &[0],
        }
    }

    /// How many gains `calibration.gains` holds.
    pub fn gain_modes(self) -> usize {
        match self {
            Self::Jungfrau | Self::Epix10ka => 3,
            _ => 1,
        }
    }

    /// Gain modes of its constants.
    pub(super) fn modes(self) -> usize {
        match self {
            Self::Jungfrau => 3,
            Self::Epix10ka => 7,
            _ => 1,
        }
    }

    /// Whether a value is keV before it is anything else.
    pub(super) fn in_kev(self) -> bool {
        matches!(self, Self::Jungfrau | Self::Epix10ka | Self::Epix100)
    }

    /// Whether its pixels may be of this type.
    pub(crate) fn writes(self, pixels: PixelType) -> bool {
        match pixels {
            PixelType::U16 => self != Self::Cspad,
            _ => !matches!(self, Self::Jungfrau | Self::Epix10ka | Self::Epix100 | Self::Rayonix),
        }
    }

    /// The bits of a raw u16 that are the ADC.
    pub(super) fn adc_mask(self) -> u16 {
        match self {
            Self::Jungfrau | Self::Epix10ka | Self::Epix100 => 0x3fff,
            _ => 0xffff,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
