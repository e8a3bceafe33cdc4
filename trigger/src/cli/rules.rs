//! `rules` and `ask`: puts a file's rules on their topic, takes one away, lists those that are there; asks for one by hand.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Subcommand;
use comfy_table::{Table, presets};
use lightrail_topics::events::{JobAsked, Rule, Trigger, Work};
use lightrail_topics::kafka::{Connection, Publisher, Timeouts, read_to_end};
use lightrail_topics::{Event, RuleName, RunKey, Topic, Topics, decode, message};

use super::ConfigFile;
use super::kafka::{reach, unread};
use crate::config::{Config, Fault};
use crate::run::now;
use lightrail_service::command::Failure;
use lightrail_service::say;

/// What says it.
pub(super) const SOURCE: &str = "lightrail-trigger/rules";

/// What is done with rules.
#[derive(Debug, Subcommand)]
pub(super) enum Rules {
    /// Check a file of rules whole and put each on Kafka, where it runs from then on, for runs that were there before too.
    Apply {
        /// The rules, TOML.
        rules_file: PathBuf,
        #[command(flatten)]
        file: ConfigFile,
    },
    /// Take a rule away. Jobs that it started go on.
    Remove {
        /// Its name.
        rule: RuleName,
        #[command(flatten)]
        file: ConfigFile,
    },
    /// List the rules that are on Kafka.
    List {
        #[command(flatten)]
        file: ConfigFile,
    },
}

impl Rules {
    pub(super) async fn obey(self) -> Result<(), Failure> {
        match self {
            Self::Apply { rules_file, file } => {
                let config = file.load()?;
                let text = std::fs::read_to_string(&rules_file)
                    .with_context(|| format!("{} cannot be read", rules_file.display()))
                    .map_err(Failure::Usage)?;
                let rules = crate::rules::parse(&text, &config, &lightrail_service::who(), now());
                let rules = rules.map_err(|faults| {
                    let line = |fault: &Fault| format!("{}: {fault}", rules_file.display());
                    Failure::Usage(anyhow!(faults.iter().map(line).collect::<Vec<_>>().join("\n")))
                })?;
                apply(&config, rules).await
            }
            Self::Remove { rule, file } => {
                let config = file.load()?;
                let (connection, topics) = reach(&config)?;
                let publisher = publisher(&config, &connection, &topics).await?;
                if !all(&connection, &topics, config.decide.patience).await?.contains_key(&rule) {
                    return Err(Failure::Usage(anyhow!("no rule is named `{rule}`")));
                }
                let messages = vec![message::rule(&rule, None, SOURCE, now())];
                publisher.publish(messages).await.context("kafka does not take it")?;
                say!("rule {rule}: taken away");
                Ok(())
            }
            Self::List { file } => list(&file.load()?).await,
        }
    }
}

/// All rules, by name.
pub(super) async fn all(
    connection: &Connection,
    topics: &Topics,
    limit: Duration,
) -> Result<BTreeMap<RuleName, Rule>, Failure> {
    let records = read_to_end(connection, &[topics.name(Topic::Rules)], &BTreeMap::new(), limit).await;
    let mut rules = BTreeMap::new();
    for record in records.map_err(|error| unread("rules", error))? {
        match decode(topics, &record) {
            Ok(Event::Rule(name, Some(rule))) => drop(rules.insert(name, rule)),
            Ok(Event::Rule(name, None)) => drop(rules.remove(&name)),
            Ok(_) => {}
            Err(error) => eprintln!("a rule cannot be understood: {}", error.reason()),
        }
    }
    Ok(rules)
}

/// Puts a request for a MANUAL rule on `jobs`, with the next number.
pub(super) async fn ask(config: &Config, rule: RuleName, run: RunKey) -> Result<(), Failure> {
    let (connection, topics) = reach(config)?;
    let publisher = publisher(config, &connection, &topics).await?;
    let known = all(&connection, &topics, config.decide.patience).await?.remove(&rule);
    match known {
        None => return Err(Failure::Usage(anyhow!("no rule is named `{rule}`"))),
        Some(known) if known.trigger != Trigger::Manual => {
            let trigger = known.trigger;
            return Err(Failure::Usage(anyhow!(
                "rule {rule} fires by {trigger}; only a MANUAL one is asked for"
            )));
        }
        Some(known) if !known.is_about(&run) => {
            return Err(Failure::Usage(anyhow!("rule {rule} is not about run {run}")));
        }
        Some(_) => {}
    }
    let jobs = [topics.name(Topic::Jobs)];
    let records = read_to_end(&connection, &jobs, &BTreeMap::new(), config.decide.patience).await;
    let mut request = 1;
    for record in records.map_err(|error| unread("requests", error))? {
        if let Ok(Event::JobAsked(asked)) = decode(&topics, &record)
            && asked.rule == rule
            && asked.run == run
        {
            request = request.max(asked.request + 1);
        }
    }
    let asked = JobAsked { rule, run, request, who: lightrail_service::who(), at: now() };
    let messages = vec![message::job_asked(&asked, SOURCE)];
    publisher.publish(messages).await.context("kafka does not take it").map_err(Failure::Other)?;
    say!("rule {} is asked for run {}, request {request}", asked.rule, asked.run);
    Ok(())
}

/// One that has fenced whoever applies rules or asks at the same time.
pub(super) async fn publisher(
    config: &Config,
    connection: &Connection,
    topics: &Topics,
) -> Result<Publisher, Failure> {
    let id = format!("{}.apply", topics.name(Topic::Rules));
    let publisher = Publisher::start(connection, topics, &id, Timeouts::default());
    let publisher = publisher.context("kafka cannot be used").map_err(Failure::Other)?;
    publisher.init(config.decide.patience).await.context("kafka does not answer").map_err(Failure::Other)?;
    Ok(publisher)
}

/// All of them in one transaction; those that say nothing new are left as they are.
pub(super) async fn apply(config: &Config, rules: Vec<Rule>) -> Result<(), Failure> {
    let (connection, topics) = reach(config)?;
    let publisher = publisher(config, &connection, &topics).await?;
    let there = all(&connection, &topics, config.decide.patience).await?;
    let (mut messages, mut lines) = (Vec::new(), Vec::new());
    for rule in rules {
        match there.get(&rule.rule) {
            Some(known) if known.says_the_same(&rule) => {
                lines.push(format!("rule {}: says the same as version {}", rule.rule, known.version));
            }
            known => {
                let version = known.map_or(1, |known| known.version + 1);
                let since = Some(rule.since_after(known));
                let rule = Rule { version, since, ..rule };
                lines.push(format!("rule {}: applied, version {version}", rule.rule));
                messages.push(message::rule(&rule.rule, Some(&rule), SOURCE, rule.at));
            }
        }
    }
    if !messages.is_empty() {
        publisher.publish(messages).await.context("kafka does not take the rules").map_err(Failure::Other)?;
    }
    for line in lines {
        say!("{line}");
    }
    Ok(())
}

/// Which runs a rule is about.
pub(super) fn about(rule: &Rule) -> String {
    let runs = match (rule.first_run, rule.last_run) {
        (None, None) => String::new(),
        (Some(first), None) => format!(" from run {first}"),
        (None, Some(last)) => format!(" up to run {last}"),
        (Some(first), Some(last)) => format!(" runs {first} to {last}"),
    };
    let dataset = rule.dataset.as_ref().map_or_else(String::new, |name| format!(", dataset {name}"));
    let experiment = rule.experiment.as_ref().map_or_else(|| "all".to_owned(), ToString::to_string);
    experiment + &runs + &dataset
}

async fn list(config: &Config) -> Result<(), Failure> {
    let (connection, topics) = reach(config)?;
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["rule", "version", "trigger", "about", "sites", "trial", "tasks", "by", "at"]);
    for rule in all(&connection, &topics, config.decide.patience).await?.into_values() {
        let tasks = rule.tasks.iter().map(|task| match &task.work {
            Work::Analysis { workers, .. } => format!("{} ({workers} workers)", task.task),
            Work::Command { program, .. } => format!("{} ({program})", task.task),
        });
        let sites = rule.sites().map(ToString::to_string).collect::<Vec<_>>();
        table.add_row([
            rule.rule.to_string(),
            rule.version.to_string(),
            rule.trigger.to_string(),
            about(&rule),
            sites.join(", "),
            rule.trial.map_or_else(String::new, |trial| trial.to_string()),
            tasks.collect::<Vec<_>>().join(", "),
            rule.who.clone(),
            rule.at.to_string(),
        ]);
    }
    if table.is_empty() {
        say!("there are no rules: `lightrail-trigger rules apply FILE` puts some there");
    } else {
        say!("{table}");
    }
    Ok(())
}
