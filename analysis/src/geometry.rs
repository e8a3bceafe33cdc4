//! Where every pixel of a detector is: panels as rectangles of the data array, each with a place and two directions. Read from
//! psana `.data`, CrystFEL `.geom` and CBF axes by the modules below, used as one type everywhere.
//!
//! Laboratory frame: origin at the interaction point, +z along the beam, +y up where the file says so, right-handed, metres.
//! Pixel coordinates (fast, slow) count within the data array of a panel; a whole number is the centre of a pixel, as the
//! centroid of a spot is. Files that count from a pixel's corner are moved by half a pixel when they are read, never later.

pub mod cbf;
pub mod crystfel;
mod fault;
pub mod psana;

use std::ops::Range;

use crate::frame::Shape;
pub use fault::{Fault, GeometryError};

/// A rectangle of the data array without gaps or bends: a module, an ASIC.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// Its name in the file, such as `q0a1` or `p3`.
    pub name: String,
    /// Which panel of the data array ([`crate::frame::Shape::panels`]).
    pub panel: usize,
    /// Its rows in that panel.
    pub rows: Range<usize>,
    /// Its columns in that panel.
    pub columns: Range<usize>,
    /// The centre of its first pixel, metres.
    pub origin: [f64; 3],
    /// The step to the next pixel of a row, metres.
    pub fast: [f64; 3],
    /// The step to the next row, metres.
    pub slow: [f64; 3],
}

impl Panel {
    /// The place of pixel coordinates of the data array's panel, metres.
    #[allow(clippy::cast_precision_loss)] // rows and columns are far below 2^52
    pub fn position(&self, fast: f64, slow: f64) -> [f64; 3] {
        let (f, s) = (fast - self.columns.start as f64, slow - self.rows.start as f64);
        std::array::from_fn(|i| self.origin[i] + f * self.fast[i] + s * self.slow[i])
    }

    /// The length of the step along a row, metres.
    pub fn pixel_size(&self) -> f64 {
        self.fast.iter().map(|v| v * v).sum::<f64>().sqrt()
    }
}

/// A detector's geometry. z of the panels includes the distance; a shot's own distance is set by [`Geometry::at_distance`].
#[derive(Clone, Debug, PartialEq)]
pub struct Geometry {
    /// All panels; no two overlap in the data array.
    pub panels: Vec<Panel>,
    /// Distance along the beam that the panels' z holds, metres.
    pub distance: f64,
}

/// A geometry that does not fit the data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// The file describes another array.
    #[error(
        "the geometry is for an array of {described}, the data are {data}: take the geometry of this detector"
    )]
    Shape {
        /// What the geometry needs at least.
        described: Shape,
        /// What the data are.
        data: Shape,
    },
    /// A panel would have to be cut.
    #[error("panel `{panel}` of the geometry does not lie within one panel of the data ({data})")]
    Cut {
        /// The panel's name.
        panel: String,
        /// What the data are.
        data: Shape,
    },
}

impl Geometry {
    /// The same detector moved along the beam so that its distance is `distance` metres.
    #[must_use]
    pub fn at_distance(&self, distance: f64) -> Self {
        let mut moved = self.clone();
        for panel in &mut moved.panels {
            panel.origin[2] += distance - self.distance;
        }
        moved.distance = distance;
        moved
    }

    /// The smallest array that holds all panels.
    pub fn shape(&self) -> Shape {
        let most = |of: &dyn Fn(&Panel) -> usize| self.panels.iter().map(of).max().unwrap_or(0);
        Shape {
            panels: most(&|p| p.panel + 1),
            rows: most(&|p| p.rows.end),
            columns: most(&|p| p.columns.end),
        }
    }

    /// The geometry for data of another arrangement of the same pixels. Cheetah and CrystFEL lay the modules of a detector
    /// out in one plane, the DAQ stacks them: module m of the stack is in the plane at row block m mod R, column block
    /// m div R, of R row blocks (Jungfrau: all below each other; CSPAD: a quadrant's eight sections below each other, the
    /// quadrants side by side; facts of the CXI layout in CrystFEL's geometry files).
    pub fn for_shape(&self, data: Shape) -> Result<Self, Misfit> {
        let described = self.shape();
        let fits = |s: Shape| s.panels <= data.panels && s.rows <= data.rows && s.columns <= data.columns;
        if fits(described) && (described.panels > 1 || data.panels == 1) {
            return Ok(self.clone());
        }
        let misfit = || Misfit::Shape { described, data };
        if described.panels != 1 || data.is_empty() {
            return Err(misfit());
        }
        let (blocks_down, blocks_across) =
            (described.rows.div_ceil(data.rows), described.columns.div_ceil(data.columns));
        if blocks_down * blocks_across != data.panels {
            return Err(misfit());
        }
        let mut stacked = self.clone();
        for panel in &mut stacked.panels {
            let (down, across) = (panel.rows.start / data.rows, panel.columns.start / data.columns);
            let (row, column) = (down * data.rows, across * data.columns);
            if panel.rows.end > row + data.rows || panel.columns.end > column + data.columns {
                return Err(Misfit::Cut { panel: panel.name.clone(), data });
            }
            panel.panel = across * blocks_down + down;
            panel.rows = panel.rows.start - row..panel.rows.end - row;
            panel.columns = panel.columns.start - column..panel.columns.end - column;
        }
        Ok(stacked)
    }

    /// The centres of all pixels of an array, panel by panel, row by row, metres; `NaN` where no panel is.
    #[allow(clippy::cast_precision_loss)] // rows and columns are far below 2^52
    pub fn positions(&self, shape: Shape) -> Vec<[f32; 3]> {
        let mut places = vec![[f32::NAN; 3]; shape.len()];
        for panel in &self.panels {
            for row in panel.rows.start..panel.rows.end.min(shape.rows) {
                for column in panel.columns.start..panel.columns.end.min(shape.columns) {
                    let at = panel.panel * shape.panel_len() + row * shape.columns + column;
                    if let Some(place) = places.get_mut(at) {
                        #[allow(clippy::cast_possible_truncation)] // 0.1 m in f32 is good to 7 nm
                        let position = panel.position(column as f64, row as f64).map(|v| v as f32);
                        *place = position;
                    }
                }
            }
        }
        places
    }

    /// Two panels that claim the same pixel, if there are any.
    pub fn overlap(&self) -> Option<(&Panel, &Panel)> {
        let crossed = |a: &Range<usize>, b: &Range<usize>| a.start < b.end && b.start < a.end;
        self.panels.iter().enumerate().find_map(|(at, one)| {
            self.panels[at + 1..]
                .iter()
                .find(|other| {
                    one.panel == other.panel
                        && crossed(&one.rows, &other.rows)
                        && crossed(&one.columns, &other.columns)
                })
                .map(|other| (one, other))
        })
    }
}

#[cfg(test)]
mod tests;
