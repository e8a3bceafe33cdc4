//! Writes a geometry as a CrystFEL file, for CrystFEL users and for comparing: what is written is read back as the same panels.

use std::fmt::Write as _;

use crate::geometry::Geometry;

/// The text of a CrystFEL geometry file: the data array is three-dimensional (panel, row, column) per image when it has more than
/// one panel. `clen` is the geometry's distance, what a panel's z holds beside it is its `coffset`.
pub fn write(geometry: &Geometry, photon_energy: Option<f64>) -> String {
    let mut text = String::from(
        "; written by lightrail-analysis; fs and ss count from the corner of a panel's first pixel\n",
    );
    // Writing into a String cannot fail.
    let _ = writeln!(text, "clen = {}", geometry.distance);
    if let Some(energy) = photon_energy {
        let _ = writeln!(text, "photon_energy = {energy}");
    }
    let stacked = geometry.shape().panels > 1;
    text.push_str(if stacked {
        "dim0 = %\ndim2 = ss\ndim3 = fs\n"
    } else {
        "dim0 = %\ndim1 = ss\ndim2 = fs\n"
    });
    for panel in &geometry.panels {
        let name = &panel.name;
        let res = 1.0 / panel.pixel_size();
        let corner: [f64; 3] =
            std::array::from_fn(|i| panel.origin[i] - 0.5 * panel.fast[i] - 0.5 * panel.slow[i]);
        text.push('\n');
        if stacked {
            let _ = writeln!(text, "{name}/dim1 = {}", panel.panel);
        }
        let _ = writeln!(
            text,
            "{name}/min_fs = {}\n{name}/max_fs = {}",
            panel.columns.start,
            panel.columns.end - 1
        );
        let _ =
            writeln!(text, "{name}/min_ss = {}\n{name}/max_ss = {}", panel.rows.start, panel.rows.end - 1);
        let _ = writeln!(text, "{name}/res = {res}");
        for (key, step) in [("fs", panel.fast), ("ss", panel.slow)] {
            let [x, y, z] = step.map(|v| v * res);
            let _ = writeln!(text, "{name}/{key} = {x:+.9}x {y:+.9}y {z:+.9}z");
        }
        let _ = writeln!(
            text,
            "{name}/corner_x = {:.6}\n{name}/corner_y = {:.6}",
            corner[0] * res,
            corner[1] * res
        );
        let _ = writeln!(text, "{name}/coffset = {:.9}", corner[2] - geometry.distance);
    }
    text
}
