//! The settings that all bars are measured with, on both sides.

use anyhow::{Context as _, ensure};
use lightrail_analysis::trial::Parameters;

/// Of peakfinder8, but for the threshold, which is in the unit of the data.
const SPOTS: &str = "snr = 6\nmin_pixels = 2\nmax_pixels = 40\nlocal_bg_radius = 4\n";
/// Photons, and ADU on the CSPAD.
const THRESHOLDS: (u32, u32) = (4, 100);
/// Of a hit: fewer than the usual 16, for a weak pattern on half a megapixel has few.
const HIT: usize = 5;

/// What is printed with the table.
pub(crate) fn text() -> String {
    format!(
        "peakfinder8: threshold {} photons ({} ADU and at most 20000 spots on the CSPAD), {}, all pixels of a ring in its statistics; \
         dispersion: {}; hit: {HIT} spots; images: lysozyme at 9537 eV, background 1.5 photons, noise 0.12, hot pixels",
        THRESHOLDS.0,
        THRESHOLDS.1,
        SPOTS.trim().replace('\n', ", "),
        DISPERSION.trim().replace('\n', ", "),
    )
}

/// Of both forms of the dispersion definition, ADU.
const DISPERSION: &str = "gain = 20\nsigma_b = 6\nsigma_s = 3\nkernel = 3\nmin_count = 2\nthreshold = 0\nmin_spot = 3\nmax_spot = 1000\n";

/// A CSPAD image that is calibrated already.
pub(super) fn cspad() -> anyhow::Result<Parameters> {
    of(&format!(
        "[detector]\nname = 'CxiDs1'\nkind = 'corrected'\n[calibration]\nmin_raw = -50\nedge = 1\n\
         [spots.peakfinder8]\nthreshold = {}\nmax_spots = 20000\n{SPOTS}",
        THRESHOLDS.1
    ))
}

/// The same for the dispersion definition, with the pixels that DIALS trusts.
pub(super) fn dispersion(extended: bool) -> anyhow::Result<Parameters> {
    of(&format!(
        "[detector]\nname = 'CxiDs1'\nkind = 'corrected'\n[calibration]\nmin_raw = -399.5\n\
         [spots.dispersion]\nextended = {extended}\nmax_spots = 100000\n{DISPERSION}"
    ))
}

/// A Jungfrau in photons.
pub(super) fn jungfrau(photon_energy: f64) -> anyhow::Result<Parameters> {
    of(&format!(
        "[detector]\nname = 'jungfrau'\nkind = 'jungfrau'\nphoton_energy = {photon_energy}\n\
         [calibration]\nunit = 'photon'\nedge = 1\n[hit]\nmin_spots = {HIT}\n\
         [spots.peakfinder8]\nthreshold = {}\n{SPOTS}",
        THRESHOLDS.0
    ))
}

/// The simulator's own trial decides as the benchmark's does.
pub(crate) fn are_those_of(trial: &Parameters) -> anyhow::Result<()> {
    let ours = jungfrau(trial.detector.photon_energy.context("the simulator's trial has a photon energy")?)?;
    let same = (&ours.spots, &ours.hit, &ours.calibration) == (&trial.spots, &trial.hit, &trial.calibration);
    ensure!(same, "the simulator's trial has other settings than the benchmark:\n{trial:?}\n{ours:?}");
    Ok(())
}

fn of(text: &str) -> anyhow::Result<Parameters> {
    Parameters::from_toml(text).context("the benchmark's own trial")
}
