//! `explain`: for a run, each rule's conditions with their values, and its jobs as far as they have come. Reads what the trigger
//! reads, and decides by the same code; changes nothing.

use anyhow::Context as _;
use lightrail_topics::events::{JobEnd, JobStep};
use lightrail_topics::{Experiment, RunInTrial, RunKey, RunNumber};

use super::kafka::reach;
use crate::config::Config;
use crate::decide::Book;
use crate::follow;
use crate::run::limits;
use lightrail_service::command::Failure;

pub(super) async fn explain(config: &Config, experiment: Experiment, run: RunNumber) -> Result<(), Failure> {
    let (connection, topics) = reach(config)?;
    let (book, logbook) = (Book::new(limits(config)), config.logbook.is_some());
    let begun = follow::begin(&connection, &topics, logbook, book, config.decide.patience).await;
    let book = begun.context("the topics cannot be read").map_err(Failure::Other)?.book;
    let run = RunKey { experiment, run };
    if book.rules().next().is_none() {
        say!("there are no rules: `lightrail-trigger rules apply FILE` puts some there");
    }
    for rule in book.rules() {
        let conditions = book.conditions(rule, &run);
        let fires = conditions.iter().all(|condition| condition.holds);
        let word = if fires { "fires" } else { "does not fire" };
        say!("rule {} (version {}) {word} for run {run}", rule.rule, rule.version);
        for condition in &conditions {
            say!("  {condition}");
        }
        if let Some(trial) = rule.trial {
            let of = RunInTrial { run: run.clone(), trial };
            let (images, results) = book.counts(&of);
            let word = if book.is_complete(&of) { "complete" } else { "not complete" };
            say!("  results under trial {trial}: {word}, {results} of {images} images so far published");
        }
        let requests = book.requests(rule, &run);
        let all = requests.iter().flat_map(|request| rule.tasks.iter().map(move |task| (task, *request)));
        for (task, request) in all {
            let attempts = book.attempts(rule, task, &run, request);
            if attempts.is_empty() {
                say!("  task {}: no job", task.task);
            }
            for life in attempts {
                let (step, at) = &life.last;
                say!(
                    "  task {}, attempt {}: job {} {} at {at}{}; started because {}",
                    task.task,
                    life.identity.attempt,
                    life.identity.name(),
                    step.word().replace('_', " "),
                    told(step),
                    life.reason
                );
            }
        }
    }
    Ok(())
}

fn told(step: &JobStep) -> String {
    match step {
        JobStep::Intended { .. } => String::new(),
        JobStep::Submitted { id } | JobStep::Running { id } => format!(" as {id}"),
        JobStep::Ended { end: JobEnd::Done, .. } => ", done".to_owned(),
        JobStep::Ended { end: JobEnd::Failed { text, .. }, .. } => format!(", failed: {text}"),
        JobStep::Ended { end: JobEnd::Cancelled { text }, .. } => format!(", cancelled: {text}"),
        JobStep::GivenUp { why } => format!(": {why}"),
    }
}
