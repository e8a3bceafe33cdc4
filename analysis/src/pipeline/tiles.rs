//! A detector cut into tiles of 64 x 64 pixels, each with its pixels sorted by ring: so an image goes through the cache once,
//! and the sums of a ring are taken over neighbours in a register. Compiled once per trial.

use super::rings::Rings;
use crate::detectors::Mask;
use crate::frame::Shape;
use crate::simd::{BUFFER, LANES, NOWHERE, Rectangle, SIDE, Segment};

/// All tiles of a detector that hold a good pixel.
#[derive(Clone, Debug)]
pub(super) struct Tiles(Vec<Tile>);

/// A tile: places are row x [`SIDE`] + column within it.
#[derive(Clone, Debug)]
pub(super) struct Tile {
    /// Its pixels in the data array.
    pub(super) rectangle: Rectangle,
    /// Places of its pixels sorted by ring; each ring filled up to whole registers with [`NOWHERE`].
    pub(super) places: Vec<u16>,
    /// The rings in `places`, in that order.
    pub(super) segments: Vec<Segment>,
}

impl Tile {
    /// The pixel of a place.
    #[inline]
    pub(super) fn pixel(&self, place: u16) -> usize {
        let place = usize::from(place);
        self.rectangle.first + place / SIDE * self.rectangle.stride + place % SIDE
    }
}

impl Tiles {
    /// Cuts every panel of the data array.
    #[allow(clippy::cast_possible_truncation)] // a tile has 2^12 pixels
    pub(super) fn new(shape: Shape, rings: &Rings, mask: &Mask) -> Self {
        let mut tiles = Vec::new();
        let starts = |length: usize| (0..length).step_by(SIDE);
        for panel in 0..shape.panels {
            for (row, column) in
                starts(shape.rows).flat_map(|row| starts(shape.columns).map(move |column| (row, column)))
            {
                let rectangle = Rectangle {
                    first: panel * shape.panel_len() + row * shape.columns + column,
                    stride: shape.columns,
                    rows: SIDE.min(shape.rows - row),
                    columns: SIDE.min(shape.columns - column),
                };
                let place =
                    |y: usize, x: usize| (rings.of(rectangle.first + y * shape.columns + x), y * SIDE + x);
                let mut sorted: Vec<(u16, u16)> = (0..rectangle.rows)
                    .flat_map(|y| (0..rectangle.columns).map(move |x| (y, x)))
                    .map(|(y, x)| place(y, x))
                    .filter(|(ring, _)| *ring < rings.len())
                    .map(|(ring, place)| (ring as u16, place as u16))
                    .collect();
                sorted.sort_unstable();
                let (mut places, mut segments) = (Vec::new(), Vec::new());
                for group in sorted.chunk_by(|a, b| a.0 == b.0) {
                    places.extend(group.iter().map(|(_, place)| *place));
                    let whole = places.len().next_multiple_of(LANES);
                    places.resize(whole, NOWHERE);
                    segments
                        .push(Segment { ring: group[0].0, registers: group.len().div_ceil(LANES) as u16 });
                }
                let row = |y: usize| rectangle.first + y * shape.columns;
                if (0..rectangle.rows).any(|y| mask.good[row(y)..row(y) + rectangle.columns].contains(&true))
                {
                    tiles.push(Tile { rectangle, places, segments });
                }
            }
        }
        Self(tiles)
    }

    /// The tiles in the order of panels, rows and columns.
    pub(super) fn iter(&self) -> std::slice::Iter<'_, Tile> {
        self.0.iter()
    }

    /// The pixels of some rings, ring by ring within each tile.
    pub(super) fn pixels_of(&self, wanted: impl Fn(u16) -> bool) -> impl Iterator<Item = (u16, usize)> {
        self.0.iter().flat_map(move |tile| {
            let mut at = 0;
            let mut found = Vec::new();
            for segment in &tile.segments {
                let end = at + usize::from(segment.registers) * LANES;
                if wanted(segment.ring) {
                    let places = tile.places[at..end].iter().filter(|place| **place != NOWHERE);
                    found.extend(places.map(|place| (segment.ring, tile.pixel(*place))));
                }
                at = end;
            }
            found
        })
    }
}

/// An empty tile's values; the place [`NOWHERE`] is not a number.
pub(super) fn buffer() -> Box<[f32; BUFFER]> {
    let values = vec![f32::NAN; BUFFER].into_boxed_slice();
    values.try_into().expect("as many values as a buffer holds")
}

#[cfg(test)]
#[allow(clippy::cast_precision_loss)] // rows and columns are small
mod tests {
    use super::*;

    #[test]
    fn every_pixel_of_a_ring_is_in_one_tile_once() {
        let shape = Shape { panels: 2, rows: 70, columns: 131 };
        let mut mask = Mask::open(shape);
        (0..shape.len()).step_by(7).for_each(|i| mask.good[i] = false);
        let radii: Vec<f32> = (0..shape.len())
            .map(|i| ((i / shape.columns) as f32 - 60.0).hypot((i % shape.columns) as f32 - 20.0))
            .collect();
        let rings = Rings::new(&radii, &mask);
        let tiles = Tiles::new(shape, &rings, &mask);
        let mut found: Vec<(u16, usize)> = tiles.pixels_of(|_| true).collect();
        assert!(found.iter().all(|(ring, pixel)| usize::from(*ring) == rings.of(*pixel)));
        assert!(tiles.pixels_of(|ring| ring == 30).all(|(ring, _)| ring == 30));
        found.sort_unstable_by_key(|(_, pixel)| *pixel);
        let expected: Vec<usize> = (0..shape.len()).filter(|i| mask.good[*i]).collect();
        assert!(found.iter().map(|(_, pixel)| *pixel).eq(expected));
        assert_eq!(tiles.iter().count(), 2 * 2 * 3);
    }
}
