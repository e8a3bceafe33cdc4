//! When a facility's state is said, how rates are learned, and when a site is held for lost.

use lightrail_topics::events::KnownOutage;

use super::*;
use crate::facility::Part;

const MINUTE: i64 = 60_000;
const LOST: Duration = Duration::from_secs(300);

fn site(name: &str) -> SiteName {
    name.parse().unwrap()
}

fn transfer(to: &str, stream: u32, state: TransferState, at: i64) -> TransferSeen {
    TransferSeen {
        lfn: format!("/mfx/mfxx1/xtc/mfxx1-r0001-s{stream:02}-c00.xtc").parse().unwrap(),
        run: "mfxx1/1".parse().unwrap(),
        site: site(to),
        state,
        size: Some(1_000_000_000),
        moved: (state == TransferState::Done).then_some(1_000_000_000),
        fault: None,
        at: Millis(at),
    }
}

fn report(health: Health, outages: Vec<KnownOutage>) -> Report {
    let part = Part { resource: "perlmutter".parse().unwrap(), health, text: "so".to_owned(), outages };
    Report { site: site("NERSC"), by: StatusBy::Sfapi, parts: vec![part] }
}

#[test]
fn a_status_is_said_when_it_changes_and_from_time_to_time() {
    let mut sites = Sites::default();
    let mut say = |report: Report, at: i64| {
        let told = sites.report(&report, Duration::from_secs(600), Millis(at));
        for status in &told {
            sites.facility(status.clone());
        }
        told.iter().map(|status| (status.health.word(), status.since.0)).collect::<Vec<_>>()
    };
    assert_eq!(say(report(Health::Up, vec![]), 1000), [("up", 1000)]);
    assert_eq!(say(report(Health::Up, vec![]), 2000), []);
    assert_eq!(say(report(Health::Up, vec![]), 601_000), [("up", 1000)], "once in a while all the same");
    let outage = KnownOutage { from: Millis(9), to: None, planned: true, text: String::new() };
    assert_eq!(say(report(Health::Up, vec![outage]), 602_000), [("up", 1000)], "an outage is news");
    assert_eq!(say(report(Health::Down, vec![]), 603_000), [("down", 603_000)]);
}

#[test]
fn beside_a_status_stands_what_transfers_and_jobs_were_measured_to_take_at_its_site() {
    let mut sites = Sites::default();
    sites.begin();
    let measured = |sites: &Sites| {
        let told = sites.report(&report(Health::Up, vec![]), LOST, Millis(20_000));
        told.into_iter().next().unwrap().measured
    };
    assert_eq!(measured(&sites), None, "nothing was");
    let work = |task: &str| ("live".parse().unwrap(), task.parse().unwrap());
    for (task, seconds) in [("work", 40), ("merge", 3), ("work", 50)] {
        sites.estimates.ran(&site("NERSC"), &work(task), Duration::from_secs(seconds));
    }
    sites.estimates.ran(&site("OLCF"), &work("work"), Duration::from_secs(7));
    let run_time = Some(40_000);
    assert_eq!(measured(&sites), Some(Measured { run_time, ..Measured::default() }));
    sites.estimates.waited(&site("NERSC"), Duration::from_millis(1500));
    sites.transfer(transfer("NERSC", 0, TransferState::Carrying, 10_000));
    sites.transfer(transfer("NERSC", 0, TransferState::Done, 20_000));
    let rate = Some(100_000_000);
    let all = Measured { rate, usual_rate: rate, queue_wait: Some(1500), run_time };
    assert_eq!(measured(&sites), Some(all));
}

#[test]
fn a_rate_is_learned_whatever_the_order_in_which_the_topic_is_read() {
    let all: Vec<TransferSeen> = (0..4)
        .flat_map(|stream| {
            let at = i64::from(stream) * 10_000;
            [
                transfer("NERSC", stream, TransferState::Carrying, at),
                transfer("NERSC", stream, TransferState::Done, at + 10_000),
            ]
        })
        .collect();
    let (mut first, mut last) = (Sites::default(), Sites::default());
    for seen in &all {
        first.transfer(seen.clone());
    }
    for seen in all.chunks(2).rev().flatten() {
        last.transfer(seen.clone());
    }
    for sites in [&mut first, &mut last] {
        sites.begin();
        let rate = sites.estimates.rate(&site("NERSC"), None, Millis(40_000)).unwrap();
        assert!((rate.usual - 1e8).abs() < 1e5, "{rate:?}");
        assert!(!sites.comes(&site("NERSC"), &"mfxx1/1".parse().unwrap()));
    }
}

#[test]
fn a_site_is_lost_when_it_is_down_or_mute_or_nothing_arrives_and_not_in_a_known_outage() {
    let now = Millis(100 * MINUTE);
    let lost = |sites: &Sites| sites.lost(&site("NERSC"), LOST, now);
    let status = |health, outages: Vec<KnownOutage>, at: i64| {
        let mut sites = Sites::default();
        let told = sites.report(&report(health, outages), LOST, Millis(at * MINUTE));
        for status in told {
            sites.facility(status);
        }
        sites
    };
    assert_eq!(lost(&status(Health::Up, vec![], 0)), None);
    assert_eq!(lost(&status(Health::Degraded, vec![], 0)), None);
    assert_eq!(
        lost(&status(Health::Unknown, vec![], 0)),
        None,
        "an interface that is away says nothing of jobs"
    );
    assert_eq!(lost(&status(Health::Down, vec![], 96)), None, "not yet");
    let why = lost(&status(Health::Down, vec![], 95)).unwrap();
    assert_eq!(why, "perlmutter is down since 5m 0s (so)");
    let mut old = status(Health::Down, vec![], 0);
    old.heartbeat = Duration::from_secs(600);
    assert_eq!(lost(&old), None, "nobody has said it again");
    let ends =
        KnownOutage { from: Millis(0), to: Some(Millis(101 * MINUTE)), planned: true, text: String::new() };
    assert_eq!(lost(&status(Health::Down, vec![ends], 0)), None);

    let mut sites = Sites::default();
    sites.answered(site("NERSC"), Some("squeue: no".to_owned()), Millis(90 * MINUTE));
    sites.answered(site("NERSC"), Some("squeue: still no".to_owned()), Millis(99 * MINUTE));
    assert_eq!(lost(&sites).unwrap(), "its scheduler has not answered for 10m 0s (squeue: no)");
    sites.answered(site("NERSC"), None, now);
    assert_eq!(lost(&sites), None);

    let fault = Some("no route to host".to_owned());
    sites.transfer(TransferSeen { fault, ..transfer("NERSC", 0, TransferState::Delayed, 90 * MINUTE) });
    assert_eq!(lost(&sites).unwrap(), "nothing arrives there for 10m 0s (no route to host)");
    sites.transfer(transfer("NERSC", 1, TransferState::Done, 99 * MINUTE));
    assert_eq!(lost(&sites), None);
}

#[test]
fn silence_tells_of_a_site_only_while_others_are_heard_of() {
    let mut sites = Sites::default();
    sites.begin();
    for to in ["NERSC", "OLCF"] {
        sites.transfer(transfer(to, 0, TransferState::Carrying, 0));
        sites.transfer(transfer(to, 0, TransferState::Done, 10_000));
    }
    sites.transfer(transfer("NERSC", 1, TransferState::Ready, 10_000));
    let lost = |sites: &Sites, at: i64| sites.lost(&site("NERSC"), LOST, Millis(at * MINUTE));
    assert_eq!(lost(&sites, 60), None, "nobody hears anything");
    sites.transfer(transfer("OLCF", 2, TransferState::Carrying, 5 * MINUTE));
    sites.transfer(transfer("OLCF", 2, TransferState::Done, 6 * MINUTE));
    assert_eq!(lost(&sites, 5), None);
    let why = lost(&sites, 10).unwrap();
    assert_eq!(why, "nothing was heard of it for 9m 50s, and something is due for 9m 40s");
}
