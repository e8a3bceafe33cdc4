//! How much room the journal's file system has. Looks when asked; decides nothing.

use std::fmt;
use std::path::Path;

/// Free space against what must stay free, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// What an ordinary user can still write.
    pub free: u64,
    /// What must stay free.
    pub reserve: u64,
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = |bytes| bytesize::ByteSize(bytes).display().iec();
        write!(f, "{} free, {} must stay free", size(self.free), size(self.reserve))
    }
}

impl Room {
    /// Whether there is more than must stay free.
    pub fn is_enough(&self) -> bool {
        self.free > self.reserve
    }

    /// Looks at the file system of a folder.
    pub(super) fn of(folder: &Path, reserve: u64) -> std::io::Result<Self> {
        let stat = rustix::fs::statvfs(folder)?;
        Ok(Self { free: stat.f_bavail.saturating_mul(stat.f_frsize), reserve })
    }
}
