//! A detector's image as every format gives it, and what the data say of its shot. Plain data, not calibrated.

use std::fmt;

/// Panels, rows and columns of a detector's data array, row by row in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Panels (modules, segments); 1 for a detector of one piece.
    pub panels: usize,
    /// Rows of a panel (slow scan).
    pub rows: usize,
    /// Columns of a panel (fast scan).
    pub columns: usize,
}

impl Shape {
    /// Pixels of one panel.
    pub fn panel_len(self) -> usize {
        self.rows * self.columns
    }

    /// Pixels of the whole array.
    pub fn len(self) -> usize {
        self.panels * self.panel_len()
    }

    /// Whether it has no pixel.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.panels, self.rows, self.columns)
    }
}

/// Pixels as the detector wrote them, in native byte order.
#[derive(Clone, Debug, PartialEq)]
pub enum Pixels {
    /// Jungfrau, ePix, Rayonix, Eiger.
    U16(Vec<u16>),
    /// CSPAD.
    I16(Vec<i16>),
    /// Eiger with 32 bits.
    U32(Vec<u32>),
    /// Pilatus, CBF.
    I32(Vec<i32>),
    /// Already calibrated.
    F32(Vec<f32>),
}

impl Pixels {
    /// How many pixels.
    pub fn len(&self) -> usize {
        match self {
            Self::U16(v) => v.len(),
            Self::I16(v) => v.len(),
            Self::U32(v) => v.len(),
            Self::I32(v) => v.len(),
            Self::F32(v) => v.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Their type.
    pub fn of(&self) -> PixelType {
        match self {
            Self::U16(_) => PixelType::U16,
            Self::I16(_) => PixelType::I16,
            Self::U32(_) => PixelType::U32,
            Self::I32(_) => PixelType::I32,
            Self::F32(_) => PixelType::F32,
        }
    }
}

/// What [`Pixels`] are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names say all
pub enum PixelType {
    U16,
    I16,
    U32,
    I32,
    F32,
}

impl fmt::Display for PixelType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::F32 => "f32",
        })
    }
}

/// One detector's pixels in one image. `pixels.len() == shape.len()`.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// How the pixels are arranged.
    pub shape: Shape,
    /// The pixels, panel by panel, row by row.
    pub pixels: Pixels,
}

/// What the data say of a shot; `None` where they say nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shot {
    /// Photon energy in eV.
    pub photon_energy: Option<f64>,
    /// The accelerator's pulse id (LCLS-II pulse id, LCLS-I fiducial).
    pub pulse_id: Option<u64>,
    /// Event codes.
    pub event_codes: Vec<u16>,
    /// From the interaction point to the detector, metres.
    pub detector_distance: Option<f64>,
}
