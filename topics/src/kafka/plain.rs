//! A producer without transactions, as the logbook has one: for its double, and for tests that play other people.

use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError as RdError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext};
use tokio::sync::oneshot;

use super::connection::Connection;
use super::context::Context;
use super::error::KafkaError;
use super::served::Served;

/// Which acknowledgement a send waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// The leader's, as the logbook does.
    Leader,
    /// All in-sync copies'; the producer is idempotent, so that retries do not double or reorder.
    All,
}

struct Answering(Context);

impl ClientContext for Answering {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.0.log(level, facility, text);
    }

    fn error(&self, error: RdError, reason: &str) {
        self.0.error(error, reason);
    }
}

type Answer = oneshot::Sender<Result<(i32, i64), RdError>>;

impl ProducerContext for Answering {
    type DeliveryOpaque = Box<Answer>;

    fn delivery(&self, result: &DeliveryResult<'_>, answer: Box<Answer>) {
        let outcome = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.clone()),
        };
        // Who asked may have stopped waiting.
        let _ = answer.send(outcome);
    }
}

/// A producer without transactions.
pub struct PlainProducer {
    producer: Served<Answering>,
}

impl std::fmt::Debug for PlainProducer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PlainProducer")
    }
}

impl PlainProducer {
    /// Starts a producer; `limit` is how long a message may wait for its acknowledgement.
    pub fn start(connection: &Connection, acks: Acks, limit: Duration) -> Result<Self, KafkaError> {
        let mut config = connection.config()?;
        config
            .set("acks", if acks == Acks::All { "all" } else { "1" })
            .set("enable.idempotence", if acks == Acks::All { "true" } else { "false" })
            .set("message.timeout.ms", limit.as_millis().to_string())
            .set("queue.buffering.max.ms", "0")
            .set("partitioner", "murmur2_random");
        let context = Answering(Context::new(&connection.client_id));
        let producer = Served::start(&config, context)?;
        Ok(Self { producer })
    }

    /// Sends a message and waits for its acknowledgement: partition and offset. Messages of one caller that awaits each
    /// keep their order.
    pub async fn send(
        &self,
        topic: &str,
        key: Option<&[u8]>,
        headers: &[(&str, &[u8])],
        value: Option<&[u8]>,
    ) -> Result<(i32, i64), KafkaError> {
        self.send_to(topic, None, key, headers, value).await
    }

    /// The same to a partition of the caller's choice.
    pub async fn send_to(
        &self,
        topic: &str,
        partition: Option<i32>,
        key: Option<&[u8]>,
        headers: &[(&str, &[u8])],
        value: Option<&[u8]>,
    ) -> Result<(i32, i64), KafkaError> {
        let delivered = loop {
            let (answer, delivered) = oneshot::channel();
            let mut record = BaseRecord::<[u8], [u8], _>::with_opaque_to(topic, Box::new(answer));
            record.partition = partition;
            record.key = key;
            record.payload = value;
            let owned = headers.iter().fold(OwnedHeaders::new(), |owned, (key, value)| {
                owned.insert(Header { key, value: Some(*value) })
            });
            let full = match self.producer.send(record.headers(owned)) {
                Ok(()) => break delivered,
                Err((error, _)) if error.rdkafka_error_code() == Some(Code::QueueFull) => true,
                Err((error, _)) => return Err(KafkaError::of("send", &error)),
            };
            debug_assert!(full);
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        match delivered.await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(error)) => {
                let fault = self.producer.context().0.fault();
                Err(fault.unwrap_or_else(|| KafkaError::of("send", &error)))
            }
            Err(_) => Err(KafkaError::Fatal("the producer was dropped".to_owned())),
        }
    }
}
