//! Letters without any font of the system: `DejaVu` Sans lies in the program. How wide a text is, and its outlines.

use std::sync::LazyLock;

use ttf_parser::{Face, GlyphId, OutlineBuilder};

static REGULAR: LazyLock<Option<Face<'static>>> =
    LazyLock::new(|| Face::parse(dejavu::sans::regular(), 0).ok());
static BOLD: LazyLock<Option<Face<'static>>> = LazyLock::new(|| Face::parse(dejavu::sans::bold(), 0).ok());

/// What an SVG names: `DejaVu` Sans, else fonts of the same widths, else any without serifs.
pub(super) const FAMILY: &str = "DejaVu Sans, Bitstream Vera Sans, Verdana, sans-serif";

fn face(bold: bool) -> Option<&'static Face<'static>> {
    if bold { BOLD.as_ref() } else { REGULAR.as_ref() }
}

/// Every letter of a text with its place along the base line, in em, and the text's width.
fn set(face: &Face<'_>, text: &str) -> (Vec<(GlyphId, f64)>, f64) {
    let em = f64::from(face.units_per_em());
    let mut at = 0.0;
    let placed = text.chars().map(|letter| {
        let glyph = face.glyph_index(letter).unwrap_or(GlyphId(0));
        let here = at;
        at += f64::from(face.glyph_hor_advance(glyph).unwrap_or(0)) / em;
        (glyph, here)
    });
    (placed.collect(), at)
}

/// How wide a text is whose em is `size` high.
pub(super) fn width(text: &str, size: f64, bold: bool) -> f64 {
    face(bold).map_or(0.0, |face| set(face, text).1 * size)
}

/// Gives the outlines of a text to `to`: base line at y = 0 from x = 0 on, y downwards, `size` per em.
pub(super) fn outline(text: &str, size: f64, bold: bool, to: &mut tiny_skia::PathBuilder) {
    let Some(face) = face(bold) else { return };
    let scale = size / f64::from(face.units_per_em());
    for (glyph, at) in set(face, text).0 {
        #[allow(clippy::cast_possible_truncation)] // logical pixels of a picture
        let mut pen = Pen { to, x: (at * size) as f32, scale: scale as f32 };
        // A letter without an outline (a blank) draws nothing.
        let _ = face.outline_glyph(glyph, &mut pen);
    }
}

struct Pen<'p> {
    to: &'p mut tiny_skia::PathBuilder,
    x: f32,
    scale: f32,
}

impl Pen<'_> {
    fn at(&self, x: f32, y: f32) -> (f32, f32) {
        (self.x + x * self.scale, -y * self.scale)
    }
}

impl OutlineBuilder for Pen<'_> {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.to.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.to.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.at(x1, y1), self.at(x, y));
        self.to.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) = (self.at(x1, y1), self.at(x2, y2), self.at(x, y));
        self.to.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.to.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_letters_that_figures_use_are_there() {
        for bold in [false, true] {
            let face = face(bold).expect("the font parses");
            for letter in "Å°µσλ±−×·–…≥≤0123456789.%()/".chars() {
                assert!(face.glyph_index(letter).is_some(), "{letter}");
            }
        }
        let (one, two) = (width("8", 10.0, false), width("88", 20.0, false));
        assert!(one > 5.0 && (two - 4.0 * one).abs() < 1e-9, "{one} {two}");
    }
}
