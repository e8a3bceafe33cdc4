//! Whether an image is a hit, and its resolution: by spots, by resolution, by total intensity.

use std::fmt;

use super::Spot;
use crate::trial::HitRule;

/// Fewest spots from which a resolution is estimated.
const ENOUGH: usize = 10;

/// Why an image is no hit: the first rule that it fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reason {
    /// Fewer spots than `hit.min_spots`.
    FewSpots,
    /// More spots than `hit.max_spots`.
    ManySpots,
    /// Resolution estimate missing or coarser than `hit.resolution`.
    Coarse,
    /// Total intensity below `hit.min_total`.
    Dark,
    /// Total intensity above `hit.max_total`.
    Bright,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FewSpots => "few spots",
            Self::ManySpots => "many spots",
            Self::Coarse => "coarse",
            Self::Dark => "dark",
            Self::Bright => "bright",
        })
    }
}

/// What is seen of an image when it is decided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// Spots in the resolution window.
    pub counted: usize,
    /// Resolution estimate, angstrom.
    pub resolution: Option<f32>,
    /// Total intensity, calibrated units.
    pub total: f64,
}

impl HitRule {
    /// Whether a spot counts: inside the resolution window. Where a window is set, a spot without resolution does not.
    pub fn counts(&self, spot: &Spot) -> bool {
        let d = f64::from(spot.resolution);
        self.coarsest.is_none_or(|coarsest| d <= coarsest) && self.finest.is_none_or(|finest| d >= finest)
    }

    /// Nothing for a hit, else the first rule that fails.
    pub fn decide(&self, seen: Seen) -> Option<Reason> {
        let coarse = |limit: f64| seen.resolution.is_none_or(|resolution| f64::from(resolution) > limit);
        if seen.counted < self.min_spots {
            Some(Reason::FewSpots)
        } else if seen.counted > self.max_spots {
            Some(Reason::ManySpots)
        } else if self.resolution.is_some_and(coarse) {
            Some(Reason::Coarse)
        } else if self.min_total.is_some_and(|least| seen.total < least) {
            Some(Reason::Dark)
        } else if self.max_total.is_some_and(|most| seen.total > most) {
            Some(Reason::Bright)
        } else {
            None
        }
    }
}

/// Angstrom that nine of ten spots do not exceed in fineness; `None` with fewer than ten spots of known resolution.
pub(super) fn resolution(spots: &[Spot]) -> Option<f32> {
    let mut all: Vec<f32> = spots.iter().map(|spot| spot.resolution).filter(|d| d.is_finite()).collect();
    if all.len() < ENOUGH {
        return None;
    }
    let tenth = all.len() / 10;
    Some(*all.select_nth_unstable_by(tenth, f32::total_cmp).1)
}

#[cfg(test)]
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::float_cmp
)] // made-up numbers are small
mod tests {
    use super::*;

    fn spot(resolution: f32) -> Spot {
        Spot {
            panel: 0,
            fast: 0.0,
            slow: 0.0,
            intensity: 1.0,
            peak: 1.0,
            background: 0.0,
            sigma: 1.0,
            snr: 1.0,
            pixels: 3,
            resolution,
        }
    }

    #[test]
    fn each_rule_is_named_when_it_fails_first() {
        let rule = HitRule {
            min_spots: 3,
            max_spots: 9,
            resolution: Some(4.0),
            min_total: Some(10.0),
            max_total: Some(20.0),
            ..HitRule::default()
        };
        let seen = Seen { counted: 5, resolution: Some(3.0), total: 15.0 };
        assert_eq!(rule.decide(seen), None);
        assert_eq!(rule.decide(Seen { counted: 2, ..seen }), Some(Reason::FewSpots));
        assert_eq!(rule.decide(Seen { counted: 10, ..seen }), Some(Reason::ManySpots));
        assert_eq!(rule.decide(Seen { resolution: Some(5.0), ..seen }), Some(Reason::Coarse));
        assert_eq!(rule.decide(Seen { resolution: None, ..seen }), Some(Reason::Coarse));
        assert_eq!(rule.decide(Seen { total: 9.0, ..seen }), Some(Reason::Dark));
        assert_eq!(rule.decide(Seen { total: 21.0, ..seen }), Some(Reason::Bright));
    }

    #[test]
    fn only_spots_in_the_window_count() {
        let open = HitRule::default();
        assert!(open.counts(&spot(f32::NAN)));
        let rule = HitRule { coarsest: Some(20.0), finest: Some(2.0), ..open };
        let counted = [1.5, 2.0, 10.0, 20.0, 20.5, f32::NAN].map(|d| rule.counts(&spot(d)));
        assert_eq!(counted, [false, true, true, true, false, false]);
    }

    #[test]
    fn resolution_leaves_a_tenth_out() {
        let spots: Vec<Spot> = (1..=20).map(|i| spot(i as f32)).collect();
        assert_eq!(resolution(&spots), Some(3.0));
        assert_eq!(resolution(&spots[..9]), None);
        assert_eq!(resolution(&[spot(f32::NAN); 30]), None);
    }
}
