//! The geometry of a CBF file: its `_axis` chain (imgCIF, International Tables G 5.6), or a header in Pilatus' style.
//!
//! imgCIF's laboratory frame has +z towards the source; ours is that turned by 180 degrees about y: (x, y, z) -> (-x, y, -z).
//! The displacement of an axis is that of the outer corner of the first pixel, as cctbx's metrology writes it (an ASIC's 194
//! columns begin 97 pixels before its middle) and dxtbx takes it, so a panel's origin, the middle of that pixel, is half a step
//! further. Millimetres and degrees become metres.

use std::collections::HashMap;

use super::fault::Faults;
use super::{Geometry, GeometryError, Panel};
use crate::formats::cbf::{Cbf, Cif, Mini};
use crate::frame::Shape;

const MILLIMETRE: f64 = 1e-3;
/// Longer than any real chain of axes.
const LONGEST_CHAIN: usize = 64;

/// Reads the geometry that the file's header says.
pub fn read(cbf: &Cbf<'_>) -> Result<Geometry, GeometryError> {
    let mut faults = Faults::default();
    if !cbf.cif().column("_axis.id").is_empty() {
        let panels = panels(cbf.cif(), &mut faults);
        let distance = distance(&panels);
        return faults.or(Geometry { panels, distance });
    }
    match (cbf.mini(), cbf.shape()) {
        (Some(mini), Ok(shape)) => plane(&mini, shape),
        _ => {
            faults.add(
                0,
                "_axis",
                "the header has neither axes nor a Pilatus header; name a geometry file in the trial",
            );
            faults.or(Geometry { panels: Vec::new(), distance: 0.0 })
        }
    }
}

/// One plane across the beam: rows to the right as seen from the source, columns downwards.
fn plane(mini: &Mini, shape: Shape) -> Result<Geometry, GeometryError> {
    let mut faults = Faults::default();
    let mut lacks = |there: bool, key: &str| {
        if !there {
            faults.add(0, format!("# {key}"), "is not in the header; name a geometry file in the trial");
        }
    };
    lacks(mini.pixel_size.is_some(), "Pixel_size");
    lacks(mini.distance.is_some(), "Detector_distance");
    lacks(mini.beam.is_some(), "Beam_xy");
    if shape.panels != 1 {
        faults.add(0, "_array_data", format!("has {} panels; a Pilatus header describes one", shape.panels));
    }
    let ([x, y], distance) = (mini.pixel_size.unwrap_or([1.0; 2]), mini.distance.unwrap_or(0.0));
    let [beam_x, beam_y] = mini.beam.unwrap_or_default();
    let panel = Panel {
        name: "p0".to_owned(),
        panel: 0,
        rows: 0..shape.rows,
        columns: 0..shape.columns,
        origin: [(beam_x - 0.5) * x, (beam_y - 0.5) * y, distance],
        fast: [-x, 0.0, 0.0],
        slow: [0.0, -y, 0.0],
    };
    faults.or(Geometry { panels: vec![panel], distance })
}

/// The mean z of the panels' middles, to a millimetre's fraction as good as any name for the distance of tilted panels.
#[allow(clippy::cast_precision_loss)] // panels and pixels are far below 2^52
fn distance(panels: &[Panel]) -> f64 {
    let middles = panels.iter().map(|panel| {
        let middle = |range: &std::ops::Range<usize>| (range.start + range.end - 1) as f64 / 2.0;
        panel.position(middle(&panel.columns), middle(&panel.rows))[2]
    });
    middles.sum::<f64>() / panels.len().max(1) as f64
}

#[derive(Clone, Copy, Debug)]
struct Axis<'c> {
    rotates: bool,
    depends_on: &'c str,
    vector: [f64; 3],
    offset: [f64; 3],
    /// Degrees or millimetres.
    setting: f64,
}

impl Axis<'_> {
    /// A direction of this axis' frame in that of the one it depends on.
    fn turned(&self, at: [f64; 3]) -> [f64; 3] {
        if !self.rotates {
            return at;
        }
        // Rodrigues' formula; the vector is a unit vector.
        let (sin, cos) = self.setting.to_radians().sin_cos();
        let k = self.vector;
        let cross = [k[1] * at[2] - k[2] * at[1], k[2] * at[0] - k[0] * at[2], k[0] * at[1] - k[1] * at[0]];
        let along: f64 = (0..3).map(|i| k[i] * at[i]).sum::<f64>() * (1.0 - cos);
        std::array::from_fn(|i| at[i] * cos + cross[i] * sin + k[i] * along)
    }

    fn placed(&self, at: [f64; 3]) -> [f64; 3] {
        let turned = self.turned(at);
        let shift = if self.rotates { 0.0 } else { self.setting };
        std::array::from_fn(|i| turned[i] + self.offset[i] + shift * self.vector[i])
    }
}

/// A detector element as the loops name it: its place in the array and its two axes.
#[derive(Clone, Debug, Default)]
struct Element<'c> {
    array: &'c str,
    /// From and to, from 1, inclusive: columns, rows, section.
    spans: [Option<(usize, usize)>; 3],
    /// Axis set, by fast and slow.
    axes: [Option<&'c str>; 2],
}

fn number(text: &str) -> Option<f64> {
    match text {
        "." | "?" => Some(0.0),
        _ => text.parse::<f64>().ok().filter(|v| v.is_finite()),
    }
}

fn numbers(texts: [&str; 3]) -> Option<[f64; 3]> {
    let [x, y, z] = texts.map(number);
    Some([x?, y?, z?])
}

fn axes<'c>(cif: &'c Cif<'_>, faults: &mut Faults) -> HashMap<&'c str, Axis<'c>> {
    let mut axes = HashMap::new();
    let names = [
        "_axis.id",
        "_axis.type",
        "_axis.depends_on",
        "_axis.vector[1]",
        "_axis.vector[2]",
        "_axis.vector[3]",
        "_axis.offset[1]",
        "_axis.offset[2]",
        "_axis.offset[3]",
    ];
    for [id, kind, depends_on, v1, v2, v3, o1, o2, o3] in cif.rows(names) {
        let (Some(vector), Some(offset)) = (numbers([v1, v2, v3]), numbers([o1, o2, o3])) else {
            faults.add(0, format!("_axis {id}"), "has a vector or offset that is no number");
            continue;
        };
        let length = vector.iter().map(|v| v * v).sum::<f64>().sqrt();
        let vector = if length > 0.0 { vector.map(|v| v / length) } else { vector };
        let rotates = kind.eq_ignore_ascii_case("rotation");
        axes.insert(id, Axis { rotates, depends_on, vector, offset, setting: 0.0 });
    }
    let settings = [
        "_diffrn_scan_frame_axis.axis_id",
        "_diffrn_scan_frame_axis.angle",
        "_diffrn_scan_frame_axis.displacement",
    ];
    for [id, angle, displacement] in cif.rows(settings) {
        if let Some(axis) = axes.get_mut(id) {
            match number(if axis.rotates { angle } else { displacement }) {
                Some(setting) => axis.setting = setting,
                None => {
                    faults.add(0, format!("_diffrn_scan_frame_axis {id}"), "has a setting that is no number")
                }
            }
        }
    }
    axes
}

/// Displacement and increment of each axis set, millimetres, and the axis it moves along.
fn sets<'c>(cif: &'c Cif<'_>) -> HashMap<&'c str, (&'c str, f64, f64)> {
    let names = [
        "_array_structure_list_axis.axis_set_id",
        "_array_structure_list_axis.axis_id",
        "_array_structure_list_axis.displacement",
        "_array_structure_list_axis.displacement_increment",
    ];
    cif.rows(names)
        .filter_map(|[set, axis, displacement, increment]| {
            Some((set, (axis, number(displacement)?, number(increment)?)))
        })
        .collect()
}

/// The elements that have axes, in the order of the file, by section name or by array where there are no sections.
fn elements<'c>(cif: &'c Cif<'_>, faults: &mut Faults) -> Vec<(&'c str, Element<'c>)> {
    let mut elements: Vec<(&str, Element<'_>)> = Vec::new();
    let list = |item: &str| format!("_array_structure_list.{item}");
    let (array_id, section_id, index, dimension, set) = (
        list("array_id"),
        list("array_section_id"),
        list("precedence"),
        list("dimension"),
        list("axis_set_id"),
    );
    let sections = cif.column(&section_id);
    for (row, [array, place, dimension, set]) in cif.rows([&array_id, &index, &dimension, &set]).enumerate() {
        let section = sections.get(row).map_or(".", |s| s.as_ref());
        let id = if section == "." { array } else { section };
        if set == "." {
            continue;
        }
        let at = elements.iter().rposition(|(known, _)| *known == id).unwrap_or_else(|| {
            elements.push((id, Element { array, ..Element::default() }));
            elements.len() - 1
        });
        let element = &mut elements[at].1;
        match (place, dimension.parse::<usize>()) {
            ("1" | "2", Ok(size)) => {
                let place = usize::from(place == "2");
                element.axes[place] = Some(set);
                element.spans[place] = Some((1, size));
            }
            _ => faults.add(
                0,
                format!("_array_structure_list {id}"),
                format!("precedence `{place}`, dimension `{dimension}`"),
            ),
        }
    }
    let names = ["id", "index", "start", "end"].map(|item| format!("_array_structure_list_section.{item}"));
    let names = [&names[0], &names[1], &names[2], &names[3]].map(String::as_str);
    let places: HashMap<&str, usize> = elements.iter().enumerate().map(|(at, (id, _))| (*id, at)).collect();
    for [id, index, start, end] in cif.rows(names) {
        let Some(at) = places.get(id) else { continue };
        match (index.parse::<usize>(), start.parse::<usize>(), end.parse::<usize>()) {
            (Ok(index @ 1..=3), Ok(start @ 1..), Ok(end)) if start <= end => {
                elements[*at].1.spans[index - 1] = Some((start, end));
            }
            _ => faults.add(
                0,
                format!("_array_structure_list_section {id}"),
                format!("`{index} {start} {end}`"),
            ),
        }
    }
    elements
}

fn panels(cif: &Cif<'_>, faults: &mut Faults) -> Vec<Panel> {
    let (axes, sets) = (axes(cif, faults), sets(cif));
    let elements = elements(cif, faults);
    // Arrays follow each other in the stack of panels in the order of the frame's loop.
    let mut starts: HashMap<&str, usize> = HashMap::new();
    let mut stacked = 0;
    for array in cif.column("_diffrn_data_frame.array_id") {
        let own = elements.iter().filter(|(_, e)| e.array == array.as_ref());
        let depth = own.filter_map(|(_, e)| e.spans[2].map(|(_, end)| end)).max().unwrap_or(1);
        starts.insert(array, stacked);
        stacked += depth;
    }
    let mut panels = Vec::with_capacity(elements.len());
    for (id, element) in &elements {
        match panel(id, element, &axes, &sets, &starts) {
            Ok(panel) => panels.push(panel),
            Err(what) => faults.add(0, *id, what),
        }
    }
    panels
}

fn panel(
    id: &str,
    element: &Element<'_>,
    axes: &HashMap<&str, Axis<'_>>,
    sets: &HashMap<&str, (&str, f64, f64)>,
    starts: &HashMap<&str, usize>,
) -> Result<Panel, String> {
    let ([Some(fast_set), Some(slow_set)], [Some(columns), Some(rows), section]) =
        (element.axes, element.spans)
    else {
        return Err("lacks an axis or a size for rows or columns".to_owned());
    };
    let along = |set: &str| -> Result<(Axis<'_>, &str, f64, f64), String> {
        let (axis, displacement, increment) =
            sets.get(set).ok_or(format!("axis set `{set}` is not there"))?;
        let found = axes.get(axis).ok_or(format!("axis `{axis}` is not there"))?;
        Ok((*found, axis, *displacement, *increment))
    };
    let (fast_axis, fast_name, fast_start, fast_step) = along(fast_set)?;
    let (slow_axis, slow_name, slow_start, slow_step) = along(slow_set)?;
    // The corner of pixel (0, 0) and the two steps, in the frame that the axis stands in.
    let step = |axis: &Axis<'_>, by: f64| axis.vector.map(|v| v * by);
    let (mut fast, mut slow) = (step(&fast_axis, fast_step), step(&slow_axis, slow_step));
    let corner = |axis: &Axis<'_>, start: f64| -> [f64; 3] {
        std::array::from_fn(|i| axis.offset[i] + (axis.setting + start) * axis.vector[i])
    };
    // Fast stands on slow, or slow on fast; from the one that carries both they move together.
    let mut next = if fast_axis.depends_on == slow_name {
        slow_axis.depends_on
    } else if slow_axis.depends_on == fast_name {
        fast_axis.depends_on
    } else {
        return Err(format!("neither of the axes `{fast_name}` and `{slow_name}` stands on the other"));
    };
    let (along_rows, along_columns) = (corner(&fast_axis, fast_start), corner(&slow_axis, slow_start));
    let mut origin = std::array::from_fn(|i| along_rows[i] + along_columns[i] + 0.5 * (fast[i] + slow[i]));
    let mut links = 0;
    while next != "." {
        let axis = axes.get(next).ok_or(format!("axis `{next}` is not there"))?;
        (origin, fast, slow) = (axis.placed(origin), axis.turned(fast), axis.turned(slow));
        next = axis.depends_on;
        links += 1;
        if links > LONGEST_CHAIN {
            return Err(format!("its chain of axes is longer than {LONGEST_CHAIN}, or goes round"));
        }
    }
    let start = starts.get(element.array).copied().unwrap_or(0);
    Ok(Panel {
        name: id.strip_prefix("ARRAY_").unwrap_or(id).to_owned(),
        panel: start + section.map_or(0, |(first, _)| first - 1),
        rows: rows.0 - 1..rows.1,
        columns: columns.0 - 1..columns.1,
        origin: to_laboratory(origin),
        fast: to_laboratory(fast),
        slow: to_laboratory(slow),
    })
}

/// From millimetres of imgCIF's frame to metres of ours.
fn to_laboratory([x, y, z]: [f64; 3]) -> [f64; 3] {
    [-x * MILLIMETRE, y * MILLIMETRE, -z * MILLIMETRE]
}

#[cfg(test)]
mod tests;
