//! What the mover shows and what it can be asked: the questions that HTTP and the command line put to the owner, and
//! the plain values that answer them. Nothing is decided here, and nothing here reaches into the ledger.

use lightrail_topics::events::{Cause, TransferState, Wish, WishKey};
use lightrail_topics::{AttemptId, Experiment, Generation, Lfn, Millis, RunKey, SiteName};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

/// Something asked of the owner. Whoever no longer waits drops the receiver; that is no error.
#[derive(Debug)]
pub enum Question {
    /// Which runs there are, the newest first.
    Runs(RunFilter, oneshot::Sender<Vec<RunView>>),
    /// Which transfers there are.
    Transfers(TransferFilter, oneshot::Sender<Vec<TransferView>>),
    /// Why a run is not at its sites.
    Why(RunKey, oneshot::Sender<Result<WhyView, NotKnown>>),
    /// Whether the mover does its work.
    Ready(oneshot::Sender<Readiness>),
    /// The logbook's question which of a run's files are at a site, and whether missing ones are to be moved there.
    /// A file whose presence cannot be told is left out of the answer: any word but `present` makes the logbook
    /// forget the file.
    Present(RunKey, SiteName, Vec<Lfn>, bool, oneshot::Sender<Vec<(Lfn, Presence)>>),
    /// A change of a key's wish, who wants it and why. Answered when it is flushed.
    Wish(WishKey, WishChange, String, String, oneshot::Sender<Result<Wished, NotKnown>>),
}

/// Which runs are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunFilter {
    /// Of this experiment only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experiment: Option<Experiment>,
    /// At most so many; 100 if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Which transfers are asked for. Finished ones are shown only where a run is named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransferFilter {
    /// Of this run only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunKey>,
    /// At most so many; 1000 if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// A run at one of its sites, as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunView {
    /// The run.
    pub run: RunKey,
    /// Where it goes; none if it has no route.
    pub site: Option<SiteName>,
    /// `no route`, `open`, `moving`, `incomplete` or `available`.
    pub state: String,
    /// When it began.
    pub began: Option<Millis>,
    /// When it ended.
    pub ended: Option<Millis>,
    /// How many files are known.
    pub files: usize,
    /// Of these, verified at the site.
    pub available: usize,
    /// Of these, given up.
    pub failed: usize,
    /// Bytes of the files whose size is known.
    pub bytes: u64,
    /// Of these, verified at the site.
    pub bytes_available: u64,
    /// When the first file became available there.
    pub first_file: Option<Millis>,
}

/// A transfer, as people see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TransferView {
    /// The file.
    pub lfn: Lfn,
    /// Its run.
    pub run: RunKey,
    /// Where to.
    pub site: SiteName,
    /// Which registration.
    pub generation: Generation,
    /// Where it stands; none if it was available and is gone.
    pub state: Option<TransferState>,
    /// Attempts that count against the limit.
    pub tries: u32,
    /// Bytes of the file, where known.
    pub size: Option<u64>,
    /// The attempt under way.
    pub attempt: Option<AttemptId>,
    /// What the attempt does, in a word.
    pub step: Option<String>,
    /// Bytes copied so far, while it is being copied.
    pub bytes: Option<u64>,
    /// When the attempt began.
    pub since: Option<Millis>,
    /// The data server it is read from, `host:port`.
    pub from_server: Option<String>,
    /// The data server it is written to, `host:port`.
    pub to_server: Option<String>,
    /// The one thing it waits for, in words; none if it is available.
    pub why: Option<String>,
    /// Why its attempts failed, oldest first.
    pub history: Vec<Cause>,
}

/// Why a run is not at its sites.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyView {
    /// The run.
    pub run: RunKey,
    /// Its sites; one without a name where it has no route.
    pub sites: Vec<WhySite>,
}

/// Why a run is not at one site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhySite {
    /// The site.
    pub site: Option<SiteName>,
    /// What holds of the run as a whole there, in one sentence.
    pub summary: String,
    /// Each missing file, and the one thing that it waits for in words.
    pub missing: Vec<(Lfn, String)>,
}

/// Whether the mover does its work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether it takes what the logbook says and moves it.
    pub ready: bool,
    /// What it waits for, and what it leaves alone, each in words.
    pub notes: Vec<String>,
    /// Transfers that can start.
    pub queued: usize,
    /// Attempts under way.
    pub under_way: usize,
    /// Messages that are to be published.
    pub outbox: usize,
}

/// Where a file is that the logbook asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// Verified at the site.
    Present,
    /// On its way there.
    Pending,
}

/// How a wish changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WishChange {
    /// It is to be moved, whatever the routes say; what is gone is copied again.
    Ask,
    /// Nothing of it starts until it is resumed.
    Pause,
    /// Undoes pause and drain.
    Resume,
    /// It is not wanted any more; copies under way are stopped.
    Cancel,
    /// What has failed or was cancelled is tried again.
    Requeue,
    /// It goes before (positive) or after (negative) others; 0 is the live runs' own.
    Prioritise(i32),
    /// What runs is finished, nothing new starts.
    Drain,
}

/// What became of a wish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wished {
    /// The whole present wish of the key.
    pub wish: Wish,
    /// How many known transfers it concerns.
    pub transfers: usize,
    /// Whether it stands on Kafka. If not, it is in force and in the journal, and waits to be published.
    pub published: bool,
}

/// A name that the mover does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{what} `{name}` is unknown{}", hint(near))]
pub struct NotKnown {
    /// What was expected: `experiment`, `run of mfxlv9518`, `site`.
    pub what: String,
    /// What was said.
    pub name: String,
    /// Known names that may have been meant, nearest first.
    pub near: Vec<String>,
}

fn hint(near: &[String]) -> String {
    match near {
        [] => String::new(),
        [one] => format!(", did you mean `{one}`?"),
        several => format!("; near are `{}`", several.join("`, `")),
    }
}
