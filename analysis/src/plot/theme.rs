//! The two looks of a figure, and the ramps from a value to a colour.
//!
//! A ramp runs through a few colours given in `OKLab` (Ottosson 2020), in which equal steps look equal, with lightness strictly
//! monotone: it can be read in grey and by people who do not tell red from green.

use std::fmt;
use std::str::FromStr;

use super::scene::Colour;

/// Light for paper, dark for a control room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Theme {
    /// Dark on light.
    #[default]
    Light,
    /// Light on dark.
    Dark,
}

impl FromStr for Theme {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "light" => Ok(Self::Light),
            "dark" => Ok(Self::Dark),
            _ => Err(format!("`{text}` is no theme: light or dark")),
        }
    }
}

impl fmt::Display for Theme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Light => "light",
            Self::Dark => "dark",
        })
    }
}

/// The colours of a theme, by what they are for.
#[derive(Clone, Copy, Debug)]
pub struct Palette {
    /// Behind everything.
    pub paper: Colour,
    /// Text and axes.
    pub ink: Colour,
    /// Less important text.
    pub faint: Colour,
    /// Lines of a grid.
    pub grid: Colour,
    /// Where a detector has no pixel.
    pub gap: Colour,
    /// Where a pixel is not used.
    pub masked: Colour,
    /// Resolution rings and what is written on them.
    pub ring: Colour,
    /// Around text on a picture.
    pub halo: Colour,
    /// Spots, hits, the first of two curves.
    pub first: Colour,
    /// Misses, the second of two curves.
    pub second: Colour,
    /// What went wrong.
    pub alarm: Colour,
}

impl Theme {
    /// Its colours.
    pub fn palette(self) -> Palette {
        match self {
            Self::Light => Palette {
                paper: Colour::rgb(0xff_ffff),
                ink: Colour::rgb(0x1c_1f26),
                faint: Colour::rgb(0x5f_6672),
                grid: Colour::rgb(0xe3_e6eb),
                gap: Colour::rgb(0xd3_d8df),
                masked: Colour::rgb(0xe9_dcc0),
                ring: Colour::rgb(0x0b_6e99),
                halo: Colour::rgb(0xff_ffff).alpha(225),
                first: Colour::rgb(0xd5_3a1f),
                second: Colour::rgb(0x2c_6fb0),
                alarm: Colour::rgb(0x9c_1c8a),
            },
            Self::Dark => Palette {
                paper: Colour::rgb(0x12_151b),
                ink: Colour::rgb(0xe8_eaee),
                faint: Colour::rgb(0x9a_a2b0),
                grid: Colour::rgb(0x2a_303a),
                gap: Colour::rgb(0x30_3743),
                masked: Colour::rgb(0x4a_4335),
                ring: Colour::rgb(0x7f_d4f5),
                halo: Colour::rgb(0x12_151b).alpha(215),
                first: Colour::rgb(0x5f_f0b0),
                second: Colour::rgb(0x8f_b8ff),
                alarm: Colour::rgb(0xff_7ac8),
            },
        }
    }

    /// The ramp of pictures: from the paper's side to the other.
    pub fn ramp(self) -> Ramp {
        // Lightness, chroma, hue in degrees.
        match self {
            Self::Light => Ramp::new(&[
                [0.995, 0.000, 250.0],
                [0.900, 0.030, 250.0],
                [0.740, 0.090, 255.0],
                [0.540, 0.150, 270.0],
                [0.380, 0.160, 290.0],
                [0.240, 0.110, 305.0],
                [0.100, 0.030, 310.0],
            ]),
            Self::Dark => Ramp::new(&[
                [0.060, 0.010, 280.0],
                [0.200, 0.080, 290.0],
                [0.360, 0.150, 315.0],
                [0.530, 0.190, 350.0],
                [0.680, 0.180, 35.0],
                [0.830, 0.150, 75.0],
                [0.980, 0.060, 105.0],
            ]),
        }
    }
}

/// From 0 to 1 to a colour.
#[derive(Clone, Debug)]
pub struct Ramp {
    table: Vec<[u8; 3]>,
}

/// Steps of a ramp: as many as fit, with the two colours of gaps and masks, into a picture of one byte per pixel.
const STEPS: usize = 254;

impl Ramp {
    /// Through colours of even distance.
    fn new(stops: &[[f64; 3]]) -> Self {
        let lab: Vec<[f64; 3]> =
            stops.iter().map(|[l, c, h]| [*l, c * h.to_radians().cos(), c * h.to_radians().sin()]).collect();
        let table = (0..STEPS).map(|step| {
            let at = step as f64 / (STEPS - 1) as f64 * (lab.len() - 1) as f64;
            let from = (at as usize).min(lab.len() - 2);
            let part = at - from as f64;
            let mixed = std::array::from_fn(|i| lab[from][i] + part * (lab[from + 1][i] - lab[from][i]));
            srgb(mixed)
        });
        Self { table: table.collect() }
    }

    /// The colour of a part of the range; what is outside is taken as its end.
    pub fn at(&self, part: f32) -> [u8; 3] {
        let step = (part.clamp(0.0, 1.0) * (STEPS - 1) as f32).round() as usize;
        self.table[step.min(STEPS - 1)]
    }
}

/// From `OKLab` to sRGB.
fn srgb([l, a, b]: [f64; 3]) -> [u8; 3] {
    let cubed = |v: f64| v * v * v;
    let long = cubed(l + 0.396_337_777_4 * a + 0.215_803_757_3 * b);
    let middle = cubed(l - 0.105_561_345_8 * a - 0.063_854_172_8 * b);
    let short = cubed(l - 0.089_484_177_5 * a - 1.291_485_548_0 * b);
    let linear = [
        4.076_741_662_1 * long - 3.307_711_591_3 * middle + 0.230_969_929_2 * short,
        -1.268_438_004_6 * long + 2.609_757_401_1 * middle - 0.341_319_396_5 * short,
        -0.004_196_086_3 * long - 0.703_418_614_7 * middle + 1.707_614_701_0 * short,
    ];
    linear.map(|v| {
        let v = v.clamp(0.0, 1.0);
        let v = if v <= 0.003_130_8 { 12.92 * v } else { 1.055 * v.powf(1.0 / 2.4) - 0.055 };
        (v * 255.0).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CIE luminance.
    fn luminance([r, g, b]: [u8; 3]) -> f64 {
        let linear = |v: u8| {
            let v = f64::from(v) / 255.0;
            if v <= 0.040_45 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
    }

    #[test]
    fn a_ramp_never_turns_back_in_lightness() {
        for theme in [Theme::Light, Theme::Dark] {
            let ramp = theme.ramp();
            let tones: Vec<f64> = (0..=256).map(|i| luminance(ramp.at(i as f32 / 256.0))).collect();
            let away = if theme == Theme::Dark { 1.0 } else { -1.0 };
            assert!(tones.windows(2).all(|two| away * (two[1] - two[0]) >= -2e-3), "{theme} {tones:?}");
            assert!((tones[256] - tones[0]).abs() > 0.8, "{theme} uses most of what the eye can tell");
            assert_eq!((ramp.at(-3.0), ramp.at(f32::INFINITY)), (ramp.at(0.0), ramp.at(1.0)));
        }
    }

    #[test]
    fn text_can_be_read_in_both_themes() {
        for theme in [Theme::Light, Theme::Dark] {
            let palette = theme.palette();
            let paper = luminance(palette.paper.rgb);
            for (colour, least) in [
                (palette.ink, 12.0),
                (palette.faint, 4.5),
                (palette.first, 4.0),
                (palette.second, 4.0),
                (palette.ring, 4.0),
            ] {
                let tone = luminance(colour.rgb);
                // WCAG 2 contrast.
                let contrast = (tone.max(paper) + 0.05) / (tone.min(paper) + 0.05);
                assert!(contrast >= least, "{theme} {colour} {contrast:.1}");
            }
        }
    }
}
