//! The keys of a CrystFEL geometry file, line by line into drafts. A key at the top is the default of the panels that are named
//! after it, as the manual page says. Unknown keys are faults with the key that was probably meant.

use super::super::fault::{Faults, suggestion};
use super::value::{bits, direction, energy, finite, length, wavelength};
use super::{Crystfel, Dim, Draft, Length, MaskKeys, region};
use crate::geometry::Geometry;

/// Keys of a panel, which may stand at the top as a default.
const PANEL: [&str; 20] = [
    "min_fs",
    "max_fs",
    "min_ss",
    "max_ss",
    "fs",
    "ss",
    "corner_x",
    "corner_y",
    "res",
    "coffset",
    "clen",
    "no_index",
    "adu_per_eV",
    "adu_per_photon",
    "max_adu",
    "data",
    "mask",
    "mask_file",
    "mask_good",
    "mask_bad",
];
/// Keys of the whole file.
const TOP: [&str; 6] = [
    "photon_energy",
    "wavelength",
    "peak_list",
    "detector_shift_x",
    "detector_shift_y",
    "photon_energy_bandwidth",
];
/// Keys that say nothing that is used here, and may stand in a file all the same.
const PASSED_OVER: [&str; 13] = [
    "badrow_direction",
    "badrow",
    "integr_radius",
    "rail_direction",
    "clen_for_centering",
    "peak_info_location",
    "saturation_map",
    "saturation_map_file",
    "bandwidth",
    "beam_divergence",
    "flag_equal",
    "flag_lessthan",
    "flag_morethan",
];

/// What has been read so far.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) faults: Faults,
    pub(super) defaults: Draft,
    /// In the order of the file.
    pub(super) drafts: Vec<(String, Draft)>,
    pub(super) bad: Vec<(String, region::Draft)>,
    pub(super) read: Crystfel,
    /// Shift of the whole detector, metres.
    pub(super) shift: [f64; 2],
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            faults: Faults::default(),
            defaults: Draft::default(),
            drafts: Vec::new(),
            bad: Vec::new(),
            read: Crystfel {
                geometry: Geometry { panels: Vec::new(), distance: 0.0 },
                panels: Vec::new(),
                length: None,
                offset: 0.0,
                photon_energy: None,
                peak_list: None,
                bad: Vec::new(),
                rigid_groups: std::collections::BTreeMap::new(),
                collections: std::collections::BTreeMap::new(),
            },
            shift: [0.0; 2],
        }
    }
}

impl Reading {
    /// Takes a line without its comment.
    pub(super) fn line(&mut self, line: usize, content: &str) {
        let Some((key, value)) = content.split_once('=').map(|(k, v)| (k.trim(), v.trim())) else {
            self.faults.add(line, content, "is no `name = value`");
            return;
        };
        let taken = match key.split_once('/') {
            Some((name, key)) if name.starts_with("bad") => self.bad_region(line, name, key, value),
            Some((name, key)) => self.panel(line, name, key, value),
            None => self.top(key, value),
        };
        if let Err(what) = taken {
            self.faults.add(line, key, what);
        }
    }

    fn bad_region(&mut self, line: usize, name: &str, key: &str, value: &str) -> Result<(), String> {
        let at = if let Some(at) = self.bad.iter().position(|(known, _)| known == name) {
            at
        } else {
            self.bad.push((name.to_owned(), region::Draft::at(line)));
            self.bad.len() - 1
        };
        self.bad[at].1.set(key, value).unwrap_or_else(|| {
            Err(format!("is no key of a bad region{}", suggestion(key, region::Draft::KEYS)))
        })
    }

    fn panel(&mut self, line: usize, name: &str, key: &str, value: &str) -> Result<(), String> {
        // Lines of a panel stand together, so the last one is nearly always the one.
        let at = match self.drafts.iter().rposition(|(known, _)| known == name) {
            Some(at) => at,
            None => {
                self.drafts.push((name.to_owned(), Draft { line, ..self.defaults.clone() }));
                self.drafts.len() - 1
            }
        };
        let draft = &mut self.drafts[at].1;
        if key == "clen" {
            return same_length(&mut self.read.length, value);
        }
        draft.set(key, value).unwrap_or_else(|| unknown(key, PANEL.iter().copied()))
    }

    fn top(&mut self, key: &str, value: &str) -> Result<(), String> {
        let list =
            || value.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect();
        match key {
            "clen" => same_length(&mut self.read.length, value),
            "photon_energy" => energy(value).map(|energy| self.read.photon_energy = Some(energy)),
            "wavelength" => wavelength(value).map(|energy| self.read.photon_energy = Some(energy)),
            "peak_list" => {
                self.read.peak_list = Some(value.to_owned());
                Ok(())
            }
            "detector_shift_x" | "detector_shift_y" => match length(value)? {
                Length::Metres(metres) => {
                    self.shift[usize::from(key.ends_with('y'))] = metres;
                    Ok(())
                }
                Length::Stored { .. } => {
                    Err("a shift that lies in the data file is not supported".to_owned())
                }
            },
            _ => {
                if let Some(name) = key.strip_prefix("rigid_group_collection_") {
                    self.read.collections.insert(name.to_owned(), list());
                } else if let Some(name) = key.strip_prefix("rigid_group_") {
                    self.read.rigid_groups.insert(name.to_owned(), list());
                } else if key.strip_prefix("group_").is_some() || TOP.contains(&key) {
                    // Hierarchies of groups refine a geometry, which is not done here.
                } else if let Some(taken) = self.defaults.set(key, value) {
                    return taken;
                } else {
                    return unknown(key, PANEL.iter().chain(&TOP).copied());
                }
                Ok(())
            }
        }
    }
}

/// A length that must be the same for all panels.
fn same_length(known: &mut Option<Length>, value: &str) -> Result<(), String> {
    let new = length(value)?;
    match known {
        Some(old) if *old != new => {
            Err("differs between panels, which is not supported: use coffset".to_owned())
        }
        _ => {
            *known = Some(new);
            Ok(())
        }
    }
}

fn unknown<'n>(key: &str, known: impl Iterator<Item = &'n str>) -> Result<(), String> {
    Err(format!("is no key that is known{}", suggestion(key, known)))
}

impl Draft {
    /// Takes a panel's key; `None` for a key that is unknown.
    fn set(&mut self, key: &str, value: &str) -> Option<Result<(), String>> {
        let number = || finite(value).ok_or_else(|| format!("`{value}` is no number"));
        let pixel = || {
            let whole = finite(value).filter(|v| (0.0..=65_536.0).contains(v));
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // in range
            whole
                .map(|v| v.round() as usize)
                .ok_or_else(|| format!("`{value}` is no place in the data array"))
        };
        let keys = &mut self.keys;
        Some(match key {
            "min_fs" => pixel().map(|v| self.span[0] = Some(v)),
            "max_fs" => pixel().map(|v| self.span[1] = Some(v)),
            "min_ss" => pixel().map(|v| self.span[2] = Some(v)),
            "max_ss" => pixel().map(|v| self.span[3] = Some(v)),
            "fs" => direction(value).map(|v| self.fast = Some(v)),
            "ss" => direction(value).map(|v| self.slow = Some(v)),
            "corner_x" => number().map(|v| self.corner[0] = Some(v)),
            "corner_y" => number().map(|v| self.corner[1] = Some(v)),
            "res" => number().and_then(|v| {
                if v < 10.0 {
                    return Err(format!("`{value}` is no number of pixels per metre (13333.3 for 75 um)"));
                }
                keys.res = v;
                Ok(())
            }),
            "coffset" => match length(value) {
                Ok(Length::Metres(v)) => {
                    keys.coffset = v;
                    Ok(())
                }
                Ok(Length::Stored { .. }) => Err("is no length".to_owned()),
                Err(what) => Err(what),
            },
            "no_index" => number().map(|v| keys.no_index = v != 0.0),
            "adu_per_eV" => number().map(|v| keys.adu_per_ev = Some(v)),
            "adu_per_photon" => number().map(|v| keys.adu_per_photon = Some(v)),
            "max_adu" => number().map(|v| keys.max_adu = Some(v)),
            "data" => {
                keys.data = Some(value.to_owned());
                Ok(())
            }
            _ if PASSED_OVER.contains(&key) => Ok(()),
            _ if key.starts_with("dim") => self.dim(&key[3..], value)?,
            _ if key.starts_with("mask") => {
                let rest = &key[4..];
                let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
                let number = if digits == 0 { 0 } else { rest[..digits].parse().ok().filter(|n| *n < 8)? };
                let mut mask = keys.masks.get(&number).cloned().unwrap_or_default();
                let taken = mask.set(&rest[digits..], value)?;
                keys.masks.insert(number, mask);
                taken
            }
            _ => return None,
        })
    }

    fn dim(&mut self, place: &str, value: &str) -> Option<Result<(), String>> {
        let place: u8 = place.parse().ok().filter(|place| *place < 8)?;
        let dim = match value {
            "%" => Dim::Image,
            "ss" => Dim::Slow,
            "fs" => Dim::Fast,
            number => match number.parse::<usize>().ok().filter(|at| *at < 65_536) {
                Some(at) => Dim::Fixed(at),
                None => return Some(Err(format!("`{value}` is none of %, ss, fs or a number"))),
            },
        };
        self.dims.insert(place, dim);
        Some(Ok(()))
    }
}

impl MaskKeys {
    /// `mask`, `mask3_data`, `mask_file`, `mask_good`, ...: what follows the number.
    fn set(&mut self, key: &str, value: &str) -> Option<Result<(), String>> {
        let flags = || bits(value).ok_or_else(|| format!("`{value}` is no set of bits (such as 0x2a)"));
        Some(match key {
            "" | "_data" => {
                self.data = Some(value.to_owned());
                Ok(())
            }
            "_file" => {
                self.file = Some(value.to_owned());
                Ok(())
            }
            "_good" | "_goodbits" => flags().map(|v| self.good = v),
            "_bad" | "_badbits" => flags().map(|v| self.bad = v),
            _ => return None,
        })
    }
}
