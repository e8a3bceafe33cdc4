//! The lock file beside the journal's folder: one process has the journal, and whoever is refused is told who has it.
//! It also holds how many commits were flushed, so that an older copy of the folder is told from the present one.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

/// Who has a journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The mover's name.
    pub mover: String,
    /// Its host.
    pub host: String,
    /// Its process.
    pub pid: u32,
}

/// What the lock file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    pub(super) holder: Holder,
    /// The journal that was last flushed here: its id and how many commits it had.
    pub(super) flushed: Option<(u64, u64)>,
}

/// Why a journal cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("journal {} is in use by {}", folder.display(), by(holder.as_ref()))]
    Held {
        /// The folder.
        folder: PathBuf,
        /// Who has it, where the lock file says so.
        holder: Option<Holder>,
    },
    /// The lock file cannot be opened or written.
    #[error("lock file {} cannot be used", path.display())]
    File {
        /// The lock file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

fn by(holder: Option<&Holder>) -> String {
    match holder {
        Some(Holder { mover, host, pid }) => format!("mover {mover} on {host}, process {pid}"),
        None => "another process".to_owned(),
    }
}

/// The file's fixed length, so that a later, shorter note leaves nothing of an earlier one.
const LENGTH: usize = 512;

fn lock_file(folder: &Path) -> PathBuf {
    let mut name = folder.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// Locks the open file and says what stood in it.
fn locked(folder: &Path, path: &Path, file: &mut File) -> Result<Option<Note>, LockError> {
    let mut text = String::new();
    // What is no note (a first start, a torn disk) says nothing.
    let _ = Read::by_ref(file).take(LENGTH as u64).read_to_string(&mut text);
    let found: Option<Note> = serde_json::from_str(text.trim_end_matches(['\0', ' ', '\n'])).ok();
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(found),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(LockError::Held { folder: folder.to_owned(), holder: found.map(|note| note.holder) })
        }
        Err(errno) => Err(LockError::File { path: path.to_owned(), source: errno.into() }),
    }
}

/// The lock, held until it is dropped or the process ends.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    path: PathBuf,
    note: Note,
}

impl Lock {
    /// Takes the lock of a folder and writes who has it now.
    pub(super) fn take(folder: &Path, holder: Holder) -> Result<Self, LockError> {
        let path = lock_file(folder);
        let failed = |source| LockError::File { path: path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        let found = locked(folder, &path, &mut file)?;
        let lock = Self { file, path, note: Note { holder, flushed: found.and_then(|note| note.flushed) } };
        lock.write()?;
        Ok(lock)
    }

    /// Whether the lock could be taken now; leaves everything as it is.
    pub(super) fn look(folder: &Path) -> Result<(), LockError> {
        let path = lock_file(folder);
        match File::open(&path) {
            Ok(mut file) => locked(folder, &path, &mut file).map(drop),
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(LockError::File { path, source }),
        }
    }

    /// The journal that was last flushed here: its id and commits.
    pub(super) fn flushed(&self) -> Option<(u64, u64)> {
        self.note.flushed
    }

    /// Notes what has been flushed. Not synced: after a loss of power an older note stands there, which is no harm.
    pub(super) fn note_flushed(&mut self, id: u64, commits: u64) -> Result<(), LockError> {
        self.note.flushed = Some((id, commits));
        self.write()
    }

    fn write(&self) -> Result<(), LockError> {
        let failed = |source| LockError::File { path: self.path.clone(), source };
        let mut text = serde_json::to_vec(&self.note).map_err(|why| failed(why.into()))?;
        text.resize(LENGTH.max(text.len()), b' ');
        self.file.write_all_at(&text, 0).map_err(failed)
    }
}
