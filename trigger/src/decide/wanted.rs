//! Which jobs are wanted now and not there: tasks of rules that fire, each after those before it, the next attempt only after
//! the one before is over. Live runs first, then what is reprocessed; oldest run first.

use std::collections::BTreeMap;

use lightrail_topics::events::{Class, Job, JobIdentity, JobStep, Rule, RunJob, Task, Withdrawal, Work};
use lightrail_topics::{Millis, RunInTrial, RunKey, SiteName};

use super::ahead::Ahead;
use super::book::Book;
use super::life::Life;
use super::moving::{MOVES_WITHIN, Moving};
use super::sizing::Size;

/// A job that is wanted and not there.
#[derive(Debug)]
pub(super) struct Wanted<'b> {
    pub(super) class: Class,
    pub(super) site: &'b SiteName,
    /// None of a pool's.
    pub(super) rule: Option<&'b Rule>,
    /// Why it is wanted, of a pool's.
    why: Option<String>,
    pub(super) identity: JobIdentity,
    workers: bool,
    workers_each: Option<u32>,
    pub(super) nodes: u32,
    pub(super) seconds: u64,
    /// From where it moves images, if that is what it does.
    moves: Option<SiteName>,
    /// Whether it is submitted before its run's files are there.
    ahead: bool,
}

impl<'b> Wanted<'b> {
    /// A task's job, whose files are there.
    fn of(rule: &'b Rule, task: &Task, site: &'b SiteName, class: Class, identity: JobIdentity) -> Self {
        Self {
            class,
            site,
            rule: Some(rule),
            why: None,
            identity,
            workers: matches!(task.work, Work::Analysis { .. }),
            workers_each: None,
            nodes: task.nodes,
            seconds: task.seconds,
            moves: None,
            ahead: false,
        }
    }
}

/// What is with a task of a rule for a run.
enum Next {
    /// Nothing, until something is told of the run.
    Rests,
    /// Something, as time passes.
    Later,
    /// This job is wanted.
    Wanted(JobIdentity),
    /// This one, which moves the run's images from a site, before workers are.
    Moves(JobIdentity, SiteName),
}

impl Book {
    /// All attempts of a rule's task for a run and request so far, oldest first.
    pub fn attempts(&self, rule: &Rule, task: &Task, run: &RunKey, request: Option<u32>) -> Vec<&Life> {
        self.attempts_of(&first_attempt(rule, task, run, request))
    }

    /// All attempts of a job so far, oldest first.
    pub(super) fn attempts_of(&self, first: &JobIdentity) -> Vec<&Life> {
        let names = self.attempts.get(first);
        names.into_iter().flat_map(BTreeMap::values).filter_map(|name| self.jobs.get(name)).collect()
    }

    /// All that is wanted, most urgent first; and the runs for which nothing is until something is told of them.
    pub(super) fn wanted(&self, now: Millis) -> (Vec<Wanted<'_>>, Vec<RunKey>) {
        let (mut all, mut resting) = (Vec::new(), Vec::new());
        for run in &self.active {
            let mut rests = !self.is_expected(run, now);
            for rule in self.rules.values() {
                let site = self.site_of(rule, run);
                if !self.fires(rule, run) {
                    for (task, when) in self.ahead(rule, run, now) {
                        rests = false;
                        if when == Ahead::Now {
                            let identity = first_attempt(rule, task, run, None);
                            all.push(Wanted {
                                ahead: true,
                                ..Wanted::of(rule, task, site, Class::Live, identity)
                            });
                        }
                    }
                    // Where it will be done, if anywhere, may change with the time alone.
                    rests &= self.placed(rule, run).is_none() || !self.is_unfinished(rule, run);
                    continue;
                }
                let class = self.class(rule, run);
                for request in self.requests(rule, run) {
                    for task in &rule.tasks {
                        match self.next(rule, task, run, request, class, now) {
                            Next::Rests => {}
                            Next::Later => rests = false,
                            Next::Wanted(identity) => {
                                rests = false;
                                let wanted = Wanted::of(rule, task, site, class, identity);
                                all.push(match self.size_of(rule, task, run) {
                                    Some(Size { nodes, each }) => {
                                        Wanted { nodes, workers_each: Some(each), ..wanted }
                                    }
                                    None => wanted,
                                });
                            }
                            Next::Moves(identity, from) => {
                                rests = false;
                                let wanted = Wanted::of(rule, task, site, class, identity);
                                all.push(Wanted {
                                    moves: Some(from),
                                    workers: false,
                                    nodes: 1,
                                    seconds: MOVES_WITHIN,
                                    ..wanted
                                });
                            }
                        }
                    }
                }
            }
            if rests {
                resting.push(run.clone());
            }
        }
        for slot in self.slots(now) {
            all.push(Wanted {
                class: slot.pool.class,
                site: &slot.pool.site,
                rule: None,
                why: Some(slot.why),
                identity: slot.identity,
                workers: true,
                workers_each: None,
                nodes: slot.pool.nodes,
                seconds: slot.pool.seconds,
                moves: None,
                ahead: false,
            });
        }
        // Stable: runs stay in their order.
        all.sort_by_key(|wanted| wanted.class);
        (all, resting)
    }

    /// The first step of a wanted job.
    pub(super) fn intent(&self, wanted: &Wanted<'_>, spills: bool, now: Millis) -> Job {
        let Wanted { class, site, rule, why, identity, workers, workers_each, nodes, moves, ahead, .. } =
            wanted;
        let of_run = rule.zip(identity.run());
        let reason = match (of_run, moves) {
            (Some((_, run)), Some(from)) => {
                format!("the images of run {run} that are not worked yet are {from}'s")
            }
            (Some((rule, run)), None) => self.reason(rule, run),
            (None, _) => why.clone().unwrap_or_default(),
        };
        let step = JobStep::Intended {
            reason,
            rule_version: rule.map_or(0, |rule| rule.version),
            site: (*site).clone(),
            class: *class,
            workers: *workers,
            nodes: *nodes,
            workers_each: *workers_each,
            placed: of_run.and_then(|(rule, run)| self.why_there(rule, run)).map(ToOwned::to_owned),
            moves: moves.clone(),
            ahead: *ahead,
            spills,
        };
        Job { job: identity.name(), identity: identity.clone(), place: 0, epoch: self.epoch, step, at: now }
    }

    /// Whether a rule has something to do for a run still, at whatever site.
    pub(super) fn is_unfinished(&self, rule: &Rule, run: &RunKey) -> bool {
        let class = self.class(rule, run);
        let done = |task: &Task, request| self.is_task_done(rule, task, run, request, class);
        let mut requests = self.requests(rule, run).into_iter();
        let is_open = requests.any(|request| rule.tasks.iter().any(|task| !done(task, request)));
        is_open && self.failed_everywhere(rule, run).is_none()
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
        if attempts.last().is_none_or(|last| last.is_over()) {
            match self.moving(rule, task, run, request, now) {
                None => {}
                Some(Moving::Wanted(identity, from)) => return Next::Moves(identity, from),
                Some(Moving::Later) => return Next::Later,
                Some(Moving::Failed) => return Next::Rests,
            }
        }
        let Some(last) = attempts.last() else {
            return Next::Wanted(first_attempt(rule, task, run, request));
        };
        if !last.is_over() {
            return Next::Rests;
        }
        match self.due(rule, task, run, &attempts, now) {
            None => Next::Rests,
            Some(due) if due <= now => Next::Wanted(last.identity.next_attempt()),
            Some(_) => Next::Later,
        }
    }

    /// Why a job that is not over is to be ended, if it is.
    pub(super) fn withdrawal(&self, life: &Life, gives_way: bool, now: Millis) -> Option<Withdrawal> {
        if self.work_is_complete(life) == Some(true) {
            Some(Withdrawal::Complete)
        } else if !self.runs_here(life) && (life.workers || !life.runs()) {
            // Workers end by nothing else; a program that runs comes to its end.
            Some(Withdrawal::RuleRemoved)
        } else {
            let gives_way = gives_way.then_some(Withdrawal::GaveWay);
            let hangs = || self.hangs(life, now).then_some(Withdrawal::Hangs);
            gives_way.or_else(|| self.ahead_ends(life, now)).or_else(hangs)
        }
    }
}

impl Book {
    /// Whether it runs and gets nowhere: workers by no image of any run having a result for so long while theirs lack some, a
    /// program by running longer than its scheduler lets it. One that is suspended does not; when it goes on, its time begins anew.
    fn hangs(&self, life: &Life, now: Millis) -> bool {
        let Some(since) = life
            .running
            .filter(|_| life.runs() && !life.is_suspended())
            .filter(|_| !self.limits.hangs.is_zero() && !self.sites.is_mute(&life.site))
        else {
            return false;
        };
        let since = life.went_on.map_or(since, |on| since.max(on));
        let Some((job, (_, task))) = life.identity.of_run().zip(self.task(life)) else { return false };
        let time = std::time::Duration::from_secs(task.seconds);
        if since.plus(time).plus(self.limits.hangs) <= now {
            return true;
        }
        let Some(trial) = job.trial.filter(|_| life.workers) else { return false };
        let (images, results) = self.counts(&RunInTrial { run: job.run.clone(), trial });
        let last = since.max(self.progressed);
        images > results && last.plus(self.limits.hangs) <= now
    }
}

fn first_attempt(rule: &Rule, task: &Task, run: &RunKey, request: Option<u32>) -> JobIdentity {
    let (rule, trial, task) = (rule.rule.clone(), rule.trial, task.task.clone());
    RunJob { rule, run: run.clone(), trial, task, request, attempt: 1 }.into()
}
