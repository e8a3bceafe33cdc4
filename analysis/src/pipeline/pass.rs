//! The way of images through memory: a few samples tell how each ring is spread, then tile by tile an image is calibrated into
//! the cache and added to its rings' sums, and the pixels outside their rings' cores are told one by one: among them are all
//! strong ones. Several images go together, so that a tile's constants are read once for all of them.

use super::components::{Components, Strong};
use super::hands::side_by_side;
use super::peakfinder8::{self, Values};
use super::rings::Rings;
use super::statistics::Ring;
use super::tiles::{Ordered, Tile, Tiles};
use super::{Regions, Spot};
use crate::detectors::{Calibration, Steps};
use crate::simd::{self, Cores, Entries, LANES, LINES, Level, Line, Lines, Plain, Sides, Strays, Sums};
use crate::trial::Peakfinder8;

/// Images that go together.
pub(super) const TOGETHER: usize = 4;
/// Parts of a detector, each with sums of its own, so that it makes no difference how many threads have done them. More than two, so
/// that of two threads the one that is let work does more of them.
pub(super) const SHARES: usize = 4;

/// Buffers of one image.
#[derive(Clone, Debug, Default)]
pub(super) struct Pass {
    samples: Vec<f32>,
    cores: Cores,
    shares: [Share; SHARES],
    outside: Vec<Pixel>,
    /// Per ring, and one more for the pixels in none.
    pub(super) statistics: Vec<Ring>,
    /// Good pixels at their end; only of images that are not calibrated as a whole.
    pub(super) saturated: u32,
}

/// What a share of an image's tiles holds.
#[derive(Clone, Debug, Default)]
struct Share {
    sides: Sides,
    outside: Vec<Pixel>,
    /// Pixels of each ring that were not measured.
    missing: Vec<u32>,
    saturated: u32,
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
#[derive(Clone, Debug, Default)]
pub(super) struct Shared {
    /// Of each share.
    benches: [Bench; SHARES],
    odd: Vec<u32>,
    starts: Vec<u32>,
    sorted: Vec<f32>,
    found: Vec<(u32, f32)>,
    strong: Vec<Strong>,
    pub(super) components: Components,
}

/// Where a tile is worked.
#[derive(Clone, Debug)]
struct Bench {
    raw: Box<Lines<u16>>,
    values: Box<Lines<f32>>,
    strays: Vec<Strays>,
}

impl Default for Bench {
    fn default() -> Self {
        Self {
            raw: Box::new([[0; LANES]; LINES]),
            values: Box::new([[0.0; LANES]; LINES]),
            strays: Vec::new(),
        }
    }
}

/// A share of the tiles of images that go together: what a thread does at a time.
struct Part<'a> {
    tiles: (&'a [Tile], &'a [Line]),
    constants: &'a [Entries],
    images: Vec<(&'a [u16], &'a Cores, &'a mut Share)>,
    bench: &'a mut Bench,
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
    /// Statistics of images whose values depend on nothing but their own raw pixels, all together, and the pixels outside; by so
    /// many threads.
    pub(super) fn together(
        self,
        level: Level,
        parameters: &Peakfinder8,
        (ordered, plain): (&Ordered, Plain),
        images: &[&[u16]],
        passes: &mut [Pass],
        (shared, hands): (&mut Shared, usize),
    ) {
        let Self { calibration, rings, .. } = self;
        for (raw, pass) in images.iter().zip(passes.iter_mut()) {
            pass.samples.resize(rings.sampled(), 0.0);
            let runs = (ordered.runs.as_slice(), ordered.steps);
            simd::sample(level, raw, rings.runs(), runs, plain, &mut pass.samples, &mut shared.odd);
            let odd = shared.odd.drain(..).map(|number| &rings.runs()[number as usize]);
            let odd = odd.flat_map(|run| (run.pixel..).zip(run.slots));
            for (pixel, slot) in odd.chain(rings.rest().iter().copied()) {
                pass.samples[slot as usize] = calibration.value(pixel as usize, raw[pixel as usize]);
            }
            self.begin(level, parameters.snr, pass);
        }
        let mut parts: Vec<Part<'_>> = self
            .tiles
            .shares(&ordered.lines)
            .zip(&mut shared.benches)
            .map(|((tiles, constants), bench)| Part { tiles, constants, images: Vec::new(), bench })
            .collect();
        for (raw, pass) in images.iter().zip(passes.iter_mut()) {
            let Pass { cores, shares, .. } = pass;
            for (part, share) in parts.iter_mut().zip(shares) {
                part.images.push((raw, cores, share));
            }
        }
        side_by_side(hands, parts, |part| part.work(level, calibration, (ordered.steps, plain)));
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
        let shares = self.tiles.shares::<()>(&[]).zip(&mut pass.shares).zip(&mut shared.benches);
        for ((((tiles, lines), _), share), bench) in shares {
            for (tile, lines) in tiles.iter().zip(lines.chunks_exact(LINES)) {
                simd::lay_out_plainly(values, &tile.rectangle, &mut bench.values);
                moments(level, tile, lines, &pass.cores, share, bench);
            }
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
        let Pass { samples, cores, shares, .. } = pass;
        cores.set(self.rings.samples(samples).map(|samples| Ring::core(level, samples, snr)));
        for Share { sides, outside, missing, saturated } in shares {
            sides.reset(cores.len());
            outside.clear();
            missing.clear();
            missing.resize(cores.len(), 0);
            *saturated = 0;
        }
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
        let Pass { cores, shares, outside, statistics, saturated, .. } = pass;
        *saturated = shares.iter().map(|share| share.saturated).sum();
        outside.clear();
        outside.extend(shares.iter().flat_map(|share| &share.outside));
        sort(outside, cores.len(), shared);
        let mut wide = vec![false; cores.len()];
        statistics.clear();
        statistics.extend(self.rings.pixels().iter().enumerate().map(|(ring, pixels)| {
            let outside = shared.outside(ring);
            let missing: u32 = shares.iter().map(|share| share.missing[ring]).sum();
            #[allow(clippy::cast_possible_truncation)] // a detector has < 2^32 pixels
            let count = pixels - missing - outside.len() as u32;
            let totals = shares.iter().map(|share| share.sides.total(ring));
            let (sum, square) = totals.fold((0.0, 0.0), |all, share| (all.0 + share.0, all.1 + share.1));
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

impl Part<'_> {
    /// Tile by tile: its constants are read once for all images.
    fn work(self, level: Level, calibration: &Calibration, (steps, plain): (Steps, Plain)) {
        let Self { tiles: (tiles, lines), constants, mut images, bench } = self;
        let mut entries = constants.chunks_exact(LINES).peekable();
        for (tile, lines) in tiles.iter().zip(lines.chunks_exact(LINES)) {
            let constants = entries.next().unwrap_or_default();
            // Each image asks for its part of the next tile's.
            let ahead = entries.peek().copied().unwrap_or_default();
            let mut ahead = ahead.chunks(LINES.div_ceil(images.len().max(1)));
            for (raw, cores, share) in &mut images {
                simd::ask_for(&raw[tile.ahead.0..tile.ahead.1]);
                simd::ask_for(ahead.next().unwrap_or_default());
                simd::lay_out(level, raw, &tile.rectangle, &mut bench.raw);
                let mut odd =
                    simd::calibrate_lines(level, &bench.raw, (constants, steps), plain, &mut bench.values);
                while odd != 0 {
                    let line = odd.trailing_zeros() as usize;
                    odd &= odd - 1;
                    for (lane, value) in bench.values[line].iter_mut().enumerate() {
                        let Some(pixel) = tile.rectangle.pixel(line * LANES + lane) else { continue };
                        *value = calibration.value(pixel, raw[pixel]);
                        let full = calibration.saturated(raw[pixel]) && calibration.mask().good[pixel];
                        share.saturated += u32::from(full);
                    }
                }
                moments(level, tile, lines, cores, share, bench);
            }
        }
    }
}

/// A tile's values into the sums of their rings, and the pixels outside.
#[allow(clippy::cast_possible_truncation)] // a detector has < 2^32 pixels
fn moments(level: Level, tile: &Tile, lines: &[Line], cores: &Cores, share: &mut Share, bench: &mut Bench) {
    let Bench { values, strays, .. } = bench;
    let Share { sides, outside, missing, .. } = share;
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
