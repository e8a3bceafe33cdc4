//! How a producer's transactions were decided, by the log of their coordinator: Kafka's own topic `__transaction_state`, whose
//! records are `TransactionLogKey` and `TransactionLogValue` (versions 0 and 1) of its protocol. Only reads.
//!
//! The newest decision about a partition is what its messages are waiting for, where they still wait.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::error::KafkaError as RdError;
use rdkafka::message::Message as _;

use crate::kafka::connection::Connection;
use crate::kafka::error::KafkaError;
use crate::kafka::probe::Probe;
use crate::kafka::reader::{Isolation, Offset, assigned};

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All of it is there.
    Commit,
    /// Nothing of it is.
    Abort,
}

/// The newest decision about each partition that a producer's transactions have touched.
pub(super) type Ends = BTreeMap<(String, i32), End>;

const LOG: &str = "__transaction_state";

/// Whether decisions could be read if they were needed.
pub(super) fn may_read(connection: &Connection, limit: Duration) -> Result<(), KafkaError> {
    Probe::new(connection, Isolation::ReadUncommitted, None, limit)?.partitions(LOG).map(drop)
}

/// The decisions of one transactional id.
pub(super) fn ends(connection: &Connection, id: &str, limit: Duration) -> Result<Ends, KafkaError> {
    let deadline = Instant::now() + limit;
    let count = Probe::new(connection, Isolation::ReadUncommitted, None, limit)?.partitions(LOG)?.len();
    let Some(partition) = partition_of(id, count) else {
        return Err(KafkaError::UnknownTopic(LOG.to_owned()));
    };
    let positions = [(LOG.to_owned(), partition, Offset::Beginning)];
    let consumer = assigned(connection, &positions, Isolation::ReadUncommitted, true)?;
    let mut ends = Ends::new();
    loop {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(record)) if record.key().and_then(id_of).as_deref() == Some(id) => {
                if let Some((end, partitions)) = record.payload().and_then(decision) {
                    ends.extend(partitions.into_iter().map(|place| (place, end)));
                }
            }
            Some(Err(RdError::PartitionEOF(_))) => return Ok(ends),
            Some(Err(error)) => {
                let error = KafkaError::of("the coordinator's log of transactions", &error);
                if !error.is_retriable() || matches!(error, KafkaError::Authorization(_)) {
                    return Err(error);
                }
            }
            Some(Ok(_)) | None => {}
        }
        if Instant::now() >= deadline {
            return Err(KafkaError::Timeout {
                what: "the coordinator's log of transactions".to_owned(),
                limit,
            });
        }
    }
}

/// The partition of one of Kafka's own topics that belongs to a transactional id or to a group: as its coordinators choose it.
pub(super) fn partition_of(name: &str, partitions: usize) -> Option<i32> {
    let hash =
        name.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    hash.checked_abs().unwrap_or(0).checked_rem(i32::try_from(partitions).ok()?)
}

/// Whose record it is.
fn id_of(key: &[u8]) -> Option<String> {
    let mut key = Cursor(key);
    (key.i16()? == 0).then_some(())?;
    key.text(false)
}

/// What a record decides, if it decides something, and about which partitions.
fn decision(value: &[u8]) -> Option<(End, Vec<(String, i32)>)> {
    let mut value = Cursor(value);
    let flexible = match value.i16()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    // Producer, its epoch, the time-out.
    value.take(8 + 2 + 4)?;
    let end = match value.take(1)? {
        [2] => End::Commit,
        [3] => End::Abort,
        _ => return None,
    };
    let mut partitions = Vec::new();
    for _ in 0..value.count(flexible)? {
        let topic = value.text(flexible)?;
        for _ in 0..value.count(flexible)? {
            partitions.push((topic.clone(), value.i32()?));
        }
        if flexible {
            value.tags()?;
        }
    }
    Some((end, partitions))
}

/// Reads Kafka's types from the front of some bytes.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn i16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn i32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn varint(&mut self) -> Option<usize> {
        let mut number = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.take(1)?[0];
            number |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// How many follow, each of which takes at least a byte; none where there is no list.
    fn count(&mut self, flexible: bool) -> Option<usize> {
        let count = if flexible {
            self.varint()?.saturating_sub(1)
        } else {
            usize::try_from(self.i32()?).unwrap_or(0)
        };
        (count <= self.0.len()).then_some(count)
    }

    fn text(&mut self, flexible: bool) -> Option<String> {
        let length =
            if flexible { self.varint()?.checked_sub(1)? } else { usize::try_from(self.i16()?).ok()? };
        String::from_utf8(self.take(length)?.to_vec()).ok()
    }

    /// Fields that this version does not know.
    fn tags(&mut self) -> Option<()> {
        for _ in 0..self.varint()? {
            self.varint()?;
            let length = self.varint()?;
            self.take(length)?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(version: i16, status: u8, partitions: &[u8]) -> Vec<u8> {
        let head = [&version.to_be_bytes()[..], &[0; 14], &[status], partitions];
        [&head.concat()[..], &[0; 16]].concat()
    }

    #[test]
    fn decisions_are_read_in_both_versions() {
        let old = [&[0, 0, 0, 1, 0, 1, b'r'][..], &[0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 7]].concat();
        let new = [&[2, 2, b'r'][..], &[3, 0, 0, 0, 5, 0, 0, 0, 7], &[1, 0, 1, 9]].concat();
        let both = vec![("r".to_owned(), 5), ("r".to_owned(), 7)];
        assert_eq!(decision(&value(0, 2, &old)), Some((End::Commit, both.clone())));
        assert_eq!(decision(&value(1, 3, &new)), Some((End::Abort, both)));
        assert_eq!(decision(&value(1, 4, &[0])), None, "it was decided before");
        assert_eq!(decision(&value(7, 2, &old)), None);
        // A list that claims to be longer than all there is.
        assert_eq!(decision(&value(0, 2, &[0x7f, 0xff, 0xff, 0xff])), None);
        for cut in 0..40 {
            let whole = value(1, 2, &new);
            let _ = decision(&whole[..cut.min(whole.len())]);
        }
        assert_eq!(id_of(&[0, 0, 0, 2, b'm', b'a']).as_deref(), Some("ma"));
    }

    #[test]
    fn a_name_has_the_partition_that_kafka_gives_it() {
        // Java's "hello".hashCode() is 99162322, that of "polygenelubricants" the smallest number there is.
        assert_eq!(partition_of("hello", 50), Some(22));
        assert_eq!(partition_of("polygenelubricants", 50), Some(0));
        assert_eq!(partition_of("hello", 0), None);
    }
}
