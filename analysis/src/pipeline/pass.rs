//! The way of images through memory: samples, ring statistics, screening, then exact looks at the few pixels that are left.
//! Several images go together, block by block, so that a block's constants are read once for all of them.

use super::components::{Components, Strong};
use super::peakfinder8::{self, Values};
use super::rings::{Ring, Rings};
use super::screen::{Least, Screen};
use super::{Regions, Spot};
use crate::detectors::{Calibration, Entry};
use crate::simd::{self, Level, Plain, TILE};
use crate::trial::Peakfinder8;

/// Images that go together; more would push each other's samples out of the cache.
pub(super) const TOGETHER: usize = 4;
/// Runs of samples in a block: 128 KiB of the calibration's table.
const RUNS: usize = 1024;
/// Tiles in a block: 64 KiB of floors.
const TILES: usize = 512;

/// Buffers of one image.
#[derive(Clone, Debug, Default)]
pub(super) struct Pass {
    samples: Vec<f32>,
    pub(super) statistics: Vec<Ring>,
    limits: Vec<u16>,
    value_limits: Vec<f32>,
    tiles: Vec<(u32, u64)>,
}

/// Buffers that images share, one after the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared {
    least: Least,
    odd: Vec<u32>,
    found: Vec<(u32, f32)>,
    strong: Vec<Strong>,
    pub(super) components: Components,
}

/// What a trial compiled that a pass reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tables<'a> {
    pub(super) calibration: &'a Calibration,
    pub(super) regions: &'a Regions,
    pub(super) rings: &'a Rings,
    pub(super) screen: &'a Screen,
}

/// An image that is not calibrated as a whole: each value is made when it is looked at.
struct Raw<'a> {
    calibration: &'a Calibration,
    pixels: &'a [u16],
}

impl Values for Raw<'_> {
    #[inline]
    fn at(&self, pixel: usize) -> f32 {
        self.calibration.value(pixel, self.pixels[pixel])
    }

    #[inline]
    fn touch(&self, pixel: usize) -> u32 {
        self.calibration.entry(pixel, 0).offset.to_bits() ^ u32::from(self.pixels[pixel])
    }
}

impl Tables<'_> {
    /// Statistics and candidates of images whose values depend on nothing but their own raw pixels, all together.
    pub(super) fn together(
        self,
        level: Level,
        parameters: &Peakfinder8,
        direct: (&[Entry], Plain),
        images: &[&[u16]],
        passes: &mut [Pass],
        shared: &mut Shared,
    ) {
        let Self { calibration, rings, screen, .. } = self;
        let (table, plain) = direct;
        for pass in passes.iter_mut() {
            pass.samples.resize(rings.sampled(), 0.0);
            pass.tiles.clear();
        }
        for runs in rings.runs().chunks(RUNS) {
            for (raw, pass) in images.iter().zip(passes.iter_mut()) {
                simd::sample(level, raw, table, runs, plain, &mut pass.samples, &mut shared.odd);
                for run in shared.odd.drain(..).map(|number| &runs[number as usize]) {
                    for (pixel, slot) in (run.pixel as usize..).zip(run.slots) {
                        pass.samples[slot as usize] = calibration.value(pixel, raw[pixel]);
                    }
                }
            }
        }
        for (raw, pass) in images.iter().zip(passes.iter_mut()) {
            for (pixel, slot) in rings.rest() {
                let pixel = *pixel as usize;
                pass.samples[*slot as usize] = calibration.value(pixel, raw[pixel]);
            }
            self.thresholds(level, parameters, pass);
            screen.limits(&pass.statistics, &mut shared.least, &mut pass.limits);
        }
        for (first, floor) in (0_u32..).step_by(TILES).zip(screen.floor().chunks(TILES * TILE)) {
            let tile = first as usize;
            for (raw, pass) in images.iter().zip(passes.iter_mut()) {
                let raw = &raw[tile * TILE..tile * TILE + floor.len()];
                simd::screen(level, raw, floor, &pass.limits[tile..], first, &mut pass.tiles);
            }
        }
    }

    /// The spots of one of the images of [`Tables::together`], and how many good pixels are saturated.
    #[allow(clippy::cast_possible_truncation)] // a detector has < 2^32 pixels
    pub(super) fn spots(
        self,
        parameters: &Peakfinder8,
        raw: &[u16],
        pass: &Pass,
        shared: &mut Shared,
    ) -> (Vec<Spot>, u32) {
        let Self { calibration, rings, .. } = self;
        let (good, mut saturated) = (&calibration.mask().good, 0);
        shared.found.clear();
        for pixel in pixels(&pass.tiles) {
            saturated += u32::from(good[pixel] && calibration.saturated(raw[pixel]));
            let value = calibration.value(pixel, raw[pixel]);
            if value > pass.statistics[rings.of(pixel)].threshold {
                shared.found.push((pixel as u32, value));
            }
        }
        let values = Raw { calibration, pixels: raw };
        (self.gather(parameters, &values, pass, shared), saturated)
    }

    /// The spots of a calibrated image.
    #[allow(clippy::cast_possible_truncation)] // a detector has < 2^32 pixels
    pub(super) fn spots_of_values(
        self,
        level: Level,
        parameters: &Peakfinder8,
        values: &[f32],
        pass: &mut Pass,
        shared: &mut Shared,
    ) -> Vec<Spot> {
        let Self { rings, screen, .. } = self;
        self.sample(values, pass);
        self.thresholds(level, parameters, pass);
        screen.value_limits(&pass.statistics, &mut shared.least, &mut pass.value_limits);
        pass.tiles.clear();
        simd::screen_values(level, values, &pass.value_limits, 0, &mut pass.tiles);
        shared.found.clear();
        for pixel in pixels(&pass.tiles) {
            if values[pixel] > pass.statistics[rings.of(pixel)].threshold {
                shared.found.push((pixel as u32, values[pixel]));
            }
        }
        self.gather(parameters, values, pass, shared)
    }

    /// The rings of a calibrated image without regard to a spot finder.
    pub(super) fn profile(self, level: Level, values: &[f32], pass: &mut Pass) {
        self.sample(values, pass);
        self.rings.statistics(level, &pass.samples, 5.0, 0.0, &mut pass.statistics);
    }

    /// The spots of a calibrated image by looking at every pixel, one after the other: the twin of the others.
    #[cfg(test)]
    pub(super) fn spots_plainly(
        self,
        parameters: &Peakfinder8,
        values: &[f32],
        pass: &mut Pass,
        shared: &mut Shared,
    ) -> Vec<Spot> {
        self.sample(values, pass);
        self.thresholds(Level::PORTABLE, parameters, pass);
        shared.found.clear();
        peakfinder8::scan(values, self.rings, &pass.statistics, &mut shared.found);
        self.gather(parameters, values, pass, shared)
    }

    fn sample(self, values: &[f32], pass: &mut Pass) {
        pass.samples.resize(self.rings.sampled(), 0.0);
        self.rings.sample(values, &mut pass.samples);
    }

    fn thresholds(self, level: Level, p: &Peakfinder8, pass: &mut Pass) {
        self.rings.statistics(level, &pass.samples, p.snr, p.threshold, &mut pass.statistics);
        for (radius, ring) in pass.statistics.iter_mut().enumerate() {
            if radius < p.min_res as usize || radius > p.max_res as usize {
                ring.threshold = f32::INFINITY;
            }
        }
    }

    fn gather(
        self,
        parameters: &Peakfinder8,
        values: &(impl Values + ?Sized),
        pass: &Pass,
        shared: &mut Shared,
    ) -> Vec<Spot> {
        let rings = (self.rings, pass.statistics.as_slice());
        peakfinder8::place(&shared.found, self.regions, &mut shared.strong);
        peakfinder8::spots(values, parameters, rings, self.regions, &shared.strong, &mut shared.components)
    }
}

/// The pixels that the bits of tiles name, ascending.
fn pixels(tiles: &[(u32, u64)]) -> impl Iterator<Item = usize> {
    tiles.iter().flat_map(|(tile, bits)| {
        let mut bits = *bits;
        std::iter::from_fn(move || {
            let bit = (bits != 0).then(|| bits.trailing_zeros() as usize)?;
            bits &= bits - 1;
            Some(*tile as usize * TILE + bit)
        })
    })
}
