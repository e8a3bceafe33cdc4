//! Looking into the ledger: what each missing file waits for, in words, and the facts that pages, metrics and the
//! sweep need. Changes nothing but by [`Ledger::vanished`]. Pure.

use lightrail_topics::events::FileGone;
use lightrail_topics::{FileAtSite, Lfn, Millis, RunKey, RunNumber, SiteName, message};

use super::queue::{Blocked, Doors};
use super::rows::{FileRow, RunRow, State, Transfer};
use super::transfer::{self, Step as Move};
use super::{Effect, Ledger, Step};

impl Ledger {
    /// All runs in memory.
    pub fn runs(&self) -> impl Iterator<Item = (&RunKey, &RunRow)> {
        self.runs.iter().map(|(key, run)| (key, &run.row))
    }

    /// A run's row.
    pub fn run(&self, key: &RunKey) -> Option<&RunRow> {
        self.runs.get(key).map(|run| &run.row)
    }

    /// The files of a run.
    pub fn files(&self, key: &RunKey) -> impl Iterator<Item = (&Lfn, &FileRow)> {
        self.runs.get(key).into_iter().flat_map(|run| &run.files)
    }

    /// How many transfers are ready.
    pub fn ready(&self) -> usize {
        self.queue.len()
    }

    /// How many attempts are under way.
    pub fn under_way(&self) -> usize {
        self.taken.len()
    }

    /// The place of the next outbox row.
    pub fn next_outbox(&self) -> u64 {
        self.next_outbox
    }

    /// All experiments that are known: by a run, a route, the logbook or the configuration.
    pub fn experiments(&self) -> Vec<lightrail_topics::Experiment> {
        let mut known: Vec<_> = self.runs.keys().map(|key| key.experiment.clone()).collect();
        known.extend(self.routes.keys().chain(self.experiments.keys()).cloned());
        known.extend(self.rules.experiments.keys().cloned());
        known.sort();
        known.dedup();
        known
    }

    /// The runs of an experiment, in order.
    pub fn runs_of(&self, experiment: &lightrail_topics::Experiment) -> Vec<RunNumber> {
        let mut runs: Vec<RunNumber> =
            self.runs.keys().filter(|key| key.experiment == *experiment).map(|key| key.run).collect();
        runs.sort_unstable();
        runs
    }

    /// The one thing that a file waits for at a site, in words; none if it is there.
    pub fn why(
        &self,
        key: &RunKey,
        lfn: &Lfn,
        transfer: &Transfer,
        doors: &dyn Doors,
        now: Millis,
    ) -> Option<String> {
        let site = &transfer.site;
        let in_seconds = |at: Millis| format!("{:.0} s", at.since(now).as_secs_f64().ceil());
        let last = transfer.history.last();
        Some(match &transfer.state {
            State::Done(_) => return None,
            State::Gone => {
                "was available and is no longer there; ask for it again to have it copied".to_owned()
            }
            State::Cancelled => {
                let by = self.wish_for(key, lfn, site).cancelled_by;
                format!(
                    "cancelled by {}; requeue it to have it copied",
                    by.as_deref().unwrap_or("an operator")
                )
            }
            State::Failed => match last {
                Some(cause) => {
                    format!(
                        "given up after {} tries: {}; requeue it when that is mended",
                        transfer.tries, cause.text
                    )
                }
                None => "given up; requeue it to have it tried again".to_owned(),
            },
            State::Delayed(until) => {
                let why = last.map_or("an earlier failure", |cause| cause.text.as_str());
                format!("try {} begins in {} because of: {why}", transfer.tries + 1, in_seconds(*until))
            }
            State::Carrying(attempt) => format!("is being copied (attempt {attempt})"),
            State::Waiting => {
                let streaming = self.experiment_rules(&key.experiment).streaming;
                if streaming {
                    "its run is open and nothing says yet that the file is complete".to_owned()
                } else {
                    "its run is still open".to_owned()
                }
            }
            State::Ready => {
                let wish = self.wish_for(key, lfn, site);
                if wish.held {
                    let by = wish.held_by.as_deref().unwrap_or("an operator");
                    return Some(format!("paused by {by}; resume to have it copied"));
                }
                if wish.drained {
                    return Some("the mover is being drained; nothing new starts".to_owned());
                }
                match self.blocked(key, lfn, site, doors) {
                    None => "next in the queue".to_owned(),
                    Some(Blocked::SiteSlots) => {
                        format!("all transfer slots of {site} or its source are in use")
                    }
                    Some(Blocked::Reserved) => {
                        format!("the free slots of {site} are kept for small files")
                    }
                    Some(Blocked::ExperimentSlots) => {
                        format!("all transfer slots of {} are in use", key.experiment)
                    }
                    Some(Blocked::Bytes) => {
                        format!("the bytes in flight to {site} or from its source are at their limit")
                    }
                    Some(Blocked::Behind) => {
                        format!(
                            "an older file goes first, for which the bytes in flight at {site} are too many"
                        )
                    }
                    Some(Blocked::ServerSlots) => format!("every data server of {site} has our share in use"),
                    Some(Blocked::SiteClosed) => {
                        let source = &self.rules.source_site;
                        let (who, why) = match (doors.reason(site), doors.reason(source)) {
                            (Some(why), _) => (site, why),
                            (None, Some(why)) => (source, why),
                            (None, None) => (site, "it does not answer".to_owned()),
                        };
                        format!("{who} is left alone and tried again from time to time, because of: {why}")
                    }
                }
            }
        })
    }

    /// Verified files that the sweep looks at: those of runs that ended at or after `since`.
    pub fn verified(&self, since: Millis) -> Vec<(RunKey, FileAtSite, u64)> {
        let mut found = Vec::new();
        for (key, run) in &self.runs {
            if run.row.ended.or(run.row.began).unwrap_or(run.row.heard) < since {
                continue;
            }
            for (lfn, file) in &run.files {
                for transfer in &file.sites {
                    if let State::Done(done) = &transfer.state {
                        let at = FileAtSite { lfn: lfn.clone(), site: transfer.site.clone() };
                        found.push((key.clone(), at, done.size));
                    }
                }
            }
        }
        found.sort();
        found
    }

    /// Runs whose files are compared with what the logbook has: closed ones since then.
    pub fn to_compare(&self, since: Millis) -> Vec<Effect> {
        let mut runs: Vec<&RunKey> = self
            .runs
            .iter()
            .filter(|(_, run)| run.row.closed.is_some_and(|(_, at)| at >= since))
            .map(|(key, _)| key)
            .collect();
        runs.sort();
        let asks = if self.rules.has_logbook { runs } else { Vec::new() };
        asks.into_iter().cloned().map(Effect::AskLogbook).collect()
    }

    /// A verified file was seen to be missing: it is announced as gone, and its run is corrected.
    pub fn vanished(&mut self, key: &RunKey, at: &FileAtSite, now: Millis) -> Step {
        let mut step = Step::default();
        let Some(transfer) = self.transfer(key, &at.lfn, &at.site) else { return step };
        if !matches!(transfer.state, State::Done(_)) {
            return step;
        }
        let event = FileGone {
            lfn: at.lfn.clone(),
            run: key.clone(),
            site: at.site.clone(),
            generation: transfer.generation,
            seen: now,
        };
        self.advance(key, &at.lfn, &at.site, Move::Vanished, &mut step);
        step.messages.push(message::file_gone(&event, &self.rules.source, now));
        self.note_change(key, &at.site, &format!("{}: gone", at.lfn.file_name()));
        self.finish(step, now)
    }

    /// Reports that the logbook gets after its run is closed: small files first, big ones last. Where a small one is still
    /// awaited, the big ones are left out: [`Self::report`] has them when it has come.
    pub fn reports(&mut self, key: &RunKey) -> Vec<Effect> {
        let sites = self.runs.get(key).into_iter().flat_map(|run| &run.row.sites);
        let mut kept: Vec<SiteName> = sites.map(|site| site.site.clone()).collect();
        kept.retain(|site| self.awaits_small(key, site));
        let Some(run) = self.runs.get(key) else { return Vec::new() };
        let mut done: Vec<(u64, FileAtSite)> = run
            .files
            .iter()
            .flat_map(|(lfn, file)| file.sites.iter().map(move |transfer| (lfn, transfer)))
            .filter_map(|(lfn, transfer)| match &transfer.state {
                State::Done(done) => {
                    Some((done.size, FileAtSite { lfn: lfn.clone(), site: transfer.site.clone() }))
                }
                _ => None,
            })
            .filter(|(_, at)| at.lfn.kind().is_index() || !kept.contains(&at.site))
            .collect();
        done.sort();
        done.into_iter().map(|(_, at)| Effect::Report(at)).collect()
    }

    /// Reports of a closed run whose file has come to the site, or will not: a small one at once, a big one when no small
    /// one is awaited any more.
    pub(super) fn report(&mut self, key: &RunKey, lfn: &Lfn, site: &SiteName, came: bool) -> Vec<Effect> {
        let Some(run) = self.runs.get(key) else { return Vec::new() };
        let announced = run.row.sites.iter().any(|said| said.site == *site && said.available);
        let own = came.then(|| Effect::Report(FileAtSite { lfn: lfn.clone(), site: site.clone() }));
        if announced {
            return own.into_iter().collect();
        }
        let awaited = self.awaits_small(key, site);
        if !lfn.kind().is_index() {
            return own.into_iter().filter(|_| !awaited).collect();
        }
        let big = |effect: &Effect| matches!(effect, Effect::Report(at) if at.site == *site && !at.lfn.kind().is_index());
        let kept = if awaited { Vec::new() } else { self.reports(key) };
        own.into_iter().chain(kept.into_iter().filter(big)).collect()
    }

    /// Whether a small file of the run is still to come to the site. Looks at each once while they come in, not at all of them
    /// each time: it begins at the one that was found last.
    fn awaits_small(&mut self, key: &RunKey, site: &SiteName) -> bool {
        let Some(run) = self.runs.get_mut(key) else { return false };
        let open = |file: &FileRow| {
            file.sites
                .iter()
                .any(|transfer| transfer.site == *site && !transfer::is_terminal(&transfer.state))
        };
        let last = run.awaited_small.as_ref();
        let after = last.into_iter().flat_map(|lfn| run.files.range(lfn.clone()..));
        let found = after.chain(&run.files).find(|(lfn, file)| lfn.kind().is_index() && open(file));
        run.awaited_small = found.map(|(lfn, _)| lfn.clone());
        run.awaited_small.is_some()
    }

    /// How many attempts of a transfer have counted against its limit.
    pub fn tries(&self, key: &RunKey, id: &lightrail_topics::TransferId) -> u32 {
        self.transfer(key, &id.lfn, &id.site).map_or(0, |transfer| transfer.tries)
    }

    /// Says something that concerns no run: a dead letter.
    pub fn say(&mut self, message: lightrail_topics::Message) -> Step {
        let mut step = Step::default();
        step.messages.push(message);
        self.finish(step, Millis::default())
    }

    /// How many transfers are under way to or from a site.
    pub fn slots_in_use(&self, site: &SiteName) -> u32 {
        self.queue.in_use(site)
    }
}
