//! Workers that are submitted while their run is still being copied: they are there when it lands, leave when it does not come in time,
//! and what they waited is counted. In virtual time.

use std::collections::BTreeSet;

use lightrail_topics::RunAtSite;
use lightrail_topics::events::{JobEnd, JobStep, Rule, Task, TransferState, Withdrawal};

use super::Input;
use super::site_tests::{World, rule, run, site, task, workers};
use crate::executor::{Ending, Seen};

fn ahead() -> Rule {
    rule(&["NERSC"], vec![Task { ahead: Some(600), ..task("work", workers()) }])
}

/// 10 GB come in 1000 s; jobs wait for 5 minutes.
fn measured_ahead(world: &mut World) {
    world.lands(1, "NERSC", 1000);
    world.indexed(1, "NERSC", 1);
    world.plan();
    world.wait(5);
    world.seen("NERSC", Seen::Running);
    world.wait(1);
    world.results(1, 1);
    world.plan();
    world.seen("NERSC", Seen::Ended { end: JobEnd::Done, exit: Some(0) });
    world.intents.clear();
    world.ended.clear();
    world.tell(Input::RunEnded(run(2), Some(world.now)));
    world.transfer(2, "NERSC", TransferState::Carrying);
}

#[test]
fn the_queues_wait_passes_while_the_run_is_copied() {
    let mut world = World::new(&ahead());
    measured_ahead(&mut world);
    world.wait(11);
    assert_eq!(world.told(), [""; 0], "1000 s of copying less 300 s of queue");
    world.wait(1);
    assert_eq!(world.told(), ["live mfxx1/2/3 work attempt 1 at NERSC ahead"]);
    world.seen("NERSC", Seen::Running);
    world.wait(4);
    // It lands; its first image is there two minutes later.
    world.lands(2, "NERSC", 0);
    world.wait(2);
    world.indexed(2, "NERSC", 3);
    world.plan();
    world.results(2, 3);
    world.wait(1);
    world.seen("NERSC", Seen::Ended { end: JobEnd::Done, exit: Some(0) });
    assert_eq!(world.told().len(), 1, "one job is enough: {:?}", world.told());
    let (_, last) = world.last.last().unwrap();
    // Six minutes on two nodes.
    assert!(matches!(last, JobStep::Ended { end: JobEnd::Done, waited: Some(720), .. }), "{last:?}");
}

#[test]
fn workers_that_came_too_early_leave_and_others_come_when_the_run_has_landed() {
    let mut world = World::new(&ahead());
    measured_ahead(&mut world);
    world.wait(12);
    world.seen("NERSC", Seen::Running);
    world.wait(9);
    assert!(world.ended.is_empty());
    world.wait(1);
    assert_eq!(world.ended.last().unwrap().1, Ending::Finish);
    world.seen("NERSC", Seen::Ended { end: JobEnd::Done, exit: Some(0) });
    let (_, last) = world.last.last().unwrap();
    let why = Withdrawal::NothingCame;
    assert_eq!(
        *last,
        JobStep::Ended { id: Some("101".to_owned()), end: JobEnd::Withdrawn { why }, waited: Some(1200) }
    );
    world.wait(1);
    assert_eq!(world.told().len(), 1, "not ahead once more");
    world.lands(2, "NERSC", 0);
    world.plan();
    assert_eq!(world.told()[1], "live mfxx1/2/3 work attempt 2 at NERSC");
}

#[test]
fn a_run_that_never_lands_has_its_job_cancelled() {
    let mut world = World::new(&ahead());
    measured_ahead(&mut world);
    world.wait(12);
    world.seen("NERSC", Seen::Pending);
    let at = RunAtSite { run: run(2), site: site("NERSC") };
    world.tell(Input::RunIncomplete { run: at, recorders_only: false, at: world.now });
    world.plan();
    assert_eq!(world.ended.last().unwrap().1, Ending::Cancel);
    let told: BTreeSet<&str> = world.last.iter().map(|(_, step)| step.word()).collect();
    assert!(told.contains("withdrawn"), "{told:?}");
}
