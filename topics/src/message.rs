//! Our messages as values: topic, key, payload and CloudEvents headers, made from events in one place so that an
//! event's id is the same whoever makes it and however often. Nothing is sent here, no clock is read.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::events::{
    Counted, Dataset, DeadLetter, Decider, FacilityStatus, FileAvailable, FileGone, Image, ImageResult,
    Indexed, Job, JobAsked, Route, RouteOverride, Rule, RunCorrected, RunGroup, RunIncomplete, RunManifest,
    RunTags, Start, TransferEvent, Trial, Wish, WishKey, asked_key, counted_key, dataset_key, decider_key,
    group_key, tags_key,
};
use crate::ids::{
    DatasetName, Experiment, FileAtSite, Generation, GroupName, MoverName, RuleName, RunAtSite, RunKey,
    SiteName, TransferId,
};
use crate::image::ImageInTrial;
use crate::lfn::Lfn;
use crate::time::Millis;
use crate::topic::{Channel, SiteTopic, Topic};

/// The type of an event, on the wire as `ce_type`. Journal rows hold it by its place: append, never reorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// A file was verified at its final name.
    FileAvailable,
    /// A file that was available is no longer there.
    FileGone,
    /// A closed run's whole manifest.
    RunAvailable,
    /// The manifest again, after a change.
    RunCorrected,
    /// A closed run that lacks files.
    RunIncomplete,
    /// A transfer changed its state.
    Transfer,
    /// The whole present wish for a key.
    Wish,
    /// From when on a mover moves.
    Start,
    /// Where an experiment's data go.
    Route,
    /// A failover.
    RouteOverride,
    /// What could not be understood.
    DeadLetter,
    /// Nothing: its transaction's end is what counts (see [`settled`]).
    Settled,
    /// An image is to be worked.
    Image,
    /// How far a run's images are published.
    Indexed,
    /// What became of an image.
    Result,
    /// A set of analysis parameters.
    Trial,
    /// What starts work.
    Rule,
    /// A step of a batch job's life.
    Job,
    /// Who decides.
    Decider,
    /// A rule is to fire by hand.
    JobAsked,
    /// The tags of a run.
    RunTags,
    /// Runs that belong together.
    RunGroup,
    /// Which runs belong to a dataset.
    Dataset,
    /// How far a topic is counted.
    Counted,
    /// How a part of a facility is.
    FacilityStatus,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 25] = [
        Self::FileAvailable,
        Self::FileGone,
        Self::RunAvailable,
        Self::RunCorrected,
        Self::RunIncomplete,
        Self::Transfer,
        Self::Wish,
        Self::Start,
        Self::Route,
        Self::RouteOverride,
        Self::DeadLetter,
        Self::Settled,
        Self::Image,
        Self::Indexed,
        Self::Result,
        Self::Trial,
        Self::Rule,
        Self::Job,
        Self::Decider,
        Self::JobAsked,
        Self::RunTags,
        Self::RunGroup,
        Self::Dataset,
        Self::Counted,
        Self::FacilityStatus,
    ];

    /// The text of `ce_type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FileAvailable => "file.available",
            Self::FileGone => "file.gone",
            Self::RunAvailable => "run.available",
            Self::RunCorrected => "run.corrected",
            Self::RunIncomplete => "run.incomplete",
            Self::Transfer => "transfer",
            Self::Wish => "wish",
            Self::Start => "start",
            Self::Route => "route",
            Self::RouteOverride => "route.override",
            Self::DeadLetter => "dead-letter",
            Self::Settled => "settled",
            Self::Image => "image",
            Self::Indexed => "indexed",
            Self::Result => "result",
            Self::Trial => "trial",
            Self::Rule => "rule",
            Self::Job => "job",
            Self::Decider => "decider",
            Self::JobAsked => "job.asked",
            Self::RunTags => "run.tags",
            Self::RunGroup => "run.group",
            Self::Dataset => "dataset",
            Self::Counted => "counted",
            Self::FacilityStatus => "facility.status",
        }
    }

    /// Whether events of this kind are on the channel.
    pub fn is_on(self, channel: &Channel) -> bool {
        let topic = match self {
            Self::FileAvailable | Self::FileGone => Topic::FilesAvailable,
            Self::RunAvailable | Self::RunCorrected | Self::RunIncomplete => Topic::RunsAvailable,
            Self::Transfer => Topic::Transfers,
            Self::Wish | Self::Start => Topic::Requests,
            Self::Route => Topic::Routes,
            Self::RouteOverride => Topic::RoutesOverride,
            Self::DeadLetter => Topic::DeadLetters,
            Self::Indexed => Topic::ImagesIndexed,
            Self::Result => Topic::Results,
            Self::Trial => Topic::Trials,
            Self::Rule | Self::RunTags | Self::RunGroup | Self::Dataset => Topic::Rules,
            Self::Job | Self::Decider | Self::JobAsked | Self::Counted => Topic::Jobs,
            Self::FacilityStatus => Topic::FacilityStatus,
            Self::Image => return matches!(channel, Channel::At(..)),
            Self::Settled => return !channel.is_logbooks(),
        };
        *channel == Channel::Of(topic)
    }

    /// The version of the payload's shape. Grows when a reader of the old one would misread the new one.
    pub fn version(self) -> u32 {
        1
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no kind of event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event type `{0}` is unknown")]
pub struct UnknownKind(String);

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| UnknownKind(text.chars().take(64).flat_map(char::escape_default).collect()))
    }
}

/// The CloudEvents attributes of a message (Kafka binding, binary mode).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudEvent {
    /// `ce_id`: derived from what the event is about, so a repeat has the same.
    pub id: String,
    /// `ce_type`.
    pub kind: Kind,
    /// `ce_source`: who says it, such as `lightrail-mover/nersc`.
    pub source: String,
    /// `ce_time`: when it happened.
    pub time: Millis,
    /// `traceparent` (W3C trace context).
    pub traceparent: Option<String>,
}

impl CloudEvent {
    /// The headers as they stand on the wire, in this order.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("ce_specversion", "1.0".to_owned()),
            ("ce_id", self.id.clone()),
            ("ce_type", self.kind.as_str().to_owned()),
            ("ce_source", self.source.clone()),
            ("ce_time", self.time.to_string()),
            ("ce_dataschema", format!("urn:lightrail:{}:{}", self.kind, self.kind.version())),
            ("content-type", "application/json".to_owned()),
        ];
        if let Some(traceparent) = &self.traceparent {
            headers.push(("traceparent", traceparent.clone()));
        }
        headers
    }
}

/// A message of ours, ready to be sent. Kept in the journal as an outbox row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Where to.
    pub channel: Channel,
    /// The key; empty is sent as no key.
    pub key: String,
    /// JSON; `None` is a tombstone.
    pub payload: Option<Vec<u8>>,
    /// CloudEvents attributes.
    pub headers: CloudEvent,
}

impl Message {
    fn new(
        kind: Kind,
        channel: impl Into<Channel>,
        key: String,
        id: String,
        payload: Option<Vec<u8>>,
        source: &str,
        at: Millis,
    ) -> Self {
        let headers = CloudEvent { id, kind, source: source.to_owned(), time: at, traceparent: None };
        Self { channel: channel.into(), key, payload, headers }
    }

    /// The same message as part of a trace.
    #[must_use]
    pub fn with_traceparent(mut self, traceparent: Option<String>) -> Self {
        self.headers.traceparent = traceparent;
        self
    }
}

/// The `ce_id` of `file.available`.
pub fn file_available_id(id: &TransferId) -> String {
    format!("{}:{id}", Kind::FileAvailable)
}

/// The `ce_id` of `file.gone`.
pub fn file_gone_id(id: &TransferId) -> String {
    format!("{}:{id}", Kind::FileGone)
}

/// The `ce_id` of `run.available`: there is one per run and site.
pub fn run_available_id(key: &RunAtSite) -> String {
    format!("{}:{key}", Kind::RunAvailable)
}

/// The `ce_id` of a numbered message about a run (`run.corrected`, `run.incomplete`).
pub fn run_numbered_id(kind: Kind, key: &RunAtSite, number: u32) -> String {
    format!("{kind}:{key}#{number}")
}

fn file_key(lfn: &Lfn, site: &SiteName) -> String {
    FileAtSite { lfn: lfn.clone(), site: site.clone() }.to_string()
}

fn transfer_id(lfn: &Lfn, generation: Generation, site: &SiteName) -> TransferId {
    TransferId { lfn: lfn.clone(), generation, site: site.clone() }
}

fn run_key(run: &RunKey, site: &SiteName) -> RunAtSite {
    RunAtSite { run: run.clone(), site: site.clone() }
}

/// The payload of an event that shares its topic with others: the tag `type` first, as the event enums write it.
fn tagged<T: Serialize>(kind: Kind, event: &T) -> Vec<u8> {
    #[derive(Serialize)]
    struct Tagged<'a, T> {
        r#type: &'static str,
        #[serde(flatten)]
        event: &'a T,
    }
    plain(&Tagged { r#type: kind.as_str(), event })
}

/// Bytes that most events fit in.
const USUAL: usize = 512;

fn plain<T: Serialize>(event: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(USUAL);
    serde_json::to_writer(&mut bytes, event)
        .expect("events are structs of strings, numbers and lists, which JSON can hold");
    bytes
}

/// FNV-1a of 64 bits: the same on every machine and in every version, which the standard library's hash is not. What a
/// wish or route says is part of its id by it, since one key is written many times.
pub fn stable_hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// `file.available` on `files.available`.
pub fn file_available(event: &FileAvailable, source: &str, at: Millis) -> Message {
    let id = file_available_id(&transfer_id(&event.lfn, event.generation, &event.site));
    let payload = tagged(Kind::FileAvailable, event);
    Message::new(
        Kind::FileAvailable,
        Topic::FilesAvailable,
        file_key(&event.lfn, &event.site),
        id,
        Some(payload),
        source,
        at,
    )
}

/// `file.gone` on `files.available`.
pub fn file_gone(event: &FileGone, source: &str, at: Millis) -> Message {
    let id = file_gone_id(&transfer_id(&event.lfn, event.generation, &event.site));
    let payload = tagged(Kind::FileGone, event);
    Message::new(
        Kind::FileGone,
        Topic::FilesAvailable,
        file_key(&event.lfn, &event.site),
        id,
        Some(payload),
        source,
        at,
    )
}

/// `run.available` on `runs.available`.
pub fn run_available(event: &RunManifest, source: &str, at: Millis) -> Message {
    let key = run_key(&event.run, &event.site);
    let payload = tagged(Kind::RunAvailable, event);
    Message::new(
        Kind::RunAvailable,
        Topic::RunsAvailable,
        key.to_string(),
        run_available_id(&key),
        Some(payload),
        source,
        at,
    )
}

/// `run.corrected` on `runs.available`.
pub fn run_corrected(event: &RunCorrected, source: &str, at: Millis) -> Message {
    let key = run_key(&event.manifest.run, &event.manifest.site);
    let id = run_numbered_id(Kind::RunCorrected, &key, event.number);
    let payload = tagged(Kind::RunCorrected, event);
    Message::new(Kind::RunCorrected, Topic::RunsAvailable, key.to_string(), id, Some(payload), source, at)
}

/// `run.incomplete` on `runs.available`.
pub fn run_incomplete(event: &RunIncomplete, source: &str, at: Millis) -> Message {
    let key = run_key(&event.run, &event.site);
    let id = run_numbered_id(Kind::RunIncomplete, &key, event.number);
    let payload = tagged(Kind::RunIncomplete, event);
    Message::new(Kind::RunIncomplete, Topic::RunsAvailable, key.to_string(), id, Some(payload), source, at)
}

/// A change of state on `transfers`.
pub fn transfer(event: &TransferEvent, source: &str, at: Millis) -> Message {
    let subject = transfer_id(&event.lfn, event.generation, &event.site);
    let attempt = event.attempt.map_or_else(|| "-".to_owned(), |attempt| attempt.to_string());
    let id = format!("{}:{subject}:{attempt}:{}", Kind::Transfer, event.place);
    let key = file_key(&event.lfn, &event.site);
    Message::new(Kind::Transfer, Topic::Transfers, key, id, Some(plain(event)), source, at)
}

/// The present wish for `key` on `requests`; `None` takes it back.
pub fn wish(key: &WishKey, wish: Option<&Wish>, source: &str, at: Millis) -> Message {
    keyed(Kind::Wish, Topic::Requests, key.to_string(), wish, source, at)
}

/// The key of [`start`]: `start@<mover>`.
pub fn start_key(mover: &MoverName) -> String {
    format!("start@{mover}")
}

/// From when on a mover moves, on `requests`.
pub fn start(event: &Start, source: &str, at: Millis) -> Message {
    let key = start_key(&event.mover);
    let id = format!("{}:{}", Kind::Start, event.mover);
    Message::new(Kind::Start, Topic::Requests, key, id, Some(plain(event)), source, at)
}

/// An experiment's route on `routes`; `None` takes it away.
pub fn route(experiment: &Experiment, route: Option<&Route>, source: &str, at: Millis) -> Message {
    keyed(Kind::Route, Topic::Routes, experiment.to_string(), route, source, at)
}

/// An experiment's failover on `routes.override`; `None` ends it.
pub fn route_override(
    experiment: &Experiment,
    route: Option<&RouteOverride>,
    source: &str,
    at: Millis,
) -> Message {
    keyed(Kind::RouteOverride, Topic::RoutesOverride, experiment.to_string(), route, source, at)
}

/// A message of a compacted topic whose key is written many times.
fn keyed<T: Serialize>(
    kind: Kind,
    topic: Topic,
    key: String,
    event: Option<&T>,
    source: &str,
    at: Millis,
) -> Message {
    let payload = event.map(plain);
    let id = match &payload {
        Some(payload) => format!("{kind}:{key}:{:016x}", stable_hash(payload)),
        None => format!("{kind}:{key}:removed:{}", at.0),
    };
    Message::new(kind, topic, key, id, payload, source, at)
}

/// What could not be understood, on `dead-letters`, under the original's key where that is text.
pub fn dead_letter(event: &DeadLetter, source: &str, at: Millis) -> Message {
    let id =
        format!("{}:{}/{}/{}:{}", Kind::DeadLetter, event.topic, event.partition, event.offset, event.by);
    let original = event.key.as_deref().and_then(crate::record::from_base64);
    let key = original.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    Message::new(Kind::DeadLetter, Topic::DeadLetters, key, id, Some(plain(event)), source, at)
}

/// A message that says nothing, for the sake of its transaction: a broker that was killed between a commit and its markers
/// can forget the markers, and then hides the partition from there on from everybody who reads committed. The end of the
/// next transaction of the same producer on that partition takes the place of the lost one.
pub fn settled(channel: impl Into<Channel>, partition: i32, source: &str, at: Millis) -> Message {
    let channel = channel.into();
    let key = format!("{}@{partition}", Kind::Settled);
    let id = format!("{}:{channel}/{partition}:{source}:{}", Kind::Settled, at.0);
    Message::new(Kind::Settled, channel, key, id, None, source, at)
}

/// An image to be worked, on its site's `images.live` or `images.reprocess`. Its id is the same on both: an image is worked
/// once per trial.
pub fn image(event: &Image, topic: SiteTopic, source: &str, at: Millis) -> Message {
    let key = event.key().to_string();
    let id = format!("{}:{key}@{}", Kind::Image, event.site);
    Message::new(Kind::Image, topic.at(&event.site), key, id, Some(plain(event)), source, at)
}

/// How far a run's images are published, on `images.indexed`.
pub fn indexed(event: &Indexed, source: &str, at: Millis) -> Message {
    let key = event.key().to_string();
    let id = format!("{}:{key}#{}", Kind::Indexed, event.number);
    Message::new(Kind::Indexed, Topic::ImagesIndexed, key, id, Some(plain(event)), source, at)
}

/// The `ce_id` of a result: there is one per image and trial.
pub fn result_id(key: &ImageInTrial) -> String {
    format!("{}:{key}", Kind::Result)
}

/// What became of an image, on `results`.
pub fn result(event: &ImageResult, source: &str, at: Millis) -> Message {
    let key = event.key();
    let (id, payload) = (result_id(&key), plain(event));
    Message::new(Kind::Result, Topic::Results, key.to_string(), id, Some(payload), source, at)
}

/// A trial, on `trials`. What it says is not part of its id: the first of a key counts.
pub fn trial(event: &Trial, source: &str, at: Millis) -> Message {
    let key = event.key().to_string();
    let id = format!("{}:{key}", Kind::Trial);
    Message::new(Kind::Trial, Topic::Trials, key, id, Some(plain(event)), source, at)
}

/// A rule, on `rules`; `None` takes it away.
pub fn rule(name: &RuleName, rule: Option<&Rule>, source: &str, at: Millis) -> Message {
    keyed(Kind::Rule, Topic::Rules, name.to_string(), rule, source, at)
}

/// The tags of a run, on `rules`; `None` takes them off.
pub fn run_tags(run: &RunKey, tags: Option<&RunTags>, source: &str, at: Millis) -> Message {
    keyed(Kind::RunTags, Topic::Rules, tags_key(run), tags, source, at)
}

/// A group of runs, on `rules`; `None` takes it away.
pub fn run_group(
    experiment: &Experiment,
    name: &GroupName,
    group: Option<&RunGroup>,
    source: &str,
    at: Millis,
) -> Message {
    keyed(Kind::RunGroup, Topic::Rules, group_key(experiment, name), group, source, at)
}

/// A dataset, on `rules`; `None` takes it away.
pub fn dataset(
    experiment: &Experiment,
    name: &DatasetName,
    dataset: Option<&Dataset>,
    source: &str,
    at: Millis,
) -> Message {
    keyed(Kind::Dataset, Topic::Rules, dataset_key(experiment, name), dataset, source, at)
}

/// How far a topic is counted, on `jobs`.
pub fn counted(event: &Counted, source: &str) -> Message {
    let key = counted_key(&event.topic);
    let id = format!("{}:{}#{}", Kind::Counted, event.topic, event.number);
    Message::new(Kind::Counted, Topic::Jobs, key, id, Some(plain(event)), source, event.at)
}

/// A step of a job's life, on `jobs`.
pub fn job(event: &Job, source: &str) -> Message {
    let id = format!("{}:{}:{}", Kind::Job, event.job, event.place);
    Message::new(Kind::Job, Topic::Jobs, event.job.to_string(), id, Some(plain(event)), source, event.at)
}

/// A rule is to fire by hand, on `jobs`.
pub fn job_asked(event: &JobAsked, source: &str) -> Message {
    let key = asked_key(&event.rule, &event.run);
    let id = format!("{}:{}/{}#{}", Kind::JobAsked, event.rule, event.run, event.request);
    Message::new(Kind::JobAsked, Topic::Jobs, key, id, Some(plain(event)), source, event.at)
}

/// How a part of a facility is, on `facility.status`.
pub fn facility_status(event: &FacilityStatus, source: &str) -> Message {
    let key = event.key().to_string();
    keyed(Kind::FacilityStatus, Topic::FacilityStatus, key, Some(event), source, event.at)
}

/// Who decides from here on, on `jobs`.
pub fn decider(event: &Decider, source: &str) -> Message {
    let key = decider_key(&event.decider);
    let id = format!("{}:{}:{}", Kind::Decider, event.decider, event.epoch);
    Message::new(Kind::Decider, Topic::Jobs, key, id, Some(plain(event)), source, event.at)
}

#[cfg(test)]
#[path = "message/tests.rs"]
mod tests;
