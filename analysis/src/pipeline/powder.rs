//! Virtual powders: sums of calibrated images, of all hits and of one in so many misses. Partial sums add.

use crate::simd::{self, Level};
use crate::trial;

/// A sum of images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Powder {
    /// Sum per pixel of the data array, calibrated units; empty before the first image.
    pub sum: Vec<f32>,
    /// How many images it holds.
    pub images: u64,
}

impl Powder {
    /// Adds an image; pixels that were not measured add nothing.
    pub fn add(&mut self, values: &[f32]) {
        self.sum.resize(values.len(), 0.0);
        self.images += 1;
        simd::add(Level::best(), &mut self.sum, values);
    }

    /// Adds another partial sum of the same detector.
    pub fn merge(&mut self, other: &Self) {
        self.sum.resize(other.sum.len().max(self.sum.len()), 0.0);
        self.images += other.images;
        for (sum, other) in self.sum.iter_mut().zip(&other.sum) {
            *sum += *other;
        }
    }
}

/// Both powders of a run, or a part of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Powders {
    /// All hits.
    pub hits: Powder,
    /// One in [`Powders::misses_every`] misses.
    pub misses: Powder,
    /// The rate at which misses were taken: one in so many, 0 none.
    pub misses_every: u32,
}

impl Powders {
    /// Empty powders of a trial.
    pub fn new(parameters: &trial::Powder) -> Self {
        Self { misses_every: parameters.misses_every, ..Self::default() }
    }

    /// Adds another part of the same trial.
    pub fn merge(&mut self, other: &Self) {
        self.hits.merge(&other.hits);
        self.misses.merge(&other.misses);
    }

    /// Takes both sums out and begins anew.
    #[must_use]
    pub fn take(&mut self) -> Self {
        std::mem::replace(self, Self { misses_every: self.misses_every, ..Self::default() })
    }

    /// Whether an image belongs in: `key` names the image, so that whoever works it, at whatever try, decides alike.
    pub fn wants(parameters: &trial::Powder, hit: bool, key: u64) -> bool {
        if hit {
            parameters.hits
        } else {
            parameters.misses_every > 0 && mix(key).is_multiple_of(u64::from(parameters.misses_every))
        }
    }

    /// The sum that an image belongs to.
    pub fn of(&mut self, hit: bool) -> &mut Powder {
        if hit { &mut self.hits } else { &mut self.misses }
    }
}

/// Spreads keys that follow one another (Stafford's mix 13, as in `SplitMix64`).
fn mix(key: u64) -> u64 {
    let key = (key ^ (key >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let key = (key ^ (key >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    key ^ (key >> 31)
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

    #[test]
    fn partial_sums_add_to_the_whole() {
        let images = [[1.0, 2.0, f32::NAN], [3.0, 4.0, 5.0], [7.0, 8.0, 9.0]];
        let mut whole = Powder::default();
        for image in &images {
            whole.add(image);
        }
        let (mut first, mut second) = (Powder::default(), Powder::default());
        first.add(&images[0]);
        second.add(&images[1]);
        second.add(&images[2]);
        first.merge(&second);
        first.merge(&Powder::default());
        assert_eq!(first, whole);
        assert_eq!(whole, Powder { sum: vec![11.0, 14.0, 14.0], images: 3 });
    }

    #[test]
    fn misses_are_taken_at_the_stated_rate_and_hits_always() {
        let parameters = trial::Powder { hits: true, misses_every: 50 };
        let taken = (0..100_000).filter(|key| Powders::wants(&parameters, false, *key)).count();
        assert!((1800..2200).contains(&taken), "{taken}");
        assert!((0..100).all(|key| Powders::wants(&parameters, true, key)));
        let none = trial::Powder { hits: false, misses_every: 0 };
        assert!(!(0..100).any(|key| Powders::wants(&none, key % 2 == 0, key)));
    }
}
