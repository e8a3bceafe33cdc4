//! A figure as PNG, drawn by tiny-skia with the letters of [`super::letters`]: the same on every machine.

use std::collections::HashMap;

use tiny_skia::{
    FillRule, FilterQuality, LineCap, LineJoin, Mask, Paint, Path, PathBuilder, Pixmap, PixmapPaint,
    PixmapRef, Stroke, StrokeDash, Transform,
};

use super::letters;
use super::scene::{Anchor, Colour, Item, Pen, Raster, Rect, Scene, Text};
use super::svg::halo_width;

/// The most pixels that a picture may have along an edge.
const LONGEST: f64 = 20_000.0;

/// The figure with `scale` pixels per logical pixel.
///
/// # Errors
/// In words, where the figure is too large to be a picture.
pub fn write(scene: &Scene, scale: f64) -> Result<Vec<u8>, String> {
    let (width, height) = ((scene.width * scale).round(), (scene.height * scale).round());
    if !(1.0..=LONGEST).contains(&width) || !(1.0..=LONGEST).contains(&height) {
        return Err(format!(
            "a picture of {width} x {height} pixels cannot be made (at most {LONGEST} along an edge)"
        ));
    }
    let mut to = Pixmap::new(width as u32, height as u32).ok_or("no memory for the picture")?;
    to.fill(colour(scene.background));
    let whole = Transform::from_scale(scale as f32, scale as f32);
    draw(&mut to, &scene.items, whole, None);
    // The paper is opaque, and so is all that is drawn on it.
    let pixels: Vec<u8> = to.data().chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect();
    encode([to.width(), to.height()], png::ColorType::Rgb, None, &pixels).map_err(|error| error.to_string())
}

/// A raster alone, one byte per pixel where its colours are few enough.
pub(super) fn raster(raster: &Raster) -> Vec<u8> {
    let (Ok(columns), Ok(rows)) = (u32::try_from(raster.columns), u32::try_from(raster.rows)) else {
        return Vec::new();
    };
    let mut numbers: HashMap<[u8; 3], u8> = HashMap::new();
    let mut colours = Vec::new();
    let indices: Option<Vec<u8>> = raster
        .pixels
        .iter()
        .map(|colour| {
            if let Some(number) = numbers.get(colour) {
                return Some(*number);
            }
            let number = u8::try_from(numbers.len()).ok()?;
            numbers.insert(*colour, number);
            colours.extend(colour);
            Some(number)
        })
        .collect();
    let encoded = match indices {
        Some(indices) => encode([columns, rows], png::ColorType::Indexed, Some(colours), &indices),
        None => encode([columns, rows], png::ColorType::Rgb, None, raster.pixels.as_flattened()),
    };
    encoded.unwrap_or_default()
}

fn encode(
    [columns, rows]: [u32; 2],
    colour: png::ColorType,
    palette: Option<Vec<u8>>,
    pixels: &[u8],
) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, columns, rows);
    encoder.set_color(colour);
    if let Some(palette) = palette {
        encoder.set_palette(palette);
    }
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(bytes)
}

fn pixmap(raster: &Raster) -> Option<Pixmap> {
    let mut pixmap = Pixmap::new(raster.columns.try_into().ok()?, raster.rows.try_into().ok()?)?;
    for (to, [r, g, b]) in pixmap.data_mut().chunks_exact_mut(4).zip(&raster.pixels) {
        to.copy_from_slice(&[*r, *g, *b, 255]);
    }
    Some(pixmap)
}

fn colour(colour: Colour) -> tiny_skia::Color {
    let [r, g, b] = colour.rgb;
    tiny_skia::Color::from_rgba8(r, g, b, colour.alpha)
}

fn paint(of: Colour) -> Paint<'static> {
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    paint.set_color(colour(of));
    paint
}

fn stroke(pen: Pen) -> Stroke {
    Stroke {
        width: pen.width as f32,
        line_cap: LineCap::Butt,
        line_join: LineJoin::Round,
        dash: pen.dash.and_then(|[on, off]| StrokeDash::new(vec![on as f32, off as f32], 0.0)),
        ..Stroke::default()
    }
}

fn polygon(points: &[[f64; 2]], closed: bool) -> Option<Path> {
    let mut path = PathBuilder::new();
    let (first, rest) = points.split_first()?;
    path.move_to(first[0] as f32, first[1] as f32);
    for [x, y] in rest {
        path.line_to(*x as f32, *y as f32);
    }
    if closed {
        path.close();
    }
    path.finish()
}

fn rectangle(rect: Rect) -> Option<Path> {
    polygon(&rect.corners(), true)
}

fn draw(to: &mut Pixmap, items: &[Item], place: Transform, mask: Option<&Mask>) {
    for item in items {
        match item {
            Item::Fill(corners, colour) => {
                if let Some(path) = polygon(corners, true) {
                    to.fill_path(&path, &paint(*colour), FillRule::Winding, place, mask);
                }
            }
            Item::Line(through, pen) => {
                if let Some(path) = polygon(through, false) {
                    to.stroke_path(&path, &paint(pen.colour), &stroke(*pen), place, mask);
                }
            }
            Item::Circles(centres, radius, pen) => {
                let mut path = PathBuilder::new();
                for [x, y] in centres {
                    path.push_circle(*x as f32, *y as f32, *radius as f32);
                }
                if let Some(path) = path.finish() {
                    to.stroke_path(&path, &paint(pen.colour), &stroke(*pen), place, mask);
                }
            }
            Item::Marks(centres, size, colour) => {
                for [x, y] in centres {
                    let square = Rect::new(x - size / 2.0, y - size / 2.0, *size, *size);
                    if let Some(path) = rectangle(square) {
                        to.fill_path(&path, &paint(*colour), FillRule::Winding, place, mask);
                    }
                }
            }
            Item::Text(text) => letter(to, text, place, mask),
            Item::Raster(at, raster) => {
                let Some(from) = pixmap(raster) else { continue };
                let (sx, sy) = (at.w / raster.columns as f64, at.h / raster.rows as f64);
                let place = place.pre_translate(at.x as f32, at.y as f32).pre_scale(sx as f32, sy as f32);
                let how = PixmapPaint { quality: FilterQuality::Nearest, ..PixmapPaint::default() };
                let from: PixmapRef<'_> = from.as_ref();
                to.draw_pixmap(0, 0, from, &how, place, mask);
            }
            Item::Clip(within, items) => {
                let inner = rectangle(*within).and_then(|path| {
                    let mut inner = Mask::new(to.width(), to.height())?;
                    inner.fill_path(&path, FillRule::Winding, false, place);
                    Some(inner)
                });
                draw(to, items, place, inner.as_ref());
            }
        }
    }
}

fn letter(to: &mut Pixmap, text: &Text, place: Transform, mask: Option<&Mask>) {
    let mut path = PathBuilder::new();
    letters::outline(&text.text, text.size, text.bold, &mut path);
    let Some(path) = path.finish() else { return };
    let width = letters::width(&text.text, text.size, text.bold);
    let shift = match text.anchor {
        Anchor::Start => 0.0,
        Anchor::Middle => -width / 2.0,
        Anchor::End => -width,
    };
    let [x, y] = text.at;
    let place = place
        .pre_translate(x as f32, y as f32)
        .pre_rotate(-text.turn as f32)
        .pre_translate(shift as f32, 0.0);
    if let Some(halo) = text.halo {
        let margin = stroke(Pen::solid(halo, halo_width(text.size)));
        to.stroke_path(&path, &paint(halo), &margin, place, mask);
    }
    to.fill_path(&path, &paint(text.colour), FillRule::Winding, place, mask);
}
