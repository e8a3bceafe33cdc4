//! Finds what a killed broker has left without an end: one that is killed between a decision and its markers, and started again
//! alone, takes the transaction for complete and never writes them to partitions that it does not know yet (Kafka 4.3.1;
//! `__transaction_state` says complete, the partition's log has no marker). Readers of such a partition wait for ever, and a
//! group's positions stay pending. Only looks; ending them, as they were decided, is the work's.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::consumer::Consumer as _;

use super::Stake;
use super::history::partition_of;
use crate::kafka::connection::Connection;
use crate::kafka::error::KafkaError;
use crate::kafka::group::GroupMetadata;
use crate::kafka::probe::Probe;
use crate::kafka::reader::Isolation;
use crate::time::Millis;
use crate::topic::{Channel, Topics};

/// Other producers' transactions are open for milliseconds; what is open for longer is looked into.
const PATIENCE: Duration = Duration::from_secs(2);

const POSITIONS: &str = "__consumer_offsets";

/// A partition whose last stable offset stays behind its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Behind {
    /// Its topic's full name.
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) what: What,
}

/// What waits there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Messages of one of our topics.
    Messages(Channel),
    /// Positions of a group.
    Positions(Stake),
}

/// What is behind of our topics and of the groups.
pub(super) fn behind(
    connection: &Connection,
    topics: &Topics,
    stakes: &[Stake],
    limit: Duration,
) -> Result<Vec<Behind>, KafkaError> {
    let limit = limit.max(PATIENCE * 2);
    let written = Probe::new(connection, Isolation::ReadUncommitted, None, limit)?;
    let visible = Probe::new(connection, Isolation::ReadCommitted, None, limit)?;
    let mut looked = Vec::new();
    let ours = |name: &String| topics.channel(name).filter(|channel| !channel.is_logbooks());
    for (topic, partitions) in written.topics()? {
        if topic == POSITIONS {
            for stake in stakes {
                let Some(partition) = partition_of(&stake.group, partitions.len()) else { continue };
                let what = What::Positions(stake.clone());
                looked.push(Behind { topic: topic.clone(), partition, what });
            }
        } else if let Some(channel) = ours(&topic) {
            let here = partitions.into_iter().map(|partition| Behind {
                topic: topic.clone(),
                partition,
                what: What::Messages(channel.clone()),
            });
            looked.extend(here);
        }
    }
    let mut behind = Vec::new();
    for one in looked {
        let end = match written.watermarks(&one.topic, one.partition) {
            // Not everybody may look into Kafka's own topics.
            Err(error @ KafkaError::Authorization(_)) if one.topic == POSITIONS => {
                tracing::debug!(%error, "cannot look for positions without an end");
                continue;
            }
            ends => ends?.1,
        };
        if visible.watermarks(&one.topic, one.partition)?.1 < end {
            behind.push((one, end));
        }
    }
    let patient_until = Instant::now() + PATIENCE;
    while !behind.is_empty() && Instant::now() < patient_until {
        std::thread::park_timeout(Duration::from_millis(50));
        let mut still = Vec::with_capacity(behind.len());
        for (one, end) in behind {
            if visible.watermarks(&one.topic, one.partition)?.1 < end {
                still.push((one, end));
            }
        }
        behind = still;
    }
    Ok(behind.into_iter().map(|(one, _)| one).collect())
}

/// Somebody who may commit for a group within a transaction without being a member of it.
pub(super) fn stranger(connection: &Connection, group: &str) -> Result<GroupMetadata, KafkaError> {
    let probe = Probe::new(connection, Isolation::ReadUncommitted, Some(group), PATIENCE)?;
    let metadata = probe.ask("the group", |consumer, _| Ok(consumer.group_metadata()))?;
    let fatal = || KafkaError::Fatal(format!("nobody can commit for the group {group}"));
    metadata.map(|metadata| GroupMetadata(metadata.into())).ok_or_else(fatal)
}

/// The clock, for the time of a message that says nothing else.
pub(super) fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
