//! The figure of a run's or several runs' results against time: hit rate in a sliding window with its uncertainty, spots of every
//! image, and how they are distributed.

use std::fmt::Write as _;

use super::chart::{Chart, curve};
use super::image::{Key, key_at};
use super::scene::{Anchor, Item, Pen, Rect, Scene, Text};
use super::theme::Palette;
use super::view::SMALL;
use super::{Look, letters, ticks};

/// How an image ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A hit.
    Hit,
    /// Worked, and no hit.
    Miss,
    /// Not worked to the end: unreadable, failed, too late.
    Lost,
}

/// An image's result as the figure needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct Shot {
    /// Seconds from any zero, or the number of the image where the data have no times.
    pub at: f64,
    /// How it ended.
    pub end: End,
    /// Spots found.
    pub spots: Option<u32>,
}

/// The results of one run in the order of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// What it is called, such as `run 12`.
    pub name: String,
    /// Its images.
    pub shots: Vec<Shot>,
}

/// Runs against time.
#[derive(Clone, Debug)]
pub struct Rate {
    /// In the order of time.
    pub runs: Vec<Run>,
    /// Whether [`Shot::at`] is seconds; else it counts images.
    pub timed: bool,
    /// The first line.
    pub title: String,
    /// The second line; the figure adds what it counted.
    pub subtitle: String,
}

const WIDTH: f64 = 1180.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 186.0;
/// Where an image without spots stands on the logarithmic axis.
const NONE: f64 = 0.6;
/// Points beyond which only some are drawn.
const MOST_POINTS: usize = 6000;

/// Half the images that the rate at a place is taken from: 50, and less for a short run (as in cctbx.xfel).
fn half_window(images: usize) -> usize {
    (images / 20).clamp(5, 50)
}

/// Part of hits among worked images around every image of a run, and the bounds of it (Wilson's interval, one standard
/// deviation).
fn sliding(shots: &[Shot]) -> Vec<[f64; 3]> {
    let worked: Vec<bool> = shots.iter().filter(|s| s.end != End::Lost).map(|s| s.end == End::Hit).collect();
    let half = half_window(worked.len());
    let mut hits = vec![0_usize];
    for hit in &worked {
        hits.push(hits[hits.len() - 1] + usize::from(*hit));
    }
    (0..worked.len())
        .map(|i| {
            let (from, to) = (i.saturating_sub(half), (i + half + 1).min(worked.len()));
            wilson(hits[to] - hits[from], to - from)
        })
        .collect()
}

/// Part, lower and upper bound (E. B. Wilson 1927, z = 1).
fn wilson(hits: usize, of: usize) -> [f64; 3] {
    let n = of.max(1) as f64;
    let p = hits as f64 / n;
    let middle = (p + 0.5 / n) / (1.0 + 1.0 / n);
    let half = (p * (1.0 - p) / n + 0.25 / (n * n)).sqrt() / (1.0 + 1.0 / n);
    [p, (middle - half).max(0.0), (middle + half).min(1.0)]
}

/// Images, hits and lost of some runs.
fn counts<'r>(runs: impl IntoIterator<Item = &'r Run>) -> [usize; 3] {
    runs.into_iter().flat_map(|run| &run.shots).fold([0; 3], |[all, hits, lost], shot| {
        [all + 1, hits + usize::from(shot.end == End::Hit), lost + usize::from(shot.end == End::Lost)]
    })
}

fn percent(part: usize, of: usize) -> String {
    let percent = 100.0 * part as f64 / of.max(1) as f64;
    if percent >= 10.0 || percent == 0.0 { format!("{percent:.0} %") } else { format!("{percent:.1} %") }
}

/// The figure.
pub fn rate(rate: &Rate, look: &Look) -> Scene {
    let palette = look.theme.palette();
    let above = Rect::new(LEFT, 108.0, WIDTH - LEFT - RIGHT, 250.0);
    let below = Rect::new(LEFT, above.bottom() + 26.0, above.w, 230.0);
    let mut scene = Scene::new(WIDTH, below.bottom() + 62.0, palette.paper, &rate.title);
    let [all, hits, lost] = counts(&rate.runs);
    scene.text(Text::new([LEFT, 28.0], 16.0, palette.ink, rate.title.as_str()).bold());
    let mut counted = format!("{all} images, {hits} hits ({})", percent(hits, all - lost));
    if lost > 0 {
        let _ = write!(counted, ", {lost} without a result");
    }
    let parts = [rate.subtitle.as_str(), &counted];
    let subtitle: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    scene.text(Text::new([LEFT, 48.0], 12.0, palette.faint, subtitle.join(" · ")));

    let shots = || rate.runs.iter().flat_map(|run| &run.shots);
    let (first, last) = shots().fold((f64::MAX, f64::MIN), |(l, h), s| (l.min(s.at), h.max(s.at)));
    let (first, last) = if first <= last { (first, last) } else { (0.0, 1.0) };
    let room = ((last - first) * 0.01).max(0.5);
    let x = (first - room, last + room);
    let marks = marks(rate.timed, first, last);
    let windows: Vec<Vec<[f64; 3]>> = rate.runs.iter().map(|run| sliding(&run.shots)).collect();
    let most = windows.iter().flatten().map(|w| w[2]).fold(0.0, f64::max);
    let top = (most * 108.0).clamp(1.0, 104.0);
    let chart = Chart { area: above, x, y: (0.0, top), log: false };
    bands(&mut scene, &palette, rate, &[above, below], &chart);
    chart.axis_of_y(&mut scene, &palette, "hit rate", " %");
    chart.axis_of_x(&mut scene, &palette, &marks, None);
    chart.inside(&mut scene, &palette, rates(rate, &windows, &chart, &palette));
    names(&mut scene, &palette, rate, &chart);

    let most = shots().filter_map(|s| s.spots).max().unwrap_or(1);
    let spots = Chart { area: below, x, y: (NONE, (f64::from(most) * 1.5).max(10.0)), log: true };
    spots.axis_of_y(&mut scene, &palette, "spots per image", "");
    let none = [LEFT - 7.0, spots.up(0.0) + 4.0];
    scene.text(Text::new(none, SMALL, palette.ink, "0").anchored(Anchor::End));
    let title = if rate.timed { "time (min)" } else { "image" };
    let long = last - first > 3.0 * 3600.0;
    let title = if rate.timed && long {
        "time (h)"
    } else if rate.timed && last - first < 120.0 {
        "time (s)"
    } else {
        title
    };
    spots.axis_of_x(&mut scene, &palette, &marks, Some(title));
    let (points, one_in) = points(rate, &spots, &palette);
    spots.inside(&mut scene, &palette, points);
    distribution(&mut scene, &palette, rate, &spots);
    keys(&mut scene, &palette, lost, one_in, above);
    scene
}

/// Ticks of time from the first image on, or of the number of the image.
fn marks(timed: bool, first: f64, last: f64) -> Vec<(f64, String)> {
    if !timed {
        return ticks::round(first, last, 9)
            .into_iter()
            .filter(|v| v.fract() == 0.0)
            .map(|v| (v, ticks::written(v)))
            .collect();
    }
    let unit = match last - first {
        long if long > 3.0 * 3600.0 => 3600.0,
        short if short < 120.0 => 1.0,
        _ => 60.0,
    };
    ticks::round(0.0, (last - first) / unit, 9)
        .into_iter()
        .map(|v| (first + v * unit, ticks::written(v)))
        .collect()
}

/// Every second run on a shade.
fn bands(scene: &mut Scene, palette: &Palette, rate: &Rate, areas: &[Rect], chart: &Chart) {
    if rate.runs.len() < 2 {
        return;
    }
    for run in rate.runs.iter().skip(1).step_by(2) {
        let (Some(first), Some(last)) = (run.shots.first(), run.shots.last()) else { continue };
        let (from, to) = (chart.across(first.at), chart.across(last.at));
        for area in areas {
            scene.fill(Rect::new(from, area.y, to - from, area.h), palette.grid.alpha(120));
        }
    }
}

fn rates(rate: &Rate, windows: &[Vec<[f64; 3]>], chart: &Chart, palette: &Palette) -> Vec<Item> {
    let mut items = Vec::new();
    for (run, window) in rate.runs.iter().zip(windows) {
        let at: Vec<f64> = run.shots.iter().filter(|s| s.end != End::Lost).map(|s| s.at).collect();
        // As many points as the figure is wide are enough.
        let step = (window.len() / 1000).max(1);
        let kept = || at.iter().zip(window).step_by(step);
        let upper = kept().map(|(at, [_, _, high])| chart.at(*at, 100.0 * high));
        let lower: Vec<[f64; 2]> = kept().map(|(at, [_, low, _])| chart.at(*at, 100.0 * low)).collect();
        let outline: Vec<[f64; 2]> = upper.chain(lower.into_iter().rev()).collect();
        items.push(Item::Fill(outline, palette.first.alpha(55)));
        let line = kept().map(|(at, [p, ..])| Some(chart.at(*at, 100.0 * p)));
        items.extend(curve(line, Pen::solid(palette.first, 1.7)));
        let [all, hits, lost] = counts([run]);
        let whole = 100.0 * hits as f64 / (all - lost).max(1) as f64;
        if let (Some(first), Some(last)) = (at.first(), at.last()) {
            let pen = Pen { colour: palette.ink.alpha(170), width: 1.1, dash: Some([6.0, 4.0]) };
            items.push(Item::Line(vec![chart.at(*first, whole), chart.at(*last, whole)], pen));
        }
    }
    items
}

/// Above each run what it is called and its hits of its images, where there is room.
fn names(scene: &mut Scene, palette: &Palette, rate: &Rate, chart: &Chart) {
    let mut free = chart.area.x;
    for run in &rate.runs {
        let (Some(first), Some(last)) = (run.shots.first(), run.shots.last()) else { continue };
        let [all, hits, lost] = counts([run]);
        let numbers = format!("{} · {hits}/{}", percent(hits, all - lost), all - lost);
        let middle = f64::midpoint(chart.across(first.at), chart.across(last.at));
        let wide = letters::width(&numbers, 10.0, false).max(letters::width(&run.name, SMALL, true));
        let middle = middle.clamp(
            chart.area.x + wide / 2.0,
            (chart.area.right() - wide / 2.0).max(chart.area.x + wide / 2.0),
        );
        if middle - wide / 2.0 < free {
            continue;
        }
        free = middle + wide / 2.0 + 10.0;
        let y = chart.area.y;
        scene.text(
            Text::new([middle, y - 22.0], SMALL, palette.ink, run.name.as_str())
                .bold()
                .anchored(Anchor::Middle),
        );
        scene.text(Text::new([middle, y - 8.0], 10.0, palette.faint, numbers).anchored(Anchor::Middle));
    }
}

/// Spots of every image, or of one in so many; what has no result stands at the lower edge.
fn points(rate: &Rate, chart: &Chart, palette: &Palette) -> (Vec<Item>, usize) {
    let all: usize = rate.runs.iter().map(|run| run.shots.len()).sum();
    let one_in = all.div_ceil(MOST_POINTS).max(1);
    let of = |end: End| -> Vec<[f64; 2]> {
        let shots = rate.runs.iter().flat_map(|run| &run.shots).filter(|s| s.end == end);
        // None that was lost is left out.
        let step = if end == End::Lost { 1 } else { one_in };
        shots.step_by(step).map(|s| chart.at(s.at, f64::from(s.spots.unwrap_or(0)))).collect()
    };
    let lost = of(End::Lost).into_iter().map(|[x, _]| {
        let bottom = chart.area.bottom();
        Item::Line(vec![[x, bottom], [x, bottom - 9.0]], Pen::solid(palette.alarm, 1.4))
    });
    let mut items = vec![
        Item::Marks(of(End::Miss), 2.4, palette.second.alpha(150)),
        Item::Marks(of(End::Hit), 3.0, palette.first.alpha(220)),
    ];
    items.extend(lost);
    (items, one_in)
}

/// How many images have how many spots, on the axis of the chart beside it.
fn distribution(scene: &mut Scene, palette: &Palette, rate: &Rate, beside: &Chart) {
    let area = Rect::new(beside.area.right() + 14.0, beside.area.y, RIGHT - 34.0, beside.area.h);
    // 0, 1, 2 ... each for itself, then steps of about a fifth.
    let mut edges = vec![0_u32, 1];
    while f64::from(edges[edges.len() - 1]) < beside.y.1 {
        let last = edges[edges.len() - 1];
        edges.push((last + 1).max((f64::from(last) * 1.22).ceil() as u32));
    }
    let mut numbers = vec![[0_usize; 2]; edges.len()];
    for shot in rate.runs.iter().flat_map(|run| &run.shots) {
        if let (End::Hit | End::Miss, Some(spots)) = (shot.end, shot.spots) {
            let bin = edges.partition_point(|edge| *edge <= spots) - 1;
            numbers[bin][usize::from(shot.end == End::Hit)] += 1;
        }
    }
    let most = numbers.iter().map(|[misses, hits]| misses + hits).max().unwrap_or(0).max(1) as f64;
    // Between whole numbers.
    let edge = |bin: usize| {
        edges.get(bin).map_or(f64::MAX, |edge| (f64::from(*edge) * (f64::from(*edge) - 1.0)).sqrt())
    };
    let up = |bin: usize| {
        beside.up(match edges.get(bin) {
            Some(0) => NONE,
            Some(1) => f64::midpoint(NONE, 1.0),
            _ => edge(bin),
        })
    };
    let chart = Chart { area, x: (0.0, most * 1.08), y: (0.0, 1.0), log: false };
    let marks: Vec<(f64, String)> = ticks::round(0.0, most * 1.08, 3)
        .into_iter()
        .filter(|v| v.fract() == 0.0)
        .map(|v| (v, ticks::written(v)))
        .collect();
    chart.axis_of_x(scene, palette, &marks, Some("images"));
    let mut items = Vec::new();
    for (i, [misses, hits]) in numbers.into_iter().enumerate() {
        let (top, bottom) = (up(i + 1) + 0.4, up(i) - 0.4);
        let (middle, right) = (chart.across(misses as f64), chart.across((misses + hits) as f64));
        let bar = |from: f64, to: f64, colour| {
            Item::Fill(Rect::new(from, top, (to - from).max(0.0), bottom - top).corners(), colour)
        };
        items.push(bar(area.x, middle, palette.second.alpha(190)));
        items.push(bar(middle, right, palette.first.alpha(230)));
    }
    chart.inside(scene, palette, items);
}

fn keys(scene: &mut Scene, palette: &Palette, lost: usize, one_in: usize, above: Rect) {
    let x = above.right() + 20.0;
    let mut keys = vec![
        (Some(Key::Line(Pen::solid(palette.first, 1.7))), "sliding window".to_owned()),
        (None, "±1 σ shaded".to_owned()),
        (
            Some(Key::Line(Pen { colour: palette.ink, width: 1.1, dash: Some([6.0, 4.0]) })),
            "whole run".to_owned(),
        ),
        (Some(Key::Square(palette.first)), "hits".to_owned()),
        (Some(Key::Square(palette.second)), "misses".to_owned()),
    ];
    if one_in > 1 {
        keys.push((None, format!("(1 in {one_in} drawn)")));
    }
    if lost > 0 {
        keys.push((Some(Key::Line(Pen::solid(palette.alarm, 1.6))), "no result".to_owned()));
    }
    for (i, (key, text)) in keys.into_iter().enumerate() {
        let y = above.y + 8.0 + 19.0 * i as f64;
        if let Some(key) = key {
            key_at(scene, palette, key, [x, y]);
        }
        scene.text(Text::new([x + 20.0, y + 4.0], SMALL, palette.ink, text));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shots(ends: &[End]) -> Vec<Shot> {
        ends.iter().enumerate().map(|(i, end)| Shot { at: i as f64, end: *end, spots: Some(3) }).collect()
    }

    #[test]
    fn what_was_not_worked_is_in_no_rate() {
        let mut ends = vec![End::Lost; 40];
        ends.extend([End::Hit, End::Miss, End::Miss, End::Miss]);
        let rates = sliding(&shots(&ends));
        assert_eq!(rates.len(), 4);
        assert!(rates.iter().all(|[p, ..]| (p - 0.25).abs() < 1e-12), "{rates:?}");
        assert_eq!(counts([&Run { name: "r".into(), shots: shots(&ends) }]), [44, 1, 40]);
    }

    proptest! {
        #[test]
        fn the_rate_lies_within_its_bounds(hits in proptest::collection::vec(any::<bool>(), 1..400)) {
            let ends: Vec<End> = hits.iter().map(|hit| if *hit { End::Hit } else { End::Miss }).collect();
            for [p, low, high] in sliding(&shots(&ends)) {
                prop_assert!((0.0..=1.0).contains(&low) && (0.0..=1.0).contains(&high));
                prop_assert!(low <= p + 1e-12 && p <= high + 1e-12, "{low} {p} {high}");
                prop_assert!(high > low, "few images are never certain");
            }
        }
    }
}
