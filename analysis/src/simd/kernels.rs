//! The kernels: calibrating, sampling, and the sums of rings. Bodies are plain loops over arrays of fixed length, the form that
//! becomes vector code.

use super::level::versions;
use crate::detectors::Entry;

/// Rows and columns of a tile.
pub(crate) const SIDE: usize = 64;
/// Values of a tile's buffer, a power of two: the tile, and room for [`NOWHERE`].
pub(crate) const BUFFER: usize = 2 * SIDE * SIDE;
/// A place of a tile's buffer that is no pixel's and holds no number.
pub(crate) const NOWHERE: u16 = 4096;
/// Pixels whose raw values are looked at together by [`calibrate`].
pub(crate) const CHUNK: usize = 64;
/// Pixels that [`sample`] takes together.
pub(crate) const RUN: usize = 16;
/// Values that are summed side by side.
pub(crate) const LANES: usize = 16;

/// The raw values `from..to`, whose calibration is the first table's; others are odd: another gain stage, not measured, or
/// saturated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plain {
    /// The smallest.
    pub(crate) from: u16,
    /// One past the largest.
    pub(crate) to: u16,
}

impl Plain {
    /// Whether a raw value is not one of them.
    #[inline]
    fn odd(self, raw: u16) -> bool {
        raw.wrapping_sub(self.from) >= self.to.wrapping_sub(self.from)
    }
}

/// Neighbouring pixels of one row or of two, and where each goes among the samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// The first pixel.
    pub(crate) pixel: u32,
    /// Places in the output.
    pub(crate) slots: [u32; RUN],
}

/// A part of a panel, at most [`SIDE`] x [`SIDE`] pixels.
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
}

/// The pixels of one ring in a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Which ring.
    pub(crate) ring: u16,
    /// How many times [`LANES`] places it has.
    pub(crate) registers: u16,
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

/// Sums of a ring's values within its core, about its centre, side by side.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(align(64))]
pub(crate) struct Side {
    count: [u32; LANES],
    sum: [f32; LANES],
    square: [f32; LANES],
}

impl Side {
    /// All together.
    pub(crate) fn total(&self) -> Sums {
        Sums {
            count: self.count.iter().sum(),
            sum: self.sum.iter().map(|v| f64::from(*v)).sum(),
            square: self.square.iter().map(|v| f64::from(*v)).sum(),
        }
    }
}

/// Count, sum and sum of squares.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sums {
    /// How many.
    pub(crate) count: u32,
    /// Their sum.
    pub(crate) sum: f64,
    /// The sum of their squares.
    pub(crate) square: f64,
}

versions! {
    /// `out[i] = (raw[i] - offset) * scale` for all pixels. Chunks of [`CHUNK`] pixels with an odd raw value are put into `odd`
    /// by number: their values are to be made one by one.
    fn calibrate(raw: &[u16], table: &[Entry], plain: Plain, out: &mut [f32], odd: &mut Vec<u32>) {
        let chunks = raw.chunks(CHUNK).zip(table.chunks(CHUNK)).zip(out.chunks_mut(CHUNK));
        for (number, ((raw, table), out)) in (0_u32..).zip(chunks) {
            let mut any = false;
            for ((raw, entry), out) in raw.iter().zip(table).zip(out) {
                *out = entry.value(f32::from(*raw));
                any |= plain.odd(*raw);
            }
            if any {
                odd.push(number);
            }
        }
    }
}

versions! {
    /// The same for a part of a panel, into the places of a tile; rows with an odd raw value are put into `odd`.
    fn calibrate_tile(
        raw: &[u16],
        table: &[Entry],
        rectangle: Rectangle,
        plain: Plain,
        out: &mut [f32; BUFFER],
        odd: &mut Vec<u32>,
    ) {
        for (row, out) in (0_u32..).zip(out.chunks_exact_mut(SIDE)).take(rectangle.rows) {
            let from = rectangle.first + row as usize * rectangle.stride;
            let (raw, table) = (&raw[from..from + rectangle.columns], &table[from..from + rectangle.columns]);
            let mut any = false;
            for ((raw, entry), out) in raw.iter().zip(table).zip(out) {
                *out = entry.value(f32::from(*raw));
                any |= plain.odd(*raw);
            }
            if any {
                odd.push(row);
            }
        }
    }
}

versions! {
    /// `out[slot] = (raw - offset) * scale` for the pixels of all runs, which lie within `raw` and `table`. Runs with an odd raw
    /// value are put into `odd` by number: their values are to be made one by one.
    fn sample(raw: &[u16], table: &[Entry], runs: &[Run], plain: Plain, out: &mut [f32], odd: &mut Vec<u32>) {
        for (number, run) in (0_u32..).zip(runs) {
            let from = run.pixel as usize;
            let (raw, table) = (&raw[from..from + RUN], &table[from..from + RUN]);
            let mut values = [0.0_f32; RUN];
            let mut any = false;
            for ((value, raw), entry) in values.iter_mut().zip(raw).zip(table) {
                *value = entry.value(f32::from(*raw));
                any |= plain.odd(*raw);
            }
            for (slot, value) in run.slots.iter().zip(values) {
                out[*slot as usize] = value;
            }
            if any {
                odd.push(number);
            }
        }
    }
}

versions! {
    /// The values of places, one after the other.
    fn arrange(values: &[f32; BUFFER], places: &[u16], out: &mut [f32]) {
        for (out, place) in out.iter_mut().zip(places) {
            *out = values[usize::from(*place) & (BUFFER - 1)];
        }
    }
}

versions! {
    /// Adds a tile's arranged values to the sums of their rings. The registers that hold a value outside their ring's core are
    /// put into `some`, each with its segment. Not a number is neither inside nor outside.
    fn moments(
        values: &[[f32; LANES]],
        segments: &[Segment],
        cores: &[Core],
        sums: &mut [Side],
        some: &mut Vec<(u32, u32)>,
    ) {
        let mut found = [0_u32; SIDE * SIDE];
        let mut first = 0;
        for (number, segment) in (0_u32..).zip(segments) {
            let Core { centre, low, high } = cores[usize::from(segment.ring)];
            let total = &mut sums[usize::from(segment.ring)];
            let Side { mut count, mut sum, mut square } = *total;
            let mut n = 0;
            let next = first + usize::from(segment.registers);
            for (register, value) in values[first..next].iter().enumerate() {
                let mut any = false;
                for lane in 0..LANES {
                    let inside = value[lane] > low && value[lane] < high;
                    let d = if inside { value[lane] - centre } else { 0.0 };
                    any |= value[lane] <= low || value[lane] >= high;
                    count[lane] += u32::from(inside);
                    sum[lane] += d;
                    square[lane] += d * d;
                }
                #[allow(clippy::cast_possible_truncation)] // a tile has fewer registers than pixels
                let at = (first + register) as u32;
                found[n % (SIDE * SIDE)] = at;
                n += usize::from(any);
            }
            *total = Side { count, sum, square };
            some.extend(found[..n].iter().map(|register| (*register, number)));
            first = next;
        }
    }
}

versions! {
    /// Adds values to sums; what is not a number adds nothing.
    fn add(sums: &mut [f32], values: &[f32]) {
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += if value.is_nan() { 0.0 } else { *value };
        }
    }
}

versions! {
    /// Count, sum and sum of squares about `about` of the values between the limits. Not a number is outside.
    #[allow(clippy::cast_precision_loss)] // lanes count below 2^24
    fn within(values: &[f32], low: f32, high: f32, about: f32) -> Sums {
        let mut total = Sums::default();
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
            for lane in 0..LANES {
                total.count += n[lane];
                total.sum += f64::from(sum[lane]);
                total.square += f64::from(square[lane]);
            }
        }
        total
    }
}
