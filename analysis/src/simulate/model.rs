//! The detectors that are simulated: their arrays, how their modules stand about the beam, and what their pixels write.

use std::fmt;
use std::str::FromStr;

use crate::detectors::Kind;
use crate::frame::Shape;
use crate::geometry::{Geometry, Panel};

/// A detector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Model {
    /// Eight modules, four below each other in two columns, the beam in the middle.
    Jungfrau4M,
    /// Two modules, one above and one below the beam.
    Jungfrau1M,
    /// One module above the beam.
    Jungfrau05M,
    /// A quarter of a module's height and width above the beam, for tests with many images: no such detector is built.
    Jungfrau32k,
    /// Four panels about the beam.
    Epix10kaQuad,
    /// Sixteen panels in four by four.
    Epix10ka2M,
}

/// A name that no simulated detector has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no detector `{0}` is simulated; there are: jungfrau4M, jungfrau1M, jungfrau05M, jungfrau32k, epix10kaQuad, epix10ka2M"
)]
pub struct ModelError(String);

impl FromStr for Model {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|model| model.as_str().eq_ignore_ascii_case(text));
        known.ok_or_else(|| ModelError(text.to_owned()))
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One gain of a pixel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stage {
    /// Which mode of the constants it is.
    pub(super) mode: usize,
    /// The bits that say so in a raw pixel.
    pub(super) bits: u16,
    /// Mean pedestal, ADU.
    pub(super) pedestal: f64,
    /// Mean gain, ADU per keV; negative where more light is fewer ADU.
    pub(super) gain: f64,
    /// Read-out noise, ADU; the first stage's comes from the plan.
    pub(super) noise: f64,
    /// The ADC reading beyond which the pixel switches to the next stage.
    pub(super) limit: f64,
}

/// Jungfrau: gains as measured on a real module, switching where a real one does.
const JUNGFRAU: [Stage; 3] = [
    Stage { mode: 0, bits: 0, pedestal: 2700.0, gain: 41.06, noise: 0.0, limit: 15000.0 },
    Stage { mode: 1, bits: 0x4000, pedestal: 15000.0, gain: -1.45, noise: 2.0, limit: 2500.0 },
    Stage { mode: 2, bits: 0xc000, pedestal: 15200.0, gain: -0.115, noise: 2.0, limit: 0.0 },
];

/// `ePix10ka` in its automatic high-to-low mode: `AHL_H`, `AHL_L`.
const EPIX10KA: [Stage; 2] = [
    Stage { mode: 3, bits: 0, pedestal: 3000.0, gain: 16.4, noise: 0.0, limit: 14000.0 },
    Stage { mode: 5, bits: 0x4000, pedestal: 2500.0, gain: 0.164, noise: 2.0, limit: 16383.0 },
];

/// `asicPixelConfig` with the trbit: automatic high to low.
pub(super) const EPIX10KA_CONFIGURATION: u8 = 16;

impl Model {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Jungfrau4M,
        Self::Jungfrau1M,
        Self::Jungfrau05M,
        Self::Jungfrau32k,
        Self::Epix10kaQuad,
        Self::Epix10ka2M,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Jungfrau4M => "jungfrau4M",
            Self::Jungfrau1M => "jungfrau1M",
            Self::Jungfrau05M => "jungfrau05M",
            Self::Jungfrau32k => "jungfrau32k",
            Self::Epix10kaQuad => "epix10kaQuad",
            Self::Epix10ka2M => "epix10ka2M",
        }
    }

    /// What its raw pixels mean.
    pub fn kind(self) -> Kind {
        match self {
            Self::Epix10kaQuad | Self::Epix10ka2M => Kind::Epix10ka,
            _ => Kind::Jungfrau,
        }
    }

    /// The name that it has in the data.
    pub fn name(self) -> &'static str {
        match self {
            Self::Epix10kaQuad => "epix10kaquad",
            Self::Epix10ka2M => "epix10ka2m",
            _ => "jungfrau",
        }
    }

    /// Its data array; a panel is a segment of the data.
    pub fn shape(self) -> Shape {
        let (panels, rows, columns) = match self {
            Self::Jungfrau4M => (8, 512, 1024),
            Self::Jungfrau1M => (2, 512, 1024),
            Self::Jungfrau05M => (1, 512, 1024),
            Self::Jungfrau32k => (1, 128, 256),
            Self::Epix10kaQuad => (4, 352, 384),
            Self::Epix10ka2M => (16, 352, 384),
        };
        Shape { panels, rows, columns }
    }

    /// Rows and columns of an ASIC.
    pub(super) fn asic(self) -> (usize, usize) {
        match self {
            Self::Epix10kaQuad | Self::Epix10ka2M => (176, 192),
            Self::Jungfrau32k => (64, 64),
            _ => (256, 256),
        }
    }

    /// The distance at which its images are like those of others, metres.
    pub fn usual_distance(self) -> f64 {
        match self {
            Self::Jungfrau4M | Self::Epix10ka2M => 0.15,
            Self::Jungfrau1M | Self::Jungfrau05M | Self::Epix10kaQuad => 0.1,
            Self::Jungfrau32k => 0.05,
        }
    }

    /// The size of a pixel, metres.
    pub fn pixel(self) -> f64 {
        match self.kind() {
            Kind::Epix10ka => 100e-6,
            _ => 75e-6,
        }
    }

    /// Where its panels stand: below each other, then the next column, with the gaps of the real ones; +y up, the beam in the
    /// middle, or below a detector of one panel.
    pub fn geometry(self, distance: f64) -> Geometry {
        let Shape { panels, rows, columns } = self.shape();
        let (down, gaps) = match self {
            Self::Jungfrau4M => (4, (36.0, 8.0)),
            Self::Jungfrau1M => (2, (36.0, 8.0)),
            Self::Jungfrau05M | Self::Jungfrau32k => (1, (36.0, 8.0)),
            Self::Epix10kaQuad => (2, (20.0, 20.0)),
            Self::Epix10ka2M => (4, (20.0, 20.0)),
        };
        let across = panels / down;
        let pixel = self.pixel();
        let place = |panel: usize| {
            let (row, column) = ((panel % down) as f64, (panel / down) as f64);
            let (height, width) = (rows as f64 + gaps.0, columns as f64 + gaps.1);
            // The middle of all panels, and from there to the centre of this one's first pixel.
            let middle = if down == 1 { -gaps.0 / 2.0 } else { (down as f64 * height - gaps.0) / 2.0 };
            let x = column * width - (across as f64 * width - gaps.1) / 2.0 + 0.5;
            let y = row * height - middle + 0.5;
            [x * pixel, y * pixel, distance]
        };
        let panels = (0..panels).map(|panel| Panel {
            name: format!("p{panel}"),
            panel,
            rows: 0..rows,
            columns: 0..columns,
            origin: place(panel),
            fast: [pixel, 0.0, 0.0],
            slow: [0.0, pixel, 0.0],
        });
        Geometry { panels: panels.collect(), distance }
    }

    /// The gains of a pixel, the one without light first.
    pub(super) fn stages(self) -> &'static [Stage] {
        match self.kind() {
            Kind::Epix10ka => &EPIX10KA,
            _ => &JUNGFRAU,
        }
    }

    /// Modes of its constants.
    pub(super) fn modes(self) -> usize {
        match self.kind() {
            Kind::Epix10ka => 7,
            _ => 3,
        }
    }
}
