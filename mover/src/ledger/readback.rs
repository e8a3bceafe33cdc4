//! Taking our own announcements back from Kafka at a start: a file that was announced is done, a run that was
//! announced is announced, with the numbers that were said. What waits in the outbox and is there already is struck
//! out. Pure.

use std::collections::BTreeMap;

use lightrail_topics::events::{
    FileAvailable, FileGone, Registration, RunEvent, RunManifest, TransferEvent, TransferState, Wish, WishKey,
};
use lightrail_topics::{Generation, Lfn, Millis, RunAtSite, RunKey, SiteName};

use super::announce::CONFIGURATION;
use super::rows::{Done, FileRow, Row, RunSiteRow, Said, State, Transfer};
use super::said::News;
use super::transfer::{Step as Move, is_terminal};
use super::{Ledger, Step};

/// The generations that the last manifest of each run at each site names; none of what it leaves out because of a wish.
type Manifests = BTreeMap<RunAtSite, BTreeMap<Lfn, Option<Generation>>>;

/// What is kept until all is read.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadingBack {
    manifests: Manifests,
    /// Wishes in their order, each with what was wished before. What one means is known only beside all others: a narrower one
    /// may be read after a wider one.
    wishes: Vec<(WishKey, Wish, Wish)>,
}

impl Ledger {
    /// A file was announced as available.
    pub fn read_available(&mut self, event: &FileAvailable, now: Millis) -> Step {
        let mut step = Step::default();
        self.ensure(&event.run, &event.lfn, &event.site, now, &mut step);
        let done = Done {
            size: event.size,
            checksum: event.checksum.clone(),
            verified: event.verified,
            source_mtime: event.source_mtime,
            at: event.timing.verified.unwrap_or(now),
        };
        self.settle_generation(&event.run, &event.lfn, &event.site, event.generation, &mut step);
        let known = self.transfer(&event.run, &event.lfn, &event.site);
        let newer_wanted = known.is_some_and(|transfer| transfer.generation > event.generation);
        let there = known.is_some_and(|transfer| matches!(transfer.state, State::Done(_) | State::Gone));
        if !newer_wanted {
            self.read_registration(&event.run, &event.lfn, &event.registration);
        }
        if !newer_wanted && !there {
            self.advance(&event.run, &event.lfn, &event.site, Move::Verified(done), &mut step);
        }
        if let Some(site) = self.run_site_mut(&event.run, &event.site) {
            site.first_file = site.first_file.or(event.timing.verified);
        }
        self.finish_reading(step, now)
    }

    /// What a generation began with.
    fn read_registration(&mut self, key: &RunKey, lfn: &Lfn, registration: &Registration) {
        let said = Said::from_registration(registration);
        if let Some(file) = self.runs.get_mut(key).and_then(|run| run.files.get_mut(lfn)) {
            match file.said.news(&said) {
                News::Newer => file.said = said,
                News::More => file.said.merge(&said),
                News::Nothing | News::Older => {}
            }
        }
    }

    /// A file was announced as gone.
    pub fn read_gone(&mut self, event: &FileGone, now: Millis) -> Step {
        let mut step = Step::default();
        self.ensure(&event.run, &event.lfn, &event.site, now, &mut step);
        self.settle_generation(&event.run, &event.lfn, &event.site, event.generation, &mut step);
        if let Some(transfer) = self.transfer_mut(&event.run, &event.lfn, &event.site) {
            if transfer.generation == event.generation {
                transfer.state = State::Gone;
            }
        }
        self.reindex(&event.run, &event.lfn, &event.site);
        self.finish_reading(step, now)
    }

    /// A run was announced.
    pub fn read_run(&mut self, event: &RunEvent, now: Millis) -> Step {
        let mut step = Step::default();
        let (key, site) = match event {
            RunEvent::Available(manifest) => (&manifest.run, &manifest.site),
            RunEvent::Corrected(corrected) => (&corrected.manifest.run, &corrected.manifest.site),
            RunEvent::Incomplete(incomplete) => (&incomplete.run, &incomplete.site),
        };
        self.ensure_run(key, site, now, &mut step);
        match event {
            RunEvent::Available(manifest) => self.read_manifest(manifest, 0),
            RunEvent::Corrected(corrected) => self.read_manifest(&corrected.manifest, corrected.number),
            RunEvent::Incomplete(incomplete) => {
                if let Some(row) = self.run_site_mut(key, site) {
                    row.incomplete = row.incomplete.max(incomplete.number);
                    let names: Vec<&str> = incomplete.missing.iter().map(|file| file.lfn.as_str()).collect();
                    row.incomplete_said = lightrail_topics::message::stable_hash(names.join("\n").as_bytes());
                }
            }
        }
        self.finish_reading(step, now)
    }

    fn read_manifest(&mut self, manifest: &RunManifest, number: u32) {
        if let Some(run) = self.runs.get_mut(&manifest.run) {
            run.row.began = run.row.began.or(manifest.began);
            run.row.ended = run.row.ended.or(manifest.ended);
            run.row.closed = run.row.closed.or(Some((manifest.closed_by, manifest.at)));
            run.row.listed = true;
        }
        if let Some(open) = self.open.get_mut(&manifest.run.experiment) {
            open.remove(&manifest.run.run);
        }
        if let Some(row) = self.run_site_mut(&manifest.run, &manifest.site) {
            row.available = true;
            row.corrected = row.corrected.max(number);
            row.first_file = row.first_file.or(manifest.first_file);
            let is_last = row.corrected == number;
            if let Some(reading) = self.reading_back.as_mut().filter(|_| is_last) {
                let at = RunAtSite { run: manifest.run.clone(), site: manifest.site.clone() };
                let files = manifest.files.iter().map(|file| (file.lfn.clone(), Some(file.generation)));
                let wished = manifest.left_out.iter().filter(|file| file.by != CONFIGURATION);
                let left_out = wished.map(|file| (file.lfn.clone(), None));
                reading.manifests.insert(at, files.chain(left_out).collect());
            }
        }
    }

    /// The last state that was said of a transfer: failures and numbers of generations are known from it.
    pub fn read_transfer(&mut self, event: &TransferEvent, now: Millis) -> Step {
        let mut step = Step::default();
        self.ensure(&event.run, &event.lfn, &event.site, now, &mut step);
        let before = self.generation(&event.run, &event.lfn, &event.site);
        self.settle_generation(&event.run, &event.lfn, &event.site, event.generation, &mut step);
        let raised = before.is_some_and(|before| before < event.generation);
        let unknown = self.file(&event.run, &event.lfn).is_some_and(|file| file.said == Said::default());
        if let Some(registration) = event.registration.as_ref().filter(|_| raised || unknown) {
            self.read_registration(&event.run, &event.lfn, registration);
        }
        if let Some(transfer) = self.transfer_mut(&event.run, &event.lfn, &event.site) {
            let same = transfer.generation == event.generation;
            if same && !matches!(transfer.state, State::Done(_) | State::Gone) {
                transfer.tries = event.tries;
                if event.attempt.is_none() {
                    transfer.loose = transfer.loose.max(event.place + 1);
                }
                match event.state {
                    TransferState::Failed => {
                        transfer.state = State::Failed;
                        transfer.history.clone_from(&event.history);
                    }
                    TransferState::Cancelled => transfer.state = State::Cancelled,
                    // Done is believed from `files.available` only; the rest is found out again.
                    _ => transfer.state = State::Waiting,
                }
            }
        }
        self.reindex(&event.run, &event.lfn, &event.site);
        self.finish_reading(step, now)
    }

    /// A wish that stands on `requests`; what follows from it does so when all is read.
    pub fn read_wish(&mut self, key: &WishKey, wish: Option<&Wish>, now: Millis) -> Step {
        let mut step = Step::default();
        match wish {
            Some(wish) => {
                let mut before = self.note_wish(key, wish, &mut step).unwrap_or_else(|| wish.clone());
                // What was requeued was requeued: its transfers say so themselves.
                before.requeued = before.requeued.max(wish.requeued);
                before.asked_again = before.asked_again.max(wish.asked_again);
                match &mut self.reading_back {
                    Some(reading) => reading.wishes.push((key.clone(), wish.clone(), before)),
                    None => self.follow_wish(key, wish, &before, now, &mut step),
                }
            }
            None => {
                self.wishes.remove(key);
                step.writes.push(super::Write::Remove(super::RowKey::Wish(key.clone())));
            }
        }
        self.finish_reading(step, now)
    }

    /// While own topics are read back nothing is announced: what was said is not all known yet.
    pub fn begin_reading_back(&mut self) {
        self.reading_back = Some(ReadingBack::default());
    }

    /// All is read: what is still to be said is said now.
    pub fn end_reading_back(&mut self, now: Millis) -> Step {
        let mut step = Step::default();
        let wishes = self.reading_back.as_mut().map(|reading| std::mem::take(&mut reading.wishes));
        for (key, wish, before) in wishes.into_iter().flatten() {
            self.follow_wish(&key, &wish, &before, now, &mut step);
        }
        let followed = self.finish_reading(step, now);
        let manifests = self.reading_back.take().map(|reading| reading.manifests).unwrap_or_default();
        for (at, said) in &manifests {
            self.note_unsaid(at, said);
        }
        let mut step = Step::default();
        let mut keys: Vec<RunKey> = self.runs.keys().cloned().collect();
        keys.sort();
        for key in keys {
            self.note_all_awaited(&key, &manifests);
            self.wake(&key, now, &mut step);
            step.touched_runs.insert(key);
        }
        let mut step = self.finish(step, now);
        step.writes.splice(0..0, followed.writes);
        step
    }

    /// A file that was announced after the last manifest of its run was said: the correction that was to say it is lost.
    fn note_unsaid(&mut self, at: &RunAtSite, said: &BTreeMap<Lfn, Option<Generation>>) {
        let Some(run) = self.runs.get(&at.run) else { return };
        let differs = |(lfn, file): (&Lfn, &FileRow)| {
            let transfer = file.sites.iter().find(|transfer| transfer.site == at.site)?;
            let listed = said.get(lfn).copied().flatten();
            let what = match transfer.state {
                State::Done(_) if listed.is_none() => "came late",
                State::Done(_) if listed != Some(transfer.generation) => "registered again",
                State::Gone if listed.is_some() => "gone",
                State::Cancelled if !said.contains_key(lfn) => "cancelled",
                _ => return None,
            };
            Some(format!("{}: {what}", lfn.file_name()))
        };
        let unsaid: Vec<String> = run.files.iter().filter_map(differs).collect();
        if self.run_site_mut(&at.run, &at.site).is_some_and(|row| row.changed.is_none()) {
            for what in unsaid {
                self.note_change(&at.run, &at.site, &what);
            }
        }
    }

    /// A run that was announced and waits for a file again is corrected once that is there.
    fn note_all_awaited(&mut self, key: &RunKey, manifests: &Manifests) {
        let Some(run) = self.runs.get(key) else { return };
        let mut awaited = Vec::new();
        for (lfn, file) in &run.files {
            for transfer in file.sites.iter().filter(|transfer| !is_terminal(&transfer.state)) {
                let at = RunAtSite { run: key.clone(), site: transfer.site.clone() };
                let is_named = manifests.get(&at).is_some_and(|said| matches!(said.get(lfn), Some(Some(_))));
                awaited.push((lfn.clone(), transfer.site.clone(), is_named));
            }
        }
        for (lfn, site, is_named) in awaited {
            if self.run_site_mut(key, &site).is_some_and(|row| row.changed.is_none()) {
                self.note_awaited(key, &lfn, &site, (is_named, "came late"));
            }
        }
    }

    fn finish_reading(&mut self, mut step: Step, now: Millis) -> Step {
        if self.reading_back.is_some() {
            // Rows are written, nothing is said.
            for key in std::mem::take(&mut step.touched_runs) {
                if let Some(run) = self.runs.get(&key) {
                    step.writes.push(super::Write::Put(Row::Run(key, run.row.clone())));
                }
            }
            for (key, lfn) in std::mem::take(&mut step.touched_files) {
                if let Some(file) = self.file(&key, &lfn) {
                    step.writes.push(super::Write::Put(Row::File(key, lfn, file.clone())));
                }
            }
            step.messages.clear();
            step.effects.clear();
            return step;
        }
        self.finish(step, now)
    }

    fn ensure_run(&mut self, key: &RunKey, site: &SiteName, now: Millis, step: &mut Step) {
        self.upsert_run(key, now, step);
        if let Some(run) = self.runs.get_mut(key) {
            if !run.row.sites.iter().any(|row| row.site == *site) {
                run.row.sites.push(RunSiteRow::new(site.clone()));
            }
        }
    }

    fn ensure(&mut self, key: &RunKey, lfn: &Lfn, site: &SiteName, now: Millis, step: &mut Step) {
        self.ensure_run(key, site, now, step);
        step.touched_files.insert((key.clone(), lfn.clone()));
        if let Some(run) = self.runs.get_mut(key) {
            let file = run.files.entry(lfn.clone()).or_insert_with(|| FileRow {
                said: Said::default(),
                seen: Some(now),
                whole: false,
                sites: Vec::new(),
            });
            if !file.sites.iter().any(|transfer| transfer.site == *site) {
                file.sites.push(Transfer::new(site.clone(), Generation::FIRST));
            }
        }
    }

    /// A number that was said is the number: the transfer takes it if it is higher than its own.
    fn settle_generation(
        &mut self,
        key: &RunKey,
        lfn: &Lfn,
        site: &SiteName,
        said: Generation,
        step: &mut Step,
    ) {
        if self.generation(key, lfn, site).is_some_and(|known| known < said) {
            self.call_back(key, lfn, site, step);
            if let Some(transfer) = self.transfer_mut(key, lfn, site) {
                *transfer = transfer.renewed(said);
            }
            self.reindex(key, lfn, site);
        }
    }
}
