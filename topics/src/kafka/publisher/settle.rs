//! Finds partitions of our topics that hide committed messages: a broker that is killed between a commit and its markers,
//! and started again alone, can take the transaction for complete and never write them (seen with Kafka 4.3.1, where
//! `__transaction_state` said complete and the partition's log held no marker). Only looks; ending them is the work's.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::kafka::connection::Connection;
use crate::kafka::error::KafkaError;
use crate::kafka::probe::Probe;
use crate::kafka::reader::Isolation;
use crate::time::Millis;
use crate::topic::{Channel, Topics};

/// Other producers' transactions are open for milliseconds; what is open for longer is looked into.
const PATIENCE: Duration = Duration::from_secs(2);

/// Partitions of our topics whose last stable offset stays behind their end.
pub(super) fn behind(
    connection: &Connection,
    topics: &Topics,
    limit: Duration,
) -> Result<Vec<(Channel, i32)>, KafkaError> {
    let limit = limit.max(PATIENCE * 2);
    let written = Probe::new(connection, Isolation::ReadUncommitted, None, limit)?;
    let visible = Probe::new(connection, Isolation::ReadCommitted, None, limit)?;
    let mut behind = Vec::new();
    let ours = |name: &String| topics.channel(name).filter(|channel| !channel.is_logbooks());
    for (name, partitions) in written.topics()? {
        let Some(channel) = ours(&name) else { continue };
        for partition in partitions {
            let end = written.watermarks(&name, partition)?.1;
            if visible.watermarks(&name, partition)?.1 < end {
                behind.push((channel.clone(), partition, end));
            }
        }
    }
    let patient_until = Instant::now() + PATIENCE;
    while !behind.is_empty() && Instant::now() < patient_until {
        std::thread::park_timeout(Duration::from_millis(50));
        let mut still = Vec::with_capacity(behind.len());
        for (channel, partition, end) in behind {
            if visible.watermarks(&topics.name(&channel), partition)?.1 < end {
                still.push((channel, partition, end));
            }
        }
        behind = still;
    }
    Ok(behind.into_iter().map(|(channel, partition, _)| (channel, partition)).collect())
}

/// The clock, for the time of a message that says nothing else.
pub(super) fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
