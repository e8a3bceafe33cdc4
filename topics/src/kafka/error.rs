//! Kafka's errors by meaning: what a caller does differs, not which of librdkafka's hundred codes it was.

use std::time::Duration;

use rdkafka::error::{KafkaError as RdError, RDKafkaErrorCode as Code};

/// Why an operation on Kafka failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KafkaError {
    /// The broker refuses the credentials, or the two sides do not trust each other's certificates.
    #[error("kafka refuses to let us in: {0}; look at user, password and certificates")]
    Authentication(String),
    /// The broker knows us and does not allow this.
    #[error("kafka does not allow it: {0}; look at the access rules")]
    Authorization(String),
    /// No broker can be reached.
    #[error("kafka cannot be reached: {0}")]
    Unreachable(String),
    /// No answer in time.
    #[error("kafka gave no answer to {what} within {} s", limit.as_secs_f32())]
    Timeout {
        /// What was asked.
        what: String,
        /// How long we waited.
        limit: Duration,
    },
    /// A topic or partition is not there.
    #[error("topic {0} is not there")]
    UnknownTopic(String),
    /// A position before the first or after the last offset: messages are lost, or the topic was made anew.
    #[error(
        "position {position} of {topic}/{partition} is outside of what the topic holds, {first} to {end}"
    )]
    OutOfRange {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Where reading was to go on.
        position: i64,
        /// The first offset there.
        first: i64,
        /// The offset after the last.
        end: i64,
    },
    /// Read-committed reading waits behind a transaction that nobody ends.
    #[error("a transaction on {topic}/{partition} was still open after {} s", limit.as_secs_f32())]
    OpenTransaction {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// How long we waited.
        limit: Duration,
    },
    /// This client can do no more; make a new one.
    #[error("the kafka client has failed for good: {0}")]
    Fatal(String),
    /// The settings are wrong.
    #[error("kafka settings: {0}")]
    Settings(String),
    /// Anything else, in librdkafka's words.
    #[error("{what}: {text}")]
    Other {
        /// What was tried.
        what: String,
        /// librdkafka's words.
        text: String,
    },
}

impl KafkaError {
    /// Whether waiting and trying the same again can help.
    pub fn is_retriable(&self) -> bool {
        // A password may be mended on the broker's side: worth a retry, but slowly and loudly.
        !matches!(self, Self::OutOfRange { .. } | Self::Fatal(_) | Self::Settings(_))
    }

    pub(super) fn settings(error: &RdError) -> Self {
        Self::Settings(match error {
            RdError::ClientConfig(_, text, key, _) => format!("property `{key}`: {text}"),
            other => other.to_string(),
        })
    }

    /// The meaning of librdkafka's error; `what` is what was tried.
    pub(super) fn of(what: &str, error: &RdError) -> Self {
        let text = format!("{what}: {error}");
        match error {
            RdError::ClientConfig(..) | RdError::ClientCreation(_) => Self::settings(error),
            RdError::MessageConsumptionFatal(_) => Self::Fatal(text),
            _ => match error.rdkafka_error_code() {
                Some(code) => Self::of_code(what, code, text),
                None => Self::Other { what: what.to_owned(), text: error.to_string() },
            },
        }
    }

    pub(super) fn of_code(what: &str, code: Code, text: String) -> Self {
        match code {
            Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL => Self::Authentication(text),
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed => Self::Authorization(text),
            Code::AllBrokersDown
            | Code::BrokerTransportFailure
            | Code::Resolve
            | Code::BrokerDestroy
            | Code::BrokerNotAvailable => Self::Unreachable(text),
            Code::OperationTimedOut | Code::RequestTimedOut | Code::TimedOutQueue => {
                Self::Other { what: what.to_owned(), text }
            }
            Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
                Self::UnknownTopic(text)
            }
            Code::Fatal => Self::Fatal(text),
            _ => Self::Other { what: what.to_owned(), text },
        }
    }
}

/// Why nothing, or nobody knows what, was published. The four ask for four different things.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Another producer has our transactional id, or our own transaction was open for too long: librdkafka says the same
    /// for both. Look at the group to know which, then a new publisher and read back, or stop.
    #[error("the producer was fenced: {0}")]
    Fenced(String),
    /// This producer can do no more, and what it sent last may be there or not: new publisher, init, read back.
    #[error("the producer has failed for good, and its last transaction may be there or not: {0}")]
    Fatal(String),
    /// Nothing of it is there. Try again later with the same publisher.
    #[error("not published: {0}")]
    Retriable(KafkaError),
    /// Nothing of it is there, and this message can never be sent: too large, or malformed for Kafka.
    #[error("message {index} of the batch is refused: {why}")]
    Refused {
        /// Which of the messages.
        index: usize,
        /// Why.
        why: String,
    },
}

impl PublishError {
    /// Whether the publisher can be used on.
    pub fn needs_new_publisher(&self) -> bool {
        matches!(self, Self::Fenced(_) | Self::Fatal(_))
    }
}
