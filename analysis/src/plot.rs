//! Pictures of images, powders and hit rates as PNG and SVG. A figure is built as a [`Scene`] of shapes, which both are written
//! from; letters come with the program, so that it looks alike on every machine.
//!
//! Pure: values and geometry in, shapes out. Files are read and written by [`crate::cli`].

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss
)] // pixels of pictures, and values that are only looked at

mod chart;
mod image;
mod letters;
mod mosaic;
pub mod png;
mod powder;
mod rate;
mod scale;
mod scene;
pub mod svg;
#[cfg(test)]
mod tests;
mod theme;
mod ticks;
mod view;

pub use image::{Image, image};
pub use powder::{Powder, Sum, powder};
pub use rate::{End, Rate, Run, Shot, rate};
pub use scale::{Ends, Scale, Spread};
pub use scene::{Anchor, Colour, Item, Pen, Raster, Rect, Scene, Text};
pub use theme::{Palette, Ramp, Theme};
pub use view::Detector;

/// How figures look.
#[derive(Clone, Debug)]
pub struct Look {
    /// Light or dark.
    pub theme: Theme,
    /// How values are spread over the colours.
    pub spread: Spread,
    /// The ends of the colour scale; by percentiles where left out.
    pub ends: Option<Ends>,
    /// Whether spots are circled.
    pub spots: bool,
}

impl Default for Look {
    fn default() -> Self {
        Self { theme: Theme::Light, spread: Spread::Asinh, ends: None, spots: true }
    }
}
