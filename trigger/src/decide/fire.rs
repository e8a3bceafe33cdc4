//! Rules against runs: the conditions of each, and the jobs that are wanted and not there.

use std::collections::BTreeMap;
use std::fmt;

use lightrail_topics::events::{Job, JobEnd, JobIdentity, JobStep, Rule, Task, Trigger, Work};
use lightrail_topics::{Millis, RunAtSite, RunInTrial, RunKey, SiteName};

use super::book::{AtSite, Book};
use super::life::Life;

/// What is known of a run, as far as triggers go by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// What has become of it at the rule's site.
    pub at: AtSite,
    /// Whether it takes no more data.
    pub ended: bool,
    /// How often the rule was asked for by hand.
    pub asked: usize,
}

/// What a condition is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The rule is about this run: its experiment and numbers.
    About,
    /// Its trigger, by what is known of the run.
    Trigger(Trigger, Known),
    /// The site is one at which this decider runs jobs.
    Site(SiteName),
}

/// One condition of a rule for a run, with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// What it is about.
    pub what: What,
    /// Whether it holds.
    pub holds: bool,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.holds { "yes: " } else { "no: " })?;
        match &self.what {
            What::About => f.write_str("the rule is about this experiment and run"),
            What::Site(site) => write!(f, "jobs are run at {site}"),
            What::Trigger(trigger, Known { at, ended, asked }) => {
                write!(f, "{trigger}: ")?;
                match trigger {
                    Trigger::Manual if *asked > 0 => write!(f, "asked for {asked} times"),
                    Trigger::Manual => f.write_str("nobody has asked for it"),
                    Trigger::EndOfRun => {
                        f.write_str(if *ended { "the run has ended" } else { "the run has not ended yet" })
                    }
                    Trigger::FirstFileTransferred if at.first_file => f.write_str("a file is at the site"),
                    Trigger::FirstFileTransferred => f.write_str("no file is at the site yet"),
                    Trigger::AllFilesTransferred => match at.files {
                        Some(files) => write!(f, "all {files} files are at the site"),
                        None => f.write_str("not all files are at the site yet"),
                    },
                    _ => f.write_str("this version does not fire it"),
                }
            }
        }
    }
}

/// Whether rules with this trigger can be applied: it is fired by what is followed.
pub(crate) fn is_fired(trigger: Trigger) -> bool {
    match trigger {
        Trigger::Manual
        | Trigger::EndOfRun
        | Trigger::FirstFileTransferred
        | Trigger::AllFilesTransferred => true,
        Trigger::StartOfRun | Trigger::AllNonrecFilesTransferred | Trigger::RunParamIsValue => false,
    }
}

impl Book {
    /// Each condition of a rule for a run; it fires when all hold.
    pub fn conditions(&self, rule: &Rule, run: &RunKey) -> [Condition; 3] {
        let at = RunAtSite { run: run.clone(), site: rule.site.clone() };
        let at = self.runs.get(&at).copied().unwrap_or_default();
        let ended = self.ended.contains(run);
        let asked = if rule.trigger == Trigger::Manual { self.requests(rule, run).len() } else { 0 };
        let holds = match rule.trigger {
            Trigger::EndOfRun => ended,
            Trigger::FirstFileTransferred => at.first_file,
            Trigger::AllFilesTransferred => at.files.is_some(),
            Trigger::Manual => asked > 0,
            Trigger::StartOfRun | Trigger::AllNonrecFilesTransferred | Trigger::RunParamIsValue => false,
        };
        [
            Condition { what: What::About, holds: rule.is_about(run) },
            Condition {
                what: What::Site(rule.site.clone()),
                holds: self.limits.at_once.contains_key(&rule.site),
            },
            Condition { what: What::Trigger(rule.trigger, Known { at, ended, asked }), holds },
        ]
    }

    /// The requests of a rule for a run: their numbers for MANUAL, one without a number else.
    pub fn requests(&self, rule: &Rule, run: &RunKey) -> Vec<Option<u32>> {
        if rule.trigger != Trigger::Manual {
            return vec![None];
        }
        let of = |request| (run.clone(), rule.rule.clone(), request);
        self.asked.range(of(0)..=of(u32::MAX)).map(|(_, _, request)| Some(*request)).collect()
    }

    /// All attempts of a rule's task for a run and request so far, oldest first.
    pub fn attempts(&self, rule: &Rule, task: &Task, run: &RunKey, request: Option<u32>) -> Vec<&Life> {
        let names = self.attempts.get(&first_attempt(rule, task, run, request));
        names.into_iter().flat_map(BTreeMap::values).filter_map(|name| self.jobs.get(name)).collect()
    }

    /// The intents that follow from rules and runs now, oldest run first, within what each site takes at once.
    pub(super) fn wanted(&self, now: Millis) -> Vec<Job> {
        let mut room: BTreeMap<&SiteName, usize> =
            self.limits.at_once.iter().map(|(site, limit)| (site, *limit)).collect();
        for life in self.jobs.values().filter(|life| !life.is_over()) {
            if let Some(left) = room.get_mut(&life.site) {
                *left = left.saturating_sub(1);
            }
        }
        let mut steps = Vec::new();
        let at_sites = self.runs.keys().map(|at| &at.run);
        let asked_for = self.asked.iter().map(|(run, _, _)| run);
        let mut runs: Vec<&RunKey> = self.ended.iter().chain(at_sites).chain(asked_for).collect();
        runs.sort_unstable();
        runs.dedup();
        for run in runs {
            for rule in self.rules.values() {
                let Some(left) = room.get_mut(&rule.site).filter(|left| **left > 0) else { continue };
                let conditions = self.conditions(rule, run);
                if !conditions.iter().all(|condition| condition.holds) {
                    continue;
                }
                let requests = self.requests(rule, run);
                let all =
                    requests.iter().flat_map(|request| rule.tasks.iter().map(move |task| (task, *request)));
                for (task, request) in all {
                    if *left == 0 {
                        break;
                    }
                    let Some(identity) = self.next_job(rule, task, run, request, now) else { continue };
                    *left -= 1;
                    let fired = conditions[2].to_string();
                    let step = JobStep::Intended {
                        reason: fired.trim_start_matches("yes: ").to_owned(),
                        rule_version: rule.version,
                        site: rule.site.clone(),
                    };
                    let job = identity.name();
                    steps.push(Job { job, identity, place: 0, epoch: self.epoch, step, at: now });
                }
            }
        }
        steps
    }

    /// The attempt of a task that is wanted now, if one is.
    fn next_job(
        &self,
        rule: &Rule,
        task: &Task,
        run: &RunKey,
        request: Option<u32>,
        now: Millis,
    ) -> Option<JobIdentity> {
        let is_done = |task: &Task| {
            self.results_are_complete(rule, task, run).unwrap_or_else(|| {
                self.attempts(rule, task, run, request).last().is_some_and(|life| life.is_done())
            })
        };
        let others = task.after.iter().map(|name| rule.tasks.iter().find(|other| other.task == *name));
        if is_done(task) || !others.into_iter().all(|other| other.is_some_and(is_done)) {
            return None;
        }
        let attempts = self.attempts(rule, task, run, request);
        let Some(last) = attempts.last() else { return Some(first_attempt(rule, task, run, request)) };
        let failed = attempts.iter().filter(|life| life.is_over() && !life.is_done()).count();
        let failed = u32::try_from(failed).unwrap_or(u32::MAX);
        // Done before, and not complete any more: a correction has brought more images.
        let grown = last.is_done();
        let again = last.may_be_tried_again()
            && failed < task.attempts
            && last.last.1.plus(self.limits.again * failed) <= now;
        // Nobody's fault: what was ended because there was nothing left to do.
        let cancelled = matches!(last.last.0, JobStep::Ended { end: JobEnd::Cancelled { .. }, .. })
            && last.was_told_to_end();
        (last.is_over() && (grown || again || cancelled)).then(|| last.identity.next_attempt())
    }

    /// For work that is measured by its results: whether they are complete.
    fn results_are_complete(&self, rule: &Rule, task: &Task, run: &RunKey) -> Option<bool> {
        match (&task.work, rule.trial) {
            (Work::Analysis { .. }, Some(trial)) => {
                Some(self.is_complete(&RunInTrial { run: run.clone(), trial }))
            }
            _ => None,
        }
    }
}

fn first_attempt(rule: &Rule, task: &Task, run: &RunKey, request: Option<u32>) -> JobIdentity {
    JobIdentity {
        rule: rule.rule.clone(),
        run: run.clone(),
        trial: rule.trial,
        task: task.task.clone(),
        request,
        attempt: 1,
    }
}
