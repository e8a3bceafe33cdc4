//! Whether another process works in our slot, told by what is seen of the slot's members in our groups after our own takers
//! have ended. Pure: a look comes with its time; nobody is asked here.
//!
//! Kafka goes on showing a static member under the client id of the one whose place it took, so that only its staying tells
//! that somebody lives. What our own client has left behind stays too, but not for long once its group is at rest: while a
//! join is under way, such as one that waits for a member that is dead, the group keeps whoever has asked to join, alive or not.

use std::collections::HashMap;
use std::time::Duration;

use lightrail_topics::kafka::Member;

/// What a look at the slot's members tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// Nobody is there.
    Free,
    /// Somebody is there who may be what our own client has left behind.
    Unclear,
    /// This member lives, and is not ours.
    Taken(String),
}

/// Looks at the slot's members, in order.
#[derive(Debug)]
pub(super) struct Looks {
    /// What nobody keeps alive is gone after so long.
    forgotten: Duration,
    /// Since when each member has been in a group at rest.
    since: HashMap<String, Duration>,
}

/// For the group's own slowness.
const SLACK: Duration = Duration::from_secs(4);

impl Looks {
    /// Nobody has looked yet. A second session is for a group that another broker takes over, which counts from its beginning.
    pub(super) fn new(session: Duration) -> Self {
        Self { forgotten: 2 * session + SLACK, since: HashMap::new() }
    }

    /// The slot's members of all our groups, as they were seen at `now`.
    pub(super) fn look(&mut self, now: Duration, members: &[Member]) -> Slot {
        self.since.retain(|id, _| members.iter().any(|member| member.at_rest && member.id == *id));
        for member in members.iter().filter(|member| member.at_rest) {
            let since = *self.since.entry(member.id.clone()).or_insert(now);
            if now.saturating_sub(since) >= self.forgotten {
                return Slot::Taken(member.id.clone());
            }
        }
        if members.is_empty() { Slot::Free } else { Slot::Unclear }
    }

    /// Nothing could be seen: a broker that comes back begins to count sessions anew.
    pub(super) fn failed(&mut self) {
        self.since.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: Duration = Duration::from_secs(3);

    fn member(id: &str, at_rest: bool) -> Member {
        Member { id: id.to_owned(), client_id: "w@host".to_owned(), host: "/127.0.0.1".to_owned(), at_rest }
    }

    /// What looks tell that come every second, each with its members.
    fn told(looks: impl IntoIterator<Item = Vec<Member>>) -> Slot {
        let mut watch = Looks::new(SESSION);
        let mut told = Slot::Unclear;
        for (second, members) in looks.into_iter().enumerate() {
            told = watch.look(Duration::from_secs(second as u64), &members);
            if told != Slot::Unclear {
                break;
            }
        }
        told
    }

    #[test]
    fn nobody_is_there_once_what_was_left_behind_is_forgotten() {
        assert_eq!(told([vec![]]), Slot::Free);
        let left = || vec![member("w-1", true)];
        assert_eq!(told([left(), left(), left(), left(), vec![]]), Slot::Free);
    }

    #[test]
    fn who_stays_in_a_group_at_rest_lives() {
        assert_eq!(told((0..60).map(|_| vec![member("w-1", true)])), Slot::Taken("w-1".to_owned()));
        // In one of the groups is enough.
        let both = || vec![member("w-1", false), member("w-2", true)];
        assert_eq!(told((0..60).map(|_| both())), Slot::Taken("w-2".to_owned()));
    }

    #[test]
    fn a_join_that_waits_for_somebody_dead_keeps_us_in_the_group_and_is_nobody_else() {
        // Our rejoin is under way when our taker ends, and the group waits out the session of another member first, however
        // long that is; then our own.
        let waits = (0..40).map(|_| vec![member("w-1", false)]);
        let then = (0..3).map(|_| vec![member("w-1", true)]);
        assert_eq!(told(waits.chain(then).chain([vec![]])), Slot::Free);
    }

    #[test]
    fn each_joining_and_each_look_that_fails_begins_anew() {
        let now_and_then = (0..60).map(|second| vec![member("w-1", second % 9 != 0)]);
        assert_eq!(told(now_and_then), Slot::Unclear);
        let others = (0..60).map(|second| vec![member(&format!("w-{}", second / 9), true)]);
        assert_eq!(told(others), Slot::Unclear);
        let mut watch = Looks::new(SESSION);
        for second in 0..60 {
            if second % 9 == 0 {
                watch.failed();
            }
            assert_eq!(watch.look(Duration::from_secs(second), &[member("w-1", true)]), Slot::Unclear);
        }
    }
}
