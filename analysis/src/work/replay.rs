//! What `results` holds, for a group whose positions were lost: its images are taken from the first that is there, and those
//! that have their result are passed over. Keys are kept as hashes of 128 bits: millions of them fit into memory.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use lightrail_topics::kafka::{Connection, KafkaError, fold_to_end};
use lightrail_topics::{Record, Topic, Topics};
use md5::{Digest as _, Md5};

/// The images that have results, by their keys.
#[derive(Debug, Default)]
pub(super) struct Known {
    seen: HashSet<u128>,
    /// Where reading goes on.
    next: BTreeMap<(String, i32), i64>,
}

/// However long `results` is.
const READ_WITHIN: Duration = Duration::from_secs(1800);

impl Known {
    /// Reads on to the present end of `results`, once no transaction before it is open.
    pub(super) async fn read_on(self, connection: &Connection, topics: &Topics) -> Result<Self, KafkaError> {
        let from = self.next.clone();
        fold_to_end(connection, &[topics.name(Topic::Results)], &from, READ_WITHIN, self, |known, record| {
            known.take(&record)
        })
        .await
    }

    fn take(&mut self, record: &Record) {
        self.next.insert((record.topic.to_string(), record.partition), record.offset + 1);
        self.seen.extend(record.key.as_deref().map(hash));
    }

    /// Whether the image of this key has its result.
    pub(super) fn has(&self, key: &[u8]) -> bool {
        self.seen.contains(&hash(key))
    }

    pub(super) fn len(&self) -> usize {
        self.seen.len()
    }
}

fn hash(key: &[u8]) -> u128 {
    u128::from_le_bytes(Md5::digest(key).into())
}
