//! The way of images through memory: a few samples tell how each ring is spread, then tile by tile an image is calibrated into
//! the cache and summed ring by ring, and the pixels outside their rings' cores are told one by one: among them are all strong
//! ones. Several images go together, so that a tile's constants are read once for all of them.

use super::components::{Components, Strong};
use super::peakfinder8::{self, Values};
use super::rings::Rings;
use super::statistics::Ring;
use super::tiles::{self, Tile, Tiles};
use super::{Regions, Spot};
use crate::detectors::{Calibration, Entry};
use crate::simd::{self, BUFFER, Core, LANES, Level, Plain, SIDE, Side};
use crate::trial::Peakfinder8;

/// Images that go together.
pub(super) const TOGETHER: usize = 4;

/// Buffers of one image.
#[derive(Clone, Debug, Default)]
pub(super) struct Pass {
    samples: Vec<f32>,
    cores: Vec<Core>,
    sums: Vec<Side>,
    outside: Vec<Pixel>,
    /// Per ring, and one more for the pixels in none.
    pub(super) statistics: Vec<Ring>,
    /// Good pixels at their end; only of images that are not calibrated as a whole.
    pub(super) saturated: u32,
}

/// A pixel outside its ring's core.
#[derive(Clone, Copy, Debug)]
struct Pixel {
    /// In the data array.
    at: u32,
    ring: u16,
    value: f32,
}

/// Buffers that images share, one after the other.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    tile: Box<[f32; BUFFER]>,
    odd: Vec<u32>,
    arranged: Vec<f32>,
    some: Vec<(u32, u32)>,
    starts: Vec<u32>,
    sorted: Vec<f32>,
    found: Vec<(u32, f32)>,
    strong: Vec<Strong>,
    pub(super) components: Components,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            tile: tiles::buffer(),
            odd: Vec::new(),
            arranged: Vec::new(),
            some: Vec::new(),
            starts: Vec::new(),
            sorted: Vec::new(),
            found: Vec::new(),
            strong: Vec::new(),
            components: Components::default(),
        }
    }
}

/// What a trial compiled that a pass reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tables<'a> {
    pub(super) calibration: &'a Calibration,
    pub(super) regions: &'a Regions,
    pub(super) rings: &'a Rings,
    pub(super) tiles: &'a Tiles,
}

/// An image that is not calibrated as a whole: each value is made when it is looked at.
pub(super) struct Raw<'a> {
    pub(super) calibration: &'a Calibration,
    pub(super) pixels: &'a [u16],
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
    /// Statistics of images whose values depend on nothing but their own raw pixels, all together, and the pixels outside.
    pub(super) fn together(
        self,
        level: Level,
        parameters: &Peakfinder8,
        (table, plain): (&[Entry], Plain),
        images: &[&[u16]],
        passes: &mut [Pass],
        shared: &mut Shared,
    ) {
        let Self { calibration, rings, .. } = self;
        for (raw, pass) in images.iter().zip(passes.iter_mut()) {
            pass.samples.resize(rings.sampled(), 0.0);
            simd::sample(level, raw, table, rings.runs(), plain, &mut pass.samples, &mut shared.odd);
            let odd = shared.odd.drain(..).map(|number| &rings.runs()[number as usize]);
            let odd = odd.flat_map(|run| (run.pixel..).zip(run.slots));
            for (pixel, slot) in odd.chain(rings.rest().iter().copied()) {
                pass.samples[slot as usize] = calibration.value(pixel as usize, raw[pixel as usize]);
            }
            self.begin(level, parameters.snr, pass);
        }
        for tile in self.tiles.iter() {
            for (raw, pass) in images.iter().zip(passes.iter_mut()) {
                simd::calibrate_tile(
                    level,
                    raw,
                    table,
                    tile.rectangle,
                    plain,
                    &mut shared.tile,
                    &mut shared.odd,
                );
                for row in shared.odd.drain(..) {
                    let row = row as usize;
                    let from = tile.rectangle.first + row * tile.rectangle.stride;
                    for (pixel, out) in
                        (from..from + tile.rectangle.columns).zip(&mut shared.tile[row * SIDE..])
                    {
                        *out = calibration.value(pixel, raw[pixel]);
                        let full = calibration.saturated(raw[pixel]) && calibration.mask().good[pixel];
                        pass.saturated += u32::from(full);
                    }
                }
                moments(level, tile, pass, shared);
            }
        }
        for (raw, pass) in images.iter().zip(passes.iter_mut()) {
            self.end(level, parameters, &Raw { calibration, pixels: raw }, pass, shared);
        }
    }

    /// The same of one image that is calibrated.
    pub(super) fn alone(
        self,
        level: Level,
        parameters: &Peakfinder8,
        values: &[f32],
        pass: &mut Pass,
        shared: &mut Shared,
    ) {
        pass.samples.resize(self.rings.sampled(), 0.0);
        self.rings.sample(values, &mut pass.samples);
        self.begin(level, parameters.snr, pass);
        for tile in self.tiles.iter() {
            let rows = shared.tile.chunks_exact_mut(SIDE).take(tile.rectangle.rows);
            for (row, out) in rows.enumerate() {
                let from = tile.rectangle.first + row * tile.rectangle.stride;
                let columns = tile.rectangle.columns;
                out[..columns].copy_from_slice(&values[from..from + columns]);
            }
            moments(level, tile, pass, shared);
        }
        self.end(level, parameters, values, pass, shared);
    }

    /// The spots among the strong pixels of an image that has gone through.
    pub(super) fn spots(
        self,
        parameters: &Peakfinder8,
        values: &(impl Values + ?Sized),
        pass: &Pass,
        shared: &mut Shared,
    ) -> Vec<Spot> {
        let strong = |p: &&Pixel| p.value > pass.statistics[usize::from(p.ring)].threshold;
        shared.found.clear();
        shared.found.extend(pass.outside.iter().filter(strong).map(|p| (p.at, p.value)));
        self.gather(parameters, values, pass, shared)
    }

    /// The spots of a calibrated image that has gone through, by looking at every pixel: the twin of [`Tables::spots`].
    #[cfg(test)]
    pub(super) fn spots_plainly(
        self,
        parameters: &Peakfinder8,
        values: &[f32],
        pass: &Pass,
        shared: &mut Shared,
    ) -> Vec<Spot> {
        shared.found.clear();
        peakfinder8::scan(values, self.rings, &pass.statistics, &mut shared.found);
        self.gather(parameters, values, pass, shared)
    }

    /// The cores from the samples, and empty sums.
    fn begin(self, level: Level, snr: f32, pass: &mut Pass) {
        let Pass { samples, cores, sums, outside, saturated, .. } = pass;
        cores.clear();
        cores.extend(self.rings.samples(samples).map(|samples| Ring::core(level, samples, snr)));
        sums.clear();
        sums.resize(cores.len(), Side::default());
        outside.clear();
        *saturated = 0;
    }

    /// The statistics from the sums and the pixels outside. A ring whose core was guessed too wide is made of all its values, and
    /// all its pixels come to those outside.
    fn end(
        self,
        level: Level,
        p: &Peakfinder8,
        values: &(impl Values + ?Sized),
        pass: &mut Pass,
        shared: &mut Shared,
    ) {
        let Pass { cores, sums, outside, statistics, .. } = pass;
        sort(outside, cores.len(), shared);
        let parts = shared.starts.windows(2).map(|w| &shared.sorted[w[0] as usize..w[1] as usize]);
        let mut wide = vec![false; cores.len()];
        statistics.clear();
        statistics.extend(cores.iter().zip(sums.iter()).zip(parts).zip(&mut wide).map(
            |(((core, sums), outside), wide)| {
                let ring = Ring::of_core(*core, sums.total(), outside, p.snr, p.threshold);
                *wide = ring.is_none();
                ring.unwrap_or(Ring::NONE)
            },
        ));
        if wide.contains(&true) {
            outside.retain(|pixel| !wide[usize::from(pixel.ring)]);
            let kept = outside.len();
            outside.extend(self.tiles.pixels_of(|ring| wide[usize::from(ring)]).map(|(ring, pixel)| {
                #[allow(clippy::cast_possible_truncation)] // a detector has < 2^32 pixels
                Pixel { at: pixel as u32, ring, value: values.at(pixel) }
            }));
            sort(&outside[kept..], cores.len(), shared);
            for ring in (0..wide.len()).filter(|ring| wide[*ring]) {
                let values = &shared.sorted[shared.starts[ring] as usize..shared.starts[ring + 1] as usize];
                statistics[ring] = Ring::of_values(level, values, p.snr, p.threshold);
            }
        }
        for (radius, ring) in statistics.iter_mut().enumerate() {
            if radius < p.min_res as usize || radius > p.max_res as usize {
                ring.threshold = f32::INFINITY;
            }
        }
        statistics.push(Ring::NONE);
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

/// A tile's values into the sums of their rings, and the pixels outside.
#[allow(clippy::cast_possible_truncation)] // a detector has < 2^32 pixels
fn moments(level: Level, tile: &Tile, pass: &mut Pass, shared: &mut Shared) {
    let Shared { tile: values, arranged, some, .. } = shared;
    let (Tile { places, segments, .. }, Pass { cores, sums, outside, .. }) = (tile, pass);
    arranged.resize(places.len(), 0.0);
    simd::arrange(level, values, places, arranged);
    simd::moments(level, arranged.as_chunks().0, segments, cores, sums, some);
    for (register, segment) in some.drain(..) {
        let from = register as usize * LANES;
        let ring = segments[segment as usize].ring;
        let core = cores[usize::from(ring)];
        for (value, place) in arranged[from..from + LANES].iter().zip(&places[from..from + LANES]) {
            if *value <= core.low || *value >= core.high {
                outside.push(Pixel { at: tile.pixel(*place) as u32, ring, value: *value });
            }
        }
    }
}

/// The values of pixels ring by ring into `sorted`, and where each ring's begin into `starts`.
fn sort(pixels: &[Pixel], rings: usize, shared: &mut Shared) {
    let Shared { starts, sorted, .. } = shared;
    // Two places further than its ring's begin each count stands, so that filling moves it to where it belongs.
    starts.clear();
    starts.resize(rings + 2, 0);
    for pixel in pixels {
        starts[usize::from(pixel.ring) + 2] += 1;
    }
    for i in 1..starts.len() {
        starts[i] += starts[i - 1];
    }
    sorted.clear();
    sorted.resize(pixels.len(), 0.0);
    for pixel in pixels {
        let next = &mut starts[usize::from(pixel.ring) + 1];
        sorted[*next as usize] = pixel.value;
        *next += 1;
    }
    starts.truncate(rings + 1);
}
