//! What is fused, summed by rings and looked at only outside their cores gives what looking at every pixel gives: all kinds of detector, all levels of this machine,
//! one thread and two, batches of all sizes, wild constants and masks.

use proptest::prelude::*;

use super::*;
use crate::simd::Level;

/// A shape whose rows and panels are no multiples of a tile or a run.
const ODD: Shape = Shape { panels: 2, rows: 37, columns: 75 };

fn odd_geometry() -> Geometry {
    let panel = |panel: usize, part: usize| Panel {
        name: format!("p{panel}a{part}"),
        panel,
        rows: 0..ODD.rows,
        columns: if part == 0 { 0..40 } else { 41..ODD.columns },
        origin: [(part as f64 * 41.0 - 30.0) * 75e-6, (panel as f64 * 39.0 - 38.0) * 75e-6, 0.1],
        fast: [75e-6, 1e-8, 0.0],
        slow: [-1e-8, 75e-6, 0.0],
    };
    Geometry {
        panels: (0..2)
            .flat_map(|p| (0..2).map(move |part| (p, part)))
            .map(|(p, part)| panel(p, part))
            .collect(),
        distance: 0.1,
    }
}

#[derive(Clone, Copy, Debug)]
enum Bits {
    U16,
    I16,
    I32,
    U32,
    F32,
}

fn kinds() -> impl Strategy<Value = (&'static str, Bits, usize)> {
    prop_oneof![
        4 => Just(("jungfrau", Bits::U16, 3)),
        2 => Just(("epix10ka", Bits::U16, 7)),
        1 => Just(("epix100", Bits::U16, 1)),
        1 => Just(("rayonix", Bits::U16, 1)),
        1 => Just(("counts", Bits::U16, 1)),
        1 => Just(("counts", Bits::I32, 1)),
        1 => Just(("counts", Bits::U32, 1)),
        1 => Just(("cspad", Bits::I16, 1)),
        1 => Just(("corrected", Bits::F32, 1)),
    ]
}

fn constants(random: &mut fastrand::Rng, kind: &str, modes: usize, wild: bool) -> Constants {
    let n = ODD.len();
    let mut of = |base: f32, spread: f32| {
        (0..modes * n)
            .map(|_| match random.u32(0..if wild { 60 } else { u32::MAX }) {
                0 => f32::NAN,
                1 => -base,
                2 => 70_000.0,
                _ => base + (random.f32() - 0.5) * spread,
            })
            .collect::<Vec<f32>>()
    };
    let pedestals = of(if kind == "counts" || kind == "corrected" { 0.0 } else { 900.0 }, 300.0);
    let mut gains = of(10.0, 3.0);
    if kind == "jungfrau" {
        for (mode, gains) in gains.chunks_mut(n).enumerate() {
            for gain in gains {
                *gain *= [1.0, -0.04, -0.003][mode];
            }
        }
    }
    let status = (0..n).map(|_| u64::from(random.u8(0..40) == 0)).collect();
    let configuration = (0..n).map(|_| [28, 12, 16, 0, 16, 4][random.usize(0..6)]).collect();
    Constants {
        pedestals: Some(Modes { shape: ODD, modes, values: pedestals }),
        gains: Some(Modes { shape: ODD, modes, values: gains }),
        status: Some(Modes { shape: ODD, modes: 1, values: status }),
        configuration: (kind == "epix10ka").then_some(Modes { shape: ODD, modes: 1, values: configuration }),
        ..Constants::default()
    }
}

/// Noise about the pedestal, spots, switched, bad and full pixels.
fn frame(random: &mut fastrand::Rng, bits: Bits, kind: &str) -> Frame {
    let base = if kind == "counts" || kind == "corrected" { 20 } else { 900 };
    let mut raw: Vec<i32> = (0..ODD.len()).map(|_| base + random.i32(-60..60)).collect();
    for _ in 0..random.usize(0..25) {
        let at = random.usize(0..ODD.len() - ODD.columns - 1);
        for (step, share) in [(0, 4), (1, 2), (ODD.columns, 3), (ODD.columns + 1, 1)] {
            raw[at + step] += random.i32(0..2500) * share;
        }
    }
    for _ in 0..random.usize(0..40) {
        raw[random.usize(0..ODD.len())] =
            [0, 16_383, 0x4000 + 700, 0x8000, 0xc000, 0xc100, 0xffff][random.usize(0..7)];
    }
    let pixels = match bits {
        Bits::U16 => Pixels::U16(raw.iter().map(|v| *v as u16).collect()),
        Bits::I16 => Pixels::I16(raw.iter().map(|v| *v as i16).collect()),
        Bits::I32 => Pixels::I32(raw.iter().map(|v| *v - 10).collect()),
        Bits::U32 => Pixels::U32(raw.iter().map(|v| *v as u32).collect()),
        Bits::F32 => Pixels::F32(raw.iter().map(|v| *v as f32 - 10.0).collect()),
    };
    Frame { shape: ODD, pixels }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn fused_is_the_same_as_plain(
        (kind, bits, modes) in kinds(),
        seed in any::<u64>(),
        count in 1..7_usize,
        threshold in prop_oneof![Just(0.0_f32), 1.0..40.0_f32, 40.0..400.0_f32],
        snr in 1.0..8.0_f32,
        rest in prop_oneof![
            3 => Just(""),
            1 => Just("[calibration]\nmin_raw = 870\n"),
            1 => Just("[calibration]\nsaturation = 2000\nedge = 1\n"),
            1 => Just("[calibration]\ncommon_mode = 1\n"),
        ],
        wild in any::<bool>(),
        dispersion in prop_oneof![4 => Just(false), 1 => Just(true)],
    ) {
        let rest = match kind {
            "rayonix" | "counts" | "corrected" if rest.contains("common") => "",
            _ => rest,
        };
        let spots = if dispersion {
            "[spots.dispersion]\ngain = 3\n".to_owned()
        } else {
            format!("[spots.peakfinder8]\nthreshold = {threshold}\nsnr = {snr}\nmin_res = 3\n")
        };
        let parameters = parameters(kind, &format!("{rest}{spots}"));
        let mut random = fastrand::Rng::with_seed(seed);
        let constants = constants(&mut random, kind, modes, wild);
        let chain = Chain::compile(&parameters, ODD, &odd_geometry(), &constants, &[]).unwrap();
        let frames: Vec<Frame> = (0..count).map(|_| frame(&mut random, bits, kind)).collect();
        let shot = Shot::default();
        let images: Vec<(&Frame, &Shot)> = frames.iter().map(|frame| (frame, &shot)).collect();
        let expected: Vec<_> = frames.iter().map(|frame| chain.plainly(frame, &shot).unwrap()).collect();
        let mut workspace = Workspace::default();
        for (level, hands) in Level::all().into_iter().flat_map(|level| [(level, 1), (level, 2)]) {
            workspace.hands = hands;
            let found = chain.process_at(level, &mut workspace, &images);
            for (found, expected) in found.into_iter().zip(&expected) {
                prop_assert_eq!(format!("{:?}", found.unwrap()), format!("{expected:?}"), "{:?} {} {}", level, kind, hands);
            }
        }
    }
}

#[test]
fn an_image_that_does_not_fit_leaves_the_others_of_its_batch_alone() {
    let parameters = parameters("rayonix", "[spots.peakfinder8]\nthreshold = 30\n");
    let chain = Chain::compile(&parameters, ODD, &odd_geometry(), &Constants::default(), &[]).unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    let good = frame(&mut random, Bits::U16, "rayonix");
    let short = Frame { shape: ODD, pixels: Pixels::U16(vec![0; 5]) };
    let shot = Shot::default();
    let mut workspace = Workspace::default();
    let found = chain.process(&mut workspace, &[(&good, &shot), (&short, &shot), (&good, &shot)]);
    let alone = format!("{:?}", chain.process(&mut workspace, &[(&good, &shot)])[0]);
    assert!(found[0].as_ref().unwrap().spots.len() > 1);
    assert_eq!(format!("{:?}", found[0]), alone);
    assert!(matches!(found[1], Err(ImageError::Pixels { found: 5, .. })));
    assert_eq!(format!("{:?}", found[2]), alone);
}
