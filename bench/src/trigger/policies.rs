//! The choice of a site on the Balsam experiment's measured numbers: round robin, Balsam's shortest backlog, ours; each on the same
//! draws.

use lightrail_trigger::place::replay::{Case, Draws, Policy, Trouble, balsam, least_makespan, makespan};
use lightrail_trigger::place::replay::{per_minute, percentile, play};

use crate::report::{Bar, Row, median};

/// How long jobs come, seconds.
const LASTS: f64 = 3.0 * 3600.0;
/// A planned outage of Cori, seconds.
const OUTAGE: (f64, f64) = (3600.0, 5400.0);
/// How far a replayed rate may be from the measured one.
const WITHIN: f64 = 0.15;

pub(super) fn settings() -> String {
    format!(
        "policies: Theta, Summit and Cori with the rates, run times and spreads of arXiv 2105.06571's data; rates drift log-normally \
         with a correlation time of 10 min; batches of 16 for {LASTS:.0} s; round robin and shortest backlog place a \
         batch as Balsam's client does, ours each job; the outage is Cori's from \
         {:.0} to {:.0} s; 20 seeds (5 with --quick), the same draws for every policy, which sees what was measured before",
        OUTAGE.0, OUTAGE.1
    )
}

pub(super) fn measure(quick: bool) -> Vec<Row> {
    let seeds: Vec<u64> = (0..if quick { 5 } else { 20 }).collect();
    let mut rows = reproduced();
    let outage = || vec![Trouble::Planned("Cori".parse().expect("a site"), OUTAGE.0, OUTAGE.1)];
    for (share, troubles, text) in [
        (0.80, Vec::new(), "80 % of capacity"),
        (0.95, Vec::new(), "95 % of capacity"),
        (0.80, outage(), "80 % of capacity, a planned outage"),
        (0.95, outage(), "95 % of capacity, a planned outage"),
    ] {
        let case = balsam::load(share, LASTS, troubles);
        let of = |policy| all(&case, policy, &seeds, |results| percentile(results, 95));
        let (ours, balsams) = (of(Policy::Predicted), of(Policy::ShortestBacklog));
        let name = format!("p95 arrival to result at {text}, against Balsam's shortest backlog");
        rows.push(Row::against(name, "s", &ours, &balsams, Bar::AtMost(0.9)));
        let name =
            format!("p95 arrival to result at {text}, against shortest backlog for each job by itself");
        rows.push(Row::against(name, "s", &ours, &of(Policy::ShortestBacklogEach), Bar::Told));
        let name = format!("p95 arrival to result at {text}, round robin against shortest backlog");
        rows.push(Row::against(name, "s", &of(Policy::RoundRobin), &balsams, Bar::Told));
    }
    let case = balsam::pattern();
    let of = |policy| all(&case, policy, &seeds, |results| per_minute(results, None, balsam::RUN));
    let name = "jobs per minute in Balsam's own pattern, against shortest backlog";
    rows.push(Row::against(
        name,
        "1/min",
        &of(Policy::Predicted),
        &of(Policy::ShortestBacklog),
        Bar::AtLeast(0.99),
    ));
    rows.extend(failing(&seeds));
    rows
}

/// The same for every policy.
fn drawn(case: &Case, seed: u64) -> Draws {
    let mut random = fastrand::Rng::with_seed(seed);
    Draws::of(case, &mut || random.f64())
}

fn all(
    case: &Case,
    policy: Policy,
    seeds: &[u64],
    figure: impl Fn(&[lightrail_trigger::place::replay::Outcome]) -> f64,
) -> Vec<f64> {
    seeds.iter().map(|seed| figure(&play(case, policy, &drawn(case, *seed)))).collect()
}

/// First of all the replay gives what was measured.
fn reproduced() -> Vec<Row> {
    let mut rows = Vec::new();
    for (policy, jobs, measured, text) in [
        (Policy::RoundRobin, balsam::BY_ROUND_ROBIN, balsam::ROUND_ROBIN, "round robin"),
        (Policy::ShortestBacklog, balsam::BY_SHORTEST_BACKLOG, balsam::SHORTEST_BACKLOG, "shortest backlog"),
    ] {
        let case = balsam::routing(jobs);
        let results = play(&case, policy, &drawn(&case, 0));
        for (site, measured) in measured.into_iter().enumerate() {
            let rate = per_minute(&results, Some(site), f64::INFINITY);
            let name = format!("replayed rate of {}, {text}, as measured", case.sites[site].site);
            let holds = (rate / measured - 1.0).abs() <= WITHIN;
            rows.push(Row {
                ratio: Some(rate / measured),
                ..Row::judged(name, "1/min", rate, Some(measured), WITHIN, holds, 1)
            });
        }
    }
    rows
}

/// Each site fails at half time, and nobody says so.
fn failing(seeds: &[u64]) -> Vec<Row> {
    let mut rows = Vec::new();
    for site in ["Theta", "Summit", "Cori"] {
        let fails = vec![Trouble::Fails(site.parse().expect("a site"), LASTS / 2.0)];
        let case = balsam::load(0.80, LASTS, fails);
        let plays: Vec<_> =
            seeds.iter().map(|seed| play(&case, Policy::Predicted, &drawn(&case, *seed))).collect();
        let took: Vec<f64> = plays.iter().map(|results| makespan(results)).collect();
        let least: Vec<f64> = seeds.iter().map(|seed| least_makespan(&case, &drawn(&case, *seed))).collect();
        let lost = plays.iter().flatten().filter(|outcome| !outcome.done.is_finite()).count();
        #[expect(clippy::cast_precision_loss, reason = "none, or few")]
        let lost = lost as f64;
        let name = format!("jobs lost when {site} fails unannounced at half time");
        rows.push(Row::judged(name, "jobs", lost, None, 0.0, lost == 0.0, seeds.len()));
        let name = format!("makespan when {site} fails unannounced, against the least that is possible");
        rows.push(Row::against(name, "s", &took, &least, Bar::AtMost(1.2)));
        debug_assert!(median(&took) >= median(&least));
    }
    rows
}
