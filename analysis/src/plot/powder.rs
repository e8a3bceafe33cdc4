//! The figure of a virtual powder: the mean of many images on the detector, and its radial profile against resolution beside it.

use super::chart::{Chart, curve};
use super::image::{Key, ROOM, heading, key_at, legend};
use super::mosaic::Several;
use super::scale::Scale;
use super::scene::{Anchor, Pen, Rect, Scene, Text};
use super::theme::Palette;
use super::view::{Detector, SMALL, View};
use super::{Look, ticks};

/// A sum of images.
#[derive(Clone, Copy, Debug)]
pub struct Sum<'s> {
    /// Sum per pixel of the data array; not a number where masked.
    pub sum: &'s [f32],
    /// How many images it holds.
    pub images: u64,
}

/// A virtual powder.
#[derive(Clone, Debug)]
pub struct Powder<'p> {
    /// The detector; energy and distance are those of its images' mean.
    pub detector: Detector<'p>,
    /// What is shown.
    pub shown: Sum<'p>,
    /// What that is, such as `hits`.
    pub name: &'p str,
    /// What it is compared with in the profile, and what that is.
    pub other: Option<(Sum<'p>, &'p str)>,
    /// What a value counts.
    pub unit: &'p str,
    /// The first line.
    pub title: String,
    /// The second line.
    pub subtitle: String,
}

/// Width of the profile, logical pixels.
const PROFILE: f64 = 430.0;

/// The figure.
pub fn powder(powder: &Powder<'_>, look: &Look) -> Scene {
    let palette = look.theme.palette();
    let view = View::new(&powder.detector, [ROOM[0], ROOM[1]]);
    let mean: Vec<f32> = mean(&powder.shown).collect();
    let beside = Rect::new(view.area.right() + ROOM[2] + 70.0, view.area.y, PROFILE, view.area.h);
    let (width, height) = (beside.right() + 24.0, view.area.bottom() + ROOM[3]);
    let mut scene = Scene::new(width, height, palette.paper, &powder.title);
    let scale = Scale::of(mean.iter().copied(), look.spread, look.ends);
    view.pixels(&mut scene, &mean, scale, look, Several::Mean);
    view.overlay(&mut scene, &palette);
    view.axes(&mut scene, &palette);
    let what = format!("{} per image", powder.unit);
    view.bar(&mut scene, scale, look, &what);
    heading(&mut scene, view.area, &palette, &powder.title, &powder.subtitle);
    let mut keys = vec![(Key::Square(palette.gap), "gap".to_owned())];
    if mean.iter().any(|v| v.is_nan()) {
        keys.push((Key::Square(palette.masked), "not used".to_owned()));
    }
    legend(&mut scene, view.area, &palette, &keys);
    profiles(&mut scene, &palette, &view, powder, beside);
    scene
}

fn images(n: u64) -> String {
    if n == 1 { "1 image".to_owned() } else { format!("{n} images") }
}

fn mean<'s>(of: &Sum<'s>) -> impl Iterator<Item = f32> + use<'s> {
    let images = of.images.max(1) as f32;
    of.sum.iter().map(move |v| v / images)
}

/// Mean value per shell of equal width in 1/d; nothing where a shell has no pixel.
fn profile(inverse: &[f32], values: impl Iterator<Item = f32>, most: f64, shells: usize) -> Vec<Option<f64>> {
    let mut sums = vec![(0.0_f64, 0_u32); shells];
    for (q, v) in inverse.iter().zip(values) {
        let shell = f64::from(*q) / most * shells as f64;
        if v.is_finite() && shell >= 0.0 && shell < shells as f64 {
            let (sum, n) = &mut sums[shell as usize];
            *sum += f64::from(v);
            *n += 1;
        }
    }
    sums.into_iter().map(|(sum, n)| (n > 0).then(|| sum / f64::from(n))).collect()
}

fn profiles(scene: &mut Scene, palette: &Palette, view: &View, powder: &Powder<'_>, area: Rect) {
    let inverse = view.inverse_resolutions();
    let most = inverse.iter().copied().filter(|q| q.is_finite()).fold(0.0, f32::max);
    if most <= 0.0 {
        let text = "no profile: photon energy or distance are not known";
        scene.text(Text::new([area.x, area.y + 14.0], SMALL, palette.faint, text));
        return;
    }
    let most = f64::from(most);
    // A few pixels of the detector per shell, as far as the figure can show them.
    let side = (powder.detector.shape.len() as f64).sqrt();
    let shells = ((side / 4.0) as usize).clamp(24, 400);
    let shown = profile(&inverse, mean(&powder.shown), most, shells);
    let other = powder.other.as_ref().map(|(sum, name)| (profile(&inverse, mean(sum), most, shells), *name));
    let all = shown.iter().chain(other.iter().flat_map(|(profile, _)| profile)).flatten().copied();
    let mut sorted: Vec<f64> = all.collect();
    sorted.sort_by(f64::total_cmp);
    let (Some(low), Some(high)) = (sorted.first().copied(), sorted.last().copied()) else { return };
    // Logarithmic where it is needed and possible.
    let tenth = sorted[sorted.len() / 20];
    let log = tenth > 0.0 && high / tenth > 30.0;
    let y = if log {
        (low.max(tenth / 3.0), high * 1.3)
    } else {
        let room = ((high - low) * 0.08).max(1e-12);
        (if low >= 0.0 && low < high / 2.0 { 0.0 } else { low - room }, high + room)
    };
    let chart = Chart { area, x: (0.0, most), y, log };
    let what = format!("mean of {} per pixel and image", powder.unit);
    chart.axis_of_y(scene, palette, &what, "");
    let mut marks: Vec<(f64, String)> = vec![(0.0, "∞".to_owned())];
    for d in ticks::RESOLUTIONS {
        let far = |(other, _): &(f64, String)| (chart.across(1.0 / d) - chart.across(*other)).abs() > 32.0;
        if 1.0 / d <= most && marks.iter().all(far) {
            marks.push((1.0 / d, ticks::written(d)));
        }
    }
    chart.axis_of_x(scene, palette, &marks, Some("resolution (Å), even in 1/d"));
    let middle = |shell: usize| (shell as f64 + 0.5) / shells as f64 * most;
    let line = |profile: &[Option<f64>], pen: Pen| {
        let points = profile.iter().enumerate().map(|(i, v)| v.map(|v| chart.at(middle(i), v)));
        curve(points, pen)
    };
    let (first, second) = (Pen::solid(palette.first, 1.6), Pen::solid(palette.second, 1.3));
    let mut items = Vec::new();
    let mut keys = vec![(first, format!("{}, {}", powder.name, images(powder.shown.images)))];
    if let (Some((profile, name)), Some((sum, _))) = (&other, &powder.other) {
        items.extend(line(profile, second));
        keys.push((second, format!("{name}, {}", images(sum.images))));
    }
    items.extend(line(&shown, first));
    chart.inside(scene, palette, items);
    let wide = keys.iter().map(|(_, text)| super::letters::width(text, SMALL, false)).fold(0.0, f64::max);
    for (i, (pen, text)) in keys.into_iter().enumerate() {
        let (x, y) = (area.right() - wide - 12.0, area.y + 16.0 + 17.0 * i as f64);
        key_at(scene, palette, Key::Line(pen), [x - 20.0, y]);
        let text = Text::new([x, y + 4.0], SMALL, palette.ink, text).with_halo(palette.halo);
        scene.text(text.anchored(Anchor::Start));
    }
}
