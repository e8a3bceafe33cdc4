//! Allocations decide where work goes, those of jobs that are not over too.

use super::*;

/// Each run takes two nodes for an hour, and NERSC, which would be done first, has enough for one.
fn enough_for_one() -> World {
    let limits = Limits { allocation: [(site("NERSC"), 2 * 3600 + 1200)].into(), ..limits() };
    let mut world = World::of(&rule(&["NERSC", "OLCF"], vec![task("work", command())]), limits);
    measured(&mut world, &[("NERSC", 10, 5), ("OLCF", 10, 10)]);
    world
}

#[test]
fn an_allocation_that_is_spent_sends_work_elsewhere() {
    let mut world = enough_for_one();
    for number in [7, 8] {
        world.lands(number, "NERSC", 10);
        world.lands(number, "OLCF", 10);
        world.plan();
        world.seen(if number == 7 { "NERSC" } else { "OLCF" }, Seen::Running);
        world.wait(10);
        world.seen(
            if number == 7 { "NERSC" } else { "OLCF" },
            Seen::Ended { end: JobEnd::Done, exit: Some(0) },
        );
    }
    let told = ["live mfxx1/7/3 work attempt 1 at NERSC", "live mfxx1/8/3 work attempt 1 at OLCF"];
    assert_eq!(world.told(), told);
    assert!(world.why().contains("NERSC: has"), "{}", world.why());
}

#[test]
fn an_allocation_that_suffices_for_one_run_is_not_given_to_two_that_come_at_once() {
    let mut world = enough_for_one();
    for number in [7, 8] {
        world.lands(number, "NERSC", 10);
        world.lands(number, "OLCF", 10);
    }
    world.plan();
    let told = ["live mfxx1/7/3 work attempt 1 at NERSC", "live mfxx1/8/3 work attempt 1 at OLCF"];
    assert_eq!(world.told(), told);
    assert!(world.why().contains("NERSC: has 600 node-seconds left of its allocation, 7200 are needed"));
    // Nor to one that comes while the first is not over: it has spent nothing yet.
    world.lands(9, "NERSC", 10);
    world.lands(9, "OLCF", 10);
    world.plan();
    assert_eq!(world.told()[2..], ["live mfxx1/9/3 work attempt 1 at OLCF"]);
}
