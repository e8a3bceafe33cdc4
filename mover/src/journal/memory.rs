//! A journal in memory for tests of the whole mover in a bottle: it loses what was not flushed when told to crash,
//! and fails when told that its disk is broken. Uses the same bytes as the one on disk.

use std::collections::BTreeMap;
use std::path::PathBuf;

use lightrail_topics::RunKey;

use super::change::Change;
use super::{Compacted, Header, Journal, JournalError, Opened, Room, RowKind, RunRows, codec};
use crate::ledger::rows::{Row, RowKey, Write};

/// What undoes a commit: the header before it, and the rows it changed as they were.
type Undo = (Header, Vec<(Vec<u8>, Option<Vec<u8>>)>);

/// Rows in memory.
#[derive(Debug)]
pub struct MemoryJournal {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    header: Header,
    unflushed: Vec<Undo>,
    is_broken: bool,
    room: Room,
}

impl MemoryJournal {
    /// An empty journal of a mover.
    pub fn new(mover: &str, id: u64) -> Self {
        Self {
            rows: BTreeMap::new(),
            header: Header::new(mover, id),
            unflushed: Vec::new(),
            is_broken: false,
            room: Room { free: u64::MAX, reserve: 0 },
        }
    }

    /// How many commits would be lost by a crash now.
    pub fn unflushed(&self) -> usize {
        self.unflushed.len()
    }

    /// The process dies: of the commits since the last flush the oldest `kept` are there afterwards.
    pub fn crash(&mut self, kept: usize) {
        while self.unflushed.len() > kept {
            let Some((header, rows)) = self.unflushed.pop() else { break };
            self.header = header;
            for (key, old) in rows {
                match old {
                    Some(value) => self.rows.insert(key, value),
                    None => self.rows.remove(&key),
                };
            }
        }
        self.unflushed.clear();
        self.is_broken = false;
    }

    /// The folder is lost: nothing is there afterwards.
    pub fn lose(&mut self, id: u64) {
        *self = Self { room: self.room, ..Self::new(&self.header.mover, id) };
    }

    /// From now on every call fails until the journal is opened again.
    pub fn break_disk(&mut self) {
        self.is_broken = true;
    }

    /// Sets how much room there is.
    pub fn set_room(&mut self, room: Room) {
        self.room = room;
    }

    fn check(&self, doing: &'static str) -> Result<(), JournalError> {
        if self.is_broken {
            let source = Box::new(std::io::Error::other("told to be broken"));
            return Err(JournalError::Disk { folder: PathBuf::from("(memory)"), doing, source });
        }
        Ok(())
    }
}

impl Journal for MemoryJournal {
    fn commit(&mut self, writes: &[Write]) -> Result<(), JournalError> {
        self.check("wrote")?;
        if writes.is_empty() {
            return Ok(());
        }
        let change = Change::of(&self.header, writes, |key| Ok(self.rows.get(key)))?;
        let before = std::mem::replace(&mut self.header, change.header);
        let mut undo = Vec::with_capacity(change.rows.len());
        for (key, value) in change.rows {
            let old = match value {
                Some(value) => self.rows.insert(key.clone(), value),
                None => self.rows.remove(&key),
            };
            undo.push((key, old));
        }
        self.unflushed.push((before, undo));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), JournalError> {
        self.check("flushed")?;
        self.unflushed.clear();
        Ok(())
    }

    fn scan(&self, kind: RowKind, each: &mut dyn FnMut(Row)) -> Result<(), JournalError> {
        self.check("read")?;
        for (key, value) in self.rows.range(vec![kind as u8]..vec![kind as u8 + 1]) {
            each(codec::decode(key, value)?);
        }
        Ok(())
    }

    fn get(&self, key: &RowKey) -> Result<Option<Row>, JournalError> {
        self.check("read")?;
        let key = codec::encode_key(key);
        Ok(self.rows.get(&key).map(|value| codec::decode(&key, value)).transpose()?)
    }

    fn run(&self, key: &RunKey) -> Result<Option<RunRows>, JournalError> {
        let Some(Row::Run(_, run)) = self.get(&RowKey::Run(key.clone()))? else { return Ok(None) };
        let start = codec::files_of(key);
        let mut files = Vec::new();
        for (key, value) in self.rows.range(start.clone()..).take_while(|(key, _)| key.starts_with(&start)) {
            if let Row::File(_, lfn, file) = codec::decode(key, value)? {
                files.push((lfn, file));
            }
        }
        Ok(Some((run, files)))
    }

    fn header(&self) -> Header {
        self.header.clone()
    }

    fn room(&self) -> Result<Room, JournalError> {
        Ok(self.room)
    }

    fn reopen(&mut self) -> Result<Opened, JournalError> {
        self.crash(0);
        Ok(Opened::Live)
    }

    fn compact_if_needed(&mut self) -> Result<Compacted, JournalError> {
        self.flush()?;
        Ok(Compacted::NotNeeded { bytes: self.header.bytes })
    }
}
