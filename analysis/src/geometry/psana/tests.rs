//! psana's conventions, on its own files and on small trees.

use super::*;
use crate::frame::Shape;

fn file(test: &str, name: &str) -> Option<String> {
    let path = lightrail_compose::require::data(test)?.join("geometry").join(name);
    Some(std::fs::read_to_string(path).expect("a geometry file"))
}

fn near(found: [f64; 3], expected: [f64; 3]) -> bool {
    found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-9)
}

#[test]
fn jungfrau_4m_has_eight_modules_of_eight_asics_around_the_beam() {
    let name = "jungfrau_4m_has_eight_modules_of_eight_asics_around_the_beam";
    let Some(text) = file(name, "geometry-def-jungfrau4M.data") else { return };
    let geometry = read(&text).expect("psana's own file");
    assert_eq!(geometry.shape(), Shape { panels: 8, rows: 512, columns: 1024 });
    assert_eq!((geometry.panels.len(), geometry.overlap()), (64, None));
    assert!((geometry.distance - 0.1).abs() < 1e-12);
    assert!(geometry.panels.iter().all(|p| (p.pixel_size() - 75e-6).abs() < 1e-12));
    assert!(geometry.panels.iter().all(|p| (p.position(0.0, 0.0)[2] - 0.1).abs() < 1e-9));
    // Module 0 by hand. Its first pixel in its own frame (um): x = -514.5 * 75, y = -256.5 * 75. ROT_Z 90: (x, y) -> (-y, x);
    // ROT_Y 180: x -> -x; offset (-56807.1, 44005.5); the camera's ROT_Z 90: (x, y) -> (-y, x); laboratory (-y, -x).
    let (x, y) = (-514.5 * 75.0, -256.5 * 75.0);
    let (x, y) = (-y, x);
    let (x, y) = (-x - 56_807.1, y + 44_005.5);
    let (x, y) = (-y, x);
    assert!(near(geometry.panels[0].origin, [-y * 1e-6, -x * 1e-6, 0.1]), "{:?}", geometry.panels[0]);
    // Modules side by side have no more than 10 mm and no less than nothing between them.
    let middles: Vec<[f64; 3]> = (0..8)
        .map(|m| {
            let of: Vec<_> = geometry.panels.iter().filter(|p| p.panel == m).collect();
            let [a, b] = [of[0].position(0.0, 0.0), of[7].position(1023.0, 511.0)];
            std::array::from_fn(|i| f64::midpoint(a[i], b[i]))
        })
        .collect();
    let mean_x: f64 = middles.iter().map(|m| m[0]).sum::<f64>() / 8.0;
    let mean_y: f64 = middles.iter().map(|m| m[1]).sum::<f64>() / 8.0;
    assert!(mean_x.abs() < 1e-3 && mean_y.abs() < 1e-3, "the beam is in the middle: {mean_x} {mean_y}");
}

#[test]
fn jungfrau_16m_has_32_modules() {
    let Some(text) = file("jungfrau_16m_has_32_modules", "geometry-def-jungfrau16M.data") else { return };
    let geometry = read(&text).expect("psana's own file");
    assert_eq!(geometry.shape(), Shape { panels: 32, rows: 512, columns: 1024 });
    assert_eq!((geometry.panels.len(), geometry.overlap()), (256, None));
}

#[test]
fn cspad_has_64_asics_with_wide_pixels_between_and_tilts() {
    let name = "cspad_has_64_asics_with_wide_pixels_between_and_tilts";
    let Some(text) = file(name, "geometry-def-cspad.data") else { return };
    let geometry = read(&text).expect("psana's own file");
    assert_eq!(geometry.shape(), Shape { panels: 32, rows: 185, columns: 388 });
    assert_eq!(geometry.panels.len(), 64);
    // A positive z in IP is a distance: 1 m.
    assert!((geometry.distance - 1.0).abs() < 1e-12);
    for sensor in geometry.panels.chunks(2) {
        let (from, to) = (sensor[0].position(193.0, 0.0), sensor[1].position(194.0, 0.0));
        let gap = from.iter().zip(to).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        // 2 x 219.84 um on the regular grid, as psana's x of columns 193 and 194 without wide-pixel centres.
        assert!((gap - 439.68e-6).abs() < 1e-9, "{gap}");
    }
    // Sensor 3 is tilted about x by 0.29 degrees: its rows climb along the beam.
    let tilted = &geometry.panels[6];
    assert!((tilted.slow[2] / 109.92e-6).abs() > 0.004, "{tilted:?}");
}

#[test]
fn turns_are_about_z_then_y_then_x() {
    let text = "CAM 0 MTRX:V2:2:2:100:100 0  0 0 0  90 90 0  0 0 0\nIP 0 CAM 0  0 0 -1000  0 0 0  0 0 0";
    let geometry = read(text).expect("a tree");
    // A step along a row is +x; turned about z it is +y; about y nothing; psana's +y is the laboratory's -x.
    assert!(near(geometry.panels[0].fast, [-100e-6, 0.0, 0.0]));
    // A step down is -y; about z: +x; about y by 90 degrees: rotation of (z, x): z = -x, so -z; laboratory +z.
    assert!(near(geometry.panels[0].slow, [0.0, 0.0, 100e-6]), "{:?}", geometry.panels[0].slow);
}

#[test]
fn faults_name_line_object_and_what_was_meant() {
    let text = "# comment\nCAM 0 JUNFRAU:V2 0 0 0 0 0 0 0 0 0 0\nCAM 0 JUNGFRAU:V2 1 0 0 x 0 0 0 0 0 0\nIP 0 CAM 0 0 0 0\n";
    let faults = read(text).expect_err("three faults").faults;
    let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert!(told[0].starts_with("line 2: JUNFRAU:V2 0: has nothing in it"), "{told:?}");
    assert!(told[0].contains("did you mean `JUNGFRAU:V2`?"), "{told:?}");
    assert_eq!(told[1], "line 3: JUNGFRAU:V2 1: Z0 `x` is no number");
    assert!(told[2].starts_with("line 4: IP: has 7 columns"), "{told:?}");
    assert!(read("").is_err() && read("# only\n").is_err());
}

#[test]
fn trees_that_are_none_are_refused() {
    let own = "A 0 A 0 0 0 0 0 0 0 0 0 0";
    assert!(read(own).is_err());
    let round = "A 0 B 0 0 0 0 0 0 0 0 0 0\nB 0 A 0 0 0 0 0 0 0 0 0 0\nTOP 0 JUNGFRAU:V1 0 0 0 0 0 0 0 0 0 0";
    let _ = read(round);
    let two = "A 0 JUNGFRAU:V1 0 0 0 0 0 0 0 0 0 0\nB 0 JUNGFRAU:V1 1 0 0 0 0 0 0 0 0 0";
    assert!(read(two).expect_err("two tops").to_string().contains("parent `B 0` is not in the file"));
    let mixed = "A 0 JUNGFRAU:V1 0 0 0 0 0 0 0 0 0 0\nA 0 SENS2X1:V1 1 0 0 0 0 0 0 0 0 0";
    assert!(read(mixed).is_err());
}
