//! The Balsam experiment's measured numbers (arXiv 2105.06571; its repository's `tests/benchmark`): sites, patterns of arrival, and
//! the rates that came of them. XPCS jobs of the APS at Theta, Summit and Cori, 32 nodes each.

use super::{Arrival, Case, Measured, Trouble};

/// Of Theta, Summit, Cori: `(name, delay, run, after)`, medians of the jobs that were run one at a time.
const ALONE: [(&str, f64, f64, f64); 3] =
    [("Theta", 2.61, 102.0, 10.2), ("Summit", 1.83, 107.5, 11.7), ("Cori", 2.62, 50.8, 11.4)];
/// Arrivals per minute with a backlog of 32 jobs each from the APS, three sites at once.
const SUSTAINED: [f64; 3] = [16.0, 19.6, 29.6];
/// The same from APS and ALS at once, on the day of the routing experiment: what its sources give.
const SHARED: [f64; 3] = [15.3, 17.1, 18.1];
/// Standard deviation over mean of the rates of Globus tasks above 10 GB from the APS.
const SPREAD: [f64; 3] = [166.8 / 196.5, 276.0 / 360.4, 210.4 / 311.4];
const NODES: usize = 32;

/// As the client submits: so many jobs at a time,
const BATCH: usize = 16;
/// at this distance, a period of 8 s and its calls, seconds.
const PERIOD: f64 = 8.27;
/// A site with so many jobs that do not run yet is given none.
const MOST: usize = 480;
/// Sixteen minutes.
pub const RUN: f64 = 960.0;

/// Jobs per minute of each site that were measured by round robin,
pub const ROUND_ROBIN: [f64; 3] = [15.23, 15.12, 15.96];
/// and by the shortest backlog.
pub const SHORTEST_BACKLOG: [f64; 3] = [15.48, 16.33, 18.52];
/// Jobs that were submitted by round robin,
pub const BY_ROUND_ROBIN: usize = 688;
/// and by the shortest backlog.
pub const BY_SHORTEST_BACKLOG: usize = 816;

fn sites(per_minute: [f64; 3], spread: [f64; 3]) -> Vec<Measured> {
    let site = |index: usize| {
        let (name, delay, run, after) = ALONE[index];
        Measured {
            site: name.parse().expect("a name as sites have them"),
            per_minute: per_minute[index],
            spread: spread[index],
            delay,
            nodes: NODES,
            run,
            after,
        }
    };
    (0..ALONE.len()).map(site).collect()
}

/// Batches at a distance, until so many jobs have come.
fn batches(jobs: usize, period: f64) -> Vec<Arrival> {
    #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
    let at = |batch: usize| period * (batch + 1) as f64;
    (0..jobs / BATCH).map(|batch| Arrival { at: at(batch), jobs: BATCH }).collect()
}

/// The routing experiment: so many jobs in its own pattern, at the rates of its day.
pub fn routing(jobs: usize) -> Case {
    Case {
        sites: sites(SHARED, [0.0; 3]),
        arrivals: batches(jobs, PERIOD),
        most: MOST,
        troubles: Vec::new(),
        until: 8.0 * RUN,
    }
}

/// Balsam's own pattern for its sixteen minutes, at rates that drift.
pub fn pattern() -> Case {
    let submitted = (RUN / PERIOD).floor();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some hundreds")]
    let batches_of_it = submitted as usize;
    Case { sites: sites(SUSTAINED, SPREAD), arrivals: batches(batches_of_it * BATCH, PERIOD), ..routing(0) }
}

/// Batches for so long at a share of what the sites sustain while they are not out by plan, at rates that drift.
pub fn load(share: f64, seconds: f64, troubles: Vec<Trouble>) -> Case {
    let sites = sites(SUSTAINED, SPREAD);
    let is_up = |site: &Measured| {
        let out = troubles.iter().map(|trouble| match trouble {
            Trouble::Planned(name, from, to) if *name == site.site => to - from,
            _ => 0.0,
        });
        1.0 - out.sum::<f64>() / seconds
    };
    let capacity: f64 = sites.iter().map(|site| site.capacity() * is_up(site)).sum();
    #[expect(clippy::cast_precision_loss, reason = "a batch")]
    let period = 60.0 * BATCH as f64 / (share * capacity);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some hundreds")]
    let number = (seconds / period) as usize;
    Case {
        sites,
        arrivals: batches(number * BATCH, period),
        most: usize::MAX,
        troubles,
        until: 6.0 * seconds,
    }
}
