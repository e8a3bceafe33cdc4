//! A makespan that no policy comes below, one that knows every draw and every trouble from the beginning included: whatever came
//! from some time on must have come over the lines, and run on the nodes, that work between that time and the end.

use super::draws::Draws;
use super::{Case, Trouble};

/// To so many seconds.
const PRECISION: f64 = 1.0;

/// The least time at which the last result of a case can be there, seconds.
pub fn least_makespan(case: &Case, draws: &Draws) -> f64 {
    let last = case.arrivals.last().map_or(0.0, |arrival| arrival.at);
    let (mut low, mut high) = (last, case.until);
    while high - low > PRECISION {
        let middle = f64::midpoint(low, high);
        if may_be_done(case, draws, middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    low
}

/// Whether nothing forbids that all is done by then.
fn may_be_done(case: &Case, draws: &Draws, end: f64) -> bool {
    let mut came: f64 = 0.0;
    for arrival in case.arrivals.iter().rev() {
        #[expect(clippy::cast_precision_loss, reason = "some jobs")]
        let jobs = arrival.jobs as f64;
        came += jobs;
        let room: f64 = (0..case.sites.len()).map(|site| room(case, draws, site, arrival.at, end)).sum();
        if came > room {
            return false;
        }
    }
    true
}

/// How many jobs a site can take from a time on and have done by an end, at most.
fn room(case: &Case, draws: &Draws, site: usize, from: f64, end: f64) -> f64 {
    let is = &case.sites[site];
    let fails = case.troubles.iter().find_map(|trouble| match trouble {
        Trouble::Fails(name, at) if *name == is.site => Some(*at),
        _ => None,
    });
    // What is not done when it fails never is.
    let end = end.min(fails.unwrap_or(f64::INFINITY));
    let shortest = draws.runs[site].iter().copied().fold(f64::INFINITY, f64::min);
    let started = end - is.after - shortest;
    let coming = &draws.coming[site];
    let landed = coming.by((started - is.delay).max(0.0)) - coming.by(from);
    #[expect(clippy::cast_precision_loss, reason = "some nodes")]
    let nodes = is.nodes as f64;
    // One more on each node than would fit is more than can be.
    let run = nodes * ((started - from) / shortest + 1.0);
    landed.min(run).max(0.0)
}
