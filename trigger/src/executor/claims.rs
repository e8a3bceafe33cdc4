//! Claims: which copy of a job works. A job's first step makes the link `<folder>/<job's name>` to its scheduler's id; whoever
//! reads its own id there works, everybody else ends. Taken by the trigger for a job that is given up, so that no copy that comes
//! late begins.

use std::path::PathBuf;

use lightrail_topics::JobName;

/// What stands in a claim that the trigger has taken.
const FENCED: &str = "given-up";

/// The folder of a site's claims, seen by the trigger and by every node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims(pub PathBuf);

/// Why a claim cannot be taken.
#[derive(Debug, thiserror::Error)]
#[error("claim {} cannot be taken", path.display())]
pub struct ClaimError {
    path: PathBuf,
    source: std::io::Error,
}

impl Claims {
    /// Takes a job's claim; gives the copy that has it already, if one has.
    ///
    /// # Errors
    /// When the folder cannot be written: then a copy may still begin.
    pub fn fence(&self, name: &JobName) -> Result<Option<String>, ClaimError> {
        let path = self.0.join(name.as_str());
        // Where it cannot be made, the link cannot either.
        let _ = std::fs::create_dir_all(&self.0);
        match std::os::unix::fs::symlink(FENCED, &path) {
            Ok(()) => Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => self.holder(name),
            Err(source) => Err(ClaimError { path, source }),
        }
    }

    /// The copy that has a job's claim.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn holder(&self, name: &JobName) -> Result<Option<String>, ClaimError> {
        let path = self.0.join(name.as_str());
        match std::fs::read_link(&path) {
            Ok(holder) => Ok(Some(holder.to_string_lossy().into_owned()).filter(|holder| holder != FENCED)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ClaimError { path, source }),
        }
    }
}
