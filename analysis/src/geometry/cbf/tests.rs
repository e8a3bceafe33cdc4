//! The CSPAD metrology of real files, and headers in Pilatus' style.
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small numbers"
)]

use super::*;

fn metrology(test: &str) -> Option<Geometry> {
    let file = lightrail_compose::require::data(test)?.join("cspad/idx-20130301060858401.cbf");
    let bytes = std::fs::read(file).expect("a CSPAD file");
    let cbf = Cbf::read(&bytes).expect("a CBF file");
    Some(read(&cbf).expect("a geometry"))
}

#[test]
fn an_asic_lies_where_the_chain_of_axes_puts_it() {
    let Some(geometry) = metrology("an_asic_lies_where_the_chain_of_axes_puts_it") else { return };
    let asic = geometry.panels.iter().find(|panel| panel.name == "D0Q0S0A0").expect("the first ASIC");
    assert_eq!((asic.panel, asic.rows.clone(), asic.columns.clone()), (0, 0..185, 0..194));
    // By hand from the file's own numbers: corner of the ASIC and half a pixel, its shift, the sensor's turn and shift, the
    // quadrant's, the detector's shift; then x and z turned over.
    let (x, y) = (-10.662_24 + 0.054_96 - 10.827_12, 10.1676 - 0.054_96);
    let turn = |x: f64, y: f64, degrees: f64| {
        let (sin, cos) = degrees.to_radians().sin_cos();
        (x * cos - y * sin, x * sin + y * cos)
    };
    let (x, y) = turn(x, y, 89.651_566_717_965_7);
    let (x, y) = turn(x + 11.384_894_592_2, y - 23.200_387_826_5, 0.140_333_048_311_033);
    let (x, y) =
        (x - 50.334_928_309_5 - 0.049_563_133_252_401_5, y + 41.253_844_763_8 + 0.028_626_139_090_427_4);
    let expected = [-x * 1e-3, y * 1e-3, 0.130_106_632_672_914];
    for (found, expected) in asic.origin.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    }
    assert!((asic.pixel_size() - 109.92e-6).abs() < 1e-12);
    assert!((geometry.distance - 0.130_106_6).abs() < 1e-6);
}

#[test]
fn all_64_asics_are_there_and_the_two_of_a_sensor_are_three_pixels_apart() {
    let name = "all_64_asics_are_there_and_the_two_of_a_sensor_are_three_pixels_apart";
    let Some(geometry) = metrology(name) else { return };
    assert_eq!(geometry.panels.len(), 64);
    assert_eq!(geometry.shape(), Shape { panels: 32, rows: 185, columns: 388 });
    assert_eq!(geometry.overlap(), None);
    for sensor in geometry.panels.chunks(2) {
        assert_eq!(sensor[0].panel, sensor[1].panel);
        // From the last column of one ASIC to the first of the next: a pixel and the three that two wide pixels add.
        let (from, to) = (sensor[0].position(193.0, 92.0), sensor[1].position(194.0, 92.0));
        let gap = from.iter().zip(to).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        assert!((gap / 109.92e-6 - 4.0).abs() < 1e-6, "{gap}");
    }
    // The hole for the beam is in the middle: no corner of an ASIC nearer than 2 mm, some nearer than 20 mm,
    // none beyond 150 mm.
    let radii: Vec<f64> = geometry
        .panels
        .iter()
        .flat_map(|p| {
            let (f0, f1, s0, s1) = (p.columns.start, p.columns.end - 1, p.rows.start, p.rows.end - 1);
            [(f0, s0), (f0, s1), (f1, s0), (f1, s1)].map(|(f, s)| {
                let [x, y, _] = p.position(f as f64, s as f64);
                x.hypot(y)
            })
        })
        .collect();
    let (least, most) =
        (radii.iter().copied().fold(f64::MAX, f64::min), radii.iter().copied().fold(0.0, f64::max));
    assert!((2e-3..20e-3).contains(&least) && (80e-3..150e-3).contains(&most), "{least} {most}");
}

#[test]
fn a_pilatus_header_is_a_plane_and_what_it_lacks_is_named() {
    let shape = Shape { panels: 1, rows: 4, columns: 6 };
    let header = Mini {
        distance: Some(0.2),
        pixel_size: Some([172e-6, 172e-6]),
        beam: Some([2.5, 1.5]),
        ..Mini::default()
    };
    let bytes = crate::formats::cbf::write("plane", shape, &[0; 24], &header);
    let geometry = read(&Cbf::read(&bytes).expect("our own file")).expect("a geometry");
    // The beam meets the middle of the pixel in column 2, row 1.
    let [x, y, z] = geometry.panels[0].position(2.0, 1.0);
    assert!(x.abs() < 1e-15 && y.abs() < 1e-15 && (z - 0.2).abs() < 1e-15);
    let bytes = crate::formats::cbf::write("plane", shape, &[0; 24], &Mini { beam: None, ..header });
    let error = read(&Cbf::read(&bytes).expect("our own file")).expect_err("no beam centre");
    assert_eq!(error.to_string(), "# Beam_xy: is not in the header; name a geometry file in the trial");
}
