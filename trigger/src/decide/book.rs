//! All that is known: rules, what has become of runs, how far their results are, and jobs. Takes in what is told, and puts
//! together what follows; which jobs are wanted, and what becomes of one, is decided beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lightrail_topics::events::{IndexState, Indexed, Job, JobIdentity, Rule, Task};
use lightrail_topics::{DatasetName, JobName, Millis, RuleName, RunInTrial, RunKey, SiteName};

use super::life::{Life, View};
use super::runs::{Belongs, Run, Sets};
use super::{Action, Input};

/// Limits within which is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A job that may have been submitted and is not seen for so long was not, or is lost: longer than any submission lasts.
    pub grace: Duration,
    /// A failed job is tried again after so long, times its attempts.
    pub again: Duration,
    /// A run that has ended is expected to land within this time; until then its work's room is kept.
    pub lands_within: Duration,
    /// Jobs of a site that are not over at once; a site that is not named runs none.
    pub at_once: BTreeMap<SiteName, usize>,
    /// How many of these reprocessing never takes.
    pub for_live: BTreeMap<SiteName, usize>,
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
    runs: BTreeMap<RunKey, Run>,
    sets: Sets,
    pub(super) asked: BTreeSet<(RunKey, RuleName, u32)>,
    progress: BTreeMap<RunInTrial, Progress>,
    pub(super) jobs: BTreeMap<JobName, Life>,
    /// All attempts of a job, by its first one's identity.
    pub(super) attempts: BTreeMap<JobIdentity, BTreeMap<u32, JobName>>,
    /// Jobs that are not over.
    pub(super) open: BTreeSet<JobName>,
    /// Runs for which something may be wanted: told of since they were looked at last, or waiting for time or room.
    pub(super) active: BTreeSet<RunKey>,
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
            sets: Sets::default(),
            asked: BTreeSet::new(),
            progress: BTreeMap::new(),
            jobs: BTreeMap::new(),
            attempts: BTreeMap::new(),
            open: BTreeSet::new(),
            active: BTreeSet::new(),
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
        if let Some(run) = input.run().filter(|run| !self.active.contains(*run)) {
            self.active.insert(run.clone());
        }
        match input {
            Input::Rule(name, rule) => {
                match rule {
                    Some(rule) => drop(self.rules.insert(name, rule)),
                    None => drop(self.rules.remove(&name)),
                }
                self.look_at_all();
            }
            Input::Tags(run, tags) => self.run_mut(run).tags = tags,
            Input::Group(experiment, name, runs) => {
                self.sets.group(experiment, name, runs);
                self.look_at_all();
            }
            Input::Dataset(experiment, name, set) => {
                self.sets.dataset(experiment, name, set);
                self.look_at_all();
            }
            Input::Said(run, said) => self.run_mut(run).said(said),
            Input::Registered(run, lfn) => self.run_mut(run).registered(lfn),
            Input::RunEnded(run, at) => self.run_mut(run).end(at),
            Input::FileAvailable(at, lfn, size) => self.run_mut(at.run).file(at.site, lfn, size),
            Input::FileGone(at, lfn) => self.run_mut(at.run).gone(at.site, &lfn),
            Input::RunAvailable(at, files, ended) => self.run_mut(at.run).whole(at.site, files, ended),
            Input::RunIncomplete { run, recorders_only, at } => {
                self.run_mut(run.run).incomplete(run.site, recorders_only, at);
            }
            Input::Indexed(indexed) => self.indexed(indexed),
            Input::Result(of) => self.progress.entry(of).or_default().results += 1,
            Input::Counted(counts) => {
                for count in counts {
                    let of = RunInTrial { run: count.run, trial: count.trial };
                    self.progress.entry(of).or_default().results = count.results;
                }
            }
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
            Input::Fenced { job, claimed } => {
                if let Some(life) = self.jobs.get_mut(&job) {
                    life.fenced(claimed, now);
                }
            }
        }
    }

    fn run_mut(&mut self, run: RunKey) -> &mut Run {
        self.runs.entry(run).or_default()
    }

    /// What is wanted may have changed for every run.
    fn look_at_all(&mut self) {
        self.active.extend(self.runs.keys().cloned());
        self.active.extend(self.asked.iter().map(|(run, _, _)| run.clone()));
    }

    fn indexed(&mut self, indexed: Indexed) {
        let of = RunInTrial { run: indexed.run, trial: indexed.trial };
        let said = (indexed.state == IndexState::Closed, indexed.images);
        self.progress.entry(of).or_default().sites.insert(indexed.site, said);
    }

    fn step(&mut self, job: Job) {
        let name = job.job.clone();
        let is_over = match self.jobs.get_mut(&name) {
            Some(life) => {
                life.step(job);
                life.is_over()
            }
            None => {
                let Some(life) = Life::begun(job) else { return };
                let first = JobIdentity { attempt: 1, ..life.identity.clone() };
                self.attempts.entry(first).or_default().insert(life.identity.attempt, name.clone());
                self.jobs.insert(name.clone(), life);
                false
            }
        };
        if is_over {
            self.open.remove(&name);
        } else {
            self.open.insert(name);
        }
    }

    /// Whether all images of a run have their results under a trial: published for good, and as many results as images.
    pub fn is_complete(&self, of: &RunInTrial) -> bool {
        self.progress.get(of).is_some_and(|progress| {
            let images: u64 = progress.sites.values().map(|(_, images)| images).sum();
            progress.sites.values().any(|(closed, _)| *closed) && images <= progress.results
        })
    }

    /// Published images and results of a run under a trial.
    pub fn counts(&self, of: &RunInTrial) -> (u64, u64) {
        let Some(progress) = self.progress.get(of) else { return (0, 0) };
        (progress.sites.values().map(|(_, images)| images).sum(), progress.results)
    }

    /// The rules.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.values()
    }

    /// What is known of a run.
    pub fn run(&self, run: &RunKey) -> Option<&Run> {
        self.runs.get(run)
    }

    /// Whether a run belongs to a dataset of its experiment.
    pub fn belongs(&self, dataset: &DatasetName, run: &RunKey) -> Belongs {
        let none = BTreeSet::new();
        let tags = self.runs.get(run).map_or(&none, |run| &run.tags);
        self.sets.belongs(dataset, run, tags)
    }

    /// A job.
    pub fn job(&self, name: &JobName) -> Option<&Life> {
        self.jobs.get(name)
    }

    /// All jobs.
    pub fn jobs(&self) -> impl Iterator<Item = &Life> {
        self.jobs.values()
    }

    /// How many jobs of a site are not over.
    pub fn open_at(&self, site: &SiteName) -> usize {
        self.open.iter().filter_map(|name| self.jobs.get(name)).filter(|life| life.site == *site).count()
    }

    /// The names of a site's jobs for which its scheduler is to be asked.
    pub fn watched(&self, site: &SiteName) -> Vec<JobName> {
        let is_watched = |name: &&JobName| {
            self.jobs.get(*name).is_some_and(|life| life.site == *site && life.is_watched())
        };
        self.open.iter().filter(is_watched).cloned().collect()
    }

    /// The task of a job, while its rule has it.
    pub fn task(&self, life: &Life) -> Option<(&Rule, &Task)> {
        let rule = self.rules.get(&life.identity.rule)?;
        Some((rule, rule.tasks.iter().find(|task| task.task == life.identity.task)?))
    }

    /// Whether the job's work is known to be complete, whatever became of it: analysis workers of a run whose results are.
    pub(super) fn work_is_complete(&self, life: &Life) -> Option<bool> {
        let trial = life.identity.trial.filter(|_| life.workers)?;
        Some(self.is_complete(&RunInTrial { run: life.identity.run.clone(), trial }))
    }

    /// What is to be done now. What comes out has begun: it is told again only after its outcome.
    pub fn plan(&mut self, now: Millis) -> Vec<Action> {
        let (wanted, resting) = self.wanted(now);
        let (mut rooms, give_way) = self.room(&wanted, now);
        let mut steps = Vec::new();
        for one in &wanted {
            let Some(room) = rooms.get_mut(&one.rule.site) else { continue };
            if room.take(one.class) {
                steps.push(self.intent(one, now));
            }
        }
        drop(wanted);
        for run in resting {
            self.active.remove(&run);
        }
        let mut actions = Vec::new();
        for name in self.open.clone() {
            let Some(life) = self.jobs.get(&name) else { continue };
            let view = View {
                runs_here: self.task(life).is_some(),
                complete: self.work_is_complete(life),
                withdrawal: self.withdrawal(life, give_way.contains(&name)),
                grace: self.limits.grace,
                now,
            };
            let epoch = self.epoch;
            let Some(life) = self.jobs.get_mut(&name) else { continue };
            if let Some(step) = life.next_step(&view) {
                let (identity, place) = (life.identity.clone(), life.place);
                steps.push(Job { job: name.clone(), identity, place, epoch, step, at: now });
                continue;
            }
            actions.extend(life.next_action(&name, &view));
        }
        if !steps.is_empty() {
            actions.insert(0, Action::Publish(steps));
        }
        actions
    }
}
