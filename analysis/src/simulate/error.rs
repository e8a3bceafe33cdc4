//! Why a simulated beam time could not be written, by meaning.

use std::io;
use std::path::{Path, PathBuf};

use super::plan::PlanError;

/// Why a simulated beam time could not be written.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// A setting cannot be.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// It does not fit.
    #[error(
        "{what} needs {need}, and there are {have}: take fewer images, a smaller detector or another place"
    )]
    Room {
        /// The folder or the memory.
        what: String,
        /// Bytes, in words.
        need: String,
        /// Bytes, in words.
        have: String,
    },
    /// A file that would be written is there already, and is another.
    #[error("{} is there already{why}", path.display())]
    There {
        /// The file.
        path: PathBuf,
        /// What to do.
        why: &'static str,
    },
    /// A file or folder cannot be read or written.
    #[error("cannot write {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl SimulateError {
    /// For `map_err`.
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    /// Whether the request itself is at fault.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Plan(_) | Self::There { .. })
    }
}
