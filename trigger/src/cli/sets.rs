//! `tags` and `datasets`: what people say of runs, put on the topic `rules`, where rules find it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use clap::Subcommand;
use lightrail_topics::events::{Dataset, RunGroup, RunRange, RunTags, TagsOf};
use lightrail_topics::kafka::read_to_end;
use lightrail_topics::{
    DatasetName, Event, Experiment, GroupName, Message, RunKey, RunNumber, TagName, Topic, decode, message,
};

use super::ConfigFile;
use super::kafka::{reach, unread};
use super::rules::{SOURCE, publisher};
use crate::config::{Config, Fault};
use crate::run::now;
use lightrail_service::command::Failure;
use lightrail_service::say;

/// What is done with tags.
#[derive(Debug, Subcommand)]
pub(super) enum Tags {
    /// Put tags on runs, which need not be there yet.
    Add(Tagging),
    /// Take tags off runs.
    Remove(Tagging),
    /// List the runs of an experiment that have tags.
    List {
        /// The experiment.
        experiment: Experiment,
        #[command(flatten)]
        file: ConfigFile,
    },
}

/// Which tags, which runs.
#[derive(Debug, clap::Args)]
pub(super) struct Tagging {
    /// The experiment.
    experiment: Experiment,
    /// Its runs, such as 12 or 12-20.
    runs: RunRange,
    /// The tags.
    #[arg(required = true)]
    tags: Vec<TagName>,
    #[command(flatten)]
    file: ConfigFile,
}

/// What is done with datasets and groups of runs.
#[derive(Debug, Subcommand)]
pub(super) enum Datasets {
    /// Check a file of groups and datasets whole and put each on Kafka. Those that it does not name stay.
    Apply {
        /// The file, TOML.
        datasets_file: PathBuf,
        #[command(flatten)]
        file: ConfigFile,
    },
    /// Take a dataset away.
    Remove {
        /// The experiment.
        experiment: Experiment,
        /// The dataset.
        dataset: DatasetName,
        #[command(flatten)]
        file: ConfigFile,
    },
    /// List groups and datasets.
    List {
        #[command(flatten)]
        file: ConfigFile,
    },
}

/// The most runs that are tagged in one go.
const AT_ONCE: u32 = 10_000;

/// All that people have said of runs.
#[derive(Default)]
struct There {
    tags: BTreeMap<RunKey, BTreeSet<TagName>>,
    groups: BTreeMap<(Experiment, GroupName), RunGroup>,
    datasets: BTreeMap<(Experiment, DatasetName), Dataset>,
}

async fn there(config: &Config) -> Result<There, Failure> {
    let (connection, topics) = reach(config)?;
    let rules = [topics.name(Topic::Rules)];
    let records = read_to_end(&connection, &rules, &BTreeMap::new(), config.decide.patience).await;
    let mut there = There::default();
    for record in records.map_err(|error| unread("tags and datasets", error))? {
        match decode(&topics, &record) {
            Ok(Event::RunTags(run, tags)) => {
                let tags = tags.map_or_else(BTreeSet::new, |tags| tags.tags.into_iter().collect());
                there.tags.insert(run, tags);
            }
            Ok(Event::RunGroup(experiment, name, Some(group))) => {
                there.groups.insert((experiment, name), group);
            }
            Ok(Event::RunGroup(experiment, name, None)) => drop(there.groups.remove(&(experiment, name))),
            Ok(Event::Dataset(experiment, name, Some(set))) => {
                there.datasets.insert((experiment, name), set);
            }
            Ok(Event::Dataset(experiment, name, None)) => drop(there.datasets.remove(&(experiment, name))),
            Ok(_) => {}
            Err(error) => eprintln!("a message on `rules` cannot be understood: {}", error.reason()),
        }
    }
    Ok(there)
}

/// Messages, and what is told once Kafka has them.
type Made = (Vec<Message>, Vec<String>);

/// Reads what is there after whoever else puts some has been fenced, and puts what `made` makes of it.
async fn put(config: &Config, made: impl FnOnce(There) -> Result<Made, Failure>) -> Result<(), Failure> {
    let (connection, topics) = reach(config)?;
    let publisher = publisher(config, &connection, &topics).await?;
    let (messages, lines) = made(there(config).await?)?;
    if !messages.is_empty() {
        publisher.publish(messages).await.context("kafka does not take it").map_err(Failure::Other)?;
    }
    for line in lines {
        say!("{line}");
    }
    Ok(())
}

fn words<T: ToString>(all: impl IntoIterator<Item = T>) -> String {
    all.into_iter().map(|one| one.to_string()).collect::<Vec<_>>().join(", ")
}

impl Tags {
    pub(super) async fn obey(self) -> Result<(), Failure> {
        match self {
            Self::Add(tagging) => tagging.obey(|tags, those| tags.extend(those.iter().cloned())).await,
            Self::Remove(tagging) => {
                tagging.obey(|tags, those| tags.retain(|tag| !those.contains(tag))).await
            }
            Self::List { experiment, file } => {
                let there = there(&file.load()?).await?;
                let of = |run: &RunKey| run.experiment == experiment;
                let tagged: Vec<_> =
                    there.tags.iter().filter(|(run, tags)| of(run) && !tags.is_empty()).collect();
                if tagged.is_empty() {
                    say!("no run of {experiment} has a tag");
                }
                for (run, tags) in tagged {
                    say!("{run}: {}", words(tags));
                }
                Ok(())
            }
        }
    }
}

impl Tagging {
    async fn obey(self, change: fn(&mut BTreeSet<TagName>, &[TagName])) -> Result<(), Failure> {
        let config = self.file.load()?;
        let Some(last) = self.runs.last.filter(|last| last.0 - self.runs.first.0 < AT_ONCE) else {
            let what =
                anyhow!("say which runs, as 12-20, up to {AT_ONCE} at once; a group of runs may have no end");
            return Err(Failure::Usage(what));
        };
        put(&config, |there| {
            let (who, at) = (lightrail_service::who(), now());
            let mut messages = Vec::new();
            for number in self.runs.first.0..=last.0 {
                let run = RunKey { experiment: self.experiment.clone(), run: RunNumber(number) };
                let before = there.tags.get(&run).cloned().unwrap_or_default();
                let mut tags = before.clone();
                change(&mut tags, &self.tags);
                if tags == before {
                    continue;
                }
                let said =
                    RunTags { run: run.clone(), tags: tags.iter().cloned().collect(), who: who.clone(), at };
                let said = (!tags.is_empty()).then_some(&said);
                messages.push(message::run_tags(&run, said, SOURCE, at));
            }
            let all = last.0 - self.runs.first.0 + 1;
            let line = format!("{}: {} of {all} runs changed", self.experiment, messages.len());
            Ok((messages, vec![line]))
        })
        .await
    }
}

impl Datasets {
    pub(super) async fn obey(self) -> Result<(), Failure> {
        match self {
            Self::Apply { datasets_file, file } => {
                let config = file.load()?;
                let text = std::fs::read_to_string(&datasets_file)
                    .with_context(|| format!("{} cannot be read", datasets_file.display()))
                    .map_err(Failure::Usage)?;
                put(&config, |there| {
                    let (who, at) = (lightrail_service::who(), now());
                    let known: Vec<_> = there.groups.keys().cloned().collect();
                    let sets = crate::datasets::parse(&text, &known, &who, at).map_err(|faults| {
                        let line = |fault: &Fault| format!("{}: {fault}", datasets_file.display());
                        Failure::Usage(anyhow!(faults.iter().map(line).collect::<Vec<_>>().join("\n")))
                    })?;
                    let (mut messages, mut lines) = (Vec::new(), Vec::new());
                    for group in &sets.groups {
                        lines.push(told(group));
                        messages.push(message::run_group(
                            &group.experiment,
                            &group.group,
                            Some(group),
                            SOURCE,
                            at,
                        ));
                    }
                    for set in &sets.datasets {
                        lines.push(said(set));
                        messages.push(message::dataset(&set.experiment, &set.dataset, Some(set), SOURCE, at));
                    }
                    Ok((messages, lines))
                })
                .await
            }
            Self::Remove { experiment, dataset, file } => {
                put(&file.load()?, |there| {
                    if !there.datasets.contains_key(&(experiment.clone(), dataset.clone())) {
                        return Err(Failure::Usage(anyhow!(
                            "no dataset of {experiment} is named `{dataset}`"
                        )));
                    }
                    let line = format!("dataset {dataset} of {experiment}: taken away");
                    Ok((vec![message::dataset(&experiment, &dataset, None, SOURCE, now())], vec![line]))
                })
                .await
            }
            Self::List { file } => {
                let there = there(&file.load()?).await?;
                if there.groups.is_empty() && there.datasets.is_empty() {
                    say!("there are no datasets: `lightrail-trigger datasets apply FILE` puts some there");
                }
                for group in there.groups.values() {
                    say!("{}", told(group));
                }
                for set in there.datasets.values() {
                    say!("{}", said(set));
                }
                Ok(())
            }
        }
    }
}

fn told(group: &RunGroup) -> String {
    format!("group {} of {}: {}", group.group, group.experiment, words(&group.runs))
}

fn said(set: &Dataset) -> String {
    let tags = match (set.of, set.tags.is_empty()) {
        (_, true) => "all runs".to_owned(),
        (TagsOf::Union, false) => format!("runs with one of {}", words(&set.tags)),
        (TagsOf::Intersection, false) => format!("runs with all of {}", words(&set.tags)),
    };
    let groups =
        if set.groups.is_empty() { String::new() } else { format!(", of groups {}", words(&set.groups)) };
    format!("dataset {} of {}: {tags}{groups}", set.dataset, set.experiment)
}
