//! The one place where topic names are made, and what set-up gives each topic: partitions, retention, compaction.
//! Plain data; nothing is created here (see [`crate::kafka::Admin`]).

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A topic by meaning. Journal rows hold it by its place in this list: append, never reorder.
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
}

impl Topic {
    /// All topics that the mover reads or writes.
    pub const ALL: [Self; 11] = [
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
    ];

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
            Self::FilesAvailable => Keeping::Newest { min_lag: Duration::from_secs(7 * 24 * 3600) },
            Self::Requests | Self::Routes | Self::RoutesOverride => {
                Keeping::Newest { min_lag: Duration::ZERO }
            }
            Self::Transfers | Self::DeadLetters => Keeping::For(Duration::from_secs(30 * 24 * 3600)),
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.base_name())
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

    /// The full name of a topic.
    pub fn name(&self, topic: Topic) -> String {
        let prefix = if topic.is_logbooks() { &self.logbook_prefix } else { &self.prefix };
        format!("{prefix}{}", topic.base_name())
    }

    /// The topic that has this full name.
    pub fn topic(&self, name: &str) -> Option<Topic> {
        Topic::ALL.into_iter().find(|topic| {
            let prefix = if topic.is_logbooks() { &self.logbook_prefix } else { &self.prefix };
            name.strip_prefix(prefix.as_str()) == Some(topic.base_name())
        })
    }

    /// Our own topics as set-up makes them; the logbook's are the logbook's business.
    pub fn specs(&self, partitions: i32, replication: i32) -> Vec<TopicSpec> {
        let ours = Topic::ALL.into_iter().filter(|topic| !topic.is_logbooks());
        ours.map(|topic| self.spec(topic, partitions, replication)).collect()
    }

    /// One topic as set-up makes it (also for the logbook's double, which makes the logbook's four).
    pub fn spec(&self, topic: Topic, partitions: i32, replication: i32) -> TopicSpec {
        TopicSpec { name: self.name(topic), partitions, replication, keeping: topic.keeping() }
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
            assert_eq!(plain.topic(&plain.name(topic)), Some(topic));
            assert_eq!(ours.topic(&ours.name(topic)), Some(topic));
        }
        assert_eq!(ours.name(Topic::Runs), "runs");
        assert_eq!(ours.name(Topic::FilesAvailable), "lightrail.files.available");
        assert_eq!(ours.topic("files.available"), None);
        assert!(Topics::new("a/b").is_err());
        assert_eq!(ours.specs(4, 1).len(), 7);
    }
}
