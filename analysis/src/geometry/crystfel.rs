//! CrystFEL's geometry files (`.geom`): reads and writes them. Written from the manual page `crystfel_geometry` and the layout
//! that the field uses; nothing here opens a data file.
//!
//! CrystFEL's frame is ours (+z along the beam, +y up). Its pixel coordinates count from the outer corner of a panel's first
//! pixel, so the middle of that pixel is at (0.5, 0.5) and lies at `corner + 0.5 fs + 0.5 ss`; that is [`Panel::origin`]. A
//! position of ours, (f, s) with whole numbers in the middle of pixels, is CrystFEL's (f + 0.5, s + 0.5).
//!
//! z of a panel is `clen + coffset`. Where `clen` is a place in the data file or is not there at all, nobody knows the distance
//! yet: [`Geometry::distance`] is 0, and the panels' z count from the first panel. A distance that comes later, from a shot
//! ([`Encoder`]) or a trial, is then the true one from the sample to that panel, with nothing to be added.

mod keys;
mod region;
mod value;
mod write;

use std::collections::BTreeMap;

use super::fault::{Faults, suggestion};
use super::{Geometry, GeometryError, Panel};
use crate::frame::Shape;
pub use region::BadRegion;
pub use value::{Encoder, Energy, Length};
pub use write::write;

/// All that a geometry file says.
#[derive(Clone, Debug, PartialEq)]
pub struct Crystfel {
    /// The panels' places.
    pub geometry: Geometry,
    /// What else is said of each panel, in the order of `geometry.panels`.
    pub panels: Vec<PanelKeys>,
    /// Length from the sample to the detector, without the panels' `coffset`.
    pub length: Option<Length>,
    /// The first panel's `coffset`, metres.
    pub offset: f64,
    /// Photon energy.
    pub photon_energy: Option<Energy>,
    /// Dataset of the peak list.
    pub peak_list: Option<String>,
    /// Regions whose pixels are not to be used.
    pub bad: Vec<BadRegion>,
    /// Rigid groups: name and the panels in it.
    pub rigid_groups: BTreeMap<String, Vec<String>>,
    /// Collections of rigid groups: name and the groups in it.
    pub collections: BTreeMap<String, Vec<String>>,
}

/// What a geometry file says of a panel besides its place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PanelKeys {
    /// Pixels per metre.
    pub res: f64,
    /// Offset along the beam that is added to the length, metres.
    pub coffset: f64,
    /// Detector units per eV of photon energy.
    pub adu_per_ev: Option<f64>,
    /// Detector units per photon.
    pub adu_per_photon: Option<f64>,
    /// Values above are saturated.
    pub max_adu: Option<f64>,
    /// Not to be used for finding spots or indexing.
    pub no_index: bool,
    /// Dataset of the images.
    pub data: Option<String>,
    /// The masks, of which there may be several.
    pub masks: BTreeMap<u8, MaskKeys>,
}

/// Where a mask lies and which of its bits say what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MaskKeys {
    /// Dataset of the mask.
    pub data: Option<String>,
    /// File of the mask; the data file without it.
    pub file: Option<String>,
    /// Bits that all must be set in a good pixel.
    pub good: u64,
    /// Bits of which none may be set in a good pixel.
    pub bad: u64,
}

/// A panel while its lines are read; the defaults are one as well.
#[derive(Clone, Debug, Default)]
struct Draft {
    line: usize,
    keys: PanelKeys,
    fast: Option<[f64; 3]>,
    slow: Option<[f64; 3]>,
    corner: [Option<f64>; 2],
    /// `min_fs`, `max_fs`, `min_ss`, `max_ss`.
    span: [Option<usize>; 4],
    dims: BTreeMap<u8, Dim>,
}

/// One dimension of the data array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dim {
    /// The image's number.
    Image,
    Slow,
    Fast,
    /// A fixed place: which panel of a stack.
    Fixed(usize),
}

/// Reads the text of a geometry file.
pub fn read(text: &str) -> Result<Crystfel, GeometryError> {
    let mut reading = keys::Reading::default();
    for (at, line) in text.lines().enumerate() {
        let content = line.split(';').next().unwrap_or_default().trim();
        if !content.is_empty() {
            reading.line(at + 1, content);
        }
    }
    let keys::Reading { mut faults, drafts, mut read, shift, bad, .. } = reading;
    if drafts.is_empty() {
        faults.add(0, "file", "describes no panel; a panel has lines such as `p0/min_fs = 0`");
    }
    read.offset = drafts.first().map_or(0.0, |(_, draft)| draft.keys.coffset);
    let clen = match read.length {
        Some(Length::Metres(metres)) => {
            read.geometry.distance = metres;
            metres
        }
        _ => -read.offset,
    };
    for (name, draft) in drafts {
        if let Some(panel) = finished(&name, &draft, clen, shift, &mut faults) {
            read.geometry.panels.push(panel);
            read.panels.push(draft.keys);
        }
    }
    let named = |name: &str| read.geometry.panels.iter().any(|panel| panel.name == name);
    let names = || read.geometry.panels.iter().map(|panel| panel.name.as_str());
    let whole = faults.is_empty();
    for (name, draft) in bad {
        match draft.finished(&named) {
            Ok(region) => read.bad.push(region),
            Err(what) => faults.add(draft.line(), format!("bad region `{name}`"), what),
        }
    }
    for (group, members) in read.rigid_groups.iter().filter(|_| whole) {
        for member in members.iter().filter(|member| !named(member)) {
            let hint = suggestion(member, names());
            faults.add(0, format!("rigid_group_{group}"), format!("`{member}` is no panel{hint}"));
        }
    }
    if let Some((one, other)) = read.geometry.overlap() {
        let what = format!("lies in the data where `{}` lies (min and max are inclusive)", one.name);
        faults.add(0, &other.name, what);
    }
    faults.or(read)
}

impl Crystfel {
    /// Where the data files hold what makes the detector's distance, if they do.
    pub fn encoder(&self) -> Option<Encoder> {
        match &self.length {
            Some(Length::Stored { path, unit }) => {
                Some(Encoder { path: path.clone(), unit: *unit, offset: self.offset })
            }
            _ => None,
        }
    }

    /// Which pixels of an array the file says are not to be used (`true` = bad): bad regions and panels with `no_index`. The
    /// array may be stacked otherwise than the file says ([`Geometry::for_shape`]), which `geometry` then is.
    #[allow(clippy::cast_precision_loss)] // rows and columns are far below 2^52
    pub fn bad_pixels(&self, geometry: &Geometry, shape: Shape) -> Vec<bool> {
        let mut bad = vec![false; shape.len()];
        for ((panel, keys), described) in geometry.panels.iter().zip(&self.panels).zip(&self.geometry.panels)
        {
            for row in panel.rows.clone() {
                for column in panel.columns.clone() {
                    let (fs, ss) = (
                        column - panel.columns.start + described.columns.start,
                        row - panel.rows.start + described.rows.start,
                    );
                    let [x, y, _] = panel.position(column as f64, row as f64).map(|v| v * keys.res);
                    let is_bad = keys.no_index
                        || self.bad.iter().any(|region| region.holds(&panel.name, fs, ss, x, y));
                    let at = panel.panel * shape.panel_len() + row * shape.columns + column;
                    if let Some(pixel) = bad.get_mut(at).filter(|_| is_bad) {
                        *pixel = true;
                    }
                }
            }
        }
        bad
    }
}

fn finished(name: &str, draft: &Draft, clen: f64, shift: [f64; 2], faults: &mut Faults) -> Option<Panel> {
    let mut lacking = Vec::new();
    for (value, key) in draft.span.iter().zip(["min_fs", "max_fs", "min_ss", "max_ss"]) {
        if value.is_none() {
            lacking.push(key);
        }
    }
    for (there, key) in [
        (draft.fast.is_some(), "fs"),
        (draft.slow.is_some(), "ss"),
        (draft.corner[0].is_some(), "corner_x"),
        (draft.corner[1].is_some(), "corner_y"),
        (draft.keys.res > 0.0, "res"),
    ] {
        if !there {
            lacking.push(key);
        }
    }
    if !lacking.is_empty() {
        faults.add(draft.line, name, format!("lacks {}", lacking.join(", ")));
        return None;
    }
    let (
        [Some(min_fs), Some(max_fs), Some(min_ss), Some(max_ss)],
        Some(fast),
        Some(slow),
        [Some(x), Some(y)],
    ) = (draft.span, draft.fast, draft.slow, draft.corner)
    else {
        return None;
    };
    if max_fs < min_fs || max_ss < min_ss {
        faults.add(draft.line, name, "has a max_fs or max_ss below its min");
        return None;
    }
    let fixed: Vec<usize> = draft
        .dims
        .values()
        .filter_map(|dim| if let Dim::Fixed(at) = dim { Some(*at) } else { None })
        .collect();
    let (fast_at, slow_at) = (place(&draft.dims, Dim::Fast), place(&draft.dims, Dim::Slow));
    if fixed.len() > 1 {
        faults.add(
            draft.line,
            name,
            "has more than one dimension with a fixed number, which is not supported",
        );
        return None;
    }
    if fast_at.zip(slow_at).is_some_and(|(fast, slow)| fast < slow) {
        faults.add(
            draft.line,
            name,
            "has fs before ss in its dimensions, which is not supported: rows must be slow",
        );
        return None;
    }
    let steps = |vector: [f64; 3]| vector.map(|v| v / draft.keys.res);
    let (fast, slow) = (steps(fast), steps(slow));
    let corner = [x / draft.keys.res + shift[0], y / draft.keys.res + shift[1], clen + draft.keys.coffset];
    Some(Panel {
        name: name.to_owned(),
        panel: fixed.first().copied().unwrap_or(0),
        rows: min_ss..max_ss + 1,
        columns: min_fs..max_fs + 1,
        origin: std::array::from_fn(|i| corner[i] + 0.5 * fast[i] + 0.5 * slow[i]),
        fast,
        slow,
    })
}

fn place(dims: &BTreeMap<u8, Dim>, wanted: Dim) -> Option<u8> {
    dims.iter().find(|(_, dim)| **dim == wanted).map(|(place, _)| *place)
}

#[cfg(test)]
mod tests;
