use std::time::Duration;

use lightrail_topics::{Millis, SiteName};

use super::*;

const NOW: Millis = Millis(1_000_000);
const GB: u64 = 1_000_000_000;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn at(site: &str, rate: f64, run: u64) -> Candidate {
    Candidate {
        site: site.parse().unwrap(),
        bytes: 10 * GB,
        ahead: Vec::new(),
        rate: Some(Rate::steady(rate * 1e9)),
        settling: Duration::ZERO,
        slots: 2,
        run: Some(secs(run)),
        wait: Duration::ZERO,
        after: Duration::ZERO,
        outages: Vec::new(),
        room: None,
        allocation: None,
        lost: None,
    }
}

fn choose_of(candidates: &[Candidate]) -> Decision {
    choose(&Wanted::default(), candidates, NOW).unwrap()
}

fn done_in(candidate: &Candidate) -> u64 {
    forecast(candidate, NOW).unwrap().finishes.since(NOW).as_secs()
}

#[test]
fn the_site_that_finishes_first_takes_it_and_the_decision_says_why() {
    let slow_link = at("NERSC", 0.1, 60);
    let slow_nodes = Candidate { wait: secs(30), ..at("OLCF", 1.0, 100) };
    let lost = Candidate { lost: Some("no sign of it for 4m 0s".to_owned()), ..at("ALCF", 9.0, 1) };
    let decision = choose_of(&[slow_link, slow_nodes, lost]);
    insta::assert_snapshot!(decision.to_string(), @"OLCF finishes first (NERSC: done in 2m 40s (1m 40s of data, 0s of queue, 1m 0s of run); OLCF: done in 2m 10s (10s of data, 20s of queue, 1m 40s of run); ALCF: lost: no sign of it for 4m 0s)");
    assert_eq!(decision.times().unwrap().landed, NOW.plus(secs(10)));
}

#[test]
fn what_is_ahead_delays_data_and_run() {
    let ahead = vec![Ahead::Running(NOW.plus(secs(40))), Ahead::Waiting, Ahead::Coming(20 * GB)];
    // Data: 20 GB, then 10 GB, at 1 GB/s. Slots: one free at 40 s, the other takes what waits at once, until 60 s.
    let busy = Candidate { ahead, ..at("NERSC", 1.0, 60) };
    // At 40 s the one that comes runs until 100 s; ours from 60 s on.
    assert_eq!(done_in(&busy), 120);
    assert_eq!(busy.backlog(), 2);
}

#[test]
fn a_queue_is_waited_in_while_data_come() {
    assert_eq!(done_in(&Candidate { wait: secs(80), ..at("NERSC", 0.1, 60) }), 160);
    assert_eq!(done_in(&Candidate { wait: secs(120), ..at("NERSC", 0.1, 60) }), 180);
}

#[test]
fn outages_are_walls_for_data_and_for_runs() {
    let out = |from: u64, to: u64| Candidate {
        outages: vec![Outage { from: NOW.plus(secs(from)), to: Some(NOW.plus(secs(to))) }],
        ..at("NERSC", 0.1, 60)
    };
    // 100 s of data, 60 s of run.
    assert_eq!(done_in(&out(200, 300)), 160);
    assert_eq!(done_in(&out(130, 300)), 360, "a run does not begin that would meet the outage");
    assert_eq!(done_in(&out(50, 300)), 410, "half of the data come after it");
    let under_way = Candidate {
        outages: vec![Outage { from: Millis(0), to: Some(NOW.plus(secs(30))) }],
        ..at("NERSC", 0.1, 60)
    };
    assert_eq!(done_in(&under_way), 190);
    let decision = choose_of(&[out(50, 300), at("OLCF", 0.1, 200)]);
    assert_eq!(decision.site.as_str(), "OLCF");
    let no_end = Candidate { outages: vec![Outage { from: NOW, to: None }], ..at("NERSC", 9.0, 1) };
    assert_eq!(choose_of(&[no_end, at("OLCF", 0.1, 200)]).because, Because::Only);
}

#[test]
fn limits_and_allocations_are_kept() {
    let full = Candidate { room: Some(0), ..at("NERSC", 9.0, 1) };
    let poor = Candidate { allocation: Some(3599), ..at("OLCF", 9.0, 1) };
    let wanted = Wanted { node_seconds: 3600, ..Wanted::default() };
    let both = [full.clone(), poor.clone(), at("ALCF", 0.001, 1000)];
    let decision = choose(&wanted, &both, NOW).unwrap();
    assert_eq!((decision.site.as_str(), decision.because), ("ALCF", Because::Only));
    let nowhere = choose(&wanted, &[full, poor], NOW).unwrap_err();
    insta::assert_snapshot!(nowhere.to_string(), @"no site can take it: NERSC has as many jobs as it may; OLCF has 3599 node-seconds left of its allocation, 3600 are needed");
}

#[test]
fn what_is_placed_stays_unless_another_site_is_clearly_better() {
    let placed = |site: &str| Wanted { placed: Some(site.parse().unwrap()), ..Wanted::default() };
    let all = |other: u64| [at("NERSC", 0.1, 200), at("OLCF", 0.1, other)];
    let decide = |other| choose(&placed("NERSC"), &all(other), NOW).unwrap();
    // 300 s are left there: 15 s must be saved.
    assert_eq!((decide(190).site.as_str(), decide(190).because), ("NERSC", Because::Stays));
    assert_eq!((decide(180).site.as_str(), decide(180).because), ("OLCF", Because::Soonest));
    // New work has nothing to stay with.
    assert_eq!(choose_of(&all(199)).site.as_str(), "OLCF");
    // A site that is lost keeps nothing.
    let lost = Candidate { lost: Some("gone".to_owned()), ..at("NERSC", 9.0, 1) };
    let decision = choose(&placed("NERSC"), &[lost, at("OLCF", 0.1, 9), at("ALCF", 0.1, 8)], NOW);
    assert_eq!(decision.unwrap().site.as_str(), "ALCF");
}

#[test]
fn where_something_was_never_measured_the_shortest_backlog_decides() {
    let unknown = Candidate { rate: None, ahead: vec![Ahead::Waiting; 3], ..at("NERSC", 1.0, 60) };
    let known = Candidate { ahead: vec![Ahead::Waiting; 4], ..at("OLCF", 9.0, 1) };
    let decision = choose_of(&[unknown.clone(), known.clone()]);
    assert_eq!((decision.site.as_str(), decision.because), ("NERSC", Because::ShortestBacklog));
    // Nothing is to be moved: no rate is needed.
    let there = Candidate { bytes: 0, ..unknown };
    assert_eq!(choose_of(&[there, known]).because, Because::Soonest);
}

#[test]
fn rates_go_by_what_was_measured_and_newer_counts_more() {
    let site: SiteName = "NERSC".parse().unwrap();
    let mut estimates = Estimates::default();
    assert_eq!(estimates.rate(&site, None, NOW), None);
    let mut end = Millis(0);
    for _ in 0..100 {
        let begin = end;
        end = end.plus(secs(10));
        estimates.moved(&site, 10 * GB, begin, end);
    }
    let rate = |estimates: &Estimates, now| estimates.rate(&site, None, now).unwrap();
    assert!((rate(&estimates, end).now / 1e9 - 1.0).abs() < 1e-6);
    for _ in 0..20 {
        let begin = end;
        end = end.plus(secs(10));
        estimates.moved(&site, GB, begin, end);
    }
    let slow = rate(&estimates, end);
    assert!(slow.now < 0.25e9 && slow.usual > 0.7e9, "{slow:?}");
    // What lies further ahead is nearer to the rule.
    assert!(slow.over(60.0) < slow.over(3600.0) && slow.over(3600.0) < slow.usual);
    // A file that should have come long ago tells that it has fallen further.
    let late = estimates.rate(&site, Some((end, GB)), end.plus(secs(120))).unwrap();
    assert!(late.now < 0.5 * rate(&estimates, end.plus(secs(120))).now, "{late:?}");
    // After a long silence the rule is all that is known.
    let later = rate(&estimates, end.plus(secs(3600)));
    assert!((later.now / later.usual - 1.0).abs() < 0.01, "{later:?}");
}

#[test]
fn files_that_come_at_once_share_the_time() {
    let site: SiteName = "NERSC".parse().unwrap();
    let of = |intervals: &[(i64, i64)]| {
        let mut estimates = Estimates::default();
        for (from, to) in intervals {
            estimates.moved(&site, GB, Millis(from * 1000), Millis(to * 1000));
        }
        estimates.rate(&site, None, Millis(0)).unwrap().usual / 1e9
    };
    // Fading is slow enough to be passed over here.
    let is = |rate: f64, expected: f64| assert!((rate / expected - 1.0).abs() < 0.01, "{rate}, {expected}");
    is(of(&[(0, 10), (1, 11)]), 2.0 / 11.0);
    is(of(&[(0, 10), (20, 30)]), 2.0 / 20.0);
    is(of(&[(5, 6), (0, 10)]), 2.0 / 10.0);
}

#[test]
fn times_of_runs_and_queues_are_medians_of_the_newest() {
    let site: SiteName = "NERSC".parse().unwrap();
    let class: Class = ("live".parse().unwrap(), "work".parse().unwrap());
    let mut estimates = Estimates::default();
    assert_eq!((estimates.run(&site, &class), estimates.wait(&site)), (None, None));
    for took in (1..=100).chain([1000]) {
        estimates.ran(&site, &class, secs(took));
    }
    estimates.waited(&site, secs(7));
    // Of 71 to 100 and 1000.
    assert_eq!(estimates.run(&site, &class), Some(secs(86)));
    assert_eq!(estimates.wait(&site), Some(secs(7)));
}

#[test]
fn a_site_is_lost_when_something_is_due_and_nothing_is_heard() {
    let heard = NOW;
    let silent = |due: Option<u64>, now: u64, outages: &[Outage]| {
        silence(heard, due.map(|due| NOW.plus(secs(due))), outages, secs(60), NOW.plus(secs(now)))
    };
    assert_eq!(silent(None, 9000, &[]), None, "nothing is under way");
    assert_eq!(silent(Some(100), 160, &[]), None);
    let why = silent(Some(100), 161, &[]).unwrap();
    assert_eq!(why, "nothing was heard of it for 2m 41s, and something is due for 1m 1s");
    let outage = [Outage { from: NOW, to: Some(NOW.plus(secs(300))) }];
    assert_eq!(silent(Some(100), 299, &outage), None);
    assert_eq!(silent(Some(100), 360, &outage), None);
    assert!(silent(Some(100), 361, &outage).is_some());
}
