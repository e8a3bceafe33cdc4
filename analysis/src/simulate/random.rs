//! Random numbers that depend on nothing but a seed and what they are for, so that an image is the same whichever thread draws
//! it and whatever was drawn before. `SplitMix64` (Steele, Lea & Flood 2014, OOPSLA, 453): its state is a counter, so that the
//! processor works on several numbers at once.

use std::sync::LazyLock;

/// Numbers of one purpose.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

/// What numbers are for; each purpose has its own.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    Constants,
    Defects,
    Shifts,
    Shot,
    Lattice,
    Spots,
    Panel,
    StructureFactor,
    Deal,
}

impl Random {
    /// The numbers for a purpose and whatever tells one thing from another in it.
    pub(super) fn of(seed: u64, purpose: Purpose, parts: &[u64]) -> Self {
        let begin = mix(seed ^ mix(purpose as u64 + 1));
        Self(parts.iter().fold(begin, |state, part| mix(state.wrapping_add(GOLDEN) ^ mix(*part))))
    }

    /// 64 random bits.
    #[inline]
    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// Uniform, above 0 and at most 1.
    #[inline]
    pub(super) fn unit(&mut self) -> f64 {
        ((self.bits() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform between two numbers.
    pub(super) fn between(&mut self, from: f64, to: f64) -> f64 {
        from + (to - from) * self.unit()
    }

    /// One of `n`.
    pub(super) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// True with that probability.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.unit() <= probability
    }

    /// Mean 0, variance 1 (Box & Muller 1958).
    pub(super) fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Mean 1.
    pub(super) fn exponential(&mut self) -> f64 {
        -self.unit().ln()
    }

    /// A count of that mean: by inversion, piece by piece; above 1000 a rounded normal, whose skewness differs by 3 %.
    pub(super) fn poisson(&mut self, mean: f64) -> u32 {
        if mean > 1000.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0) as u32;
        }
        let mut left = mean;
        let mut count = 0;
        while left > 0.0 {
            let piece = left.min(32.0);
            left -= piece;
            let mut u = self.unit();
            // Nothing for certain, without the exponential: it is never below this.
            if u <= 1.0 - piece {
                continue;
            }
            let mut term = (-piece).exp();
            u -= term;
            let mut n = 0_u32;
            while u > 0.0 && n < 400 {
                n += 1;
                term *= piece / f64::from(n);
                u -= term;
            }
            count += n;
        }
        count
    }
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

#[inline]
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The integral of the normal distribution up to `x` (Abramowitz & Stegun 7.1.26, good to 1e-7).
pub(super) fn normal_integral(x: f64) -> f64 {
    let z = x.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let series = ((((1.061_405_429 * t - 1.453_152_027) * t + 1.421_413_741) * t - 0.284_496_736) * t
        + 0.254_829_592)
        * t;
    let upper = 0.5 * series * (-z * z).exp();
    if x < 0.0 { upper } else { 1.0 - upper }
}

/// Bits that choose a normal number from [`NORMALS`].
pub(super) const NORMAL_BITS: u32 = 12;

/// Normal numbers of equal probability, to be chosen by [`NORMAL_BITS`] random bits: for each pixel's noise, where a call of
/// [`Random::normal`] would cost more than all else. Ends at 3.7 standard deviations.
pub(super) static NORMALS: LazyLock<Vec<f32>> = LazyLock::new(|| {
    let n = 1_usize << NORMAL_BITS;
    let mut all = vec![0.0_f32; n];
    for i in n / 2..n {
        let wanted = (i as f64 + 0.5) / n as f64;
        let (mut low, mut high) = (0.0, 6.0);
        for _ in 0..40 {
            let middle = 0.5 * (low + high);
            if normal_integral(middle) < wanted { low = middle } else { high = middle }
        }
        all[i] = low as f32;
        all[n - 1 - i] = -low as f32;
    }
    all
});

/// Poisson counts for means on a logarithmic scale, drawn by one table look-up and one comparison each (alias method, Walker
/// 1977, ACM TOMS 3, 253). A level is a mean; the next one is 2 % more.
#[derive(Debug)]
pub(super) struct Counts {
    /// Where a level's table begins, and the number of bits that choose from it.
    levels: Vec<(u32, u32)>,
    /// Threshold in the upper half, the other count in the lower.
    entries: Vec<u64>,
}

const STEP: f64 = 0.02;
/// The smallest mean that has a level.
const LEAST: f64 = 1e-5;
/// The largest.
pub(super) const MOST: f64 = 400.0;

impl Counts {
    /// The tables of all levels.
    pub(super) fn new() -> Self {
        let mut counts = Self { levels: Vec::new(), entries: Vec::new() };
        for level in 0..=Self::level(MOST) {
            counts.add(LEAST * (f64::from(level) * STEP).exp());
        }
        counts
    }

    /// The level whose mean is nearest.
    pub(super) fn level(mean: f64) -> i32 {
        ((mean.clamp(LEAST, MOST) / LEAST).ln() / STEP).round() as i32
    }

    /// How many levels a factor is.
    pub(super) fn levels_of(factor: f64) -> i32 {
        (factor.max(1e-6).ln() / STEP).round() as i32
    }

    /// The last level.
    pub(super) fn last(&self) -> i32 {
        self.levels.len() as i32 - 1
    }

    /// A count of a level, by the lower 32 of the random bits.
    #[inline]
    pub(super) fn draw(&self, level: usize, bits: u64) -> u32 {
        let (begin, chosen_by) = self.levels[level];
        let bits = bits as u32;
        let place = bits >> (32 - chosen_by);
        let entry = self.entries[(begin + place) as usize];
        if (bits << chosen_by) < (entry >> 32) as u32 { place } else { entry as u32 }
    }

    fn add(&mut self, mean: f64) {
        let longest = (mean + 8.0 * mean.sqrt() + 8.0) as usize;
        let size = longest.next_power_of_two();
        let mut part = Vec::with_capacity(size);
        let mut ln_term = -mean;
        for n in 0..size {
            part.push(ln_term.exp() * size as f64);
            ln_term += mean.ln() - ((n + 1) as f64).ln();
        }
        // What lies beyond the table goes to its most likely count.
        let rest = size as f64 - part.iter().sum::<f64>();
        part[mean as usize] += rest;
        let begin = self.entries.len() as u32;
        self.levels.push((begin, size.trailing_zeros()));
        self.entries.resize(self.entries.len() + size, u64::from(u32::MAX) << 32);
        let entries = &mut self.entries[begin as usize..];
        let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..size).partition(|n| part[*n] < 1.0);
        while let (Some(low), Some(high)) = (small.pop(), large.last().copied()) {
            entries[low] =
                (((part[low] * 4_294_967_296.0) as u64).min(u64::from(u32::MAX)) << 32) | high as u64;
            part[high] -= 1.0 - part[low];
            if part[high] < 1.0 {
                large.pop();
                small.push(high);
            }
        }
        // What is left is a whole part but for rounding: it stands for itself.
        for n in small.into_iter().chain(large) {
            entries[n] = (u64::from(u32::MAX) << 32) | n as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(values: impl Iterator<Item = f64>) -> (f64, f64) {
        let (n, sum, square) = values.fold((0.0, 0.0, 0.0), |(n, s, q), v| (n + 1.0, s + v, q + v * v));
        (sum / n, square / n - (sum / n) * (sum / n))
    }

    #[test]
    fn the_same_seed_and_purpose_give_the_same_numbers_and_others_do_not() {
        let first = |seed, purpose, parts: &[u64]| Random::of(seed, purpose, parts).bits();
        let all = [
            first(1, Purpose::Shot, &[1, 2]),
            first(2, Purpose::Shot, &[1, 2]),
            first(1, Purpose::Panel, &[1, 2]),
            first(1, Purpose::Shot, &[2, 1]),
            first(1, Purpose::Shot, &[1, 2, 0]),
        ];
        assert_eq!(all[0], first(1, Purpose::Shot, &[1, 2]));
        for (i, one) in all.iter().enumerate() {
            assert!(!all[..i].contains(one), "{i}");
        }
    }

    #[test]
    fn counts_have_the_mean_and_variance_of_poisson() {
        let counts = Counts::new();
        let mut random = Random::of(7, Purpose::Panel, &[]);
        for mean in [0.002, 0.1, 0.5, 1.5, 4.0, 20.0, 90.0, 390.0] {
            let level = Counts::level(mean);
            let exact = LEAST * (f64::from(level) * STEP).exp();
            assert!((exact / mean - 1.0).abs() < 0.0101, "{exact} {mean}");
            let n = 200_000;
            let of_table = moments((0..n).map(|_| f64::from(counts.draw(level as usize, random.bits()))));
            let by_inversion = moments((0..n).map(|_| f64::from(random.poisson(exact))));
            for (got, variance) in [of_table, by_inversion] {
                let sigma = (exact / f64::from(n)).sqrt();
                assert!((got - exact).abs() < 5.0 * sigma, "{got} {exact}");
                let sigma = ((exact + 2.0 * exact * exact) / f64::from(n)).sqrt();
                assert!((variance - exact).abs() < 5.0 * sigma, "{variance} {exact}");
            }
        }
        let (mean, _) = moments((0..2000).map(|_| f64::from(random.poisson(5000.0))));
        assert!((mean - 5000.0).abs() < 10.0, "{mean}");
    }

    #[test]
    fn normal_numbers_are_normal() {
        let mut random = Random::of(8, Purpose::Shot, &[]);
        let (mean, variance) = moments((0..100_000).map(|_| random.normal()));
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
        let (mean, variance) = moments(NORMALS.iter().map(|v| f64::from(*v)));
        assert!(mean.abs() < 1e-6 && (variance - 1.0).abs() < 0.002, "{mean} {variance}");
        let (mean, _) = moments((0..100_000).map(|_| random.exponential()));
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        let middle = (0..1000).filter(|_| random.below(3) == 1).count();
        assert!((270..400).contains(&middle), "{middle}");
        assert!((normal_integral(1.0) - 0.841_344_7).abs() < 1e-6);
        assert!((normal_integral(-2.0) - 0.022_750_1).abs() < 1e-6);
    }
}
