//! From a value to its part of a colour scale: ends by percentiles, so that hot pixels do not set them, and a ramp that shows
//! noise and Bragg peaks at once. Pure.

use std::fmt;
use std::str::FromStr;

use super::ticks;

/// How values are spread over the ramp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spread {
    /// Linear near zero, logarithmic above the noise (inverse hyperbolic sine); negative values are shown as what they are.
    #[default]
    Asinh,
    /// Logarithmic; what is not positive has the lowest colour.
    Log,
    /// Proportional.
    Linear,
}

impl FromStr for Spread {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "asinh" => Ok(Self::Asinh),
            "log" => Ok(Self::Log),
            "linear" => Ok(Self::Linear),
            _ => Err(format!("`{text}` is no scale: asinh, log or linear")),
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asinh => "asinh",
            Self::Log => "log",
            Self::Linear => "linear",
        })
    }
}

/// The two ends of a scale, the lower first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ends {
    /// Values at and below have the lowest colour.
    pub low: f32,
    /// Values at and above have the highest.
    pub high: f32,
}

impl FromStr for Ends {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let two = text.split_once("..").and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?)));
        match two {
            Some((low, high)) if f32::is_finite(low) && f32::is_finite(high) && low < high => {
                Ok(Self { low, high })
            }
            _ => Err(format!("`{text}` is no range: two numbers, the lower first, such as -10..500")),
        }
    }
}

/// A colour scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    ends: Ends,
    spread: Spread,
    /// Where the inverse hyperbolic sine turns from linear to logarithmic.
    knee: f32,
    /// Whether values lie below and above.
    beyond: (bool, bool),
}

/// The part of the pixels that may lie below and above the ends.
const LOW: f64 = 0.005;
const HIGH: f64 = 0.9999;

impl Scale {
    /// The scale of some values; those that are not finite do not count. `ends` instead of percentiles where given.
    pub fn of(values: impl IntoIterator<Item = f32>, spread: Spread, ends: Option<Ends>) -> Self {
        let mut all: Vec<f32> = values.into_iter().filter(|v| v.is_finite()).collect();
        if all.is_empty() {
            all.push(0.0);
        }
        let mut at = |part: f64| {
            let place = ((all.len() - 1) as f64 * part).round() as usize;
            *all.select_nth_unstable_by(place, f32::total_cmp).1
        };
        let (least, most) = (at(0.0), at(1.0));
        let (low, high) = (at(LOW), at(HIGH));
        // Half the width of the middle two thirds: the noise, whatever the peaks are.
        let noise = (at(0.841) - at(0.159)) / 2.0;
        let middle = at(0.5);
        let found = ends.unwrap_or_else(|| {
            // Sparse data (photons): nearly all pixels are alike, and the percentile would hide what there is.
            let high = if high - middle > 5.0 * noise.max(f32::MIN_POSITIVE) { high } else { at(0.99999) };
            let high = if high > low { high } else { most };
            Ends { low, high }
        });
        let ends = if found.low < found.high {
            found
        } else {
            Ends { low: found.low, high: found.low + found.low.abs().max(1.0) }
        };
        let ends = match spread {
            Spread::Log if ends.low <= 0.0 => {
                let positive = if noise > 0.0 { noise.min(ends.high / 10.0) } else { ends.high / 1000.0 };
                let high = if ends.high > 0.0 { ends.high } else { 1.0 };
                Ends { low: positive.max(high * 1e-6), high }
            }
            _ => ends,
        };
        let knee = if noise > 0.0 { 3.0 * noise } else { (ends.high - ends.low) / 30.0 };
        Self { ends, spread, knee, beyond: (least < ends.low, most > ends.high) }
    }

    /// Its ends.
    pub fn ends(self) -> Ends {
        self.ends
    }

    /// Whether there are values below its lower and above its upper end.
    pub fn beyond(self) -> (bool, bool) {
        self.beyond
    }

    /// How it is spread.
    pub fn spread(self) -> Spread {
        self.spread
    }

    fn bent(self, v: f32) -> f32 {
        match self.spread {
            Spread::Asinh => (v / self.knee).asinh(),
            Spread::Log => v.max(f32::MIN_POSITIVE).ln(),
            Spread::Linear => v,
        }
    }

    /// From 0 at the lower end to 1 at the upper; clamped.
    pub fn part(self, v: f32) -> f32 {
        let (low, high) = (self.bent(self.ends.low), self.bent(self.ends.high));
        ((self.bent(v) - low) / (high - low)).clamp(0.0, 1.0)
    }

    /// Values to be written beside the scale, and the part of it where each stands.
    pub fn ticks(self) -> Vec<(f64, f64)> {
        let (low, high) = (f64::from(self.ends.low), f64::from(self.ends.high));
        let candidates = match self.spread {
            Spread::Linear => vec![ticks::round(low, high, 6)],
            Spread::Asinh | Spread::Log => ticks::decades(low, high),
        };
        // The roundest first; what would stand too near to one that is there is left out.
        let mut taken: Vec<(f64, f64)> = Vec::new();
        for value in candidates.into_iter().flatten() {
            let part = f64::from(self.part(value as f32));
            if taken.iter().all(|(_, other)| (part - other).abs() > 0.055) {
                taken.push((value, part));
            }
        }
        taken.sort_by(|a, b| a.1.total_cmp(&b.1));
        taken
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_few_hot_pixels_do_not_set_the_scale() {
        let mut values: Vec<f32> = (0..100_000).map(|i| (i % 101) as f32 - 50.0).collect();
        let before = Scale::of(values.iter().copied(), Spread::Asinh, None);
        values[77] = 1e9;
        values[78] = -1e9;
        let after = Scale::of(values.iter().copied(), Spread::Asinh, None);
        assert_eq!(before.ends(), after.ends());
        assert_eq!((before.beyond().1, after.beyond()), (false, (true, true)));
    }

    #[test]
    fn photons_here_and_there_are_seen() {
        let values = (0..100_000).map(|i| if i % 1000 == 0 { 40.0 } else { 0.0 });
        let scale = Scale::of(values, Spread::Asinh, None);
        assert_eq!(scale.ends(), Ends { low: 0.0, high: 40.0 });
        let nothing = Scale::of([0.0; 10], Spread::Log, None);
        assert!(nothing.part(0.0) >= 0.0 && nothing.part(1.0) <= 1.0);
    }

    #[test]
    fn ranges_are_two_numbers() {
        assert_eq!("-10..500".parse(), Ok(Ends { low: -10.0, high: 500.0 }));
        for bad in ["", "1", "5..1", "1..1", "a..2", "1..inf", "1..NaN"] {
            assert!(bad.parse::<Ends>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn more_is_never_shown_as_less(
            values in proptest::collection::vec(-1e6_f32..1e6, 1..200), a in -2e6_f32..2e6, b in -2e6_f32..2e6, log: bool,
        ) {
            for spread in [Spread::Asinh, if log { Spread::Log } else { Spread::Linear }] {
                let scale = Scale::of(values.iter().copied(), spread, None);
                let (less, more) = (scale.part(a.min(b)), scale.part(a.max(b)));
                prop_assert!(less <= more && less >= 0.0 && more <= 1.0, "{scale:?} {less} {more}");
                let ends = [scale.ends().low, scale.ends().high].map(|end| scale.part(end));
                prop_assert!(ends[0] <= 0.0 && ends[1] >= 1.0, "{ends:?}");
                let ticks = scale.ticks();
                prop_assert!(ticks.windows(2).all(|two| two[0].1 < two[1].1 && two[0].0 < two[1].0), "{ticks:?}");
            }
        }
    }
}
