//! The parts of a figure that are curves: a frame with two axes, and places within it.

use super::scene::{Anchor, Item, Pen, Rect, Scene, Text};
use super::theme::Palette;
use super::ticks;
use super::view::SMALL;

/// A frame with the ranges of its axes; the lower end of each first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chart {
    /// Where it is.
    pub area: Rect,
    /// From left to right.
    pub x: (f64, f64),
    /// From below upwards.
    pub y: (f64, f64),
    /// Whether y is logarithmic.
    pub log: bool,
}

impl Chart {
    /// Where a value of x is.
    pub(super) fn across(&self, x: f64) -> f64 {
        self.area.x + (x - self.x.0) / (self.x.1 - self.x.0) * self.area.w
    }

    /// Where a value of y is; what lies outside the axis is at its end.
    pub(super) fn up(&self, y: f64) -> f64 {
        let part = if self.log {
            (y.max(self.y.0) / self.y.0).ln() / (self.y.1 / self.y.0).ln()
        } else {
            (y - self.y.0) / (self.y.1 - self.y.0)
        };
        self.area.bottom() - part.clamp(0.0, 1.0) * self.area.h
    }

    /// Where a point is.
    pub(super) fn at(&self, x: f64, y: f64) -> [f64; 2] {
        [self.across(x), self.up(y)]
    }

    /// The axis of y: grid, ticks and what it is.
    pub(super) fn axis_of_y(&self, scene: &mut Scene, palette: &Palette, title: &str, unit: &str) {
        let values = if self.log {
            let mut taken: Vec<f64> = Vec::new();
            for value in ticks::decades(self.y.0, self.y.1).into_iter().flatten() {
                if taken.iter().all(|other| (self.up(*other) - self.up(value)).abs() > 17.0) {
                    taken.push(value);
                }
            }
            taken
        } else {
            ticks::round(self.y.0, self.y.1, (self.area.h / 38.0) as usize)
        };
        for value in values {
            let y = self.up(value);
            scene.line([self.area.x, y], [self.area.right(), y], Pen::solid(palette.grid, 1.0));
            let label = format!("{}{unit}", ticks::written(value));
            scene.text(
                Text::new([self.area.x - 7.0, y + 4.0], SMALL, palette.ink, label).anchored(Anchor::End),
            );
        }
        let middle = [self.area.x - 50.0, self.area.y + self.area.h / 2.0];
        scene.text(Text::new(middle, 12.0, palette.ink, title).anchored(Anchor::Middle).turned(90.0));
    }

    /// The axis of x: grid, ticks at `marks` with what is written there, and what it is. Nothing is written where `title` is
    /// nothing: another chart below says it.
    pub(super) fn axis_of_x(
        &self,
        scene: &mut Scene,
        palette: &Palette,
        marks: &[(f64, String)],
        title: Option<&str>,
    ) {
        let bottom = self.area.bottom();
        for (value, label) in marks {
            let x = self.across(*value);
            scene.line([x, self.area.y], [x, bottom], Pen::solid(palette.grid, 1.0));
            if title.is_some() {
                let text = Text::new([x, bottom + 17.0], SMALL, palette.ink, label.as_str());
                scene.text(text.anchored(Anchor::Middle));
            }
        }
        if let Some(title) = title {
            let middle = [self.area.x + self.area.w / 2.0, bottom + 36.0];
            scene.text(Text::new(middle, 12.0, palette.ink, title).anchored(Anchor::Middle));
        }
    }

    /// Draws inside the frame, then the frame.
    pub(super) fn inside(&self, scene: &mut Scene, palette: &Palette, items: Vec<Item>) {
        scene.items.push(Item::Clip(self.area, items));
        scene.frame(self.area, Pen::solid(palette.ink, 1.0));
    }
}

/// Lines through points that are numbers; a point that is none ends a line.
pub(super) fn curve(points: impl IntoIterator<Item = Option<[f64; 2]>>, pen: Pen) -> Vec<Item> {
    let mut lines = vec![Vec::new()];
    for point in points {
        match (point, lines.last_mut()) {
            (Some(point), Some(line)) if point.iter().all(|v| v.is_finite()) => line.push(point),
            (_, Some(line)) if !line.is_empty() => lines.push(Vec::new()),
            _ => {}
        }
    }
    lines.into_iter().filter(|line| line.len() > 1).map(|line| Item::Line(line, pen)).collect()
}
