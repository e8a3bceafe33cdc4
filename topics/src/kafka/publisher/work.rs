//! The publisher's thread: begin, send, wait for every delivery, commit; or abort. Each failure ends in one of the four
//! meanings of [`PublishError`], and after the last two nothing is tried any more.

mod mend;

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError as RdError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::history::End;
use super::{Batch, Placed, Stake, Timeouts};
use crate::kafka::connection::Connection;
use crate::kafka::context::Context;
use crate::kafka::error::{KafkaError, PublishError};
use crate::kafka::served::Served;
use crate::topic::Topics;

/// How long one blocking call lasts before faults and the deadline are looked at.
const SLICE: Duration = Duration::from_millis(500);

/// A producer that has lost a broker and then sends messages in vain that often, while its coordinator answers, is given up: as
/// with a consumer's, a partition may stay with a handle of its broker that is no more (see [`super::super::stall`]).
const GIVEN_UP_AFTER: u32 = 2;

/// What became of one message: which batch, which message of it, and where it is or why it is not.
struct Delivery {
    batch: u64,
    index: usize,
    outcome: Result<(i32, i64), Code>,
}

/// Reports deliveries to the publisher's thread the moment they come.
struct Reporting {
    common: Context,
    deliveries: Mutex<Sender<Delivery>>,
}

impl ClientContext for Reporting {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.common.log(level, facility, text);
    }

    fn error(&self, error: RdError, reason: &str) {
        self.common.error(error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.common.stats(statistics);
    }
}

impl ProducerContext for Reporting {
    type DeliveryOpaque = Box<(u64, usize)>;

    fn delivery(&self, result: &DeliveryResult<'_>, of: Self::DeliveryOpaque) {
        let outcome = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(Code::Unknown)),
        };
        let (batch, index) = *of;
        let deliveries = self.deliveries.lock().unwrap_or_else(PoisonError::into_inner);
        // The thread may be gone; then nobody waits.
        let _ = deliveries.send(Delivery { batch, index, outcome });
    }
}

pub(super) struct Work {
    producer: Served<Reporting>,
    deliveries: Receiver<Delivery>,
    topics: Topics,
    timeouts: Timeouts,
    batch: u64,
    connection: Connection,
    transactional_id: String,
    stakes: Vec<Stake>,
    initialised: bool,
    /// Whether a broker was lost in this producer's life.
    bereft: bool,
    /// Messages that were sent in vain until their time was over, since the last commit.
    late: u32,
    /// Set once: the producer can do no more, and says the same to every call.
    over: Option<PublishError>,
}

impl Work {
    pub(super) fn new(
        connection: &Connection,
        topics: &Topics,
        transactional_id: &str,
        timeouts: Timeouts,
        stakes: Vec<Stake>,
    ) -> Result<Self, KafkaError> {
        let mut config = connection.config()?;
        config
            .set("transactional.id", transactional_id)
            .set("transaction.timeout.ms", timeouts.transaction.as_millis().to_string())
            // Messages must not outlive the transaction that they belong to.
            .set("message.timeout.ms", timeouts.publish.min(timeouts.transaction).as_millis().to_string())
            // Long enough for a transaction's messages to travel together, not the first of them alone.
            .set("queue.buffering.max.ms", "0.5")
            // The coordinator refuses what begins while it still ends the transaction before, for a few milliseconds.
            .set("retry.backoff.ms", "5")
            // Topics are made with their settings by those who own them.
            .set("allow.auto.create.topics", "false")
            // The Java clients' partitioner: operators' tools put a key where we do.
            .set("partitioner", "murmur2_random")
            .set("statistics.interval.ms", "5000");
        let (sender, deliveries) = channel();
        let context =
            Reporting { common: Context::new(&connection.client_id), deliveries: Mutex::new(sender) };
        let producer = Served::start(&config, context)?;
        Ok(Self {
            producer,
            deliveries,
            topics: topics.clone(),
            timeouts,
            batch: 0,
            connection: connection.clone(),
            transactional_id: transactional_id.to_owned(),
            stakes,
            initialised: false,
            bereft: false,
            late: 0,
            over: None,
        })
    }

    pub(super) fn init(&mut self, limit: Duration) -> Result<(), PublishError> {
        self.usable()?;
        let deadline = Instant::now() + limit;
        self.connect(deadline);
        while !self.initialised {
            let slice = SLICE.min(deadline.saturating_duration_since(Instant::now()));
            let error = match self.producer.init_transactions(slice.max(Duration::from_millis(1))) {
                Ok(()) => {
                    self.producer.context().common.works();
                    self.initialised = true;
                    break;
                }
                Err(error) => error,
            };
            if let Some(refusal) = self.producer.context().common.refusal() {
                return Err(PublishError::Retriable(refusal));
            }
            let Step::Again = self.step(&error) else { return Err(self.over("init", &error)) };
            if Instant::now() >= deadline {
                let what = "init_transactions".to_owned();
                let fault = self.producer.context().common.fault();
                return Err(PublishError::Retriable(fault.unwrap_or(KafkaError::Timeout { what, limit })));
            }
        }
        self.may_mend(deadline);
        self.settle(deadline)
    }

    /// Waits until a broker is connected: where none is, librdkafka looks for the coordinator again only after half a second. The
    /// first answer may come from the bootstrap server's connection, which is closed thereafter; the second does not. What goes
    /// wrong here goes wrong again in what follows, and is told there.
    fn connect(&self, deadline: Instant) {
        for _ in 0..2 {
            let left = deadline.saturating_duration_since(Instant::now());
            let slice = SLICE.min(left).max(Duration::from_millis(1));
            if self.producer.client().fetch_metadata(Some("runs"), slice).is_err() {
                return;
            }
        }
    }

    pub(super) fn publish(&mut self, batch: &Batch) -> Result<Vec<Placed>, PublishError> {
        self.usable()?;
        if batch.messages.is_empty() && batch.positions.is_none() {
            return Ok(Vec::new());
        }
        let deadline = Instant::now() + self.timeouts.publish;
        self.batch += 1;
        if let Err(error) = self.producer.begin_transaction() {
            return Err(match self.step(&error) {
                Step::Over => self.over("begin", &error),
                Step::Again | Step::Abort => PublishError::Retriable(KafkaError::of("begin", &error)),
            });
        }
        match self.send(batch, deadline) {
            Ok(placed) => match batch.end {
                End::Commit => self.commit(deadline).map(|()| placed),
                End::Abort => self.abort(deadline).map(|()| placed),
            },
            Err(error) if error.needs_new_publisher() => Err(error),
            Err(error) => {
                self.abort(deadline + Duration::from_secs(5))?;
                if self.bereft && self.late >= GIVEN_UP_AFTER {
                    return Err(self.over("again", &RdError::MessageProduction(Code::MessageTimedOut)));
                }
                Err(error)
            }
        }
    }

    fn usable(&self) -> Result<(), PublishError> {
        self.over.clone().map_or(Ok(()), Err)
    }

    /// Messages and positions go their ways at the same time: to the partitions' leaders and to the group's coordinator.
    fn send(&mut self, batch: &Batch, deadline: Instant) -> Result<Vec<Placed>, PublishError> {
        let messages = &batch.messages;
        let names: Vec<String> = messages.iter().map(|message| self.topics.name(&message.channel)).collect();
        let mut places: Vec<Option<(i32, i64)>> = vec![None; messages.len()];
        let mut open = messages.len();
        for (index, name) in names.iter().enumerate() {
            loop {
                let Err(error) =
                    self.producer.send(self.record(batch, index, name)).map_err(|(error, _)| error)
                else {
                    break;
                };
                if error.rdkafka_error_code() != Some(Code::QueueFull) {
                    return Err(self.unsent(index, &error));
                }
                // Full: a delivery makes room.
                self.take_delivery(&mut places, &mut open, deadline)?;
            }
        }
        self.send_positions(batch, deadline)?;
        while open > 0 {
            self.take_delivery(&mut places, &mut open, deadline)?;
        }
        let all = names.into_iter().zip(places).filter_map(|(topic, place)| {
            let (partition, offset) = place?;
            Some(Placed { topic, partition, offset })
        });
        Ok(all.collect())
    }

    fn record<'a>(
        &self,
        batch: &'a Batch,
        index: usize,
        name: &'a str,
    ) -> BaseRecord<'a, str, [u8], Box<(u64, usize)>> {
        let message = &batch.messages[index];
        let mut headers = OwnedHeaders::new();
        let attributes = message.headers.headers();
        for (key, value) in &attributes {
            headers = headers.insert(Header { key, value: Some(value.as_bytes()) });
        }
        let mut record = BaseRecord::with_opaque_to(name, Box::new((self.batch, index))).headers(headers);
        record.partition = batch.partitions.as_ref().and_then(|partitions| partitions[index]);
        if !message.key.is_empty() {
            record = record.key(message.key.as_str());
        }
        if let Some(payload) = &message.payload {
            record = record.payload(payload.as_slice());
        }
        record
    }

    fn take_delivery(
        &mut self,
        places: &mut [Option<(i32, i64)>],
        open: &mut usize,
        deadline: Instant,
    ) -> Result<(), PublishError> {
        // librdkafka itself ends each message after `message.timeout.ms`; a little later we stop believing in it.
        let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_secs(2);
        match self.deliveries.recv_timeout(left) {
            Ok(delivery) if delivery.batch != self.batch => Ok(()),
            Ok(Delivery { index, outcome: Ok(place), .. }) => {
                places[index] = Some(place);
                *open -= 1;
                Ok(())
            }
            Ok(Delivery { index, outcome: Err(code), .. }) => {
                self.late += u32::from(code == Code::MessageTimedOut);
                Err(self.unsent(index, &RdError::MessageProduction(code)))
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                let (what, limit) = ("delivery".to_owned(), self.timeouts.publish);
                Err(PublishError::Retriable(KafkaError::Timeout { what, limit }))
            }
        }
    }

    /// What it means that a message was not sent.
    fn unsent(&mut self, index: usize, error: &RdError) -> PublishError {
        match error.rdkafka_error_code() {
            Some(Code::MessageSizeTooLarge | Code::InvalidMessage | Code::InvalidMessageSize) => {
                PublishError::Refused { index, why: error.to_string() }
            }
            _ if self.producer.client().fatal_error().is_some() => self.over("send", error),
            _ => {
                let fault = self.producer.context().common.fault();
                PublishError::Retriable(fault.unwrap_or_else(|| KafkaError::of("send", error)))
            }
        }
    }

    fn send_positions(&mut self, batch: &Batch, deadline: Instant) -> Result<(), PublishError> {
        let Some((positions, group)) = &batch.positions else { return Ok(()) };
        let mut list = TopicPartitionList::with_capacity(positions.len());
        for position in positions {
            let mut element = list.add_partition(&position.topic, position.partition);
            element
                .set_offset(Offset::Offset(position.next))
                .map_err(|error| PublishError::Retriable(KafkaError::of("positions", &error)))?;
            element.set_metadata(&position.note);
        }
        loop {
            let Err(error) = self.producer.send_offsets_to_transaction(&list, &group.0, SLICE) else {
                return Ok(());
            };
            match self.step(&error) {
                Step::Over => return Err(self.over("positions", &error)),
                Step::Again if Instant::now() < deadline => {}
                Step::Again | Step::Abort => {
                    return Err(PublishError::Retriable(KafkaError::of("positions", &error)));
                }
            }
        }
    }

    fn commit(&mut self, deadline: Instant) -> Result<(), PublishError> {
        self.producer.settle();
        loop {
            let Err(error) = self.producer.commit_transaction(SLICE) else {
                self.producer.context().common.works();
                self.late = 0;
                return Ok(());
            };
            match self.step(&error) {
                Step::Abort => {
                    self.abort(deadline + Duration::from_secs(5))?;
                    return Err(PublishError::Retriable(KafkaError::of("commit", &error)));
                }
                // The commit may be on its way: only the broker knows. Asked again until it says, or given up for good.
                Step::Again if Instant::now() < deadline => {}
                Step::Again | Step::Over => return Err(self.over("commit", &error)),
            }
        }
    }

    /// Takes the transaction back. If that is not confirmed in time the producer is given up: fencing will abort it.
    fn abort(&mut self, deadline: Instant) -> Result<(), PublishError> {
        loop {
            let Err(error) = self.producer.abort_transaction(SLICE) else { return Ok(()) };
            match self.step(&error) {
                Step::Again if Instant::now() < deadline => {}
                Step::Again | Step::Abort | Step::Over => return Err(self.over("abort", &error)),
            }
        }
    }

    fn step(&self, error: &RdError) -> Step {
        if self.producer.client().fatal_error().is_some() {
            return Step::Over;
        }
        match error {
            RdError::Transaction(error) if error.is_fatal() => Step::Over,
            RdError::Transaction(error) if error.txn_requires_abort() => Step::Abort,
            RdError::Transaction(error) if error.is_retriable() => Step::Again,
            // `flush` before the commit, out of time.
            RdError::Flush(_) => Step::Again,
            _ => match error.rdkafka_error_code() {
                Some(Code::OperationTimedOut | Code::RequestTimedOut | Code::InProgress) => Step::Again,
                _ => Step::Over,
            },
        }
    }

    /// Marks the producer as done with, and says as what.
    fn over(&mut self, what: &str, error: &RdError) -> PublishError {
        let fatal = self.producer.client().fatal_error();
        let fenced = [fatal.as_ref().map(|(code, _)| *code), error.rdkafka_error_code()]
            .into_iter()
            .flatten()
            .any(|code| matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch));
        let text = match fatal {
            Some((_, reason)) => format!("{what}: {reason}"),
            None => format!("{what}: {error}"),
        };
        let over = if fenced { PublishError::Fenced(text) } else { PublishError::Fatal(text) };
        self.over = Some(over.clone());
        over
    }
}

/// What an error of a transaction call asks for.
enum Step {
    /// The same call again.
    Again,
    /// Take the transaction back.
    Abort,
    /// A new producer.
    Over,
}
