//! Asking and arranging: topics, offsets, groups. Each call has a limit and names a refused password within seconds.
//! Never here: changing or deleting a topic that is there.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError as RdError, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::{Offset as RdOffset, TopicPartitionList};

use super::connection::Connection;
use super::context::Context;
use super::error::KafkaError;
use super::probe::Probe;
use super::reader::Isolation;
use super::specs::{TopicReport, differences, settings};
use crate::time::Millis;
use crate::topic::TopicSpec;

/// A member of a group (classic protocol).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The broker's name for it; a static member's begins with its instance name.
    pub id: String,
    /// What it calls itself.
    pub client_id: String,
    /// Where it is, as the broker sees it: `/127.0.0.1`.
    pub host: String,
    /// Whether its group is at rest. While members join, the group keeps also those that no longer live.
    pub at_rest: bool,
}

/// Asks and arranges. Holds no connection; each call makes its own.
#[derive(Clone, Debug)]
pub struct Admin {
    pub(super) connection: Connection,
    limit: Duration,
}

impl Admin {
    /// An admin whose calls take at most `limit` each.
    pub fn new(connection: &Connection, limit: Duration) -> Self {
        Self { connection: connection.clone(), limit }
    }

    /// Whether a broker answers.
    pub async fn reach(&self) -> Result<(), KafkaError> {
        let ask = |probe: &Probe| {
            probe.ask("metadata", |consumer, limit| consumer.fetch_metadata(Some("runs"), limit).map(drop))
        };
        self.probe(None, move |probe| ask(&probe)).await
    }

    /// Makes the topics that are not there and reports how the others differ. Safe to repeat, and safe when several do it.
    pub async fn create_topics(&self, specs: &[TopicSpec]) -> Result<Vec<TopicReport>, KafkaError> {
        self.reach().await?;
        let client = self.client()?;
        let options = AdminOptions::new().operation_timeout(Some(self.limit));
        let all: Vec<_> = specs.iter().map(|spec| settings(spec.keeping)).collect();
        let topics: Vec<NewTopic<'_>> = specs
            .iter()
            .zip(&all)
            .map(|(spec, settings)| {
                let replication = TopicReplication::Fixed(spec.replication);
                let topic = NewTopic::new(&spec.name, spec.partitions, replication);
                settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
            })
            .collect();
        let results = client
            .create_topics(&topics, &options)
            .await
            .map_err(|error| KafkaError::of("creating topics", &error))?;
        let mut there = Vec::new();
        let mut reports = Vec::with_capacity(specs.len());
        for (spec, result) in specs.iter().zip(results) {
            let created = match result {
                Ok(_) => true,
                Err((_, Code::TopicAlreadyExists)) => false,
                Err((name, code)) => {
                    return Err(KafkaError::of(&format!("creating topic {name}"), &RdError::AdminOp(code)));
                }
            };
            if !created {
                there.push(spec.clone());
            }
            reports.push(TopicReport { name: spec.name.clone(), created, differences: Vec::new() });
        }
        self.until_known(&reports).await?;
        for found in self.describe(&there).await? {
            if let Some(report) = reports.iter_mut().find(|report| report.name == found.name) {
                report.differences = found.differences;
            }
        }
        Ok(reports)
    }

    /// A broker hears of what was just made a little later than the controller that has made it.
    async fn until_known(&self, reports: &[TopicReport]) -> Result<(), KafkaError> {
        let made = reports.iter().filter(|report| report.created).map(|report| report.name.clone());
        let mut made: Vec<String> = made.collect();
        let until = Instant::now() + self.limit;
        while let Some(name) = made.pop() {
            match self.partitions(&name).await {
                Ok(_) => {}
                Err(KafkaError::UnknownTopic(_)) if Instant::now() < until => {
                    made.push(name);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// How topics that should be there differ from what they should be. One that is not there is
    /// [`KafkaError::UnknownTopic`].
    pub async fn describe(&self, specs: &[TopicSpec]) -> Result<Vec<TopicReport>, KafkaError> {
        if specs.is_empty() {
            return Ok(Vec::new());
        }
        let client = self.client()?;
        let resources: Vec<_> = specs.iter().map(|spec| ResourceSpecifier::Topic(&spec.name)).collect();
        let options = AdminOptions::new().request_timeout(Some(self.limit));
        let described = client
            .describe_configs(&resources, &options)
            .await
            .map_err(|error| KafkaError::of("describing topics", &error))?;
        let mut reports = Vec::with_capacity(specs.len());
        for (spec, described) in specs.iter().zip(described) {
            let what = format!("describing topic {}", spec.name);
            let found = described.map_err(|code| KafkaError::of_code(&what, code, spec.name.clone()))?;
            let found: HashMap<String, String> =
                found.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect();
            let partitions = self.partitions(&spec.name).await?.len();
            let differences = differences(spec, partitions, &found);
            reports.push(TopicReport { name: spec.name.clone(), created: false, differences });
        }
        Ok(reports)
    }

    /// The partitions of a topic, in order.
    pub async fn partitions(&self, topic: &str) -> Result<Vec<i32>, KafkaError> {
        let topic = topic.to_owned();
        self.probe(None, move |probe| known(&topic, probe.partitions(&topic)?)).await
    }

    /// Per partition the first offset and the one after the last, open transactions included.
    pub async fn watermarks(&self, topic: &str) -> Result<Vec<(i32, i64, i64)>, KafkaError> {
        let topic = topic.to_owned();
        let ask = move |probe: Probe| {
            let mut marks = Vec::new();
            for partition in known(&topic, probe.partitions(&topic)?)? {
                let (first, end) = probe.watermarks(&topic, partition)?;
                marks.push((partition, first, end));
            }
            Ok(marks)
        };
        self.probe(None, ask).await
    }

    /// Per partition the first offset whose record is not older than `at`; the end where there is none.
    pub async fn offsets_for_time(&self, topic: &str, at: Millis) -> Result<Vec<(i32, i64)>, KafkaError> {
        let topic = topic.to_owned();
        let ask = move |probe: Probe| {
            let mut list = TopicPartitionList::new();
            for partition in known(&topic, probe.partitions(&topic)?)? {
                list.add_partition_offset(&topic, partition, RdOffset::Offset(at.0))
                    .map_err(|error| KafkaError::of("offsets for a time", &error))?;
            }
            let found = probe.ask("the offsets for a time", |consumer, limit| {
                consumer.offsets_for_times(list.clone(), limit)
            })?;
            let mut offsets = Vec::new();
            for element in found.elements() {
                let partition = element.partition();
                let offset = match element.offset() {
                    RdOffset::Offset(offset) => offset,
                    _ => probe.watermarks(&topic, partition)?.1,
                };
                offsets.push((partition, offset));
            }
            Ok(offsets)
        };
        self.probe(None, ask).await
    }

    /// The members of a group, without joining it. Empty for one that is not there.
    pub async fn members(&self, group: &str) -> Result<Vec<Member>, KafkaError> {
        let group = group.to_owned();
        let ask = move |probe: Probe| {
            let list = probe.ask("the members of the group", |consumer, limit| {
                consumer.fetch_group_list(Some(&group), limit)
            })?;
            let members = list.groups().iter().filter(|found| found.name() == group).flat_map(|found| {
                found.members().iter().map(|member| Member {
                    id: member.id().to_owned(),
                    client_id: member.client_id().to_owned(),
                    host: member.client_host().to_owned(),
                    at_rest: found.state() == "Stable",
                })
            });
            Ok(members.collect())
        };
        self.probe(None, ask).await
    }

    /// What the group has committed for the topics' partitions; partitions without a commit are left out.
    pub async fn committed(
        &self,
        group: &str,
        topics: &[String],
    ) -> Result<HashMap<(String, i32), i64>, KafkaError> {
        let topics = topics.to_vec();
        let ask = move |probe: Probe| {
            let mut list = TopicPartitionList::new();
            for topic in &topics {
                for partition in probe.partitions(topic)? {
                    list.add_partition(topic, partition);
                }
            }
            if list.count() == 0 {
                return Ok(HashMap::new());
            }
            let found = probe.ask("the committed offsets", |consumer, limit| {
                consumer.committed_offsets(list.clone(), limit)
            })?;
            let committed = found.elements().into_iter().filter_map(|element| match element.offset() {
                RdOffset::Offset(offset) => Some(((element.topic().to_owned(), element.partition()), offset)),
                _ => None,
            });
            Ok(committed.collect())
        };
        self.probe(Some(group), ask).await
    }

    /// Forgets a group without members, and its offsets. One that is not there is no error.
    pub async fn forget_group(&self, group: &str) -> Result<(), KafkaError> {
        self.reach().await?;
        let options = AdminOptions::new().request_timeout(Some(self.limit));
        let results = self
            .client()?
            .delete_groups(&[group], &options)
            .await
            .map_err(|error| KafkaError::of("forgetting the group", &error))?;
        for result in results {
            match result {
                Ok(_) | Err((_, Code::GroupIdNotFound)) => {}
                Err((_, code)) => {
                    return Err(KafkaError::of("forgetting the group", &RdError::AdminOp(code)));
                }
            }
        }
        Ok(())
    }

    fn client(&self) -> Result<AdminClient<Context>, KafkaError> {
        let context = Context::new(&self.connection.client_id);
        self.connection.config()?.create_with_context(context).map_err(|error| KafkaError::settings(&error))
    }

    pub(super) async fn probe<T: Send + 'static>(
        &self,
        group: Option<&str>,
        ask: impl FnOnce(Probe) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, KafkaError> {
        let (connection, limit, group) = (self.connection.clone(), self.limit, group.map(str::to_owned));
        let asking = tokio::task::spawn_blocking(move || {
            ask(Probe::new(&connection, Isolation::ReadUncommitted, group.as_deref(), limit)?)
        });
        asking.await.map_err(|error| KafkaError::Fatal(format!("asking thread: {error}")))?
    }
}

fn known(topic: &str, partitions: Vec<i32>) -> Result<Vec<i32>, KafkaError> {
    if partitions.is_empty() { Err(KafkaError::UnknownTopic(topic.to_owned())) } else { Ok(partitions) }
}
