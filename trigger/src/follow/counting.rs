//! How far results are counted: said on `jobs` from time to time in the decider's own transactions, so that a start reads only
//! what came since. A message holds every count that has changed since the one before, so all of them in their order, and the
//! results behind the last one's positions, give what reading the topic from its beginning would.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lightrail_topics::events::{Counted, ReadUpTo, ResultsOf};
use lightrail_topics::kafka::{Connection, KafkaError, fold_to_end};
use lightrail_topics::{Event, Millis, Record, RunInTrial, Topic, Topics, decode};

use crate::decide::{Book, Input};

/// Said again after so many results,
const EVERY: u64 = 5_000;
/// or after this time, if there was any.
const AT_LEAST_EVERY: Duration = Duration::from_secs(300);
/// Counts in one message, which a broker must take.
const IN_ONE: usize = 2_000;

/// How far is counted, and what was not said yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Counting {
    number: u64,
    next: BTreeMap<i32, i64>,
    changed: BTreeSet<RunInTrial>,
    unsaid: u64,
    said: Option<Millis>,
}

/// What was said last.
#[derive(Debug, Default)]
pub(super) struct Last {
    pub(super) counting: Counting,
    pub(super) results: Vec<ResultsOf>,
}

/// All that was ever said of results' counts; none where nothing was.
pub(super) async fn last(
    connection: &Connection,
    topics: &Topics,
    limit: Duration,
) -> Result<Option<Last>, KafkaError> {
    let ours = topics.clone();
    let take = move |all: &mut BTreeMap<u64, Vec<Counted>>, record: Record| {
        // Most are steps of jobs, and their keys say so.
        let is_count = record.key.as_deref().is_some_and(|key| key.starts_with(b"counted@"));
        if let (true, Ok(Event::Counted(counted))) = (is_count, decode(&ours, &record))
            && counted.topic == Topic::Results.base_name()
        {
            all.entry(counted.number).or_default().push(counted);
        }
    };
    let jobs = [topics.name(Topic::Jobs)];
    let all = fold_to_end(connection, &jobs, &BTreeMap::new(), limit, BTreeMap::new(), take).await?;
    Ok(folded(all.into_values().flatten()))
}

/// Messages in the order of their numbers.
fn folded(all: impl Iterator<Item = Counted>) -> Option<Last> {
    let mut counts: BTreeMap<RunInTrial, u64> = BTreeMap::new();
    let mut last = None;
    for counted in all {
        for of in counted.results {
            counts.insert(RunInTrial { run: of.run, trial: of.trial }, of.results);
        }
        last = Some((counted.number, counted.positions));
    }
    let (number, positions) = last?;
    let next = positions.into_iter().map(|position| (position.partition, position.offset)).collect();
    let results = counts.into_iter().map(|(of, results)| ResultsOf { run: of.run, trial: of.trial, results });
    Some(Last { counting: Counting { number, next, ..Counting::default() }, results: results.collect() })
}

impl Last {
    /// Whether each of the topic's partitions, with its first offset and the one behind its last, still holds its position.
    pub(super) fn fit(&self, partitions: &BTreeMap<i32, (i64, i64)>) -> bool {
        // One that has come since was empty when the others were counted.
        self.counting.next.iter().all(|(partition, offset)| {
            partitions.get(partition).is_some_and(|(first, end)| (first..=end).contains(&offset))
        })
    }
}

impl Counting {
    /// Of a topic that nobody has counted.
    pub(super) fn new(partitions: &BTreeMap<i32, (i64, i64)>) -> Self {
        let next = partitions.iter().map(|(partition, (first, _))| (*partition, *first)).collect();
        Self { next, ..Self::default() }
    }

    /// Where reading goes on.
    pub(super) fn positions(&self) -> impl Iterator<Item = (i32, i64)> + '_ {
        self.next.iter().map(|(partition, next)| (*partition, *next))
    }

    /// A record was read and is in the book; those of other topics than `results` are passed over.
    pub(crate) fn taken(&mut self, record: &Record, results: &str, input: &Input) {
        let Input::Result(of) = input else { return };
        if *record.topic != *results {
            return;
        }
        self.next.insert(record.partition, record.offset + 1);
        self.unsaid += 1;
        if !self.changed.contains(of) {
            self.changed.insert(of.clone());
        }
    }

    /// What is to be said now, if anything is, all of it in one transaction; the book holds all that was taken.
    pub(crate) fn due(&self, book: &Book, now: Millis) -> Vec<Counted> {
        let is_late = self.said.is_none_or(|said| said.plus(AT_LEAST_EVERY) <= now);
        if self.unsaid == 0 || !(is_late || self.unsaid >= EVERY) {
            return Vec::new();
        }
        let position = |(partition, offset)| ReadUpTo { partition, offset };
        let positions: Vec<ReadUpTo> = self.positions().map(position).collect();
        let of =
            |of: &RunInTrial| ResultsOf { run: of.run.clone(), trial: of.trial, results: book.counts(of).1 };
        let counts: Vec<ResultsOf> = self.changed.iter().map(of).collect();
        let message = |(results, number): (&[ResultsOf], u64)| Counted {
            topic: Topic::Results.base_name().to_owned(),
            number,
            positions: positions.clone(),
            results: results.to_vec(),
            at: now,
        };
        counts.chunks(IN_ONE).zip(self.number + 1..).map(message).collect()
    }

    /// These were committed.
    pub(crate) fn said(&mut self, messages: &[Counted], now: Millis) {
        self.number = messages.last().map_or(self.number, |last| last.number);
        self.changed.clear();
        self.unsaid = 0;
        self.said = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lightrail_topics::TrialNumber;

    use super::*;
    use crate::decide::Limits;

    fn record(partition: i32, offset: i64) -> Record {
        let topic = Arc::from("results");
        Record { topic, partition, offset, key: None, value: None, headers: Vec::new(), timestamp: None }
    }

    fn book() -> Book {
        Book::new(Limits::default())
    }

    /// Whatever was read, said and read again, counts are those of reading all at once.
    #[test]
    fn counts_that_are_said_and_what_follows_are_all_there_is() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let of = |run: u32| RunInTrial {
                run: format!("mfxlv9518/{run}").parse().expect("a run"),
                trial: TrialNumber(3),
            };
            // By partition and offset, with holes where there are markers.
            let mut log: Vec<Vec<(i64, RunInTrial)>> = vec![Vec::new(); 3];
            let mut whole: BTreeMap<RunInTrial, u64> = BTreeMap::new();
            let mut said: Vec<Counted> = Vec::new();
            let ends = BTreeMap::from([(0, (0, i64::MAX)), (1, (0, i64::MAX)), (2, (0, i64::MAX))]);
            let (mut counting, mut books) = (Counting::new(&ends), book());
            for round in 0..300_i64 {
                let partition = random.usize(..3);
                let offset = log[partition].last().map_or(0, |(offset, _)| offset + 1 + random.i64(0..2));
                let result = of(random.u32(..5));
                *whole.entry(result.clone()).or_default() += 1;
                log[partition].push((offset, result.clone()));
                let record = record(i32::try_from(partition).unwrap(), offset);
                let input = Input::Result(result);
                counting.taken(&record, "results", &input);
                books.take(input, Millis(0));
                if random.u32(..20) == 0 {
                    let now = Millis(round * 1_000_000);
                    let messages = counting.due(&books, now);
                    assert!(!messages.is_empty());
                    counting.said(&messages, now);
                    said.extend(messages);
                    assert!(counting.due(&books, now).is_empty(), "nothing new is to be said");
                }
                if random.u32(..30) == 0 {
                    // Another one begins.
                    books = book();
                    let last = folded(said.iter().cloned());
                    assert!(last.as_ref().is_none_or(|last| last.fit(&ends)));
                    let (begun, counts) =
                        last.map_or((Counting::new(&ends), Vec::new()), |last| (last.counting, last.results));
                    counting = begun;
                    books.take(Input::Counted(counts), Millis(0));
                    let from: Vec<(i32, i64)> = counting.positions().collect();
                    for (partition, from) in from {
                        for (offset, result) in &log[usize::try_from(partition).unwrap()] {
                            if *offset >= from {
                                let input = Input::Result(result.clone());
                                counting.taken(&self::record(partition, *offset), "results", &input);
                                books.take(input, Millis(0));
                            }
                        }
                    }
                    for (of, count) in &whole {
                        assert_eq!(books.counts(of).1, *count, "seed {seed}, round {round}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_topic_that_was_made_anew_is_counted_anew() {
        let at = |offset| Last {
            counting: Counting { next: BTreeMap::from([(0, offset)]), ..Counting::default() },
            results: Vec::new(),
        };
        let ends = BTreeMap::from([(0, (10, 20)), (1, (0, 5))]);
        assert!(at(10).fit(&ends) && at(20).fit(&ends) && !at(9).fit(&ends) && !at(21).fit(&ends));
        assert!(!at(10).fit(&BTreeMap::from([(1, (0, 5))])));
    }
}
