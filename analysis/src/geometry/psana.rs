//! psana's geometry files (`.data`): a tree of objects, each placed in its parent by an offset in micrometres and six angles in
//! degrees, the leaves being segments whose pixels psana knows by name. Never guesses a segment that it does not know.
//!
//! Conventions as in `psana/pscalib/geometry` of slac-lcls/lcls2 and in SLAC's page "Detector Geometry": a rotation and its
//! tilt are added, and the turns about z, then y, then x applied before the offset; children are taken in the order of the
//! file; the file's frame looks against the beam (x down, y to the right as an image is drawn, z towards the source), and
//! x, y, z of the laboratory are -y, -x, -z of it. A positive z of the object in `IP` is read as its negative, as psana does.
//!
//! Each ASIC becomes a panel of its own. The wide pixels between two ASICs (CSPAD, ePix) stay on their ASIC's regular grid,
//! psana's default (`use_wide_pix_center = False`); masks leave them out.

mod segment;

use super::fault::{Faults, suggestion};
use super::{Geometry, GeometryError, Panel};
use segment::Segment;

const MICROMETRE: f64 = 1e-6;
/// Deeper than any detector is built: IP, camera, quadrant, raft, sensor.
const DEEPEST: usize = 12;
/// More objects than any detector has; names that are placed several times could multiply without end.
const MOST_ENTERED: usize = 20_000;

/// An object's name and number in the file.
type Name<'t> = (&'t str, u32);

#[derive(Debug)]
struct Object<'t> {
    line: usize,
    parent: Name<'t>,
    name: Name<'t>,
    /// In its parent, micrometres.
    offset: [f64; 3],
    /// About z, y and x, rotation and tilt together, degrees.
    angles: [f64; 3],
}

impl Object<'_> {
    fn key(&self) -> String {
        format!("{} {}", self.name.0, self.name.1)
    }

    /// A direction of this object's frame in its parent's.
    fn turned(&self, [x, y, z]: [f64; 3]) -> [f64; 3] {
        let turn = |a: f64, b: f64, degrees: f64| {
            let (sin, cos) = degrees.to_radians().sin_cos();
            (a * cos - b * sin, b * cos + a * sin)
        };
        let (x, y) = turn(x, y, self.angles[0]);
        let (z, x) = turn(z, x, self.angles[1]);
        let (y, z) = turn(y, z, self.angles[2]);
        [x, y, z]
    }

    /// A place of this object's frame in its parent's.
    fn placed(&self, at: [f64; 3]) -> [f64; 3] {
        let turned = self.turned(at);
        std::array::from_fn(|i| turned[i] + self.offset[i])
    }
}

/// Reads the text of a psana geometry file. The panels of the data array are the segments in the order of the tree;
/// `distance` is that of the object in `IP`, 0 where there is none.
pub fn read(text: &str) -> Result<Geometry, GeometryError> {
    let mut faults = Faults::default();
    let objects: Vec<Object<'_>> = text
        .lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .filter_map(|(line, content)| object(line, content, &mut faults))
        .collect();
    if objects.is_empty() {
        faults.add(
            0,
            "file",
            "has no object; a psana geometry has 13 columns: PARENT IND OBJECT IND X0 ... TILT-X",
        );
        return faults.or(Geometry { panels: Vec::new(), distance: 0.0 });
    }
    let mut tree =
        Tree { objects: &objects, faults, panels: Vec::new(), segments: 0, entered: 0, first: None };
    tree.check_names();
    let mut roots: Vec<Name<'_>> = Vec::new();
    for object in &objects {
        if tree.find(object.parent).is_none() && !roots.contains(&object.parent) {
            roots.push(object.parent);
        }
    }
    match roots.as_slice() {
        [root] => tree.walk(*root, &mut Vec::new()),
        [] => tree.faults.add(objects[0].line, objects[0].key(), "is its own ancestor: no object is the top"),
        [_, others @ ..] => {
            for &(name, index) in others {
                let child = objects.iter().find(|o| o.parent == (name, index)).unwrap_or(&objects[0]);
                let names = objects.iter().map(|o| o.name.0);
                let hint = suggestion(name, names);
                tree.faults.add(
                    child.line,
                    child.key(),
                    format!("parent `{name} {index}` is not in the file{hint}"),
                );
            }
        }
    }
    let distance =
        objects.iter().find(|o| is_interaction_point(o.parent)).map_or(0.0, |o| -o.offset[2] * MICROMETRE);
    let Tree { faults, panels, .. } = tree;
    faults.or(Geometry { panels, distance })
}

fn is_interaction_point((name, _): Name<'_>) -> bool {
    name.starts_with("IP")
}

fn object<'t>(line: usize, content: &'t str, faults: &mut Faults) -> Option<Object<'t>> {
    const COLUMNS: [&str; 13] = [
        "PARENT", "IND", "OBJECT", "IND", "X0", "Y0", "Z0", "ROT-Z", "ROT-Y", "ROT-X", "TILT-Z", "TILT-Y",
        "TILT-X",
    ];
    let fields: Vec<&str> = content.split_whitespace().collect();
    if fields.len() != COLUMNS.len() {
        let what =
            format!("has {} columns, not 13 (PARENT IND OBJECT IND X0 Y0 Z0 and six angles)", fields.len());
        faults.add(line, fields[0], what);
        return None;
    }
    let key = format!("{} {}", fields[2], fields[3]);
    let index = |column: usize, faults: &mut Faults| {
        fields[column].parse::<u32>().map_err(|_| {
            faults.add(
                line,
                &key,
                format!("{} `{}` is no number of an object", COLUMNS[column], fields[column]),
            );
        })
    };
    let (parent, name) = (index(1, faults), index(3, faults));
    let mut values = [0.0; 9];
    let mut good = true;
    for (value, column) in values.iter_mut().zip(4..) {
        match fields[column].parse::<f64>() {
            Ok(v) if v.is_finite() => *value = v,
            _ => {
                faults.add(line, &key, format!("{} `{}` is no number", COLUMNS[column], fields[column]));
                good = false;
            }
        }
    }
    let [x, y, z, rot_z, rot_y, rot_x, tilt_z, tilt_y, tilt_x] = values;
    let (Ok(parent), Ok(name), true) = (parent, name, good) else { return None };
    let parent = (fields[0], parent);
    let z = if is_interaction_point(parent) { -z.abs() } else { z };
    Some(Object {
        line,
        parent,
        name: (fields[2], name),
        offset: [x, y, z],
        angles: [rot_z + tilt_z, rot_y + tilt_y, rot_x + tilt_x],
    })
}

/// The objects, and what the walk down from the top has found.
struct Tree<'o, 't> {
    objects: &'o [Object<'t>],
    faults: Faults,
    panels: Vec<Panel>,
    segments: usize,
    entered: usize,
    /// The first segment's rows and columns, which all must have.
    first: Option<(usize, usize)>,
}

impl<'o, 't> Tree<'o, 't> {
    fn find(&self, name: Name<'_>) -> Option<&'o Object<'t>> {
        self.objects.iter().find(|o| o.name == name)
    }

    fn check_names(&mut self) {
        for (at, object) in self.objects.iter().enumerate() {
            if let Some(before) =
                self.objects[..at].iter().find(|o| o.name == object.name && o.parent == object.parent)
            {
                self.faults.add(
                    object.line,
                    object.key(),
                    format!("is already placed in line {}", before.line),
                );
            }
        }
    }

    /// Goes down from the object `name`; `path` holds the objects from the top to it. An object is entered once: what is
    /// its own ancestor cannot be reached from a top.
    fn walk(&mut self, name: Name<'t>, path: &mut Vec<&'o Object<'t>>) {
        for object in self.objects.iter().filter(|o| o.parent == name) {
            if path.iter().any(|ancestor| ancestor.name == object.name) {
                self.faults.add(object.line, object.key(), "is its own ancestor");
                continue;
            }
            self.entered += 1;
            if path.len() >= DEEPEST || self.entered > MOST_ENTERED {
                let what =
                    format!("lies deeper than {DEEPEST} objects, or is one of more than {MOST_ENTERED}");
                self.faults.add(object.line, object.key(), what);
                return;
            }
            path.push(object);
            match Segment::named(object.name.0) {
                Some(segment) => self.leaf(&segment, path),
                None if object.name.0.starts_with("CSPAD2X2") => {
                    let what = "its data are interleaved (185 x 388 x 2), which is not supported";
                    self.faults.add(object.line, object.key(), what);
                }
                None if self.objects.iter().any(|o| o.parent == object.name) => self.walk(object.name, path),
                None => {
                    let hint = suggestion(object.name.0, Segment::NAMES.iter().copied());
                    let known = Segment::NAMES.join(", ");
                    let what = format!(
                        "has nothing in it and is no segment that is known{hint} (known: {known}, MTRX:rows:columns:um:um)"
                    );
                    self.faults.add(object.line, object.key(), what);
                }
            }
            path.pop();
        }
    }

    fn leaf(&mut self, segment: &Segment, path: &[&'o Object<'t>]) {
        let object = path[path.len() - 1];
        let size = (segment.rows, segment.columns);
        if *self.first.get_or_insert(size) != size {
            let (rows, columns) = self.first.unwrap_or(size);
            let what =
                format!("has {} x {} pixels, the segments before it {rows} x {columns}", size.0, size.1);
            self.faults.add(object.line, object.key(), what);
        }
        for (number, asic) in segment.asics().into_iter().enumerate() {
            let (mut origin, mut fast, mut slow) = (asic.origin, asic.fast, asic.slow);
            for object in path.iter().rev() {
                (origin, fast, slow) = (object.placed(origin), object.turned(fast), object.turned(slow));
            }
            self.panels.push(Panel {
                name: format!("p{}a{number}", self.segments),
                panel: self.segments,
                rows: asic.rows,
                columns: asic.columns,
                origin: to_laboratory(origin),
                fast: to_laboratory(fast),
                slow: to_laboratory(slow),
            });
        }
        self.segments += 1;
    }
}

/// From micrometres of psana's frame to metres of the laboratory's.
fn to_laboratory([x, y, z]: [f64; 3]) -> [f64; 3] {
    [-y * MICROMETRE, -x * MICROMETRE, -z * MICROMETRE]
}

#[cfg(test)]
mod tests;
