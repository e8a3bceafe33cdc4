//! All that is known: rules, what has become of runs, how far their results are, and jobs. Takes in what is told, and puts
//! together what follows; which jobs are wanted, and what becomes of one, is decided beside it.

mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lightrail_topics::events::{
    Class, FacilityStatus, IndexState, Indexed, Job, JobEnd, JobIdentity, JobStep, RouteOverride, Rule, Task,
    Work,
};
use lightrail_topics::{
    DatasetName, Experiment, JobName, Millis, PoolName, RuleName, RunInTrial, RunKey, SiteName,
};

use super::Input;
use super::life::Life;
use super::placing::Placed;
use super::pools::{Pool, Size};
use super::runs::{Belongs, Run, Sets};
use super::sites::Sites;
use crate::facility::Report;

/// Limits within which is decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// How a facility is is said again after so long, though nothing has changed.
    pub heartbeat: Duration,
    /// A site that is away for so long is lost: what has not begun there goes elsewhere. Never, where this is zero.
    pub lost_after: Duration,
    /// What runs at a lost site is given up after so long.
    pub give_up_after: Duration,
    /// So long an experiment's data are sent elsewhere; said again while it is needed. Never, where this is zero.
    pub failover_for: Duration,
    /// A job that gets nowhere for so long hangs. None does, where this is zero.
    pub hangs: Duration,
    /// Standing pools of workers.
    pub pools: BTreeMap<PoolName, Pool>,
    /// Jobs that are not over and ask for a site's reservation; all do at one that is not named.
    pub reserved: BTreeMap<SiteName, usize>,
    /// Node-seconds that jobs may spend at a site in all; without limit at one that is not named.
    pub allocation: BTreeMap<SiteName, u64>,
}

/// How far a run's results are under a trial.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Progress {
    sites: BTreeMap<SiteName, (bool, u64)>,
    results: u64,
    /// When the first of its images was published, as far as that is known.
    first: Option<Millis>,
}

/// All that is known.
#[derive(Clone, Debug)]
pub struct Book {
    pub(super) limits: Limits,
    pub(super) rules: BTreeMap<RuleName, Rule>,
    runs: BTreeMap<RunKey, Run>,
    sets: Sets,
    pub(super) sites: Sites,
    pub(super) asked: BTreeSet<(RunKey, RuleName, u32)>,
    progress: BTreeMap<RunInTrial, Progress>,
    pub(super) jobs: BTreeMap<JobName, Life>,
    /// All attempts of a job, by its first one's identity.
    pub(super) attempts: BTreeMap<JobIdentity, BTreeMap<u32, JobName>>,
    /// Jobs that are not over.
    pub(super) open: BTreeSet<JobName>,
    /// Jobs that were given up while a copy may work.
    haunting: BTreeSet<JobName>,
    /// Where what rules of several sites want of a run is done.
    pub(super) placed: BTreeMap<RunKey, BTreeMap<RuleName, Arc<Placed>>>,
    /// Where a rule's newest job of a run is or was.
    pub(super) tried: BTreeMap<RunKey, BTreeMap<RuleName, (Millis, SiteName)>>,
    /// Where experiments' data go for a while.
    pub(super) overrides: BTreeMap<Experiment, RouteOverride>,
    /// How many jobs pools are to have.
    pub(super) sizes: BTreeMap<PoolName, Size>,
    /// Images that wait.
    pub(super) backlogs: BTreeMap<(SiteName, Class), u64>,
    /// When any image had its result last, or deciding began.
    pub(super) progressed: Millis,
    /// Runs for which something may be wanted: told of since they were looked at last, or waiting for time or room.
    pub(super) active: BTreeSet<RunKey>,
    /// The decider's own epoch, once it decides.
    pub(super) epoch: u64,
}

impl Book {
    /// An empty one.
    pub fn new(limits: Limits) -> Self {
        let sites = Sites::new(limits.heartbeat);
        Self {
            limits,
            rules: BTreeMap::new(),
            runs: BTreeMap::new(),
            sets: Sets::default(),
            sites,
            asked: BTreeSet::new(),
            progress: BTreeMap::new(),
            jobs: BTreeMap::new(),
            attempts: BTreeMap::new(),
            open: BTreeSet::new(),
            haunting: BTreeSet::new(),
            placed: BTreeMap::new(),
            tried: BTreeMap::new(),
            overrides: BTreeMap::new(),
            sizes: BTreeMap::new(),
            backlogs: BTreeMap::new(),
            progressed: Millis(0),
            active: BTreeSet::new(),
            epoch: 0,
        }
    }

    /// Begins to decide: whatever was intended before and is not known to be submitted may have been.
    pub fn begin(&mut self, epoch: u64, now: Millis) {
        self.epoch = epoch;
        self.sites.begin();
        self.progressed = now;
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
            Input::Transfer(seen) => self.sites.transfer(seen),
            Input::Facility(status) => self.sites.facility(status),
            Input::Override(experiment, route) => {
                if let Some(route) = route.as_ref().filter(|route| route.move_begun) {
                    self.sites.only_to(&experiment, &route.to);
                }
                match route {
                    Some(route) => drop(self.overrides.insert(experiment, route)),
                    None => drop(self.overrides.remove(&experiment)),
                }
            }
            Input::Backlog(site, class, images) => self.backlog(site, class, images, now),
            Input::Answered(site, fault) => self.sites.answered(site, fault, now),
            Input::Indexed(indexed) => self.indexed(indexed),
            Input::Result(of) => {
                self.progress.entry(of).or_default().results += 1;
                self.progressed = self.progressed.max(now);
            }
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
        let progress = self.progress.entry(of).or_default();
        if indexed.images > 0 {
            progress.first = Some(progress.first.map_or(indexed.at, |first| first.min(indexed.at)));
        }
        progress.sites.insert(indexed.site, said);
    }

    fn step(&mut self, job: Job) {
        self.measure(&job);
        let name = job.job.clone();
        let is_over = match self.jobs.get_mut(&name) {
            Some(life) => {
                life.step(job);
                life.is_over()
            }
            None => {
                let Some(life) = Life::begun(job) else { return };
                let first = life.identity.first_attempt();
                self.attempts.entry(first).or_default().insert(life.identity.attempt(), name.clone());
                if let Some(job) = life.identity.of_run() {
                    let tried = self.tried.entry(job.run.clone()).or_default();
                    let newest = tried.entry(job.rule.clone()).or_insert((life.last.1, life.site.clone()));
                    if newest.0 <= life.last.1 {
                        *newest = (life.last.1, life.site.clone());
                    }
                }
                self.jobs.insert(name.clone(), life);
                false
            }
        };
        if is_over {
            self.open.remove(&name);
            if self.jobs.get(&name).is_some_and(|life| life.haunts.is_some()) {
                self.haunting.insert(name);
            }
        } else {
            self.open.insert(name);
        }
    }

    /// What a step tells of how long things take at its site.
    fn measure(&mut self, job: &Job) {
        let Some(life) = self.jobs.get(&job.job).filter(|life| job.place > life.last_place()) else { return };
        let estimates = &mut self.sites.estimates;
        match (&job.step, &life.last) {
            (JobStep::Running { .. }, (JobStep::Submitted { .. }, submitted)) => {
                estimates.waited(&life.site, job.at.since(*submitted));
            }
            (JobStep::Ended { end, waited, .. }, _) => {
                let Some(ran) = life.running.map(|since| job.at.since(since)) else { return };
                let spent = self.sites.spent.entry(life.site.clone()).or_default();
                *spent = spent.saturating_add(ran.as_secs().saturating_mul(life.nodes.into()));
                let class = life.identity.of_run().map(|job| (job.rule.clone(), job.task.clone()));
                if let (JobEnd::Done, Some(class)) = (end, class) {
                    let idle = Duration::from_secs(waited.unwrap_or(0) / u64::from(life.nodes.max(1)));
                    estimates.ran(&life.site, &class, ran.saturating_sub(idle));
                }
            }
            _ => {}
        }
    }

    /// Whether a site's scheduler did not answer when it was asked last: then it is asked again, though nothing is there.
    pub fn is_mute(&self, site: &SiteName) -> bool {
        self.sites.is_mute(site)
    }

    /// What is to be said on `facility.status` after a report.
    pub fn facility_news(&self, report: &Report, now: Millis) -> Vec<FacilityStatus> {
        self.sites.report(report, self.limits.heartbeat, now)
    }

    /// All that was said of a site's facility.
    pub fn facility(&self, site: &SiteName) -> impl Iterator<Item = &FacilityStatus> {
        self.sites.parts(site)
    }

    /// Whether all images of a run have their results under a trial: published for good, and as many results as images.
    pub fn is_complete(&self, of: &RunInTrial) -> bool {
        self.progress.get(of).is_some_and(|progress| {
            let images: u64 = progress.sites.values().map(|(_, images)| images).sum();
            progress.sites.values().any(|(closed, _)| *closed) && images <= progress.results
        })
    }

    /// Images of a run that have no result under a trial; none while more of them may be published.
    pub(super) fn left_of(&self, of: &RunInTrial) -> Option<u64> {
        let progress = self.progress.get(of)?;
        let is_closed = progress.sites.values().any(|(closed, _)| *closed);
        let (images, results) = self.counts(of);
        is_closed.then(|| images.saturating_sub(results))
    }

    /// Published images and results of a run under a trial.
    pub fn counts(&self, of: &RunInTrial) -> (u64, u64) {
        let Some(progress) = self.progress.get(of) else { return (0, 0) };
        (progress.sites.values().map(|(_, images)| images).sum(), progress.results)
    }

    /// When the first image of a run was published under a trial.
    pub(super) fn first_image(&self, of: &RunInTrial) -> Option<Millis> {
        self.progress.get(of).and_then(|progress| progress.first)
    }

    /// The sites for which images of a run are published under a trial.
    pub(super) fn published_at(&self, of: &RunInTrial) -> impl Iterator<Item = &SiteName> {
        let sites = self.progress.get(of).into_iter().flat_map(|progress| &progress.sites);
        sites.filter(|(_, (_, images))| *images > 0).map(|(site, _)| site)
    }

    /// Whether what a job does is known still: its rule has its task.
    pub(super) fn runs_here(&self, life: &Life) -> bool {
        match (life.identity.of_run(), &life.moves) {
            (Some(job), Some(_)) => self.rules.contains_key(&job.rule),
            (Some(_), None) => self.task(life).is_some(),
            (None, _) => self.pool(life).is_some(),
        }
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
        let job = life.identity.of_run()?;
        let rule = self.rules.get(&job.rule)?;
        Some((rule, rule.tasks.iter().find(|task| task.task == job.task)?))
    }

    /// Whether a job's script looks for inputs before its program, and for outputs after it.
    pub(super) fn looks_for(&self, life: &Life) -> (bool, bool) {
        match self.task(life).map(|(_, task)| &task.work) {
            Some(Work::Command { inputs, outputs, .. }) => (!inputs.is_empty(), !outputs.is_empty()),
            _ => (false, false),
        }
    }

    /// Whether the job's work is known to be complete, whatever became of it: analysis workers of a run whose results are.
    pub(super) fn work_is_complete(&self, life: &Life) -> Option<bool> {
        let job = life.identity.of_run().filter(|_| life.workers)?;
        Some(self.is_complete(&RunInTrial { run: job.run.clone(), trial: job.trial? }))
    }
}
