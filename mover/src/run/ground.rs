//! What a session asks of Kafka before anything starts: that it is there with our topics, since when this mover moves,
//! and where reading begins. Every wait says what it waits for.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use lightrail_topics::events::Start;
use lightrail_topics::kafka::{
    Admin, Connection, Isolation, KafkaError, Offset, PublishError, Publisher, Reader, read_to_end,
};
use lightrail_topics::{Event, Millis, Topic, Topics, decode, message};

use super::doers::chain;
use super::{Life, Phase, RunError};
use crate::clock::Clock;
use crate::config::StartFrom;
use crate::ledger::rows::PartitionKey;
use crate::outbox::READ_BACK;
use crate::rival::Identity;

/// What a session stands on.
pub(super) struct Ground<'a> {
    pub(super) life: &'a Life,
    pub(super) identity: Identity,
    pub(super) topics: Topics,
    pub(super) connection: Connection,
    pub(super) admin: Admin,
}

pub(super) struct StartInstant {
    pub(super) from: Millis,
    /// Whether it has still to be said.
    pub(super) new: bool,
}

/// The topics that the mover follows.
pub(super) const FOLLOWED: [Topic; 5] =
    [Topic::Runs, Topic::FileCatalog, Topic::Experiments, Topic::Routes, Topic::RoutesOverride];

impl Ground<'_> {
    pub(super) fn now(&self) -> Millis {
        self.life.clock.now()
    }

    pub(super) fn names(&self, topics: &[Topic]) -> Vec<String> {
        topics.iter().map(|topic| self.topics.name(*topic)).collect()
    }

    /// Kafka must be there with our own topics; one that keeps its messages too short is said at every start.
    pub(super) async fn await_kafka(&self) -> Result<(), RunError> {
        let (partitions, replication) = self.life.config.kafka.partitions_and_replication();
        let mut specs = self.topics.specs(partitions, replication);
        let ours = [&READ_BACK[..], &[Topic::Routes, Topic::RoutesOverride, Topic::DeadLetters]].concat();
        specs.retain(|spec| ours.iter().any(|topic| self.topics.name(*topic) == spec.name));
        self.life.phase(format!("waits for Kafka at {}", self.life.config.kafka.bootstrap_servers()));
        let (short, says) =
            (crate::metric::SHORT_RETENTION, |why| drop(self.life.phase.send_replace(Phase::Starting(why))));
        Ok(lightrail_service::topics::awaited(&self.admin, &specs, "lightrail-mover", short, says).await?)
    }

    /// Asks Kafka until it answers.
    pub(super) async fn patiently<T>(&self, what: &str, ask: impl AsyncFn() -> Result<T, KafkaError>) -> T {
        let mut wait = Duration::from_millis(250);
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(error) => self.life.phase(format!("{what}: {}", chain(&error))),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(5));
        }
    }

    /// The instant from which the mover moves: said once on `requests`, at the very first start by the configuration.
    pub(super) async fn start(&self) -> Result<StartInstant, RunError> {
        let requests = vec![self.topics.name(Topic::Requests)];
        let limit = Duration::from_secs(90);
        let none = BTreeMap::new();
        let reader = self.connection.named(format!("{}-start", self.connection.client_id));
        let records = self
            .patiently("reads requests", async || read_to_end(&reader, &requests, &none, limit).await)
            .await;
        let said = records.iter().rev().find_map(|record| match decode(&self.topics, record) {
            Ok(Event::Start(start)) if start.mover == self.identity.mover => Some(start.from),
            _ => None,
        });
        if let Some(Some(since)) = self.life.options.rebuild {
            return Ok(StartInstant { from: since, new: said.is_none() });
        }
        if let Some(from) = said {
            return Ok(StartInstant { from, new: false });
        }
        let group = self.identity.group();
        let followed = self.names(&FOLLOWED[..3]);
        let committed = self
            .patiently("looks at its group", async || self.admin.committed(&group, &followed).await)
            .await;
        let spoke = records.iter().any(|record| record.ce_source() == Some(&self.identity.source()));
        if !committed.is_empty() || spoke {
            tracing::warn!(
                "kafka knows this mover, but not since when it moves; begins with all that the topics hold"
            );
            return Ok(StartInstant { from: Millis(0), new: true });
        }
        let from = match self.life.config.start_from {
            None => return Err(RunError::NoStart(self.identity.mover.to_string())),
            Some(StartFrom::Now) => self.now(),
            Some(StartFrom::Time(at)) => at,
            Some(StartFrom::Earliest) => Millis(0),
        };
        Ok(StartInstant { from, new: true })
    }

    pub(super) async fn say_start(&self, publisher: &Publisher, from: Millis) -> Result<(), RunError> {
        let start = Start { mover: self.identity.mover.clone(), from, at: self.now() };
        let message = message::start(&start, &self.identity.source(), start.at);
        loop {
            match publisher.publish(vec![message.clone()]).await {
                Ok(_) => return Ok(()),
                Err(PublishError::Retriable(error)) => {
                    self.life.phase(format!("writes its start: {}", chain(&error)))
                }
                Err(error) => {
                    return Err(RunError::Start {
                        what: "start cannot be written".to_owned(),
                        source: error.into(),
                    });
                }
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Where reading begins: the journal's positions, and for partitions that it does not know, the start's instant. One
    /// that lies outside of its partition makes the journal doubtful.
    pub(super) async fn positions(
        &self,
        journals: &BTreeMap<PartitionKey, i64>,
        from: Millis,
    ) -> Result<HashMap<(String, i32), i64>, String> {
        let mut positions = HashMap::new();
        for topic in FOLLOWED {
            let name = self.topics.name(topic);
            let marks = self
                .patiently(&format!("looks at {name}"), async || self.admin.watermarks(&name).await)
                .await;
            let timed = if topic.is_logbooks() && from > Millis(0) {
                self.patiently(&format!("looks at {name}"), async || {
                    self.admin.offsets_for_time(&name, from).await
                })
                .await
            } else {
                Vec::new()
            };
            for (partition, low, high) in marks {
                let key = PartitionKey { topic: name.clone(), partition };
                let at = match journals.get(&key) {
                    Some(at) if *at < low || *at > high => {
                        return Err(format!(
                            "position {at} of {name}/{partition} lies outside of {low}..{high}: messages were lost unread, \
                             or the topic was made anew"
                        ));
                    }
                    Some(at) => *at,
                    None => timed
                        .iter()
                        .find(|(p, _)| *p == partition)
                        .map_or(low, |(_, at)| (*at).clamp(low, high)),
                };
                positions.insert((name.clone(), partition), at);
            }
        }
        Ok(positions)
    }

    /// Up to when the logbook's messages since `from` have been dropped from its topics, if some have.
    pub(super) async fn dropped(&self, from: Millis) -> Option<Millis> {
        let name = self.topics.name(Topic::Runs);
        let marks =
            self.patiently(&format!("looks at {name}"), async || self.admin.watermarks(&name).await).await;
        let mut until = None;
        for (partition, low, high) in marks {
            if low == 0 {
                continue;
            }
            let first = if low == high { None } else { self.first_kept(&name, partition, low).await };
            // Nothing is left: all of it up to now is gone.
            let kept = first.unwrap_or_else(|| self.now());
            until = until.max((kept > from).then_some(kept));
        }
        until
    }

    pub(super) async fn first_kept(&self, topic: &str, partition: i32, low: i64) -> Option<Millis> {
        let reader = self.connection.named(format!("{}-first", self.connection.client_id));
        let at = [(topic.to_owned(), partition, Offset::At(low))];
        let mut reader = Reader::assign(&reader, &at, Isolation::ReadCommitted).ok()?;
        let next = tokio::time::timeout(Duration::from_secs(10), reader.next()).await.ok()??;
        next.ok()?.timestamp
    }

    /// The offsets of our own topics that the journal has confirmed.
    pub(super) fn confirmed(&self, journals: &BTreeMap<PartitionKey, i64>) -> BTreeMap<(String, i32), i64> {
        let ours = self.names(&READ_BACK);
        journals
            .iter()
            .filter(|(key, _)| ours.contains(&key.topic))
            .map(|(key, at)| ((key.topic.clone(), key.partition), *at))
            .collect()
    }
}
