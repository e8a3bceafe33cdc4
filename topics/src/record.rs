//! A record as it was read from Kafka, and what it says, parsed into one closed enum. The only door by which our own
//! topics' bytes get in: unknown fields are dropped, a missing one is named, nothing is guessed.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::events::{
    Counted, Dataset, DeadLetter, Decider, FacilityStatus, FileEvent, Image, ImageResult, Indexed, Job,
    JobAsked, Route, RouteOverride, Rule, RunEvent, RunGroup, RunTags, Start, TransferEvent, Trial, Wish,
    WishKey, asked_key, counted_key, dataset_key, decider_key, group_key, tags_key,
};
use crate::ids::{
    DatasetName, Experiment, FileAtSite, GroupName, IdError, JobName, RuleName, RunAtSite, RunKey, SiteName,
};
use crate::logbook::{self, LogbookError, LogbookEvent, LogbookTopic};
use crate::message::Kind;
use crate::time::Millis;
use crate::topic::{Channel, SiteTopic, Topic, Topics};

/// A record as it was read from Kafka.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// The topic's full name.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The key's bytes.
    pub key: Option<Vec<u8>>,
    /// The value's bytes; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// The headers, in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// When the broker or the producer says it was written.
    pub timestamp: Option<Millis>,
}

impl Record {
    /// The last header of this name, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().rev().find(|(key, _)| key == name)?;
        std::str::from_utf8(value.as_deref()?).ok()
    }

    /// The event's id, by which repeats are dropped.
    pub fn ce_id(&self) -> Option<&str> {
        self.header("ce_id")
    }

    /// Who said it.
    pub fn ce_source(&self) -> Option<&str> {
        self.header("ce_source")
    }

    /// When it happened, as `ce_time` says.
    pub fn ce_time(&self) -> Option<Millis> {
        self.header("ce_time")?.parse().ok()
    }

    /// This record as a dead letter.
    pub fn dead_letter(&self, reason: &str, by: &str, at: Millis) -> DeadLetter {
        DeadLetter {
            topic: self.topic.to_string(),
            partition: self.partition,
            offset: self.offset,
            key: self.key.as_deref().map(|key| STANDARD.encode(key)),
            value: self.value.as_deref().map(|value| STANDARD.encode(value)),
            reason: reason.to_owned(),
            by: by.to_owned(),
            at,
        }
    }
}

// As text where it is text, for test failures and logs that people read.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &Option<Vec<u8>>| {
            bytes.as_deref().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        };
        let headers: Vec<_> = self.headers.iter().map(|(key, value)| (key, text(value))).collect();
        f.debug_struct("Record")
            .field("at", &format_args!("{}/{}/{}", self.topic, self.partition, self.offset))
            .field("key", &text(&self.key))
            .field("value", &text(&self.value))
            .field("headers", &headers)
            .field("timestamp", &self.timestamp)
            .finish()
    }
}

/// The bytes behind a base64 text, `None` if it is none.
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// What a record says.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// One of the logbook's four topics.
    Logbook(LogbookEvent),
    /// A file became available or went.
    File(FileEvent),
    /// A run became available, was corrected, or is incomplete.
    Run(RunEvent),
    /// A transfer changed its state.
    Transfer(TransferEvent),
    /// The present wish for a key; `None` is one taken back.
    Wish(WishKey, Option<Wish>),
    /// From when on a mover moves.
    Start(Start),
    /// An experiment's route; `None` is one taken away.
    Route(Experiment, Option<Route>),
    /// An experiment's failover; `None` is one ended.
    RouteOverride(Experiment, Option<RouteOverride>),
    /// An image is to be worked: taken live, or again.
    Image(SiteTopic, Image),
    /// How far a run's images are published.
    Indexed(Indexed),
    /// What became of an image.
    Result(ImageResult),
    /// A set of analysis parameters.
    Trial(Trial),
    /// What starts work; `None` is a rule taken away.
    Rule(RuleName, Option<Rule>),
    /// The tags of a run; `None` is all of them taken off.
    RunTags(RunKey, Option<RunTags>),
    /// Runs that belong together; `None` is a group taken away.
    RunGroup(Experiment, GroupName, Option<RunGroup>),
    /// Which runs belong to a dataset; `None` is one taken away.
    Dataset(Experiment, DatasetName, Option<Dataset>),
    /// How far a topic is counted.
    Counted(Counted),
    /// A step of a job's life.
    Job(Job),
    /// How a part of a facility is.
    Facility(FacilityStatus),
    /// Who decides.
    Decider(Decider),
    /// A rule is to fire by hand.
    JobAsked(JobAsked),
    /// What someone could not understand.
    DeadLetter(DeadLetter),
    /// Nothing; its transaction's end was wanted. To be passed over.
    Settled,
}

/// Why a record cannot be understood. All of them are permanent: the record goes to `dead-letters`.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Read from a topic that is none of ours.
    #[error("topic `{0}` is none of ours")]
    Topic(String),
    /// Its key is missing or no text.
    #[error("the key is missing or no UTF-8 text")]
    NoKey,
    /// Its key is no key of this topic.
    #[error("the key is refused")]
    Key(#[source] IdError),
    /// It has no value, where none can be taken back.
    #[error("the value is missing")]
    NoValue,
    /// It has the CloudEvents type of another topic, or one that this version does not know.
    #[error("event type `{0}` is not known on this topic")]
    Type(String),
    /// Its value is no JSON of the event's shape; the source names the field.
    #[error("the value is no {what}")]
    Value {
        /// What was expected.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// Key and value are about different things.
    #[error("the key `{key}` and the value, about `{value}`, disagree")]
    Disagree {
        /// The key.
        key: String,
        /// The key that the value should have.
        value: String,
    },
    /// It is meant for another site than the topic.
    #[error("the topic is of site {topic}, and the value, of site {value}, disagrees")]
    Site {
        /// The topic's.
        topic: SiteName,
        /// The value's.
        value: SiteName,
    },
    /// A logbook message that cannot be understood.
    #[error(transparent)]
    Logbook(#[from] LogbookError),
}

impl DecodeError {
    /// The error and its causes in one line, for a dead letter's reason.
    pub fn reason(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        text
    }
}

/// Reads what a record says.
pub fn decode(topics: &Topics, record: &Record) -> Result<Event, DecodeError> {
    let unknown = || DecodeError::Topic(record.topic.to_string());
    let channel = topics.channel(&record.topic).ok_or_else(unknown)?;
    if let Channel::Of(topic) = channel
        && let Some(topic) = LogbookTopic::of(topic)
    {
        let value = record.value.as_deref().ok_or(DecodeError::NoValue)?;
        return Ok(Event::Logbook(logbook::parse(topic, value)?));
    }
    if known_type(&channel, record)? == Some(Kind::Settled) {
        return Ok(Event::Settled);
    }
    let topic = match channel {
        Channel::Of(topic) => topic,
        Channel::At(topic, site) => {
            let image: Image = value(record, "image")?;
            agree(record, &image.key())?;
            agree_on_site(&site, &image.site)?;
            return Ok(Event::Image(topic, image));
        }
    };
    match topic {
        Topic::FilesAvailable => {
            let event: FileEvent = value(record, "file event")?;
            let (lfn, site) = match &event {
                FileEvent::Available(file) => (&file.lfn, &file.site),
                FileEvent::Gone(file) => (&file.lfn, &file.site),
            };
            agree(record, &FileAtSite { lfn: lfn.clone(), site: site.clone() })?;
            Ok(Event::File(event))
        }
        Topic::RunsAvailable => {
            let event: RunEvent = value(record, "run event")?;
            let (run, site) = match &event {
                RunEvent::Available(manifest) => (&manifest.run, &manifest.site),
                RunEvent::Corrected(corrected) => (&corrected.manifest.run, &corrected.manifest.site),
                RunEvent::Incomplete(incomplete) => (&incomplete.run, &incomplete.site),
            };
            agree(record, &RunAtSite { run: run.clone(), site: site.clone() })?;
            Ok(Event::Run(event))
        }
        Topic::Transfers => {
            let event: TransferEvent = value(record, "transfer event")?;
            agree(record, &FileAtSite { lfn: event.lfn.clone(), site: event.site.clone() })?;
            Ok(Event::Transfer(event))
        }
        Topic::Requests => request(record),
        Topic::Routes => Ok(Event::Route(parsed_key(record)?, value_or_none(record, "route")?)),
        Topic::RoutesOverride => {
            Ok(Event::RouteOverride(parsed_key(record)?, value_or_none(record, "failover")?))
        }
        Topic::DeadLetters => Ok(Event::DeadLetter(value(record, "dead letter")?)),
        Topic::Trials => {
            let event: Trial = value(record, "trial")?;
            agree(record, &event.key())?;
            Ok(Event::Trial(event))
        }
        Topic::ImagesIndexed => {
            let event: Indexed = value(record, "progress of a run's images")?;
            agree(record, &event.key())?;
            Ok(Event::Indexed(event))
        }
        Topic::Results => {
            let event: ImageResult = value(record, "result")?;
            agree(record, &event.key())?;
            Ok(Event::Result(event))
        }
        Topic::Rules => rule(record),
        Topic::Jobs => job(record),
        Topic::FacilityStatus => {
            let event: FacilityStatus = value(record, "status of a facility")?;
            agree(record, &event.key())?;
            Ok(Event::Facility(event))
        }
        // Nothing is said there yet.
        Topic::Reflections => Err(DecodeError::Topic(record.topic.to_string())),
        Topic::Runs | Topic::FileCatalog | Topic::Experiments | Topic::WorkflowJobs => {
            unreachable!("the logbook's topics were read above")
        }
    }
}

fn request(record: &Record) -> Result<Event, DecodeError> {
    let key = text_key(record)?;
    if key.starts_with("start@") {
        let start: Start = value(record, "start of a mover")?;
        let expected = crate::message::start_key(&start.mover);
        if key != expected {
            return Err(DecodeError::Disagree { key: key.to_owned(), value: expected });
        }
        return Ok(Event::Start(start));
    }
    Ok(Event::Wish(parsed_key(record)?, value_or_none(record, "wish")?))
}

fn rule(record: &Record) -> Result<Event, DecodeError> {
    let key = text_key(record)?;
    if let Some(run) = key.strip_prefix("tags@") {
        let tags = value_or_none::<RunTags>(record, "run's tags")?;
        if let Some(tags) = &tags {
            agree(record, &tags_key(&tags.run))?;
        }
        return Ok(Event::RunTags(run.parse().map_err(DecodeError::Key)?, tags));
    }
    if let Some(name) = key.strip_prefix("group@") {
        let group = value_or_none::<RunGroup>(record, "group of runs")?;
        if let Some(group) = &group {
            agree(record, &group_key(&group.experiment, &group.group))?;
        }
        let (experiment, name) = of_experiment(name)?;
        return Ok(Event::RunGroup(experiment, name, group));
    }
    if let Some(name) = key.strip_prefix("dataset@") {
        let dataset = value_or_none::<Dataset>(record, "dataset")?;
        if let Some(dataset) = &dataset {
            agree(record, &dataset_key(&dataset.experiment, &dataset.dataset))?;
        }
        let (experiment, name) = of_experiment(name)?;
        return Ok(Event::Dataset(experiment, name, dataset));
    }
    let (name, rule) = (parsed_key(record)?, value_or_none::<Rule>(record, "rule")?);
    if let Some(rule) = &rule {
        agree(record, &rule.rule)?;
    }
    Ok(Event::Rule(name, rule))
}

/// A name within an experiment: `mfxlv9518/lysozyme`.
fn of_experiment<N: std::str::FromStr<Err = IdError>>(text: &str) -> Result<(Experiment, N), DecodeError> {
    let (experiment, name) = text.split_once('/').unwrap_or((text, ""));
    let experiment = experiment.parse().map_err(DecodeError::Key)?;
    Ok((experiment, name.parse().map_err(DecodeError::Key)?))
}

fn job(record: &Record) -> Result<Event, DecodeError> {
    let key = text_key(record)?;
    if key.starts_with("counted@") {
        let counted: Counted = value(record, "count of a topic")?;
        agree(record, &counted_key(&counted.topic))?;
        return Ok(Event::Counted(counted));
    }
    if key.starts_with("decider@") {
        let decider: Decider = value(record, "decider")?;
        agree(record, &decider_key(&decider.decider))?;
        return Ok(Event::Decider(decider));
    }
    if key.starts_with("asked@") {
        let asked: JobAsked = value(record, "request for a job")?;
        agree(record, &asked_key(&asked.rule, &asked.run))?;
        return Ok(Event::JobAsked(asked));
    }
    parsed_key::<JobName>(record)?;
    let job: Job = value(record, "step of a job")?;
    agree(record, &job.job)?;
    agree(record, &job.identity.name())?;
    Ok(Event::Job(job))
}

/// A type that names another topic's event is refused; a message without one (an operator's own tool) is not.
fn known_type(channel: &Channel, record: &Record) -> Result<Option<Kind>, DecodeError> {
    let Some(text) = record.header("ce_type") else { return Ok(None) };
    match text.parse::<Kind>() {
        Ok(kind) if kind.is_on(channel) => Ok(Some(kind)),
        _ => Err(DecodeError::Type(text.chars().take(64).flat_map(char::escape_default).collect())),
    }
}

fn text_key(record: &Record) -> Result<&str, DecodeError> {
    let key = record.key.as_deref().ok_or(DecodeError::NoKey)?;
    std::str::from_utf8(key).map_err(|_| DecodeError::NoKey)
}

fn parsed_key<K: std::str::FromStr>(record: &Record) -> Result<K, DecodeError>
where
    K::Err: Into<IdError>,
{
    text_key(record)?.parse().map_err(|error: K::Err| DecodeError::Key(error.into()))
}

fn agree<K: std::fmt::Display>(record: &Record, expected: &K) -> Result<(), DecodeError> {
    let (key, value) = (text_key(record)?, expected.to_string());
    if key == value { Ok(()) } else { Err(DecodeError::Disagree { key: key.to_owned(), value }) }
}

/// A site's own topic holds what is meant for that site.
fn agree_on_site(topic: &SiteName, value: &SiteName) -> Result<(), DecodeError> {
    if topic == value {
        Ok(())
    } else {
        Err(DecodeError::Site { topic: topic.clone(), value: value.clone() })
    }
}

fn value<T: serde::de::DeserializeOwned>(record: &Record, what: &'static str) -> Result<T, DecodeError> {
    let bytes = record.value.as_deref().ok_or(DecodeError::NoValue)?;
    serde_json::from_slice(bytes).map_err(|source| DecodeError::Value { what, source })
}

fn value_or_none<T: serde::de::DeserializeOwned>(
    record: &Record,
    what: &'static str,
) -> Result<Option<T>, DecodeError> {
    if record.value.is_none() { Ok(None) } else { value(record, what).map(Some) }
}
