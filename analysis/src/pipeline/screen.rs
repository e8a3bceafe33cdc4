//! Which pixels can be strong at all: tiles of 64 neighbours against one limit each. What passes is looked at exactly, so
//! the outcome is that of looking at every pixel, for two bytes of constants per pixel instead of ten.
//!
//! A pixel is strong above the threshold T of its ring: (raw - offset) * scale > T. So with T the least of the tile's rings and
//! the scale its largest, raw - floor(offset) is at least T / scale; raw values that need a second look always pass.

use super::rings::{Ring, Rings};
use crate::detectors::Calibration;
use crate::simd::TILE;

/// Rounding of f32 in the calibration of a pixel, more than covered.
const ROUNDING: f32 = 1.0 - 1e-5;

/// The tiles of a detector.
#[derive(Clone, Debug)]
pub(super) struct Screen {
    tiles: Vec<Tile>,
    /// Per pixel the whole part of its offset; the largest u16 where it does not count. Empty where values depend on more than
    /// their own raw u16.
    floor: Vec<u16>,
    /// Twice as many rings as this are in the widest tile.
    widest: usize,
}

/// What is known of a tile without an image.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Tile {
    /// Its first ring and the one after its last; none where they are equal.
    rings: (u16, u16),
    /// Largest scale.
    scale: f32,
    /// The excess over the floor that every raw value that needs a second look has; below 0 where every pixel does.
    second: i32,
    /// How far the floors lie above the offsets (offsets below 0).
    above: i32,
}

/// Least thresholds of 1, 2, 4... neighbouring rings.
#[derive(Clone, Debug, Default)]
pub(super) struct Least(Vec<Vec<f32>>);

impl Screen {
    /// Tiles over the pixels of all rings.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped
    pub(super) fn new(calibration: &Calibration, rings: &Rings) -> Self {
        let good = &calibration.mask().good;
        let none = rings.len() as u16;
        let count = rings.per_pixel().len();
        let direct = calibration.direct();
        let mut floor = vec![u16::MAX; if direct.is_some() { count } else { 0 }];
        let mut tiles = Vec::with_capacity(count.div_ceil(TILE));
        for from in (0..count).step_by(TILE) {
            let mut tile = Tile { rings: (none, 0), second: i32::from(u16::MAX), ..Tile::default() };
            for i in (from..(from + TILE).min(count)).filter(|i| good[*i]) {
                let ring = rings.of(i) as u16;
                if ring < none {
                    tile.rings = (tile.rings.0.min(ring), tile.rings.1.max(ring + 1));
                }
                let Some((table, plain)) = direct else { continue };
                let entry = table[i];
                let whole = entry.offset.floor().clamp(-1e6, 1e6) as i32;
                floor[i] = whole.clamp(0, i32::from(u16::MAX - 1)) as u16;
                tile.above = tile.above.max(i32::from(floor[i]) - whole);
                tile.second = tile.second.min(i32::from(plain.to) - i32::from(floor[i]));
                if entry.scale < 0.0 {
                    tile.scale = f32::INFINITY;
                } else if ring < none && !entry.scale.is_nan() {
                    tile.scale = tile.scale.max(entry.scale);
                }
            }
            if tile.rings.0 >= tile.rings.1 {
                tile.rings = (0, 0);
            }
            tiles.push(tile);
        }
        let widest = tiles.iter().map(|tile| usize::from(tile.rings.1 - tile.rings.0)).max().unwrap_or(0);
        Self { tiles, floor, widest }
    }

    /// Whole part of the offset per pixel; empty where values have to be made first.
    pub(super) fn floor(&self) -> &[u16] {
        &self.floor
    }

    /// Per tile the least excess over the floor at which a pixel is looked at.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // clamped
    pub(super) fn limits(&self, statistics: &[Ring], least: &mut Least, out: &mut Vec<u16>) {
        least.fill(statistics, self.widest);
        out.clear();
        out.extend(self.tiles.iter().map(|tile| {
            let threshold = least.of(tile.rings);
            if threshold < 0.0 || tile.scale == f32::INFINITY {
                return 0;
            }
            let needed = if tile.scale > 0.0 { threshold / tile.scale * ROUNDING } else { f32::INFINITY };
            let needed = needed.ceil().clamp(1.0, f32::from(u16::MAX)) as i32 - tile.above;
            needed.min(tile.second).max(0) as u16
        }));
    }

    /// Per tile the value above which a pixel is looked at.
    pub(super) fn value_limits(&self, statistics: &[Ring], least: &mut Least, out: &mut Vec<f32>) {
        least.fill(statistics, self.widest);
        out.clear();
        out.extend(self.tiles.iter().map(|tile| least.of(tile.rings)));
    }
}

impl Least {
    fn fill(&mut self, statistics: &[Ring], widest: usize) {
        let levels = widest.max(1).ilog2() as usize + 1;
        self.0.resize(levels, Vec::new());
        for level in 0..levels {
            let (below, rest) = self.0.split_at_mut(level);
            let this = &mut rest[0];
            this.clear();
            match below.last() {
                None => this.extend(statistics.iter().map(|ring| ring.threshold)),
                Some(half) => {
                    let step = 1 << (level - 1);
                    this.extend((0..(half.len().saturating_sub(step))).map(|i| half[i].min(half[i + step])));
                }
            }
        }
    }

    /// The least threshold of the rings `from..to`; infinite for none.
    #[inline]
    fn of(&self, (from, to): (u16, u16)) -> f32 {
        let (from, to) = (usize::from(from), usize::from(to));
        if from >= to {
            return f32::INFINITY;
        }
        let level = (to - from).ilog2() as usize;
        self.0[level][from].min(self.0[level][to - (1 << level)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_a_range_is_found() {
        let mut random = fastrand::Rng::with_seed(5);
        let statistics: Vec<Ring> =
            (0..97).map(|_| Ring { threshold: random.f32(), ..Ring::default() }).collect();
        let mut least = Least::default();
        least.fill(&statistics, 40);
        for from in 0..97_u16 {
            for to in from..(from + 41).min(98) {
                let plainly = statistics[usize::from(from)..usize::from(to)]
                    .iter()
                    .map(|ring| ring.threshold)
                    .fold(f32::INFINITY, f32::min);
                assert_eq!(least.of((from, to)).to_bits(), plainly.to_bits(), "{from}..{to}");
            }
        }
    }
}
