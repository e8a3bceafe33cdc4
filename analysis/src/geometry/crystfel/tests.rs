//! Real geometry files, the manual page's forms, and faults.
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small numbers"
)]

use super::*;
use crate::geometry::psana;

fn file(test: &str, name: &str) -> Option<String> {
    let path = lightrail_compose::require::data(test)?.join("geometry").join(name);
    Some(std::fs::read_to_string(path).expect("a geometry file"))
}

const SMALL: &str = "
photon_energy = 9.5 keV ; a comment
clen = 0.1
coffset = 0.002
res = 10000 ; 100 um
adu_per_eV = 0.00338
dim0 = %
dim1 = ss
dim2 = fs
mask = /entry/mask
mask_good = 0x0
mask_bad = 0xff
bad_beam/min_x = -5
bad_beam/max_x = 5
bad_beam/min_y = -5
bad_beam/max_y = 5
bad_corner/min_fs = 0
bad_corner/max_fs = 1
bad_corner/min_ss = 10
bad_corner/max_ss = 10
bad_corner/panel = b
rigid_group_all = a,b
rigid_group_collection_one = all
a/min_fs = 0
a/max_fs = 9
a/min_ss = 0
a/max_ss = 9
a/fs = x
a/ss = y
a/corner_x = -5
a/corner_y = -5
b/min_fs = 0
b/max_fs = 9
b/min_ss = 10
b/max_ss = 19
b/fs = -1.0y + 0.0z
b/ss = +1e0x
b/corner_x = 20
b/corner_y = 7.5
b/coffset = 0.003
b/no_index = 0
";

#[test]
fn real_files_have_64_asics_of_a_cspad() {
    for name in ["cspad-cxiformat.geom", "jungfrau4M.geom"] {
        let Some(text) = file("real_files_have_64_asics_of_a_cspad", name) else { return };
        let read = read(&text).expect("CrystFEL's own file");
        assert_eq!(read.geometry.panels.len(), 64, "{name}");
        assert_eq!(read.geometry.shape(), Shape { panels: 1, rows: 1480, columns: 1552 });
        assert_eq!(read.panels[0].data.as_deref(), Some("/entry_1/data_1/data"));
    }
    let Some(text) = file("real_files_have_64_asics_of_a_cspad", "cspad-cxiformat.geom") else { return };
    let read = read(&text).expect("CrystFEL's own file");
    let path = "/LCLS/detector_1/EncoderValue".to_owned();
    assert_eq!(read.length, Some(Length::Stored { path, unit: 1e-3 }));
    assert_eq!(
        read.photon_energy,
        Some(Energy::Stored { path: "/LCLS/photon_energy_eV".to_owned(), unit: 1.0 })
    );
    assert_eq!(
        read.panels[0].masks[&0],
        MaskKeys { data: Some("/entry_1/data_1/mask".to_owned()), file: None, good: 0, bad: 0xffff }
    );
    // Its stage runs from -500 mm to 0: an encoder at -440 mm makes 0.133 m.
    let encoder = read.encoder().expect("the length is stored");
    assert!((encoder.distance(-440.0) - 0.133_224).abs() < 1e-9);
    let at = |distance: f64| read.geometry.at_distance(distance).panels[0].origin[2];
    assert_eq!(read.geometry.distance.to_bits(), 0, "nobody knows it yet");
    assert!((at(0.133_224) - 0.133_224).abs() < 1e-12, "{}", at(0.133_224));
    // The first ASIC by hand: corner plus half a step each, over res.
    let [x, y, _] = read.geometry.panels[0].origin;
    assert!((x - (443.819 + 0.5 * 0.004_806 - 0.5 * 0.999_989) / 9090.91).abs() < 1e-12);
    assert!((y - (-49.8719 + 0.5 * 0.999_989 + 0.5 * 0.004_806) / 9090.91).abs() < 1e-12);
}

#[test]
fn the_two_descriptions_of_a_cspad_agree_sensor_by_sensor() {
    let test = "the_two_descriptions_of_a_cspad_agree_sensor_by_sensor";
    let (Some(data), Some(geom)) = (file(test, "geometry-def-cspad.data"), file(test, "jungfrau4M.geom"))
    else {
        return;
    };
    let psana = psana::read(&data).expect("psana's");
    let plane = read(&geom).expect("CrystFEL's").geometry;
    let stacked = plane.for_shape(Shape { panels: 32, rows: 185, columns: 388 }).expect("the same pixels");
    assert_eq!(stacked.shape(), psana.shape());
    assert_eq!(stacked.overlap(), None);
    let corner = |g: &Geometry, panel: usize, f: f64, s: f64| {
        let half = usize::from(f >= 194.0);
        let asic = g.panels.iter().filter(|p| p.panel == panel).nth(half).expect("an ASIC");
        assert!(asic.columns.contains(&(f as usize)));
        asic.position(f, s)
    };
    let far = |a: [f64; 3], b: [f64; 3]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
    for panel in 0..32 {
        // Lengths within a sensor do not depend on how the detector stood.
        for (f, s) in [(387.0, 0.0), (387.0, 184.0), (193.0, 184.0), (194.0, 0.0)] {
            let one = far(corner(&psana, panel, 0.0, 0.0), corner(&psana, panel, f, s));
            let other = far(corner(&stacked, panel, 0.0, 0.0), corner(&stacked, panel, f, s));
            assert!((one - other).abs() < 40e-6, "panel {panel} ({f}, {s}): {one} {other}");
        }
    }
    // And the sensors of a quadrant lie to each other as a quadrant is built, to the half millimetre.
    for quadrant in 0..4 {
        for sensor in 1..8 {
            let between =
                |g| far(corner(g, quadrant * 8, 0.0, 0.0), corner(g, quadrant * 8 + sensor, 0.0, 0.0));
            let (one, other) = (between(&psana), between(&stacked));
            assert!((one - other).abs() < 0.5e-3, "quadrant {quadrant} sensor {sensor}: {one} {other}");
        }
    }
}

#[test]
fn every_key_is_understood() {
    let read = read(SMALL).expect("a geometry");
    assert_eq!(read.photon_energy, Some(Energy::ElectronVolts(9500.0)));
    assert_eq!(read.length, Some(Length::Metres(0.1)));
    let [a, b] = [&read.geometry.panels[0], &read.geometry.panels[1]];
    let near =
        |found: [f64; 3], expected: [f64; 3]| found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-12);
    assert!(near(a.origin, [-4.5e-4, -4.5e-4, 0.102]), "{a:?}");
    assert!(near(b.origin, [20.5e-4, 7.0e-4, 0.103]), "{b:?}");
    assert!(near(b.fast, [0.0, -1e-4, 0.0]) && near(b.slow, [1e-4, 0.0, 0.0]));
    assert_eq!((b.rows.clone(), b.columns.clone()), (10..20, 0..10));
    assert_eq!(read.rigid_groups["all"], ["a", "b"]);
    let shape = read.geometry.shape();
    let bad = read.bad_pixels(&read.geometry, shape);
    // The whole of `a` is within 5 pixels of the beam; two pixels of `b` are a corner.
    assert_eq!(bad.iter().filter(|bad| **bad).count(), 102);
    assert!(bad[100] && bad[101] && !bad[102]);
}

#[test]
fn without_a_length_panels_stand_to_each_other_as_their_offsets_say() {
    let stored = read(&SMALL.replace("clen = 0.1", "clen = /distance m")).expect("a geometry");
    let absent = read(&SMALL.replace("clen = 0.1", "")).expect("a geometry");
    for geometry in [&stored.geometry, &absent.geometry] {
        assert_eq!(geometry.distance.to_bits(), 0);
        // 2 mm and 3 mm behind the length, so the second stands 1 mm behind the first.
        let z = |at: f64| [0, 1].map(|panel| geometry.at_distance(at).panels[panel].origin[2]);
        assert!(z(0.2).iter().zip([0.2, 0.201]).all(|(z, e)| (z - e).abs() < 1e-12), "{:?}", z(0.2));
    }
    let encoder = Encoder { path: "/distance".to_owned(), unit: 1.0, offset: 0.002 };
    assert_eq!((stored.encoder(), absent.encoder()), (Some(encoder.clone()), None));
    assert!((encoder.distance(0.198) - 0.2).abs() < 1e-12);
    assert_eq!(read(SMALL).expect("a geometry").encoder(), None, "the length is a number");
}

#[test]
fn defaults_hold_for_the_panels_after_them() {
    let text = format!(
        "{SMALL}adu_per_eV = 0.1\nc/min_fs = 10\nc/max_fs = 12\nc/min_ss = 0\nc/max_ss = 3\nc/fs = x\nc/ss = y\nc/corner_x = 50\nc/corner_y = 0\n"
    );
    let read = read(&text).expect("a geometry");
    let scale: Vec<Option<f64>> = read.panels.iter().map(|p| p.adu_per_ev).collect();
    assert_eq!(scale, [Some(0.00338), Some(0.00338), Some(0.1)]);
}

#[test]
fn faults_name_line_key_and_what_was_meant() {
    let told = |wrong: &str| read(&format!("{SMALL}{wrong}")).expect_err("a fault").to_string();
    assert_eq!(
        told("b/corner_z = 3\n"),
        "line 42: b/corner_z: is no key that is known, did you mean `corner_x`?"
    );
    assert_eq!(
        told("photon_enrgy = 3\n"),
        "line 42: photon_enrgy: is no key that is known, did you mean `photon_energy`?"
    );
    assert!(told("b/fs = 1q\n").starts_with("line 42: b/fs: `1q` is no direction"));
    assert!(
        told("c/min_fs = 0\n")
            .contains("line 42: c: lacks max_fs, min_ss, max_ss, fs, ss, corner_x, corner_y")
    );
    assert!(told("b/min_ss = 5\n").contains("lies in the data where `a` lies"));
    assert!(told("rigid_group_q = a,bb\n").contains("`bb` is no panel"));
    assert!(told("clen = 0.2\n").contains("differs between panels"));
    assert!(told("nonsense\n").contains("is no `name = value`"));
    assert!(read("").expect_err("empty").to_string().contains("describes no panel"));
}

#[test]
fn what_is_written_is_read() {
    let test = "crystfel::what_is_written_is_read";
    for name in ["geometry-def-jungfrau4M.data", "geometry-def-cspad.data"] {
        let Some(data) = file(test, name) else { return };
        let geometry = psana::read(&data).expect("psana's");
        let again = read(&write(&geometry, Some(9500.0))).expect("our own").geometry;
        assert_eq!(again.panels.len(), geometry.panels.len());
        for (one, other) in geometry.panels.iter().zip(&again.panels) {
            assert_eq!(
                (&one.name, one.panel, &one.rows, &one.columns),
                (&other.name, other.panel, &other.rows, &other.columns)
            );
            for (f, s) in [(0.0, 0.0), (193.0, 184.0)] {
                let (one, other) = (one.position(f, s), other.position(f, s));
                assert!(one.iter().zip(other).all(|(a, b)| (a - b).abs() < 2e-9), "{one:?} {other:?}");
            }
        }
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_a_geometry_or_an_error(text in "[a-z0-9_/= .;%+x\n-]{0,300}") {
        let _ = read(&text);
        let _ = psana::read(&text);
    }
}
