//! One-pixel rings about the beam and their statistics: mean and spread without the outliers, from all pixels or from a fixed
//! sample of each ring (Barty et al. 2014, J. Appl. Cryst. 47, 1118).

use crate::detectors::Mask;
use crate::simd::{self, Level, RUN, Run};

/// Which ring every good pixel is in, and which pixels speak for each ring.
#[derive(Clone, Debug)]
pub struct Rings {
    /// Ring per pixel; [`Rings::len`] for a pixel that does not count.
    ring: Vec<u16>,
    /// Good pixels per ring.
    pixels: Vec<u32>,
    /// Sampled pixels in the order of memory, each with its place among the samples; those of a run that are not sampled share
    /// the place after the last.
    runs: Vec<Run>,
    /// Sampled pixels after the last whole run.
    rest: Vec<(u32, u32)>,
    /// Where each ring's samples begin; one more at the end.
    starts: Vec<u32>,
}

/// Mean, spread and the limits of a ring.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Ring {
    /// Mean without outliers.
    pub(super) mean: f32,
    /// Standard deviation without outliers.
    pub(super) sigma: f32,
    /// A pixel above this is strong; infinite for a ring without pixels.
    pub(super) threshold: f32,
    /// Mean of all samples.
    pub(super) plain: f32,
}

impl Rings {
    /// Rings of `round(radius)` over the good pixels with a radius below 65,000. Of each ring `samples` pixels or some more are
    /// taken in runs of neighbours, chosen once and without regard to their values; 0 takes all.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // checked ranges; a detector has < 2^32 pixels
    pub(super) fn new(radii: &[f32], mask: &Mask, samples: u32) -> Self {
        let usable = |i: usize| mask.good[i] && radii[i] < 65_000.0;
        let last = (0..radii.len()).filter(|i| usable(*i)).map(|i| radii[i].round() as u16).max();
        let none = last.map_or(0, |last| last + 1);
        let ring: Vec<u16> =
            (0..radii.len()).map(|i| if usable(i) { radii[i].round() as u16 } else { none }).collect();
        let mut pixels = vec![0_u32; usize::from(none)];
        for ring in ring.iter().filter(|ring| **ring < none) {
            pixels[usize::from(*ring)] += 1;
        }
        let chosen = choose(&ring, none, samples);
        let sampled = |i: &usize| chosen[*i / RUN] && ring[*i] < none;
        let mut starts = vec![0_u32; usize::from(none) + 1];
        for i in (0..ring.len()).filter(sampled) {
            starts[usize::from(ring[i]) + 1] += 1;
        }
        for i in 1..starts.len() {
            starts[i] += starts[i - 1];
        }
        let mut next = starts.clone();
        let mut slot = |i: usize| {
            let slot = &mut next[usize::from(ring[i])];
            *slot += 1;
            *slot - 1
        };
        let whole = ring.len() / RUN;
        let nowhere = starts[usize::from(none)];
        let mut run = |number: usize| Run {
            pixel: (number * RUN) as u32,
            slots: std::array::from_fn(|lane| {
                let i = number * RUN + lane;
                if sampled(&i) { slot(i) } else { nowhere }
            }),
        };
        let runs = (0..whole).filter(|number| chosen[*number]).map(&mut run).collect();
        let rest = (whole * RUN..ring.len()).filter(sampled).map(|i| (i as u32, slot(i))).collect();
        Self { ring, pixels, runs, rest, starts }
    }

    /// How many rings.
    pub fn len(&self) -> usize {
        self.pixels.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.pixels.is_empty()
    }

    /// The ring of a pixel; [`Rings::len`] where it does not count.
    #[inline]
    pub fn of(&self, pixel: usize) -> usize {
        usize::from(self.ring[pixel])
    }

    /// Ring per pixel.
    pub(super) fn per_pixel(&self) -> &[u16] {
        &self.ring
    }

    /// Good pixels of each ring.
    pub fn pixels(&self) -> &[u32] {
        &self.pixels
    }

    /// Sampled pixels in the order of memory, each with its place in the buffer of [`Rings::statistics`], which holds
    /// [`Rings::sampled`] values.
    pub(super) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Sampled pixels after the runs.
    pub(super) fn rest(&self) -> &[(u32, u32)] {
        &self.rest
    }

    /// Values of the buffer of [`Rings::statistics`].
    pub(super) fn sampled(&self) -> usize {
        self.starts[self.len()] as usize + 1
    }

    /// Takes the samples of an image that is calibrated already.
    pub(super) fn sample(&self, values: &[f32], out: &mut [f32]) {
        for run in &self.runs {
            let from = run.pixel as usize;
            for (value, slot) in values[from..from + RUN].iter().zip(run.slots) {
                out[slot as usize] = *value;
            }
        }
        for (pixel, slot) in &self.rest {
            out[*slot as usize] = values[*pixel as usize];
        }
    }

    /// Statistics of all rings from the samples' values, with one entry more for the pixels in none, whose threshold is
    /// infinite. Five rounds; in each, values outside mean +- `snr` sigma of the one before are left out, and the upper limit
    /// is never below `floor`.
    pub(super) fn statistics(&self, level: Level, values: &[f32], snr: f32, floor: f32, out: &mut Vec<Ring>) {
        let of = |w: &[u32]| ring(level, &values[w[0] as usize..w[1] as usize], snr, floor);
        out.clear();
        out.extend(self.starts.windows(2).map(of));
        out.push(Ring { threshold: f32::INFINITY, ..Ring::default() });
    }
}

/// One ring. Sums are taken about the last mean, so that f32 partial sums lose nothing.
#[allow(clippy::cast_possible_truncation)] // statistics are f64, a ring f32
fn ring(level: Level, values: &[f32], snr: f32, floor: f32) -> Ring {
    const ROUNDS: usize = 5;
    let (mut low, mut high) = (-1e9_f32, 1e9_f32);
    let mut about = 0.0_f32;
    let mut result = Ring { threshold: f32::INFINITY, ..Ring::default() };
    for round in 0..ROUNDS {
        let (n, sum, square) = simd::sums(level, values, low, high, about);
        if n == 0 {
            return Ring { threshold: f32::INFINITY, plain: result.plain, ..Ring::default() };
        }
        let offset = sum / f64::from(n);
        let mean = f64::from(about) + offset;
        let sigma = (square / f64::from(n) - offset * offset).max(0.0).sqrt();
        let before = (result.mean, result.sigma);
        result.mean = mean as f32;
        result.sigma = sigma as f32;
        if round == 0 {
            result.plain = result.mean;
            // The first round is about 0; its spread is exact only about its own mean.
            if mean.abs() > 10.0 * sigma {
                let (n, sum, square) = simd::sums(level, values, low, high, result.mean);
                let offset = sum / f64::from(n);
                result.sigma = (square / f64::from(n) - offset * offset).max(0.0).sqrt() as f32;
            }
        }
        about = result.mean;
        high = (result.mean + snr * result.sigma).max(floor);
        low = result.mean - snr * result.sigma;
        if round > 0 && before == (result.mean, result.sigma) {
            // The limits are those of the round before, and so would be all that follow.
            break;
        }
    }
    result.threshold = high;
    result
}

/// The runs of pixels that speak for their rings, taken one far from the other until no ring wants more.
fn choose(ring: &[u16], none: u16, samples: u32) -> Vec<bool> {
    let runs = ring.len().div_ceil(RUN);
    if samples == 0 {
        return vec![true; runs];
    }
    let mut wanted = vec![samples; usize::from(none)];
    let mut taken = vec![false; runs];
    // A stride prime to the number of runs visits each once, far from the one before.
    let mut stride = (runs * 618 / 1000).max(1);
    while gcd(stride, runs) != 1 {
        stride += 1;
    }
    let mut at = 0;
    for _ in 0..runs {
        let pixels = &ring[at * RUN..((at + 1) * RUN).min(ring.len())];
        let of = |ring: &u16| (*ring < none).then_some(usize::from(*ring));
        taken[at] = pixels.iter().filter_map(of).any(|ring| wanted[ring] > 0);
        if taken[at] {
            for ring in pixels.iter().filter_map(of) {
                wanted[ring] = wanted[ring].saturating_sub(1);
            }
        }
        at = (at + stride) % runs;
    }
    taken
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
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
    use crate::frame::Shape;

    /// The definition, one value at a time in f64.
    fn plainly(values: &[f32], snr: f32, floor: f32) -> (f64, f64, f64) {
        let (mut low, mut high) = (-1e9, 1e9);
        let (mut mean, mut sigma) = (0.0, 0.0);
        for _ in 0..5 {
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

    #[test]
    fn a_ring_is_its_definition() {
        let mut random = fastrand::Rng::with_seed(7);
        for (n, level) in [(1, 0.0), (3, 5.0), (17, 100.0), (900, 0.3), (5000, 12_000.0)] {
            let mut values: Vec<f32> = (0..n).map(|_| level + random.f32() * 4.0 - 2.0).collect();
            values[0] += 900.0;
            if n > 100 {
                values[7] = f32::NAN;
            }
            let found = ring(Level::best(), &values, 5.0, level + 3.0);
            let (mean, sigma, threshold) = plainly(&values, 5.0, level + 3.0);
            for (a, b) in [(found.mean, mean), (found.sigma, sigma), (found.threshold, threshold)] {
                assert!(
                    f64::from(a) == b || (f64::from(a) - b).abs() <= 1e-3 + 1e-6 * b.abs(),
                    "{n} {a} {b}"
                );
            }
        }
        assert_eq!(ring(Level::best(), &[], 5.0, 1.0).threshold, f32::INFINITY);
    }

    #[test]
    fn every_ring_has_its_samples_and_no_masked_pixel() {
        let shape = Shape { panels: 1, rows: 90, columns: 100 };
        let mut mask = Mask::open(shape);
        (0..9000).step_by(7).for_each(|i| mask.good[i] = false);
        let radii: Vec<f32> = (0..9000).map(|i| ((i / 100) as f32).hypot((i % 100) as f32)).collect();
        for samples in [0, 3, 20] {
            let rings = Rings::new(&radii, &mask, samples);
            let mut taken = vec![0_u32; rings.len()];
            let nowhere = rings.starts[rings.len()];
            let runs = rings.runs.iter().flat_map(|run| (run.pixel..).zip(run.slots));
            let all: Vec<(u32, u32)> =
                runs.chain(rings.rest.iter().copied()).filter(|s| s.1 != nowhere).collect();
            let mut slots: Vec<u32> = all.iter().map(|s| s.1).collect();
            for (pixel, slot) in &all {
                let ring = rings.of(*pixel as usize);
                assert!(mask.good[*pixel as usize]);
                assert!((rings.starts[ring]..rings.starts[ring + 1]).contains(slot));
                taken[ring] += 1;
            }
            slots.sort_unstable();
            assert!(slots.iter().enumerate().all(|(i, slot)| i == *slot as usize));
            assert_eq!(slots.len() + 1, rings.sampled());
            for (ring, taken) in taken.iter().enumerate() {
                let all = rings.pixels()[ring];
                let least = if samples == 0 { all } else { all.min(samples) };
                assert!((least..=all).contains(taken), "{ring}: {taken} of {all}");
                // Few are taken for nothing: a run serves sixteen rings at once.
                assert!(samples == 0 || *taken <= 4 * samples + 16, "{ring}: {taken}");
            }
        }
    }
}
