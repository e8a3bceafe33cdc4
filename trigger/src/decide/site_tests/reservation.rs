//! Who asks for a site's reservation, and who goes without: as many as there is room for, whenever they are intended.

use lightrail_topics::events::Class;

use super::*;
use crate::decide::room::Room;

/// NERSC's reservation has room for two of the four jobs that it takes at once.
fn room_for_two() -> World {
    let limits = Limits { reserved: [(site("NERSC"), 2)].into(), ..limits() };
    World::of(&rule(&["NERSC"], vec![task("work", command())]), limits)
}

/// Of each intent, in order, whether it goes without the reservation.
fn spilled(world: &World) -> Vec<bool> {
    let of = |step: &JobStep| match step {
        JobStep::Intended { spills, .. } => *spills,
        step => panic!("{step:?}"),
    };
    world.intents.iter().map(|(_, step)| of(step)).collect()
}

/// The job of an intent is done.
fn done(world: &mut World, intent: usize) {
    let name = world.intents[intent].0.name();
    let seen = Seen::Ended { end: JobEnd::Done, exit: Some(0) };
    let sighting = Sighting { name: name.clone(), id: world.queued[&name].clone(), seen };
    world.tell(Input::Looked { site: site("NERSC"), asked: vec![name], seen: vec![sighting] });
    world.plan();
}

#[test]
fn of_those_that_come_at_once_as_many_ask_for_the_reservation_as_it_has_room_for() {
    let mut world = room_for_two();
    for number in 1..=4 {
        world.lands(number, "NERSC", 10);
    }
    world.plan();
    assert_eq!(spilled(&world), [false, false, true, true]);
}

#[test]
fn room_in_a_reservation_is_the_next_ones_and_who_went_without_takes_none() {
    let mut world = room_for_two();
    for number in 1..=3 {
        world.lands(number, "NERSC", 10);
        world.plan();
    }
    assert_eq!(spilled(&world), [false, false, true]);
    // The second one ends: one of both is left, and the one without.
    done(&mut world, 1);
    world.lands(4, "NERSC", 10);
    world.plan();
    assert_eq!(spilled(&world)[3..], [false]);
    done(&mut world, 2);
    world.lands(5, "NERSC", 10);
    world.plan();
    assert_eq!(spilled(&world)[4..], [true], "the one without has ended, and both of the others are there");
}

#[test]
fn what_is_reprocessed_takes_no_place_of_a_limited_reservation() {
    let mut room = Room { reserved: Some(1), ..Room::default() };
    assert!(room.spills(Class::Reprocess));
    assert_eq!([room.spills(Class::Live), room.spills(Class::Live)], [false, true]);
    assert!(!Room::default().spills(Class::Reprocess), "of one without a limit it does");
}
