//! The rectangles of the data array that a geometry knows (modules, ASICs): which one a pixel is in, and how far from the beam.

use crate::frame::Shape;
use crate::geometry::Geometry;

/// A rectangle of the data array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Panel of the data array.
    pub panel: usize,
    /// First row and the one after the last.
    pub rows: (usize, usize),
    /// First column and the one after the last.
    pub columns: (usize, usize),
}

/// All regions of a detector.
#[derive(Clone, Debug)]
pub struct Regions {
    shape: Shape,
    all: Vec<Region>,
    /// Per row of the data array the regions in it, by column.
    rows: Vec<Vec<(u32, u32, u16)>>,
}

impl Regions {
    /// The regions of a geometry; the fault in words where it does not fit the data's shape.
    #[allow(clippy::cast_possible_truncation)] // a data array has far fewer than 2^32 columns, a detector than 2^16 ASICs
    pub(super) fn new(shape: Shape, geometry: &Geometry) -> Result<Self, String> {
        let mut all = Vec::with_capacity(geometry.panels.len());
        let mut rows = vec![Vec::new(); shape.panels * shape.rows];
        if geometry.panels.len() > usize::from(u16::MAX) {
            return Err(format!("it has {} panels", geometry.panels.len()));
        }
        for (i, panel) in geometry.panels.iter().enumerate() {
            if panel.panel >= shape.panels || panel.rows.end > shape.rows || panel.columns.end > shape.columns
            {
                return Err(format!(
                    "its panel `{}` is rows {:?} and columns {:?} of panel {}",
                    panel.name, panel.rows, panel.columns, panel.panel
                ));
            }
            for row in panel.rows.clone() {
                let row: &mut Vec<(u32, u32, u16)> = &mut rows[panel.panel * shape.rows + row];
                let span = (panel.columns.start as u32, panel.columns.end as u32, i as u16);
                if let Some(other) = row.iter().find(|other| other.0 < span.1 && span.0 < other.1) {
                    let other = &geometry.panels[usize::from(other.2)].name;
                    return Err(format!("its panels `{other}` and `{}` overlap", panel.name));
                }
                row.push(span);
            }
            all.push(Region {
                panel: panel.panel,
                rows: (panel.rows.start, panel.rows.end),
                columns: (panel.columns.start, panel.columns.end),
            });
        }
        for row in &mut rows {
            row.sort_unstable();
        }
        Ok(Self { shape, all, rows })
    }

    /// The regions, as the geometry's panels are ordered.
    pub fn all(&self) -> &[Region] {
        &self.all
    }

    /// The data array.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Which region a pixel of the data array is in.
    #[allow(clippy::cast_possible_truncation)] // as above
    pub fn of(&self, pixel: usize) -> Option<u16> {
        let (row, column) = (pixel / self.shape.columns, (pixel % self.shape.columns) as u32);
        self.rows[row].iter().find(|span| (span.0..span.1).contains(&column)).map(|span| span.2)
    }

    /// `true` for pixels nearer than `edge` to the edge of their region, and for those in none.
    pub(super) fn edges(&self, edge: usize) -> Vec<bool> {
        let mut hidden = vec![true; self.shape.len()];
        for region in &self.all {
            let inside = |(from, to): (usize, usize)| (from + edge)..to.saturating_sub(edge).max(from + edge);
            for row in inside(region.rows) {
                for column in inside(region.columns) {
                    hidden[region.panel * self.shape.panel_len() + row * self.shape.columns + column] = false;
                }
            }
        }
        hidden
    }
}

/// The distance of every pixel from the beam in pixels; not a number where the geometry has no pixel.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // rows and columns are small
pub(super) fn radii(shape: Shape, geometry: &Geometry) -> Vec<f32> {
    let mut radii = vec![f32::NAN; shape.len()];
    for panel in &geometry.panels {
        let size = panel.fast.iter().map(|v| v * v).sum::<f64>().sqrt();
        for row in panel.rows.clone() {
            for column in panel.columns.clone() {
                let [x, y, _] = panel.position(column as f64, row as f64);
                radii[panel.panel * shape.panel_len() + row * shape.columns + column] =
                    (x.hypot(y) / size) as f32;
            }
        }
    }
    radii
}
