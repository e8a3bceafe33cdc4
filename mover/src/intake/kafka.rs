//! Intake from Kafka: hands the group's records to the owner one after the other. Where reading begins is told by the
//! journal's positions, never by the group's. Tells the owner once when all that was there at the start has been given.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use lightrail_topics::Record;
use lightrail_topics::kafka::{Admin, Connection, KafkaError, KafkaEvent, fold_to_end};
use tokio::sync::mpsc;

use crate::owner::Input;

/// A topic's full name and a partition of it.
type Partition = (String, i32);

/// What of a partition's end is looked through first for its last record: behind that there may be markers of transactions.
const TAIL: i64 = 500;

/// Why intake has ended.
#[derive(Debug)]
pub enum IntakeEnd {
    /// Nobody takes records any more.
    Stopped,
    /// Somebody has joined under our name: another process, or our own client after it lost its session.
    Fenced(String),
    /// A position lies outside its partition, or the client can do no more.
    Failed(KafkaError),
}

/// Feeds records to the owner until the group or the owner ends. `last` tells the offset of the last record that each
/// partition had at the start, where there are some to be read.
pub async fn feed(
    mut events: mpsc::Receiver<KafkaEvent>,
    inputs: mpsc::Sender<Input>,
    last: impl Future<Output = HashMap<Partition, i64>>,
) -> IntakeEnd {
    let mut last = pin!(last);
    let mut behind = Some(Behind::default());
    loop {
        if behind.as_ref().is_some_and(Behind::is_over) {
            behind = None;
            if inputs.send(Input::CaughtUp).await.is_err() {
                return IntakeEnd::Stopped;
            }
        }
        let event = tokio::select! {
            biased;
            known = &mut last, if behind.as_ref().is_some_and(|behind| behind.last.is_none()) => {
                if let Some(behind) = &mut behind {
                    behind.last = Some(known);
                }
                continue;
            }
            event = events.recv() => event,
        };
        let Some(event) = event else { return IntakeEnd::Stopped };
        match event {
            KafkaEvent::Record(record) => {
                if let Some(behind) = &mut behind {
                    behind.give(&record);
                }
                if inputs.send(Input::Record(record)).await.is_err() {
                    return IntakeEnd::Stopped;
                }
            }
            KafkaEvent::Assigned(partitions) => {
                for (topic, partition, position) in partitions {
                    tracing::info!(topic, partition, position, "reading begins");
                }
            }
            KafkaEvent::Revoked(partitions) => {
                tracing::warn!(partitions = partitions.len(), "partitions taken away");
            }
            KafkaEvent::Fault(error) if error.is_retriable() => {
                tracing::warn!(error = %error, "kafka is troubled; reading goes on by itself");
            }
            KafkaEvent::Fault(error) => return IntakeEnd::Failed(error),
            KafkaEvent::Fenced(who) => return IntakeEnd::Fenced(who),
        }
    }
}

/// The offset of the last record that each partition of `topics` has now, of those that have one at or after its position.
/// Asks until Kafka answers.
pub(crate) async fn last_records(
    connection: Connection,
    topics: Vec<String>,
    positions: HashMap<Partition, i64>,
) -> HashMap<Partition, i64> {
    let admin = Admin::new(&connection, Duration::from_secs(10));
    let reader = connection.named(format!("{}-ends", connection.client_id));
    let mut wait = Duration::from_millis(250);
    loop {
        match look_for_last(&reader, &admin, &topics, &positions).await {
            Ok(last) => return last,
            Err(error) => tracing::warn!(%error, "ends of the followed topics are not known yet"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(5));
    }
}

async fn look_for_last(
    reader: &Connection,
    admin: &Admin,
    topics: &[String],
    positions: &HashMap<Partition, i64>,
) -> Result<HashMap<Partition, i64>, KafkaError> {
    let mut ends = BTreeMap::new();
    for topic in topics {
        for (partition, first, end) in admin.watermarks(topic).await? {
            let partition = (topic.clone(), partition);
            let position = positions.get(&partition).copied().unwrap_or(first).max(first);
            ends.insert(partition, (position, end));
        }
    }
    let mut last = HashMap::new();
    for tail in [TAIL, i64::MAX] {
        let is_wanted =
            |partition: &Partition, position, end| position < end && !last.contains_key(partition);
        let wanted: BTreeMap<Partition, i64> = ends
            .iter()
            .filter(|(partition, (position, end))| is_wanted(partition, position, end))
            .map(|(partition, (position, end))| (partition.clone(), end.saturating_sub(tail).max(*position)))
            .collect();
        let mut from: BTreeMap<Partition, i64> =
            ends.iter().map(|(partition, (_, end))| (partition.clone(), *end)).collect();
        from.extend(wanted.clone());
        let mut topics: Vec<String> = wanted.keys().map(|(topic, _)| topic.clone()).collect();
        topics.dedup();
        let note = move |last: &mut HashMap<Partition, i64>, record: Record| {
            let partition = (record.topic.to_string(), record.partition);
            if wanted.contains_key(&partition) {
                last.insert(partition, record.offset);
            }
        };
        last = fold_to_end(reader, &topics, &from, Duration::from_secs(90), last.clone(), note).await?;
    }
    Ok(last)
}

/// What has been given of the records that were there at the start.
#[derive(Debug, Default)]
struct Behind {
    given: HashMap<Partition, i64>,
    /// The last ones that were there, once they are known.
    last: Option<HashMap<Partition, i64>>,
}

impl Behind {
    fn give(&mut self, record: &Record) {
        self.given.insert((record.topic.to_string(), record.partition), record.offset);
    }

    fn is_over(&self) -> bool {
        let is_given = |(partition, last): (&Partition, &i64)| {
            self.given.get(partition).is_some_and(|given| given >= last)
        };
        self.last.as_ref().is_some_and(|last| last.iter().all(is_given))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn record(topic: &str, partition: i32, offset: i64) -> KafkaEvent {
        KafkaEvent::Record(Record {
            topic: Arc::from(topic),
            partition,
            offset,
            key: None,
            value: None,
            headers: Vec::new(),
            timestamp: None,
        })
    }

    /// What the owner is told, in letters, of two partitions that end at 7 and 3 at the start.
    async fn told(before: &[(&str, i32, i64)], after: &[(&str, i32, i64)]) -> String {
        let (events, receiver) = mpsc::channel(100);
        let (inputs, mut owner) = mpsc::channel(100);
        let (know, known) = tokio::sync::oneshot::channel();
        let feeding = tokio::spawn(feed(receiver, inputs, async { known.await.unwrap_or_default() }));
        let give = async |records: &[(&str, i32, i64)]| {
            for (topic, partition, offset) in records {
                let _ = events.send(record(topic, *partition, *offset)).await;
            }
        };
        let mut told = String::new();
        give(before).await;
        for _ in before {
            told.push(letter(owner.recv().await.as_ref()));
        }
        let last = [(("runs".to_owned(), 0), 7), (("files".to_owned(), 1), 3)];
        let _ = know.send(last.into());
        give(after).await;
        drop(events);
        assert!(matches!(feeding.await, Ok(IntakeEnd::Stopped)));
        while let Some(input) = owner.recv().await {
            told.push(letter(Some(&input)));
        }
        told
    }

    fn letter(input: Option<&Input>) -> char {
        match input {
            Some(Input::Record(_)) => 'r',
            Some(Input::CaughtUp) => 'C',
            _ => '?',
        }
    }

    #[tokio::test]
    async fn the_owner_is_told_once_when_all_of_before_the_start_was_given() {
        let all = [("runs", 0, 6), ("files", 1, 3), ("runs", 0, 7), ("runs", 0, 8), ("files", 1, 4)];
        assert_eq!(told(&[], &all).await, "rrrCrr");
        assert_eq!(told(&all[..2], &all[2..]).await, "rrrCrr");
        assert_eq!(
            told(&all, &[("runs", 0, 9)]).await.matches('C').count(),
            1,
            "all was given before it was known"
        );
        // A position of another partition of the same topic says nothing; one that was compacted away is passed.
        assert_eq!(told(&[], &[("runs", 1, 7), ("files", 1, 4), ("files", 0, 9)]).await, "rrr");
        assert_eq!(told(&[], &[("runs", 0, 9), ("files", 1, 4)]).await, "rrC");
    }
}
