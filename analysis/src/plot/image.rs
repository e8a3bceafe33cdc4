//! The figure of one image: its pixels where they are, its spots, its numbers.

use super::mosaic::Several;
use super::scale::Scale;
use super::scene::{Anchor, Item, Pen, Rect, Scene, Text};
use super::theme::Palette;
use super::view::{Detector, SMALL, View};
use super::{Look, letters};
use crate::pipeline::Spot;

/// One image.
#[derive(Clone, Debug)]
pub struct Image<'i> {
    /// Its detector.
    pub detector: Detector<'i>,
    /// Calibrated values in the order of the data array; not a number where masked or not measured.
    pub values: &'i [f32],
    /// What a value counts, such as `keV`.
    pub unit: &'i str,
    /// Its spots.
    pub spots: &'i [Spot],
    /// The first line.
    pub title: String,
    /// The second line.
    pub subtitle: String,
}

/// Room around the detector: left, above, right, below.
pub(super) const ROOM: [f64; 4] = [66.0, 66.0, 116.0, 78.0];

/// The figure.
pub fn image(image: &Image<'_>, look: &Look) -> Scene {
    let palette = look.theme.palette();
    let view = View::new(&image.detector, [ROOM[0], ROOM[1]]);
    let (width, height) = (view.area.right() + ROOM[2], view.area.bottom() + ROOM[3]);
    let mut scene = Scene::new(width, height, palette.paper, &image.title);
    let scale = Scale::of(image.values.iter().copied(), look.spread, look.ends);
    view.pixels(&mut scene, image.values, scale, look, Several::Largest);
    let places: Vec<[f64; 2]> = image
        .spots
        .iter()
        .filter(|_| look.spots)
        .filter_map(|s| view.place(usize::from(s.panel), f64::from(s.fast), f64::from(s.slow)))
        .collect();
    // Around the spot and its surroundings, not over them.
    let radius = (view.pixel() * 6.0).max(4.0);
    let circles = Item::Circles(places.clone(), radius, Pen::solid(palette.first, 1.0));
    scene.items.push(Item::Clip(view.area, vec![circles]));
    view.overlay(&mut scene, &palette);
    view.axes(&mut scene, &palette);
    view.bar(&mut scene, scale, look, image.unit);
    heading(&mut scene, view.area, &palette, &image.title, &image.subtitle);
    let masked = image.values.iter().any(|v| v.is_nan());
    let mut keys = vec![(Key::Square(palette.gap), "gap".to_owned())];
    if masked {
        keys.push((Key::Square(palette.masked), "not used".to_owned()));
    }
    if look.spots {
        let count = image.spots.len();
        keys.push((
            Key::Ring(palette.first),
            format!("{count} {}", if count == 1 { "spot" } else { "spots" }),
        ));
    }
    legend(&mut scene, view.area, &palette, &keys);
    scene
}

/// Two lines above a part of a figure; what is too long for it is made smaller, then cut.
pub(super) fn heading(scene: &mut Scene, over: Rect, palette: &Palette, title: &str, subtitle: &str) {
    let room = scene.width - over.x - 12.0;
    let fitted = |text: &str, size: f64, bold: bool| {
        let wide = letters::width(text, size, bold);
        if wide <= room {
            (text.to_owned(), size)
        } else {
            cut(text, (size * room / wide).max(9.0), bold, room)
        }
    };
    let (text, size) = fitted(title, 16.0, true);
    scene.text(Text::new([over.x, 28.0], size, palette.ink, text).bold());
    let (text, size) = fitted(subtitle, 12.0, false);
    scene.text(Text::new([over.x, 48.0], size, palette.faint, text));
}

fn cut(text: &str, size: f64, bold: bool, room: f64) -> (String, f64) {
    let mut kept = text.to_owned();
    while letters::width(&kept, size, bold) > room && kept.chars().count() > 4 {
        kept = kept.chars().take(kept.chars().count() - 2).collect::<String>() + "…";
    }
    (kept, size)
}

/// What stands before a line of the legend.
#[derive(Clone, Copy, Debug)]
pub(super) enum Key {
    /// A filled square.
    Square(super::scene::Colour),
    /// A circle as spots have it.
    Ring(super::scene::Colour),
    /// A piece of a line.
    Line(Pen),
}

/// Explains colours below a part of a figure, right-aligned.
pub(super) fn legend(scene: &mut Scene, below: Rect, palette: &Palette, keys: &[(Key, String)]) {
    let y = below.bottom() + 58.0;
    let mut x = below.right();
    for (key, text) in keys.iter().rev() {
        x -= letters::width(text, SMALL, false);
        scene.text(Text::new([x, y + 4.0], SMALL, palette.ink, text.as_str()).anchored(Anchor::Start));
        x -= 16.0;
        key_at(scene, palette, *key, [x, y]);
        x -= 20.0;
    }
}

/// Draws what stands before a line of a legend; its middle left is `at`.
pub(super) fn key_at(scene: &mut Scene, palette: &Palette, key: Key, [x, y]: [f64; 2]) {
    match key {
        Key::Square(colour) => {
            let square = Rect::new(x, y - 5.0, 10.0, 10.0);
            scene.fill(square, colour);
            scene.frame(square, Pen::solid(palette.faint, 0.6));
        }
        Key::Ring(colour) => {
            scene.items.push(Item::Circles(vec![[x + 5.0, y]], 5.0, Pen::solid(colour, 1.2)))
        }
        Key::Line(pen) => scene.line([x - 4.0, y], [x + 12.0, y], pen),
    }
}
