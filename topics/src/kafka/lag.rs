//! How far a group is behind, in records that are really there: marks of transactions and aborted records take offsets
//! without ever being read, and a group's positions stay before them for as long as nothing follows.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError as RdError;
use rdkafka::topic_partition_list::{Offset as RdOffset, TopicPartitionList};

use super::admin::Admin;
use super::error::KafkaError;
use super::probe::Probe;
use super::reader::{Isolation, Offset, assigned};

/// How far a group is behind on a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// Committed records behind its positions; where they are many, offsets, which are more.
    pub records: u64,
    /// Its members.
    pub members: u64,
}

/// How long records are looked for.
const COUNTED_WITHIN: Duration = Duration::from_secs(2);

impl Admin {
    /// How far a group is behind on a topic, and how many members it has. Records are counted up to `enough`.
    pub async fn lag(&self, group: &str, topic: &str, enough: u64) -> Result<Lag, KafkaError> {
        let (name, topic) = (group.to_owned(), topic.to_owned());
        let connection = self.connection.clone();
        let ask = move |probe: Probe| {
            let list = probe.ask("the members of the group", |consumer, limit| {
                consumer.fetch_group_list(Some(&name), limit)
            })?;
            let members = list.groups().iter().filter(|found| found.name() == name);
            let members = members.map(|found| found.members().len() as u64).sum();
            let mut wanted = TopicPartitionList::new();
            for partition in probe.partitions(&topic)? {
                wanted.add_partition(&topic, partition);
            }
            let committed = probe.ask("the committed offsets", |consumer, limit| {
                consumer.committed_offsets(wanted.clone(), limit)
            })?;
            let (mut positions, mut offsets) = (Vec::new(), 0);
            for element in committed.elements() {
                let partition = element.partition();
                let (first, end) = probe.watermarks(&topic, partition)?;
                let next = match element.offset() {
                    RdOffset::Offset(next) => next.max(first),
                    _ => first,
                };
                if next < end {
                    positions.push((topic.clone(), partition, Offset::At(next)));
                    offsets += u64::try_from(end - next).unwrap_or(0);
                }
            }
            if positions.is_empty() {
                return Ok(Lag { records: 0, members });
            }
            let consumer = assigned(&connection, &positions, Isolation::ReadCommitted, true)?;
            let counted = count(&consumer, &positions, enough);
            Ok(Lag { records: counted.unwrap_or(offsets), members })
        };
        self.probe(Some(group), ask).await
    }
}

/// How many records there are, when they are fewer than `enough` and all partitions end in time.
fn count<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    positions: &[(String, i32, Offset)],
    enough: u64,
) -> Option<u64> {
    let deadline = Instant::now() + COUNTED_WITHIN;
    let mut open: BTreeSet<i32> = positions.iter().map(|(_, partition, _)| *partition).collect();
    let mut records = 0;
    while !open.is_empty() {
        if records >= enough || Instant::now() >= deadline {
            return None;
        }
        match consumer.poll(Duration::from_millis(50)) {
            None => {}
            Some(Ok(_)) => records += 1,
            Some(Err(RdError::PartitionEOF(partition))) => drop(open.remove(&partition)),
            Some(Err(_)) => return None,
        }
    }
    Some(records)
}
