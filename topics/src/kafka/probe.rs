//! Questions to the broker that answer once: metadata, watermarks, positions. Blocking, each with a limit; a refused
//! password ends the waiting at once.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError as RdError, RDKafkaErrorCode as Code};
use rdkafka::metadata::MetadataPartition;

use super::connection::Connection;
use super::context::Context;
use super::error::KafkaError;
use super::reader::Isolation;

/// How long one try of a question lasts before faults are looked at.
const SLICE: Duration = Duration::from_millis(500);

/// A client for questions.
pub(super) struct Probe {
    consumer: BaseConsumer<Context>,
    deadline: Instant,
    limit: Duration,
}

impl Probe {
    /// A probe whose questions have `limit` together.
    pub(super) fn new(
        connection: &Connection,
        isolation: Isolation,
        group: Option<&str>,
        limit: Duration,
    ) -> Result<Self, KafkaError> {
        let mut config = connection.config()?;
        config.set("isolation.level", isolation.as_str()).set("enable.auto.commit", "false");
        if let Some(group) = group {
            config.set("group.id", group);
        }
        let context = Context::new(&connection.client_id);
        let consumer = config.create_with_context(context).map_err(|error| KafkaError::settings(&error))?;
        Ok(Self { consumer, deadline: Instant::now() + limit, limit })
    }

    /// Asks in slices until there is an answer, a refusal, or the limit.
    pub(super) fn ask<T>(
        &self,
        what: &str,
        question: impl Fn(&BaseConsumer<Context>, Duration) -> Result<T, RdError>,
    ) -> Result<T, KafkaError> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let error = match question(&self.consumer, SLICE.min(left.max(Duration::from_millis(1)))) {
                Ok(answer) => {
                    self.consumer.context().works();
                    return Ok(answer);
                }
                Err(error) => error,
            };
            // Serves logs and error callbacks, from which the fault is known; this client has no messages.
            while self.consumer.poll(Duration::ZERO).is_some() {}
            if let Some(refusal) = self.consumer.context().refusal() {
                return Err(refusal);
            }
            let again = matches!(
                error.rdkafka_error_code(),
                Some(
                    Code::OperationTimedOut
                        | Code::RequestTimedOut
                        | Code::BrokerTransportFailure
                        | Code::AllBrokersDown
                        | Code::LeaderNotAvailable
                        | Code::NotLeaderForPartition
                        | Code::CoordinatorLoadInProgress
                        | Code::CoordinatorNotAvailable
                        | Code::NotCoordinator
                        | Code::Resolve
                )
            );
            if !again {
                return Err(KafkaError::of(what, &error));
            }
            if Instant::now() >= self.deadline {
                let timeout = KafkaError::Timeout { what: what.to_owned(), limit: self.limit };
                return Err(self.consumer.context().fault().unwrap_or(timeout));
            }
            if error.rdkafka_error_code() != Some(Code::OperationTimedOut) {
                // Answered at once with "not now": polling is the wait, so that this is no busy loop.
                let _ = self.consumer.poll(Duration::from_millis(50));
            }
        }
    }

    /// All topics that can be seen, with their partitions.
    pub(super) fn topics(&self) -> Result<Vec<(String, Vec<i32>)>, KafkaError> {
        self.ask("metadata of all topics", |consumer, limit| {
            let metadata = consumer.fetch_metadata(None, limit)?;
            let ids =
                |partitions: &[MetadataPartition]| partitions.iter().map(MetadataPartition::id).collect();
            let topics = metadata.topics().iter().filter(|found| found.error().is_none());
            Ok(topics.map(|found| (found.name().to_owned(), ids(found.partitions()))).collect())
        })
    }

    /// The partitions of a topic, in order; empty if it is not there.
    pub(super) fn partitions(&self, topic: &str) -> Result<Vec<i32>, KafkaError> {
        self.ask(&format!("metadata of {topic}"), |consumer, limit| {
            let metadata = consumer.fetch_metadata(Some(topic), limit)?;
            let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
                return Ok(Vec::new());
            };
            if let Some(error) = found.error() {
                return match Code::from(error) {
                    Code::UnknownTopicOrPartition | Code::UnknownTopic => Ok(Vec::new()),
                    code => Err(RdError::MetadataFetch(code)),
                };
            }
            let mut ids: Vec<i32> = found.partitions().iter().map(MetadataPartition::id).collect();
            ids.sort_unstable();
            Ok(ids)
        })
    }

    /// First offset, and the offset after the last that the probe's isolation lets it see.
    pub(super) fn watermarks(&self, topic: &str, partition: i32) -> Result<(i64, i64), KafkaError> {
        self.ask(&format!("the offsets of {topic}/{partition}"), |consumer, limit| {
            consumer.fetch_watermarks(topic, partition, limit)
        })
    }
}
