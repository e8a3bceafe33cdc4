//! One-pixel rings about the beam and their statistics: mean and spread without the outliers, from all pixels or from a fixed
//! sample of each ring (Barty et al. 2014, J. Appl. Cryst. 47, 1118).

use crate::detectors::Mask;

/// Which ring every good pixel is in, and which pixels speak for each ring.
#[derive(Clone, Debug)]
pub struct Rings {
    /// Ring per pixel; [`Rings::len`] for a pixel that does not count.
    ring: Vec<u16>,
    /// Good pixels per ring.
    pixels: Vec<u32>,
    /// Sampled pixels in the order of memory, each with its place among the samples.
    samples: Vec<(u32, u32)>,
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
    /// Rings of `round(radius)` over the good pixels with a radius below 65,000. Of each ring about `samples` pixels are taken
    /// in runs of eight, chosen once and without regard to their values; 0 takes all.
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
        let mut starts = vec![0_u32; usize::from(none) + 1];
        for pixel in &chosen {
            starts[usize::from(ring[*pixel as usize]) + 1] += 1;
        }
        for i in 1..starts.len() {
            starts[i] += starts[i - 1];
        }
        let mut next = starts.clone();
        let samples = chosen
            .into_iter()
            .map(|pixel| {
                let slot = &mut next[usize::from(ring[pixel as usize])];
                *slot += 1;
                (pixel, *slot - 1)
            })
            .collect();
        Self { ring, pixels, samples, starts }
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

    /// Sampled pixels, each with its place in the buffer of [`Rings::statistics`].
    pub(super) fn samples(&self) -> &[(u32, u32)] {
        &self.samples
    }

    /// Statistics of all rings from the samples' values, with one entry more for the pixels in none, whose threshold is
    /// infinite. Five rounds; in each, values outside mean +- `snr` sigma of the one before are left out, and the upper limit
    /// is never below `floor`.
    pub(super) fn statistics(&self, values: &[f32], snr: f32, floor: f32, out: &mut Vec<Ring>) {
        out.clear();
        out.extend(self.starts.windows(2).map(|w| ring(&values[w[0] as usize..w[1] as usize], snr, floor)));
        out.push(Ring { threshold: f32::INFINITY, ..Ring::default() });
    }
}

/// One ring. Sums are taken about the first mean, so that f32 partial sums lose nothing.
#[allow(clippy::cast_possible_truncation)] // statistics are f64, a ring f32
fn ring(values: &[f32], snr: f32, floor: f32) -> Ring {
    const ROUNDS: usize = 5;
    let (mut low, mut high) = (-1e9_f32, 1e9_f32);
    let mut about = 0.0_f32;
    let mut result = Ring { threshold: f32::INFINITY, ..Ring::default() };
    for round in 0..ROUNDS {
        let (n, sum, square) = sums(values, low, high, about);
        if n == 0 {
            return Ring { threshold: f32::INFINITY, plain: result.plain, ..Ring::default() };
        }
        let offset = sum / f64::from(n);
        let mean = f64::from(about) + offset;
        let sigma = (square / f64::from(n) - offset * offset).max(0.0).sqrt();
        result.mean = mean as f32;
        result.sigma = sigma as f32;
        if round == 0 {
            result.plain = result.mean;
            // The first round is about 0; its spread is exact only about its own mean.
            if mean.abs() > 10.0 * sigma {
                let (n, sum, square) = sums(values, low, high, result.mean);
                let offset = sum / f64::from(n);
                result.sigma = (square / f64::from(n) - offset * offset).max(0.0).sqrt() as f32;
            }
        }
        about = result.mean;
        high = (result.mean + snr * result.sigma).max(floor);
        low = result.mean - snr * result.sigma;
    }
    result.threshold = high;
    result
}

/// Count, sum and sum of squares about `about` of the values between the limits.
#[allow(clippy::cast_precision_loss)] // lanes count below 2^24
fn sums(values: &[f32], low: f32, high: f32, about: f32) -> (u32, f64, f64) {
    const LANES: usize = 16;
    let mut total = (0_u32, 0.0_f64, 0.0_f64);
    for part in values.chunks(LANES * 64) {
        let (mut n, mut sum, mut square) = ([0_u32; LANES], [0.0_f32; LANES], [0.0_f32; LANES]);
        let chunks = part.chunks_exact(LANES);
        let rest = chunks.remainder();
        for chunk in chunks {
            for lane in 0..LANES {
                let inside = chunk[lane] > low && chunk[lane] < high;
                let d = if inside { chunk[lane] - about } else { 0.0 };
                n[lane] += u32::from(inside);
                sum[lane] += d;
                square[lane] += d * d;
            }
        }
        for (lane, value) in rest.iter().enumerate() {
            let inside = *value > low && *value < high;
            let d = if inside { *value - about } else { 0.0 };
            n[lane] += u32::from(inside);
            sum[lane] += d;
            square[lane] += d * d;
        }
        total.0 += n.iter().sum::<u32>();
        total.1 += sum.iter().map(|v| f64::from(*v)).sum::<f64>();
        total.2 += square.iter().map(|v| f64::from(*v)).sum::<f64>();
    }
    total
}

/// Pixels that speak for their rings, in the order of memory.
#[allow(clippy::cast_possible_truncation)] // a detector has < 2^32 pixels
fn choose(ring: &[u16], none: u16, samples: u32) -> Vec<u32> {
    const RUN: usize = 8;
    let all = || (0..ring.len() as u32).filter(|i| ring[*i as usize] < none);
    if samples == 0 {
        return all().collect();
    }
    let mut wanted = vec![samples; usize::from(none)];
    let mut taken = vec![false; ring.len()];
    // A stride prime to the number of runs visits each once, far from the one before.
    let runs = ring.len().div_ceil(RUN);
    let mut stride = (runs * 618 / 1000).max(1);
    while gcd(stride, runs) != 1 {
        stride += 1;
    }
    let mut at = 0;
    for _ in 0..runs {
        for i in at * RUN..((at + 1) * RUN).min(ring.len()) {
            if ring[i] < none && wanted[usize::from(ring[i])] > 0 {
                wanted[usize::from(ring[i])] -= 1;
                taken[i] = true;
            }
        }
        at = (at + stride) % runs;
    }
    all().filter(|i| taken[*i as usize]).collect()
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
            let found = ring(&values, 5.0, level + 3.0);
            let (mean, sigma, threshold) = plainly(&values, 5.0, level + 3.0);
            for (a, b) in [(found.mean, mean), (found.sigma, sigma), (found.threshold, threshold)] {
                assert!(
                    f64::from(a) == b || (f64::from(a) - b).abs() <= 1e-3 + 1e-6 * b.abs(),
                    "{n} {a} {b}"
                );
            }
        }
        assert_eq!(ring(&[], 5.0, 1.0).threshold, f32::INFINITY);
    }

    #[test]
    fn every_ring_has_its_samples_and_no_masked_pixel() {
        let shape = Shape { panels: 1, rows: 90, columns: 100 };
        let mut mask = Mask::open(shape);
        (0..9000).step_by(7).for_each(|i| mask.good[i] = false);
        let radii: Vec<f32> = (0..9000).map(|i| ((i / 100) as f32).hypot((i % 100) as f32)).collect();
        for samples in [0, 20] {
            let rings = Rings::new(&radii, &mask, samples);
            let mut taken = vec![0_u32; rings.len()];
            let mut slots: Vec<u32> = rings.samples.iter().map(|s| s.1).collect();
            for (pixel, slot) in &rings.samples {
                let ring = rings.of(*pixel as usize);
                assert!(mask.good[*pixel as usize]);
                assert!((rings.starts[ring]..rings.starts[ring + 1]).contains(slot));
                taken[ring] += 1;
            }
            slots.sort_unstable();
            assert!(slots.iter().enumerate().all(|(i, slot)| i == *slot as usize));
            for (ring, taken) in taken.iter().enumerate() {
                let all = rings.pixels()[ring];
                assert_eq!(*taken, if samples == 0 { all } else { all.min(samples) }, "{ring}");
            }
        }
    }
}
