//! The Kafka client, the only importer of rdkafka: readers with positions of their own, a group reader for intake, a
//! taker of work, a transactional publisher on a thread of its own, admin. Errors come by meaning; librdkafka's logs go to
//! tracing, its statistics to metrics. Never here: what a message means.

mod admin;
mod connection;
mod context;
mod error;
mod group;
mod lag;
mod plain;
mod probe;
mod publisher;
mod reader;
mod served;
mod specs;
mod stall;
mod taker;

pub use admin::{Admin, Member};
pub use connection::Connection;
pub use context::{FAULTS, LAG, QUEUED, ROUND_TRIP};
pub use error::{KafkaError, PublishError};
pub use group::{GroupMetadata, GroupReader, GroupSettings, KafkaEvent};
pub use lag::Lag;
pub use plain::{Acks, PlainProducer};
pub use publisher::{Placed, Position, Publisher, Stake, Timeouts};
pub use reader::{Isolation, Offset, Reader, fold_to_end, read_to_end};
pub use specs::{Difference, TopicReport};
pub use taker::{Begin, Given, Release, Taken, Taker, TakerEvent, TakerSettings};
