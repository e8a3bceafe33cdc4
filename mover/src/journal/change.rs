//! What a commit does to the rows and to the header, worked out before anything is written. Pure.

use std::collections::BTreeMap;

use super::codec::{self, CodecError};
use super::{Header, JournalError};
use crate::ledger::rows::Write;

/// The rows that a commit puts (a value) or removes (none), and the header that goes with them.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) rows: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    pub(super) header: Header,
}

impl Change {
    /// `present` tells the bytes that a key has before the commit. Of several writes to one key the last counts.
    pub(super) fn of<B: AsRef<[u8]>>(
        header: &Header,
        writes: &[Write],
        mut present: impl FnMut(&[u8]) -> Result<Option<B>, JournalError>,
    ) -> Result<Self, JournalError> {
        let mut rows = BTreeMap::new();
        for write in writes {
            match write {
                Write::Put(row) => {
                    let (key, value) = codec::encode(row)?;
                    rows.insert(key, Some(value));
                }
                Write::Remove(row) => {
                    rows.insert(codec::encode_key(row), None);
                }
            }
        }
        let mut header = Header { commits: header.commits + 1, ..header.clone() };
        for (key, value) in &rows {
            if let Some(old) = present(key)? {
                header.without(key, old.as_ref());
            }
            if let Some(new) = value {
                header.with(key, new);
            }
        }
        Ok(Self { rows, header })
    }
}

impl Header {
    /// Of a journal without rows.
    pub(super) fn new(mover: &str, id: u64) -> Self {
        let format = crate::ledger::rows::FORMAT;
        Self { format, mover: mover.to_owned(), id, commits: 0, rows: 0, bytes: 0, sum: 0 }
    }

    /// Counts a row.
    pub(super) fn with(&mut self, key: &[u8], value: &[u8]) {
        self.rows += 1;
        self.bytes += (key.len() + value.len()) as u64;
        self.sum = self.sum.wrapping_add(codec::hash(key, value));
    }

    /// Counts a row no longer.
    pub(super) fn without(&mut self, key: &[u8], value: &[u8]) {
        self.rows = self.rows.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub((key.len() + value.len()) as u64);
        self.sum = self.sum.wrapping_sub(codec::hash(key, value));
    }

    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, CodecError> {
        postcard::to_stdvec(self).map_err(|why| CodecError::Header(why.into()))
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, CodecError> {
        postcard::from_bytes(bytes).map_err(|why| CodecError::Header(why.into()))
    }

    /// The number of the shape alone, which every version of the header begins with.
    pub(super) fn format_of(bytes: &[u8]) -> Option<u32> {
        postcard::take_from_bytes::<u32>(bytes).ok().map(|(format, _)| format)
    }
}
