//! Which jobs are wanted now and not there: tasks of rules that fire, each after those before it, the next attempt only after
//! the one before is over. Live runs first, then what is reprocessed; oldest run first.

use std::collections::BTreeMap;

use lightrail_topics::events::{
    Class, FailureClass, Job, JobEnd, JobIdentity, JobStep, Rule, Task, Withdrawal, Work,
};
use lightrail_topics::{Millis, RunInTrial, RunKey};

use super::book::Book;
use super::life::Life;

/// A job that is wanted and not there.
#[derive(Debug)]
pub(super) struct Wanted<'b> {
    pub(super) class: Class,
    pub(super) rule: &'b Rule,
    identity: JobIdentity,
    workers: bool,
}

/// What is with a task of a rule for a run.
enum Next {
    /// Nothing, until something is told of the run.
    Rests,
    /// Something, as time passes.
    Later,
    /// This job is wanted.
    Wanted(JobIdentity),
}

impl Book {
    /// All attempts of a rule's task for a run and request so far, oldest first.
    pub fn attempts(&self, rule: &Rule, task: &Task, run: &RunKey, request: Option<u32>) -> Vec<&Life> {
        let names = self.attempts.get(&first_attempt(rule, task, run, request));
        names.into_iter().flat_map(BTreeMap::values).filter_map(|name| self.jobs.get(name)).collect()
    }

    /// All that is wanted, most urgent first; and the runs for which nothing is until something is told of them.
    pub(super) fn wanted(&self, now: Millis) -> (Vec<Wanted<'_>>, Vec<RunKey>) {
        let (mut all, mut resting) = (Vec::new(), Vec::new());
        for run in &self.active {
            let mut rests = !self.is_expected(run, now);
            for rule in self.rules.values().filter(|rule| self.fires(rule, run)) {
                let class = self.class(rule, run);
                for request in self.requests(rule, run) {
                    for task in &rule.tasks {
                        match self.next(rule, task, run, request, class, now) {
                            Next::Rests => {}
                            Next::Later => rests = false,
                            Next::Wanted(identity) => {
                                rests = false;
                                let workers = matches!(task.work, Work::Analysis { .. });
                                all.push(Wanted { class, rule, identity, workers });
                            }
                        }
                    }
                }
            }
            if rests {
                resting.push(run.clone());
            }
        }
        // Stable: runs stay in their order.
        all.sort_by_key(|wanted| wanted.class);
        (all, resting)
    }

    /// The first step of a wanted job.
    pub(super) fn intent(&self, wanted: &Wanted<'_>, now: Millis) -> Job {
        let Wanted { class, rule, identity, workers } = wanted;
        let step = JobStep::Intended {
            reason: self.reason(rule, &identity.run),
            rule_version: rule.version,
            site: rule.site.clone(),
            class: *class,
            workers: *workers,
        };
        Job { job: identity.name(), identity: identity.clone(), place: 0, epoch: self.epoch, step, at: now }
    }

    fn is_task_done(
        &self,
        rule: &Rule,
        task: &Task,
        run: &RunKey,
        request: Option<u32>,
        class: Class,
    ) -> bool {
        if task.only.is_some_and(|only| only != class) {
            return true;
        }
        match (&task.work, rule.trial) {
            (Work::Analysis { .. }, Some(trial)) => self.is_complete(&RunInTrial { run: run.clone(), trial }),
            _ => self.attempts(rule, task, run, request).last().is_some_and(|life| life.is_done()),
        }
    }

    fn next(
        &self,
        rule: &Rule,
        task: &Task,
        run: &RunKey,
        request: Option<u32>,
        class: Class,
        now: Millis,
    ) -> Next {
        let is_done = |task: &Task| self.is_task_done(rule, task, run, request, class);
        let mut before = task.after.iter().map(|name| rule.tasks.iter().find(|other| other.task == *name));
        if is_done(task) || !before.all(|other| other.is_some_and(is_done)) {
            return Next::Rests;
        }
        let attempts = self.attempts(rule, task, run, request);
        let Some(last) = attempts.last() else {
            return Next::Wanted(first_attempt(rule, task, run, request));
        };
        if !last.is_over() {
            return Next::Rests;
        }
        let failed = attempts.iter().filter(|life| life.has_failed()).count();
        let failed = u32::try_from(failed).unwrap_or(u32::MAX);
        let due = match &last.last.0 {
            // Nobody's fault: it was told to end, or what it had done is not complete any more.
            JobStep::Ended { end: JobEnd::Done | JobEnd::Withdrawn { .. }, .. } => Some(now),
            JobStep::Ended { end: JobEnd::Failed { class, .. }, .. } if *class == FailureClass::Refused => {
                None
            }
            JobStep::Ended { end: JobEnd::Failed { .. }, .. } | JobStep::GivenUp { .. } => {
                (failed < task.attempts).then(|| last.last.1.plus(self.limits.again * failed))
            }
            // Somebody's will.
            _ => None,
        };
        match due {
            None => Next::Rests,
            Some(due) if due <= now => Next::Wanted(last.identity.next_attempt()),
            Some(_) => Next::Later,
        }
    }

    /// Why a job that is not over is to be ended, if it is.
    pub(super) fn withdrawal(&self, life: &Life, gives_way: bool) -> Option<Withdrawal> {
        if self.work_is_complete(life) == Some(true) {
            Some(Withdrawal::Complete)
        } else if self.task(life).is_none() && (life.workers || !life.runs()) {
            // Workers end by nothing else; a program that runs comes to its end.
            Some(Withdrawal::RuleRemoved)
        } else {
            gives_way.then_some(Withdrawal::GaveWay)
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
