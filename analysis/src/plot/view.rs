//! The part of a figure that shows a detector: pixels where they are, rings and axes of resolution, a bar of the colour scale.

use super::mosaic::{Cell, Grid, Mosaic, Several};
use super::scale::Scale;
use super::scene::{Anchor, Item, Pen, Raster, Rect, Scene, Text};
use super::theme::Palette;
use super::{Look, ticks};
use crate::frame::Shape;
use crate::geometry::Geometry;

/// eV times angstrom: h c.
const HC: f64 = 12_398.419_843;
/// Pixels of a raster per logical pixel: what a PNG has.
pub(super) const FINE: f64 = 2.0;
/// Pixels of a raster that a detector's longer side should have at least, and at most.
const WISHED: f64 = 1250.0;
const MOST: f64 = 2400.0;
pub(super) const SMALL: f64 = 11.0;

/// A detector and the light that falls on it.
#[derive(Clone, Debug)]
pub struct Detector<'d> {
    /// Where its pixels are.
    pub geometry: &'d Geometry,
    /// Of the data array.
    pub shape: Shape,
    /// eV; without it there are no resolutions.
    pub photon_energy: Option<f64>,
    /// Metres; without it there are no resolutions.
    pub distance: Option<f64>,
}

/// A detector placed on a figure.
#[derive(Debug)]
pub(super) struct View {
    mosaic: Mosaic,
    shape: Shape,
    grid: Grid,
    /// Angstrom, where energy and distance are known.
    wavelength: Option<f64>,
    /// Where it is on the figure.
    pub(super) area: Rect,
}

impl View {
    /// Placed with its upper left corner at `at`, as large as its pixels need.
    pub(super) fn new(detector: &Detector<'_>, at: [f64; 2]) -> Self {
        let mosaic = Mosaic::new(detector.geometry, detector.distance);
        let [mut left, mut bottom, mut right, mut top] = mosaic.bounds();
        if left > right || bottom > top {
            [left, bottom, right, top] = [-0.01, -0.01, 0.01, 0.01];
        }
        // The beam belongs into the picture, unless that would make most of it empty.
        let long = (right - left).max(top - bottom);
        let near = |low: &mut f64, high: &mut f64| {
            if *low > 0.0 && *low < 0.3 * long {
                *low = -0.02 * long;
            } else if *high < 0.0 && -*high < 0.3 * long {
                *high = 0.02 * long;
            }
        };
        near(&mut left, &mut right);
        near(&mut bottom, &mut top);
        let margin = 0.02 * long;
        let [left, bottom, right, top] = [left - margin, bottom - margin, right + margin, top + margin];
        let pixels = (right - left).max(top - bottom) / mosaic.pixel();
        // Whole pixels per pixel, so that none is drawn wider than its neighbour.
        let step = if pixels > MOST {
            mosaic.pixel() * (pixels / MOST).ceil()
        } else {
            mosaic.pixel() / (WISHED / pixels).ceil().clamp(1.0, 16.0)
        };
        let count = |from: f64, to: f64| ((to - from) / step).ceil().clamp(2.0, 4.0 * MOST) as usize;
        let grid = Grid { left, top, step, columns: count(left, right), rows: count(bottom, top) };
        let area = Rect::new(at[0], at[1], grid.columns as f64 / FINE, grid.rows as f64 / FINE);
        let wavelength = mosaic.distance().and(detector.photon_energy).filter(|e| *e > 0.0).map(|e| HC / e);
        Self { mosaic, shape: detector.shape, grid, wavelength, area }
    }

    /// A place of the plane on the figure.
    fn on_figure(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let per = 1.0 / self.grid.step / FINE;
        [self.area.x + (x - self.grid.left) * per, self.area.y + (self.grid.top - y) * per]
    }

    /// Logical pixels of a length on the plane.
    fn length(&self, metres: f64) -> f64 {
        metres / self.grid.step / FINE
    }

    /// A place of the data array on the figure.
    pub(super) fn place(&self, panel: usize, fast: f64, slow: f64) -> Option<[f64; 2]> {
        self.mosaic.place(panel, fast, slow).map(|place| self.on_figure(place))
    }

    /// Logical pixels of one pixel of the detector.
    pub(super) fn pixel(&self) -> f64 {
        self.length(self.mosaic.pixel())
    }

    /// Angstrom at a distance from the beam on the plane, metres.
    fn resolution(&self, radius: f64) -> Option<f64> {
        resolution(self.wavelength?, self.mosaic.distance()?, radius)
    }

    /// 1/d of every pixel, per angstrom; not a number where that is not known.
    pub(super) fn inverse_resolutions(&self) -> Vec<f32> {
        let radii = self.mosaic.radii(self.shape);
        let inverse = |r: f32| self.resolution(f64::from(r)).map_or(f32::NAN, |d| (1.0 / d) as f32);
        radii.into_iter().map(inverse).collect()
    }

    /// Draws the values: not a number where masked or not measured.
    pub(super) fn pixels(
        &self,
        scene: &mut Scene,
        values: &[f32],
        scale: Scale,
        look: &Look,
        several: Several,
    ) {
        let (ramp, palette) = (look.theme.ramp(), look.theme.palette());
        let cells = self.mosaic.draw(self.shape, values, &self.grid, several);
        let colour = |cell: Cell| match cell {
            Cell::Gap => palette.gap.rgb,
            Cell::Masked => palette.masked.rgb,
            Cell::Value(v) => ramp.at(scale.part(v)),
        };
        let pixels = cells.into_iter().map(colour).collect();
        let raster = Raster { columns: self.grid.columns, rows: self.grid.rows, pixels };
        scene.items.push(Item::Raster(self.area, raster));
    }

    /// The round resolutions whose rings are shown, with their radii on the plane, metres; coarse to fine.
    fn rings(&self) -> Vec<(f64, f64)> {
        let (Some(wavelength), Some(distance)) = (self.wavelength, self.mosaic.distance()) else {
            return Vec::new();
        };
        let (left, top) = (self.grid.left, self.grid.top);
        let (right, bottom) =
            (left + self.grid.step * self.grid.columns as f64, top - self.grid.step * self.grid.rows as f64);
        let nearest = |low: f64, high: f64| low.max(-high).max(0.0);
        let least = nearest(left, right).hypot(nearest(bottom, top));
        let most = left.abs().max(right.abs()).hypot(top.abs().max(bottom.abs()));
        let apart = 0.075 * (right - left).min(top - bottom).max(0.5 * (right - left).max(top - bottom));
        let mut last = least;
        let mut rings = Vec::new();
        for d in ticks::RINGS {
            let Some(r) = radius(wavelength, distance, d) else { break };
            if r >= last + apart && r < most {
                rings.push((d, r));
                last = r;
            }
        }
        rings
    }

    /// Draws the rings of resolution with their labels, and the beam.
    pub(super) fn overlay(&self, scene: &mut Scene, palette: &Palette) {
        let beam = self.on_figure([0.0, 0.0]);
        let rings = self.rings();
        let pen = Pen { colour: palette.ring.alpha(190), width: 0.9, dash: Some([5.0, 4.0]) };
        let mut inside: Vec<Item> =
            rings.iter().map(|(_, r)| Item::Circles(vec![beam], self.length(*r), pen)).collect();
        let arm = 6.0;
        let cross = Pen::solid(palette.ring, 1.4);
        for [dx, dy] in [[arm, 0.0], [0.0, arm]] {
            inside.push(Item::Line(vec![[beam[0] - dx, beam[1] - dy], [beam[0] + dx, beam[1] + dy]], cross));
        }
        for (d, r) in &rings {
            // The first direction in which the ring's label lies well inside.
            let place = [
                45.0_f64, 135.0, 225.0, 315.0, 90.0, 270.0, 0.0, 180.0, 20.0, 70.0, 110.0, 160.0, 200.0,
                250.0, 290.0, 340.0,
            ]
            .into_iter()
            .map(|degrees| {
                let (sin, cos) = degrees.to_radians().sin_cos();
                let r = self.length(*r);
                [beam[0] + r * cos, beam[1] - r * sin]
            })
            .find(|[x, y]| {
                let room =
                    Rect::new(self.area.x + 22.0, self.area.y + 12.0, self.area.w - 44.0, self.area.h - 24.0);
                room.holds([*x, *y])
            });
            if let Some([x, y]) = place {
                let text = Text::new([x, y + 4.0], SMALL, palette.ring, format!("{} Å", ticks::written(*d)));
                inside.push(Item::Text(text.anchored(Anchor::Middle).bold().with_halo(palette.halo)));
            }
        }
        inside.extend(self.bar_of_length(palette));
        scene.items.push(Item::Clip(self.area, inside));
    }

    /// A bar that tells a length in millimetres on the detector.
    fn bar_of_length(&self, palette: &Palette) -> Vec<Item> {
        let wished = self.grid.step * self.grid.columns as f64 * 1e3 * 0.16;
        let power = 10_f64.powf(wished.log10().floor());
        let length = [5.0, 2.0, 1.0].into_iter().map(|n| n * power).find(|v| *v <= wished).unwrap_or(power);
        let (x, y, w) = (self.area.x + 14.0, self.area.bottom() - 14.0, self.length(length * 1e-3));
        let text =
            Text::new([x + w / 2.0, y - 5.0], SMALL, palette.ink, format!("{} mm", ticks::written(length)));
        vec![
            Item::Line(vec![[x, y], [x + w, y]], Pen::solid(palette.halo, 6.0)),
            Item::Line(vec![[x, y], [x + w, y]], Pen::solid(palette.ink, 2.5)),
            Item::Text(text.anchored(Anchor::Middle).with_halo(palette.halo)),
        ]
    }

    /// Draws frame and axes: resolution along the horizontal and the vertical through the beam (through the nearest edge where
    /// the beam is outside), else millimetres.
    pub(super) fn axes(&self, scene: &mut Scene, palette: &Palette) {
        scene.frame(self.area, Pen::solid(palette.ink, 1.0));
        let Rect { x, y, w, h } = self.area;
        let beam = self.on_figure([0.0, 0.0]);
        let tick = Pen::solid(palette.ink, 1.0);
        let unit = if self.wavelength.is_some() { "resolution (Å)" } else { "mm" };
        let (size, off) = (SMALL, 5.0);
        let across = self.marks(beam[1].clamp(y, y + h) - beam[1], beam[0], (x, x + w), 34.0);
        for (at, label) in across {
            scene.line([at, y + h], [at, y + h + off], tick);
            scene
                .text(Text::new([at, y + h + off + 12.0], size, palette.ink, label).anchored(Anchor::Middle));
        }
        scene.text(Text::new([x + w / 2.0, y + h + 36.0], 12.0, palette.ink, unit).anchored(Anchor::Middle));
        let upwards = self.marks(beam[0].clamp(x, x + w) - beam[0], beam[1], (y, y + h), 18.0);
        for (at, label) in upwards {
            scene.line([x - off, at], [x, at], tick);
            scene.text(Text::new([x - off - 4.0, at + 4.0], size, palette.ink, label).anchored(Anchor::End));
        }
        let title = Text::new([x - 46.0, y + h / 2.0], 12.0, palette.ink, unit);
        scene.text(title.anchored(Anchor::Middle).turned(90.0));
    }

    /// Places and labels of an axis. `aside` is how far its line is from the beam, `beam` where the beam is along it, all in
    /// logical pixels; labels are at least `apart` from each other.
    fn marks(&self, aside: f64, beam: f64, (from, to): (f64, f64), apart: f64) -> Vec<(f64, String)> {
        let per = self.length(1.0);
        let mut marks: Vec<(f64, String)> = Vec::new();
        let mut add = |at: f64, label: String| {
            if (from..=to).contains(&at) && marks.iter().all(|(other, _)| (other - at).abs() >= apart) {
                marks.push((at, label));
            }
        };
        let (Some(wavelength), Some(distance)) = (self.wavelength, self.mosaic.distance()) else {
            let ends = [(from - beam) / per * 1e3, (to - beam) / per * 1e3];
            for v in ticks::round(ends[0], ends[1], 8) {
                add(beam + v * 1e-3 * per, ticks::written(v.abs()));
            }
            return marks;
        };
        if aside == 0.0 {
            add(beam, "∞".to_owned());
        }
        let rings: Vec<f64> = self.rings().into_iter().map(|(d, _)| d).collect();
        // Those with a ring first.
        for d in rings.iter().chain(&ticks::RESOLUTIONS) {
            let Some(r) = radius(wavelength, distance, *d).map(|r| r * per) else { continue };
            let along = (r * r - aside * aside).sqrt();
            if along.is_finite() {
                for at in [beam - along, beam + along] {
                    add(at, ticks::written(*d));
                }
            }
        }
        marks
    }

    /// Draws the bar of the colour scale to the right of the detector. `what` says what a value is.
    pub(super) fn bar(&self, scene: &mut Scene, scale: Scale, look: &Look, what: &str) {
        let palette = look.theme.palette();
        let ramp = look.theme.ramp();
        let (tip, w) = (9.0, 15.0);
        let (above, below) = (scale.beyond().1, scale.beyond().0);
        let full = Rect::new(self.area.right() + 20.0, self.area.y, w, self.area.h);
        let bar = Rect::new(full.x, full.y + tip, full.w, full.h - 2.0 * tip);
        let rows = 256;
        let pixels = (0..rows).map(|i| ramp.at(1.0 - i as f32 / (rows - 1) as f32)).collect();
        scene.items.push(Item::Raster(bar, Raster { columns: 1, rows, pixels }));
        let solid = |rgb: [u8; 3]| super::scene::Colour { rgb, alpha: 255 };
        let mut outline = vec![[bar.right(), bar.y], [bar.right(), bar.bottom()]];
        // A tip where there are values beyond the end.
        if below {
            let point = [bar.x + w / 2.0, bar.bottom() + tip];
            scene.items.push(Item::Fill(
                vec![[bar.x, bar.bottom()], point, [bar.right(), bar.bottom()]],
                solid(ramp.at(0.0)),
            ));
            outline.push(point);
        }
        outline.extend([[bar.x, bar.bottom()], [bar.x, bar.y]]);
        if above {
            let point = [bar.x + w / 2.0, bar.y - tip];
            scene
                .items
                .push(Item::Fill(vec![[bar.x, bar.y], point, [bar.right(), bar.y]], solid(ramp.at(1.0))));
            outline.push(point);
        }
        outline.push([bar.right(), bar.y]);
        scene.items.push(Item::Line(outline, Pen::solid(palette.ink, 1.0)));
        for (value, part) in scale.ticks() {
            let y = bar.bottom() - part * bar.h;
            scene.line([bar.right(), y], [bar.right() + 4.0, y], Pen::solid(palette.ink, 1.0));
            scene.text(Text::new([bar.right() + 7.0, y + 4.0], SMALL, palette.ink, ticks::written(value)));
        }
        let title = Text::new(
            [bar.right() + 58.0, bar.y + bar.h / 2.0],
            12.0,
            palette.ink,
            format!("{what}, {} scale", scale.spread()),
        );
        scene.text(title.anchored(Anchor::Middle).turned(90.0));
    }
}

/// Angstrom at a distance from the beam on a plane across it: d = lambda / (2 sin theta), tan 2 theta = r / D.
pub(super) fn resolution(wavelength: f64, distance: f64, radius: f64) -> Option<f64> {
    let sin = (radius.atan2(distance) / 2.0).sin();
    (sin > 0.0).then(|| wavelength / (2.0 * sin))
}

/// The inverse: none where light of that wavelength does not reach that resolution on such a plane.
pub(super) fn radius(wavelength: f64, distance: f64, resolution: f64) -> Option<f64> {
    let sin = wavelength / (2.0 * resolution);
    (sin > 0.0 && sin < std::f64::consts::FRAC_1_SQRT_2).then(|| distance * (2.0 * sin.asin()).tan())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rings_are_where_their_resolution_is(wavelength in 0.5_f64..3.0, distance in 0.05_f64..1.0, r in 1e-3_f64..0.5) {
            let d = resolution(wavelength, distance, r).expect("off the beam");
            let back = radius(wavelength, distance, d).expect("in front");
            prop_assert!((back - r).abs() < 1e-9, "{back} {r}");
        }
    }

    #[test]
    fn the_resolutions_of_a_real_experiment() {
        // 1.2726 A at 111 mm: 40 mm from the beam is 2 theta = 19.8 degrees, 3.70 A.
        let d = resolution(1.2726, 0.111, 0.040).unwrap();
        assert!((d - 3.700).abs() < 0.005, "{d}");
        assert_eq!(resolution(1.0, 0.1, 0.0), None);
        assert_eq!(radius(1.0, 0.1, 0.7), None);
    }
}
