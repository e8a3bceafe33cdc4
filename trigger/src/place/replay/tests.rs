use super::*;

fn drawn(case: &Case, seed: u64) -> Draws {
    let mut random = fastrand::Rng::with_seed(seed);
    Draws::of(case, &mut || random.f64())
}

/// What was measured and what the replay gives, per site.
fn compare(policy: Policy, jobs: usize, measured: [f64; 3]) {
    let case = balsam::routing(jobs);
    let results = play(&case, policy, &drawn(&case, 1));
    assert_eq!(results.len(), jobs);
    for (site, measured) in measured.into_iter().enumerate() {
        let replayed = per_minute(&results, Some(site), f64::INFINITY);
        let off = replayed / measured - 1.0;
        println!("{policy:?}, site {site}: {replayed:.2} jobs per minute, measured {measured}");
        assert!(
            off.abs() <= 0.15,
            "{policy:?}, site {site}: {replayed:.2} jobs per minute, measured {measured}"
        );
    }
}

#[test]
fn the_replay_gives_the_rates_that_were_measured() {
    compare(Policy::RoundRobin, balsam::BY_ROUND_ROBIN, balsam::ROUND_ROBIN);
    compare(Policy::ShortestBacklog, balsam::BY_SHORTEST_BACKLOG, balsam::SHORTEST_BACKLOG);
}

#[test]
fn what_is_drawn_is_the_same_for_every_policy_and_has_the_mean_and_spread_asked_for() {
    let case = balsam::load(0.8, 600.0, Vec::new());
    let longer = Case { until: 400_000.0, ..case };
    let (one, other) = (drawn(&longer, 5), drawn(&longer, 5));
    for (site, is) in longer.sites.iter().enumerate() {
        assert_eq!(one.runs[site], other.runs[site]);
        let minutes = (0..6_000).map(|minute| 60.0 * f64::from(minute));
        let rates: Vec<f64> =
            minutes.map(|at| one.coming[site].by(at + 60.0) - one.coming[site].by(at)).collect();
        let count = 6_000.0;
        let mean = rates.iter().sum::<f64>() / count;
        let variance = rates.iter().map(|rate| (rate - mean).powi(2)).sum::<f64>() / count;
        assert!((mean / is.per_minute - 1.0).abs() < 0.2, "{}: {mean}", is.site);
        assert!((variance.sqrt() / mean / is.spread - 1.0).abs() < 0.3, "{}: {variance}", is.site);
    }
}

#[test]
fn a_site_that_fails_loses_no_job_and_nothing_is_done_before_it_can_be() {
    let half = 1200.0;
    let fails = vec![Trouble::Fails("Cori".parse().unwrap(), half)];
    for seed in 0..3 {
        let case = balsam::load(0.6, 2.0 * half, fails.clone());
        let draws = drawn(&case, seed);
        let results = play(&case, Policy::Predicted, &draws);
        let (took, least) = (makespan(&results), least_makespan(&case, &draws));
        println!("seed {seed}: {took:.0} s, at least {least:.0} s");
        assert!(took < case.until, "seed {seed}: a job is lost");
        assert!(took >= least, "seed {seed}: {took} s, and at least {least} s are needed");
        // Balsam's jobs are bound to their site for life.
        assert!(makespan(&play(&case, Policy::ShortestBacklog, &draws)).is_infinite());
    }
}

#[test]
fn who_forecasts_is_done_earlier_than_who_counts() {
    let case = balsam::load(0.8, 3600.0, Vec::new());
    let tail = |policy| {
        let all: f64 = (0..4).map(|seed| percentile(&play(&case, policy, &drawn(&case, seed)), 95)).sum();
        all / 4.0
    };
    let (ours, balsams) = (tail(Policy::Predicted), tail(Policy::ShortestBacklog));
    println!("95 of 100 jobs are done within {ours:.0} s, by the shortest backlog within {balsams:.0} s");
    assert!(ours < balsams, "{ours:.0} s, by the shortest backlog {balsams:.0} s");
}
