//! Bad regions of a CrystFEL geometry: rectangles in the laboratory or in the data array whose pixels are not to be used.

use std::ops::RangeInclusive;

use super::value::finite;

/// A rectangle of pixels that are not to be used; all bounds are inclusive.
#[derive(Clone, Debug, PartialEq)]
pub enum BadRegion {
    /// By place, in pixels from the beam.
    Laboratory {
        /// From left to right.
        x: RangeInclusive<f64>,
        /// From bottom to top.
        y: RangeInclusive<f64>,
    },
    /// By place in the data array.
    Data {
        /// The panel, or all.
        panel: Option<String>,
        /// Columns.
        fs: RangeInclusive<usize>,
        /// Rows.
        ss: RangeInclusive<usize>,
    },
}

impl BadRegion {
    /// Whether a pixel lies in it, by its panel, its place in the file's data array, and its x and y in pixels.
    pub(super) fn holds(&self, on: &str, fs_at: usize, ss_at: usize, x_at: f64, y_at: f64) -> bool {
        match self {
            Self::Laboratory { x, y } => x.contains(&x_at) && y.contains(&y_at),
            Self::Data { panel, fs, ss } => {
                panel.as_deref().is_none_or(|name| name == on) && fs.contains(&fs_at) && ss.contains(&ss_at)
            }
        }
    }
}

/// A region while its lines are read.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    line: usize,
    panel: Option<String>,
    /// min and max of x, y, fs, ss.
    bounds: [Option<f64>; 8],
}

const BOUNDS: [&str; 8] = ["min_x", "max_x", "min_y", "max_y", "min_fs", "max_fs", "min_ss", "max_ss"];

impl Draft {
    pub(super) const KEYS: [&'static str; 9] =
        ["min_x", "max_x", "min_y", "max_y", "min_fs", "max_fs", "min_ss", "max_ss", "panel"];

    pub(super) fn at(line: usize) -> Self {
        Self { line, ..Self::default() }
    }

    pub(super) fn line(&self) -> usize {
        self.line
    }

    /// Takes a line; `None` for a key that is unknown.
    pub(super) fn set(&mut self, key: &str, value: &str) -> Option<Result<(), String>> {
        if key == "panel" {
            self.panel = Some(value.to_owned());
            return Some(Ok(()));
        }
        let bound = BOUNDS.iter().position(|name| *name == key)?;
        Some(match finite(value) {
            Some(number) => {
                self.bounds[bound] = Some(number);
                Ok(())
            }
            None => Err(format!("`{value}` is no number")),
        })
    }

    pub(super) fn finished(&self, is_panel: &dyn Fn(&str) -> bool) -> Result<BadRegion, String> {
        match self.bounds {
            [Some(x0), Some(x1), Some(y0), Some(y1), None, None, None, None] if self.panel.is_none() => {
                Ok(BadRegion::Laboratory { x: x0..=x1, y: y0..=y1 })
            }
            [None, None, None, None, Some(f0), Some(f1), Some(s0), Some(s1)] => {
                if let Some(panel) = self.panel.as_deref().filter(|name| !is_panel(name)) {
                    return Err(format!("`{panel}` is no panel"));
                }
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped; a cast saturates
                let pixel = |v: f64| v.round().max(0.0) as usize;
                Ok(BadRegion::Data {
                    panel: self.panel.clone(),
                    fs: pixel(f0)..=pixel(f1),
                    ss: pixel(s0)..=pixel(s1),
                })
            }
            _ => Err("needs either all of min_x, max_x, min_y, max_y or all of min_fs, max_fs, min_ss, max_ss (and there a panel)"
                .to_owned()),
        }
    }
}
