//! What is found of simulated images, from bright to weak, by us and by psana's peakfinder8: recall of the spots of at least 25
//! photons on good pixels, and precision, on a whole Jungfrau 4M.

use lightrail_analysis::pipeline::{Chain, Workspace};
use lightrail_analysis::simulate::{Model, Plan, Simulator, Truth, Wanted};

use super::{Place, common, peer, places, settings};
use crate::report::Row;

/// Photons of a reflection on the Ewald sphere.
const INTENSITIES: [f64; 4] = [4000.0, 1500.0, 600.0, 250.0];
/// Photons of a spot that is to be found.
const FINDABLE: f64 = 25.0;
/// A spot within so many pixels of a true one is that.
const SAME: f64 = 2.0;

pub(super) fn measure(quick: bool) -> anyhow::Result<Vec<Row>> {
    let images = if quick { 3 } else { 8 };
    let mut rows = Vec::new();
    for intensity in INTENSITIES {
        let plan = Plan { intensity, scale_spread: 0.0, ..Plan::new(Model::Jungfrau4M, 4) };
        let simulator = Simulator::new(plan)?;
        let chain = chain(&simulator)?;
        let mut peer = peer::Peakfinder8::start(&chain)?;
        let mut workspace = Workspace::default();
        let (mut ours, mut theirs) = (Score::default(), Score::default());
        for index in 0..images {
            let image = simulator.image(1, index as u64, &Wanted::HIT);
            let outcome = chain.process(&mut workspace, &[(&image.frame, &image.shot)]).remove(0)?;
            ours.add(&places(&outcome), &image.truth);
            if let Some(peer) = &mut peer {
                peer.load(0, &chain, &mut workspace, &image.frame)?;
                theirs.add(&peer.find(0)?.0, &image.truth);
            }
        }
        let with = |value: f64| peer.is_some().then_some(value);
        let name = |what: &str| format!("{what}, I0 {intensity} ({} spots an image)", ours.findable / images);
        let bar = theirs.recall() - 0.01;
        let recall = ours.recall();
        rows.push(if peer.is_some() {
            Row::judged(
                name("recall"),
                "of findable",
                recall,
                with(theirs.recall()),
                bar,
                recall >= bar,
                images,
            )
        } else {
            Row::alone(name("recall"), "of findable", &[recall])
        });
        let precision = ours.precision();
        let holds = precision >= 0.995;
        rows.push(Row::judged(
            name("precision"),
            "of found",
            precision,
            with(theirs.precision()),
            0.995,
            holds,
            images,
        ));
    }
    Ok(rows)
}

/// The chain for what a simulator draws.
pub(super) fn chain(simulator: &Simulator) -> anyhow::Result<Chain> {
    let parameters = settings::jungfrau(simulator.plan().photon_energy)?;
    let masks = [simulator.mask().clone()];
    Ok(Chain::compile(&parameters, simulator.shape(), simulator.geometry(), simulator.constants(), &masks)?)
}

/// Counts over images.
#[derive(Debug, Default)]
struct Score {
    findable: usize,
    of_findable: usize,
    found: usize,
    right: usize,
}

impl Score {
    fn add(&mut self, found: &[Place], truth: &Truth) {
        let place = |spot: &lightrail_analysis::simulate::TruthSpot| (spot.panel.into(), spot.x, spot.y);
        let findable: Vec<Place> = truth.findable(FINDABLE).map(place).collect();
        let all: Vec<Place> = truth.spots.iter().map(place).collect();
        self.findable += findable.len();
        self.of_findable += common(&findable, found, SAME);
        self.found += found.len();
        self.right += found.iter().filter(|spot| common(&[**spot], &all, SAME) == 1).count();
    }

    #[allow(clippy::cast_precision_loss)] // numbers of spots
    fn recall(&self) -> f64 {
        self.of_findable as f64 / self.findable as f64
    }

    #[allow(clippy::cast_precision_loss)] // numbers of spots
    fn precision(&self) -> f64 {
        self.right as f64 / self.found as f64
    }
}
