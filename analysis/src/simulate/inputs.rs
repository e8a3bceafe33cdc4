//! What analysis needs besides a run's files, written so that it fits them: constants, mask, geometry without the hidden
//! shifts, and a trial that names them; and the truth that is the same for all runs.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::error::SimulateError;
use super::place::Place;
use super::plan::Plan;
use super::render::Simulator;
use crate::detectors::Modes;
use crate::formats::npy;
use crate::geometry::crystfel;
use crate::trial::Sha256;

/// Writes all of it. What is there already must be the same.
pub(super) fn write(simulator: &Simulator, place: &Place) -> Result<(), SimulateError> {
    let shape = simulator.shape();
    let mut trial = head(simulator.plan());
    let mut put = |table: &str, name: &str, bytes: Vec<u8>| -> Result<(), SimulateError> {
        let path = place.folder().join("calib").join(name);
        let sum = Sha256::of(&bytes);
        // Writing into a String cannot fail.
        let _ = write!(trial, "\n[[{table}]]\npath = \"{}\"\nsha256 = \"{sum}\"\n", path.display());
        write_once(&place.out.join(path), &bytes)
    };
    let dims = [shape.panels, shape.rows, shape.columns];
    let constants = simulator.constants();
    for (name, modes) in [("pedestals.npy", &constants.pedestals), ("gains.npy", &constants.gains)] {
        if let Some(Modes { modes, values, .. }) = modes {
            let dims: Vec<usize> = std::iter::once(*modes).chain(dims).collect();
            put("constants", name, npy::write_f32(&dims, values))?;
        }
    }
    if let Some(status) = &constants.status {
        let bytes: Vec<u8> = status.values.iter().map(|v| u8::try_from(*v).unwrap_or(u8::MAX)).collect();
        put("constants", "status.npy", npy::write_u8(&dims, &bytes))?;
    }
    let good: Vec<u8> = simulator.mask().good.iter().map(|good| u8::from(*good)).collect();
    put("masks", "beamstop.npy", npy::write_u8(&dims, &good))?;
    let geometry = crystfel::write(simulator.geometry(), Some(simulator.plan().photon_energy));
    put("geometry", &format!("{}.geom", simulator.plan().detector), geometry.into_bytes())?;
    write_once(&place.trial(), trial.as_bytes())?;
    write_once(&place.structure_factors(), structure_factors(simulator.plan()).as_bytes())
}

/// The trial without the files that it names.
fn head(plan: &Plan) -> String {
    let (detector, kind, energy) = (plan.detector.name(), plan.detector.kind(), plan.photon_energy);
    format!(
        "# Fits the simulated runs of this folder (seed {}); paths count from here.
live = true

[detector]
name = \"{detector}\"
kind = \"{kind}\"
photon_energy = {energy:?}

[calibration]
unit = \"photon\"
edge = 1

[spots.peakfinder8]
threshold = 4.0
snr = 6.0
min_pixels = 2
max_pixels = 40
local_bg_radius = 4

# A miss has hardly ever more than one spot here.
[hit]
min_spots = 5
",
        plan.seed
    )
}

/// `h,k,l,F2` of one reflection of each set of equivalents, in order.
fn structure_factors(plan: &Plan) -> String {
    let mut text = String::from("h,k,l,F2\n");
    for ([h, k, l], squared) in super::truth::unique_reflections(plan) {
        let _ = writeln!(text, "{h},{k},{l},{squared:.6}");
    }
    text
}

/// A file that is whole whenever it is there; one that is there and the same is left.
pub(super) fn write_once(path: &Path, bytes: &[u8]) -> Result<(), SimulateError> {
    match fs::read(path) {
        Ok(present) if present == bytes => return Ok(()),
        Ok(_) => {
            let why = ", made by another plan: take another --out";
            return Err(SimulateError::There { path: path.to_owned(), why });
        }
        Err(_) => {}
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(SimulateError::io(folder))?;
    }
    let beside = path.with_extension("writing");
    fs::write(&beside, bytes).map_err(SimulateError::io(&beside))?;
    fs::rename(&beside, path).map_err(SimulateError::io(path))
}
