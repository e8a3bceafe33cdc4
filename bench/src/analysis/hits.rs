//! Hits that are decided rightly, on one Jungfrau module: drawing 22,000 images of eight would take an hour. From weak to bright
//! crystals, so that there are hits with few spots.

use std::sync::atomic::{AtomicU64, Ordering};

use lightrail_analysis::pipeline::Workspace;
use lightrail_analysis::simulate::{Model, Plan, Simulator, Wanted};

use super::found;
use crate::report::Row;

/// Images of a run.
const HITS: u64 = 2_000;
const MISSES: u64 = 20_000;
/// Spots of at least 25 photons on good pixels with which a hit must not be missed.
const MUST: usize = 20;

pub(super) fn measure(quick: bool) -> anyhow::Result<Vec<Row>> {
    let (hits, misses) = if quick { (HITS / 10, MISSES / 10) } else { (HITS, MISSES) };
    // A wider spread than the usual one: from crystals that give hardly a spot to those that fill the module.
    let plan = Plan { scale_spread: 1.2, intensity: 1000.0, ..Plan::new(Model::Jungfrau05M, 11) };
    let simulator = Simulator::new(plan)?;
    let chain = found::chain(&simulator)?;
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let count = || -> anyhow::Result<[u64; 4]> {
        let (mut workspace, mut counts) = (Workspace::default(), [0; 4]);
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= hits + misses {
                return Ok(counts);
            }
            let wanted = if index < hits { Wanted::HIT } else { Wanted::MISS };
            let image = simulator.image(1, index, &wanted);
            let outcome = chain.process(&mut workspace, &[(&image.frame, &image.shot)]).remove(0)?;
            let must = image.truth.findable(25.0).count() >= MUST;
            counts[0] += u64::from(must);
            counts[1] += u64::from(must && !outcome.hit);
            counts[2] += u64::from(!image.truth.hit() && outcome.hit);
            counts[3] += u64::from(image.truth.hit() && outcome.hit);
        }
    };
    let counted = std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(count)).collect();
        all.into_iter()
            .map(|one| one.join().expect("a thread that counts"))
            .collect::<anyhow::Result<Vec<_>>>()
    })?;
    let [must, missed, false_hits, found] =
        std::array::from_fn(|i| counted.iter().map(|counts| counts[i]).sum::<u64>());
    #[allow(clippy::cast_precision_loss)] // numbers of images
    let share = |n: u64, of: u64| n as f64 / of as f64;
    let images = usize::try_from(hits + misses)?;
    let name = format!("0.5 megapixels, hits with >= {MUST} findable spots missed, of {must}");
    let false_share = share(false_hits, misses);
    #[allow(clippy::cast_precision_loss)] // numbers of images
    Ok(vec![
        Row::judged(name, "images", missed as f64, None, 0.0, missed == 0, images),
        Row::judged(
            format!("0.5 megapixels, misses taken for hits, of {misses}"),
            "share",
            false_share,
            None,
            0.001,
            false_share < 0.001,
            images,
        ),
        Row::alone(
            format!("0.5 megapixels, crystals found, of {hits}, faint ones too"),
            "share",
            &[share(found, hits)],
        ),
    ])
}
