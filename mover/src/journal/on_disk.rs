//! The journal on disk, in sled: one tree, the kind of a row in its key's first byte, so that a batch is one atomic
//! write over all kinds. Never trusts sled to fail in an orderly way: a panic inside it is an error here.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use lightrail_topics::{MoverName, RunKey};

use super::change::Change;
use super::lock::{Holder, Lock};
use super::{Compacted, Header, Journal, JournalError, Opened, Room, RowKind, RunRows, codec, open};
use crate::config;
use crate::ledger::rows::{Row, RowKey, Write};

/// Below this size on disk nothing is compacted.
const SMALL_ENOUGH: u64 = 128 << 20;
/// Above [`SMALL_ENOUGH`], compaction begins at so many times the content.
const GROWN: u64 = 5;

/// What the keys of the outbox's rows begin with.
const OUTBOX: &[u8] = &[RowKind::Outbox as u8];

/// Rows in a folder.
#[derive(Debug)]
pub struct SledJournal {
    folder: PathBuf,
    cache: u64,
    reserve: u64,
    mover: String,
    lock: Lock,
    /// `None` after a failure, until it is opened again.
    db: Option<sled::Db>,
    header: Header,
    /// No row of the outbox has a greater key, so that new messages need not be looked up before they are written: a look
    /// costs half as much as the write.
    newest: Vec<u8>,
    /// Whether something was committed since the last flush.
    is_ahead: bool,
}

impl SledJournal {
    /// Takes the folder's lock and opens the journal in it, or a fresh one with the reason.
    ///
    /// # Errors
    /// The lock is held, the folder is another mover's, or the disk fails. Damage is no error: see [`Opened::Fresh`].
    pub fn open(
        settings: &config::Journal,
        mover: &MoverName,
        host: &str,
    ) -> Result<(Self, Opened), JournalError> {
        let folder = settings.folder.clone();
        if let Some(parent) = folder.parent() {
            std::fs::create_dir_all(parent).map_err(|source| JournalError::Folder {
                folder: folder.clone(),
                doing: "made",
                source,
            })?;
        }
        let holder = Holder { mover: mover.to_string(), host: host.to_owned(), pid: std::process::id() };
        let lock = Lock::take(&folder, holder)?;
        let mut journal = Self {
            folder,
            cache: settings.cache,
            reserve: settings.reserve,
            mover: mover.to_string(),
            lock,
            db: None,
            header: Header::new(mover.as_str(), 0),
            newest: Vec::new(),
            is_ahead: false,
        };
        let opened = journal.reopen()?;
        Ok((journal, opened))
    }

    /// Whether nobody has the folder, without taking it: for a start that wants to know before it opens anything else.
    ///
    /// # Errors
    /// [`LockError::Held`](super::LockError::Held) names who has it.
    pub fn is_free(settings: &config::Journal) -> Result<(), super::LockError> {
        Lock::look(&settings.folder)
    }

    /// Moves the folder aside, as `<folder>.<word>-<unixtime>`, where nobody has it: for a rebuild that is wished.
    /// Says where it lies now, or nothing if there was none.
    pub fn set_aside(
        settings: &config::Journal,
        mover: &MoverName,
        host: &str,
        word: &str,
    ) -> Result<Option<PathBuf>, JournalError> {
        let folder = &settings.folder;
        let of_folder = |doing| move |source| JournalError::Folder { folder: folder.clone(), doing, source };
        if !folder.try_exists().map_err(of_folder("looked at"))? {
            return Ok(None);
        }
        let holder = Holder { mover: mover.to_string(), host: host.to_owned(), pid: std::process::id() };
        let lock = Lock::take(folder, holder)?;
        let aside = open::aside(folder, word).map_err(of_folder("moved aside"))?;
        drop(lock);
        Ok(Some(aside))
    }

    /// Bytes that the folder takes on disk.
    pub fn bytes_on_disk(&self) -> Result<u64, JournalError> {
        open::bytes_of(&self.folder).map_err(|source| JournalError::Folder {
            folder: self.folder.clone(),
            doing: "looked at",
            source,
        })
    }

    /// Does something with sled; any failure closes it until it is opened again.
    fn with_db<T>(
        &mut self,
        doing: &'static str,
        act: impl FnOnce(&sled::Db) -> sled::Result<T>,
    ) -> Result<T, JournalError> {
        let result = attempt(&self.folder, doing, self.db.as_ref(), act);
        if result.is_err() {
            self.close();
        }
        result
    }

    fn reading<T>(&self, act: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, JournalError> {
        attempt(&self.folder, "read", self.db.as_ref(), act)
    }

    /// Lets go of sled. Its drop flushes, which may panic on a broken disk.
    fn close(&mut self) {
        let db = self.db.take();
        if catch_unwind(AssertUnwindSafe(|| drop(db))).is_err() {
            tracing::warn!(folder = %self.folder.display(), "sled panicked while it was closed");
        }
    }
}

/// Runs a call of sled, its panics and errors made one.
fn attempt<T>(
    folder: &Path,
    doing: &'static str,
    db: Option<&sled::Db>,
    act: impl FnOnce(&sled::Db) -> sled::Result<T>,
) -> Result<T, JournalError> {
    let failed = |source| JournalError::Disk { folder: folder.to_owned(), doing, source };
    let Some(db) = db else { return Err(failed("it failed before".into())) };
    match catch_unwind(AssertUnwindSafe(|| act(db))) {
        Ok(result) => result.map_err(|why| failed(why.into())),
        Err(panic) => Err(failed(open::panic_text(panic.as_ref()).into())),
    }
}

impl Journal for SledJournal {
    fn commit(&mut self, writes: &[Write]) -> Result<(), JournalError> {
        if writes.is_empty() {
            return Ok(());
        }
        let change = Change::of(&self.header, writes, |key| {
            let is_new = key.starts_with(OUTBOX) && key > self.newest.as_slice();
            if is_new { Ok(None) } else { self.reading(|db| db.get(key)) }
        })?;
        let newest = change.rows.range(self.newest.clone()..).rev().find(|(key, _)| key.starts_with(OUTBOX));
        let newest = newest.map(|(key, _)| key.clone());
        let mut batch = sled::Batch::default();
        batch.insert(codec::HEADER, change.header.to_bytes()?);
        for (key, value) in change.rows {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.with_db("wrote", |db| db.apply_batch(batch))?;
        self.header = change.header;
        if let Some(newest) = newest {
            self.newest = newest;
        }
        self.is_ahead = true;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), JournalError> {
        if self.is_ahead {
            self.with_db("flushed", |db| db.flush())?;
            self.is_ahead = false;
            self.lock.note_flushed(self.header.id, self.header.commits)?;
        }
        Ok(())
    }

    fn scan(&self, kind: RowKind, each: &mut dyn FnMut(Row)) -> Result<(), JournalError> {
        let mut rows = self.reading(|db| Ok(db.scan_prefix([kind as u8])))?;
        while let Some((key, value)) = self.reading(|_| rows.next().transpose())? {
            each(codec::decode(&key, &value)?);
        }
        Ok(())
    }

    fn get(&self, key: &RowKey) -> Result<Option<Row>, JournalError> {
        let key = codec::encode_key(key);
        let value = self.reading(|db| db.get(&key))?;
        Ok(value.map(|value| codec::decode(&key, &value)).transpose()?)
    }

    fn run(&self, key: &RunKey) -> Result<Option<RunRows>, JournalError> {
        let Some(Row::Run(_, run)) = self.get(&RowKey::Run(key.clone()))? else { return Ok(None) };
        let found =
            self.reading(|db| db.scan_prefix(codec::files_of(key)).collect::<sled::Result<Vec<_>>>())?;
        let mut files = Vec::with_capacity(found.len());
        for (key, value) in found {
            if let Row::File(_, lfn, file) = codec::decode(&key, &value)? {
                files.push((lfn, file));
            }
        }
        Ok(Some((run, files)))
    }

    fn header(&self) -> Header {
        self.header.clone()
    }

    fn room(&self) -> Result<Room, JournalError> {
        Room::of(&self.folder, self.reserve).map_err(|source| JournalError::Folder {
            folder: self.folder.clone(),
            doing: "looked at",
            source,
        })
    }

    fn reopen(&mut self) -> Result<Opened, JournalError> {
        self.close();
        let place = open::Place { folder: &self.folder, cache: self.cache, mover: &self.mover };
        let (db, header, opened) = place.open(&mut self.lock)?;
        self.db = Some(db);
        self.header = header;
        self.is_ahead = false;
        let newest = self.reading(|db| db.scan_prefix(OUTBOX).next_back().transpose())?;
        self.newest = newest.map_or_else(|| OUTBOX.to_vec(), |(key, _)| key.to_vec());
        Ok(opened)
    }

    fn compact_if_needed(&mut self) -> Result<Compacted, JournalError> {
        let before = self.bytes_on_disk()?;
        if before <= SMALL_ENOUGH.max(self.header.bytes.saturating_mul(GROWN)) {
            return Ok(Compacted::NotNeeded { bytes: before });
        }
        self.compact(before)
    }
}

impl SledJournal {
    /// Writes all rows into a new folder and puts it in the place of the old one.
    pub(super) fn compact(&mut self, before: u64) -> Result<Compacted, JournalError> {
        self.flush()?;
        let place = open::Place { folder: &self.folder, cache: self.cache, mover: &self.mover };
        let header = self.header.to_bytes()?;
        attempt(&self.folder, "compacted", self.db.as_ref(), |db| place.write_anew(db, &header))?;
        self.close();
        let swapped = open::swap(&self.folder);
        // Whatever came of the swap, one whole journal is there; the lock's note tells whether it is the right one.
        self.reopen()?;
        swapped.map_err(|source| JournalError::Folder {
            folder: self.folder.clone(),
            doing: "compacted",
            source,
        })?;
        Ok(Compacted::Done { before, after: self.bytes_on_disk()? })
    }
}

impl Drop for SledJournal {
    fn drop(&mut self) {
        self.close();
    }
}
