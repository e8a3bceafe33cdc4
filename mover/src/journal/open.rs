//! Opening a journal's folder without trusting it: on a thread of its own behind `catch_unwind`, every row read and
//! counted against the header; what is doubtful is moved aside and a fresh journal begins. Also its compaction.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, SystemTime};

use super::lock::Lock;
use super::{Because, Header, JournalError, Opened, codec};
use crate::ledger::rows::FORMAT;

/// A journal that does not open within this time is taken for damaged; a million rows take seconds.
const OPENS_WITHIN: Duration = Duration::from_secs(300);
/// How long an earlier handle of our own may take to let go of sled's file lock.
const LETS_GO_WITHIN: Duration = Duration::from_secs(5);
/// Rows per write while a journal is written anew.
const AT_ONCE: usize = 2000;

/// Where a journal lies and whose it is.
pub(super) struct Place<'a> {
    pub(super) folder: &'a Path,
    pub(super) cache: u64,
    pub(super) mover: &'a str,
}

/// What a look into a folder found.
enum Found {
    /// Everything the header counts is there.
    Whole(sled::Db, Header),
    /// Rows of another shape.
    Format(u32),
    /// Something is wrong with it.
    Damaged(String),
    /// The disk, not the journal, is the trouble.
    Disk(sled::Error),
}

impl Place<'_> {
    /// Opens what is there, or a fresh journal with the reason.
    pub(super) fn open(&self, lock: &mut Lock) -> Result<(sled::Db, Header, Opened), JournalError> {
        let of_folder =
            |doing| move |source| JournalError::Folder { folder: self.folder.to_owned(), doing, source };
        finish_swap(self.folder).map_err(of_folder("looked at"))?;
        if is_empty(self.folder).map_err(of_folder("looked at"))? {
            let because = if lock.flushed().is_some() { Because::Gone } else { Because::New };
            return self.fresh(lock, because);
        }
        let (found, aside): (Found, _) =
            (self.look(), || aside(self.folder, "damaged").map_err(of_folder("moved aside")));
        let because = match found {
            Found::Whole(_, header) if header.mover != self.mover => {
                let (theirs, ours) = (header.mover, self.mover.to_owned());
                return Err(JournalError::Foreign { folder: self.folder.to_owned(), theirs, ours });
            }
            Found::Whole(db, header) => match lock.flushed() {
                Some((id, flushed)) if id == header.id && flushed > header.commits => {
                    drop(db);
                    Because::RolledBack { flushed, found: header.commits, aside: aside()? }
                }
                Some((id, _)) if id != header.id => {
                    drop(db);
                    let what = "it is not the one that was last written here".to_owned();
                    Because::Damaged { what, aside: aside()? }
                }
                _ => {
                    lock.note_flushed(header.id, header.commits)?;
                    return Ok((db, header, Opened::Live));
                }
            },
            Found::Format(found) => Because::Format { found, aside: aside()? },
            Found::Damaged(what) => Because::Damaged { what, aside: aside()? },
            Found::Disk(source) => return Err(self.disk("opened", source)),
        };
        tracing::warn!(folder = %self.folder.display(), %because, "journal is not used");
        self.fresh(lock, because)
    }

    fn disk(&self, doing: &'static str, source: sled::Error) -> JournalError {
        JournalError::Disk { folder: self.folder.to_owned(), doing, source: source.into() }
    }

    /// Makes an empty journal. The note of the old one is forgotten only when the new one is on disk.
    fn fresh(&self, lock: &mut Lock, because: Because) -> Result<(sled::Db, Header, Opened), JournalError> {
        let header = Header::new(self.mover, fastrand::u64(..));
        let bytes = header.to_bytes()?;
        let made = open_sled(self.folder, self.cache).and_then(|db| {
            db.insert(codec::HEADER, bytes)?;
            db.flush()?;
            Ok(db)
        });
        let db = made.map_err(|source| self.disk("made", source))?;
        lock.note_flushed(header.id, header.commits)?;
        Ok((db, header, Opened::Fresh { because }))
    }

    /// Opens and reads everything, on a thread of its own: sled may panic, or hang, on what it does not expect.
    fn look(&self) -> Found {
        let (send, receive) = channel();
        let (folder, cache) = (self.folder.to_owned(), self.cache);
        let started = std::thread::Builder::new().name("journal-open".to_owned()).spawn(move || {
            let found = catch_unwind(AssertUnwindSafe(|| look(&folder, cache)));
            // Nobody listens any more if it took too long.
            let _ = send.send(found.unwrap_or_else(|panic| Found::Damaged(panic_text(panic.as_ref()))));
        });
        if let Err(why) = started {
            return Found::Disk(why.into());
        }
        match receive.recv_timeout(OPENS_WITHIN) {
            Ok(found) => found,
            Err(RecvTimeoutError::Timeout) => {
                Found::Damaged(format!("it did not open within {OPENS_WITHIN:?}"))
            }
            Err(RecvTimeoutError::Disconnected) => Found::Damaged("its thread died".to_owned()),
        }
    }

    /// Writes all rows of `db` into `<folder>.new`, whole and flushed.
    pub(super) fn write_anew(&self, db: &sled::Db, header: &[u8]) -> sled::Result<()> {
        let folder = with_ending(self.folder, ".new");
        if folder.try_exists()? {
            std::fs::remove_dir_all(&folder)?;
        }
        let anew = open_sled(&folder, self.cache)?;
        let mut rows = db.range([1]..);
        loop {
            let mut batch = sled::Batch::default();
            let mut count = 0;
            for row in rows.by_ref().take(AT_ONCE) {
                let (key, value) = row?;
                batch.insert(key, value);
                count += 1;
            }
            if count == 0 {
                break;
            }
            anew.apply_batch(batch)?;
        }
        anew.insert(codec::HEADER, header)?;
        anew.flush()?;
        Ok(())
    }
}

/// Moves the folder to `<folder>.<word>-<unixtime>`.
pub(super) fn aside(folder: &Path, word: &str) -> io::Result<PathBuf> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let name = (since..since + 1000)
        .map(|time| with_ending(folder, &format!(".{word}-{time}")))
        .find(|name| !name.try_exists().unwrap_or(true))
        .ok_or_else(|| io::Error::other("no name is free"))?;
    std::fs::rename(folder, &name)?;
    Ok(name)
}

/// Puts `<folder>.new` in the place of the folder. At every moment one whole journal can be found by [`finish_swap`].
pub(super) fn swap(folder: &Path) -> io::Result<()> {
    std::fs::rename(folder, with_ending(folder, ".old"))?;
    std::fs::rename(with_ending(folder, ".new"), folder)?;
    std::fs::remove_dir_all(with_ending(folder, ".old"))
}

/// Ends what a kill in the middle of a compaction has left.
fn finish_swap(folder: &Path) -> io::Result<()> {
    let (old, new) = (with_ending(folder, ".old"), with_ending(folder, ".new"));
    if old.try_exists()? {
        if folder.try_exists()? {
            std::fs::remove_dir_all(&old)?;
        } else {
            std::fs::rename(&old, folder)?;
        }
    }
    if new.try_exists()? {
        std::fs::remove_dir_all(&new)?;
    }
    Ok(())
}

/// Opens and checks a folder; runs behind `catch_unwind`.
fn look(folder: &Path, cache: u64) -> Found {
    let db = match open_sled(folder, cache) {
        Ok(db) => db,
        Err(why) if is_of_disk(&why) => return Found::Disk(why),
        Err(why) => return Found::Damaged(why.to_string()),
    };
    let header = match db.get(codec::HEADER) {
        Ok(Some(header)) => header,
        Ok(None) => return Found::Damaged("it has no header row".to_owned()),
        Err(why) if is_of_disk(&why) => return Found::Disk(why),
        Err(why) => return Found::Damaged(why.to_string()),
    };
    match Header::format_of(&header) {
        Some(FORMAT) => {}
        Some(other) => return Found::Format(other),
        None => return Found::Damaged("its header row cannot be read".to_owned()),
    }
    let header = match Header::from_bytes(&header) {
        Ok(header) => header,
        Err(why) => return Found::Damaged(why.to_string()),
    };
    let mut counted = Header { rows: 0, bytes: 0, sum: 0, ..header.clone() };
    for row in db.range([1]..) {
        let (key, value) = match row {
            Ok(row) => row,
            Err(why) if is_of_disk(&why) => return Found::Disk(why),
            Err(why) => return Found::Damaged(why.to_string()),
        };
        counted.with(&key, &value);
        if let Err(why) = codec::decode(&key, &value) {
            return Found::Damaged(why.to_string());
        }
    }
    if counted.rows != header.rows {
        return Found::Damaged(format!("it has {} rows of {}", counted.rows, header.rows));
    }
    if counted != header {
        return Found::Damaged("its rows are not those that its header counts".to_owned());
    }
    Found::Whole(db, header)
}

/// Opens sled. An earlier handle of our own may still hold its file lock for a moment after its drop.
fn open_sled(folder: &Path, cache: u64) -> sled::Result<sled::Db> {
    let deadline = std::time::Instant::now() + LETS_GO_WITHIN;
    loop {
        let config = sled::Config::new()
            .path(folder)
            .cache_capacity(cache)
            .mode(sled::Mode::LowSpace)
            .flush_every_ms(None);
        match config.open() {
            Err(sled::Error::Io(why))
                if why.to_string().contains("could not acquire lock")
                    && std::time::Instant::now() < deadline =>
            {
                std::thread::park_timeout(Duration::from_millis(5));
            }
            other => return other,
        }
    }
}

/// Whether an error is the disk's: then the journal may be whole.
fn is_of_disk(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(why) if why.raw_os_error().is_some() || why.to_string().contains("acquire lock"))
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text =
        panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("sled panicked: {}", text.unwrap_or("without a word").lines().next().unwrap_or_default())
}

fn with_ending(folder: &Path, ending: &str) -> PathBuf {
    let mut name = folder.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Whether a folder is missing or holds nothing.
fn is_empty(folder: &Path) -> io::Result<bool> {
    match std::fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(why) => Err(why),
    }
}

/// Bytes of all files in a folder and the folders in it.
pub(super) fn bytes_of(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = match entry.metadata() {
            // sled removes old snapshots and blobs while we look.
            Err(why) if why.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        bytes += if metadata.is_dir() { bytes_of(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}
