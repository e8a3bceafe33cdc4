//! Where every pixel of a detector is: panels as rectangles of the data array, each with a place and two directions. Read from
//! psana `.data`, CrystFEL `.geom` and CBF axes by the modules below, used as one type everywhere.
//!
//! Laboratory frame: origin at the interaction point, +z along the beam, metres. Pixel coordinates (fast, slow) count within
//! the data array of a panel; a whole number is the centre of a pixel, as the centroid of a spot is.

use std::ops::Range;

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
}

/// A detector's geometry. z of the panels includes the distance; a shot's own distance is set by [`Geometry::at_distance`].
#[derive(Clone, Debug, PartialEq)]
pub struct Geometry {
    /// All panels; no two overlap in the data array.
    pub panels: Vec<Panel>,
    /// Distance along the beam that the panels' z holds, metres.
    pub distance: f64,
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
}
