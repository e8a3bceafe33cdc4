//! `trials`: puts a trial on its topic, lists those that are there, and all keys that a trial can have.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use lightrail_topics::{Experiment, TrialKey, TrialNumber};

use super::ConfigFile;
use super::kafka::reach;
use crate::index::trials::{Applied, ApplyError, all, apply};
use crate::inputs;
use crate::trial::{KEYS, Parameters};
use lightrail_service::command::Failure;
use lightrail_service::say;

/// What is done with trials.
#[derive(Debug, Subcommand)]
pub(super) enum Trials {
    /// Check a trial whole and put it on Kafka. A trial never changes: a number that has other content is refused.
    Apply(Apply),
    /// List the trials that are on Kafka.
    List {
        /// Of this experiment only.
        experiment: Option<Experiment>,
        #[command(flatten)]
        file: ConfigFile,
    },
    /// List all keys that a trial can have, with range, default and meaning.
    Keys,
}

/// What is put on Kafka.
#[derive(Debug, Args)]
pub(super) struct Apply {
    /// The trial's parameters, TOML. Relative paths in it count from `trials.folder` of the configuration.
    trial_file: PathBuf,
    /// The experiment that it is for.
    #[arg(long)]
    experiment: Experiment,
    /// Its number.
    #[arg(long = "trial", value_name = "N")]
    number: TrialNumber,
    /// Do not look whether the files that it names are there and have their checksums.
    #[arg(long)]
    without_files: bool,
    #[command(flatten)]
    file: ConfigFile,
}

impl Trials {
    pub(super) async fn obey(self) -> Result<(), Failure> {
        match self {
            Self::Apply(asked) => asked.obey().await,
            Self::List { experiment, file } => list(experiment, &file).await,
            Self::Keys => {
                for key in KEYS {
                    say!("{} = {}: {}; default {}", key.path, key.range, key.about, key.default);
                }
                Ok(())
            }
        }
    }
}

impl Apply {
    async fn obey(self) -> Result<(), Failure> {
        let config = self.file.load()?;
        let text = std::fs::read_to_string(&self.trial_file)
            .with_context(|| format!("{} cannot be read", self.trial_file.display()))
            .map_err(Failure::Usage)?;
        let wrong =
            |error: &dyn std::fmt::Display| Failure::Usage(anyhow!("{}: {error}", self.trial_file.display()));
        let parameters = Parameters::from_toml(&text).map_err(|error| wrong(&error))?;
        if !self.without_files {
            let faults = inputs::check_files(&parameters, &config.trials.folder);
            if !faults.is_empty() {
                let lines: Vec<String> = faults.iter().map(inputs::FileFault::line).collect();
                return Err(wrong(&lines.join("\n")));
            }
        }
        let (connection, topics) = reach(&config)?;
        let key = TrialKey { experiment: self.experiment, trial: self.number };
        match apply(&connection, &topics, &key, &parameters, config.index.patience).await {
            Ok(Applied::New) => say!("trial {key}: applied{}", live(parameters.live)),
            Ok(Applied::Known(trial)) => {
                say!(
                    "trial {key}: said the same already, by {} at {}{}",
                    trial.who,
                    trial.at,
                    live(trial.live)
                );
            }
            Err(error @ ApplyError::Other { .. }) => return Err(wrong(&error)),
            Err(error) => return Err(Failure::Other(error.into())),
        }
        Ok(())
    }
}

fn live(live: bool) -> &'static str {
    if live { "; new runs are worked under it, unless a higher one is live too" } else { "" }
}

async fn list(experiment: Option<Experiment>, file: &ConfigFile) -> Result<(), Failure> {
    let config = file.load()?;
    let (connection, topics) = reach(&config)?;
    let trials = all(&connection, &topics, config.index.patience).await;
    let trials = trials.context("trials cannot be read").map_err(Failure::Other)?;
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["trial", "live", "detector", "spots", "by", "at"]);
    for trial in trials.values() {
        if experiment.as_ref().is_some_and(|wanted| *wanted != trial.experiment) {
            continue;
        }
        let text = |key: &str, inner: &str| {
            let value = trial.parameters.get(key).and_then(|section| section.get(inner));
            value.and_then(|value| value.as_str()).unwrap_or("?").to_owned()
        };
        let spots = trial.parameters.get("spots").and_then(|spots| spots.as_object());
        let spots =
            spots.and_then(|spots| spots.keys().next().cloned()).unwrap_or_else(|| "peakfinder8".to_owned());
        let live = if trial.live { "live" } else { "" };
        table.add_row([
            trial.key().to_string(),
            live.to_owned(),
            format!("{} ({})", text("detector", "name"), text("detector", "kind")),
            spots,
            trial.who.clone(),
            trial.at.to_string(),
        ]);
    }
    say!("{table}");
    Ok(())
}
