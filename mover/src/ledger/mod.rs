//! The ledger: what the mover knows and has decided, in memory, with the one function that takes each kind of event.
//! Pure: no clock, no randomness, no file, no network. What a step changes comes out as a [`Step`]: journal rows and
//! messages to be written together, and things to be done.

mod announce;
mod attempts;
#[cfg(test)]
mod audit;
mod catalog;
mod inspect;
pub mod queue;
mod readback;
mod routes;
pub mod rows;
pub mod said;
pub mod transfer;
mod wishes;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use lightrail_topics::events::{Route, RouteOverride, Wish, WishKey};
use lightrail_topics::message::Message;
use lightrail_topics::{AttemptId, Experiment, FileAtSite, Lfn, Millis, RunKey, RunNumber, SiteName};

pub use attempts::{Order, Outcome};
pub use catalog::RunAnswer;
pub use queue::{Doors, Limits, SiteLimits};

use queue::{Queue, Taken};
use rows::{ExperimentRow, FileRow, Row, RowKey, RunRow, Write};

/// The pure part of the configuration.
#[derive(Clone, Debug)]
pub struct Rules {
    /// `ce_source` of our messages.
    pub source: String,
    /// Where the logbook's files lie.
    pub source_site: SiteName,
    /// Per experiment; what is not named follows `default`.
    pub experiments: BTreeMap<Experiment, ExperimentRules>,
    /// For all other experiments.
    pub default: ExperimentRules,
    /// Limits of sites and experiments.
    pub limits: Limits,
    /// How the URL of a file at a site begins: `root://door/prefix`.
    pub urls: BTreeMap<SiteName, String>,
    /// Files below this size may use the slots kept for small ones; index files always may.
    pub small_below: u64,
    /// Attempts that count before a transfer is given up.
    pub tries: u32,
    /// A closed run whose list of files nobody confirms counts as listed after this silence.
    pub settle: Duration,
    /// Whether a logbook's REST can be asked.
    pub has_logbook: bool,
    /// A run without news for so long is asked about.
    pub silent_after: Duration,
}

/// What holds for an experiment unless a route says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExperimentRules {
    /// Sites, where configured.
    pub to: Option<Vec<SiteName>>,
    /// Whether files are moved before their run is closed.
    pub streaming: bool,
    /// Streams that a run need not wait for.
    pub not_waited_streams: Vec<u16>,
    /// Whether the logbook is told of files while their run is open.
    pub report_early: bool,
    /// A closed run that still lacks files after this is said to be incomplete.
    pub overdue: Duration,
}

/// What one event changes and asks for.
#[derive(Debug, Default)]
pub struct Step {
    /// Journal rows, to be written together.
    pub writes: Vec<Write>,
    /// Things to be done; each is idempotent, and found again by the sweep if it is lost.
    pub effects: Vec<Effect>,
    /// How many of the writes are outbox rows.
    pub announced: usize,
    touched_runs: BTreeSet<RunKey>,
    touched_files: BTreeSet<(RunKey, Lfn)>,
    messages: Vec<Message>,
}

/// Something to be done outside.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Call an attempt back.
    CallBack(FileAtSite, AttemptId),
    /// Ask the logbook's REST whether the run is closed and what its files are.
    AskLogbook(RunKey),
    /// See whether a source has changed since it was copied.
    LookAtSource(RunKey, Lfn),
    /// Tell the logbook that the file is at the site.
    Report(FileAtSite),
}

/// A run in memory.
#[derive(Clone, Debug, Default)]
struct Run {
    row: RunRow,
    files: BTreeMap<Lfn, FileRow>,
    /// A file that the run waited for when it was last looked: as long as it is awaited, so is the run.
    awaited: Option<Lfn>,
    /// The same of the small files that the logbook's reports of big ones wait for.
    awaited_small: Option<Lfn>,
}

/// The mover's knowledge. One owner; everything in it is in the journal or follows from what is.
#[derive(Debug)]
pub struct Ledger {
    rules: Rules,
    runs: HashMap<RunKey, Run>,
    /// Runs that are not closed, per experiment: the next run's start closes them.
    open: BTreeMap<Experiment, BTreeSet<RunNumber>>,
    /// The latest run of each experiment that was heard of.
    newest: BTreeMap<Experiment, RunNumber>,
    experiments: BTreeMap<Experiment, ExperimentRow>,
    routes: BTreeMap<Experiment, Route>,
    overrides: BTreeMap<Experiment, RouteOverride>,
    wishes: BTreeMap<WishKey, Wish>,
    queue: Queue,
    /// Where each queued transfer stands in the queue.
    queued: HashMap<FileAtSite, (queue::Group, queue::Rank)>,
    /// Transfers whose next attempt has a time.
    delayed: BTreeSet<(Millis, FileAtSite)>,
    /// Transfers under way.
    taken: HashMap<FileAtSite, (AttemptId, Taken)>,
    /// Number of the last attempt of each transfer in this start.
    attempts: HashMap<FileAtSite, u32>,
    /// Runs that something waits for although nothing happens to them: looked at on every tick.
    restless: BTreeSet<RunKey>,
    /// Runs the logbook has been asked about, and when.
    asked: HashMap<RunKey, Millis>,
    /// The place of the next outbox row.
    next_outbox: u64,
    /// While own topics are read back: the last manifests that they hold.
    reading_back: Option<readback::ReadingBack>,
    /// Whether the logbook said something before the start that is not taken in yet: nothing is said of runs until then.
    behind: bool,
}

impl Ledger {
    /// An empty ledger.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            runs: HashMap::new(),
            open: BTreeMap::new(),
            newest: BTreeMap::new(),
            experiments: BTreeMap::new(),
            routes: BTreeMap::new(),
            overrides: BTreeMap::new(),
            wishes: BTreeMap::new(),
            queue: Queue::default(),
            queued: HashMap::new(),
            delayed: BTreeSet::new(),
            taken: HashMap::new(),
            attempts: HashMap::new(),
            restless: BTreeSet::new(),
            asked: HashMap::new(),
            next_outbox: 0,
            reading_back: None,
            behind: false,
        }
    }

    /// Takes a row of the journal at a start. Attempts under way at the end of the last start are ready again.
    pub fn load(&mut self, row: Row) {
        match row {
            Row::Run(key, row) => {
                let run = self.runs.entry(key.clone()).or_default();
                run.row = row;
                if run.row.closed.is_none() {
                    self.open.entry(key.experiment.clone()).or_default().insert(key.run);
                }
                let newest = self.newest.entry(key.experiment.clone()).or_insert(key.run);
                *newest = key.run.max(*newest);
                self.restless.insert(key);
            }
            Row::File(key, lfn, mut file) => {
                for transfer in &mut file.sites {
                    if let rows::State::Carrying(_) = transfer.state {
                        transfer.state = rows::State::Ready;
                    }
                }
                self.runs.entry(key.clone()).or_default().files.insert(lfn, file);
                self.restless.insert(key);
            }
            Row::Wish(key, wish) => {
                self.wishes.insert(key, wish);
            }
            Row::Route(experiment, route) => {
                self.routes.insert(experiment, route);
            }
            Row::Override(experiment, route) => {
                self.overrides.insert(experiment, route);
            }
            Row::Experiment(experiment, row) => {
                self.experiments.insert(experiment, row);
            }
            Row::Outbox(place, _) => self.next_outbox = self.next_outbox.max(place + 1),
            Row::Position(..) => {}
        }
    }

    /// Makes the queue from the loaded rows. Call once, after the last [`load`](Self::load).
    pub fn index(&mut self) {
        let all: Vec<(RunKey, Lfn, SiteName)> = self
            .runs
            .iter()
            .flat_map(|(key, run)| run.files.iter().map(move |(lfn, file)| (key, lfn, file)))
            .flat_map(|(key, lfn, file)| {
                file.sites.iter().map(move |transfer| (key.clone(), lfn.clone(), transfer.site.clone()))
            })
            .collect();
        for (key, lfn, site) in all {
            self.reindex(&key, &lfn, &site);
        }
    }

    /// The rules it was made with.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Whether the run is in memory. One that is not is to be [adopted](Self::adopt) before an event about it comes.
    pub fn holds(&self, key: &RunKey) -> bool {
        self.runs.contains_key(key)
    }

    /// Takes a settled run back into memory.
    pub fn adopt(&mut self, key: &RunKey, row: RunRow, files: Vec<(Lfn, FileRow)>) {
        self.load(Row::Run(key.clone(), row));
        for (lfn, file) in files {
            self.load(Row::File(key.clone(), lfn, file));
        }
    }

    /// Drops settled runs of which nothing was heard since `before` from memory; the journal keeps them.
    pub fn evict(&mut self, before: Millis) -> usize {
        let had = self.runs.len();
        self.runs.retain(|_, run| run.row.heard >= before || !is_settled(run));
        for key in
            self.restless.iter().filter(|key| !self.runs.contains_key(*key)).cloned().collect::<Vec<_>>()
        {
            self.restless.remove(&key);
        }
        had - self.runs.len()
    }

    fn file(&self, key: &RunKey, lfn: &Lfn) -> Option<&FileRow> {
        self.runs.get(key)?.files.get(lfn)
    }

    fn transfer(&self, key: &RunKey, lfn: &Lfn, site: &SiteName) -> Option<&rows::Transfer> {
        self.file(key, lfn)?.sites.iter().find(|transfer| transfer.site == *site)
    }

    fn transfer_mut(&mut self, key: &RunKey, lfn: &Lfn, site: &SiteName) -> Option<&mut rows::Transfer> {
        let file = self.runs.get_mut(key)?.files.get_mut(lfn)?;
        file.sites.iter_mut().find(|transfer| transfer.site == *site)
    }

    /// What an experiment's route, or else the configuration, says besides where to.
    fn experiment_rules(&self, experiment: &Experiment) -> ExperimentRules {
        let mut rules = self.rules.experiments.get(experiment).unwrap_or(&self.rules.default).clone();
        if let Some(route) = self.routes.get(experiment) {
            rules.streaming = route.streaming.unwrap_or(rules.streaming);
            if let Some(streams) = &route.not_waited_streams {
                rules.not_waited_streams.clone_from(streams);
            }
        }
        rules
    }

    /// Ends a step: says what is to be said of the runs touched, and turns what was touched into rows.
    fn finish(&mut self, mut step: Step, now: Millis) -> Step {
        let mut runs = std::mem::take(&mut step.touched_runs);
        runs.extend(step.touched_files.iter().map(|(key, _)| key.clone()));
        for key in &runs {
            let awaited = self.announce(key, now, &mut step);
            if let Some(run) = self.runs.get(key) {
                step.writes.push(Write::Put(Row::Run(key.clone(), run.row.clone())));
                if !awaited && is_settled(run) {
                    self.restless.remove(key);
                } else {
                    self.restless.insert(key.clone());
                }
            }
        }
        for (key, lfn) in std::mem::take(&mut step.touched_files) {
            match self.runs.get_mut(&key).and_then(|run| run.files.get_mut(&lfn)) {
                Some(file) => {
                    if file.sites.iter().all(|transfer| matches!(transfer.state, rows::State::Done(_))) {
                        shrink(file);
                    }
                    step.writes.push(Write::Put(Row::File(key, lfn, file.clone())));
                }
                None => step.writes.push(Write::Remove(RowKey::File(key, lfn))),
            }
        }
        for message in std::mem::take(&mut step.messages) {
            step.writes.push(Write::Put(Row::Outbox(self.next_outbox, message)));
            self.next_outbox += 1;
            step.announced += 1;
        }
        step
    }
}

/// Whether nothing more happens to the run unless somebody or something outside names it.
fn is_settled(run: &Run) -> bool {
    run.row.closed.is_some()
        && run.row.listed
        && !run.row.sites.is_empty()
        && run.row.sites.iter().all(|site| (site.available || site.incomplete > 0) && site.changed.is_none())
        && run
            .files
            .values()
            .flat_map(|file| &file.sites)
            .all(|transfer| transfer::is_terminal(&transfer.state))
}

/// A finished file becomes a line: what tells its generations apart, and what its manifest needs.
fn shrink(file: &mut FileRow) {
    file.said.shorten();
    file.seen = None;
    for transfer in &mut file.sites {
        transfer.history = Vec::new();
        transfer.temporaries = Vec::new();
        transfer.stale = Vec::new();
        transfer.ready = None;
    }
}

#[cfg(test)]
mod tests;
