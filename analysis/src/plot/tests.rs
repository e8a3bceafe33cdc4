use std::path::PathBuf;

use super::*;
use crate::detectors::Constants;
use crate::formats::cbf::Cbf;
use crate::frame::Shape;
use crate::geometry::{self, Geometry, Panel};
use crate::pipeline::{Chain, Spot, Workspace};
use crate::trial::Parameters;

/// Where the pictures that tests make can be looked at; nowhere unless `LIGHTRAIL_PICTURES` names a folder.
fn keep(name: &str, scene: &Scene) {
    if let Some(folder) = std::env::var_os("LIGHTRAIL_PICTURES").map(PathBuf::from) {
        std::fs::write(folder.join(format!("{name}.svg")), svg::write(scene)).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), png::write(scene, 2.0).unwrap()).unwrap();
    }
}

/// An SVG with its embedded pictures left out: their bytes are the compressor's affair.
fn text_of(scene: &Scene) -> String {
    let svg = svg::write(scene);
    let mut parts = svg.split("data:image/png;base64,");
    let mut text = parts.next().unwrap().to_owned();
    for part in parts {
        text.push_str("...");
        text.push_str(part.split_once('"').map_or("", |(_, rest)| &part[part.len() - rest.len() - 1..]));
    }
    text
}

/// Two panels side by side with a gap, 4 x 6 pixels of 1 mm each, the beam in the gap.
fn small() -> (Geometry, Shape) {
    let panel = |panel: usize, left: f64| Panel {
        name: format!("p{panel}"),
        panel,
        rows: 0..4,
        columns: 0..6,
        origin: [left, 1.5e-3, 0.02],
        fast: [1e-3, 0.0, 0.0],
        slow: [0.0, -1e-3, 0.0],
    };
    let panels = vec![panel(0, -7e-3), panel(1, 2e-3)];
    (Geometry { panels, distance: 0.02 }, Shape { panels: 2, rows: 4, columns: 6 })
}

fn spot(panel: u16, fast: f32, slow: f32) -> Spot {
    Spot {
        panel,
        fast,
        slow,
        intensity: 90.0,
        peak: 80.0,
        background: 1.0,
        sigma: 1.0,
        snr: 80.0,
        pixels: 3,
        resolution: 3.0,
    }
}

fn small_image<'i>(detector: Detector<'i>, values: &'i [f32], spots: &'i [Spot]) -> Image<'i> {
    let (title, subtitle) = ("run 1 <&>".to_owned(), "hit".to_owned());
    Image { detector, values, unit: "keV", spots, title, subtitle }
}

#[test]
fn a_small_image_as_svg() {
    let (geometry, shape) = small();
    let mut values: Vec<f32> = (0..48).map(|i| (i % 7) as f32).collect();
    (values[10], values[30]) = (f32::NAN, 80.0);
    let spots = [spot(1, 0.0, 1.0)];
    let detector = Detector { geometry: &geometry, shape, photon_energy: Some(9500.0), distance: Some(0.02) };
    let scene = image(&small_image(detector.clone(), &values, &spots), &Look::default());
    insta::assert_snapshot!("image", text_of(&scene));
    // Where the light is not known there are no resolutions, and nobody makes some up.
    let unknown = Detector { photon_energy: None, ..detector };
    let text = text_of(&image(&small_image(unknown, &values, &spots), &Look::default()));
    assert!(!text.contains('Å') && text.contains(">mm<"), "{text}");
}

#[test]
fn the_circle_of_a_spot_is_around_its_pixel() {
    let (geometry, shape) = small();
    let mut values = vec![0.0; 48];
    values[24 + 6 + 4] = 1000.0;
    let spots = [spot(1, 4.0, 1.0)];
    let detector = Detector { geometry: &geometry, shape, photon_energy: None, distance: Some(0.02) };
    let look = Look { ends: Some(Ends { low: 0.0, high: 1.0 }), ..Look::default() };
    let scene = image(&small_image(detector, &values, &spots), &look);
    let Some(Item::Raster(area, raster)) = scene.items.iter().find(|item| matches!(item, Item::Raster(..)))
    else {
        panic!("no picture")
    };
    let brightest = look.theme.ramp().at(1.0);
    let own: Vec<[f64; 2]> = (0..raster.pixels.len())
        .filter(|i| raster.pixels[*i] == brightest)
        .map(|i| [(i % raster.columns) as f64 + 0.5, (i / raster.columns) as f64 + 0.5])
        .collect();
    let mean = |axis: usize| own.iter().map(|at| at[axis]).sum::<f64>() / own.len() as f64;
    let per = area.w / raster.columns as f64;
    let centre = [area.x + mean(0) * per, area.y + mean(1) * per];
    let circles = scene.items.iter().find_map(|item| match item {
        Item::Clip(_, items) => items.iter().find_map(|item| match item {
            Item::Circles(centres, ..) => centres.first(),
            _ => None,
        }),
        _ => None,
    });
    let [x, y] = *circles.expect("a circle");
    assert!((x - centre[0]).abs() < 1.0 && (y - centre[1]).abs() < 1.0, "{x} {y} {centre:?}");
}

#[test]
fn a_small_powder_as_svg() {
    let (geometry, shape) = small();
    let hits: Vec<f32> = (0..48).map(|i| 10.0 * (i % 7) as f32).collect();
    let misses = vec![20.0_f32; 48];
    let figure = Powder {
        detector: Detector { geometry: &geometry, shape, photon_energy: Some(9500.0), distance: Some(0.02) },
        shown: Sum { sum: &hits, images: 10 },
        name: "hits",
        other: Some((Sum { sum: &misses, images: 20 }, "misses")),
        unit: "keV",
        title: "run 1".into(),
        subtitle: String::new(),
    };
    insta::assert_snapshot!(
        "powder",
        text_of(&powder(&figure, &Look { theme: Theme::Dark, ..Look::default() }))
    );
}

#[test]
fn a_small_rate_as_svg() {
    let shot = |at: f64, end: End, spots: u32| Shot { at, end, spots: (end != End::Lost).then_some(spots) };
    let runs = vec![
        Run {
            name: "run 1".into(),
            shots: vec![shot(0.0, End::Hit, 40), shot(60.0, End::Miss, 2), shot(120.0, End::Lost, 0)],
        },
        Run { name: "run 2".into(), shots: vec![shot(300.0, End::Miss, 0), shot(360.0, End::Hit, 100)] },
    ];
    let figure = Rate { runs, timed: true, title: "two runs".into(), subtitle: "trial 1".into() };
    insta::assert_snapshot!("rate", text_of(&rate(&figure, &Look::default())));
    // Nothing at all is a figure too.
    let none = Rate { runs: Vec::new(), timed: false, title: "none".into(), subtitle: String::new() };
    assert!(text_of(&rate(&none, &Look::default())).contains("0 images, 0 hits (0 %)"));
}

#[test]
fn png_and_svg_agree_in_size_and_png_in_colour() {
    let mut scene = Scene::new(30.0, 20.0, Colour::rgb(0xff_ffff), "t");
    scene.fill(Rect::new(10.0, 5.0, 10.0, 10.0), Colour::rgb(0x12_3456));
    let clip = vec![Item::Fill(Rect::new(0.0, 0.0, 30.0, 20.0).corners(), Colour::rgb(0xff_0000))];
    scene.items.push(Item::Clip(Rect::new(0.0, 0.0, 5.0, 20.0), clip));
    let bytes = png::write(&scene, 2.0).unwrap();
    let mut reader = ::png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((info.width, info.height), (60, 40));
    let at = |x: usize, y: usize| &pixels[(y * 60 + x) * 3..][..3];
    assert_eq!(at(30, 20), [0x12, 0x34, 0x56]);
    assert_eq!(at(4, 20), [0xff, 0, 0]);
    assert_eq!(at(55, 20), [0xff; 3]);
    assert!(svg::write(&scene).contains(r#"width="30" height="20" viewBox="0 0 30 20""#));
    let large = Scene { width: 1e6, ..scene };
    assert!(png::write(&large, 2.0).unwrap_err().contains("2000000 x 40"));
}

#[test]
fn a_real_image_of_the_cspad() {
    let Some(data) = lightrail_compose::require::data("a_real_image_of_the_cspad") else { return };
    let bytes = std::fs::read(data.join("cspad/idx-20130301060858401.cbf")).unwrap();
    let cbf = Cbf::read(&bytes).unwrap();
    let (frame, shot, geometry) = (cbf.frame().unwrap(), cbf.shot(), geometry::cbf::read(&cbf).unwrap());
    let trial = r#"
        [detector]
        name = "cspad"
        kind = "corrected"
        [calibration]
        edge = 1
        min_raw = -50.0
        saturation = 16380.0
        [spots.peakfinder8]
        threshold = 100.0
        snr = 5.0
        max_pixels = 40
        local_bg_radius = 4
    "#;
    let parameters = Parameters::from_toml(trial).unwrap();
    let chain = Chain::compile(&parameters, frame.shape, &geometry, &Constants::default(), &[]).unwrap();
    let mut workspace = Workspace::default();
    let outcome = chain.process(&mut workspace, &[(&frame, &shot)]).remove(0).unwrap();
    let good = &chain.calibration().mask().good;
    let values = chain.values(&mut workspace, &frame).unwrap();
    let values: Vec<f32> =
        values.iter().zip(good).map(|(v, good)| if *good { *v } else { f32::NAN }).collect();
    let detector = Detector {
        geometry: &geometry,
        shape: frame.shape,
        photon_energy: outcome.photon_energy,
        distance: outcome.distance,
    };
    let look = Look { theme: Theme::Dark, ..Look::default() };
    let figure = Image {
        detector: detector.clone(),
        values: &values,
        unit: "ADU",
        spots: &outcome.spots,
        title: "cxi78513 run 14, idx-20130301060858401.cbf".into(),
        subtitle: format!("hit · {} spots", outcome.spots.len()),
    };
    let scene = image(&figure, &look);
    keep("cspad", &scene);
    // 1765 pixels of 110 um from the first to the last panel and a margin; every spot is somewhere on them.
    let Some(Item::Raster(area, raster)) = scene.items.iter().find(|item| matches!(item, Item::Raster(..)))
    else {
        panic!("no picture")
    };
    assert!((1780..1900).contains(&raster.columns) && (1780..1900).contains(&raster.rows), "{raster:?}");
    let circles = scene.items.iter().find_map(|item| match item {
        Item::Clip(_, items) => match items.first() {
            Some(Item::Circles(centres, ..)) => Some(centres),
            _ => None,
        },
        _ => None,
    });
    let circles = circles.expect("circles of spots");
    assert_eq!(circles.len(), outcome.spots.len());
    assert!(circles.iter().all(|at| area.holds(*at)));
    // A pixel of the detector is a pixel of the picture, but for what turned panels lose at their edges.
    let gap = look.theme.palette().gap.rgb;
    let shown = raster.pixels.iter().filter(|p| **p != gap).count() as f64;
    assert!((shown / frame.shape.len() as f64 - 1.0).abs() < 0.002, "{shown}");
    let light = Look::default();
    keep("cspad-light", &image(&figure, &light));
    let figure = Powder {
        detector,
        shown: Sum { sum: &values, images: 1 },
        name: "hits",
        other: None,
        unit: "ADU",
        title: "cxi78513 run 14, virtual powder of hits".into(),
        subtitle: "1 image".into(),
    };
    keep("powder", &powder(&figure, &look));
}
