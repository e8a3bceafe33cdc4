//! The panels of a detector side by side as they stand: from a place of the picture to a pixel of the data array and back.
//!
//! Panels are seen from the interaction point, projected on the plane across the beam at the detector's distance: there, rings
//! of equal resolution are circles whatever a panel's own depth and tilt. Without a distance they are seen along the beam from
//! infinitely far. +x of the laboratory points to the right, +y upwards: the view of one who looks towards the source.

use std::ops::Range;

use crate::frame::Shape;
use crate::geometry::{Geometry, Panel};

type Vector = [f64; 3];

fn dot(a: Vector, b: Vector) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn cross(a: Vector, b: Vector) -> Vector {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// A panel as it is seen: pixel coordinates of a place of the plane as fractions of linear forms of (x, y, 1).
#[derive(Clone, Debug)]
struct Seen {
    panel: usize,
    rows: Range<usize>,
    columns: Range<usize>,
    fast: Vector,
    slow: Vector,
    below: Vector,
    /// Corners on the plane, metres.
    corners: [[f64; 2]; 4],
}

/// A detector as it is seen.
#[derive(Clone, Debug)]
pub(super) struct Mosaic {
    panels: Vec<Seen>,
    geometry: Geometry,
    /// Of the plane; none where it is not known.
    distance: Option<f64>,
    pixel: f64,
}

/// What a place of the picture shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cell {
    /// No pixel is there.
    Gap,
    /// A pixel that has no value.
    Masked,
    /// A value.
    Value(f32),
}

/// What stands for several pixels that fall on one place of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Several {
    /// The largest: a Bragg peak stays.
    Largest,
    /// The mean.
    Mean,
}

/// A raster on the plane.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Grid {
    /// Of its upper left corner, metres.
    pub left: f64,
    /// The same.
    pub top: f64,
    /// Metres per pixel of the picture.
    pub step: f64,
    /// Pixels of the picture.
    pub columns: usize,
    /// The same.
    pub rows: usize,
}

impl Mosaic {
    /// A geometry whose panels stand at `distance` where that is known.
    pub(super) fn new(geometry: &Geometry, distance: Option<f64>) -> Self {
        let geometry = distance.map_or_else(|| geometry.clone(), |distance| geometry.at_distance(distance));
        let before = |panel: &Panel| corners(panel).iter().all(|[_, _, z]| *z > 0.0);
        let distance = distance.filter(|d| *d > 0.0 && geometry.panels.iter().all(before));
        let panels = geometry.panels.iter().filter_map(|panel| seen(panel, distance)).collect();
        let pixel = geometry.panels.iter().map(Panel::pixel_size).find(|size| *size > 0.0).unwrap_or(1e-4);
        Self { panels, geometry, distance, pixel }
    }

    /// Of the plane, metres; none where panels are seen along the beam.
    pub(super) fn distance(&self) -> Option<f64> {
        self.distance
    }

    /// A pixel's size, metres.
    pub(super) fn pixel(&self) -> f64 {
        self.pixel
    }

    /// Left, bottom, right and top of all panels on the plane, metres.
    pub(super) fn bounds(&self) -> [f64; 4] {
        let corners = self.panels.iter().flat_map(|panel| panel.corners);
        corners.fold([f64::MAX, f64::MAX, f64::MIN, f64::MIN], |[l, b, r, t], [x, y]| {
            [l.min(x), b.min(y), r.max(x), t.max(y)]
        })
    }

    /// Where pixel coordinates of the data array are on the plane, metres; none in a gap.
    pub(super) fn place(&self, panel: usize, fast: f64, slow: f64) -> Option<[f64; 2]> {
        let (column, row) = (fast.round().max(0.0) as usize, slow.round().max(0.0) as usize);
        let found = self
            .geometry
            .panels
            .iter()
            .find(|p| p.panel == panel && p.rows.contains(&row) && p.columns.contains(&column))?;
        Some(on_plane(found.position(fast, slow), self.distance))
    }

    /// The distance of every pixel from the beam on the plane, metres; not a number where no panel is.
    pub(super) fn radii(&self, shape: Shape) -> Vec<f32> {
        let places = self.geometry.positions(shape);
        let places = places.into_iter().map(|place| on_plane(place.map(f64::from), self.distance));
        places.map(|[x, y]| x.hypot(y) as f32).collect()
    }

    /// Puts the values of a data array on a grid, not a number where a pixel has none.
    pub(super) fn draw(&self, shape: Shape, values: &[f32], grid: &Grid, several: Several) -> Vec<Cell> {
        let mut cells = vec![Cell::Gap; grid.columns * grid.rows];
        // So many places per pixel of the picture that no pixel of the detector is passed over.
        let fine = ((grid.step / self.pixel - 1e-6).ceil().max(1.0) as usize).min(16);
        let mut row_of: Vec<(f64, u32, bool)> = Vec::new();
        for panel in &self.panels {
            let xs = panel.corners.map(|[x, _]| (x - grid.left) / grid.step);
            let ys = panel.corners.map(|[_, y]| (grid.top - y) / grid.step);
            let span = |of: [f64; 4], most: usize| {
                let (low, high) = of.iter().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
                (low.floor().max(0.0) as usize).min(most)..(high.ceil().max(0.0) as usize).min(most)
            };
            let (columns, rows) = (span(xs, grid.columns), span(ys, grid.rows));
            for row in rows {
                row_of.clear();
                row_of.resize(columns.len(), (f64::MIN, 0, false));
                for part in 0..fine {
                    let y = grid.top - (row as f64 + (part as f64 + 0.5) / fine as f64) * grid.step;
                    for (i, column) in columns.clone().enumerate() {
                        for part in 0..fine {
                            let x =
                                grid.left + (column as f64 + (part as f64 + 0.5) / fine as f64) * grid.step;
                            let Some((row, column)) = panel.pixel(x, y) else { continue };
                            let at = panel.panel * shape.panel_len() + row * shape.columns + column;
                            let value = values.get(at).copied().unwrap_or(f32::NAN);
                            let (sum, n, inside) = &mut row_of[i];
                            *inside = true;
                            if value.is_nan() {
                                continue;
                            }
                            *n += 1;
                            *sum = match several {
                                Several::Largest => sum.max(f64::from(value)),
                                Several::Mean => {
                                    if *n == 1 {
                                        f64::from(value)
                                    } else {
                                        *sum + f64::from(value)
                                    }
                                }
                            };
                        }
                    }
                }
                for (i, (sum, n, inside)) in row_of.iter().enumerate() {
                    let cell = &mut cells[row * grid.columns + columns.start + i];
                    match (n, several) {
                        (0, _) if *inside && *cell == Cell::Gap => *cell = Cell::Masked,
                        (0, _) => {}
                        (_, Several::Largest) => *cell = Cell::Value(*sum as f32),
                        (_, Several::Mean) => *cell = Cell::Value((*sum / f64::from(*n)) as f32),
                    }
                }
            }
        }
        cells
    }
}

impl Seen {
    /// Row and column of the panel at a place of the plane.
    fn pixel(&self, x: f64, y: f64) -> Option<(usize, usize)> {
        let at = [x, y, 1.0];
        let below = dot(self.below, at);
        let (fast, slow) = (dot(self.fast, at) / below + 0.5, dot(self.slow, at) / below + 0.5);
        let within =
            |v: f64, of: &Range<usize>| (v >= 0.0 && v < of.len() as f64).then(|| of.start + v as usize);
        Some((within(slow, &self.rows)?, within(fast, &self.columns)?))
    }
}

fn on_plane([x, y, z]: Vector, distance: Option<f64>) -> [f64; 2] {
    let nearer = distance.map_or(1.0, |distance| distance / z);
    [x * nearer, y * nearer]
}

/// The outer corners of a panel's corner pixels.
fn corners(panel: &Panel) -> [Vector; 4] {
    let (left, right) = (panel.columns.start as f64 - 0.5, panel.columns.end as f64 - 0.5);
    let (first, last) = (panel.rows.start as f64 - 0.5, panel.rows.end as f64 - 0.5);
    [(left, first), (right, first), (right, last), (left, last)]
        .map(|(fast, slow)| panel.position(fast, slow))
}

/// None for a panel that is seen edge on.
fn seen(panel: &Panel, distance: Option<f64>) -> Option<Seen> {
    let Panel { origin, fast, slow, .. } = panel;
    let (on_fast, on_slow, below): (Vector, Vector, Vector) = if let Some(distance) = distance {
        // The ray r through the plane's place meets the panel at o + a f + b s = t r. With n = f x s:
        // t = n.o / n.r, a = ((t r - o) x s).n / n.n, b = (f x (t r - o)).n / n.n; all times n.r to be linear in r.
        let n = cross(*fast, *slow);
        let (no, nn) = (dot(n, *origin), dot(n, n));
        let forms = |r: Vector| {
            let nr = dot(n, r);
            let p = std::array::from_fn(|i| no * r[i] - nr * origin[i]);
            (dot(cross(p, *slow), n) / nn, dot(cross(*fast, p), n) / nn, nr)
        };
        let parts = [forms([1.0, 0.0, 0.0]), forms([0.0, 1.0, 0.0]), forms([0.0, 0.0, distance])];
        (parts.map(|p| p.0), parts.map(|p| p.1), parts.map(|p| p.2))
    } else {
        let det = fast[0] * slow[1] - fast[1] * slow[0];
        let a = [slow[1] / det, -slow[0] / det];
        let b = [-fast[1] / det, fast[0] / det];
        let form = |c: [f64; 2]| [c[0], c[1], -c[0] * origin[0] - c[1] * origin[1]];
        (form(a), form(b), [0.0, 0.0, 1.0])
    };
    let usable = |form: &Vector| form.iter().all(|v| v.is_finite());
    let corners = corners(panel).map(|corner| on_plane(corner, distance));
    (usable(&on_fast) && usable(&on_slow) && usable(&below)).then(|| Seen {
        panel: panel.panel,
        rows: panel.rows.clone(),
        columns: panel.columns.clone(),
        fast: on_fast,
        slow: on_slow,
        below,
        corners,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A panel turned and tilted by small angles, somewhere downstream.
    fn panel(x: f64, y: f64, turn: f64, tilt: f64) -> Panel {
        let size = 1e-4;
        let (sin, cos) = turn.sin_cos();
        let fast = [size * cos, size * sin, 0.0];
        let slow = [-size * sin * tilt.cos(), size * cos * tilt.cos(), size * tilt.sin()];
        Panel { name: "p".into(), panel: 1, rows: 3..40, columns: 5..60, origin: [x, y, 0.1], fast, slow }
    }

    proptest! {
        #[test]
        fn every_pixel_is_found_where_it_is_placed(
            x in -0.05_f64..0.05, y in -0.05_f64..0.05, turn in -3.0_f64..3.0, tilt in -0.5_f64..0.5,
            column in 5_usize..60, row in 3_usize..40, off in -0.49_f64..0.49, near: bool,
        ) {
            let geometry = Geometry { panels: vec![panel(x, y, turn, tilt)], distance: 0.1 };
            let mosaic = Mosaic::new(&geometry, near.then_some(0.12));
            prop_assert_eq!(mosaic.distance().is_some(), near);
            let (fast, slow) = (column as f64 + off, row as f64 - off);
            let [px, py] = mosaic.place(1, fast, slow).expect("on the panel");
            prop_assert_eq!(mosaic.panels[0].pixel(px, py), Some((row, column)));
            let [left, bottom, right, top] = mosaic.bounds();
            prop_assert!(px > left && px < right && py > bottom && py < top);
            prop_assert!(mosaic.place(0, fast, slow).is_none());
        }
    }

    fn flat(rows: usize, columns: usize) -> Geometry {
        let panel = Panel {
            name: "p".into(),
            panel: 0,
            rows: 0..rows,
            columns: 0..columns,
            origin: [-1e-3, 1e-3, 0.1],
            fast: [1e-4, 0.0, 0.0],
            slow: [0.0, -1e-4, 0.0],
        };
        Geometry { panels: vec![panel], distance: 0.1 }
    }

    #[test]
    fn a_pixel_of_the_detector_is_a_pixel_of_the_picture() {
        let (shape, values) = (Shape { panels: 1, rows: 2, columns: 3 }, [1.0, 2.0, f32::NAN, 4.0, 5.0, 6.0]);
        let mosaic = Mosaic::new(&flat(2, 3), Some(0.1));
        let [left, _, _, top] = mosaic.bounds();
        let grid = Grid { left: left - 1e-4, top, step: 1e-4, columns: 5, rows: 2 };
        let cells = mosaic.draw(shape, &values, &grid, Several::Largest);
        let v = Cell::Value;
        assert_eq!(cells[..5], [Cell::Gap, v(1.0), v(2.0), Cell::Masked, Cell::Gap]);
        assert_eq!(cells[5..], [Cell::Gap, v(4.0), v(5.0), v(6.0), Cell::Gap]);
    }

    #[test]
    fn a_peak_survives_where_pixels_are_put_together() {
        let shape = Shape { panels: 1, rows: 4, columns: 4 };
        let mut values = [1.0; 16];
        values[5] = 100.0;
        let mosaic = Mosaic::new(&flat(4, 4), Some(0.1));
        let [left, _, _, top] = mosaic.bounds();
        let grid = Grid { left, top, step: 2e-4, columns: 2, rows: 2 };
        let largest = mosaic.draw(shape, &values, &grid, Several::Largest);
        assert_eq!(largest, [Cell::Value(100.0), Cell::Value(1.0), Cell::Value(1.0), Cell::Value(1.0)]);
        let mean = mosaic.draw(shape, &values, &grid, Several::Mean);
        assert_eq!(mean[0], Cell::Value(25.75));
    }
}
