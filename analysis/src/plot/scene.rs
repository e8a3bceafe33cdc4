//! A figure as a list of shapes in logical pixels, before anyone decides whether it becomes SVG or PNG. Plain data.

use std::fmt;

/// sRGB with opacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour {
    /// Red, green, blue.
    pub rgb: [u8; 3],
    /// 255 is opaque.
    pub alpha: u8,
}

impl Colour {
    /// An opaque colour, written `0xrrggbb`.
    pub const fn rgb(hex: u32) -> Self {
        let [_, r, g, b] = hex.to_be_bytes();
        Self { rgb: [r, g, b], alpha: 255 }
    }

    /// The same, less opaque.
    #[must_use]
    pub const fn alpha(self, alpha: u8) -> Self {
        Self { alpha, ..self }
    }

    /// Opacity from 0 to 1.
    pub fn opacity(self) -> f64 {
        f64::from(self.alpha) / 255.0
    }
}

impl fmt::Display for Colour {
    /// `#rrggbb`, without the opacity.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [r, g, b] = self.rgb;
        write!(f, "#{r:02x}{g:02x}{b:02x}")
    }
}

/// A rectangle; y grows downwards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rect {
    /// Left.
    pub x: f64,
    /// Top.
    pub y: f64,
    /// Width.
    pub w: f64,
    /// Height.
    pub h: f64,
}

impl Rect {
    /// From left, top, width and height.
    pub const fn new(x: f64, y: f64, w: f64, h: f64) -> Self {
        Self { x, y, w, h }
    }

    /// Its right edge.
    pub fn right(self) -> f64 {
        self.x + self.w
    }

    /// Its lower edge.
    pub fn bottom(self) -> f64 {
        self.y + self.h
    }

    /// Whether a point lies in it.
    pub fn holds(self, [x, y]: [f64; 2]) -> bool {
        (self.x..=self.right()).contains(&x) && (self.y..=self.bottom()).contains(&y)
    }

    /// Its corners, clockwise from the upper left.
    pub fn corners(self) -> Vec<[f64; 2]> {
        vec![[self.x, self.y], [self.right(), self.y], [self.right(), self.bottom()], [self.x, self.bottom()]]
    }
}

/// Which end of a text its place names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anchor {
    /// The text begins there.
    #[default]
    Start,
    /// Its middle is there.
    Middle,
    /// It ends there.
    End,
}

/// How a line is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pen {
    /// Its colour.
    pub colour: Colour,
    /// Logical pixels.
    pub width: f64,
    /// Drawn and left out, in turn.
    pub dash: Option<[f64; 2]>,
}

impl Pen {
    /// A line without gaps.
    pub const fn solid(colour: Colour, width: f64) -> Self {
        Self { colour, width, dash: None }
    }
}

/// A line of text.
#[derive(Clone, Debug, PartialEq)]
pub struct Text {
    /// Where its base line is anchored.
    pub at: [f64; 2],
    /// What it says.
    pub text: String,
    /// Height of the em, logical pixels.
    pub size: f64,
    /// Its colour.
    pub colour: Colour,
    /// Which end `at` is.
    pub anchor: Anchor,
    /// Whether it is bold.
    pub bold: bool,
    /// Degrees, anticlockwise, about `at`.
    pub turn: f64,
    /// A margin of this colour around every letter, so that it stays legible on a picture.
    pub halo: Option<Colour>,
}

impl Text {
    /// Plain text.
    pub fn new(at: [f64; 2], size: f64, colour: Colour, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { at, text, size, colour, anchor: Anchor::Start, bold: false, turn: 0.0, halo: None }
    }

    /// Anchored elsewhere.
    #[must_use]
    pub fn anchored(self, anchor: Anchor) -> Self {
        Self { anchor, ..self }
    }

    /// In bold.
    #[must_use]
    pub fn bold(self) -> Self {
        Self { bold: true, ..self }
    }

    /// Turned anticlockwise.
    #[must_use]
    pub fn turned(self, degrees: f64) -> Self {
        Self { turn: degrees, ..self }
    }

    /// With a margin.
    #[must_use]
    pub fn with_halo(self, colour: Colour) -> Self {
        Self { halo: Some(colour), ..self }
    }
}

/// A picture made of pixels, opaque.
#[derive(Clone, PartialEq, Eq)]
pub struct Raster {
    /// Pixels of a row.
    pub columns: usize,
    /// Rows.
    pub rows: usize,
    /// Row by row from the upper left; `columns * rows` of them.
    pub pixels: Vec<[u8; 3]>,
}

impl fmt::Debug for Raster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Raster({} x {})", self.columns, self.rows)
    }
}

/// One thing to be drawn.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A filled polygon.
    Fill(Vec<[f64; 2]>, Colour),
    /// A line through points.
    Line(Vec<[f64; 2]>, Pen),
    /// Circles of one radius, not filled.
    Circles(Vec<[f64; 2]>, f64, Pen),
    /// Squares of one size, filled: the points of a scatter plot.
    Marks(Vec<[f64; 2]>, f64, Colour),
    /// Text.
    Text(Text),
    /// A picture stretched over a rectangle, without smoothing.
    Raster(Rect, Raster),
    /// Items of which nothing outside of the rectangle is seen.
    Clip(Rect, Vec<Item>),
}

/// A whole figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// Logical pixels.
    pub width: f64,
    /// Logical pixels.
    pub height: f64,
    /// Behind everything.
    pub background: Colour,
    /// What the figure shows, in words: the title of an SVG.
    pub title: String,
    /// In the order of drawing.
    pub items: Vec<Item>,
}

impl Scene {
    /// An empty one.
    pub fn new(width: f64, height: f64, background: Colour, title: impl Into<String>) -> Self {
        Self { width, height, background, title: title.into(), items: Vec::new() }
    }

    /// Adds a filled rectangle.
    pub fn fill(&mut self, rect: Rect, colour: Colour) {
        self.items.push(Item::Fill(rect.corners(), colour));
    }

    /// Adds the outline of a rectangle.
    pub fn frame(&mut self, rect: Rect, pen: Pen) {
        let mut corners = rect.corners();
        corners.push(corners[0]);
        self.items.push(Item::Line(corners, pen));
    }

    /// Adds a straight line.
    pub fn line(&mut self, from: [f64; 2], to: [f64; 2], pen: Pen) {
        self.items.push(Item::Line(vec![from, to], pen));
    }

    /// Adds text.
    pub fn text(&mut self, text: Text) {
        self.items.push(Item::Text(text));
    }
}
