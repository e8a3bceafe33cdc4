//! The one place where topic names are made, and what set-up gives each topic: partitions, retention, compaction.
//! Plain data; nothing is created here (see [`crate::kafka::Admin`]).

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::SiteName;

const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

/// A topic by meaning, of those of which there is one. Journal rows hold it by its place in this list: append, never reorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Topic {
    /// The logbook's runs.
    Runs,
    /// The logbook's files.
    FileCatalog,
    /// The logbook's experiments.
    Experiments,
    /// The logbook's jobs.
    WorkflowJobs,
    /// The whole present wish per key; compacted.
    Requests,
    /// Every change of state of a transfer.
    Transfers,
    /// Verified files, and files gone; compacted after 7 days.
    FilesAvailable,
    /// Manifests of runs; kept for ever.
    RunsAvailable,
    /// Where an experiment's data go; compacted.
    Routes,
    /// Failovers; compacted.
    RoutesOverride,
    /// What could not be understood.
    DeadLetters,
    /// Analysis parameters per experiment and trial; the first message of a key counts; kept for ever.
    Trials,
    /// How far the images of a run are published; compacted.
    ImagesIndexed,
    /// One result per image and trial; kept for ever.
    Results,
    /// Integrated reflections of indexed images; kept for ever.
    Reflections,
    /// What starts work; compacted.
    Rules,
    /// The life of batch jobs; kept for ever.
    Jobs,
    /// How facilities are; compacted.
    FacilityStatus,
}

impl Topic {
    /// All topics of which there is one.
    pub const ALL: [Self; 18] = [
        Self::Runs,
        Self::FileCatalog,
        Self::Experiments,
        Self::WorkflowJobs,
        Self::Requests,
        Self::Transfers,
        Self::FilesAvailable,
        Self::RunsAvailable,
        Self::Routes,
        Self::RoutesOverride,
        Self::DeadLetters,
        Self::Trials,
        Self::ImagesIndexed,
        Self::Results,
        Self::Reflections,
        Self::Rules,
        Self::Jobs,
        Self::FacilityStatus,
    ];
    /// Those that the trigger writes, and sets up.
    pub const TRIGGER: [Self; 3] = [Self::Rules, Self::Jobs, Self::FacilityStatus];
    /// Those that the analysis writes, and sets up.
    pub const ANALYSIS: [Self; 4] = [Self::Trials, Self::ImagesIndexed, Self::Results, Self::Reflections];

    /// The name without prefix.
    pub fn base_name(self) -> &'static str {
        match self {
            Self::Runs => "runs",
            Self::FileCatalog => "file_catalog",
            Self::Experiments => "experiments",
            Self::WorkflowJobs => "workflow_jobs",
            Self::Requests => "requests",
            Self::Transfers => "transfers",
            Self::FilesAvailable => "files.available",
            Self::RunsAvailable => "runs.available",
            Self::Routes => "routes",
            Self::RoutesOverride => "routes.override",
            Self::DeadLetters => "dead-letters",
            Self::Trials => "trials",
            Self::ImagesIndexed => "images.indexed",
            Self::Results => "results",
            Self::Reflections => "reflections",
            Self::Rules => "rules",
            Self::Jobs => "jobs",
            Self::FacilityStatus => "facility.status",
        }
    }

    /// Whether the LCLS logbook writes it, and owns its settings.
    pub fn is_logbooks(self) -> bool {
        matches!(self, Self::Runs | Self::FileCatalog | Self::Experiments | Self::WorkflowJobs)
    }

    /// How long set-up lets its messages stay.
    pub fn keeping(self) -> Keeping {
        match self {
            Self::Runs | Self::FileCatalog | Self::Experiments | Self::WorkflowJobs | Self::RunsAvailable => {
                Keeping::ForEver
            }
            Self::Trials | Self::Results | Self::Reflections | Self::Jobs => Keeping::ForEver,
            Self::FilesAvailable => Keeping::Newest { min_lag: Duration::from_secs(7 * 24 * 3600) },
            Self::Requests
            | Self::Routes
            | Self::RoutesOverride
            | Self::ImagesIndexed
            | Self::Rules
            | Self::FacilityStatus => Keeping::Newest { min_lag: Duration::ZERO },
            Self::Transfers | Self::DeadLetters => Keeping::For(MONTH),
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.base_name())
    }
}

/// A topic by meaning, of those of which each site has its own. Journal rows hold it by its place in this list: append,
/// never reorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SiteTopic {
    /// Images of runs as they are taken.
    ImagesLive,
    /// Images to be worked again under another trial; live ones come first.
    ImagesReprocess,
}

impl SiteTopic {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::ImagesLive, Self::ImagesReprocess];

    /// The name without prefix and site.
    pub fn base_name(self) -> &'static str {
        match self {
            Self::ImagesLive => "images.live",
            Self::ImagesReprocess => "images.reprocess",
        }
    }

    /// The one of this site.
    pub fn at(self, site: &SiteName) -> Channel {
        Channel::At(self, site.clone())
    }

    /// How long set-up lets its messages stay: what is worked on after a month is published again.
    pub fn keeping(self) -> Keeping {
        Keeping::For(MONTH)
    }
}

/// One topic on the broker, by meaning: where a message goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Channel {
    /// A topic of which there is one.
    Of(Topic),
    /// A site's own.
    At(SiteTopic, SiteName),
}

impl Channel {
    /// How long set-up lets its messages stay.
    pub fn keeping(&self) -> Keeping {
        match self {
            Self::Of(topic) => topic.keeping(),
            Self::At(topic, _) => topic.keeping(),
        }
    }

    /// Whether the LCLS logbook writes it, and owns its settings.
    pub fn is_logbooks(&self) -> bool {
        matches!(self, Self::Of(topic) if topic.is_logbooks())
    }
}

impl From<Topic> for Channel {
    fn from(topic: Topic) -> Self {
        Self::Of(topic)
    }
}

impl From<&Channel> for Channel {
    fn from(channel: &Channel) -> Self {
        channel.clone()
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(topic) => f.write_str(topic.base_name()),
            Self::At(topic, site) => write!(f, "{}.{site}", topic.base_name()),
        }
    }
}

/// How long messages stay on a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// All of them, for ever.
    ForEver,
    /// All of them, this long at least.
    For(Duration),
    /// The newest of each key for ever; older ones at least `min_lag`.
    Newest {
        /// Kafka's `min.compaction.lag.ms`.
        min_lag: Duration,
    },
}

/// A topic as set-up makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// The full name.
    pub name: String,
    /// How many partitions.
    pub partitions: i32,
    /// How many copies; -1 is the broker's default.
    pub replication: i32,
    /// How long messages stay.
    pub keeping: Keeping,
}

/// Why a prefix cannot stand before a topic's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("topic prefix `{0}` is refused: at most 64 of A-Z, a-z, 0-9, `.`, `_` and `-`")]
pub struct PrefixError(String);

/// Makes topic names. The logbook's own four have a prefix of their own, by default none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topics {
    prefix: String,
    logbook_prefix: String,
}

fn checked(prefix: &str) -> Result<String, PrefixError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if prefix.len() > 64 || !prefix.bytes().all(allowed) {
        return Err(PrefixError(prefix.chars().take(80).flat_map(char::escape_default).collect()));
    }
    Ok(prefix.to_owned())
}

impl Topics {
    /// Names with `prefix` before each of our own (such as `lightrail.`, or nothing).
    pub fn new(prefix: &str) -> Result<Self, PrefixError> {
        Ok(Self { prefix: checked(prefix)?, logbook_prefix: String::new() })
    }

    /// The same with a prefix before the logbook's four too, for tests that share a broker.
    pub fn with_logbook_prefix(self, prefix: &str) -> Result<Self, PrefixError> {
        Ok(Self { logbook_prefix: checked(prefix)?, ..self })
    }

    fn prefix(&self, logbooks: bool) -> &str {
        if logbooks { &self.logbook_prefix } else { &self.prefix }
    }

    /// The full name of a topic.
    pub fn name(&self, channel: impl Into<Channel>) -> String {
        let channel = channel.into();
        format!("{}{channel}", self.prefix(channel.is_logbooks()))
    }

    /// The group of the workers that take a topic's images. Its committed positions are what has been worked.
    pub fn workers(&self, channel: impl Into<Channel>) -> String {
        format!("{}.workers", self.name(channel))
    }

    /// The topic that has this full name.
    pub fn channel(&self, name: &str) -> Option<Channel> {
        let of =
            |topic: &Topic| name.strip_prefix(self.prefix(topic.is_logbooks())) == Some(topic.base_name());
        let at = |topic: SiteTopic| {
            let site = name.strip_prefix(self.prefix(false))?.strip_prefix(topic.base_name())?;
            Some(Channel::At(topic, site.strip_prefix('.')?.parse().ok()?))
        };
        let one = Topic::ALL.into_iter().find(of).map(Channel::Of);
        one.or_else(|| SiteTopic::ALL.into_iter().find_map(at))
    }

    /// The mover's own topics as set-up makes them; the logbook's are the logbook's business.
    pub fn specs(&self, partitions: i32, replication: i32) -> Vec<TopicSpec> {
        let others = |topic: &Topic| {
            topic.is_logbooks() || Topic::ANALYSIS.contains(topic) || Topic::TRIGGER.contains(topic)
        };
        let ours = Topic::ALL.into_iter().filter(|topic| !others(topic));
        ours.map(|topic| self.spec(topic, partitions, replication)).collect()
    }

    /// The analysis' own topics for these sites as set-up makes them.
    pub fn analysis_specs(&self, sites: &[SiteName], partitions: i32, replication: i32) -> Vec<TopicSpec> {
        let at = |site| SiteTopic::ALL.into_iter().map(move |topic| topic.at(site));
        let channels = Topic::ANALYSIS.into_iter().map(Channel::Of).chain(sites.iter().flat_map(at));
        channels.map(|channel| self.spec(channel, partitions, replication)).collect()
    }

    /// The trigger's own topics as set-up makes them.
    pub fn trigger_specs(&self, partitions: i32, replication: i32) -> Vec<TopicSpec> {
        Topic::TRIGGER.into_iter().map(|topic| self.spec(topic, partitions, replication)).collect()
    }

    /// One topic as set-up makes it (also for the logbook's double, which makes the logbook's four).
    pub fn spec(&self, channel: impl Into<Channel>, partitions: i32, replication: i32) -> TopicSpec {
        let channel = channel.into();
        let keeping = channel.keeping();
        TopicSpec { name: self.name(channel), partitions, replication, keeping }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_and_found_again() {
        let plain = Topics::default();
        let ours = Topics::new("lightrail.").unwrap();
        for topic in Topic::ALL {
            assert_eq!(plain.channel(&plain.name(topic)), Some(topic.into()));
            assert_eq!(ours.channel(&ours.name(topic)), Some(topic.into()));
        }
        let site: SiteName = "S3DF".parse().unwrap();
        for topic in SiteTopic::ALL {
            assert_eq!(ours.channel(&ours.name(topic.at(&site))), Some(topic.at(&site)));
        }
        assert_eq!(ours.name(SiteTopic::ImagesLive.at(&site)), "lightrail.images.live.S3DF");
        assert_eq!(plain.channel("images.live."), None);
        assert_eq!(plain.channel("images.live.S3DF.old"), None);
        assert_eq!(ours.name(Topic::Runs), "runs");
        assert_eq!(ours.name(Topic::FilesAvailable), "lightrail.files.available");
        assert_eq!(ours.channel("files.available"), None);
        assert!(Topics::new("a/b").is_err());
        assert_eq!(ours.specs(4, 1).len(), 7);
        let kept: Vec<_> =
            ours.trigger_specs(4, 1).into_iter().map(|spec| (spec.name, spec.keeping)).collect();
        assert_eq!(
            kept,
            [
                ("lightrail.rules".to_owned(), Keeping::Newest { min_lag: Duration::ZERO }),
                ("lightrail.jobs".to_owned(), Keeping::ForEver),
                ("lightrail.facility.status".to_owned(), Keeping::Newest { min_lag: Duration::ZERO }),
            ]
        );
        let specs = ours.analysis_specs(&[site], 4, 1);
        let kept: Vec<_> = specs.iter().map(|spec| (spec.name.as_str(), spec.keeping)).collect();
        assert_eq!(
            kept,
            [
                ("lightrail.trials", Keeping::ForEver),
                ("lightrail.images.indexed", Keeping::Newest { min_lag: Duration::ZERO }),
                ("lightrail.results", Keeping::ForEver),
                ("lightrail.reflections", Keeping::ForEver),
                ("lightrail.images.live.S3DF", Keeping::For(MONTH)),
                ("lightrail.images.reprocess.S3DF", Keeping::For(MONTH)),
            ]
        );
    }
}
