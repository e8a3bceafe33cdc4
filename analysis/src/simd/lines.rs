//! The kernels of [`crate::pipeline`]'s pass: a tile's pixels are laid out line by line, calibrated, and added to the sums of
//! their rings. A line is sixteen neighbours along a row or a column, whichever crosses the rings: each lane of a register then
//! is a ring, and sixteen rings are summed at once. Ring r is always lane r % 16, so that sums lie in whole cache lines: one that
//! was just written can be read again without waiting for the cache.
//!
//! The bodies here are the scalar twins; `x86.rs` says the same in vector instructions, bit for bit.

use super::kernels::Plain;
use super::level::{Level, Set};
#[cfg(target_arch = "x86_64")]
use super::x86;
use crate::detectors::{Code, Entry, Steps};

/// Pixels of a line, and lines of a block: as many as a register holds.
pub(crate) const LANES: usize = 16;
/// Blocks of a tile, side by side.
pub(crate) const BLOCKS: usize = 4;
/// Lines of a tile, block by block.
pub(crate) const LINES: usize = BLOCKS * LANES;
/// Pixels of a tile.
pub(crate) const PIXELS: usize = LINES * LANES;
/// Sums are taken in so many parts, by line: none waits for the one before.
pub(super) const PARTS: usize = 4;

/// A tile's pixels, line by line.
pub(crate) type Lines<T> = [[T; LANES]; LINES];

/// Where a tile lies: [`LANES`] rows of [`BLOCKS`] blocks, fewer at the edges of a panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rectangle {
    /// Its first pixel in the data array.
    pub(crate) first: usize,
    /// Pixels from one of its rows to the next.
    pub(crate) stride: usize,
    /// Rows.
    pub(crate) rows: usize,
    /// Columns.
    pub(crate) columns: usize,
    /// The blocks whose lines are columns, a bit for each.
    pub(crate) upright: u8,
}

impl Rectangle {
    /// The pixel of a place (line x [`LANES`] + pixel of the line) in the data array; nothing outside the panel.
    #[inline]
    pub(crate) fn pixel(&self, place: usize) -> Option<usize> {
        let (line, along) = (place / LANES, place % LANES);
        let (block, across) = (line / LANES, line % LANES);
        let (row, column) = if self.upright >> block & 1 == 1 { (along, across) } else { (across, along) };
        let column = block * LANES + column;
        (row < self.rows && column < self.columns).then_some(self.first + row * self.stride + column)
    }

    /// Whether every block is whole.
    fn is_whole(&self) -> bool {
        (self.rows, self.columns) == (LANES, BLOCKS * LANES)
    }
}

/// The rings of a line, at most sixteen that follow one another: of each it has one pixel, two, or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    /// Which pixel is the first of each lane's ring, four bits a lane: even lanes in the lower half, odd ones in the upper.
    pub(super) first: u64,
    /// Which is the second.
    pub(super) second: u64,
    /// Lanes with a first pixel.
    pub(super) has_first: u16,
    /// Lanes with a second pixel.
    pub(super) has_second: u16,
    /// The innermost ring.
    pub(super) ring: u16,
}

impl Line {
    /// The line of pixels in these rings, and the pixels that find no place in it.
    #[allow(clippy::cast_possible_truncation)] // sixteen lanes
    pub(crate) fn new(rings: &[Option<u16>; LANES]) -> (Self, Vec<usize>) {
        let mut line = Self { ring: rings.iter().flatten().min().copied().unwrap_or(0), ..Self::default() };
        let mut left = Vec::new();
        for (pixel, ring) in rings.iter().enumerate() {
            let Some(ring) = ring else { continue };
            let lane = usize::from(*ring) % LANES;
            let is_near = usize::from(ring - line.ring) < LANES;
            let place = (pixel as u64) << (lane % 2 * 32 + lane / 2 * 4);
            if is_near && line.has_first >> lane & 1 == 0 {
                line.has_first |= 1 << lane;
                line.first |= place;
            } else if is_near && line.has_second >> lane & 1 == 0 {
                line.has_second |= 1 << lane;
                line.second |= place;
            } else {
                left.push(pixel);
            }
        }
        (line, left)
    }

    /// The first pixel of a lane's ring, and the second.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // below sixteen
    pub(crate) fn pixels(&self, lane: usize) -> [Option<usize>; 2] {
        let of = |places: u64, has: u16| {
            (has >> lane & 1 == 1).then_some((places >> (lane % 2 * 32 + lane / 2 * 4) & 15) as usize)
        };
        [of(self.first, self.has_first), of(self.second, self.has_second)]
    }

    /// The ring of a lane.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // below sixteen
    pub(crate) fn ring(&self, lane: usize) -> u16 {
        self.ring + (lane as u16).wrapping_sub(self.ring) % LANES as u16
    }

    /// The sixteen rings of the first lanes in [`Cores`] and [`Sides`], and the lanes that are of those; the others are of the
    /// sixteen that follow.
    #[inline]
    pub(super) fn window(&self) -> (usize, u16) {
        (usize::from(self.ring) / LANES, u16::MAX << (usize::from(self.ring) % LANES))
    }

    /// Rings of which it has a second pixel.
    pub(crate) fn doubled(&self) -> u32 {
        self.has_second.count_ones()
    }
}

/// The constants of a line's pixels, as in [`Code`]: a cache line.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub(crate) struct Entries {
    pub(super) offset: [u16; LANES],
    pub(super) scale: [u16; LANES],
}

impl Entries {
    /// Those of sixteen pixels.
    pub(crate) fn new(of: impl Fn(usize) -> Code) -> Self {
        Self {
            offset: std::array::from_fn(|pixel| of(pixel).offset),
            scale: std::array::from_fn(|pixel| of(pixel).scale),
        }
    }

    /// That of one pixel, and whether it has none of its own.
    #[inline]
    pub(super) fn of(&self, pixel: usize, steps: Steps) -> (Entry, bool) {
        let code = Code { offset: self.offset[pixel], scale: self.scale[pixel] };
        (steps.entry(code), code.scale == 0 && code.offset != 0)
    }
}

/// The values of a ring that are summed at once; those outside are told one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Core {
    /// What sums are taken about.
    pub(crate) centre: f32,
    /// Values at or below it are outside.
    pub(crate) low: f32,
    /// Values at or above it are outside.
    pub(crate) high: f32,
}

impl Core {
    /// Whether a value is within.
    #[inline]
    pub(crate) fn holds(&self, value: f32) -> bool {
        value > self.low && value < self.high
    }
}

/// The cores of sixteen rings.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub(super) struct Sixteen {
    pub(super) centre: [f32; LANES],
    pub(super) low: [f32; LANES],
    pub(super) high: [f32; LANES],
}

/// The cores of all rings, and room for a line that begins at the last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cores {
    rings: usize,
    pub(super) windows: Vec<Sixteen>,
}

impl Cores {
    /// Takes these for those before.
    pub(crate) fn set(&mut self, cores: impl Iterator<Item = Core>) {
        self.windows.clear();
        self.rings = 0;
        for core in cores {
            let lane = self.rings % LANES;
            if lane == 0 {
                self.windows.push(Sixteen::default());
            }
            if let Some(last) = self.windows.last_mut() {
                (last.centre[lane], last.low[lane], last.high[lane]) = (core.centre, core.low, core.high);
            }
            self.rings += 1;
        }
        self.windows.push(Sixteen::default());
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.rings
    }

    /// The core of a ring.
    #[inline]
    pub(crate) fn of(&self, ring: usize) -> Core {
        let (of, lane) = (&self.windows[ring / LANES], ring % LANES);
        Core { centre: of.centre[lane], low: of.low[lane], high: of.high[lane] }
    }
}

/// Sums of sixteen rings, and of the squares.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub(super) struct Side {
    pub(super) sum: [f32; LANES],
    pub(super) square: [f32; LANES],
}

/// Sums over each ring's values within its core, about its centre, and of their squares; in parts, the n-th line adds to the
/// part n % [`PARTS`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Sides(pub(super) [Vec<Side>; PARTS]);

impl Sides {
    /// Empty ones.
    pub(crate) fn reset(&mut self, rings: usize) {
        for part in &mut self.0 {
            part.clear();
            part.resize(rings.div_ceil(LANES) + 1, Side::default());
        }
    }

    /// Adds one value's distance from the centre.
    pub(crate) fn add(&mut self, ring: usize, d: f32) {
        let (side, lane) = (&mut self.0[0][ring / LANES], ring % LANES);
        side.sum[lane] += d;
        side.square[lane] += d * d;
    }

    /// Sum and sum of squares of a ring.
    pub(crate) fn total(&self, ring: usize) -> (f64, f64) {
        let lane = ring % LANES;
        self.0.iter().map(|part| &part[ring / LANES]).fold((0.0, 0.0), |(sum, square), side| {
            (sum + f64::from(side.sum[lane]), square + f64::from(side.square[lane]))
        })
    }
}

/// The pixels of a line that are not within their rings' cores, by lane; what is not a number is not either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Strays {
    /// Which line.
    pub(crate) line: usize,
    /// First pixels.
    pub(crate) first: u16,
    /// Second pixels.
    pub(crate) second: u16,
}

/// A tile of an image's pixels into lines. Places outside the panel are 0.
pub(crate) fn lay_out(level: Level, pixels: &[u16], rectangle: &Rectangle, out: &mut Lines<u16>) {
    match level.0 {
        // SAFETY: these levels are made only where the processor says that it has AVX2.
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        Set::Avx2 | Set::Avx512 if rectangle.is_whole() => unsafe { x86::lay_out(pixels, rectangle, out) },
        _ => lay_out_plainly(pixels, rectangle, out),
    }
}

/// [`lay_out`] for pixels of any type.
pub(crate) fn lay_out_plainly<T: Copy + Default>(pixels: &[T], rectangle: &Rectangle, out: &mut Lines<T>) {
    if !rectangle.is_whole() {
        out.as_flattened_mut().fill(T::default());
    }
    let (blocks, _) = out.as_chunks_mut::<LANES>();
    for (block, out) in blocks.iter_mut().enumerate().take(rectangle.columns.div_ceil(LANES)) {
        let columns = (rectangle.columns - block * LANES).min(LANES);
        for row in 0..rectangle.rows {
            let from = rectangle.first + row * rectangle.stride + block * LANES;
            let pixels = &pixels[from..from + columns];
            if rectangle.upright >> block & 1 == 1 {
                for (out, pixel) in out.iter_mut().zip(pixels) {
                    out[row] = *pixel;
                }
            } else {
                out[row][..columns].copy_from_slice(pixels);
            }
        }
    }
}

/// `out = (raw - offset) * scale` for all lines. Returns the lines with an odd raw value or a pixel without a code, a bit for each:
/// their values are to be made one by one.
pub(crate) fn calibrate_lines(
    level: Level,
    raw: &Lines<u16>,
    (entries, steps): (&[Entries], Steps),
    plain: Plain,
    out: &mut Lines<f32>,
) -> u64 {
    match level.0 {
        Set::Portable => calibrate_plainly(raw, (entries, steps), plain, out),
        // SAFETY: `Set::Avx2` is made only where the processor says that it has AVX2.
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        Set::Avx2 => unsafe { x86::calibrate_avx2(raw, (entries, steps), plain, out) },
        // SAFETY: `Set::Avx512` is made only where the processor says that it has all four parts of AVX-512.
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        Set::Avx512 => unsafe { x86::calibrate_avx512(raw, (entries, steps), plain, out) },
    }
}

fn calibrate_plainly(
    raw: &Lines<u16>,
    (entries, steps): (&[Entries], Steps),
    plain: Plain,
    out: &mut Lines<f32>,
) -> u64 {
    let mut odd = 0;
    for (number, ((raw, entries), out)) in raw.iter().zip(entries).zip(out).enumerate() {
        let mut any = false;
        for lane in 0..LANES {
            let (entry, none) = entries.of(lane, steps);
            out[lane] = entry.value(f32::from(raw[lane]));
            any |= plain.odd(raw[lane]) | none;
        }
        odd |= u64::from(any) << number;
    }
    odd
}

/// Adds a tile's values to the sums of their rings; lines with pixels that are not within their cores are put into `strays`.
pub(crate) fn moments(
    level: Level,
    values: &Lines<f32>,
    lines: &[Line],
    cores: &Cores,
    sides: &mut Sides,
    strays: &mut Vec<Strays>,
) {
    match level.0 {
        Set::Portable => moments_plainly(values, lines, cores, sides, strays),
        // SAFETY: `Set::Avx2` is made only where the processor says that it has AVX2.
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        Set::Avx2 => unsafe { x86::moments_avx2(values, lines, cores, sides, strays) },
        // SAFETY: `Set::Avx512` is made only where the processor says that it has all four parts of AVX-512.
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        Set::Avx512 => unsafe { x86::moments_avx512(values, lines, cores, sides, strays) },
    }
}

fn moments_plainly(
    values: &Lines<f32>,
    lines: &[Line],
    cores: &Cores,
    sides: &mut Sides,
    strays: &mut Vec<Strays>,
) {
    for (number, (line, values)) in lines.iter().zip(values).enumerate() {
        let mut outside = [0_u16; 2];
        for lane in 0..LANES {
            let ring = usize::from(line.ring(lane));
            let core = cores.of(ring);
            let mut d = [0.0; 2];
            for ((pixel, d), outside) in line.pixels(lane).into_iter().zip(&mut d).zip(&mut outside) {
                match pixel.map(|pixel| values[pixel]) {
                    Some(value) if core.holds(value) => *d = value - core.centre,
                    Some(_) => *outside |= 1 << lane,
                    None => {}
                }
            }
            let side = &mut sides.0[number % PARTS][ring / LANES];
            side.sum[lane] += d[0] + d[1];
            side.square[lane] += d[0] * d[0] + d[1] * d[1];
        }
        if outside != [0; 2] {
            strays.push(Strays { line: number, first: outside[0], second: outside[1] });
        }
    }
}

/// Asks for what is needed soon.
#[inline]
pub(crate) fn ask_for<T>(values: &[T]) {
    #[cfg(target_arch = "x86_64")]
    x86::ask_for(values);
    let _ = values;
}
