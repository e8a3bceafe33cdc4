//! How one file gets from one site to another: looked for, copied to a temporary name, verified, looked for again,
//! renamed, looked at once more. [`carry`] is one attempt; whether there is another is not decided here, nor is
//! anything written down here.
//!
//! What is known of the window that is left: `XRootD`'s rename overwrites without a word, so a file that somebody else
//! puts under the final name between the last look and our rename, some milliseconds, is lost. The posix engine has no
//! such window. A destination server that answers nobody cannot be looked at; what it holds is not seen either.

pub mod backoff;
pub mod breaker;
mod choose;
mod copying;
mod digest;
pub mod engine;
pub mod faulty;
mod flow;
mod leftovers;
mod look;
pub mod memory;
mod names;
pub mod native;
pub mod posix;
mod publish;
mod site;
#[cfg(test)]
mod tests;
mod verify;
pub mod xrdcp;

use lightrail_topics::{AttemptId, Checksum, Generation, Millis, MoverName, TransferId};

use crate::fault::Side;

pub use engine::{CopyOrder, Engine, Entry, Phase, Place, Progress, Stat, SumOrder};
pub use flow::carry;
pub use leftovers::{Swept, sweep_leftovers};
pub use names::{SitePath, Temporary, aside_name, temporary_name, transfer_hash};
pub use site::{Patience, Site, Verify};

/// One attempt at one transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The transfer.
    pub transfer: TransferId,
    /// Which attempt; never used before, it makes the temporary name.
    pub attempt: AttemptId,
    /// Whose temporary name.
    pub mover: MoverName,
    /// Where from.
    pub from: Site,
    /// Where to.
    pub to: Site,
    /// The size that was announced, in bytes.
    pub size: Option<u64>,
    /// The checksum that was announced.
    pub checksum: Option<Checksum>,
    /// Servers `host:port` of either site to use last, the one that failed last first; they are also not waited for
    /// longer than the others take.
    pub avoid: Vec<String>,
    /// The destination's data server that the planner chose; another one is taken where it does not answer.
    pub prefer: Option<String>,
    /// Attempts whose temporary files may still be there; removed first, where they can be reached.
    pub earlier_temporaries: Vec<AttemptId>,
    /// Attempts at earlier generations of the file. A server that hung may still rename one of their temporary files over
    /// this generation's: they have to be gone, as at least one server of the site says, before anything is copied.
    pub stale: Vec<(Generation, AttemptId)>,
}

/// What an attempt is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Looking at both sites.
    Looking,
    /// Opening both files.
    Opening,
    /// Waiting for a slot at the data server.
    Waiting,
    /// Bytes are moving.
    Copying {
        /// Bytes that the destination has.
        bytes: u64,
        /// Bytes that the source has.
        total: u64,
    },
    /// All bytes are there, the files are being closed.
    Closing,
    /// Sums are being computed at both ends.
    Summing,
    /// The final name is looked at and taken.
    Renaming,
    /// The final name is looked at once more.
    Confirming,
    /// What failed is being cleared away.
    Clearing,
}

/// Progress of an attempt, always the latest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What it is doing.
    pub step: Step,
    /// The source's data server, once chosen.
    pub source_server: Option<String>,
    /// The destination's data server, once chosen.
    pub destination_server: Option<String>,
    /// Servers of either site that did not answer, even if the attempt gets by without them. Each costs every attempt some
    /// seconds until it stands in [`Job::avoid`].
    pub silent: Vec<(Side, String)>,
}

impl Report {
    /// The beginning of every attempt.
    pub fn start() -> Self {
        Self { step: Step::Looking, source_server: None, destination_server: None, silent: Vec::new() }
    }
}

/// What a finished file was verified by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Verified {
    /// Size and checksum.
    Checksum,
    /// The size only, since no common kind can be had and the site allows that.
    SizeOnly,
}

/// A file that is verified at its final name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Its size in bytes.
    pub size: u64,
    /// Its checksum, as computed at the destination.
    pub checksum: Option<Checksum>,
    /// By what it was verified.
    pub verified: Verified,
    /// The announced sum, where no server can compute its kind.
    pub unchecked: Option<Checksum>,
    /// Whether it was there before.
    pub already_there: bool,
    /// The source's last modification, in whole seconds since 1970.
    pub source_mtime: i64,
    /// The source's data server.
    pub source_server: Option<String>,
    /// The destination's data server.
    pub destination_server: Option<String>,
    /// Its address at the site's door.
    pub url: String,
    /// Bytes moved by this attempt.
    pub bytes_moved: u64,
    /// The name that a different old file got.
    pub set_aside: Option<String>,
    /// When the attempt began.
    pub started: Millis,
    /// When all bytes were there.
    pub copied: Millis,
    /// When it was verified at its final name.
    pub verified_at: Millis,
}
