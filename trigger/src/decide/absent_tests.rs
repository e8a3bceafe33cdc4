//! Jobs that get nowhere, and jobs that their scheduler does not name any more: what is not seen is not done. In virtual time.

use lightrail_topics::Millis;
use lightrail_topics::events::{FailureClass, JobEnd, JobStep, Withdrawal};

use super::Input;
use super::site_tests::{World, command, rule, site, task, workers};
use crate::executor::{Ending, Seen};

#[test]
fn what_its_scheduler_has_suspended_does_not_hang_and_has_its_time_anew_when_it_goes_on() {
    for work in [workers(), command()] {
        let mut world = World::new(&rule(&["NERSC"], vec![task("work", work)]));
        world.lands(1, "NERSC", 10);
        world.indexed(1, "NERSC", 100);
        world.plan();
        world.seen("NERSC", Seen::Suspended);
        let (_, step) = world.last.last().unwrap();
        assert!(matches!(step, JobStep::Running { .. }), "it has begun: {step:?}");
        world.wait(600);
        assert!(world.ended.is_empty(), "told to end while it was stopped");
        world.seen("NERSC", Seen::Running);
        world.wait(14);
        assert!(world.ended.is_empty(), "told to end as soon as it went on");
        world.wait(61);
        assert_eq!(world.ended.last().unwrap().1, Ending::Cancel);
    }
}

#[test]
fn workers_that_get_nowhere_hang_and_are_told_to_end() {
    let mut world = World::new(&rule(&["NERSC"], vec![task("work", workers())]));
    world.lands(1, "NERSC", 10);
    world.indexed(1, "NERSC", 100);
    world.plan();
    world.seen("NERSC", Seen::Running);
    world.wait(10);
    world.results(1, 1);
    world.wait(14);
    assert!(world.ended.is_empty(), "a result was its last sign of life");
    world.wait(1);
    let withdrawn =
        world.last.iter().any(|(_, step)| matches!(step, JobStep::Withdrawn { why: Withdrawal::Hangs, .. }));
    assert!(withdrawn, "{:?}", world.last);
    assert_eq!(world.ended.last().unwrap().1, Ending::Cancel);
    world.seen("NERSC", Seen::Ended { end: JobEnd::Cancelled { text: String::new() }, exit: None });
    let (_, last) = world.last.last().unwrap();
    assert!(
        matches!(last, JobStep::Ended { end: JobEnd::Failed { class: FailureClass::Hung, .. }, .. }),
        "{last:?}"
    );
    world.wait(1);
    // The next one hangs too, and does not even end.
    world.seen("NERSC", Seen::Running);
    world.wait(15);
    world.wait(2);
    let given_up = world.last.iter().find(|(_, step)| matches!(step, JobStep::GivenUp { .. }));
    let Some((_, JobStep::GivenUp { why, id: Some(_) })) = given_up else { panic!("{:?}", world.last) };
    assert_eq!(why, "it hung, and did not end when it was told to");
}

/// A job that is submitted, and of which its scheduler was last seen to say this, if anything.
fn submitted(seen: Option<Seen>) -> World {
    let mut world = World::new(&rule(&["NERSC"], vec![task("work", command())]));
    world.lands(1, "NERSC", 10);
    world.plan();
    if let Some(seen) = seen {
        world.seen("NERSC", seen);
    }
    world
}

/// The scheduler answers, and does not name the newest job.
fn not_seen(world: &mut World) {
    let (identity, _) = world.intents.last().unwrap();
    let asked = vec![identity.name()];
    world.tell(Input::Looked { site: site("NERSC"), asked, seen: Vec::new() });
    world.plan();
}

fn given_up(world: &World) -> Option<&str> {
    world.last.iter().find_map(|(_, step)| match step {
        JobStep::GivenUp { why, .. } => Some(why.as_str()),
        _ => None,
    })
}

#[test]
fn a_job_that_its_scheduler_does_not_know_any_more_is_not_done_but_given_up_after_the_grace() {
    for seen in [None, Some(Seen::Pending), Some(Seen::Held), Some(Seen::Running), Some(Seen::Suspended)] {
        let mut world = submitted(seen.clone());
        not_seen(&mut world);
        let since = world.now;
        world.now = Millis(since.0 + 59_999);
        not_seen(&mut world);
        assert!(world.last.iter().all(|(_, step)| !step.is_final()), "{seen:?}: {:?}", world.last);
        world.now = Millis(since.0 + 60_000);
        not_seen(&mut world);
        let why = format!("the scheduler has not known it since {since}");
        assert_eq!(given_up(&world), Some(why.as_str()), "{seen:?}");
        assert_eq!(world.told().len(), 1, "not at once");
        assert!(world.ended.is_empty(), "nobody knows of a copy that could be ended");
        world.wait(1);
        assert_eq!(world.told()[1..], ["live mfxx1/1/3 work attempt 2 at NERSC"], "{seen:?}");
    }
}

#[test]
fn a_job_that_is_seen_again_within_the_grace_was_never_gone() {
    let mut world = submitted(Some(Seen::Running));
    for _ in 0..5 {
        not_seen(&mut world);
        world.now = Millis(world.now.0 + 50_000);
        world.seen("NERSC", Seen::Running);
    }
    assert!(world.last.iter().all(|(_, step)| !step.is_final()), "{:?}", world.last);
    world.seen("NERSC", Seen::Ended { end: JobEnd::Done, exit: Some(0) });
    world.wait(60);
    assert_eq!(world.told().len(), 1);
}

#[test]
fn a_program_has_no_results_to_count_and_is_left_to_its_time_limit() {
    let mut world = submitted(Some(Seen::Running));
    world.indexed(1, "NERSC", 100);
    // What its scheduler lets it, an hour, and the time after which it hangs.
    world.wait(60);
    world.failed("NERSC", FailureClass::Timeout, "TIMEOUT 0:0");
    world.wait(1);
    assert_eq!(world.told()[1..], ["live mfxx1/1/3 work attempt 2 at NERSC"]);
    // A scheduler that does not end it.
    world.seen("NERSC", Seen::Running);
    world.wait(74);
    let is_withdrawn = |(_, step): &(_, JobStep)| matches!(step, JobStep::Withdrawn { .. });
    assert!(!world.last.iter().any(is_withdrawn) && world.ended.is_empty(), "{:?}", world.last);
    world.wait(1);
    let Some((_, JobStep::Withdrawn { why, .. })) = world.last.last() else { panic!("{:?}", world.last) };
    assert_eq!((why, world.ended[0].1), (&Withdrawal::Hangs, Ending::Cancel));
}

#[test]
fn a_job_that_was_missed_once_is_not_gone_while_its_scheduler_cannot_be_asked_again() {
    let mut world = submitted(Some(Seen::Running));
    not_seen(&mut world);
    world.tell(Input::Answered(site("NERSC"), Some("squeue: no route".to_owned())));
    world.wait(10);
    assert!(world.last.iter().all(|(_, step)| !step.is_final()), "{:?}", world.last);
    world.tell(Input::Answered(site("NERSC"), None));
    world.seen("NERSC", Seen::Running);
    world.seen("NERSC", Seen::Ended { end: JobEnd::Done, exit: Some(0) });
    world.wait(60);
    assert_eq!(world.told().len(), 1);
}

#[test]
fn a_job_that_is_seen_again_while_its_claim_is_taken_is_ended_before_another_one_works() {
    let mut world = submitted(Some(Seen::Running));
    world.claims_are_away = true;
    not_seen(&mut world);
    world.now = Millis(world.now.0 + 60_000);
    not_seen(&mut world);
    assert_eq!(given_up(&world), None, "its claim is being taken");
    world.seen("NERSC", Seen::Running);
    let (identity, _) = world.intents.last().unwrap();
    world.tell(Input::Fenced { job: identity.name(), claimed: true });
    world.plan();
    assert!(given_up(&world).is_some());
    let ended: Vec<Ending> = world.ended.iter().map(|(_, how)| *how).collect();
    assert_eq!(ended, [Ending::Cancel]);
}
