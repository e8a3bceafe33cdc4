//! Real data from the file to the calibrated value: the data's bytes through the decoder, constants through files, all through the
//! chain; against reference photons, and against what psana's own routines give for the same pixels and constants.

use std::path::PathBuf;

use lightrail_topics::events::{ConfigurePlace, Extent, ExtentKind};
use lightrail_topics::{EventId, Lfn};

use super::*;
use crate::decode::Decoder;
use crate::detectors::{Kind, Modes};
use crate::formats::npy;
use crate::formats::xtc2::{self, Service};
use crate::frame::{Frame, Pixels, Shot};
use crate::pipeline::Workspace;

fn data(test: &str) -> Option<PathBuf> {
    lightrail_compose::require::data(test)
}

/// A folder with a trial's files, and the tables that name them.
struct Trial {
    folder: tempfile::TempDir,
    text: String,
}

impl Trial {
    fn new(detector: &str) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), text: detector.to_owned() }
    }

    fn with(mut self, list: &str, name: &str, bytes: &[u8]) -> Self {
        std::fs::write(self.folder.path().join(name), bytes).unwrap();
        let sum = Sha256::of(bytes);
        self.text = format!("{}\n[[{list}]]\npath = '{name}'\nsha256 = '{sum}'\n", self.text);
        self
    }

    fn constants(self, name: &str, modes: usize, shape: Shape, of: impl Fn(usize, usize) -> f64) -> Self {
        let pixels = shape.len();
        let values: Vec<f32> = (0..modes * pixels).map(|i| of(i / pixels, i % pixels) as f32).collect();
        let dims = [modes, shape.panels, shape.rows, shape.columns];
        self.with("constants", &format!("{name}.npy"), &npy::write_f32(&dims, &values))
    }

    /// One flat panel after the other; where they are does not matter to a value.
    fn flat(self, shape: Shape) -> Self {
        let panel = |n: usize| {
            format!(
                "p{n}/dim0 = %\np{n}/dim1 = {n}\np{n}/dim2 = ss\np{n}/dim3 = fs\np{n}/min_fs = 0\np{n}/max_fs = {}\n\
                 p{n}/min_ss = 0\np{n}/max_ss = {}\np{n}/fs = +1.0x +0.0y\np{n}/ss = -0.0x +1.0y\n\
                 p{n}/corner_x = 10\np{n}/corner_y = {}\n",
                shape.columns - 1,
                shape.rows - 1,
                n * (shape.rows + 20)
            )
        };
        let panels: String = (0..shape.panels).map(panel).collect();
        self.with("geometry", "flat.geom", format!("clen = 0.1\nres = 13333.3\n{panels}").as_bytes())
    }

    fn compile(&self, settings: &str, setup: impl Into<Setup>) -> Chain {
        let parameters = Parameters::from_toml(&self.text.replace("SETTINGS", settings)).unwrap();
        match compile(&parameters, RunNumber(1), setup, self.folder.path()) {
            Ok(chain) => chain,
            Err(error) => panic!("{}", error.line()),
        }
    }
}

fn values(chain: &Chain, frame: &Frame) -> Vec<f64> {
    let mut workspace = Workspace::default();
    chain.values(&mut workspace, frame).unwrap().iter().map(|v| f64::from(*v)).collect()
}

/// What psana gives for an event of a detector: common modes, and sums as [`sums`] makes them. The table is what
/// `tests/python/psana_calibration.py` prints, which calls psana's own routines; the tests with psana run it again.
fn psanas(detector: &str, event: usize) -> impl Iterator<Item = (u8, [f64; 3])> {
    const TABLE: &str = include_str!("psana.tsv");
    let lines = TABLE.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let of_event = lines.filter(move |line| line[0] == detector && line[1] == event.to_string());
    let read = |line: Vec<&str>| {
        (line[2].parse().unwrap(), std::array::from_fn(|sum| line[3 + sum].parse().unwrap()))
    };
    let found: Vec<_> = of_event.map(read).collect();
    assert!(!found.is_empty(), "{detector} {event}");
    found.into_iter()
}

/// Sum, sum of magnitudes, and sum weighted by the pixel's number modulo 1000: what is computed of psana's result.
fn sums(values: &[f64]) -> [f64; 3] {
    let weighted = values.iter().enumerate().map(|(i, v)| v * (i % 1000) as f64).sum();
    [values.iter().sum(), values.iter().map(|v| v.abs()).sum(), weighted]
}

/// Equal but for the rounding of `f32`, for psana multiplies by an inverse that it has rounded; without a common mode but for that of
/// our constants (`detectors/steps.rs`: up to 6e-5 of a value, of which sums keep a tenth).
fn agree(mode: u8, ours: [f64; 3], theirs: [f64; 3], what: &str) {
    let within = if mode == 0 { 1e-5 } else { 2e-7 };
    let scale = [theirs[1], theirs[1], theirs[1] * 500.0];
    for ((ours, theirs), scale) in ours.iter().zip(theirs).zip(scale) {
        assert!((ours - theirs).abs() < within * scale, "{what}: {ours} and {theirs}");
    }
}

/// The module's gains are not published: they are derived, pixel by pixel, from the raw values and reference photons of two
/// frames, and tested on the third, where the pixel's stage had been seen. Each frame is the tested one once.
///
/// What this shows: the largest mean error of a stage is 0.013 photons (G0), the largest single one 0.73 of 12 (G0, a pixel
/// whose gain hangs on two weak values). In a stage in which a pixel was never seen its gain is not known; the stage's own
/// gives it within some percent.
#[test]
fn a_jungfraus_three_gains_give_the_reference_photons() {
    const SHAPE: Shape = Shape { panels: 1, rows: 512, columns: 1024 };
    let Some(data) = data("a Jungfrau's three gains") else { return };
    let read = |name: &str| std::fs::read(data.join("jungfrau").join(name)).unwrap();
    let f32s = |name: String| -> Vec<f64> {
        read(&name).as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b).into()).collect()
    };
    let raw: Vec<Vec<u16>> = (0..3)
        .map(|n| {
            read(&format!("mod5_raw{n}.bin"))
                .as_chunks::<2>()
                .0
                .iter()
                .map(|b| u16::from_le_bytes(*b))
                .collect()
        })
        .collect();
    let photons: Vec<Vec<f64>> = (0..3).map(|n| f32s(format!("mod5_conv{n}.bin"))).collect();
    let pedestals: Vec<Vec<f64>> = (0..3).map(|n| f32s(format!("mod5_pedeG{n}.bin"))).collect();
    // The reference marks what it cannot say by 32678.
    let said = |frame: usize, i: usize, stage: usize| {
        usize::from(raw[frame][i] >> 14) == [0, 1, 3][stage] && photons[frame][i] < 32_000.0
    };
    let (mut worst_mean, mut worst) = ([0.0_f64; 3], [0.0_f64; 3]);
    for tested in 0..3 {
        let known: Vec<usize> = (0..3).filter(|frame| *frame != tested).collect();
        // Least squares of ADU over photons, held to the stage's own gain by what four photons would say.
        let mut gains = vec![vec![0.0; SHAPE.len()]; 3];
        let mut seen = vec![vec![false; SHAPE.len()]; 3];
        for stage in 0..3 {
            let (mut up, mut down) = (vec![0.0; SHAPE.len()], vec![0.0; SHAPE.len()]);
            for frame in &known {
                for i in (0..SHAPE.len()).filter(|i| said(*frame, *i, stage)) {
                    let adu = f64::from(raw[*frame][i] & 0x3fff) - pedestals[stage][i];
                    up[i] += adu * photons[*frame][i];
                    down[i] += photons[*frame][i] * photons[*frame][i];
                    seen[stage][i] = true;
                }
            }
            let own = up.iter().sum::<f64>() / down.iter().sum::<f64>();
            for (i, gain) in gains[stage].iter_mut().enumerate() {
                *gain = (up[i] + 4.0 * own) / (down[i] + 4.0);
            }
        }
        let chain = Trial::new(
            "[detector]\nname = 'jungfrau'\nkind = 'jungfrau'\nphoton_energy = 12400\n[calibration]\nunit = 'photon'\n",
        )
        .constants("pedestals", 3, SHAPE, |stage, i| pedestals[stage][i])
        .constants("gains", 3, SHAPE, |stage, i| gains[stage][i] / 12.4)
        .flat(SHAPE)
        .compile("", SHAPE);
        let ours = values(&chain, &Frame { shape: SHAPE, pixels: Pixels::U16(raw[tested].clone()) });
        for stage in 0..3 {
            let error = |i: usize| (ours[i] - photons[tested][i]).abs();
            let here: Vec<usize> = (0..SHAPE.len()).filter(|i| said(tested, *i, stage)).collect();
            let errors: Vec<f64> = here.iter().filter(|i| seen[stage][**i]).map(|i| error(*i)).collect();
            assert!(errors.len() > [500_000, 300, 10][stage], "{} pixels of stage {stage}", errors.len());
            let mean = errors.iter().sum::<f64>() / errors.len() as f64;
            worst_mean[stage] = worst_mean[stage].max(mean);
            worst[stage] = errors.iter().copied().fold(worst[stage], f64::max);
            for i in here.iter().filter(|i| !seen[stage][**i]) {
                assert!(
                    error(*i) < 2.0 + 0.15 * photons[tested][*i].abs(),
                    "stage {stage} pixel {i}: {}",
                    error(*i)
                );
            }
        }
    }
    // Measured 0.0125, 0.0039, 0.0001 and 0.725, 0.237, 0.001.
    assert!(worst_mean.iter().zip([0.02, 0.01, 0.01]).all(|(mean, bar)| *mean < bar), "{worst_mean:?}");
    assert!(worst.iter().all(|worst| *worst < 1.0), "{worst:?}");
}

/// A real file's Configure as a decoder, and its two events as frames.
fn decoded(path: &Path, detector: &str, kind: Kind) -> Vec<(Setup, Frame, Shot)> {
    let lfn: Lfn = "/mfx/mfx101332224/xtc/a-r0007-s000-c000.xtc2".parse().unwrap();
    let bytes = std::fs::read(path).unwrap();
    let mut decoder = None;
    let mut found = Vec::new();
    for datagram in xtc2::datagrams(&bytes, 0).map(Result::unwrap) {
        let (time, length) = (datagram.header.timestamp, datagram.bytes.len() as u64);
        match datagram.header.service {
            Service::Configure => {
                let place = ConfigurePlace { lfn: lfn.clone(), offset: datagram.at, length };
                decoder = Some(Decoder::new(detector, kind, &[(place, datagram.bytes.to_vec())]).unwrap());
            }
            Service::L1Accept => {
                let event = EventId::Time {
                    seconds: time.seconds(),
                    nanoseconds: time.nanoseconds(),
                    fiducial: None,
                };
                let extent =
                    Extent { lfn: lfn.clone(), offset: datagram.at, length, kind: ExtentKind::Dgram };
                let (decoder, extents) = (decoder.as_ref().unwrap(), [(&extent, datagram.bytes)]);
                let (frame, shot) = decoder.decode(&event, &extents).unwrap();
                found.push((decoder.setup(&event, &extents).unwrap(), frame, shot));
            }
            _ => {}
        }
    }
    assert_eq!(found.len(), 2);
    found
}

fn u16s(frame: &mut Frame) -> &mut Vec<u16> {
    match &mut frame.pixels {
        Pixels::U16(pixels) => pixels,
        other => panic!("{other:?}"),
    }
}

/// Reference: `calib_jungfrau_single_panel` of psana 4.3.4 with the same pixels and constants. Every 50th pixel is made one of G1
/// and every 75th one of G2, since a dark file has none.
#[test]
fn a_real_jungfrau_is_calibrated_as_psana_does_it() {
    let Some(data) = data("a real Jungfrau as psana calibrates it") else { return };
    let events = decoded(&data.join("xtc2/test_jungfrau05M_calib.xtc2"), "jungfrau", Kind::Jungfrau);
    for (n, (setup, mut frame, shot)) in events.into_iter().enumerate() {
        for (i, raw) in u16s(&mut frame).iter_mut().enumerate() {
            let stage = if i % 75 == 0 {
                0xc000
            } else if i % 50 == 0 {
                0x4000
            } else {
                *raw & 0xc000
            };
            *raw = (*raw & 0x3fff) | stage;
        }
        let shape = setup.shape;
        let trial = Trial::new("[detector]\nname = 'jungfrau'\nkind = 'jungfrau'\n[calibration]\nSETTINGS\n")
            .constants("pedestals", 3, shape, |stage, i| {
                [2390 + i * 7919 % 41, 12_500 + i * 104_729 % 701, 13_000 + i * 31 % 503][stage] as f64
            })
            .constants("offsets", 3, shape, |_, i| (i * 13 % 17) as f64 - 8.0)
            .constants("gains", 3, shape, |stage, i| match stage {
                0 => 41.0 + (i % 11) as f64 * 0.1,
                1 => -1.45 - (i % 7) as f64 * 0.01,
                _ => -0.115 - (i % 5) as f64 * 0.001,
            })
            .constants("status", 1, shape, |_, i| f64::from(u8::from(i % 997 == 0)))
            .flat(shape);
        // Every mode once, all of them together on both events.
        for (mode, sums_of_psana) in psanas("jungfrau", n).filter(|(mode, _)| n == 0 || *mode == 7) {
            let chain = trial.compile(&format!("common_mode = {mode}"), setup.clone());
            agree(mode, sums(&values(&chain, &frame)), sums_of_psana, &format!("common mode {mode}"));
            let outcome = chain.process(&mut Workspace::default(), &[(&frame, &shot)]).remove(0);
            assert!(outcome.is_ok());
        }
    }
}

/// Reference: `cbits_config_epix10ka`, `gain_maps_epix10ka_any_alg`, `event_constants_for_gmaps` and
/// `common_mode_epix_multigain_apply` of psana 4.3.4: with the file's own configuration (all pixels FL, where no common mode is
/// seen), and with one that has all seven modes, of whose pixels every 40th keeps its bit 14.
#[test]
fn a_real_epix10ka_quad_is_calibrated_as_psana_does_it() {
    let Some(data) = data("a real ePix10ka quad as psana calibrates it") else { return };
    let events = decoded(&data.join("xtc2/test_epix_calib.xtc2"), "epixquad", Kind::Epix10ka);
    for (n, (setup, mut frame, _)) in events.into_iter().enumerate() {
        let shape = setup.shape;
        let gain = |mode: usize, i: usize| {
            let level = [0, 1, 2, 0, 1, 2, 2][mode];
            [16.4, 5.466, 0.164][level] * (1.0 + 0.001 * ((i + mode) % 13) as f64)
        };
        let trial = Trial::new("[detector]\nname = 'epixquad'\nkind = 'epix10ka'\n[calibration]\nSETTINGS\n")
            .constants("pedestals", 7, shape, |mode, i| (3080 + 20 * mode + i * 7919 % (31 + mode)) as f64)
            .constants("gains", 7, shape, gain)
            .constants("status", 1, shape, |_, i| f64::from(u8::from(i % 991 == 0)))
            .flat(shape);
        let configuration = setup.configuration.as_ref().unwrap();
        assert!(
            configuration.values.iter().all(|bits| *bits == 8),
            "the file's pixels are fixed to low gain"
        );
        for (mode, sums_of_psana) in psanas("epix10ka-own", n) {
            let chain = trial.compile(&format!("common_mode = {mode}"), setup.clone());
            let what = format!("own configuration, common mode {mode}");
            agree(mode, sums(&values(&chain, &frame)), sums_of_psana, &what);
        }
        for (i, raw) in u16s(&mut frame).iter_mut().enumerate() {
            *raw = if i % 40 == 0 { *raw } else { *raw & 0x3fff };
        }
        let bits = (0..shape.len()).map(|i| [28, 12, 8, 16, 0][i / 7 % 5]).collect();
        let setup = Setup { configuration: Some(Modes { shape, modes: 1, values: bits }), ..setup };
        for (mode, sums_of_psana) in psanas("epix10ka-made", n).filter(|(mode, _)| n == 0 || *mode == 7) {
            let chain = trial.compile(&format!("common_mode = {mode}"), setup.clone());
            agree(
                mode,
                sums(&values(&chain, &frame)),
                sums_of_psana,
                &format!("all modes, common mode {mode}"),
            );
        }
    }
}

#[test]
fn cspad_images_with_their_own_metrology_have_spots_at_the_right_resolutions() {
    let Some(data) = data("CSPAD images with their metrology") else { return };
    for name in ["idx-20130301060858401.cbf", "idx-20130301060858701.cbf"] {
        let lfn: Lfn = format!("/cxi/cxi78513/cbf/{name}").parse().unwrap();
        let bytes = std::fs::read(data.join("cspad").join(name)).unwrap();
        let extent =
            Extent { lfn: lfn.clone(), offset: 0, length: bytes.len() as u64, kind: ExtentKind::Cbf };
        let event: EventId = format!("{name}:0").parse().unwrap();
        let decoder = Decoder::new("cspad", Kind::Corrected, &[]).unwrap();
        let extents = [(&extent, &bytes[..])];
        let (frame, shot) = decoder.decode(&event, &extents).unwrap();
        assert_eq!(frame.shape.to_string(), "32x185x388");
        let energy = shot.photon_energy.unwrap();
        assert!((energy / 9742.5 - 1.0).abs() < 0.01, "{name}: 1.2726 A or near it, {energy} eV");
        let trial = Trial::new(
            "[detector]\nname = 'cspad'\nkind = 'corrected'\n[calibration]\nmin_raw = -100\n[spots.peakfinder8]\n\
             threshold = 100\nsnr = 7\nmin_pixels = 2\nmax_pixels = 40\n",
        );
        let chain = trial.compile("", decoder.setup(&event, &extents).unwrap());
        let outcome = chain.process(&mut Workspace::default(), &[(&frame, &shot)]).remove(0).unwrap();
        assert!(outcome.hit && outcome.spots.len() > 50, "{name}: {} spots", outcome.spots.len());
        let positions = chain.geometry().positions(frame.shape);
        let energy = outcome.photon_energy.unwrap();
        for spot in &outcome.spots {
            let (row, column) = (spot.slow.round() as usize, spot.fast.round() as usize);
            let at = usize::from(spot.panel) * frame.shape.panel_len() + row * frame.shape.columns + column;
            let [x, y, z] = positions[at].map(f64::from);
            let theta = x.hypot(y).atan2(z) / 2.0;
            let d = 12_398.42 / energy / (2.0 * theta.sin());
            assert!((f64::from(spot.resolution) / d - 1.0).abs() < 0.02, "{spot:?} {d}");
        }
        let finest = outcome.resolution.unwrap();
        assert!((1.5..6.0).contains(&finest), "{name}: {finest} angstrom");
    }
}
