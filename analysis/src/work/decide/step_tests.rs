//! One decider, step by step: what it answers to each event, where the order of a few of them matters.

use std::time::Duration;

use super::*;

const LIMIT: Duration = Duration::from_secs(1);

fn given(decider: &mut Decider, lane: Lane) -> Vec<Action> {
    let start = Start { partition: 0, next: 0, note: Note::CLEAN };
    let actions = decider.step(Duration::ZERO, Event::Given(lane, vec![start]));
    assert!(matches!(&actions[..], [Action::Commit(_)]), "it says that it is there: {actions:?}");
    decider.step(Duration::ZERO, Event::Committed)
}

fn arrived(lane: Lane, ticket: Ticket) -> Event {
    let offset = i64::try_from(ticket).unwrap();
    Event::Arrived { lane, partition: 0, offset, ticket, done: false }
}

fn read(ticket: Ticket) -> Event {
    Event::Read { ticket, limit: LIMIT }
}

#[test]
fn one_image_is_read_worked_and_committed_without_waiting_for_others() {
    let mut decider = Decider::new(Settings::default());
    given(&mut decider, Lane::Live);
    let at = Duration::from_millis(5);
    assert_eq!(decider.step(at, arrived(Lane::Live, 1)), [Action::Read(1)]);
    assert_eq!(decider.step(at, read(1)), [Action::Compute(1)]);
    let actions = decider.step(at, Event::Ended(vec![1]));
    let [Action::Commit(commit)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!((&commit.tickets[..], commit.positions[0].1), (&[1][..], 2));
}

#[test]
fn results_are_gathered_while_images_wait_and_the_last_ones_do_not_wait() {
    let mut decider = Decider::new(Settings { ahead: 1, ..Settings::default() });
    given(&mut decider, Lane::Live);
    let at = Duration::from_millis(5);
    for ticket in 1..=7 {
        decider.step(at, arrived(Lane::Live, ticket));
    }
    decider.step(at, read(1));
    assert_eq!(decider.step(at, Event::Ended(vec![1])), [Action::Read(2)], "five more wait for the next");
    let gathered = Duration::from_millis(5 * 4);
    assert_eq!(decider.wake_at(), Some(gathered));
    let actions = decider.step(gathered, Event::Tick);
    assert!(matches!(&actions[..], [Action::Commit(commit)] if commit.tickets == [1]), "{actions:?}");
}

#[test]
fn nothing_is_committed_for_what_waits_behind_enough_that_may_be_begun() {
    let mut decider = Decider::new(Settings { ahead: 1, ..Settings::default() });
    given(&mut decider, Lane::Live);
    let at = Duration::from_millis(5);
    // More than the note on Kafka lets be begun.
    let actions: Vec<Action> =
        (1..=20).flat_map(|ticket| decider.step(at, arrived(Lane::Live, ticket))).collect();
    assert_eq!(actions, [Action::Read(1)], "and no transaction that would hold no result");
}

#[test]
fn where_no_image_waits_no_result_does() {
    let mut decider = Decider::new(Settings::default());
    given(&mut decider, Lane::Live);
    let at = Duration::from_millis(5);
    decider.step(at, arrived(Lane::Live, 1));
    decider.step(at, arrived(Lane::Live, 2));
    decider.step(at, read(1));
    decider.step(at, read(2));
    let actions = decider.step(at, Event::Ended(vec![1]));
    let [Action::Compute(2), Action::Commit(commit)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(commit.tickets, [1]);
    assert_eq!(decider.step(at, Event::Ended(vec![2])), [], "one transaction at a time");
    let actions = decider.step(at, Event::Committed);
    assert!(matches!(&actions[..], [Action::Commit(commit)] if commit.tickets == [2]), "{actions:?}");
}

#[test]
fn results_are_not_gathered_while_work_waits_for_their_commit() {
    let mut decider = Decider::new(Settings { ahead: 100, ..Settings::default() });
    given(&mut decider, Lane::Live);
    // As many as the note on Kafka lets be begun, and one more.
    let begun: Vec<Action> =
        (1..8).flat_map(|ticket| decider.step(Duration::ZERO, arrived(Lane::Live, ticket))).collect();
    assert_eq!(begun, (1..8).map(Action::Read).collect::<Vec<_>>());
    let actions = decider.step(Duration::ZERO, arrived(Lane::Live, 8));
    assert!(matches!(&actions[..], [Action::Commit(commit)] if commit.tickets.is_empty()), "{actions:?}");
}

#[test]
fn a_reprocess_batch_waits_for_live_images_and_for_the_live_groups_lag() {
    let mut decider = Decider::new(Settings::default());
    given(&mut decider, Lane::Live);
    given(&mut decider, Lane::Reprocess);
    let now = Duration::from_secs(5);
    assert_eq!(decider.step(now, arrived(Lane::Reprocess, 1)), [Action::Look, Action::Read(1)]);
    assert_eq!(decider.step(now, read(1)), [], "not before the lag is known");
    assert_eq!(decider.step(now, Event::Looked { lag: 7, workers: 2 }), [], "too far behind");
    assert_eq!(decider.step(now, arrived(Lane::Live, 2)), [Action::Read(2)]);
    let later = now + Duration::from_millis(600);
    assert_eq!(decider.step(later, Event::Tick), [], "a live image is here");
    assert_eq!(decider.step(later, read(2)), [Action::Compute(2)]);
    let actions = decider.step(later, Event::Ended(vec![2]));
    assert!(matches!(&actions[..], [Action::Look, Action::Commit(_)]), "{actions:?}");
    assert_eq!(decider.step(later, Event::Looked { lag: 1, workers: 2 }), [Action::Compute(1)]);
    // A live image that comes now is next, whatever of the reprocess lane is ready.
    assert_eq!(decider.step(later, arrived(Lane::Reprocess, 3)), [Action::Read(3)]);
    assert_eq!(decider.step(later, read(3)), []);
    assert_eq!(decider.step(later, arrived(Lane::Live, 4)), [Action::Read(4)]);
    assert_eq!(decider.step(later, read(4)), []);
    assert_eq!(decider.step(later, Event::Ended(vec![1])), [Action::Compute(4)]);
}

#[test]
fn a_slow_image_holds_up_its_own_partition_for_its_limit_only() {
    let mut decider = Decider::new(Settings::default());
    let starts = [0, 1].map(|partition| Start { partition, next: 0, note: Note::CLEAN });
    decider.step(Duration::ZERO, Event::Given(Lane::Live, starts.to_vec()));
    decider.step(Duration::ZERO, Event::Committed);
    let of =
        |partition, ticket| Event::Arrived { lane: Lane::Live, partition, offset: 0, ticket, done: false };
    decider.step(Duration::ZERO, of(0, 1));
    decider.step(Duration::ZERO, of(1, 2));
    decider.step(Duration::ZERO, read(1));
    decider.step(Duration::ZERO, read(2));
    assert_eq!(decider.wake_at(), Some(LIMIT));
    let actions = decider.step(LIMIT, Event::Tick);
    let [Action::TimedOut(1), Action::Compute(2), Action::Commit(commit)] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(commit.tickets, [1]);
    decider.step(LIMIT, Event::Committed);
    let actions = decider.step(LIMIT, Event::Ended(vec![2]));
    assert!(matches!(&actions[..], [Action::Commit(commit)] if commit.tickets == [2]), "{actions:?}");
    decider.step(LIMIT, Event::Committed);
    // The stage never comes back.
    let late = LIMIT + Settings::default().grace;
    let actions = decider.step(late, Event::Tick);
    assert!(matches!(&actions[..], [Action::Commit(_)]), "it leaves nothing behind: {actions:?}");
    assert_eq!(decider.step(late, Event::Committed), [Action::Left(Why::Stuck)]);
}

#[test]
fn who_waits_for_kafka_alone_is_not_woken_by_time_again_and_again() {
    let (mut decider, hand_over) = (Decider::new(Settings::default()), Settings::default().hand_over);
    given(&mut decider, Lane::Live);
    decider.step(Duration::ZERO, Event::Taken(Lane::Live));
    assert_eq!(decider.wake_at(), Some(hand_over));
    decider.step(hand_over, Event::Tick);
    assert_eq!(decider.wake_at(), None, "its last commit has no answer");
    assert_eq!(decider.step(hand_over, Event::Committed), [Action::Release(Lane::Live)]);
    assert_eq!(decider.wake_at(), None, "it is given no other partitions");
}

#[test]
fn who_is_asked_to_leave_finishes_what_is_begun_and_forgets_the_rest() {
    let mut decider = Decider::new(Settings { ahead: 1, ..Settings::default() });
    given(&mut decider, Lane::Live);
    decider.step(Duration::ZERO, arrived(Lane::Live, 1));
    decider.step(Duration::ZERO, arrived(Lane::Live, 2));
    assert_eq!(decider.step(Duration::ZERO, Event::Leave(Why::Asked)), [Action::Forget(2)]);
    assert_eq!(decider.step(Duration::ZERO, read(1)), [Action::Compute(1)]);
    let actions = decider.step(Duration::ZERO, Event::Ended(vec![1]));
    let [Action::Commit(commit)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(commit.positions, [(0, 2, Note { until: 2, ..Note::CLEAN })], "nothing is suspected");
    assert_eq!(decider.step(Duration::ZERO, Event::Committed), [Action::Left(Why::Asked)]);
}

/// Has a worker take a hundred images in each of four partitions, all at once, four at a time, and tells how many results each
/// transaction held.
#[test]
fn a_backlog_is_committed_in_few_transactions() {
    let mut decider = Decider::new(Settings { ahead: 8, threads: 4, ..Settings::default() });
    let starts = || (0..4).map(|partition| Start { partition, next: 0, note: Note::CLEAN }).collect();
    for lane in Lane::ALL {
        decider.step(Duration::ZERO, Event::Given(lane, starts()));
        decider.step(Duration::ZERO, Event::Committed);
    }
    let (mut commits, mut computing) = (Vec::new(), Vec::new());
    let mut step = |now: Duration, event: Event, computing: &mut Vec<Ticket>| {
        let mut actions = decider.step(now, event);
        while let Some(action) = actions.pop() {
            match action {
                Action::Read(ticket) => actions.extend(decider.step(now, read(ticket))),
                Action::Compute(ticket) => computing.push(ticket),
                Action::Commit(commit) => {
                    commits.push(commit.tickets.len());
                    actions.extend(decider.step(now, Event::Committed));
                }
                other => panic!("{other:?}"),
            }
        }
    };
    let mut now = Duration::from_millis(1);
    for ticket in 0..400 {
        let (partition, offset) =
            (i32::try_from(ticket / 100).unwrap(), i64::try_from(ticket % 100).unwrap());
        let event = Event::Arrived { lane: Lane::Live, partition, offset, ticket, done: false };
        step(now, event, &mut computing);
    }
    while !computing.is_empty() {
        now += Duration::from_millis(28);
        let ended = std::mem::take(&mut computing);
        step(now, Event::Ended(ended), &mut computing);
    }
    assert_eq!(commits.iter().sum::<usize>(), 400);
    let in_large_ones: usize = commits.iter().filter(|results| **results >= 30).sum();
    assert!(in_large_ones >= 250 && commits.len() <= 25, "{commits:?}");
}

/// A thousand images of one partition, four in a millisecond, while a transaction takes six: from the third on the next note is
/// there before the last is used up.
#[test]
fn the_threads_do_not_wait_for_the_note_of_a_backlog() {
    let mut decider = Decider::new(Settings { ahead: 8, threads: 4, ..Settings::default() });
    given(&mut decider, Lane::Live);
    let ms = Duration::from_millis;
    let (mut computing, mut answered_at, mut commits, mut waited) = (Vec::new(), None, 0, Vec::new());
    let mut actions: Vec<Action> = Vec::new();
    for ticket in 1..=1000 {
        actions.extend(decider.step(Duration::ZERO, arrived(Lane::Live, ticket)));
    }
    let mut done = 0;
    for now in (0_u64..).map(ms) {
        if answered_at.take_if(|at| now >= *at).is_some() {
            actions.extend(decider.step(now, Event::Committed));
        }
        while let Some(action) = actions.pop() {
            match action {
                Action::Read(ticket) => actions.extend(decider.step(now, read(ticket))),
                Action::Compute(ticket) => computing.push(ticket),
                Action::Commit(_) => {
                    commits += 1;
                    answered_at = Some(now + ms(6));
                }
                other => panic!("{other:?}"),
            }
        }
        if done == 1000 {
            break;
        }
        if computing.is_empty() {
            waited.push(commits);
        }
        done += computing.len();
        actions.extend(decider.step(now, Event::Ended(std::mem::take(&mut computing))));
    }
    assert!(waited.iter().all(|commit| *commit <= 3), "waited for these commits: {waited:?}");
}
