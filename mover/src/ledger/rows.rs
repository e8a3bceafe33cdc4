//! What the journal keeps: the ledger's state as rows. Plain data in a shape that a compact binary form can hold
//! (no tags, no skipped fields) but for `Wish`, `Route` and `RouteOverride`, which are kept as JSON. A change of shape
//! is a new format number: the journal is then rebuilt from Kafka.

use lightrail_topics::events::{Cause, ClosedBy, Route, RouteOverride, Verified, Wish, WishKey};
use lightrail_topics::message::Message;
use lightrail_topics::{AttemptId, Checksum, Experiment, Generation, Lfn, LogTime, Millis, RunKey, SiteName};
use serde::{Deserialize, Serialize};

/// The number of this shape. Add one with every change of a row type.
pub const FORMAT: u32 = 2;

/// One row of the journal.
#[derive(Clone, Debug, PartialEq)]
pub enum Row {
    /// A run.
    Run(RunKey, RunRow),
    /// A file of a run, with its transfers.
    File(RunKey, Lfn, FileRow),
    /// The present wish of a key.
    Wish(WishKey, Wish),
    /// An experiment's route.
    Route(Experiment, Route),
    /// An experiment's failover.
    Override(Experiment, RouteOverride),
    /// Where an experiment's data go by the logbook.
    Experiment(Experiment, ExperimentRow),
    /// A message that is to be published, by its place in the order.
    Outbox(u64, Message),
    /// The next offset to read of a partition, or the next unconfirmed one of a topic of ours.
    Position(PartitionKey, i64),
}

/// Names a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowKey {
    /// A run.
    Run(RunKey),
    /// A file of a run.
    File(RunKey, Lfn),
    /// A wish.
    Wish(WishKey),
    /// A route.
    Route(Experiment),
    /// A failover.
    Override(Experiment),
    /// An experiment.
    Experiment(Experiment),
    /// A message that waits.
    Outbox(u64),
    /// A position.
    Position(PartitionKey),
}

/// A change of the journal; a step's changes are written together or not at all.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Insert or replace.
    Put(Row),
    /// Remove, if it is there.
    Remove(RowKey),
}

/// A partition of a topic, by its full name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartitionKey {
    /// The topic's full name.
    pub topic: String,
    /// The partition.
    pub partition: i32,
}

/// What is known of an experiment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExperimentRow {
    /// The logbook's `dm_locations`.
    pub dm_locations: Vec<SiteName>,
}

/// A run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRow {
    /// When it began.
    pub began: Option<Millis>,
    /// When it ended.
    pub ended: Option<Millis>,
    /// By what it was known to be closed, and when that was known.
    pub closed: Option<(ClosedBy, Millis)>,
    /// Whether its list of files is known to be whole.
    pub listed: bool,
    /// Whether it came by a request, a first scan or a repair: a class below live runs.
    pub low: bool,
    /// When something new was last heard of it.
    pub heard: Millis,
    /// Where it goes.
    pub sites: Vec<RunSiteRow>,
}

/// A run at one of its sites.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSiteRow {
    /// The site.
    pub site: SiteName,
    /// Whether `run.available` was said.
    pub available: bool,
    /// How many `run.corrected` were said.
    pub corrected: u32,
    /// How many `run.incomplete` were said.
    pub incomplete: u32,
    /// What the last `run.incomplete` said to be missing (a hash), so that it is not said twice.
    pub incomplete_said: u64,
    /// What has changed since the last manifest, in words.
    pub changed: Option<String>,
    /// When its first file became available.
    pub first_file: Option<Millis>,
}

impl RunSiteRow {
    /// Nothing said yet.
    pub fn new(site: SiteName) -> Self {
        Self {
            site,
            available: false,
            corrected: 0,
            incomplete: 0,
            incomplete_said: 0,
            changed: None,
            first_file: None,
        }
    }
}

/// A file of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileRow {
    /// What its newest registration says.
    pub said: Said,
    /// When it was first heard of; dropped once it is settled.
    pub seen: Option<Millis>,
    /// Whether its writer is done with it although its run is open (next chunk, or `.inprogress` gone).
    pub whole: bool,
    /// Its transfers, one per site.
    pub sites: Vec<Transfer>,
}

/// What a registration says, for telling generations apart; long texts shrink to a hash once the file is settled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// When the file was created: milliseconds, and whether the text had a fraction.
    pub created: Option<(Millis, bool)>,
    /// Where its writer put it.
    pub path: Told,
    /// The writer's host.
    pub host: Told,
    /// Size in bytes.
    pub size: Option<u64>,
    /// Checksum.
    pub checksum: Option<Checksum>,
    /// Modification time, seconds since 1970, for a file found in a folder.
    pub mtime: Option<i64>,
}

impl Said {
    /// The creation time as the logbook's kind of instant.
    pub fn created(&self) -> Option<LogTime> {
        self.created
            .map(|(at, fraction)| if fraction { LogTime::exact(at) } else { LogTime::whole_second(at) })
    }
}

/// A text that may have been shortened to its hash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// Not said.
    #[default]
    Nothing,
    /// As it was said.
    Text(String),
    /// 64 bits of its hash.
    Hash(u64),
}

/// One generation of a file on its way to one site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transfer {
    /// Where to.
    pub site: SiteName,
    /// Which registration.
    pub generation: Generation,
    /// Where it stands.
    pub state: State,
    /// Attempts that count against the limit.
    pub tries: u32,
    /// Why the attempts failed, oldest first, bounded.
    pub history: Vec<Cause>,
    /// Attempts that may have left a temporary file.
    pub temporaries: Vec<AttemptId>,
    /// Temporary files of earlier generations. A server that hung may still carry out the rename of one, over this
    /// generation's file: they have to be gone before anything is copied.
    pub stale: Vec<(Generation, AttemptId)>,
    /// When it became ready.
    pub ready: Option<Millis>,
    /// How many messages outside an attempt `transfers` has of it: part of their ids.
    pub loose: u32,
}

impl Transfer {
    /// A later generation of the same file to the same site.
    #[must_use]
    pub fn renewed(&self, generation: Generation) -> Self {
        let own = self.temporaries.iter().map(|attempt| (self.generation, *attempt));
        let stale = self.stale.iter().copied().chain(own).collect();
        Self { stale, ..Self::new(self.site.clone(), generation) }
    }

    /// The first or next generation, waiting for its file to be complete.
    pub fn new(site: SiteName, generation: Generation) -> Self {
        Self {
            site,
            generation,
            state: State::Waiting,
            tries: 0,
            history: Vec::new(),
            temporaries: Vec::new(),
            stale: Vec::new(),
            ready: None,
            loose: 0,
        }
    }
}

/// Where a transfer stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Its file is not complete yet.
    Waiting,
    /// Can start as soon as there is a slot.
    Ready,
    /// An attempt is under way.
    Carrying(AttemptId),
    /// An attempt failed; the next may begin at this instant.
    Delayed(Millis),
    /// Verified at its final name.
    Done(Done),
    /// Given up; can be requeued.
    Failed,
    /// Not wanted any more.
    Cancelled,
    /// Was available, and is no longer there.
    Gone,
}

/// A finished transfer's line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Size in bytes.
    pub size: u64,
    /// Checksum at the final name.
    pub checksum: Option<Checksum>,
    /// How it was verified.
    pub verified: Verified,
    /// The source's modification time, seconds since 1970.
    pub source_mtime: i64,
    /// When it was verified.
    pub at: Millis,
}
