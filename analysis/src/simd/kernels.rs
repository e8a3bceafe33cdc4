//! The kernels: calibrating, sampling, screening and summing. Bodies are plain loops over arrays of fixed length, the form that
//! becomes vector code.

use super::level::versions;
use crate::detectors::Entry;

/// Pixels that [`screen`] compares with one limit.
pub(crate) const TILE: usize = 64;
/// Pixels that [`sample`] takes together.
pub(crate) const RUN: usize = 16;
/// Lanes of [`sums`].
const LANES: usize = 16;

/// The raw values `from..to`, whose calibration is the first table's; others are odd: another gain stage, or not measured.
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

versions! {
    /// `out[i] = (raw[i] - offset) * scale` for all pixels. Chunks of [`TILE`] pixels with an odd raw value are put into `odd`
    /// by number: their values are to be made one by one.
    fn calibrate(raw: &[u16], table: &[Entry], plain: Plain, out: &mut [f32], odd: &mut Vec<u32>) {
        let chunks = raw.chunks(TILE).zip(table.chunks(TILE)).zip(out.chunks_mut(TILE));
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
    /// The pixels whose raw value exceeds their floor by their tile's limit or more: tile number, counted from `first`, and one
    /// bit per pixel. Tiles without such a pixel are left out.
    fn screen(raw: &[u16], floor: &[u16], limits: &[u16], first: u32, out: &mut Vec<(u32, u64)>) {
        let tiles = raw.chunks(TILE).zip(floor.chunks(TILE)).zip(limits);
        for (number, ((raw, floor), limit)) in (first..).zip(tiles) {
            let mut most = 0_u16;
            for (raw, floor) in raw.iter().zip(floor) {
                most = most.max(raw.saturating_sub(*floor));
            }
            if most >= *limit {
                let mut bits = 0_u64;
                for (bit, (raw, floor)) in raw.iter().zip(floor).enumerate() {
                    bits |= u64::from(raw.saturating_sub(*floor) >= *limit) << bit;
                }
                out.push((number, bits));
            }
        }
    }
}

versions! {
    /// The pixels whose value is above their tile's limit: tile number, counted from `first`, and one bit per pixel.
    fn screen_values(values: &[f32], limits: &[f32], first: u32, out: &mut Vec<(u32, u64)>) {
        for (number, (values, limit)) in (first..).zip(values.chunks(TILE).zip(limits)) {
            let mut any = false;
            for value in values {
                any |= *value > *limit;
            }
            if any {
                let mut bits = 0_u64;
                for (bit, value) in values.iter().enumerate() {
                    bits |= u64::from(*value > *limit) << bit;
                }
                out.push((number, bits));
            }
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
    fn sums(values: &[f32], low: f32, high: f32, about: f32) -> (u32, f64, f64) {
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
            for lane in 0..LANES {
                total.0 += n[lane];
                total.1 += f64::from(sum[lane]);
                total.2 += f64::from(square[lane]);
            }
        }
        total
    }
}
