//! The kernels over whole images: calibrating, sampling, sums. Bodies are plain loops over arrays of fixed length, the form that
//! becomes vector code.

use super::level::versions;
use super::lines::{Entries, LANES, ask_for};
use crate::detectors::{Entry, Steps};

/// Pixels whose raw values are looked at together by [`calibrate`].
pub(crate) const CHUNK: usize = 64;
/// [`sample`] asks for the pixels of a run while it takes one that is so many before.
const AHEAD: usize = 24;

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
    pub(super) fn odd(self, raw: u16) -> bool {
        raw.wrapping_sub(self.from) >= self.to.wrapping_sub(self.from)
    }
}

/// Neighbouring pixels of one row or of two, and where each goes among the samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// The first pixel.
    pub(crate) pixel: u32,
    /// Places in the output.
    pub(crate) slots: [u32; LANES],
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
    /// `out[slot] = (raw - offset) * scale` for the pixels of all runs. Runs with an odd raw value or a pixel without a code are
    /// put into `odd` by number: their values are to be made one by one.
    fn sample(
        raw: &[u16],
        runs: &[Run],
        constants: (&[Entries], Steps),
        plain: Plain,
        out: &mut [f32],
        odd: &mut Vec<u32>,
    ) {
        let (entries, steps) = constants;
        for (number, (run, entries)) in (0_u32..).zip(runs.iter().zip(entries)) {
            if let Some(next) = runs.get(number as usize + AHEAD) {
                ask_for(&raw[next.pixel as usize..][..LANES]);
            }
            let raw = &raw[run.pixel as usize..][..LANES];
            let mut values = [0.0_f32; LANES];
            let mut any = false;
            for lane in 0..LANES {
                let (entry, none) = entries.of(lane, steps);
                values[lane] = entry.value(f32::from(raw[lane]));
                any |= plain.odd(raw[lane]) | none;
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
