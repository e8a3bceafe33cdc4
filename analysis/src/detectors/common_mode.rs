//! Common mode: what all pixels of a bank share in one image, in ADU above the pedestal, taken away before the gain.
//!
//! Jungfrau, `ePix10ka` and `ePix100` as psana does it (slac-lcls/lcls2 `UtilsCommonMode.py`): medians over the good pixels of the
//! highest gain, banks first, then rows of a bank, then columns of half a panel; only where at least ten pixels speak and the
//! median is below the limit. CSPAD: per 2x1 section the zero-photon peak (1), or the median of the unbonded pixels (5).

use super::Kind;

/// Fewest pixels whose median is believed.
const FEWEST: usize = 10;
/// Fewest pixels of a CSPAD section whose zero-photon peak is believed.
const FEWEST_IN_PEAK: u32 = 100;
/// Half the width over which a CSPAD section's zero-photon peak is averaged, ADU.
const PEAK: f32 = 5.0;

/// Banks of a detector and what is taken away.
#[derive(Clone, Copy, Debug)]
pub(super) struct CommonMode {
    kind: Kind,
    mode: u8,
    limit: f32,
}

impl CommonMode {
    /// `None` for mode 0.
    pub(super) fn new(kind: Kind, mode: u8, limit: f32) -> Option<Self> {
        (mode != 0).then_some(Self { kind, mode, limit })
    }

    /// Takes the common mode of one panel away. `adu` are ADU above the pedestal; only where `counts` a pixel speaks, and only
    /// from those something is taken away.
    pub(super) fn apply(self, adu: &mut [f32], counts: &[bool], (rows, columns): (usize, usize)) {
        let mut values = Vec::with_capacity(adu.len().min(rows * columns));
        if self.kind == Kind::Cspad {
            return self.section(adu, counts, (rows, columns), &mut values);
        }
        let bank = match self.kind {
            Kind::Jungfrau => 64,
            Kind::Epix10ka => 48,
            _ => 96,
        };
        let halves = [(0, rows / 2), (rows / 2, rows)];
        for half in halves {
            for left in (0..columns).step_by(bank) {
                let right = (left + bank).min(columns);
                if self.mode & 4 != 0 {
                    self.block(adu, counts, columns, half, (left, right), &mut values);
                }
                if self.mode & 1 != 0 {
                    for row in half.0..half.1 {
                        self.block(adu, counts, columns, (row, row + 1), (left, right), &mut values);
                    }
                }
            }
            if self.mode & 2 != 0 {
                for column in 0..columns {
                    self.block(adu, counts, columns, half, (column, column + 1), &mut values);
                }
            }
        }
    }

    /// The median of a rectangle, away from it.
    fn block(
        self,
        adu: &mut [f32],
        counts: &[bool],
        stride: usize,
        rows: (usize, usize),
        columns: (usize, usize),
        values: &mut Vec<f32>,
    ) {
        values.clear();
        for row in rows.0..rows.1 {
            let line = row * stride + columns.0..row * stride + columns.1;
            let speaking = adu[line.clone()].iter().zip(&counts[line]);
            values.extend(speaking.filter(|(_, counts)| **counts).map(|(v, _)| *v));
        }
        if values.len() < FEWEST {
            return;
        }
        let median = median(values);
        if median.abs() >= self.limit {
            return;
        }
        for row in rows.0..rows.1 {
            let line = row * stride + columns.0..row * stride + columns.1;
            for (v, counts) in adu[line.clone()].iter_mut().zip(&counts[line]) {
                *v -= if *counts { median } else { 0.0 };
            }
        }
    }

    /// A CSPAD section.
    fn section(
        self,
        adu: &mut [f32],
        counts: &[bool],
        (rows, columns): (usize, usize),
        values: &mut Vec<f32>,
    ) {
        let correction = if self.mode == 5 {
            // Every tenth pixel of the diagonal of both ASICs has no sensor bonded to it.
            let half = columns / 2;
            values.extend(
                (0..rows.min(half))
                    .step_by(10)
                    .flat_map(|i| [adu[i * columns + i], adu[i * columns + half + i]]),
            );
            values.retain(|v| v.is_finite());
            (values.len() >= FEWEST).then(|| median(values))
        } else {
            values.extend(adu.iter().zip(counts).filter(|(_, counts)| **counts).map(|(v, _)| *v));
            zero_peak(values, self.limit)
        };
        if let Some(correction) = correction.filter(|c| c.abs() < self.limit) {
            for (v, counts) in adu.iter_mut().zip(counts) {
                *v -= if *counts { correction } else { 0.0 };
            }
        }
    }
}

/// The middle value, or the mean of the two in the middle. `values` is not empty and holds numbers only.
fn median(values: &mut [f32]) -> f32 {
    let middle = values.len() / 2;
    let (below, upper, _) = values.select_nth_unstable_by(middle, f32::total_cmp);
    let upper = *upper;
    if below.len() == middle && values.len() % 2 == 1 {
        return upper;
    }
    let lower = values[..middle].iter().copied().fold(f32::MIN, f32::max);
    f32::midpoint(lower, upper)
}

/// The mean about the most frequent value within `limit` of 0: where pixels without a photon are.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // bins within the limit
fn zero_peak(values: &[f32], limit: f32) -> Option<f32> {
    let reach = limit.ceil().clamp(1.0, 16384.0) as usize;
    let mut bins = vec![0_u32; 2 * reach + 1];
    for v in values.iter().filter(|v| v.abs() <= limit) {
        bins[(v.round() + reach as f32) as usize] += 1;
    }
    // Five bins together: a peak of one bin's chance does not win.
    let sum = |i: usize| bins[i.saturating_sub(2)..(i + 3).min(bins.len())].iter().sum::<u32>();
    let peak = (0..bins.len()).max_by_key(|i| sum(*i)).filter(|i| sum(*i) >= FEWEST_IN_PEAK)?;
    let centre = peak as f32 - reach as f32;
    let near = values.iter().filter(|v| (**v - centre).abs() <= PEAK);
    let (n, total) = near.fold((0.0, 0.0), |(n, total), v| (n + 1.0, total + v));
    Some(total / n)
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
    fn a_median_is_that_of_numpy() {
        for (values, expected) in [
            (vec![3.0, 1.0, 2.0], 2.0),
            (vec![4.0, 1.0, 3.0, 2.0], 2.5),
            (vec![5.0], 5.0),
            (vec![2.0, 1.0], 1.5),
        ] {
            assert_eq!(median(&mut values.clone()), expected, "{values:?}");
        }
    }

    #[test]
    fn banks_rows_and_columns_come_off_in_that_order() {
        let (rows, columns) = (512, 128);
        let mut random = fastrand::Rng::with_seed(1);
        let truth: Vec<f32> = (0..rows * columns).map(|_| random.f32() - 0.5).collect();
        let mut counts = vec![true; rows * columns];
        counts.iter_mut().step_by(17).for_each(|c| *c = false);
        let bank = |i: usize| 3.0 * (i / columns / 256) as f32 + 7.0 * (i % columns / 64) as f32;
        let row = |i: usize| ((i / columns) % 5) as f32 - 2.0;
        let column = |i: usize| ((i % columns) % 3) as f32 - 1.0;
        let mut adu: Vec<f32> = (0..truth.len())
            .map(|i| truth[i] + if counts[i] { bank(i) + row(i) + column(i) } else { 500.0 })
            .collect();
        CommonMode::new(Kind::Jungfrau, 7, 100.0).unwrap().apply(&mut adu, &counts, (rows, columns));
        for i in 0..truth.len() {
            if counts[i] {
                assert!((adu[i] - truth[i]).abs() < 0.6, "{i}: {} {}", adu[i], truth[i]);
            } else {
                assert_eq!(adu[i], truth[i] + 500.0);
            }
        }
    }

    #[test]
    fn too_few_pixels_or_too_large_a_median_leave_the_panel_alone() {
        let mode = CommonMode::new(Kind::Epix100, 1, 100.0).unwrap();
        let before = vec![150.0; 8 * 96];
        let mut adu = before.clone();
        mode.apply(&mut adu, &[true; 8 * 96], (8, 96));
        assert_eq!(adu, before);
        let mut adu = vec![50.0; 8 * 96];
        let counts: Vec<bool> = (0..8 * 96).map(|i| i % 96 < 9).collect();
        mode.apply(&mut adu, &counts, (8, 96));
        assert_eq!(adu, vec![50.0; 8 * 96]);
        assert!(CommonMode::new(Kind::Epix100, 0, 1.0).is_none());
    }

    #[test]
    fn a_cspad_section_is_put_on_its_zero_photon_peak() {
        let mut random = fastrand::Rng::with_seed(2);
        let size = (185, 388);
        let noise: Vec<f32> =
            (0..185 * 388).map(|_| (0..6).map(|_| random.f32() - 0.5).sum::<f32>() * 3.0).collect();
        // A third of the pixels have a photon of 30 ADU.
        let light: Vec<f32> =
            (0..noise.len()).map(|_| if random.u8(0..3) == 0 { 30.0 } else { 0.0 }).collect();
        for (mode, shift) in [(1, 13.0), (1, -8.5), (5, 13.0)] {
            let mut adu: Vec<f32> = noise.iter().zip(&light).map(|(n, l)| n + l + shift).collect();
            for i in (0..185).step_by(10) {
                adu[i * 388 + i] = shift;
                adu[i * 388 + 194 + i] = shift;
            }
            CommonMode::new(Kind::Cspad, mode, 25.0).unwrap().apply(&mut adu, &vec![true; noise.len()], size);
            let off: f32 = adu.iter().zip(&noise).zip(&light).map(|((a, n), l)| a - n - l).sum::<f32>()
                / noise.len() as f32;
            assert!(off.abs() < 0.2, "mode {mode}: {off}");
        }
    }
}
