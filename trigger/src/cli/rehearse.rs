//! `dry-run` and `replay`: what rules would have done with past events, and a rule put once more, for earlier runs under a new trial.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use clap::Args;
use comfy_table::{Table, presets};
use lightrail_topics::events::{Rule, RunRange, Trigger};
use lightrail_topics::{Experiment, Millis, RuleName, TrialNumber};

use super::ConfigFile;
use super::kafka::{reach, unread};
use super::rules;
use crate::config::{Config, Fault};
use crate::decide::{Fired, rehearse};
use crate::follow;
use crate::run::{limits, now};
use lightrail_service::command::Failure;
use lightrail_service::say;

/// Which rules, and which past.
#[derive(Debug, Args)]
pub(super) struct DryRun {
    /// The rules, TOML; those on Kafka are left aside.
    rules_file: PathBuf,
    /// What would have fired from this instant on, such as 2026-03-01T08:00:00Z.
    #[arg(long, value_name = "TIME")]
    since: Option<Millis>,
    /// For these runs only, such as 12 or 12-20.
    #[arg(long)]
    runs: Option<RunRange>,
    /// Of this experiment only.
    #[arg(long)]
    experiment: Option<Experiment>,
    #[command(flatten)]
    file: ConfigFile,
}

/// Which rule, over which runs, under which trial.
#[derive(Debug, Args)]
pub(super) struct Replay {
    /// The rule.
    rule: RuleName,
    /// The experiment.
    experiment: Experiment,
    /// Its runs, such as 12, 12-20 or all.
    runs: RunRange,
    /// The new trial, which `lightrail-analysis trials apply` has put there.
    #[arg(long, value_name = "N")]
    trial: TrialNumber,
    /// Say what would fire, and put nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    file: ConfigFile,
}

/// Rehearses rules over all that the topics hold.
async fn rehearsed(config: &Config, all: &[Rule]) -> Result<Vec<Fired>, Failure> {
    let (connection, topics) = reach(config)?;
    // Of results there are many; only a rule that counts them has to see them.
    let results =
        all.iter().any(|rule| rule.when.as_ref().is_some_and(|when| when.as_str().contains("results.count")));
    let logbook = config.logbook.is_some();
    let events = follow::history(&connection, &topics, logbook, results, config.decide.patience).await;
    let events = events.map_err(|error| unread("the topics", error))?;
    Ok(rehearse(limits(config), all, events))
}

fn print(fired: &[Fired]) {
    if fired.is_empty() {
        return;
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["at", "rule", "run", "as", "because"]);
    for one in fired {
        let Fired { at, rule, run, class, reason } = one;
        table.add_row([at.to_string(), rule.to_string(), run.to_string(), class.to_string(), reason.clone()]);
    }
    say!("{table}");
}

impl DryRun {
    pub(super) async fn obey(self) -> Result<(), Failure> {
        let config = self.file.load()?;
        let text = std::fs::read_to_string(&self.rules_file)
            .with_context(|| format!("{} cannot be read", self.rules_file.display()))
            .map_err(Failure::Usage)?;
        let all =
            crate::rules::parse(&text, &config, &lightrail_service::who(), now()).map_err(|faults| {
                let line = |fault: &Fault| format!("{}: {fault}", self.rules_file.display());
                Failure::Usage(anyhow!(faults.iter().map(line).collect::<Vec<_>>().join("\n")))
            })?;
        // As if they had always been there: what was taken since they began is live.
        let since = Some(self.since.unwrap_or(Millis(0)));
        let all: Vec<Rule> = all.into_iter().map(|rule| Rule { since, ..rule }).collect();
        let fired: Vec<Fired> =
            rehearsed(&config, &all).await?.into_iter().filter(|one| self.wants(one)).collect();
        print(&fired);
        say!("{} times a rule would have fired; nothing was submitted", fired.len());
        Ok(())
    }

    fn wants(&self, one: &Fired) -> bool {
        self.since.is_none_or(|since| since <= one.at)
            && self.runs.is_none_or(|runs| runs.holds(one.run.run))
            && self.experiment.as_ref().is_none_or(|experiment| *experiment == one.run.experiment)
    }
}

impl Replay {
    /// A rule of its own, so that the one that works live runs stays as it is.
    pub(super) async fn obey(self) -> Result<(), Failure> {
        let config = self.file.load()?;
        let (connection, topics) = reach(&config)?;
        let known = rules::all(&connection, &topics, config.decide.patience).await?;
        let Some(rule) = known.get(&self.rule) else {
            return Err(Failure::Usage(anyhow!("no rule is named `{}`", self.rule)));
        };
        if rule.trigger == Trigger::Manual {
            let what = anyhow!("rule {} is MANUAL: `lightrail-trigger ask` has it run again", self.rule);
            return Err(Failure::Usage(what));
        }
        if rule.trial == Some(self.trial) || rule.trial.is_none() {
            let what = anyhow!(
                "rule {} works under {}; a replay wants another trial",
                self.rule,
                match rule.trial {
                    Some(trial) => format!("trial {trial}"),
                    None => "no trial".to_owned(),
                }
            );
            return Err(Failure::Usage(what));
        }
        let name: RuleName = format!("{}-trial-{}", self.rule, self.trial).parse().map_err(Failure::usage)?;
        if let Some(before) = known.get(&name)
            && !self.holds_all_of(before)
        {
            let what = anyhow!(
                "rule {name} is there for other runs ({}), and this would take its place: say runs that hold those too, or \
                 `lightrail-trigger rules remove {name}` first",
                rules::about(before)
            );
            return Err(Failure::Usage(what));
        }
        let at = now();
        let again = Rule {
            rule: name,
            version: 0,
            trial: Some(self.trial),
            experiment: Some(self.experiment),
            first_run: Some(self.runs.first),
            last_run: self.runs.last,
            since: Some(at),
            who: lightrail_service::who(),
            at,
            ..rule.clone()
        };
        let fired = rehearsed(&config, std::slice::from_ref(&again)).await?;
        print(&fired);
        if self.dry_run {
            say!("{} runs would be worked again; nothing was put", fired.len());
            return Ok(());
        }
        say!("{} runs are to be worked again", fired.len());
        rules::apply(&config, vec![again]).await
    }

    /// Whether this replay is about all runs that an earlier one of the same rule under the same trial is about.
    fn holds_all_of(&self, before: &Rule) -> bool {
        before.experiment.as_ref() == Some(&self.experiment)
            && before.first_run.is_some_and(|first| self.runs.first <= first)
            && self.runs.last.is_none_or(|last| before.last_run.is_some_and(|before| before <= last))
    }
}
