//! Attempts of transfers: when a file may go, which goes next, what an attempt's end means, when the next one comes.
//! Pure; delays are given by the caller, who has the randomness.

use std::cmp::Reverse;
use std::time::Duration;

use lightrail_topics::events::{Cause, FileAvailable, FileTiming, TransferEvent, Verified};
use lightrail_topics::{
    AttemptId, Checksum, FileAtSite, Generation, Lfn, Millis, RunKey, SiteName, TransferId, message,
};

use super::queue::{Blocked, Doors, Group, Rank, Taken};
use super::rows::{Done, State};
use super::transfer::{self, Step as Move};
use super::{Effect, Ledger, Step};
use crate::carry::{self, Carried};
use crate::fault::Fault;

/// An attempt to be started.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// The transfer.
    pub transfer: TransferId,
    /// Its run.
    pub run: RunKey,
    /// The attempt.
    pub attempt: AttemptId,
    /// Where from.
    pub from: SiteName,
    /// The size that the registration says.
    pub size: Option<u64>,
    /// The checksum that the registration says.
    pub checksum: Option<Checksum>,
    /// The destination's data server to use, where they are known.
    pub server: Option<String>,
    /// Servers at which earlier attempts failed.
    pub avoid: Vec<String>,
    /// Attempts that may have left a temporary file.
    pub temporaries: Vec<AttemptId>,
    /// Attempts of earlier generations whose temporary files have to be gone before anything is copied.
    pub stale: Vec<(Generation, AttemptId)>,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The file was verified at its final name.
    Verified(Box<Carried>),
    /// It failed; if it is tried again, then after this delay.
    Failed(Fault, Duration),
    /// It was called back, or its engine was stopped.
    Interrupted,
}

/// How many causes a transfer keeps.
const HISTORY: usize = 8;

impl Ledger {
    /// Chooses one transfer to start, if one can. `start` is the random number of the mover's start.
    pub fn plan(&mut self, doors: &dyn Doors, start: u32, now: Millis) -> Option<(Order, Step)> {
        #[cfg(test)]
        let oldest = self.next_by_search(doors);
        let pick = self.queue.pick(&self.rules.limits, doors)?;
        let (key, lfn, site) = (pick.rank.run.clone(), pick.rank.lfn.clone(), pick.group.to.clone());
        let at = FileAtSite { lfn: lfn.clone(), site: site.clone() };
        #[cfg(test)]
        assert_eq!(oldest.as_ref(), Some(&pick.rank), "an older transfer could have used the slot");
        self.queued.remove(&at);
        let n = self.attempts.entry(at.clone()).or_insert(0);
        *n += 1;
        let attempt = AttemptId { start, n: *n };
        let bytes = if pick.rank.size == u64::MAX { 0 } else { pick.rank.size };
        let taken = Taken { group: pick.group.clone(), bytes, server: pick.server.clone() };
        self.taken.insert(at, (attempt, taken));

        let mut step = Step::default();
        self.advance(&key, &lfn, &site, Move::Claim(attempt), &mut step);
        let file = self.file(&key, &lfn).expect("what is queued is a file of a run in memory");
        let (size, checksum) = (file.said.size, file.said.checksum.clone());
        let transfer = self.transfer_mut(&key, &lfn, &site).expect("what is queued is a transfer");
        let (temporaries, stale) = (transfer.temporaries.clone(), transfer.stale.clone());
        transfer.temporaries.push(attempt);
        if transfer.temporaries.len() > HISTORY {
            transfer.temporaries.remove(0);
        }
        let order = Order {
            transfer: TransferId { lfn: lfn.clone(), generation: transfer.generation, site: site.clone() },
            run: key.clone(),
            attempt,
            from: pick.group.from,
            size,
            checksum,
            server: pick.server,
            avoid: transfer.history.iter().rev().take(2).filter_map(|cause| cause.endpoint.clone()).collect(),
            temporaries,
            stale,
        };
        self.tell(&key, &lfn, &site, Some((attempt, 0)), now, &mut step);
        let step = self.finish(step, now);
        Some((order, step))
    }

    /// Takes the end of an attempt. One of an attempt that is not under way any more changes nothing.
    pub fn ended(
        &mut self,
        run: &RunKey,
        id: &TransferId,
        attempt: AttemptId,
        outcome: Outcome,
        now: Millis,
    ) -> Step {
        let mut step = Step::default();
        let at = id.at();
        if let Some((_, taken)) = self.taken.get(&at).filter(|(running, _)| *running == attempt).cloned() {
            self.queue.release(&taken);
            self.taken.remove(&at);
        }
        let Some(transfer) = self.transfer(run, &id.lfn, &id.site) else { return step };
        if transfer.generation != id.generation || transfer.state != State::Carrying(attempt) {
            // Something newer took its place, and may have waited for the slot.
            self.reindex(run, &id.lfn, &id.site);
            return step;
        }
        match outcome {
            Outcome::Verified(landed) => self.landed(run, id, attempt, &landed, now, &mut step),
            Outcome::Failed(fault, delay) => self.failed(run, id, attempt, (&fault, delay), now, &mut step),
            Outcome::Interrupted => {
                self.advance(run, &id.lfn, &id.site, Move::Interrupted, &mut step);
                self.tell(run, &id.lfn, &id.site, Some((attempt, 1)), now, &mut step);
            }
        }
        self.finish(step, now)
    }

    fn landed(
        &mut self,
        run: &RunKey,
        id: &TransferId,
        attempt: AttemptId,
        landed: &Carried,
        now: Millis,
        step: &mut Step,
    ) {
        let verified = match landed.verified {
            carry::Verified::Checksum => Verified::Checksum,
            carry::Verified::SizeOnly => Verified::Size,
        };
        let done = Done {
            size: landed.size,
            checksum: landed.checksum.clone(),
            verified,
            source_mtime: landed.source_mtime,
            at: landed.verified_at,
        };
        let Some(file) = self.file(run, &id.lfn) else { return };
        let registration = file.said.to_registration();
        let seen = file.seen;
        let ready = self.transfer(run, &id.lfn, &id.site).and_then(|transfer| transfer.ready);
        self.advance(run, &id.lfn, &id.site, Move::Verified(done), step);
        if let Some(transfer) = self.transfer_mut(run, &id.lfn, &id.site) {
            transfer.stale.clear();
        }
        self.attempts.remove(&id.at());
        let event = FileAvailable {
            lfn: id.lfn.clone(),
            run: run.clone(),
            site: id.site.clone(),
            generation: id.generation,
            size: landed.size,
            checksum: landed.checksum.clone(),
            verified,
            unchecked: landed.unchecked.clone(),
            url: self.url(&id.lfn, &id.site),
            already_there: landed.already_there,
            registration,
            source_mtime: landed.source_mtime,
            timing: FileTiming {
                seen,
                ready,
                started: Some(landed.started),
                copied: Some(landed.copied),
                verified: Some(landed.verified_at),
            },
            attempt: Some(attempt),
        };
        // The announcement first: it is what others wait for.
        step.messages.push(message::file_available(&event, &self.rules.source, landed.verified_at));
        let mut said = self.transfer_event(run, &id.lfn, &id.site, Some((attempt, 1)), now);
        if let Some(said) = &mut said {
            said.bytes = Some(landed.bytes_moved);
            said.from_server.clone_from(&landed.source_server);
            said.to_server.clone_from(&landed.destination_server);
            step.messages.push(message::transfer(said, &self.rules.source, now));
        }
        if let Some(site) = self.run_site_mut(run, &id.site) {
            site.first_file = site.first_file.or(Some(landed.verified_at));
            if site.available && site.changed.is_none() {
                site.changed = Some(format!("{}: came late", id.lfn.file_name()));
            }
        }
        let early = self.experiment_rules(&run.experiment).report_early;
        if early {
            step.effects.push(Effect::Report(id.at()));
        } else if self.runs.get(run).is_some_and(|run| run.row.closed.is_some()) {
            step.effects.extend(self.report(run, &id.lfn, &id.site, true));
        }
    }

    fn failed(
        &mut self,
        run: &RunKey,
        id: &TransferId,
        attempt: AttemptId,
        (fault, delay): (&Fault, Duration),
        now: Millis,
        step: &mut Step,
    ) {
        let tries = self.rules.tries;
        let cause = cause(fault);
        let Some(transfer) = self.transfer_mut(run, &id.lfn, &id.site) else { return };
        transfer.tries += u32::from(fault.uses_a_try());
        transfer.history.push(cause.clone());
        if transfer.history.len() > HISTORY {
            transfer.history.remove(0);
        }
        let give_up = fault.is_permanent() || transfer.tries >= tries;
        let next = now.plus(delay);
        self.advance(run, &id.lfn, &id.site, if give_up { Move::GiveUp } else { Move::Retry(next) }, step);
        if give_up
            && id.lfn.kind().is_index()
            && self.runs.get(run).is_some_and(|run| run.row.closed.is_some())
        {
            step.effects.extend(self.report(run, &id.lfn, &id.site, false));
        }
        if let Some(mut said) = self.transfer_event(run, &id.lfn, &id.site, Some((attempt, 1)), now) {
            said.cause = Some(cause);
            said.next_try = (!give_up).then_some(next);
            if give_up {
                said.history =
                    self.transfer(run, &id.lfn, &id.site).map_or(Vec::new(), |t| t.history.clone());
            }
            step.messages.push(message::transfer(&said, &self.rules.source, now));
        }
    }

    /// What time alone changes: delays that are over, silent runs, runs that are overdue or settled.
    pub fn tick(&mut self, now: Millis) -> Step {
        let mut step = Step::default();
        while let Some((due, at)) = self.delayed.first().cloned().filter(|(due, _)| *due <= now) {
            self.delayed.remove(&(due, at.clone()));
            let Some(key) = self.run_of(&at.lfn) else { continue };
            // Cancelled, renewed or read back meanwhile: that delay is history.
            let waits_for = self.transfer(&key, &at.lfn, &at.site).map(|transfer| &transfer.state);
            if waits_for == Some(&State::Delayed(due)) {
                self.advance(&key, &at.lfn, &at.site, Move::Due, &mut step);
            }
        }
        for key in self.restless.iter().cloned().collect::<Vec<_>>() {
            self.look_at_run(&key, now, &mut step);
        }
        self.end_overrides(now, &mut step);
        self.finish(step, now)
    }

    /// When [`tick`](Self::tick) has something to do next because a delay is over.
    pub fn next_due(&self) -> Option<Millis> {
        self.delayed.first().map(|(due, _)| *due)
    }

    fn look_at_run(&mut self, key: &RunKey, now: Millis, step: &mut Step) {
        let overdue = self.experiment_rules(&key.experiment).overdue;
        let Some(run) = self.runs.get_mut(key) else { return };
        let quiet = now.since(run.row.heard);
        let closed = run.row.closed;
        let mut touched = false;
        if let Some((_, at)) = closed {
            let confirmed_by_nobody = !self.rules.has_logbook || now.since(at) >= overdue;
            if !run.row.listed && quiet >= self.rules.settle && confirmed_by_nobody {
                run.row.listed = true;
                touched = true;
            }
            // What is overdue is said by `announce`, once; what changes after that is touched by what changes it.
            let unsaid = run.row.sites.iter().any(|site| !site.available && site.incomplete == 0);
            touched |= unsaid && now.since(at) >= overdue;
        }
        let ask = if closed.is_some() {
            !self.runs.get(key).is_some_and(|run| run.row.listed)
        } else {
            quiet >= self.rules.silent_after
        };
        let patience = self.rules.silent_after.min(Duration::from_secs(30));
        let asked_lately = self.asked.get(key).is_some_and(|at| now.since(*at) < patience);
        if ask && !asked_lately {
            self.ask_logbook(key, now, step);
        }
        if touched {
            step.touched_runs.insert(key.clone());
        }
    }

    /// Files of the run that can go now are made ready; the run's age may have changed.
    pub(super) fn wake(&mut self, key: &RunKey, now: Millis, step: &mut Step) {
        let files: Vec<Lfn> =
            self.runs.get(key).map_or(Vec::new(), |run| run.files.keys().cloned().collect());
        for lfn in files {
            self.wake_file(key, &lfn, now, step);
        }
    }

    /// Makes the file's transfers ready if the file is complete, and puts them in their right place in the queue.
    pub(super) fn wake_file(&mut self, key: &RunKey, lfn: &Lfn, now: Millis, step: &mut Step) {
        let streaming = self.experiment_rules(&key.experiment).streaming;
        let Some(run) = self.runs.get(key) else { return };
        let Some(file) = run.files.get(lfn) else { return };
        let complete = run.row.closed.is_some() || (streaming && file.whole);
        let sites: Vec<(SiteName, bool)> =
            file.sites.iter().map(|t| (t.site.clone(), t.state == State::Waiting)).collect();
        for (site, waits) in sites {
            if self.wish_for(key, lfn, &site).cancelled {
                self.cancel_transfer(key, lfn, &site, now, step);
            } else if complete && waits {
                self.advance(key, lfn, &site, Move::Due, step);
                if let Some(transfer) = self.transfer_mut(key, lfn, &site) {
                    transfer.ready = Some(now);
                }
                self.tell(key, lfn, &site, None, now, step);
            } else {
                self.reindex(key, lfn, &site);
            }
        }
    }

    /// Calls the transfer's attempt back, if one is under way. Its slots come back when it has ended.
    pub(super) fn call_back(&mut self, key: &RunKey, lfn: &Lfn, site: &SiteName, step: &mut Step) {
        if let Some(State::Carrying(attempt)) = self.transfer(key, lfn, site).map(|t| t.state.clone()) {
            let at = FileAtSite { lfn: lfn.clone(), site: site.clone() };
            step.effects.push(Effect::CallBack(at, attempt));
        }
    }

    /// Takes a step of the state machine, and keeps queue and delays in step with it. An illegal one is an error of
    /// ours: it is said, and nothing changes.
    pub(super) fn advance(
        &mut self,
        key: &RunKey,
        lfn: &Lfn,
        site: &SiteName,
        movement: Move,
        step: &mut Step,
    ) -> bool {
        let Some(transfer) = self.transfer_mut(key, lfn, site) else { return false };
        match transfer::next(&transfer.state, movement) {
            Ok(state) => {
                transfer.state = state;
                step.touched_files.insert((key.clone(), lfn.clone()));
                self.reindex(key, lfn, site);
                true
            }
            Err(illegal) => {
                tracing::error!(%lfn, %site, error = %illegal, "step refused");
                #[cfg(test)]
                panic!("{lfn} at {site}: {illegal}");
                #[cfg(not(test))]
                false
            }
        }
    }

    /// Puts the transfer where its state says: into the queue, among the delayed, or into neither.
    pub(super) fn reindex(&mut self, key: &RunKey, lfn: &Lfn, site: &SiteName) {
        let at = FileAtSite { lfn: lfn.clone(), site: site.clone() };
        if let Some((group, rank)) = self.queued.remove(&at) {
            self.queue.remove(&group, &rank);
        }
        let Some(transfer) = self.transfer(key, lfn, site) else { return };
        match &transfer.state {
            State::Delayed(until) => {
                self.delayed.insert((*until, at));
            }
            State::Ready if !self.taken.contains_key(&at) => {
                let wish = self.wish_for(key, lfn, site);
                if !wish.held && !wish.drained {
                    if let Some((group, rank)) = self.place(key, lfn, site, wish.priority) {
                        self.queue.insert(group.clone(), rank.clone());
                        self.queued.insert(at, (group, rank));
                    }
                }
            }
            _ => {}
        }
    }

    /// Where a transfer stands in the queue.
    pub(super) fn place(
        &self,
        key: &RunKey,
        lfn: &Lfn,
        site: &SiteName,
        priority: Option<i32>,
    ) -> Option<(Group, Rank)> {
        let run = self.runs.get(key)?;
        let file = run.files.get(lfn)?;
        let index = lfn.kind().is_index();
        let group = Group {
            to: site.clone(),
            from: self.rules.source_site.clone(),
            experiment: key.experiment.clone(),
            small: index || file.said.size.is_some_and(|size| size < self.rules.small_below),
        };
        let rank = Rank {
            priority: Reverse(priority.unwrap_or(0)),
            low: run.row.low && priority.is_none(),
            age: run.row.ended.or(run.row.began).unwrap_or(run.row.heard),
            run: key.clone(),
            index_last: !index,
            size: file.said.size.unwrap_or(u64::MAX),
            lfn: lfn.clone(),
        };
        Some((group, rank))
    }

    /// What keeps a ready transfer from starting, if something does.
    pub fn blocked(&self, key: &RunKey, lfn: &Lfn, site: &SiteName, doors: &dyn Doors) -> Option<Blocked> {
        let (group, rank) = self.place(key, lfn, site, None)?;
        self.queue.blocked(&group, &rank, &self.rules.limits, doors)
    }

    /// Says the transfer's present state on `transfers`.
    pub(super) fn tell(
        &mut self,
        key: &RunKey,
        lfn: &Lfn,
        site: &SiteName,
        attempt: Option<(AttemptId, u32)>,
        now: Millis,
        step: &mut Step,
    ) {
        if let Some(event) = self.transfer_event(key, lfn, site, attempt, now) {
            step.messages.push(message::transfer(&event, &self.rules.source, now));
        }
    }

    fn transfer_event(
        &mut self,
        key: &RunKey,
        lfn: &Lfn,
        site: &SiteName,
        attempt: Option<(AttemptId, u32)>,
        now: Millis,
    ) -> Option<TransferEvent> {
        let file = self.runs.get_mut(key)?.files.get_mut(lfn)?;
        let transfer = file.sites.iter_mut().find(|transfer| transfer.site == *site)?;
        let state = transfer::name(&transfer.state)?;
        let begins = attempt.is_none() && transfer.loose == 0;
        let (attempt, place) = match attempt {
            Some((attempt, place)) => (Some(attempt), place),
            None => {
                transfer.loose += 1;
                (None, transfer.loose - 1)
            }
        };
        Some(TransferEvent {
            lfn: lfn.clone(),
            run: key.clone(),
            site: site.clone(),
            generation: transfer.generation,
            state,
            registration: begins.then(|| file.said.to_registration()),
            attempt,
            place,
            tries: transfer.tries,
            at: now,
            cause: None::<Cause>,
            next_try: None,
            bytes: None,
            from_server: None,
            to_server: None,
            history: Vec::new(),
        })
    }

    /// The run that a file is known under. Only needed for files whose name has no run.
    pub(super) fn run_of(&self, lfn: &Lfn) -> Option<RunKey> {
        let experiment = lfn.experiment();
        if let Some(run) = lfn.run() {
            return Some(RunKey { experiment, run });
        }
        self.runs.iter().find(|(_, run)| run.files.contains_key(lfn)).map(|(key, _)| key.clone())
    }

    pub(super) fn url(&self, lfn: &Lfn, site: &SiteName) -> String {
        match self.rules.urls.get(site) {
            Some(prefix) => format!("{prefix}{lfn}"),
            None => lfn.to_string(),
        }
    }

    /// The generation that a transfer has now.
    pub fn generation(&self, key: &RunKey, lfn: &Lfn, site: &SiteName) -> Option<Generation> {
        self.transfer(key, lfn, site).map(|transfer| transfer.generation)
    }
}

fn cause(fault: &Fault) -> Cause {
    Cause {
        class: fault.class.name().to_owned(),
        code: fault.code.clone(),
        text: fault.text.clone(),
        endpoint: fault.endpoint.clone(),
    }
}
