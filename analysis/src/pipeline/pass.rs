//! The way of images through memory: a few samples tell how each ring is spread, then tile by tile an image is calibrated into
//! the cache and added to its rings' sums, and the pixels outside their rings' cores are told one by one: among them are all
//! strong ones. Several images go together, so that a tile's constants are read once for all of them.

use super::components::{Components, Strong};
use super::peakfinder8::{self, Values};
use super::rings::Rings;
use super::statistics::Ring;
use super::tiles::{Ordered, Tile, Tiles};
use super::{Regions, Spot};
use crate::detectors::Calibration;
use crate::simd::{self, Cores, LANES, LINES, Level, Line, Lines, Plain, Sides, Strays, Sums};
use crate::trial::Peakfinder8;

/// Images that go together.
pub(super) const TOGETHER: usize = 4;

/// Buffers of one image.
#[derive(Clone, Debug, Default)]
pub(super) struct Pass {
    samples: Vec<f32>,
    cores: Cores,
    sides: Sides,
    outside: Vec<Pixel>,
    /// Pixels of each ring that were not measured.
    missing: Vec<u32>,
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
    raw: Box<Lines<u16>>,
    values: Box<Lines<f32>>,
    odd: Vec<u32>,
    strays: Vec<Strays>,
    starts: Vec<u32>,
    sorted: Vec<f32>,
    found: Vec<(u32, f32)>,
    strong: Vec<Strong>,
    pub(super) components: Components,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            raw: Box::new([[0; LANES]; LINES]),
            values: Box::new([[0.0; LANES]; LINES]),
            odd: Vec::new(),
            strays: Vec::new(),
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
        (ordered, plain): (&Ordered, Plain),
        images: &[&[u16]],
        passes: &mut [Pass],
        shared: &mut Shared,
    ) {
        let Self { calibration, rings, .. } = self;
        for (raw, pass) in images.iter().zip(passes.iter_mut()) {
            pass.samples.resize(rings.sampled(), 0.0);
            simd::sample(level, raw, rings.runs(), &ordered.runs, plain, &mut pass.samples, &mut shared.odd);
            let odd = shared.odd.drain(..).map(|number| &rings.runs()[number as usize]);
            let odd = odd.flat_map(|run| (run.pixel..).zip(run.slots));
            for (pixel, slot) in odd.chain(rings.rest().iter().copied()) {
                pass.samples[slot as usize] = calibration.value(pixel as usize, raw[pixel as usize]);
            }
            self.begin(level, parameters.snr, pass);
        }
        let mut entries = ordered.lines.chunks_exact(LINES).peekable();
        for (tile, lines) in self.tiles.iter() {
            let constants = entries.next().unwrap_or_default();
            // Each image asks for its part of the next tile's.
            let ahead = entries.peek().copied().unwrap_or_default();
            let mut ahead = ahead.chunks(LINES.div_ceil(images.len().max(1)));
            for (raw, pass) in images.iter().zip(passes.iter_mut()) {
                simd::ask_for(&raw[tile.ahead.0..tile.ahead.1]);
                simd::ask_for(ahead.next().unwrap_or_default());
                simd::lay_out(level, raw, &tile.rectangle, &mut shared.raw);
                let mut odd = simd::calibrate_lines(level, &shared.raw, constants, plain, &mut shared.values);
                while odd != 0 {
                    let line = odd.trailing_zeros() as usize;
                    odd &= odd - 1;
                    for (lane, value) in shared.values[line].iter_mut().enumerate() {
                        let Some(pixel) = tile.rectangle.pixel(line * LANES + lane) else { continue };
                        *value = calibration.value(pixel, raw[pixel]);
                        let full = calibration.saturated(raw[pixel]) && calibration.mask().good[pixel];
                        pass.saturated += u32::from(full);
                    }
                }
                moments(level, tile, lines, pass, shared);
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
        for (tile, lines) in self.tiles.iter() {
            simd::lay_out_plainly(values, &tile.rectangle, &mut shared.values);
            moments(level, tile, lines, pass, shared);
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
        let Pass { samples, cores, sides, outside, missing, saturated, .. } = pass;
        cores.set(self.rings.samples(samples).map(|samples| Ring::core(level, samples, snr)));
        sides.reset(cores.len());
        outside.clear();
        missing.clear();
        missing.resize(cores.len(), 0);
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
        let Pass { cores, sides, outside, missing, statistics, .. } = pass;
        sort(outside, cores.len(), shared);
        let mut wide = vec![false; cores.len()];
        statistics.clear();
        statistics.extend(self.rings.pixels().iter().enumerate().map(|(ring, pixels)| {
            let outside = shared.outside(ring);
            #[allow(clippy::cast_possible_truncation)] // a detector has < 2^32 pixels
            let count = pixels - missing[ring] - outside.len() as u32;
            let (sum, square) = sides.total(ring);
            let sums = Sums { count, sum, square };
            let made = Ring::of_core(cores.of(ring), sums, outside, p.snr, p.threshold);
            wide[ring] = made.is_none();
            made.unwrap_or(Ring::NONE)
        }));
        if wide.contains(&true) {
            outside.retain(|pixel| !wide[usize::from(pixel.ring)]);
            let kept = outside.len();
            let members = self.rings.members(|ring| wide[usize::from(ring)]);
            outside.extend(members.map(|(ring, at)| Pixel { at, ring, value: values.at(at as usize) }));
            sort(&outside[kept..], cores.len(), shared);
            for ring in (0..wide.len()).filter(|ring| wide[*ring]) {
                statistics[ring] = Ring::of_values(level, shared.outside(ring), p.snr, p.threshold);
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
fn moments(level: Level, tile: &Tile, lines: &[Line], pass: &mut Pass, shared: &mut Shared) {
    let Shared { values, strays, .. } = shared;
    let Pass { cores, sides, outside, missing, .. } = pass;
    simd::moments(level, values, lines, cores, sides, strays);
    let mut stray = |place: usize, ring: u16, value: f32| match tile.rectangle.pixel(place) {
        Some(_) if value.is_nan() => missing[usize::from(ring)] += 1,
        Some(at) => outside.push(Pixel { at: at as u32, ring, value }),
        None => {}
    };
    for Strays { line, first, second } in strays.drain(..) {
        for (which, mut lanes) in [first, second].into_iter().enumerate() {
            while lanes != 0 {
                let lane = lanes.trailing_zeros() as usize;
                lanes &= lanes - 1;
                let Some(pixel) = lines[line].pixels(lane)[which] else { continue };
                stray(line * LANES + pixel, lines[line].ring(lane), values[line][pixel]);
            }
        }
    }
    for (place, ring) in &tile.rest {
        let (place, core) = (usize::from(*place), cores.of(usize::from(*ring)));
        let value = values[place / LANES][place % LANES];
        if core.holds(value) {
            sides.add(usize::from(*ring), value - core.centre);
        } else {
            stray(place, *ring, value);
        }
    }
}

impl Shared {
    /// What [`sort`] put there of a ring.
    fn outside(&self, ring: usize) -> &[f32] {
        &self.sorted[self.starts[ring] as usize..self.starts[ring + 1] as usize]
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
