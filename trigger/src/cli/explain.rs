//! `explain`: for a run, each rule's conditions with their values, and its jobs as far as they have come. Reads what the trigger
//! reads, and decides by the same code; changes nothing.

use anyhow::anyhow;
use lightrail_topics::events::{JobEnd, JobStep, Withdrawal};
use lightrail_topics::{Experiment, RuleName, RunInTrial, RunKey, RunNumber};

use super::kafka::{reach, unread};
use crate::config::Config;
use crate::decide::{Book, Verdict};
use crate::follow;
use crate::run::{limits, now};
use lightrail_service::command::Failure;
use lightrail_service::say;

pub(super) async fn explain(
    config: &Config,
    experiment: Experiment,
    run: RunNumber,
    only: Option<RuleName>,
) -> Result<(), Failure> {
    let (connection, topics) = reach(config)?;
    let (book, logbook) = (Book::new(limits(config)), config.logbook.is_some());
    let begun = follow::begin(&connection, &topics, logbook, book, config.decide.patience).await;
    let mut book = begun.map_err(|error| unread("the topics", error))?.book;
    let run = RunKey { experiment, run };
    book.place(&run, now());
    if book.rules().next().is_none() {
        say!("there are no rules: `lightrail-trigger rules apply FILE` puts some there");
    }
    if let Some(name) = only.as_ref().filter(|name| book.rules().all(|rule| rule.rule != **name)) {
        return Err(Failure::Usage(anyhow!("no rule is named `{name}`")));
    }
    if !book.run(&run).is_some_and(|run| run.known) {
        say!("nothing is known of run {run} yet");
    }
    for rule in book.rules().filter(|rule| only.as_ref().is_none_or(|only| rule.rule == *only)) {
        let conditions = book.conditions(rule, &run);
        let fires = conditions.iter().all(|condition| condition.holds == Verdict::Yes);
        let word = if fires { "fires" } else { "does not fire" };
        let class = book.class(rule, &run);
        say!("rule {} (version {}) {word} for run {run}, {class}", rule.rule, rule.version);
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
            if let Some(why) = book.stopped(rule, task, &run, request) {
                say!("  task {}: not tried again: {why}", task.task);
            }
            for life in book.moves(rule, task, &run, request).into_iter().chain(attempts) {
                let (step, at) = &life.last;
                let ahead = if life.ahead { " ahead of its files" } else { "" };
                say!(
                    "  task {}, attempt {}: job {} {} at {at}{}; started{ahead} because {}",
                    life.identity.of_run().map_or(&task.task, |job| &job.task),
                    life.identity.attempt(),
                    life.identity.name(),
                    step.word().replace('_', " "),
                    told(step),
                    life.reason
                );
                if let Some(why) = &life.placed {
                    say!("    at {}: {why}", life.site);
                }
                let lost =
                    book.given_up(life, now()).filter(|_| !life.is_over() && !life.is_fenced_on_kafka());
                if let (Some(why), Some(site)) = (lost, config.sites.get(&life.site)) {
                    say!(
                        "    {why}: it is given up as soon as its claim in {} can be taken; until then it may be at work, and is done \
                         nowhere else",
                        site.claims.display()
                    );
                }
            }
        }
    }
    Ok(())
}

pub(super) fn told(step: &JobStep) -> String {
    match step {
        JobStep::Intended { .. } => String::new(),
        JobStep::Submitted { id } | JobStep::Running { id } => format!(" as {id}"),
        JobStep::Withdrawn { why, .. } => format!(": {}", withdrawn(*why)),
        JobStep::Ended { end: JobEnd::Withdrawn { why }, .. } => format!(", told to: {}", withdrawn(*why)),
        JobStep::Ended { end: JobEnd::Done, .. } => ", done".to_owned(),
        JobStep::Ended { end: JobEnd::Failed { text, .. }, .. } => format!(", failed: {text}"),
        JobStep::Ended { end: JobEnd::Cancelled { text }, .. } => format!(", cancelled: {text}"),
        JobStep::GivenUp { why, .. } => format!(": {why}"),
    }
}

fn withdrawn(why: Withdrawal) -> &'static str {
    match why {
        Withdrawal::Complete => "its run has all results",
        Withdrawal::GaveWay => "it gives way to live runs",
        Withdrawal::RuleRemoved => "its rule was taken away",
        Withdrawal::NothingCame => "its run's images did not come in time",
        Withdrawal::NeverLanded => "its run does not land",
        Withdrawal::Hangs => "it gets nowhere",
        Withdrawal::NotNeeded => "its pool has less to do",
        Withdrawal::Elsewhere => "its run is worked at another site",
    }
}
