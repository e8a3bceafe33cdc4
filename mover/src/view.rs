//! What the mover shows and what it can be asked: the questions that HTTP and the command line put to the owner, and
//! the plain values that answer them. Nothing is decided here, and nothing here reaches into the ledger.

use std::collections::BTreeMap;

use lightrail_topics::events::{ClosedBy, Wish, WishKey};
use lightrail_topics::{AttemptId, Experiment, Lfn, Millis, RunKey, SiteName, TransferId};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

/// Something asked of the owner. Whoever asks drops the receiver when he no longer waits; that is no error.
#[derive(Debug)]
pub enum Question {
    /// Which runs there are, the newest first.
    Runs(RunsFilter, oneshot::Sender<Vec<RunView>>),
    /// Which transfers there are: those under way first, then the queue in its order, then the others.
    Transfers(TransfersFilter, oneshot::Sender<Vec<TransferView>>),
    /// Why a run is not at its sites.
    Why(RunKey, oneshot::Sender<Result<WhyView, Unknown>>),
    /// Whether the mover does its work.
    Ready(oneshot::Sender<Readiness>),
    /// The logbook's question which files of a run are at a location.
    Present(PresenceQuestion, oneshot::Sender<BTreeMap<Lfn, Presence>>),
    /// Somebody's wish. Answered when it is flushed, with the whole present wish of the key.
    Wish(WishOrder, oneshot::Sender<Result<Wish, Unknown>>),
}

/// Which runs are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunsFilter {
    /// Of this experiment only.
    pub experiment: Option<Experiment>,
    /// Going to this site only.
    pub site: Option<SiteName>,
    /// Only runs that are not wholly available.
    #[serde(default)]
    pub unfinished: bool,
    /// At most so many; 100 if not said.
    pub limit: Option<usize>,
}

/// Which transfers are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransfersFilter {
    /// Of this experiment only.
    pub experiment: Option<Experiment>,
    /// Of this run only.
    pub run: Option<RunKey>,
    /// To this site only.
    pub site: Option<SiteName>,
    /// In this state only; all but the finished ones if not said.
    pub state: Option<TransferState>,
    /// At most so many; 100 if not said.
    pub limit: Option<usize>,
}

/// How many answers there are when nobody says how many he wants.
pub const LIMIT: usize = 100;

/// A run, as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunView {
    /// The run.
    pub run: RunKey,
    /// When it began.
    pub began: Option<Millis>,
    /// When it ended.
    pub ended: Option<Millis>,
    /// By what it is known to be closed; open if not.
    pub closed: Option<ClosedBy>,
    /// How many files are known.
    pub files: u64,
    /// Where it goes; empty means that it has no route.
    pub sites: Vec<RunSiteView>,
}

/// A run at one of its sites.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSiteView {
    /// The site.
    pub site: SiteName,
    /// Where it stands.
    pub state: RunState,
    /// Files that go there.
    pub files: u64,
    /// Of these, verified there.
    pub available: u64,
    /// Of these, given up.
    pub failed: u64,
    /// Bytes of the files whose size is known.
    pub bytes: u64,
    /// Of these, verified there.
    pub bytes_available: u64,
    /// When the first file became available.
    pub first_file: Option<Millis>,
}

/// Where a run stands at a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It takes data.
    Open,
    /// Closed; files are on their way.
    Moving,
    /// Closed and said to be incomplete.
    Incomplete,
    /// `run.available` was said.
    Available,
}

/// A transfer, as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferView {
    /// Which.
    pub id: TransferId,
    /// The file's run.
    pub run: RunKey,
    /// Where it stands.
    pub state: TransferState,
    /// The attempt under way.
    pub attempt: Option<AttemptId>,
    /// Attempts that count against the limit.
    pub tries: u32,
    /// Bytes of the file.
    pub size: Option<u64>,
    /// Bytes that are at the destination, while it is being copied.
    pub copied: Option<u64>,
    /// The data server that it goes to, `host:port`, while it is being copied.
    pub server: Option<String>,
    /// Since when it is ready, copied or available.
    pub since: Option<Millis>,
    /// Why its last attempt failed.
    pub cause: Option<String>,
    /// The one thing it waits for, in words; none if it is available.
    pub waits_for: Option<String>,
}

/// Where a transfer stands, in one word.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum TransferState {
    /// Its file is not complete yet.
    Waiting,
    /// Can start.
    Ready,
    /// Being copied.
    Carrying,
    /// Waits before its next attempt.
    Delayed,
    /// Verified.
    Done,
    /// Given up.
    Failed,
    /// Not wanted.
    Cancelled,
    /// Was there and is no longer.
    Gone,
}

/// Why a run is not at its sites.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyView {
    /// The run.
    pub run: RunKey,
    /// What holds of the run as a whole, in one sentence: that it is open, has no route, is wholly available ...
    pub summary: String,
    /// Its sites.
    pub sites: Vec<WhySite>,
}

/// Why a run is not at one site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhySite {
    /// The site.
    pub site: SiteName,
    /// Whether `run.available` was said.
    pub is_available: bool,
    /// Files that go there.
    pub files: u64,
    /// Files that are there.
    pub available: u64,
    /// Each missing file.
    pub missing: Vec<WhyFile>,
}

/// Why a file is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyFile {
    /// The file.
    pub lfn: Lfn,
    /// The one thing that it waits for, in words.
    pub waits_for: String,
}

/// Whether the mover does its work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether it takes and moves.
    pub ready: bool,
    /// What it waits for, each in words; empty when it is ready.
    pub waits_for: Vec<String>,
}

impl Readiness {
    /// Ready if nothing is waited for.
    pub fn of(waits_for: Vec<String>) -> Self {
        Self { ready: waits_for.is_empty(), waits_for }
    }
}

/// The logbook's call `check_files_for_run`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceQuestion {
    /// The run.
    pub run: RunKey,
    /// At which site.
    pub site: SiteName,
    /// The files asked about.
    pub files: Vec<Lfn>,
    /// Whether files that are missing are asked to be moved.
    pub restore: bool,
}

/// Where a file is that the logbook asks about. One whose presence cannot be told is left out of the answer, for any
/// word but `present` makes the logbook forget the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// Verified at the location.
    Present,
    /// On its way there.
    Pending,
    /// Neither there nor on its way.
    Absent,
}

/// What somebody wishes, of what, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WishOrder {
    /// Of what.
    pub key: WishKey,
    /// What.
    pub change: Change,
    /// Who.
    pub who: String,
    /// Why.
    #[serde(default)]
    pub why: String,
}

/// How a wish changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
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
    /// It is to be moved, whatever the routes say; what is gone is copied again.
    Request,
    /// Its run need not wait for it.
    LeaveOut,
}

/// A name that the mover does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{what} `{name}` is unknown{}", near_names(near))]
pub struct Unknown {
    /// What was expected: `experiment`, `run`, `site`, `file`.
    pub what: String,
    /// What was said.
    pub name: String,
    /// Known names that may have been meant, nearest first.
    pub near: Vec<String>,
}

impl Unknown {
    /// A name that is none of the known ones.
    pub fn new<'n>(what: &str, name: &str, known: impl IntoIterator<Item = &'n str>) -> Self {
        let near = crate::config::near(name, known).into_iter().map(str::to_owned).collect();
        Self { what: what.to_owned(), name: name.to_owned(), near }
    }
}

fn near_names(near: &[String]) -> String {
    match near {
        [] => String::new(),
        [one] => format!(", did you mean `{one}`?"),
        several => format!(", did you mean one of `{}`?", several.join("`, `")),
    }
}
