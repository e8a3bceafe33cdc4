//! Spots by peakfinder8's definition: Barty et al. (2014), "Cheetah", J. Appl. Cryst. 47, 1118, doi 10.1107/S1600576714007626.
//!
//! 1. Mean and sigma of each one-pixel ring about the beam without outliers, from all its pixels; a pixel is strong above
//!    T = max(mean + snr sigma, threshold).
//! 2. In each region (ASIC) strong pixels that touch, corners included, are a candidate if one of them is not on the region's
//!    border and it has `min_pixels` to `max_pixels`.
//! 3. Around its rounded centroid (weights v - mean of the ring) the good pixels within 2 x `local_bg_radius` that are not strong
//!    give the background: mean b, sigma s, maximum m.
//! 4. I = sum (v - b), the centroid again with weights v, SNR = I / s. It is a spot if SNR >= snr and its largest pixel stands
//!    higher above b than m does.
//!
//! s is per pixel, so SNR grows with the size of a spot: the definition's own way, kept to be comparable. When there are more
//! than `max_spots`, the strongest are kept rather than the first.

use super::Spot;
use super::components::{Components, Neighbours, Strong};
use super::regions::{Region, Regions};
use super::rings::Rings;
use super::statistics::Ring;
use crate::trial::Peakfinder8;

/// Calibrated values by place in the data array; not a number where a pixel was not measured.
pub(super) trait Values {
    /// The value of a pixel.
    fn at(&self, pixel: usize) -> f32;
    /// Reads what [`Values::at`] will read, and makes nothing of it.
    fn touch(&self, pixel: usize) -> u32;
}

impl Values for [f32] {
    #[inline]
    fn at(&self, pixel: usize) -> f32 {
        self[pixel]
    }

    #[inline]
    fn touch(&self, pixel: usize) -> u32 {
        self[pixel].to_bits()
    }
}

/// The background of a spot.
#[derive(Clone, Copy, Debug)]
struct Background {
    mean: f32,
    sigma: f32,
    max: f32,
}

/// Every strong pixel of an image, by looking at each: the definition, and the twin of the search among those outside their rings' cores.
#[cfg(test)]
pub(super) fn scan(
    values: &(impl Values + ?Sized),
    rings: &Rings,
    statistics: &[Ring],
    found: &mut Vec<(u32, f32)>,
) {
    for (pixel, ring) in (0_u32..).zip(rings.per_pixel()) {
        let value = values.at(pixel as usize);
        if value > statistics[usize::from(*ring)].threshold {
            found.push((pixel, value));
        }
    }
}

/// Strong pixels with their regions, sorted by region, row and column. Pixels in no region are in no ring either.
#[allow(clippy::cast_possible_truncation)] // rows and columns of a panel are below 2^16
pub(super) fn place(found: &[(u32, f32)], regions: &Regions, strong: &mut Vec<Strong>) {
    let shape = regions.shape();
    strong.clear();
    strong.extend(found.iter().filter_map(|(pixel, value)| {
        let in_panel = *pixel as usize % shape.panel_len();
        Some(Strong {
            region: regions.of(*pixel as usize)?,
            row: (in_panel / shape.columns) as u16,
            column: (in_panel % shape.columns) as u16,
            pixel: *pixel,
            value: *value,
        })
    }));
    strong.sort_unstable_by_key(|s| (s.region, s.row, s.column));
}

/// The spots among the strong pixels.
pub(super) fn spots(
    values: &(impl Values + ?Sized),
    parameters: &Peakfinder8,
    (rings, statistics): (&Rings, &[Ring]),
    regions: &Regions,
    strong: &[Strong],
    components: &mut Components,
) -> Vec<Spot> {
    components.find(strong, Neighbours::Eight);
    let mut spots: Vec<Spot> = components
        .iter()
        .filter_map(|members| spot(values, parameters, (rings, statistics), regions, strong, members))
        .collect();
    if spots.len() > parameters.max_spots {
        spots.sort_by(|a, b| b.intensity.total_cmp(&a.intensity));
        spots.truncate(parameters.max_spots);
        spots.sort_by(|a, b| {
            (a.panel, a.slow).partial_cmp(&(b.panel, b.slow)).unwrap_or(std::cmp::Ordering::Equal)
        });
    }
    spots
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // pixels of a panel
fn spot(
    values: &(impl Values + ?Sized),
    parameters: &Peakfinder8,
    (rings, statistics): (&Rings, &[Ring]),
    regions: &Regions,
    strong: &[Strong],
    members: &[u32],
) -> Option<Spot> {
    let region = &regions.all()[usize::from(strong[members[0] as usize].region)];
    let pixels = || members.iter().map(|i| &strong[*i as usize]);
    let inner = |p: &Strong| {
        let (row, column) = (usize::from(p.row), usize::from(p.column));
        row > region.rows.0
            && row + 1 < region.rows.1
            && column > region.columns.0
            && column + 1 < region.columns.1
    };
    let count = members.len() as u32;
    if count < parameters.min_pixels || count > parameters.max_pixels || !pixels().any(inner) {
        return None;
    }
    let (first, last) = (region.rows.0.min(usize::from(u16::MAX)), region.columns.0);
    let (x, y) = centroid(pixels().map(|p| (p, p.value - statistics[rings.of(p.pixel as usize)].mean)))?;
    let middle = ((y.round() as usize).max(first), (x.round() as usize).max(last));
    let background =
        background(values, (rings, statistics), regions.shape(), region, middle, parameters.local_bg_radius)?;
    let intensity: f32 = pixels().map(|p| p.value - background.mean).sum();
    let peak = pixels().map(|p| p.value).fold(f32::MIN, f32::max) - background.mean;
    let snr = intensity / background.sigma;
    // No spread around it gives infinity, which is above all noise, or 0/0, which is nothing.
    if snr.is_nan() || snr < parameters.snr || peak < background.max - background.mean {
        return None;
    }
    let (fast, slow) = centroid(pixels().map(|p| (p, p.value)))?;
    Some(Spot {
        panel: region.panel as u16,
        fast: fast as f32,
        slow: slow as f32,
        intensity,
        peak,
        background: background.mean,
        sigma: background.sigma,
        snr,
        pixels: count,
        resolution: f32::NAN,
    })
}

/// (column, row) weighted; `None` where the weights sum to nothing.
fn centroid<'a>(pixels: impl Iterator<Item = (&'a Strong, f32)>) -> Option<(f64, f64)> {
    let (mut weight, mut x, mut y) = (0.0_f64, 0.0_f64, 0.0_f64);
    for (pixel, w) in pixels {
        let w = f64::from(w);
        weight += w;
        x += w * f64::from(pixel.column);
        y += w * f64::from(pixel.row);
    }
    (weight > 0.0).then(|| (x / weight, y / weight))
}

/// Mean, sigma and largest of the disc's pixels that are good, measured and not strong; `None` where there is none.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // at most some thousand pixels
fn background(
    values: &(impl Values + ?Sized),
    (rings, statistics): (&Rings, &[Ring]),
    shape: crate::frame::Shape,
    region: &Region,
    (row, column): (usize, usize),
    radius: u32,
) -> Option<Background> {
    let reach = 2 * radius as usize;
    let rows = row.saturating_sub(reach).max(region.rows.0)..(row + reach + 1).min(region.rows.1);
    let columns =
        column.saturating_sub(reach).max(region.columns.0)..(column + reach + 1).min(region.columns.1);
    if rows.is_empty() || columns.is_empty() {
        return None;
    }
    let place = |y: usize| region.panel * shape.panel_len() + y * shape.columns;
    // Each row lies elsewhere in memory: asked for all together, they come in the time of one.
    let touched = rows.clone().fold(0, |touched, y| {
        let line = place(y) + columns.start..place(y) + columns.end;
        let steps = line.clone().step_by(8).chain([line.end - 1]);
        steps.fold(touched ^ rings.of(line.start), |touched, pixel| touched ^ values.touch(pixel) as usize)
    });
    std::hint::black_box(touched);
    let (mut n, mut sum, mut square, mut max) = (0_u32, 0.0_f64, 0.0_f64, f32::MIN);
    for y in rows {
        let dy = y.abs_diff(row);
        for x in columns.clone() {
            let dx = x.abs_diff(column);
            let pixel = place(y) + x;
            let ring = rings.of(pixel);
            if dx * dx + dy * dy > reach * reach || ring >= rings.len() {
                continue;
            }
            let value = values.at(pixel);
            if value <= statistics[ring].threshold {
                n += 1;
                sum += f64::from(value);
                square += f64::from(value) * f64::from(value);
                max = max.max(value);
            }
        }
    }
    let mean = sum / f64::from(n);
    (n > 0).then(|| Background {
        mean: mean as f32,
        sigma: (square / f64::from(n) - mean * mean).max(0.0).sqrt() as f32,
        max,
    })
}
