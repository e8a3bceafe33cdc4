//! What the logbook, a folder or a request says of runs and files, taken into the ledger: runs open and close, files
//! appear, registrations add up or contradict each other. Pure.

use std::collections::HashMap;

use lightrail_topics::events::{ClosedBy, Registration};
use lightrail_topics::logbook::{FileDoc, LogbookEvent, RunDoc};
use lightrail_topics::{Experiment, Lfn, Millis, RunKey, RunNumber, SiteName};

use super::rows::{ExperimentRow, FileRow, Row, Said, State, Transfer, Write};
use super::said::News;
use super::{Effect, Ledger, Step};
use crate::ledger::rows::RunSiteRow;

/// What the logbook's REST says of a run.
#[derive(Clone, Debug)]
pub struct RunAnswer {
    /// The run, where the logbook knows it.
    pub run: Option<RunDoc>,
    /// Its files.
    pub files: Vec<FileDoc>,
}

/// A report that is younger may be under way.
const REPORTED_WITHIN: std::time::Duration = std::time::Duration::from_secs(60);

/// Where a piece of news comes from: decides what it can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    /// A message of the logbook's topics, written at this instant.
    Topic(Millis),
    /// The logbook's REST.
    Rest,
}

impl Ledger {
    /// Takes a message of the logbook, written to its topic at `written`.
    pub fn logbook(&mut self, event: &LogbookEvent, written: Millis, now: Millis) -> Step {
        let mut step = Step::default();
        match event {
            LogbookEvent::Run { experiment, run: Some(doc), .. } => {
                self.run_doc(experiment, doc, Channel::Topic(written), now, &mut step);
            }
            LogbookEvent::File { file: Some(doc), .. } => {
                self.file_doc(doc, Channel::Topic(written), now, &mut step);
            }
            LogbookEvent::Experiment { experiment, dm_locations: Some(dm_locations), .. } => {
                self.experiment_doc(experiment, dm_locations, now, &mut step);
            }
            // A null value says nothing; jobs are the trigger's.
            LogbookEvent::Run { .. }
            | LogbookEvent::File { .. }
            | LogbookEvent::Experiment { .. }
            | LogbookEvent::Job { .. } => {}
        }
        self.finish(step, now)
    }

    /// Takes the answer of the logbook's REST about a run.
    pub fn logbook_answer(&mut self, key: &RunKey, answer: &RunAnswer, now: Millis) -> Step {
        let mut step = Step::default();
        if let Some(doc) = &answer.run {
            self.run_doc(&key.experiment, doc, Channel::Rest, now, &mut step);
        }
        for doc in &answer.files {
            self.file_doc(doc, Channel::Rest, now, &mut step);
        }
        if let Some(run) = self.runs.get_mut(key) {
            if run.row.closed.is_some() {
                run.row.listed = true;
            }
            step.touched_runs.insert(key.clone());
        }
        let unreported = self.unreported(key, answer, now);
        step.effects.extend(unreported);
        self.finish(step, now)
    }

    /// Reports that the logbook's own answer shows to be missing: a mover that was killed may not have made them.
    fn unreported(&mut self, key: &RunKey, answer: &RunAnswer, now: Millis) -> Vec<Effect> {
        let closed = self.runs.get(key).is_some_and(|run| run.row.closed.is_some());
        if !closed {
            return Vec::new();
        }
        let reports = self.reports(key);
        let told: HashMap<&Lfn, _> = answer.files.iter().map(|doc| (&doc.lfn, doc)).collect();
        let lacks = |at: &lightrail_topics::FileAtSite| {
            let landed =
                self.transfer(key, &at.lfn, &at.site).is_some_and(|transfer| match &transfer.state {
                    State::Done(done) => now.since(done.at) > REPORTED_WITHIN,
                    _ => false,
                });
            landed && told.get(&at.lfn).is_some_and(|doc| !doc.locations.contains(&at.site))
        };
        reports.into_iter().filter(|effect| matches!(effect, Effect::Report(at) if lacks(at))).collect()
    }

    /// Takes a file that was found in a folder without logbook; whether its writer is done with it, and whether it was
    /// there before the folder was watched.
    pub fn found(
        &mut self,
        key: &RunKey,
        lfn: &Lfn,
        registration: &Registration,
        (whole, old): (bool, bool),
        now: Millis,
    ) -> Step {
        let mut step = Step::default();
        let unknown = !self.holds(key);
        self.upsert_run(key, now, &mut step);
        if let Some(run) = self.runs.get_mut(key).filter(|_| unknown) {
            run.row.low = old;
        }
        self.register(key, lfn, registration, None, now, &mut step);
        if whole {
            self.mark_whole(key, lfn, now, &mut step);
        }
        self.finish(step, now)
    }

    /// Closes a run that has been quiet, or that somebody says is closed.
    pub fn close(&mut self, key: &RunKey, by: ClosedBy, now: Millis) -> Step {
        let mut step = Step::default();
        self.close_run(key, by, None, now, &mut step);
        if let Some(run) = self.runs.get_mut(key) {
            run.row.listed = true;
        }
        self.finish(step, now)
    }

    fn run_doc(
        &mut self,
        experiment: &Experiment,
        doc: &RunDoc,
        channel: Channel,
        now: Millis,
        step: &mut Step,
    ) {
        let key = RunKey { experiment: experiment.clone(), run: doc.num };
        self.upsert_run(&key, now, step);
        let began = doc.begin_time.map(lightrail_topics::LogTime::millis);
        let ended = doc.end_time.map(lightrail_topics::LogTime::millis);
        if let Some(run) = self.runs.get_mut(&key).filter(|run| run.row.began.is_none() && began.is_some()) {
            run.row.began = began;
            // Its age is another one now.
            self.wake(&key, now, step);
        }
        for file in doc.file_catalog.iter().flatten() {
            self.file_doc(file, Channel::Rest, now, step);
        }
        if ended.is_some() || doc.closed {
            let by = if channel == Channel::Rest { ClosedBy::Logbook } else { ClosedBy::EndTime };
            self.close_run(&key, by, ended, now, step);
            if let Some(run) = self.runs.get_mut(&key) {
                // Only the message that ends a run lists its files; a later one without a list says nothing of them.
                run.row.listed |= doc.file_catalog.is_some();
            }
            self.wake(&key, now, step);
        }
        // The next run's start closes what is still open before it.
        self.close_earlier(&key, ClosedBy::NextRun, began, now, step);
    }

    fn file_doc(&mut self, doc: &FileDoc, channel: Channel, now: Millis, step: &mut Step) {
        let Some(run) = doc.lfn.run().or(doc.run) else { return };
        let key = RunKey { experiment: doc.lfn.experiment(), run };
        self.upsert_run(&key, now, step);
        let created = match channel {
            Channel::Topic(written) if doc.create => Some(written),
            Channel::Topic(_) | Channel::Rest => None,
        };
        self.register(&key, &doc.lfn, &doc.registration, created, now, step);
    }

    fn experiment_doc(&mut self, experiment: &Experiment, to: &[SiteName], now: Millis, step: &mut Step) {
        let row = ExperimentRow { dm_locations: to.to_vec() };
        if self.experiments.get(experiment) != Some(&row) {
            step.writes.push(Write::Put(Row::Experiment(experiment.clone(), row.clone())));
            self.experiments.insert(experiment.clone(), row);
            self.route_anew(Some(experiment), now, step);
        }
    }

    /// Makes the run known and gives it its sites.
    pub(super) fn upsert_run(&mut self, key: &RunKey, now: Millis, step: &mut Step) {
        step.touched_runs.insert(key.clone());
        if let Some(run) = self.runs.get_mut(key) {
            run.row.heard = now;
            return;
        }
        let mut run = super::Run::default();
        run.row.heard = now;
        run.row.sites = self.destinations(key, now).into_iter().map(RunSiteRow::new).collect();
        self.runs.insert(key.clone(), run);
        self.open.entry(key.experiment.clone()).or_default().insert(key.run);
        let newest = self.newest.entry(key.experiment.clone()).or_insert(key.run);
        *newest = key.run.max(*newest);
        if key.run < *newest {
            // Heard of after a later run: that one's start has closed it.
            self.close_run(key, ClosedBy::NextRun, None, now, step);
            self.ask_logbook(key, now, step);
        }
    }

    /// Takes a registration of a file. `created` is when a message wrote that the file was registered, where one did.
    pub(super) fn register(
        &mut self,
        key: &RunKey,
        lfn: &Lfn,
        registration: &Registration,
        created: Option<Millis>,
        now: Millis,
        step: &mut Step,
    ) {
        let said = Said::from_registration(registration);
        let Some(run) = self.runs.get_mut(key) else { return };
        step.touched_files.insert((key.clone(), lfn.clone()));
        let Some(file) = run.files.get_mut(lfn) else {
            let sites: Vec<SiteName> = run.row.sites.iter().map(|site| site.site.clone()).collect();
            run.files.insert(lfn.clone(), FileRow { said, seen: Some(now), whole: false, sites: Vec::new() });
            for site in sites {
                self.want(key, lfn, &site, now, step);
            }
            self.next_chunk_completes(key, lfn, now, step);
            return;
        };
        match file.said.news(&said) {
            News::Older => {}
            News::More => file.said.merge(&said),
            News::Nothing => {
                // Registered again: the logbook forgot where the file is. It is told again, and the source is looked
                // at where the registration is younger than the copy.
                if let Some(written) = created {
                    let mut look = false;
                    for transfer in &file.sites {
                        if let State::Done(done) = &transfer.state {
                            let at = lightrail_topics::FileAtSite {
                                lfn: lfn.clone(),
                                site: transfer.site.clone(),
                            };
                            step.effects.push(Effect::Report(at));
                            look |= written > done.at;
                        }
                    }
                    if look {
                        step.effects.push(Effect::LookAtSource(key.clone(), lfn.clone()));
                    }
                }
            }
            News::Newer => {
                file.said = said;
                file.seen = Some(now);
                file.whole = false;
                self.renew(key, lfn, "registered again", now, step);
            }
        }
    }

    /// What a look at the source of a registered file showed. A changed source is a new generation.
    pub fn source_seen(&mut self, key: &RunKey, lfn: &Lfn, size: u64, mtime: i64, now: Millis) -> Step {
        let mut step = Step::default();
        let changed = self.file(key, lfn).is_some_and(|file| {
            file.sites.iter().any(|transfer| match &transfer.state {
                State::Done(done) => done.size != size || done.source_mtime != mtime,
                _ => false,
            })
        });
        if changed {
            if let Some(file) = self.runs.get_mut(key).and_then(|run| run.files.get_mut(lfn)) {
                file.said.size = file.said.size.map(|_| size);
                file.said.checksum = None;
            }
            step.touched_files.insert((key.clone(), lfn.clone()));
            self.renew(key, lfn, "its source has changed", now, &mut step);
        }
        self.finish(step, now)
    }

    /// Every transfer of the file becomes its next generation.
    fn renew(&mut self, key: &RunKey, lfn: &Lfn, because: &str, now: Millis, step: &mut Step) {
        let Some(file) = self.file(key, lfn) else { return };
        let old = file.sites.iter().map(|transfer| {
            let is_done = matches!(transfer.state, State::Done(_));
            (transfer.site.clone(), transfer.generation, is_done)
        });
        let old: Vec<(SiteName, lightrail_topics::Generation, bool)> = old.collect();
        for (site, generation, is_done) in old {
            self.call_back(key, lfn, &site, step);
            if let Some(transfer) = self.transfer_mut(key, lfn, &site) {
                *transfer = transfer.renewed(generation.next());
            }
            self.note_awaited(key, lfn, &site, (is_done, because));
            self.tell(key, lfn, &site, None, now, step);
        }
        self.wake_file(key, lfn, now, step);
    }

    /// Wants the file at the site, unless it is wanted there already.
    pub(super) fn want(&mut self, key: &RunKey, lfn: &Lfn, site: &SiteName, now: Millis, step: &mut Step) {
        if self.transfer(key, lfn, site).is_some() {
            return;
        }
        if let Some(file) = self.runs.get_mut(key).and_then(|run| run.files.get_mut(lfn)) {
            file.sites.push(Transfer::new(site.clone(), lightrail_topics::Generation::FIRST));
            step.touched_files.insert((key.clone(), lfn.clone()));
            self.note_awaited(key, lfn, site, (false, "came late"));
            self.tell(key, lfn, site, None, now, step);
            self.wake_file(key, lfn, now, step);
        }
    }

    /// In a stream, the registration of chunk n+1 says that chunk n is complete.
    fn next_chunk_completes(&mut self, key: &RunKey, lfn: &Lfn, now: Millis, step: &mut Step) {
        let (Some(stream), Some(chunk @ 1..)) = (lfn.stream(), lfn.chunk()) else { return };
        let Some(run) = self.runs.get(key) else { return };
        let earlier: Vec<Lfn> = run
            .files
            .iter()
            .filter(|(other, file)| {
                !file.whole && other.stream() == Some(stream) && other.chunk().is_some_and(|c| c < chunk)
            })
            .map(|(other, _)| other.clone())
            .collect();
        for other in earlier {
            self.mark_whole(key, &other, now, step);
        }
    }

    fn mark_whole(&mut self, key: &RunKey, lfn: &Lfn, now: Millis, step: &mut Step) {
        if let Some(file) = self.runs.get_mut(key).and_then(|run| run.files.get_mut(lfn)) {
            if !file.whole {
                file.whole = true;
                step.touched_files.insert((key.clone(), lfn.clone()));
                self.wake_file(key, lfn, now, step);
            }
        }
    }

    pub(super) fn close_run(
        &mut self,
        key: &RunKey,
        by: ClosedBy,
        ended: Option<Millis>,
        now: Millis,
        step: &mut Step,
    ) {
        let Some(run) = self.runs.get_mut(key) else { return };
        step.touched_runs.insert(key.clone());
        // What is stated goes above what is inferred, and of two the earlier: in whatever order they were read.
        let states = |by: ClosedBy| matches!(by, ClosedBy::EndTime | ClosedBy::Logbook);
        let inferred = run.row.closed.is_none_or(|(by, _)| !states(by));
        run.row.ended = match (run.row.ended, ended) {
            (Some(_), Some(stated)) if states(by) && inferred => Some(stated),
            (Some(known), Some(_)) if !states(by) && !inferred => Some(known),
            (Some(known), Some(other)) => Some(known.min(other)),
            (known, other) => known.or(other),
        };
        if let Some((known, _)) =
            run.row.closed.as_mut().filter(|_| inferred && states(by) && ended.is_some())
        {
            *known = by;
        }
        if run.row.closed.is_none() {
            run.row.closed = Some((by, now));
            if let Some(open) = self.open.get_mut(&key.experiment) {
                open.remove(&key.run);
            }
            if !self.experiment_rules(&key.experiment).report_early {
                step.effects.extend(self.reports(key));
            }
        }
        self.wake(key, now, step);
    }

    fn close_earlier(
        &mut self,
        key: &RunKey,
        by: ClosedBy,
        at: Option<Millis>,
        now: Millis,
        step: &mut Step,
    ) {
        let earlier: Vec<RunNumber> = self
            .open
            .get(&key.experiment)
            .into_iter()
            .flat_map(|open| open.range(..key.run))
            .copied()
            .collect();
        for run in earlier {
            let earlier = RunKey { experiment: key.experiment.clone(), run };
            self.close_run(&earlier, by, at, now, step);
            self.ask_logbook(&earlier, now, step);
        }
    }

    /// Asks the logbook about a run whose list of files is not known to be whole.
    pub(super) fn ask_logbook(&mut self, key: &RunKey, now: Millis, step: &mut Step) {
        if self.rules.has_logbook && self.runs.get(key).is_some_and(|run| !run.row.listed) {
            self.asked.insert(key.clone(), now);
            step.effects.push(Effect::AskLogbook(key.clone()));
        }
    }
}
