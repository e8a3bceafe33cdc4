//! One-pixel rings about the beam: which pixels are in each, and a few of each that tell beforehand how its values are spread.

use crate::detectors::Mask;
use crate::simd::{LANES, Run};

/// Pixels of each ring that are sampled, or some more.
const SAMPLES: u32 = 64;

/// Which ring every good pixel is in, and which pixels are sampled.
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
    /// The good pixels ring by ring.
    members: Vec<u32>,
}

impl Rings {
    /// Rings of `round(radius)` over the good pixels with a radius below 65,000. Samples are runs of neighbours, chosen once and
    /// without regard to their values.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // checked ranges; a detector has < 2^32 pixels
    pub(super) fn new(radii: &[f32], mask: &Mask) -> Self {
        let usable = |i: usize| mask.good[i] && radii[i] < 65_000.0;
        let last = (0..radii.len()).filter(|i| usable(*i)).map(|i| radii[i].round() as u16).max();
        let none = last.map_or(0, |last| last + 1);
        let ring: Vec<u16> =
            (0..radii.len()).map(|i| if usable(i) { radii[i].round() as u16 } else { none }).collect();
        let mut pixels = vec![0_u32; usize::from(none)];
        for ring in ring.iter().filter(|ring| **ring < none) {
            pixels[usize::from(*ring)] += 1;
        }
        let mut next: Vec<u32> =
            pixels.iter().scan(0, |end, n| Some(std::mem::replace(end, *end + n))).collect();
        let mut members = vec![0_u32; pixels.iter().sum::<u32>() as usize];
        for (i, ring) in (0_u32..).zip(&ring).filter(|(_, ring)| **ring < none) {
            let next = &mut next[usize::from(*ring)];
            members[*next as usize] = i;
            *next += 1;
        }
        let chosen = choose(&ring, none, SAMPLES);
        let sampled = |i: &usize| chosen[*i / LANES] && ring[*i] < none;
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
        let whole = ring.len() / LANES;
        let nowhere = starts[usize::from(none)];
        let mut run = |number: usize| Run {
            pixel: (number * LANES) as u32,
            slots: std::array::from_fn(|lane| {
                let i = number * LANES + lane;
                if sampled(&i) { slot(i) } else { nowhere }
            }),
        };
        let runs = (0..whole).filter(|number| chosen[*number]).map(&mut run).collect();
        let rest = (whole * LANES..ring.len()).filter(sampled).map(|i| (i as u32, slot(i))).collect();
        Self { ring, pixels, runs, rest, starts, members }
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

    /// The good pixels of some rings, ring by ring.
    pub(super) fn members(&self, wanted: impl Fn(u16) -> bool) -> impl Iterator<Item = (u16, u32)> {
        let mut from = 0;
        (0_u16..).zip(&self.pixels).flat_map(move |(ring, n)| {
            let members = from..from + *n as usize;
            from = members.end;
            let members = if wanted(ring) { members } else { 0..0 };
            self.members[members].iter().map(move |pixel| (ring, *pixel))
        })
    }

    /// Sampled pixels in the order of memory, each with its place in a buffer of [`Rings::sampled`] values.
    pub(super) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Sampled pixels after the runs.
    pub(super) fn rest(&self) -> &[(u32, u32)] {
        &self.rest
    }

    /// Values of the buffer of samples.
    pub(super) fn sampled(&self) -> usize {
        self.starts[self.len()] as usize + 1
    }

    /// The samples of each ring.
    pub(super) fn samples<'a>(&self, buffer: &'a [f32]) -> impl Iterator<Item = &'a [f32]> {
        self.starts.windows(2).map(|w| &buffer[w[0] as usize..w[1] as usize])
    }

    /// Takes the samples of an image that is calibrated already.
    pub(super) fn sample(&self, values: &[f32], out: &mut [f32]) {
        for run in &self.runs {
            let from = run.pixel as usize;
            for (value, slot) in values[from..from + LANES].iter().zip(run.slots) {
                out[slot as usize] = *value;
            }
        }
        for (pixel, slot) in &self.rest {
            out[*slot as usize] = values[*pixel as usize];
        }
    }
}

/// The runs of pixels that speak for their rings, taken one far from the other until no ring wants more.
fn choose(ring: &[u16], none: u16, samples: u32) -> Vec<bool> {
    let runs = ring.len().div_ceil(LANES);
    let mut wanted = vec![samples; usize::from(none)];
    let mut taken = vec![false; runs];
    // A stride prime to the number of runs visits each once, far from the one before.
    let mut stride = (runs * 618 / 1000).max(1);
    while gcd(stride, runs) != 1 {
        stride += 1;
    }
    let mut at = 0;
    for _ in 0..runs {
        let pixels = &ring[at * LANES..((at + 1) * LANES).min(ring.len())];
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

    #[test]
    fn every_ring_has_its_samples_and_no_masked_pixel() {
        let shape = Shape { panels: 1, rows: 90, columns: 100 };
        let mut mask = Mask::open(shape);
        (0..9000).step_by(7).for_each(|i| mask.good[i] = false);
        let radii: Vec<f32> = (0..9000).map(|i| ((i / 100) as f32).hypot((i % 100) as f32)).collect();
        let rings = Rings::new(&radii, &mask);
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
            assert!((all.min(SAMPLES)..=all).contains(taken), "{ring}: {taken} of {all}");
            // Few are taken for nothing: a run serves sixteen rings at once.
            assert!(*taken <= 3 * SAMPLES, "{ring}: {taken}");
        }
    }
}
