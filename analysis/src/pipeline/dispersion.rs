//! Spots by the dispersion of counts: Winter et al. (2018), "DIALS", Acta Cryst. D74, 85, doi 10.1107/S2059798317017235; the
//! extended form as DIALS has it (dials/dials, `algorithms/image/threshold/local.h`, BSD-3).
//!
//! In a window of (2k+1)^2 pixels with m valid ones, x = sum v, y = sum v^2 and e = gain x + m noise^2:
//! - plain: strong where m y - x^2 - e (m-1) > e `sigma_b` sqrt(2(m-1)), m v - x > `sigma_s` sqrt(e m) and v > threshold;
//! - extended: A = the first of these tests (pixels that are not valid belong to it); B = A without what lies nearer than k to a pixel
//!   outside A; strong where in B, v > threshold and v >= mean + `sigma_s` sqrt(gain mean + noise^2), the mean taken over the
//!   valid pixels outside B in a window of k + 2.
//!
//! Strong pixels that share a side make a spot; its background is the mean of those windows (in the plain form with itself in it). Windows end at the edges of a region (ASIC).

use super::Spot;
use super::components::{Components, Neighbours, Strong};
use super::regions::{Region, Regions};
use super::rings::Rings;
use crate::trial::Dispersion;

/// Values at or above this do not count, as in DIALS.
const LARGEST: f32 = 16_777_216.0;
/// The largest pixel of a spot lies no farther from its centroid than this (pixels), as in DIALS.
const SEPARATION: f64 = 2.0;

/// Buffers of one image.
#[derive(Clone, Debug, Default)]
pub(super) struct Scratch {
    window: Window,
    valid: Vec<bool>,
    inside: Vec<bool>,
    eroded: Vec<bool>,
    strong: Vec<Strong>,
    background: Vec<f32>,
}

/// Running sums of a window over the rows of a region.
#[derive(Clone, Debug, Default)]
struct Window {
    count: Vec<f64>,
    sum: Vec<f64>,
    square: Vec<f64>,
}

/// Sums of one window.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    m: f64,
    x: f64,
    y: f64,
}

/// The spots of an image. `values` holds the whole data array, 0 where masked and not a number where not measured.
pub(super) fn spots(
    values: &[f32],
    parameters: &Dispersion,
    rings: &Rings,
    regions: &Regions,
    scratch: &mut Scratch,
    components: &mut Components,
) -> Vec<Spot> {
    let mut strong = std::mem::take(&mut scratch.strong);
    let mut means = std::mem::take(&mut scratch.background);
    strong.clear();
    means.clear();
    for (number, region) in (0_u16..).zip(regions.all()) {
        search(values, parameters, rings, regions, (number, region), scratch, &mut |pixel, mean| {
            strong.push(pixel);
            means.push(mean);
        });
    }
    components.find(&strong, Neighbours::Four);
    let mut spots: Vec<Spot> =
        components.iter().filter_map(|members| spot(parameters, regions, &strong, &means, members)).collect();
    scratch.strong = strong;
    scratch.background = means;
    if spots.len() > parameters.max_spots {
        spots.sort_by(|a, b| b.intensity.total_cmp(&a.intensity));
        spots.truncate(parameters.max_spots);
        spots.sort_by(|a, b| {
            (a.panel, a.slow).partial_cmp(&(b.panel, b.slow)).unwrap_or(std::cmp::Ordering::Equal)
        });
    }
    spots
}

/// One spot of its pixels; `None` where it is too small, too large or has two tops.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // pixels of a panel
fn spot(
    parameters: &Dispersion,
    regions: &Regions,
    strong: &[Strong],
    means: &[f32],
    members: &[u32],
) -> Option<Spot> {
    let count = members.len() as u32;
    if !(parameters.min_spot..=parameters.max_spot).contains(&count) {
        return None;
    }
    let (mut weight, mut x, mut y, mut background) = (0.0_f64, 0.0, 0.0, 0.0_f64);
    let mut top = strong[members[0] as usize];
    for i in members {
        let pixel = strong[*i as usize];
        let w = f64::from(pixel.value);
        weight += w;
        x += w * f64::from(pixel.column);
        y += w * f64::from(pixel.row);
        background += f64::from(means[*i as usize]);
        if pixel.value > top.value {
            top = pixel;
        }
    }
    let (x, y) = (x / weight, y / weight);
    if (f64::from(top.column) - x).hypot(f64::from(top.row) - y) > SEPARATION {
        return None;
    }
    let mean = background / members.len() as f64;
    let intensity = (weight - background) as f32;
    let variance = f64::from(parameters.gain) * mean.max(0.0) + f64::from(parameters.noise).powi(2);
    let sigma = variance.sqrt() as f32;
    Some(Spot {
        panel: regions.all()[usize::from(top.region)].panel as u16,
        fast: x as f32,
        slow: y as f32,
        intensity,
        peak: top.value - mean as f32,
        background: mean as f32,
        sigma,
        snr: intensity / sigma,
        pixels: count,
        resolution: f32::NAN,
    })
}

/// Every strong pixel of a region, with the local mean, in the order of memory.
#[allow(clippy::cast_possible_truncation)] // rows and columns of a panel are below 2^16
fn search(
    values: &[f32],
    parameters: &Dispersion,
    rings: &Rings,
    regions: &Regions,
    (number, region): (u16, &Region),
    scratch: &mut Scratch,
    found: &mut impl FnMut(Strong, f32),
) {
    let Scratch { window, valid, inside, eroded, .. } = scratch;
    let (rows, columns) = (region.rows.1 - region.rows.0, region.columns.1 - region.columns.0);
    let shape = regions.shape();
    let first = region.panel * shape.panel_len() + region.rows.0 * shape.columns + region.columns.0;
    let place = |row: usize, column: usize| first + row * shape.columns + column;
    valid.clear();
    for row in 0..rows {
        let from = place(row, 0);
        valid.extend(
            values[from..from + columns]
                .iter()
                .zip(&rings.per_pixel()[from..from + columns])
                .map(|(v, ring)| usize::from(*ring) < rings.len() && *v < LARGEST),
        );
    }
    let kernel = parameters.kernel as usize;
    let gain = f64::from(parameters.gain);
    let noise = f64::from(parameters.noise) * f64::from(parameters.noise);
    let (sigma_b, sigma_s) = (f64::from(parameters.sigma_b), f64::from(parameters.sigma_s));
    let size = (rows, columns);
    let value = |row: usize, column: usize| f64::from(values[place(row, column)]);
    let mut emit = |row: usize, column: usize, mean: f64| {
        let pixel = place(row, column);
        let strong = Strong {
            region: number,
            row: (region.rows.0 + row) as u16,
            column: (region.columns.0 + column) as u16,
            pixel: pixel as u32,
            value: values[pixel],
        };
        found(strong, mean as f32);
    };
    inside.clear();
    inside.resize(rows * columns, true);
    window.walk(
        size,
        kernel,
        |i| valid[i],
        value,
        |row, column, Sums { m, x, y }| {
            let i = row * columns + column;
            if !valid[i] {
                return;
            }
            let e = gain * x + m * noise;
            let test = m >= f64::from(parameters.min_count)
                && x >= 0.0
                && m * y - x * x - e * (m - 1.0) > e * sigma_b * (2.0 * (m - 1.0)).sqrt();
            inside[i] = test;
            let v = value(row, column);
            if !parameters.extended
                && test
                && m * v - x > sigma_s * (e * m).sqrt()
                && v > f64::from(parameters.threshold)
            {
                emit(row, column, x / m);
            }
        },
    );
    if !parameters.extended {
        return;
    }
    erode(inside, eroded, size, kernel);
    window.walk(
        size,
        kernel + 2,
        |i| valid[i] && !eroded[i],
        value,
        |row, column, Sums { m, x, .. }| {
            let i = row * columns + column;
            if !(valid[i] && eroded[i]) {
                return;
            }
            let v = value(row, column);
            let mean = if m >= 2.0 { (x / m).max(0.0) } else { 0.0 };
            if v > f64::from(parameters.threshold) && v >= mean + sigma_s * (gain * mean + noise).sqrt() {
                emit(row, column, mean);
            }
        },
    );
}

impl Window {
    /// Calls `each` with the sums about every pixel, row by row. Vertical sums are kept per column and moved down by one row.
    fn walk(
        &mut self,
        (rows, columns): (usize, usize),
        kernel: usize,
        counts: impl Fn(usize) -> bool,
        value: impl Fn(usize, usize) -> f64,
        mut each: impl FnMut(usize, usize, Sums),
    ) {
        for sums in [&mut self.count, &mut self.sum, &mut self.square] {
            sums.clear();
            sums.resize(columns, 0.0);
        }
        let add = |window: &mut Self, row: usize, sign: f64| {
            for column in 0..columns {
                if counts(row * columns + column) {
                    let v = value(row, column);
                    window.count[column] += sign;
                    window.sum[column] += sign * v;
                    window.square[column] += sign * v * v;
                }
            }
        };
        for row in 0..kernel.min(rows) {
            add(self, row, 1.0);
        }
        for row in 0..rows {
            if row + kernel < rows {
                add(self, row + kernel, 1.0);
            }
            if row > kernel {
                add(self, row - kernel - 1, -1.0);
            }
            let mut sums = Sums::default();
            for column in 0..columns + kernel {
                if column < columns {
                    sums.m += self.count[column];
                    sums.x += self.sum[column];
                    sums.y += self.square[column];
                }
                if column > 2 * kernel {
                    sums.m -= self.count[column - 2 * kernel - 1];
                    sums.x -= self.sum[column - 2 * kernel - 1];
                    sums.y -= self.square[column - 2 * kernel - 1];
                }
                if column >= kernel {
                    each(row, column - kernel, sums);
                }
            }
        }
    }
}

/// `eroded` = the pixels of `inside` with nothing outside it nearer than `kernel` in rows and columns; the region's edge is not
/// outside.
fn erode(inside: &[bool], eroded: &mut Vec<bool>, (rows, columns): (usize, usize), kernel: usize) {
    let reach = kernel - 1;
    // Along the rows, then along the columns: a square is the product of its sides.
    let mut wide = vec![true; inside.len()];
    for row in 0..rows {
        for column in (0..columns).filter(|column| !inside[row * columns + column]) {
            wide[row * columns + column.saturating_sub(reach)
                ..=row * columns + (column + reach).min(columns - 1)]
                .fill(false);
        }
    }
    eroded.clear();
    eroded.resize(inside.len(), true);
    for row in 0..rows {
        for other in row.saturating_sub(reach)..=(row + reach).min(rows - 1) {
            for column in 0..columns {
                eroded[row * columns + column] &= wide[other * columns + column];
            }
        }
    }
}
