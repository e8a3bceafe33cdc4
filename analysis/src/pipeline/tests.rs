//! Whole chains on made images.

mod twins;

use super::*;
use crate::detectors::{CalibrationError, Constants, Mask, Modes};
use crate::frame::{Frame, Pixels, Shape, Shot};
use crate::geometry::{Geometry, Panel};
use crate::trial::Parameters;

const SHAPE: Shape = Shape { panels: 2, rows: 128, columns: 256 };

/// Two panels side by side about the beam, 75 um pixels at 100 mm.
fn geometry() -> Geometry {
    let panel = |panel: usize, x: f64| Panel {
        name: format!("p{panel}"),
        panel,
        rows: 0..SHAPE.rows,
        columns: 0..SHAPE.columns,
        origin: [x * 75e-6, -64.0 * 75e-6, 0.1],
        fast: [75e-6, 0.0, 0.0],
        slow: [0.0, 75e-6, 0.0],
    };
    Geometry { panels: vec![panel(0, -260.0), panel(1, 4.0)], distance: 0.1 }
}

fn parameters(kind: &str, spots: &str) -> Parameters {
    Parameters::from_toml(&format!("[detector]\nname = 'd'\nkind = '{kind}'\nphoton_energy = 9500\n{spots}"))
        .unwrap()
}

/// Counts: a flat background of 10 with a spot of 3 x 3 at each place.
fn image(places: &[(usize, usize, usize)], seed: u64) -> Frame {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut pixels: Vec<i32> = (0..SHAPE.len()).map(|_| random.i32(7..14)).collect();
    for (panel, row, column) in places {
        for (dy, dx) in (0..3).flat_map(|y| (0..3).map(move |x| (y, x))) {
            let at = panel * SHAPE.panel_len() + (row + dy - 1) * SHAPE.columns + column + dx - 1;
            pixels[at] += if (dy, dx) == (1, 1) { 400 } else { 100 };
        }
    }
    Frame { shape: SHAPE, pixels: Pixels::I32(pixels) }
}

fn places() -> Vec<(usize, usize, usize)> {
    (0..2)
        .flat_map(|p| (0..5).flat_map(move |y| (0..6).map(move |x| (p, 15 + 22 * y, 20 + 38 * x))))
        .collect()
}

const FINDERS: [&str; 3] = [
    "[spots.peakfinder8]\nthreshold = 30\n",
    "[spots.dispersion]\n",
    "[spots.dispersion]\nextended = false\nsigma_s = 3\n",
];

#[test]
fn every_finder_finds_the_spots_and_nothing_else() {
    for finder in FINDERS {
        let parameters = parameters("counts", &format!("{finder}[calibration]\nsaturation = 400\n"));
        let chain = Chain::compile(&parameters, SHAPE, &geometry(), &Constants::default(), &[]).unwrap();
        let mut workspace = Workspace::default();
        let frame = image(&places(), 1);
        let outcome = chain.process(&mut workspace, &[(&frame, &Shot::default())]).remove(0).unwrap();
        assert!(outcome.hit, "{finder} {:?} {}", outcome.reason, outcome.spots.len());
        assert_eq!(outcome.spots.len(), 60, "{finder}");
        assert_eq!((outcome.saturated, outcome.saturation), (60, Some(1.0)));
        for (panel, row, column) in places() {
            let near = |spot: &&Spot| {
                usize::from(spot.panel) == panel
                    && (spot.slow - row as f32).hypot(spot.fast - column as f32) < 0.3
            };
            let spot = outcome.spots.iter().find(near).unwrap();
            // The plain form's local mean holds the spot itself: 1200 over 49 pixels.
            let own = if finder.contains("extended = false") { 1200.0 / 49.0 } else { 0.0 };
            assert!((spot.background - 10.0 - own).abs() < 1.0, "{finder} {spot:?}");
            assert!((spot.intensity - 1200.0 + 9.0 * own).abs() < 30.0, "{finder} {spot:?}");
            let radius = ((column as f64 + [-260.0, 4.0][panel]).hypot(row as f64 - 64.0)) * 75e-6;
            let d = 12398.42 / 9500.0 / (2.0 * ((radius / 0.1).atan() / 2.0).sin());
            assert!((f64::from(spot.resolution) / d - 1.0).abs() < 0.03, "{spot:?} {d}");
        }
        let exact: f64 = match &frame.pixels {
            Pixels::I32(v) => v.iter().map(|v| f64::from(*v)).sum(),
            _ => unreachable!(),
        };
        assert!((outcome.total / exact - 1.0).abs() < 0.1, "{} {exact}", outcome.total);
        let blank = chain.process(&mut workspace, &[(&image(&[], 2), &Shot::default())]).remove(0).unwrap();
        assert_eq!(
            (blank.hit, blank.reason, blank.spots.len()),
            (false, Some(Reason::FewSpots), 0),
            "{finder}"
        );
    }
}

#[test]
fn the_profile_is_the_mean_of_the_good_pixels_of_each_ring() {
    let mut mask = Mask::open(SHAPE);
    (0..SHAPE.len()).step_by(5).for_each(|i| mask.good[i] = false);
    let frame = image(&places(), 3);
    let Pixels::I32(counts) = &frame.pixels else { unreachable!() };
    for finder in FINDERS {
        let parameters = parameters("counts", &format!("{finder}[profile]\nrings = 20\n"));
        let masks = std::slice::from_ref(&mask);
        let chain = Chain::compile(&parameters, SHAPE, &geometry(), &Constants::default(), masks).unwrap();
        let shot = Shot::default();
        let outcome = chain.process(&mut Workspace::default(), &[(&frame, &shot)]).remove(0).unwrap();
        let radii = chain.profile_radii();
        // The farthest corner, at (260, 64); rings are those of rounded radii.
        assert_eq!((radii.len(), radii[0], radii[19]), (20, 14, 269));
        let mut sums = [(0.0, 0.0); 20];
        for i in (0..SHAPE.len()).filter(|i| mask.good[*i]) {
            let (panel, at) = (i / SHAPE.panel_len(), i % SHAPE.panel_len());
            let (row, column) = (at / SHAPE.columns, at % SHAPE.columns);
            let radius = (column as f64 + [-260.0, 4.0][panel]).hypot(row as f64 - 64.0).round();
            let ring = radii.iter().position(|end| radius < *end as f64).unwrap();
            sums[ring].0 += f64::from(counts[i]);
            sums[ring].1 += 1.0;
        }
        for (mean, (sum, count)) in outcome.profile.iter().zip(sums) {
            assert!((f64::from(*mean) * count / sum - 1.0).abs() < 1e-4, "{finder} {mean} {}", sum / count);
        }
    }
}

#[test]
fn a_shots_own_energy_and_distance_decide_its_resolution() {
    let chain =
        Chain::compile(&parameters("counts", FINDERS[0]), SHAPE, &geometry(), &Constants::default(), &[])
            .unwrap();
    let frame = image(&places(), 1);
    let of = |photon_energy, detector_distance| {
        let shot = Shot { photon_energy, detector_distance, ..Shot::default() };
        let mut outcome = chain.process(&mut Workspace::default(), &[(&frame, &shot)]).remove(0).unwrap();
        outcome.spots.remove(7).resolution
    };
    let d = of(None, None);
    assert!((of(Some(19_000.0), None) / d - 0.5).abs() < 1e-4);
    assert!((of(None, Some(0.2)) / d - 2.0).abs() < 0.05);
}

#[test]
fn what_does_not_fit_is_said_before_the_first_image() {
    let compile = |parameters: &Parameters, geometry: &Geometry, constants: &Constants, masks: &[Mask]| {
        Chain::compile(parameters, SHAPE, geometry, constants, masks).unwrap_err().to_string()
    };
    let counts = parameters("counts", "");
    let jungfrau = parameters("jungfrau", "");
    let none = Constants::default();
    assert!(compile(&jungfrau, &geometry(), &none, &[]).contains("jungfrau needs pedestals"));
    let modes =
        |shape: Shape, modes: usize| Some(Modes { shape, modes, values: vec![1.0; modes * shape.len()] });
    let one = Constants { pedestals: modes(SHAPE, 1), ..none.clone() };
    assert!(compile(&jungfrau, &geometry(), &one, &[]).contains("are needed (3 gain modes)"));
    let other = Shape { rows: 4, ..SHAPE };
    let wrong = Constants { pedestals: modes(other, 3), ..none.clone() };
    assert_eq!(
        compile(&jungfrau, &geometry(), &wrong, &[]),
        "pedestals is for 2x4x256, the data are 2x128x256: use the one made for this detector"
    );
    let no_gain = Constants { pedestals: modes(SHAPE, 3), ..none.clone() };
    assert!(compile(&jungfrau, &geometry(), &no_gain, &[]).contains("needs gains (or calibration.gains)"));
    let mut mask = Mask::open(SHAPE);
    assert!(
        compile(&counts, &geometry(), &none, &[Mask::open(other)])
            .contains("mask 1 of the trial is for 2x4x256")
    );
    mask.good.fill(false);
    assert_eq!(
        compile(&counts, &geometry(), &none, &[Mask::open(SHAPE), mask]),
        "no pixel is left: mask 2 of the trial hides, with those before it, all of them"
    );
    let mut large = geometry();
    large.panels[1].rows = 0..200;
    assert!(compile(&counts, &large, &none, &[]).contains("its panel `p1` is rows 0..200"));
    let mut twice = geometry();
    twice.panels[1].panel = 0;
    assert!(compile(&counts, &twice, &none, &[]).contains("`p0` and `p1` overlap"));
    let far = parameters("counts", "[spots.peakfinder8]\nmin_res = 2000\n");
    assert!(compile(&far, &geometry(), &none, &[]).contains("between min_res and max_res"));
    let chain = Chain::compile(&counts, SHAPE, &geometry(), &none, &[]).unwrap();
    let frame = Frame { shape: other, pixels: Pixels::I32(vec![0; other.len()]) };
    let error =
        chain.process(&mut Workspace::default(), &[(&frame, &Shot::default())]).remove(0).unwrap_err();
    assert_eq!(error.to_string(), "the image is 2x4x256, the trial was made for 2x128x256");
    let bits = Constants { pedestals: modes(SHAPE, 3), gains: modes(SHAPE, 3), ..none };
    let chain = Chain::compile(&jungfrau, SHAPE, &geometry(), &bits, &[]).unwrap();
    let error = chain
        .process(&mut Workspace::default(), &[(&image(&[], 1), &Shot::default())])
        .remove(0)
        .unwrap_err();
    assert!(matches!(error, ImageError::Type(_)), "{error}");
    let _: CalibrationError = CalibrationError::NothingLeft { what: String::new() };
}

#[test]
fn the_hash_changes_with_whatever_is_used_and_with_nothing_else() {
    let base = parameters("counts", "");
    let of = |parameters: &Parameters, geometry: &Geometry, constants: &Constants, masks: &[Mask]| {
        Chain::compile(parameters, SHAPE, geometry, constants, masks).unwrap().hash()
    };
    let none = Constants::default();
    let first = of(&base, &geometry(), &none, &[]);
    assert_eq!(first, of(&base, &geometry(), &none, &[]));
    assert_eq!(first.to_string().len(), 64);
    let mut moved = geometry();
    moved.panels[1].origin[0] += 1e-9;
    let gains = Constants {
        gains: Some(Modes { shape: SHAPE, modes: 1, values: vec![2.0; SHAPE.len()] }),
        ..none.clone()
    };
    let mut mask = Mask::open(SHAPE);
    mask.good[5] = false;
    let all = [
        first,
        of(&parameters("counts", "[hit]\nmin_spots = 3"), &geometry(), &none, &[]),
        of(&base, &moved, &none, &[]),
        of(&base, &geometry(), &gains, &[]),
        of(&base, &geometry(), &none, &[mask]),
    ];
    for (i, hash) in all.iter().enumerate() {
        assert!(!all[..i].contains(hash), "{i}");
    }
}

#[test]
fn powders_hold_what_was_asked_for() {
    let parameters = parameters("counts", "[powder]\nmisses_every = 1\n[hit]\nmin_spots = 5\n");
    let chain = Chain::compile(&parameters, SHAPE, &geometry(), &Constants::default(), &[]).unwrap();
    let (mut workspace, mut powders) = (Workspace::default(), chain.powders());
    let (hit, miss) = (image(&places(), 1), image(&[], 2));
    assert!(chain.add_to(&mut powders, &mut workspace, &hit, true, 1).unwrap());
    assert!(chain.add_to(&mut powders, &mut workspace, &miss, false, 2).unwrap());
    let part = powders.take();
    assert_eq!((powders.hits.images, part.hits.images, part.misses.images), (0, 1, 1));
    let Pixels::I32(pixels) = &hit.pixels else { panic!() };
    assert!(part.hits.sum.iter().zip(pixels).all(|(a, b)| f64::from(*a) == f64::from(*b)));
}

#[test]
fn a_pixel_is_as_full_as_its_last_gain_stage() {
    let modes = |of: [f32; 3]| {
        let values = of.iter().flat_map(|value| vec![*value; SHAPE.len()]).collect();
        Some(Modes { shape: SHAPE, modes: 3, values })
    };
    let constants = Constants {
        pedestals: modes([2000.0, 15_000.0, 14_000.0]),
        gains: modes([40.0, -1.5, -0.1]),
        ..Constants::default()
    };
    let mut mask = Mask::open(SHAPE);
    mask.good[4] = false;
    let chain = Chain::compile(&parameters("jungfrau", ""), SHAPE, &geometry(), &constants, &[mask]).unwrap();
    let raw = Pixels::U16(vec![0xc000, 0xc000 + 7000, 2000, 0x8000, 0xc000]);
    let of = |pixel| chain.calibration().fullness(&raw, pixel);
    // The lowest gain counts down to nothing; two bits say that there is no value; a masked pixel tells none.
    assert_eq!([of(0), of(1), of(2), of(3), of(4)], [Some(1.0), Some(0.5), Some(0.0), None, None]);
    let counts =
        Chain::compile(&parameters("counts", ""), SHAPE, &geometry(), &Constants::default(), &[]).unwrap();
    assert_eq!(counts.calibration().fullness(&Pixels::I32(vec![50]), 0), None);
}
