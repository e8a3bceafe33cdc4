//! Distances and arrangements of one geometry.
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small numbers"
)]

use super::*;

fn plane(rows: usize, columns: usize) -> Geometry {
    let panels = (0..2)
        .flat_map(|down| (0..2).map(move |across| (down, across)))
        .map(|(down, across)| Panel {
            name: format!("d{down}a{across}"),
            panel: 0,
            rows: down * rows..(down + 1) * rows,
            columns: across * columns..(across + 1) * columns,
            origin: [across as f64, down as f64, 0.5],
            fast: [1e-4, 0.0, 0.0],
            slow: [0.0, 1e-4, 0.0],
        })
        .collect();
    Geometry { panels, distance: 0.4 }
}

#[test]
fn a_shot_moves_the_detector_and_keeps_the_panels_offsets() {
    let moved = plane(3, 4).at_distance(0.15);
    assert!((moved.panels[0].origin[2] - 0.25).abs() < 1e-12);
    assert!((moved.at_distance(0.4).panels[0].origin[2] - 0.5).abs() < 1e-12);
}

#[test]
fn a_plane_is_stacked_by_columns_of_blocks() {
    let stacked = plane(3, 4).for_shape(Shape { panels: 4, rows: 3, columns: 4 }).expect("the same pixels");
    let order: Vec<(usize, &str)> = stacked.panels.iter().map(|p| (p.panel, p.name.as_str())).collect();
    assert_eq!(order, [(0, "d0a0"), (2, "d0a1"), (1, "d1a0"), (3, "d1a1")]);
    assert!(stacked.panels.iter().all(|p| p.rows == (0..3) && p.columns == (0..4)));
    assert_eq!(stacked.for_shape(Shape { panels: 4, rows: 3, columns: 4 }), Ok(stacked));
}

#[test]
fn another_array_is_refused() {
    let data = Shape { panels: 3, rows: 3, columns: 4 };
    let error = plane(3, 4).for_shape(data).expect_err("four blocks, three panels");
    assert_eq!(
        error.to_string(),
        "the geometry is for an array of 1x6x8, the data are 3x3x4: take the geometry of this detector"
    );
    let data = Shape { panels: 2, rows: 4, columns: 8 };
    assert!(matches!(plane(3, 4).for_shape(data), Err(Misfit::Cut { .. })));
    assert!(plane(3, 4).for_shape(Shape { panels: 1, rows: 5, columns: 8 }).is_err());
}

#[test]
fn positions_cover_the_panels_and_nothing_else() {
    let geometry = plane(1, 2);
    let places = geometry.positions(Shape { panels: 1, rows: 3, columns: 4 });
    assert!((places[3][0] - 1.0001).abs() < 1e-6 && (places[5][1] - 1.0).abs() < 1e-6);
    assert!(places[8..].iter().all(|p| p[0].is_nan()) && places[..8].iter().all(|p| !p[0].is_nan()));
}

#[test]
fn damaged_geometry_files_never_do_harm() {
    let Some(data) = lightrail_compose::require::data("damaged geometry files") else { return };
    let names = [
        "cspad-cxiformat.geom",
        "jungfrau4M.geom",
        "geometry-def-cspad.data",
        "geometry-def-jungfrau4M.data",
    ];
    for (seed, name) in (0..).zip(names) {
        let bytes = std::fs::read(data.join("geometry").join(name)).expect("real data");
        crate::formats::damaged::each("geometry", &bytes, seed, 100, crate::formats::fuzz::geometry);
    }
}
