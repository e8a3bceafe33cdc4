//! Mean and spread of a ring's values without the outliers (Barty et al. 2014, J. Appl. Cryst. 47, 1118): five rounds; in each,
//! values outside mean +- snr sigma of the one before are left out, and the upper limit is never below a floor.
//!
//! Taken from all values of a ring, or, with the same result, from the sums of those that no round leaves out (the core, guessed
//! from a sample) and the others one by one.

use crate::simd::{self, Core, Level, Sums};

const ROUNDS: usize = 5;
/// The core's half width as a part of snr sigma: narrow enough to lie within the limits of all rounds although it is guessed.
const CORE: f32 = 0.7;

/// Mean, spread and the limits of a ring.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Ring {
    /// Mean without outliers.
    pub(super) mean: f32,
    /// Standard deviation without outliers.
    pub(super) sigma: f32,
    /// A pixel above this is strong; infinite for a ring without pixels.
    pub(super) threshold: f32,
    /// Mean of all values.
    pub(super) plain: f32,
}

impl Ring {
    /// A ring without pixels.
    pub(super) const NONE: Self = Self { mean: 0.0, sigma: 0.0, threshold: f32::INFINITY, plain: 0.0 };

    /// A ring of all its values; what is not a number does not count.
    pub(super) fn of_values(level: Level, values: &[f32], snr: f32, floor: f32) -> Self {
        let ring = rounds(snr, floor, |low, high, about| {
            let sums = simd::within(level, values, low, high, about);
            let (mean, sigma) = spread(sums, about);
            // The first round is about 0; its spread is exact only about its own mean.
            if about == 0.0 && mean.abs() > 10.0 * sigma {
                #[allow(clippy::cast_possible_truncation)] // a mean of f32
                let about = mean as f32;
                return Some((
                    sums.count,
                    mean,
                    spread(simd::within(level, values, low, high, about), about).1,
                ));
            }
            Some((sums.count, mean, sigma))
        });
        ring.unwrap_or(Self::NONE)
    }

    /// A ring of the sums in its core and the values outside it; `None` where a round leaves out a part of the core.
    pub(super) fn of_core(core: Core, sums: Sums, outside: &[f32], snr: f32, floor: f32) -> Option<Self> {
        let ring = rounds(snr, floor, |low, high, _| {
            if sums.count > 0 && (low > core.low || high < core.high) {
                return None;
            }
            let mut all = sums;
            for value in outside.iter().filter(|value| **value > low && **value < high) {
                let d = f64::from(*value) - f64::from(core.centre);
                all.count += 1;
                all.sum += d;
                all.square += d * d;
            }
            let (mean, sigma) = spread(all, core.centre);
            Some((all.count, mean, sigma))
        });
        // No strong pixel may be in the core either.
        ring.filter(|ring| sums.count == 0 || ring.threshold >= core.high)
    }

    /// The core of a ring, from some of its values. Without spread among them the core is empty, and all values are outside.
    pub(super) fn core(level: Level, samples: &[f32], snr: f32) -> Core {
        let ring = Self::of_values(level, samples, snr, f32::NEG_INFINITY);
        let half = CORE * snr * ring.sigma;
        if half > 0.0 {
            Core { centre: ring.mean, low: ring.mean - half, high: ring.mean + half }
        } else {
            Core { centre: ring.plain, low: f32::INFINITY, high: f32::NEG_INFINITY }
        }
    }
}

/// The rounds; `of` gives count, mean and spread of the values between two limits, the sums best taken about a third number.
#[allow(clippy::cast_possible_truncation)] // statistics are f64, a ring f32
fn rounds(
    snr: f32,
    floor: f32,
    mut of: impl FnMut(f32, f32, f32) -> Option<(u32, f64, f64)>,
) -> Option<Ring> {
    let (mut low, mut high) = (-1e9_f32, 1e9_f32);
    let mut ring = Ring::NONE;
    for round in 0..ROUNDS {
        let (n, mean, sigma) = of(low, high, ring.mean)?;
        if n == 0 {
            return Some(Ring { plain: ring.plain, ..Ring::NONE });
        }
        let before = (ring.mean, ring.sigma);
        (ring.mean, ring.sigma) = (mean as f32, sigma as f32);
        if round == 0 {
            ring.plain = ring.mean;
        }
        high = (ring.mean + snr * ring.sigma).max(floor);
        low = ring.mean - snr * ring.sigma;
        if round > 0 && before == (ring.mean, ring.sigma) {
            // The limits are those of the round before, and so would be all that follow.
            break;
        }
    }
    ring.threshold = high;
    Some(ring)
}

fn spread(sums: Sums, about: f32) -> (f64, f64) {
    let n = f64::from(sums.count.max(1));
    let offset = sums.sum / n;
    (f64::from(about) + offset, (sums.square / n - offset * offset).max(0.0).sqrt())
}

#[cfg(test)]
#[allow(clippy::cast_precision_loss, clippy::float_cmp)] // made-up numbers are small; infinity is itself
mod tests {
    use super::*;

    /// The definition, one value at a time in f64.
    fn plainly(values: &[f32], snr: f32, floor: f32) -> (f64, f64, f64) {
        let (mut low, mut high) = (-1e9, 1e9);
        let (mut mean, mut sigma) = (0.0, 0.0);
        for _ in 0..ROUNDS {
            let inside: Vec<f64> =
                values.iter().map(|v| f64::from(*v)).filter(|v| *v > low && *v < high).collect();
            if inside.is_empty() {
                return (0.0, 0.0, f64::INFINITY);
            }
            mean = inside.iter().sum::<f64>() / inside.len() as f64;
            sigma = (inside.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / inside.len() as f64).sqrt();
            high = (mean + f64::from(snr) * sigma).max(f64::from(floor));
            low = mean - f64::from(snr) * sigma;
        }
        (mean, sigma, high)
    }

    fn is_near(ring: Ring, (mean, sigma, threshold): (f64, f64, f64)) -> bool {
        [(ring.mean, mean), (ring.sigma, sigma), (ring.threshold, threshold)]
            .iter()
            .all(|(a, b)| f64::from(*a) == *b || (f64::from(*a) - b).abs() <= 1e-3 + 1e-6 * b.abs())
    }

    #[test]
    fn a_ring_is_its_definition_from_all_values_and_from_its_core() {
        let mut random = fastrand::Rng::with_seed(7);
        let level = Level::best();
        let mut by_core = 0;
        for (n, height) in [(1, 0.0), (3, 5.0), (17, 100.0), (900, 0.3), (5000, 12_000.0)] {
            let mut values: Vec<f32> = (0..n).map(|_| height + random.f32() * 4.0 - 2.0).collect();
            values[0] += 900.0;
            if n > 100 {
                values[7] = f32::NAN;
                (10..40).for_each(|i| values[i] += i as f32);
            }
            for snr in [1.6, 2.5, 5.0] {
                let expected = plainly(&values, snr, height + 3.0);
                let found = Ring::of_values(level, &values, snr, height + 3.0);
                assert!(is_near(found, expected), "{n} {snr}: {found:?} {expected:?}");
                let core = Ring::core(level, &values[..n.min(200)], snr);
                let (mut sums, mut outside) = (Sums::default(), Vec::new());
                for v in values.iter().filter(|v| !v.is_nan()) {
                    if *v > core.low && *v < core.high {
                        let d = f64::from(v - core.centre);
                        sums.count += 1;
                        sums.sum += d;
                        sums.square += d * d;
                    } else {
                        outside.push(*v);
                    }
                }
                if let Some(found) = Ring::of_core(core, sums, &outside, snr, height + 3.0) {
                    by_core += 1;
                    assert!(is_near(found, expected), "{n} {snr}: {found:?} {expected:?}");
                    assert!(sums.count == 0 || found.threshold >= core.high);
                }
            }
        }
        assert!(by_core > 8, "{by_core}");
        assert_eq!(Ring::of_values(level, &[], 5.0, 1.0).threshold, f32::INFINITY);
    }

    #[test]
    fn a_core_that_a_round_cuts_is_refused() {
        let core = Core { centre: 0.0, low: -10.0, high: 10.0 };
        let sums = Sums { count: 100, sum: 0.0, square: 100.0 };
        assert_eq!(Ring::of_core(core, sums, &[], 5.0, 0.0), None);
        let ring = Ring::of_core(core, sums, &[], 11.0, 0.0).unwrap();
        assert_eq!((ring.mean, ring.sigma, ring.threshold), (0.0, 1.0, 11.0));
        let alone = Ring::of_core(core, Sums::default(), &[1.0, 3.0], 5.0, 0.0).unwrap();
        assert_eq!((alone.mean, alone.sigma, alone.threshold), (2.0, 1.0, 7.0));
    }
}
