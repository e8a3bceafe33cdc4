//! What index reads of Kafka: runs, files, trials and what is published, all to the present end, then as it comes. The topics
//! are the truth and are read whole at every start; no position is kept anywhere. Decides nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use lightrail_topics::kafka::{Connection, Isolation, KafkaError, Offset, Reader, fold_to_end};
use lightrail_topics::{Event, Record, RunInTrial, Topic, Topics, decode};

use super::board::Board;
use super::metric;

/// The most records that are taken in one step.
const AT_ONCE: usize = 10_000;

/// Follows the topics that index decides by.
#[derive(Debug)]
pub(super) struct Follower {
    reader: Reader,
}

impl Follower {
    /// Reads everything there is into the board, then begins to follow.
    pub(super) async fn begin(
        connection: &Connection,
        topics: &Topics,
        files: bool,
        board: &mut Board,
        limit: Duration,
    ) -> Result<Self, KafkaError> {
        let mut wanted = vec![Topic::Trials, Topic::ImagesIndexed, Topic::RunsAvailable];
        if files {
            wanted.push(Topic::FilesAvailable);
        }
        let names: Vec<String> = wanted.iter().map(|topic| topics.name(*topic)).collect();
        let admin = lightrail_topics::kafka::Admin::new(connection, limit);
        // Those that nothing was written to begin at their first offset.
        let mut next: BTreeMap<(String, i32), i64> = BTreeMap::new();
        for name in &names {
            for (partition, first, _) in admin.watermarks(name).await? {
                next.insert((name.clone(), partition), first);
            }
        }
        let into = (Vec::new(), next);
        let take = |(records, next): &mut (Vec<Record>, BTreeMap<(String, i32), i64>), record: Record| {
            next.insert((record.topic.to_string(), record.partition), record.offset + 1);
            records.push(record);
        };
        let (records, next) = fold_to_end(connection, &names, &BTreeMap::new(), limit, into, take).await?;
        for record in &records {
            take_record(topics, board, record);
        }
        let positions: Vec<(String, i32, Offset)> =
            next.into_iter().map(|((topic, partition), next)| (topic, partition, Offset::At(next))).collect();
        let reader = Reader::assign(connection, &positions, Isolation::ReadCommitted)?;
        Ok(Self { reader })
    }

    /// The next record, and those that have come with it, taken into the board. An error that ends following means to begin
    /// anew.
    pub(super) async fn next(&mut self, topics: &Topics, board: &mut Board) -> Result<(), KafkaError> {
        let mut next = self.reader.next().await;
        // Of a run of very many files each step costs as much as there are: one step for as many records as there are now.
        for _ in 0..AT_ONCE {
            match next {
                Some(Ok(record)) => take_record(topics, board, &record),
                Some(Err(error)) if error.is_retriable() => {
                    tracing::warn!(%error, "kafka does not answer well");
                }
                Some(Err(error)) => return Err(error),
                None => return Err(KafkaError::Fatal("reading has ended".to_owned())),
            }
            let Some(more) = self.reader.next_ready() else { break };
            next = Some(more);
        }
        Ok(())
    }
}

fn take_record(topics: &Topics, board: &mut Board, record: &Record) {
    match decode(topics, record) {
        Ok(Event::Run(event)) => board.run(&event),
        Ok(Event::File(event)) => board.file(&event),
        Ok(Event::Trial(trial)) => board.put_trial(trial),
        Ok(Event::Indexed(indexed)) => {
            let of = RunInTrial { run: indexed.run.clone(), trial: indexed.trial };
            board.kept.take(topics, record);
            board.touch(&of.run);
        }
        Ok(_) => {}
        Err(error) => {
            let (topic, partition, offset) = (&*record.topic, record.partition, record.offset);
            tracing::warn!(topic, partition, offset, why = error.reason(), "a message cannot be understood");
            metrics::counter!(metric::DEAD_LETTERS).increment(1);
        }
    }
}
