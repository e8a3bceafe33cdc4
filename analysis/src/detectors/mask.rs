//! Which pixels count. Masks of several sources are combined into one; a pixel bad in any is bad.

use super::Constants;
use crate::frame::Shape;

/// Good pixels of a data array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// The data array.
    pub shape: Shape,
    /// `true` where the pixel counts; `shape.len()` of them.
    pub good: Vec<bool>,
}

impl Mask {
    /// All pixels count.
    pub fn open(shape: Shape) -> Self {
        Self { shape, good: vec![true; shape.len()] }
    }

    /// Pixels that count.
    pub fn count(&self) -> usize {
        self.good.iter().filter(|good| **good).count()
    }

    /// Bad where `other` is. Both have the same shape.
    pub(super) fn and(&mut self, other: &[bool]) {
        for (mine, other) in self.good.iter_mut().zip(other) {
            *mine &= other;
        }
    }

    /// Bad where the constants' status says so in any gain mode.
    pub(super) fn and_status(&mut self, constants: &Constants) {
        let Some(status) = &constants.status else { return };
        for mode in 0..status.modes {
            for (good, status) in self.good.iter_mut().zip(status.of(mode)) {
                *good &= *status == 0;
            }
        }
    }

    /// Bad where one of the four neighbours in the same panel is.
    pub(super) fn grow(&mut self) {
        let Shape { rows, columns, .. } = self.shape;
        let before = self.good.clone();
        for (panel, good) in
            before.chunks(self.shape.panel_len()).zip(self.good.chunks_mut(self.shape.panel_len()))
        {
            for (i, bad) in panel.iter().enumerate().filter(|(_, good)| !**good).map(|(i, _)| (i, false)) {
                let (row, column) = (i / columns, i % columns);
                if row > 0 {
                    good[i - columns] = bad;
                }
                if row + 1 < rows {
                    good[i + columns] = bad;
                }
                if column > 0 {
                    good[i - 1] = bad;
                }
                if column + 1 < columns {
                    good[i + 1] = bad;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growing_stays_inside_the_panel() {
        let shape = Shape { panels: 2, rows: 3, columns: 4 };
        let mut mask = Mask::open(shape);
        mask.good[4 + 3] = false; // panel 0, row 1, last column
        mask.good[12] = false; // panel 1, row 0, first column
        mask.grow();
        let bad: Vec<_> = (0..24).filter(|i| !mask.good[*i]).collect();
        assert_eq!(bad, [3, 6, 7, 11, 12, 13, 16]);
        assert_eq!(mask.count(), 24 - 7);
    }
}
