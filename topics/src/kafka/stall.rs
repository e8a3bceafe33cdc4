//! Finds a client that has stopped fetching. librdkafka (2.10 to 2.12 at least) forgets a broker that is missing in an answer
//! about the cluster, as a restarted one is missing in its own first answers, and makes a new handle for it when it comes
//! back; a partition that the same broker leads as before may stay with the old handle and is never fetched again, without
//! any error. Only a new client helps: who finds one ends with an error that says so. Never mends anything.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::context::{Context, Rebalances};
use super::error::KafkaError;

/// A topic's full name and a partition.
pub(super) type Place = (String, i32);

/// How long one answer about a partition's end is waited for.
const SLICE: Duration = Duration::from_secs(1);

/// What was seen of a client's fetching.
#[derive(Debug, Default)]
pub(super) struct Stall {
    /// Where each partition was to be fetched next when that was last said.
    last: BTreeMap<Place, i64>,
    /// The ends of those that had not moved then, as the broker has told them.
    ends: BTreeMap<Place, i64>,
}

impl Stall {
    /// Looks when the client's statistics have come again; while partitions are paused nothing is to be said. An error means
    /// that only a new client fetches on. Blocks for a round trip for each partition that does not move.
    pub(super) fn look<R: Rebalances>(
        &mut self,
        consumer: &BaseConsumer<Context<R>>,
        paused: bool,
    ) -> Result<(), KafkaError> {
        let Some(next) = consumer.context().take_fetching() else { return Ok(()) };
        if paused {
            *self = Self::default();
            return Ok(());
        }
        let idle = self.told(next).map_err(|(topic, partition)| {
            KafkaError::Fatal(format!("it fetches nothing more of {topic}/{partition}, where there is more"))
        })?;
        for place in idle {
            // Without an answer nothing is known; it is asked again.
            let Ok((_, end)) = consumer.fetch_watermarks(&place.0, place.1, SLICE) else { return Ok(()) };
            self.answered(place, end);
        }
        Ok(())
    }

    /// Takes where partitions are to be fetched next: those with nothing fetched that waits to be taken. Says which of them
    /// have not moved since the last time, or the first that has not moved though its end was known to be further then.
    fn told(&mut self, next: BTreeMap<Place, i64>) -> Result<Vec<Place>, Place> {
        let last = std::mem::replace(&mut self.last, next);
        let ends = std::mem::take(&mut self.ends);
        let mut idle = Vec::new();
        for (place, next) in &self.last {
            if last.get(place) != Some(next) {
                continue;
            }
            if ends.get(place).is_some_and(|end| next < end) {
                return Err(place.clone());
            }
            idle.push(place.clone());
        }
        Ok(idle)
    }

    /// Takes a partition's end, as far as it is visible.
    fn answered(&mut self, place: Place, end: i64) {
        self.ends.insert(place, end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(places: &[(i32, i64)]) -> BTreeMap<Place, i64> {
        places.iter().map(|(partition, next)| (of(*partition), *next)).collect()
    }

    fn of(partition: i32) -> Place {
        ("runs".to_owned(), partition)
    }

    #[test]
    fn a_partition_that_stands_before_its_end_for_two_looks_has_stalled() {
        let mut stall = Stall::default();
        assert_eq!(stall.told(next(&[(0, 7), (1, 9)])), Ok(vec![]));
        assert_eq!(stall.told(next(&[(0, 7), (1, 10)])), Ok(vec![of(0)]));
        stall.answered(of(0), 8);
        assert_eq!(stall.told(next(&[(0, 7), (1, 11)])), Err(of(0)));
    }

    #[test]
    fn who_stands_at_the_end_waits() {
        let mut stall = Stall::default();
        assert_eq!(stall.told(next(&[(0, 7)])), Ok(vec![]));
        for _ in 0..3 {
            assert_eq!(stall.told(next(&[(0, 7)])), Ok(vec![of(0)]));
            stall.answered(of(0), 7);
        }
    }

    #[test]
    fn what_came_between_two_looks_and_is_fetched_by_the_next_is_no_stall() {
        let mut stall = Stall::default();
        let _ = stall.told(next(&[(0, 7)]));
        let _ = stall.told(next(&[(0, 7)]));
        stall.answered(of(0), 8);
        assert_eq!(stall.told(next(&[(0, 8)])), Ok(vec![]));
    }

    #[test]
    fn what_was_taken_away_or_waits_to_be_taken_meanwhile_is_no_stall() {
        let mut stall = Stall::default();
        let _ = stall.told(next(&[(0, 7)]));
        let _ = stall.told(next(&[(0, 7)]));
        stall.answered(of(0), 8);
        assert_eq!(stall.told(next(&[])), Ok(vec![]));
        assert_eq!(stall.told(next(&[(0, 7)])), Ok(vec![]), "seen for the first time again");
    }

    #[test]
    fn a_partition_whose_end_is_not_known_is_asked_about_again() {
        let mut stall = Stall::default();
        let _ = stall.told(next(&[(0, 7)]));
        assert_eq!(stall.told(next(&[(0, 7)])), Ok(vec![of(0)]));
        assert_eq!(stall.told(next(&[(0, 7)])), Ok(vec![of(0)]));
    }
}
