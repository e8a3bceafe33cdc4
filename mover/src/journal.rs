//! The journal: what the mover has taken on, kept so that a kill at any moment loses nothing that was flushed.
//! One small trait with two implementations that pass the same suite: [`SledJournal`] (the only module that imports
//! sled) and [`MemoryJournal`]. Never the truth: it can always be rebuilt from Kafka and the destinations, so whatever
//! is doubtful about a folder is answered by moving it aside and starting with an empty one, with the reason.

mod change;
mod codec;
mod lock;
mod memory;
mod on_disk;
mod open;
mod room;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use lightrail_topics::{Lfn, RunKey};

use crate::ledger::rows::{FileRow, PartitionKey, Row, RowKey, RunRow, Write};

pub use codec::CodecError;
pub use lock::{Holder, LockError};
pub use memory::MemoryJournal;
pub use on_disk::SledJournal;
pub use room::Room;

/// The kinds of rows, each one range of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum RowKind {
    /// [`Row::Run`], ordered by experiment and run.
    Run = 1,
    /// [`Row::File`], ordered by experiment and run.
    File = 2,
    /// [`Row::Wish`].
    Wish = 3,
    /// [`Row::Route`].
    Route = 4,
    /// [`Row::Override`].
    Override = 5,
    /// [`Row::Experiment`].
    Experiment = 6,
    /// [`Row::Outbox`], in their order.
    Outbox = 7,
    /// [`Row::Position`].
    Position = 8,
}

impl RowKind {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::Run,
        Self::File,
        Self::Wish,
        Self::Route,
        Self::Override,
        Self::Experiment,
        Self::Outbox,
        Self::Position,
    ];
}

/// Rows that survive. Calls block for disk times: a commit for some 0.1 ms, a flush for one fsync.
pub trait Journal: Send + fmt::Debug {
    /// Writes all or nothing, in order. Survives a kill of the process only once [`flush`](Self::flush) has returned;
    /// what is lost of commits without flush is always the newest ones.
    fn commit(&mut self, writes: &[Write]) -> Result<(), JournalError>;

    /// Makes everything committed so far survive. Nothing outside may depend on a commit before this.
    fn flush(&mut self) -> Result<(), JournalError>;

    /// Every row of a kind in the order of its keys.
    fn scan(&self, kind: RowKind, each: &mut dyn FnMut(Row)) -> Result<(), JournalError>;

    /// One row.
    fn get(&self, key: &RowKey) -> Result<Option<Row>, JournalError>;

    /// A run and its files, if there is a row of the run: one short range.
    fn run(&self, key: &RunKey) -> Result<Option<RunRows>, JournalError>;

    /// How many rows and commits there are, and whose journal it is.
    fn header(&self) -> Header;

    /// Whether the file system has the room that the configuration reserves. Looks each time it is asked.
    fn room(&self) -> Result<Room, JournalError>;

    /// After an error of the disk every call fails until this succeeds. What was committed and not flushed may be
    /// there or not: read everything again.
    fn reopen(&mut self) -> Result<Opened, JournalError>;

    /// Writes the journal anew into a fresh folder if it has grown far beyond its content; says what came of it.
    /// Flushes, and takes seconds for a million rows: for quiet moments.
    fn compact_if_needed(&mut self) -> Result<Compacted, JournalError>;

    /// The next offset of every partition.
    fn positions(&self) -> Result<BTreeMap<PartitionKey, i64>, JournalError> {
        let mut positions = BTreeMap::new();
        self.scan(RowKind::Position, &mut |row| {
            if let Row::Position(key, offset) = row {
                positions.insert(key, offset);
            }
        })?;
        Ok(positions)
    }

    /// Every row of a kind, collected.
    fn all(&self, kind: RowKind) -> Result<Vec<Row>, JournalError> {
        let mut rows = Vec::new();
        self.scan(kind, &mut |row| rows.push(row))?;
        Ok(rows)
    }
}

/// A row as bytes: its key, and its value unless it is removed.
pub type RowBytes = (Vec<u8>, Option<Vec<u8>>);

/// The rows as [`SledJournal`] writes them: keys, and values where a row is put. For whoever measures what the journal
/// adds to bare sled.
pub fn as_bytes(writes: &[Write]) -> Result<Vec<RowBytes>, CodecError> {
    writes
        .iter()
        .map(|write| match write {
            Write::Put(row) => codec::encode(row).map(|(key, value)| (key, Some(value))),
            Write::Remove(key) => Ok((codec::encode_key(key), None)),
        })
        .collect()
}

/// A run with its files in the order of their keys.
pub type RunRows = (RunRow, Vec<(Lfn, FileRow)>);

/// The journal's own row: says whose it is, and what must be found when it is opened.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Header {
    /// The shape of the rows: [`FORMAT`](crate::ledger::rows::FORMAT).
    pub format: u32,
    /// The mover that writes it.
    pub mover: String,
    /// Random, given when the folder was made.
    pub id: u64,
    /// How many commits there were since then.
    pub commits: u64,
    /// How many rows there are.
    pub rows: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Sum over the hashes of all rows, so that a missing or old one is seen.
    pub sum: u64,
}

/// What was found when the journal was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// All that was flushed is there.
    Live,
    /// The journal is empty and has to be rebuilt.
    Fresh {
        /// Why.
        because: Because,
    },
}

/// Why a journal begins empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Because {
    /// There never was one in this place.
    New,
    /// There was one, and its folder is gone.
    Gone,
    /// Its rows have another shape.
    Format {
        /// The shape that was found.
        found: u32,
        /// Where it lies now.
        aside: PathBuf,
    },
    /// It could not be opened, or something in it is missing.
    Damaged {
        /// What was seen, in words.
        what: String,
        /// Where it lies now.
        aside: PathBuf,
    },
    /// It is an older copy than the one that was last flushed here.
    RolledBack {
        /// Commits that were flushed.
        flushed: u64,
        /// Commits that were found.
        found: u64,
        /// Where it lies now.
        aside: PathBuf,
    },
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("there is none yet"),
            Self::Gone => f.write_str("its folder is gone"),
            Self::Format { found, aside } => {
                write!(f, "it was written by another version (format {found}), now at {}", aside.display())
            }
            Self::Damaged { what, aside } => write!(f, "it is damaged ({what}), now at {}", aside.display()),
            Self::RolledBack { flushed, found, aside } => write!(
                f,
                "it is an older copy ({found} commits, {flushed} were flushed), now at {}",
                aside.display()
            ),
        }
    }
}

/// What came of [`Journal::compact_if_needed`], in bytes on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compacted {
    /// It is small enough.
    NotNeeded {
        /// What it takes.
        bytes: u64,
    },
    /// It was written anew.
    Done {
        /// What it took.
        before: u64,
        /// What it takes.
        after: u64,
    },
}

/// Why a call of the journal failed.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk failed or is full. Every call fails until [`Journal::reopen`] succeeds.
    #[error("journal {} failed while it {doing}; it must be opened again", folder.display())]
    Disk {
        /// The folder.
        folder: PathBuf,
        /// What it did: `wrote`, `flushed`.
        doing: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A row cannot be turned into bytes or back.
    #[error("journal holds a row that cannot be understood")]
    Row(#[from] CodecError),
    /// Another process has the folder, or the lock file cannot be written.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The folder belongs to a mover of another name.
    #[error("journal {} belongs to mover {theirs}, not {ours}; give each mover its own folder", folder.display())]
    Foreign {
        /// The folder.
        folder: PathBuf,
        /// Whose it is.
        theirs: String,
        /// Who wanted it.
        ours: String,
    },
    /// The folder cannot be made, looked at or moved aside.
    #[error("journal {} cannot be {doing}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What could not be done: `made`, `moved aside`.
        doing: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl JournalError {
    /// Whether [`Journal::reopen`] can help.
    pub fn needs_reopen(&self) -> bool {
        matches!(self, Self::Disk { .. })
    }
}
