//! All that is known: rules, what has become of runs, how far their results are, and jobs. Takes in what is told; decides
//! nothing itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lightrail_topics::events::{IndexState, Indexed, Job, JobIdentity, Rule, Task, Work};
use lightrail_topics::{JobName, Millis, RuleName, RunAtSite, RunInTrial, RunKey, SiteName};

use super::life::Life;
use super::{Action, Input};

/// Limits within which is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A job that may have been submitted and is not seen for so long was not, or is lost: longer than any submission lasts.
    pub grace: Duration,
    /// A failed job is tried again after so long, times its attempts.
    pub again: Duration,
    /// Jobs of a site that are not over at once; a site that is not named runs none.
    pub at_once: BTreeMap<SiteName, usize>,
}

/// What has become of a run at a site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AtSite {
    /// Whether a file of it is there.
    pub first_file: bool,
    /// How many files it has, once all are there.
    pub files: Option<usize>,
}

/// How far a run's results are under a trial.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Progress {
    sites: BTreeMap<SiteName, (bool, u64)>,
    results: u64,
}

/// All that is known.
#[derive(Clone, Debug)]
pub struct Book {
    pub(super) limits: Limits,
    pub(super) rules: BTreeMap<RuleName, Rule>,
    pub(super) runs: BTreeMap<RunAtSite, AtSite>,
    pub(super) ended: BTreeSet<RunKey>,
    pub(super) asked: BTreeSet<(RunKey, RuleName, u32)>,
    progress: BTreeMap<RunInTrial, Progress>,
    pub(super) jobs: BTreeMap<JobName, Life>,
    /// All attempts of a job, by its first one's identity.
    pub(super) attempts: BTreeMap<JobIdentity, BTreeMap<u32, JobName>>,
    /// The decider's own epoch, once it decides.
    pub(super) epoch: u64,
}

impl Book {
    /// An empty one.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            rules: BTreeMap::new(),
            runs: BTreeMap::new(),
            ended: BTreeSet::new(),
            asked: BTreeSet::new(),
            progress: BTreeMap::new(),
            jobs: BTreeMap::new(),
            attempts: BTreeMap::new(),
            epoch: 0,
        }
    }

    /// Begins to decide: whatever was intended before and is not known to be submitted may have been.
    pub fn begin(&mut self, epoch: u64, now: Millis) {
        self.epoch = epoch;
        self.jobs.values_mut().for_each(|life| life.doubt(now));
    }

    /// Takes in what is told.
    pub fn take(&mut self, input: Input, now: Millis) {
        match input {
            Input::Rule(name, Some(rule)) => drop(self.rules.insert(name, rule)),
            Input::Rule(name, None) => drop(self.rules.remove(&name)),
            Input::RunEnded(run) => drop(self.ended.insert(run)),
            Input::FileAvailable(run) => self.runs.entry(run).or_default().first_file = true,
            Input::RunAvailable(run, files) => {
                self.ended.insert(run.run.clone());
                let at = self.runs.entry(run).or_default();
                at.files = Some(files);
                at.first_file |= files > 0;
            }
            Input::Indexed(indexed) => self.indexed(indexed),
            Input::Result(of) => self.progress.entry(of).or_default().results += 1,
            Input::Job(job) => self.step(job),
            Input::Asked(rule, run, request) => drop(self.asked.insert((run, rule, request))),
            Input::Submitted(name, outcome) => {
                if let Some(life) = self.jobs.get_mut(&name) {
                    life.submitted(outcome, now);
                }
            }
            Input::Looked { site, asked, seen } => {
                for name in asked {
                    let Some(life) = self.jobs.get_mut(&name).filter(|life| life.site == site) else {
                        continue;
                    };
                    life.looked(seen.iter().filter(|sighting| sighting.name == name), now);
                }
            }
            Input::Fenced(name) => {
                if let Some(life) = self.jobs.get_mut(&name) {
                    life.fenced = true;
                }
            }
        }
    }

    fn indexed(&mut self, indexed: Indexed) {
        let of = RunInTrial { run: indexed.run, trial: indexed.trial };
        let said = (indexed.state == IndexState::Closed, indexed.images);
        self.progress.entry(of).or_default().sites.insert(indexed.site, said);
    }

    fn step(&mut self, job: Job) {
        let name = job.job.clone();
        match self.jobs.get_mut(&name) {
            Some(life) => life.step(job),
            None => {
                if let Some(life) = Life::begun(job) {
                    let first = JobIdentity { attempt: 1, ..life.identity.clone() };
                    self.attempts.entry(first).or_default().insert(life.identity.attempt, name.clone());
                    self.jobs.insert(name, life);
                }
            }
        }
    }

    /// Whether all images of a run have their results under a trial: published for good, and as many results as images.
    pub fn is_complete(&self, of: &RunInTrial) -> bool {
        self.progress.get(of).is_some_and(|progress| {
            let images: u64 = progress.sites.values().map(|(_, images)| images).sum();
            progress.sites.values().any(|(closed, _)| *closed) && images <= progress.results
        })
    }

    /// Published images and results of a run under a trial, for people.
    pub fn counts(&self, of: &RunInTrial) -> (u64, u64) {
        let progress = self.progress.get(of).cloned().unwrap_or_default();
        (progress.sites.values().map(|(_, images)| images).sum(), progress.results)
    }

    /// The rules.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.values()
    }

    /// A job.
    pub fn job(&self, name: &JobName) -> Option<&Life> {
        self.jobs.get(name)
    }

    /// All jobs.
    pub fn jobs(&self) -> impl Iterator<Item = &Life> {
        self.jobs.values()
    }

    /// The names of a site's jobs for which its scheduler is to be asked.
    pub fn watched(&self, site: &SiteName) -> Vec<JobName> {
        let of_site = self.jobs.iter().filter(|(_, life)| life.site == *site && life.is_watched());
        of_site.map(|(name, _)| name.clone()).collect()
    }

    /// The task of a job, while its rule has it.
    pub fn task(&self, life: &Life) -> Option<(&Rule, &Task)> {
        let rule = self.rules.get(&life.identity.rule)?;
        Some((rule, rule.tasks.iter().find(|task| task.task == life.identity.task)?))
    }

    /// Whether the job's work is known to be complete, whatever became of it: analysis workers of a run whose results are.
    pub(super) fn work_is_complete(&self, life: &Life) -> Option<bool> {
        let (_, task) = self.task(life)?;
        match (&task.work, life.identity.trial) {
            (Work::Analysis { .. }, Some(trial)) => {
                Some(self.is_complete(&RunInTrial { run: life.identity.run.clone(), trial }))
            }
            _ => None,
        }
    }

    /// What is to be done now. What comes out has begun: it is told again only after its outcome.
    pub fn plan(&mut self, now: Millis) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut steps = self.wanted(now);
        let names: Vec<JobName> = self.jobs.keys().cloned().collect();
        for name in names {
            let complete = self.jobs.get(&name).and_then(|life| self.work_is_complete(life));
            let runs_here = self.jobs.get(&name).is_some_and(|life| self.task(life).is_some());
            let (grace, epoch) = (self.limits.grace, self.epoch);
            let Some(life) = self.jobs.get_mut(&name) else { continue };
            if let Some(step) = life.next_step(runs_here, complete, grace, now) {
                steps.push(Job {
                    job: name.clone(),
                    identity: life.identity.clone(),
                    place: life.place,
                    epoch,
                    step,
                    at: now,
                });
                continue;
            }
            actions.extend(life.next_action(&name, runs_here, complete, grace, now));
        }
        if !steps.is_empty() {
            actions.insert(0, Action::Publish(steps));
        }
        actions
    }
}
