//! A figure as SVG: text stays text, so that it can be searched and edited; pictures are embedded PNGs that are not smoothed.

use std::fmt::Write as _;

use base64::Engine as _;

use super::letters;
use super::png;
use super::scene::{Anchor, Colour, Item, Pen, Raster, Rect, Scene, Text};

/// The figure as a document.
pub fn write(scene: &Scene) -> String {
    let mut svg = Writer { out: String::new(), clips: 0 };
    svg.document(scene);
    svg.out
}

struct Writer {
    out: String,
    clips: usize,
}

/// At most two decimals, and no more than needed.
fn short(v: f64) -> String {
    let text = format!("{v:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// What a picture is in a document: a `data:` URL.
fn embedded(raster: &Raster) -> String {
    let png = png::raster(raster);
    format!("data:image/png;base64,{}", base64::engine::general_purpose::STANDARD.encode(png))
}

fn opacity(name: &str, colour: Colour) -> String {
    if colour.alpha == 255 { String::new() } else { format!(r#" {name}-opacity="{:.3}""#, colour.opacity()) }
}

fn stroke(pen: Pen) -> String {
    let dash = pen.dash.map(|[on, off]| format!(r#" stroke-dasharray="{} {}""#, short(on), short(off)));
    format!(
        r#"stroke="{}" stroke-width="{}"{}{}"#,
        pen.colour,
        short(pen.width),
        opacity("stroke", pen.colour),
        dash.unwrap_or_default()
    )
}

fn points(points: &[[f64; 2]]) -> String {
    let points: Vec<String> = points.iter().map(|[x, y]| format!("{},{}", short(*x), short(*y))).collect();
    points.join(" ")
}

impl Writer {
    fn line(&mut self, line: &str) {
        self.out.push_str(line);
        self.out.push('\n');
    }

    fn document(&mut self, scene: &Scene) {
        let (w, h) = (short(scene.width), short(scene.height));
        self.line(&format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" viewBox="0 0 {w} {h}" font-family="{}">"#,
            letters::FAMILY
        ));
        self.line(&format!("<title>{}</title>", escaped(&scene.title)));
        self.line(&format!(r#"<rect width="{w}" height="{h}" fill="{}"/>"#, scene.background));
        for item in &scene.items {
            self.item(item);
        }
        self.line("</svg>");
    }

    fn item(&mut self, item: &Item) {
        match item {
            Item::Fill(corners, colour) => self.line(&format!(
                r#"<polygon points="{}" fill="{colour}"{}/>"#,
                points(corners),
                opacity("fill", *colour)
            )),
            Item::Line(through, pen) => self.line(&format!(
                r#"<polyline points="{}" fill="none" stroke-linejoin="round" {}/>"#,
                points(through),
                stroke(*pen)
            )),
            Item::Circles(centres, radius, pen) => {
                self.line(&format!(r#"<g fill="none" {}>"#, stroke(*pen)));
                for [x, y] in centres {
                    let (x, y, r) = (short(*x), short(*y), short(*radius));
                    self.line(&format!(r#"<circle cx="{x}" cy="{y}" r="{r}"/>"#));
                }
                self.line("</g>");
            }
            Item::Marks(centres, size, colour) => {
                let mut path = String::new();
                for [x, y] in centres {
                    let (x, y, s) = (short(x - size / 2.0), short(y - size / 2.0), short(*size));
                    let _ = write!(path, "M{x} {y}h{s}v{s}h-{s}z");
                }
                let opacity = opacity("fill", *colour);
                self.line(&format!(r#"<path d="{path}" fill="{colour}"{opacity}/>"#));
            }
            Item::Text(text) => self.text(text),
            Item::Raster(to, raster) => {
                let Rect { x, y, w, h } = *to;
                self.line(&format!(
                    r#"<image x="{}" y="{}" width="{}" height="{}" preserveAspectRatio="none" image-rendering="pixelated" href="{}"/>"#,
                    short(x),
                    short(y),
                    short(w),
                    short(h),
                    embedded(raster)
                ));
            }
            Item::Clip(to, items) => {
                self.clips += 1;
                let id = format!("clip{}", self.clips);
                let (x, y, w, h) = (short(to.x), short(to.y), short(to.w), short(to.h));
                self.line(&format!(
                    r#"<clipPath id="{id}"><rect x="{x}" y="{y}" width="{w}" height="{h}"/></clipPath>"#
                ));
                self.line(&format!(r#"<g clip-path="url(#{id})">"#));
                for item in items {
                    self.item(item);
                }
                self.line("</g>");
            }
        }
    }

    fn text(&mut self, text: &Text) {
        let [x, y] = text.at;
        let (x, y) = (short(x), short(y));
        let mut attributes =
            format!(r#"x="{x}" y="{y}" font-size="{}" fill="{}""#, short(text.size), text.colour);
        match text.anchor {
            Anchor::Start => {}
            Anchor::Middle => attributes.push_str(r#" text-anchor="middle""#),
            Anchor::End => attributes.push_str(r#" text-anchor="end""#),
        }
        if text.bold {
            attributes.push_str(r#" font-weight="bold""#);
        }
        if text.turn != 0.0 {
            let _ = write!(attributes, r#" transform="rotate({} {x} {y})""#, short(-text.turn));
        }
        if let Some(halo) = text.halo {
            let width = short(halo_width(text.size));
            let _ = write!(
                attributes,
                r#" paint-order="stroke" stroke="{halo}" stroke-width="{width}" stroke-linejoin="round"{}"#,
                opacity("stroke", halo)
            );
        }
        self.line(&format!("<text {attributes}>{}</text>", escaped(&text.text)));
    }
}

/// How wide the line is whose outer half is a text's margin.
pub(super) fn halo_width(size: f64) -> f64 {
    size * 0.3
}
