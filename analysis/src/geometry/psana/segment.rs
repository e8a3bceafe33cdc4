//! The segments that psana's geometry files name as leaves: their ASICs, pixel pitch and the gaps between, in the segment's
//! own frame (micrometres, origin in its middle). Numbers as in psana's `SegGeometry*` and the detectors' drawings.

use std::ops::Range;

/// A kind of segment.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Segment {
    /// Rows of its data.
    pub(super) rows: usize,
    /// Columns of its data.
    pub(super) columns: usize,
    /// Rows and columns of ASICs.
    asics: (usize, usize),
    /// Step from row to row and from column to column, micrometres.
    pitch: (f64, f64),
    /// From the last pixel of an ASIC to the first of the next, in excess of the pitch, micrometres.
    gap: f64,
    layout: Layout,
}

/// How rows and columns lie in the segment's frame.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Layout {
    /// x grows along a row, y falls from row to row, as an image is drawn.
    Drawn,
    /// x grows along a row, y grows from row to row.
    Upwards,
    /// x grows from row to row, y along a row, and the origin is the first pixel.
    Matrix,
}

/// An ASIC of a segment in the segment's frame, micrometres.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asic {
    pub(super) rows: Range<usize>,
    pub(super) columns: Range<usize>,
    pub(super) origin: [f64; 3],
    pub(super) fast: [f64; 3],
    pub(super) slow: [f64; 3],
}

impl Segment {
    /// The names that are known besides `MTRX:...`.
    pub(super) const NAMES: [&'static str; 8] = [
        "JUNGFRAU:V1",
        "JUNGFRAU:V2",
        "SENS2X1:V1",
        "EPIX10KA:V1",
        "EPIX100:V1",
        "EPIXMASIC:V1",
        "EPIXUHRASIC:V1",
        "PNCCD:V1",
    ];

    /// The segment of a name; nothing for an object that is none.
    pub(super) fn named(name: &str) -> Option<Self> {
        let of = |rows, columns, asics, pitch: f64, gap, layout| Self {
            rows,
            columns,
            asics,
            pitch: (pitch, pitch),
            gap,
            layout,
        };
        Some(match name {
            // ASICs of 256 x 256, two pixels between them.
            "JUNGFRAU:V1" => of(512, 1024, (2, 4), 75.0, 150.0, Layout::Drawn),
            "JUNGFRAU:V2" => of(512, 1024, (2, 4), 75.0, 150.0, Layout::Upwards),
            // The two middle columns are 274.8 wide: 2.5 pixels each.
            "SENS2X1:V1" => of(185, 388, (1, 2), 109.92, 2.0 * (274.8 - 109.92), Layout::Drawn),
            // The middle rows and columns are 225 wide.
            "EPIX10KA:V1" => of(352, 384, (2, 2), 100.0, 250.0, Layout::Drawn),
            // The middle rows and columns are 175 wide. Its y grows with the row in psana's code, against its drawing.
            "EPIX100:V1" => of(704, 768, (2, 2), 50.0, 250.0, Layout::Upwards),
            "EPIXMASIC:V1" => of(192, 384, (1, 1), 50.0, 0.0, Layout::Drawn),
            "EPIXUHRASIC:V1" => of(168, 192, (1, 1), 100.0, 0.0, Layout::Drawn),
            "PNCCD:V1" => of(512, 512, (1, 1), 75.0, 0.0, Layout::Matrix),
            other => return Self::matrix(other),
        })
    }

    /// `MTRX:rows:columns:um:um`, and `MTRX:V2:...` with its origin in the middle.
    fn matrix(name: &str) -> Option<Self> {
        let numbers = name.strip_prefix("MTRX:")?;
        let (numbers, layout) = match numbers.strip_prefix("V2:") {
            Some(rest) => (rest, Layout::Drawn),
            None => (numbers, Layout::Matrix),
        };
        let mut fields = numbers.split(':');
        let mut whole = || fields.next()?.parse::<usize>().ok().filter(|n| (1..=65_536).contains(n));
        let (rows, columns) = (whole()?, whole()?);
        let mut length = || fields.next()?.parse::<f64>().ok().filter(|um| um.is_finite() && *um > 0.0);
        let pitch = (length()?, length()?);
        fields.next().is_none().then_some(Self { rows, columns, asics: (1, 1), pitch, gap: 0.0, layout })
    }

    /// Its ASICs, row by row.
    #[allow(clippy::cast_precision_loss)] // at most 65,536 rows and columns
    pub(super) fn asics(&self) -> Vec<Asic> {
        let (rows, columns) = (self.rows / self.asics.0, self.columns / self.asics.1);
        let (row_pitch, column_pitch) = self.pitch;
        // Where the first pixel of ASIC `k` of `n` lies, from the middle of all.
        let start = |k: usize, n: usize, pixels: usize, pitch: f64| {
            let whole = (n * pixels - 1) as f64 * pitch + (n - 1) as f64 * self.gap;
            (k * pixels) as f64 * pitch + k as f64 * self.gap - whole / 2.0
        };
        let mut asics = Vec::with_capacity(self.asics.0 * self.asics.1);
        for (down, across) in (0..self.asics.0).flat_map(|d| (0..self.asics.1).map(move |a| (d, a))) {
            let along_column = start(down, self.asics.0, rows, row_pitch);
            let along_row = start(across, self.asics.1, columns, column_pitch);
            let (origin, fast, slow) = match self.layout {
                Layout::Drawn => {
                    ([along_row, -along_column, 0.0], [column_pitch, 0.0, 0.0], [0.0, -row_pitch, 0.0])
                }
                Layout::Upwards => {
                    ([along_row, along_column, 0.0], [column_pitch, 0.0, 0.0], [0.0, row_pitch, 0.0])
                }
                Layout::Matrix => ([0.0; 3], [0.0, column_pitch, 0.0], [row_pitch, 0.0, 0.0]),
            };
            asics.push(Asic {
                rows: down * rows..(down + 1) * rows,
                columns: across * columns..(across + 1) * columns,
                origin,
                fast,
                slow,
            });
        }
        asics
    }
}
