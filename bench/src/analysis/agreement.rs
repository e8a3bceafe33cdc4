//! The same spots on real images: two stills of thermolysin on a CSPAD, against psana's peakfinder8 and against DIALS.

use std::path::PathBuf;

use anyhow::Context as _;
use lightrail_analysis::detectors::Constants;
use lightrail_analysis::formats::cbf::Cbf;
use lightrail_analysis::frame::{Frame, Shot};
use lightrail_analysis::geometry::{self, Geometry};
use lightrail_analysis::pipeline::{Chain, Workspace};
use lightrail_analysis::trial::{Parameters, SpotFinder};

use super::{Place, common, peer, places, settings};
use crate::report::Row;

/// Two spots within so many pixels are the same.
const SAME: f64 = 1.0;
const BAR: f64 = 0.97;

pub(super) fn measure() -> anyhow::Result<Vec<Row>> {
    let Some(data) = lightrail_compose::require::data("agreement on CSPAD images") else {
        return Ok(Vec::new());
    };
    let mut files: Vec<PathBuf> = std::fs::read_dir(data.join("cspad"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "cbf"))
        .collect();
    files.sort();
    let mut rows = Vec::new();
    rows.extend(against_psana(&files)?);
    rows.extend(against_dials(&files, true)?);
    rows.extend(against_dials(&files, false)?);
    Ok(rows)
}

fn against_psana(files: &[PathBuf]) -> anyhow::Result<Option<Row>> {
    let (mut both, mut all) = (0, 0);
    for file in files {
        let (frame, geometry) = read(file)?;
        let (chain, ours) = find(&settings::cspad()?, &frame, &geometry)?;
        let Some(mut peer) = peer::Peakfinder8::start(&chain)? else { return Ok(None) };
        peer.load(0, &chain, &mut Workspace::default(), &frame)?;
        let (theirs, _) = peer.find(0)?;
        both += 2 * common(&ours, &theirs, SAME);
        all += ours.len() + theirs.len();
    }
    Ok(Some(row("CSPAD, spots as psana's peakfinder8", both, all, files.len())))
}

fn against_dials(files: &[PathBuf], extended: bool) -> anyhow::Result<Option<Row>> {
    let parameters = settings::dispersion(extended)?;
    let SpotFinder::Dispersion(p) = &parameters.spots else { anyhow::bail!("another spot finder") };
    let (mut both, mut all) = (0, 0);
    for file in files {
        let (frame, geometry) = read(file)?;
        let (chain, found) = find(&parameters, &frame, &geometry)?;
        let Some(theirs) = peer::dials(file, p)? else { return Ok(None) };
        // A panel of DIALS is an ASIC, ours holds two.
        let asics = chain.regions().all();
        #[allow(clippy::cast_precision_loss)] // columns
        let ours: Vec<Place> = found
            .iter()
            .filter_map(|(panel, x, y)| {
                let inside =
                    |columns: (usize, usize)| (columns.0 as f64 - 0.5..columns.1 as f64 - 0.5).contains(x);
                let asic = asics.iter().position(|asic| asic.panel == *panel && inside(asic.columns))?;
                Some((asic, x - asics[asic].columns.0 as f64, *y))
            })
            .collect();
        both += 2 * common(&ours, &theirs, SAME);
        all += found.len() + theirs.len();
    }
    let form = if extended { "dispersion_extended" } else { "dispersion" };
    Ok(Some(row(&format!("CSPAD, spots as dials.find_spots, {form}"), both, all, files.len())))
}

#[allow(clippy::cast_precision_loss)] // numbers of spots
fn row(name: &str, both: usize, all: usize, images: usize) -> Row {
    let agreement = both as f64 / all as f64;
    Row::judged(name, "2 common / all", agreement, None, BAR, agreement >= BAR, images)
}

fn read(file: &PathBuf) -> anyhow::Result<(Frame, Geometry)> {
    let bytes = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let cbf = Cbf::read(&bytes)?;
    Ok((cbf.frame()?, geometry::cbf::read(&cbf)?))
}

fn find(parameters: &Parameters, frame: &Frame, geometry: &Geometry) -> anyhow::Result<(Chain, Vec<Place>)> {
    let chain = Chain::compile(parameters, frame.shape, geometry, &Constants::default(), &[])?;
    let outcome = chain.process(&mut Workspace::default(), &[(frame, &Shot::default())]).remove(0)?;
    let found = places(&outcome);
    Ok((chain, found))
}
