//! What the mover and the operators say on our topics: payloads, one type per topic, tagged by `type` where a topic
//! holds several. Plain data: no decision, no Kafka. Times are instants in UTC, sizes bytes, rates bytes per second.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::checksum::Checksum;
use crate::ids::{AttemptId, Experiment, Generation, IdError, MoverName, RunKey, SiteName};
use crate::lfn::Lfn;
use crate::time::{LogTime, Millis, as_string};

/// What a registration says of a file. Two registrations that do not contradict each other are one generation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Registration {
    /// When the file was created, as its writer says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<LogTime>,
    /// Where its writer put it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The writer's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Checksum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
    /// For a file found in a folder: modification time, seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtime: Option<i64>,
}

/// How a file was verified at its final name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verified {
    /// Size and checksum are the source's.
    Checksum,
    /// Only the size is: the site says `verify = "size"`.
    Size,
}

/// On `files.available`, key LFN@site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type")]
pub enum FileEvent {
    /// A file was verified at its final name.
    #[serde(rename = "file.available")]
    Available(FileAvailable),
    /// A file that was available is no longer there.
    #[serde(rename = "file.gone")]
    Gone(FileGone),
}

/// A file at a site, its size and checksum verified there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FileAvailable {
    /// The file.
    pub lfn: Lfn,
    /// Its run.
    pub run: RunKey,
    /// Where it is.
    pub site: SiteName,
    /// Which registration of it.
    pub generation: Generation,
    /// Size in bytes.
    pub size: u64,
    /// Its checksum, read at the final name. Missing only when `verified` is `size`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
    /// How it was verified.
    pub verified: Verified,
    /// The checksum that its registration named and that no server could compute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unchecked: Option<Checksum>,
    /// Where to read it: by the site's door.
    pub url: String,
    /// Whether it lay there already.
    pub already_there: bool,
    /// What its registration said.
    pub registration: Registration,
    /// Modification time of the source, seconds since 1970.
    pub source_mtime: i64,
    /// When what happened.
    pub timing: FileTiming,
    /// The attempt that brought it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<AttemptId>,
}

/// The course of a file's transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileTiming {
    /// When the mover learned of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Millis>,
    /// When the file was complete and could be copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<Millis>,
    /// When the attempt began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Millis>,
    /// When the last byte was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied: Option<Millis>,
    /// When size and checksum were read at the final name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Millis>,
}

/// A file that was available and is no longer there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileGone {
    /// The file.
    pub lfn: Lfn,
    /// Its run.
    pub run: RunKey,
    /// Where it was.
    pub site: SiteName,
    /// Which registration of it.
    pub generation: Generation,
    /// When its absence was seen.
    pub seen: Millis,
}

/// By what a run was known to take no more data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClosedBy {
    /// The first Update with `end_time`.
    EndTime,
    /// The start of the experiment's next run.
    NextRun,
    /// The logbook's REST, asked when the run had been silent.
    Logbook,
    /// In a folder without logbook: files of the next run.
    NextRunsFiles,
    /// In a folder without logbook: a quiet time.
    QuietTime,
    /// A request named the run.
    Request,
}

/// One file of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ManifestFile {
    /// The file.
    pub lfn: Lfn,
    /// Which registration of it.
    pub generation: Generation,
    /// Size in bytes.
    pub size: u64,
    /// Its checksum at the site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
    /// Where to read it: by the site's door.
    pub url: String,
}

/// A file that the run does not wait for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftOut {
    /// The file.
    pub lfn: Lfn,
    /// Who left it out: `configuration`, or a person.
    pub by: String,
    /// Why.
    pub why: String,
}

/// A file that a run still lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MissingFile {
    /// The file.
    pub lfn: Lfn,
    /// The one thing it waits for or failed by, in words.
    pub why: String,
}

/// On `runs.available`, key experiment/run@site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type")]
pub enum RunEvent {
    /// Closed, and every file verified or named as left out. Once.
    #[serde(rename = "run.available")]
    Available(RunManifest),
    /// The whole manifest again, after something came late, was registered again, or went.
    #[serde(rename = "run.corrected")]
    Corrected(RunCorrected),
    /// Closed, and what is missing has failed or is overdue. May repeat; the one `run.available` may still follow.
    #[serde(rename = "run.incomplete")]
    Incomplete(RunIncomplete),
}

/// All files of a closed run at a site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunManifest {
    /// The run.
    pub run: RunKey,
    /// Where its files are.
    pub site: SiteName,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<Millis>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Millis>,
    /// By what it was known to be closed.
    pub closed_by: ClosedBy,
    /// Its files, by name. Empty for a run that wrote none.
    pub files: Vec<ManifestFile>,
    /// Files that the run did not wait for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// When its first file became available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_file: Option<Millis>,
    /// When this was known.
    pub at: Millis,
}

/// A manifest that replaces the one before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunCorrected {
    /// Counts the run's corrections at the site, from 1.
    pub number: u32,
    /// What changed, in words.
    pub because: String,
    /// The whole manifest.
    pub manifest: RunManifest,
}

/// A closed run that lacks files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunIncomplete {
    /// Counts these messages of the run at the site, from 1.
    pub number: u32,
    /// The run.
    pub run: RunKey,
    /// The site that lacks files.
    pub site: SiteName,
    /// What is missing, and why.
    pub missing: Vec<MissingFile>,
    /// How many files are there.
    pub available: u32,
    /// When this was known.
    pub at: Millis,
}

/// Where a transfer stands, as `transfers` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TransferState {
    /// Wanted; its file is not complete yet.
    Waiting,
    /// Can be copied as soon as there is a slot.
    Ready,
    /// An attempt is under way.
    Carrying,
    /// An attempt failed; the next comes at `next_try`.
    Delayed,
    /// Verified at its final name.
    Done,
    /// Given up; can be requeued.
    Failed,
    /// Not wanted any more.
    Cancelled,
}

/// Why an attempt or a transfer ended as it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cause {
    /// The class of the error table: `transient`, `endpoint`, `credential`, `source_not_ready`, `integrity`, ...
    pub class: String,
    /// A stable short word: `stalled`, `no-space`, `cannot-verify`.
    pub code: String,
    /// In words, with the server's own text.
    pub text: String,
    /// The server concerned, `host:port`.
    #[serde(default)]
    pub endpoint: Option<String>,
}

/// On `transfers`, key LFN@site: a change of state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TransferEvent {
    /// The file.
    pub lfn: Lfn,
    /// Its run.
    pub run: RunKey,
    /// Where to.
    pub site: SiteName,
    /// Which registration.
    pub generation: Generation,
    /// The state that it has now.
    pub state: TransferState,
    /// The attempt concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<AttemptId>,
    /// The how manieth message of the attempt this is, from 0.
    pub place: u32,
    /// How many attempts were made that count against its limit.
    pub tries: u32,
    /// When it happened.
    pub at: Millis,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// When the next attempt may begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_try: Option<Millis>,
    /// Bytes moved by the attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The source's data server, `host:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_server: Option<String>,
    /// The destination's data server, `host:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_server: Option<String>,
    /// For a failed transfer: the causes of its attempts, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Cause>,
}

/// What a wish is about. The narrowest that says something wins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// All there is: `*`.
    Everything,
    /// An experiment.
    Experiment(Experiment),
    /// A run.
    Run(RunKey),
    /// A file.
    File(Lfn),
}

/// A wish's key on `requests`: `mfxlv9518/12@NERSC`, `*@*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WishKey {
    /// What it is about.
    pub subject: Subject,
    /// At which site; none is every site (`@*`).
    pub site: Option<SiteName>,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("*"),
            Self::Experiment(experiment) => experiment.fmt(f),
            Self::Run(run) => run.fmt(f),
            Self::File(lfn) => fmt::Display::fmt(lfn, f),
        }
    }
}

impl FromStr for Subject {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "*" {
            Ok(Self::Everything)
        } else if text.starts_with('/') {
            Ok(Self::File(text.parse::<Lfn>()?))
        } else if text.contains('/') {
            text.parse().map(Self::Run)
        } else {
            text.parse().map(Self::Experiment)
        }
    }
}

impl fmt::Display for WishKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.site {
            Some(site) => write!(f, "{}@{site}", self.subject),
            None => write!(f, "{}@*", self.subject),
        }
    }
}

impl FromStr for WishKey {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (subject, site) = text.rsplit_once('@').unwrap_or((text, "*"));
        Ok(Self { subject: subject.parse()?, site: if site == "*" { None } else { Some(site.parse()?) } })
    }
}
as_string!(
    Subject,
    "Subject",
    schemars::json_schema!({ "type": "string", "examples": ["*", "mfxlv9518/12"] })
);
as_string!(
    WishKey,
    "WishKey",
    schemars::json_schema!({ "type": "string", "examples": ["mfxlv9518/12@NERSC"] })
);

/// On `requests`: the whole present wish for its key. What is `None` is left to a wider key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Wish {
    /// To be moved, whatever the routes say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<bool>,
    /// How often it was asked for again after its files had gone.
    #[serde(default)]
    pub asked_again: u32,
    /// Not to be started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<bool>,
    /// Not wanted any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled: Option<bool>,
    /// How often failed transfers were put back.
    #[serde(default)]
    pub requeued: u32,
    /// Above (positive) or below (negative) others; 0 is the live runs' own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// What runs is finished, nothing new starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained: Option<bool>,
    /// Files that their run need not wait for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<bool>,
    /// Who wished.
    pub who: String,
    /// When.
    pub at: Millis,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// On `requests` under `start@<mover>`: the instant from which the mover moves what the logbook says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Start {
    /// The mover.
    pub mover: MoverName,
    /// Messages before this are not its business.
    pub from: Millis,
    /// When this was decided.
    pub at: Millis,
}

/// On `routes`, key experiment: where an experiment's data go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Route {
    /// Sites, in order of preference; all of them get the data.
    pub to: Vec<SiteName>,
    /// Whole runs (after they are closed), or file by file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streaming: Option<bool>,
    /// At most so many of the experiment's transfers at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfers: Option<u32>,
    /// Streams that a run need not wait for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_waited_streams: Option<Vec<u16>>,
    /// Who set it.
    pub who: String,
    /// When.
    pub at: Millis,
}

/// On `routes.override`, key experiment: a failover. Ends by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RouteOverride {
    /// Sites instead of the route's.
    pub to: Vec<SiteName>,
    /// Whether runs that have begun elsewhere go wholly to the new sites.
    #[serde(default, rename = "move")]
    pub move_begun: bool,
    /// Why.
    pub reason: String,
    /// When it ends.
    pub expires: Millis,
    /// When it was said.
    pub at: Millis,
}

/// On `dead-letters`: what could not be understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetter {
    /// The topic it was read from.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The raw key, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The raw value, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Why it could not be understood.
    pub reason: String,
    /// Who could not.
    pub by: String,
    /// When.
    pub at: Millis,
}
