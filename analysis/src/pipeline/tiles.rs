//! A detector cut into tiles of 16 x 64 pixels, each with its pixels laid out across the rings: so an image goes through the cache
//! once, and sixteen rings are summed in a register. Compiled once per trial.

use super::pass::SHARES;
use super::rings::Rings;
use crate::detectors::{Code, Entry, Mask, Steps};
use crate::frame::Shape;
use crate::simd::{BLOCKS, Entries, LANES, LINES, Line, PIXELS, Rectangle};

/// All tiles of a detector that hold a good pixel, in the order of panels, rows and columns.
#[derive(Clone, Debug)]
pub(super) struct Tiles {
    all: Vec<Tile>,
    /// The lines of each.
    lines: Vec<Line>,
}

/// A tile.
#[derive(Clone, Debug)]
pub(super) struct Tile {
    /// Its pixels in the data array.
    pub(super) rectangle: Rectangle,
    /// As many pixels of the tiles below, in the order of memory: what is needed when this row of tiles is done.
    pub(super) ahead: (usize, usize),
    /// Places (line x 16 + pixel of the line) that found no room in their line, with their rings.
    pub(super) rest: Vec<(u16, u16)>,
}

/// The constants of pixels that have not switched, in the order in which they are used.
#[derive(Clone, Debug)]
pub(super) struct Ordered {
    /// Of each tile's lines.
    pub(super) lines: Vec<Entries>,
    /// Of the samples' runs.
    pub(super) runs: Vec<Entries>,
    /// What their codes mean.
    pub(super) steps: Steps,
}

impl Tiles {
    /// Cuts every panel of the data array.
    pub(super) fn new(shape: Shape, rings: &Rings, mask: &Mask) -> Self {
        let mut tiles = Self { all: Vec::new(), lines: Vec::new() };
        for (panel, row) in
            (0..shape.panels).flat_map(|p| (0..shape.rows).step_by(LANES).map(move |y| (p, y)))
        {
            let rows = LANES.min(shape.rows - row);
            for column in (0..shape.columns).step_by(BLOCKS * LANES) {
                let first = panel * shape.panel_len() + row * shape.columns + column;
                let columns = (BLOCKS * LANES).min(shape.columns - column);
                let mut line = (0..rows).map(|y| first + y * shape.columns);
                if line.any(|from| mask.good[from..from + columns].contains(&true)) {
                    let below = (first + rows * shape.columns + (LANES - 1) * column).min(shape.len());
                    let ahead = (below, (below + PIXELS).min(shape.len()));
                    let rectangle = Rectangle { first, stride: shape.columns, rows, columns, upright: 0 };
                    let (tile, lines) = Tile::new(rectangle, ahead, rings);
                    tiles.all.push(tile);
                    tiles.lines.extend(lines);
                }
            }
        }
        tiles
    }

    /// The tiles in [`SHARES`] parts as large as each other, each with its lines and its part of what belongs to the lines.
    pub(super) fn shares<'a, T>(
        &'a self,
        of_lines: &'a [T],
    ) -> impl Iterator<Item = ((&'a [Tile], &'a [Line]), &'a [T])> {
        let each = self.all.len().div_ceil(SHARES);
        (0..SHARES).map(move |share| {
            let tiles = (share * each).min(self.all.len())..((share + 1) * each).min(self.all.len());
            let lines = tiles.start * LINES..tiles.end * LINES;
            let of_lines = of_lines.get(lines.clone()).unwrap_or_default();
            ((&self.all[tiles], &self.lines[lines]), of_lines)
        })
    }
}

impl Tile {
    /// Each block's lines are rows or columns, whichever leave fewer pixels without room and give fewer rings two.
    #[allow(clippy::cast_possible_truncation)] // a tile has 2^10 pixels, a ring is a u16
    fn new(mut rectangle: Rectangle, ahead: (usize, usize), rings: &Rings) -> (Self, Vec<Line>) {
        let (mut lines, mut rest) = (Vec::with_capacity(LINES), Vec::new());
        for block in 0..BLOCKS {
            let mut cut = |upright: bool| {
                rectangle.upright = rectangle.upright & !(1 << block) | u8::from(upright) << block;
                let ring = |place: usize| {
                    let ring = rings.of(rectangle.pixel(place)?);
                    (ring < rings.len()).then_some(ring as u16)
                };
                let (mut lines, mut rest) = (Vec::with_capacity(LANES), Vec::new());
                for line in block * LANES..(block + 1) * LANES {
                    let of: [_; LANES] = std::array::from_fn(|pixel| ring(line * LANES + pixel));
                    let (made, left) = Line::new(&of);
                    lines.push(made);
                    let left = left
                        .into_iter()
                        .filter_map(|pixel| Some(((line * LANES + pixel) as u16, of[pixel]?)));
                    rest.extend(left);
                }
                let doubled: u32 = lines.iter().map(Line::doubled).sum();
                ((rest.len(), doubled), lines, rest)
            };
            let (rows, columns) = (cut(false), cut(true));
            // The last cut was upright.
            let chosen = if columns.0 < rows.0 { columns } else { cut(false) };
            lines.extend(chosen.1);
            rest.extend(chosen.2);
        }
        (Self { rectangle, ahead, rest }, lines)
    }
}

impl Ordered {
    /// Of constants in the order of memory.
    pub(super) fn new(table: &[Entry], steps: Steps, tiles: &Tiles, rings: &Rings) -> Self {
        let code = |pixel: usize| steps.code(table[pixel]).unwrap_or(Code::NONE);
        let of = |pixel: Option<usize>| pixel.map_or_else(Code::default, code);
        let lines = tiles.all.iter().flat_map(|tile| {
            (0..LINES).map(move |line| Entries::new(|pixel| of(tile.rectangle.pixel(line * LANES + pixel))))
        });
        let runs = rings.runs().iter().map(|run| Entries::new(|lane| code(run.pixel as usize + lane)));
        Self { lines: lines.collect(), runs: runs.collect(), steps }
    }
}

#[cfg(test)]
#[allow(clippy::cast_precision_loss)] // rows and columns are small
mod tests {
    use super::*;

    #[test]
    fn every_pixel_of_a_ring_has_one_place() {
        let shape = Shape { panels: 2, rows: 70, columns: 131 };
        let mut mask = Mask::open(shape);
        (0..shape.len()).step_by(7).for_each(|i| mask.good[i] = false);
        let radii: Vec<f32> = (0..shape.len())
            .map(|i| ((i / shape.columns) as f32 - 60.0).hypot((i % shape.columns) as f32 - 20.0))
            .collect();
        let rings = Rings::new(&radii, &mask);
        let tiles = Tiles::new(shape, &rings, &mask);
        let (mut found, mut rest) = (Vec::new(), 0);
        let all = || {
            tiles
                .shares::<()>(&[])
                .flat_map(|((tiles, lines), _)| tiles.iter().zip(lines.chunks_exact(LINES)))
        };
        for (tile, lines) in all() {
            for (number, line) in lines.iter().enumerate() {
                for (lane, pixel) in (0..LANES).flat_map(|lane| line.pixels(lane).map(|pixel| (lane, pixel)))
                {
                    let Some(pixel) = pixel else { continue };
                    let pixel = tile.rectangle.pixel(number * LANES + pixel).unwrap();
                    assert_eq!(rings.of(pixel), usize::from(line.ring(lane)));
                    found.push(pixel);
                }
            }
            for (place, ring) in &tile.rest {
                let pixel = tile.rectangle.pixel(usize::from(*place)).unwrap();
                assert_eq!(rings.of(pixel), usize::from(*ring));
                found.push(pixel);
            }
            rest += tile.rest.len();
        }
        found.sort_unstable();
        assert!(found.iter().copied().eq((0..shape.len()).filter(|i| mask.good[*i])));
        assert_eq!(all().count(), 2 * 5 * 3);
        // Only about the beam are rings too curved for lines.
        assert!(rest < shape.len() / 50, "{rest}");
        let upright = all().map(|(tile, _)| tile.rectangle.upright.count_ones()).sum::<u32>();
        assert!((10..100).contains(&upright), "{upright}");
    }
}
