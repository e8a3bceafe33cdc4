//! Reading from positions of one's own, without a group: a stream, and everything up to a topic's present end.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError as RdError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Headers, Message as _};
use rdkafka::topic_partition_list::{Offset as RdOffset, TopicPartitionList};
use tokio::sync::mpsc;

use super::connection::Connection;
use super::context::{Context, Rebalances};
use super::error::KafkaError;
use super::probe::Probe;
use super::stall::Stall;
use crate::record::Record;
use crate::time::Millis;

/// Where reading of a partition begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offset {
    /// At this offset.
    At(i64),
    /// At the first.
    Beginning,
    /// After the last.
    End,
}

/// Whether messages of open and aborted transactions are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Only what is committed.
    ReadCommitted,
    /// Everything.
    ReadUncommitted,
}

impl Isolation {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::ReadCommitted => "read_committed",
            Self::ReadUncommitted => "read_uncommitted",
        }
    }
}

/// A manual assignment needs the name of a group, though none is joined and nothing is committed.
const NO_GROUP: &str = "lightrail-reader";
/// Records that wait between the reading thread and its user.
const CAPACITY: usize = 1024;

/// A stream of records from given positions.
#[derive(Debug)]
pub struct Reader {
    records: mpsc::Receiver<Result<Record, KafkaError>>,
}

impl Reader {
    /// Reads the partitions from the given positions. A position outside of what a partition holds comes as
    /// [`KafkaError::OutOfRange`] in the stream and ends it; faults that mend themselves come and do not end it.
    pub fn assign(
        connection: &Connection,
        positions: &[(String, i32, Offset)],
        isolation: Isolation,
    ) -> Result<Self, KafkaError> {
        let consumer = assigned(connection, positions, isolation, false)?;
        let positions = positions.to_vec();
        let connection = connection.clone();
        let (sender, records) = mpsc::channel(CAPACITY);
        spawn("kafka-reader", move || {
            let mut stall = Stall::default();
            while !sender.is_closed() {
                let item = match stall.look(&consumer, false) {
                    Err(stalled) => Err(stalled),
                    Ok(()) => match consumer.poll(Duration::from_millis(100)) {
                        None => continue,
                        Some(Ok(message)) => Ok(record(&message)),
                        Some(Err(error)) => Err(meaning(&connection, &consumer, &positions, &error)),
                    },
                };
                let ends = item.as_ref().is_err_and(|error| !error.is_retriable());
                if sender.blocking_send(item).is_err() || ends {
                    return;
                }
            }
        })?;
        Ok(Self { records })
    }

    /// The next record; `None` after an error that ends the stream. Can be cancelled without loss.
    pub async fn next(&mut self) -> Option<Result<Record, KafkaError>> {
        self.records.recv().await
    }

    /// The next record, if it has come already.
    pub fn next_ready(&mut self) -> Option<Result<Record, KafkaError>> {
        self.records.try_recv().ok()
    }
}

impl futures::Stream for Reader {
    type Item = Result<Record, KafkaError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        self.records.poll_recv(cx)
    }
}

/// Everything committed on `topics` up to the end that they have at the call, from the positions in `from` (those missing
/// there: from the beginning). Order holds inside a partition; topics come one after the other.
///
/// Other producers' open transactions hide what lies behind them: they are waited for up to `limit`, then
/// [`KafkaError::OpenTransaction`] names the partition. One's own predecessor is fenced first, which ends its own.
pub async fn read_to_end(
    connection: &Connection,
    topics: &[String],
    from: &BTreeMap<(String, i32), i64>,
    limit: Duration,
) -> Result<Vec<Record>, KafkaError> {
    fold_to_end(connection, topics, from, limit, Vec::new(), Vec::push).await
}

/// The same for what need not or cannot be held in memory: `take` has each record once, on a thread of the reading.
pub async fn fold_to_end<T: Send + 'static>(
    connection: &Connection,
    topics: &[String],
    from: &BTreeMap<(String, i32), i64>,
    limit: Duration,
    mut into: T,
    mut take: impl FnMut(&mut T, Record) + Send + 'static,
) -> Result<T, KafkaError> {
    let (connection, topics, from) = (connection.clone(), topics.to_vec(), from.clone());
    let deadline = Instant::now() + limit;
    let reading = tokio::task::spawn_blocking(move || {
        for topic in &topics {
            one_topic(&connection, topic, &from, limit, deadline, &mut |record| take(&mut into, record))?;
        }
        Ok(into)
    });
    reading.await.map_err(|error| KafkaError::Fatal(format!("reading thread: {error}")))?
}

/// One topic at a time: librdkafka tells the end of a partition without its topic.
fn one_topic(
    connection: &Connection,
    topic: &str,
    from: &BTreeMap<(String, i32), i64>,
    limit: Duration,
    deadline: Instant,
    take: &mut dyn FnMut(Record),
) -> Result<(), KafkaError> {
    let left = || deadline.saturating_duration_since(Instant::now());
    let written = Probe::new(connection, Isolation::ReadUncommitted, None, left())?;
    let mut open: BTreeMap<i32, i64> = BTreeMap::new();
    let mut positions = Vec::new();
    let partitions = written.partitions(topic)?;
    if partitions.is_empty() {
        return Err(KafkaError::UnknownTopic(topic.to_owned()));
    }
    for partition in partitions {
        let (first, end) = written.watermarks(topic, partition)?;
        let position = from.get(&(topic.to_owned(), partition)).copied();
        if let Some(position) = position.filter(|position| !(first..=end).contains(position)) {
            return Err(KafkaError::OutOfRange { topic: topic.to_owned(), partition, position, first, end });
        }
        if position.unwrap_or(first) < end {
            positions.push((topic.to_owned(), partition, Offset::At(position.unwrap_or(first))));
            open.insert(partition, end);
        }
    }
    if positions.is_empty() {
        return Ok(());
    }
    // A little more, so that running out of time is told as what it is: waiting for a transaction.
    let visible = Probe::new(connection, Isolation::ReadCommitted, None, left() + Duration::from_secs(5))?;
    // Once the last stable offset has passed the end, nothing before it can still change.
    for (&partition, &end) in &open {
        while visible.watermarks(topic, partition)?.1 < end {
            if left().is_zero() {
                return Err(KafkaError::OpenTransaction { topic: topic.to_owned(), partition, limit });
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
    let consumer = assigned(connection, &positions, Isolation::ReadCommitted, true)?;
    while !open.is_empty() {
        if left().is_zero() {
            return Err(KafkaError::Timeout { what: format!("reading {topic} to its end"), limit });
        }
        match consumer.poll(left().min(Duration::from_millis(200))) {
            None => {}
            Some(Ok(message)) => {
                let record = record(&message);
                let end = open.get(&record.partition).copied();
                if end.is_some_and(|end| record.offset < end) {
                    if end == Some(record.offset + 1) {
                        open.remove(&record.partition);
                    }
                    take(record);
                } else {
                    open.remove(&record.partition);
                }
            }
            // Behind the last record there may be markers of transactions only.
            Some(Err(RdError::PartitionEOF(partition))) => drop(open.remove(&partition)),
            Some(Err(error)) => {
                let error = meaning(connection, &consumer, &positions, &error);
                if matches!(error, KafkaError::Authentication(_)) || !error.is_retriable() {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

pub(super) fn assigned(
    connection: &Connection,
    positions: &[(String, i32, Offset)],
    isolation: Isolation,
    tell_ends: bool,
) -> Result<BaseConsumer<Context>, KafkaError> {
    let mut config = connection.config()?;
    config
        .set("group.id", NO_GROUP)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", isolation.as_str())
        .set("enable.partition.eof", if tell_ends { "true" } else { "false" })
        // A partition's end is told by a fetch that has waited for more in vain.
        .set("fetch.wait.max.ms", if tell_ends { "10" } else { "100" })
        // Who reads to an end has a limit; who reads on looks whether it is still fetched.
        .set("statistics.interval.ms", if tell_ends { "0" } else { "5000" });
    let consumer: BaseConsumer<Context> = config
        .create_with_context(Context::new(&connection.client_id))
        .map_err(|error| KafkaError::settings(&error))?;
    let mut list = TopicPartitionList::new();
    for (topic, partition, offset) in positions {
        let offset = match offset {
            Offset::At(offset) => RdOffset::Offset(*offset),
            Offset::Beginning => RdOffset::Beginning,
            Offset::End => RdOffset::End,
        };
        list.add_partition_offset(topic, *partition, offset)
            .map_err(|error| KafkaError::of("assignment", &error))?;
    }
    consumer.assign(&list).map_err(|error| KafkaError::of("assignment", &error))?;
    Ok(consumer)
}

/// The meaning of an error of a consumer that began at `positions`.
fn meaning(
    connection: &Connection,
    consumer: &BaseConsumer<Context>,
    positions: &[(String, i32, Offset)],
    error: &RdError,
) -> KafkaError {
    if error.rdkafka_error_code() == Some(Code::AutoOffsetReset) {
        let positions = positions.iter().filter_map(|(topic, partition, offset)| match offset {
            Offset::At(at) => Some((topic.as_str(), *partition, *at)),
            Offset::Beginning | Offset::End => None,
        });
        return out_of_range(connection, positions);
    }
    consumer.context().refusal().unwrap_or_else(|| KafkaError::of("reading", error))
}

/// Which of the positions is outside of what its partition holds. librdkafka says only that one is.
pub(super) fn out_of_range<'a>(
    connection: &Connection,
    positions: impl Iterator<Item = (&'a str, i32, i64)>,
) -> KafkaError {
    let find = || {
        let probe = Probe::new(connection, Isolation::ReadUncommitted, None, Duration::from_secs(10))?;
        for (topic, partition, position) in positions {
            let (first, end) = probe.watermarks(topic, partition)?;
            if !(first..=end).contains(&position) {
                let topic = topic.to_owned();
                return Ok(KafkaError::OutOfRange { topic, partition, position, first, end });
            }
        }
        Ok(KafkaError::Fatal("a position is outside of what its partition holds".to_owned()))
    };
    find().unwrap_or_else(|error: KafkaError| {
        KafkaError::Fatal(format!(
            "a position is outside of what its partition holds; which, is not known: {error}"
        ))
    })
}

pub(super) fn record(message: &BorrowedMessage<'_>) -> Record {
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
    });
    Record {
        topic: Arc::from(message.topic()),
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers,
        timestamp: message.timestamp().to_millis().map(Millis),
    }
}

pub(super) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), KafkaError> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body);
    thread.map(drop).map_err(|error| KafkaError::Fatal(format!("thread {name}: {error}")))
}

/// The last fault of a consumer's connection, or what `error` means.
pub(super) fn fault_or<R: Rebalances>(
    consumer: &BaseConsumer<Context<R>>,
    what: &str,
    error: &RdError,
) -> KafkaError {
    consumer.context().refusal().unwrap_or_else(|| KafkaError::of(what, error))
}
