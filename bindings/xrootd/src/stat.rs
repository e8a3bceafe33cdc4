//! What a server says of names: plain values.

use crate::call::RawStat;

/// What a server says of a file or folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// Bytes.
    pub size: u64,
    /// Last modification, seconds since 1970.
    pub mtime: i64,
    /// It is a folder.
    pub is_dir: bool,
    /// We may read it.
    pub readable: bool,
    /// We may write it.
    pub writable: bool,
    /// It is not on disk just now (tape).
    pub offline: bool,
    /// The server's identification of the file; another file of the same name has another.
    pub id: String,
}

/// A name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The bare name.
    pub name: String,
    /// Its stat, where the server gave it.
    pub stat: Option<Stat>,
}

/// Space behind a path, in bytes; what the server does not state is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Space {
    /// All of it.
    pub total: Option<u64>,
    /// What is free.
    pub free: Option<u64>,
    /// The largest piece that is free.
    pub largest_free: Option<u64>,
    /// What is used.
    pub used: Option<u64>,
    /// The quota, where there is one.
    pub quota: Option<u64>,
}

impl From<RawStat> for Stat {
    fn from(raw: RawStat) -> Self {
        Self {
            size: raw.size,
            mtime: i64::try_from(raw.mtime).unwrap_or(i64::MAX),
            is_dir: raw.flags & 2 != 0,
            offline: raw.flags & 8 != 0,
            readable: raw.flags & 16 != 0,
            writable: raw.flags & 32 != 0,
            id: raw.id,
        }
    }
}
