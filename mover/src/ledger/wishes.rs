//! What people wish: asked, held, cancelled, requeued, priority, drained, each for everything, an experiment, a run or
//! a file, at one site or at all. The narrowest key that says something wins. Pure.

use lightrail_topics::events::{Subject, Wish, WishKey};
use lightrail_topics::{Generation, Lfn, Millis, RunKey, SiteName, message};

use super::rows::{Row, RunSiteRow, State, Write};
use super::transfer::Step as Move;
use super::{Effect, Ledger, Step};

/// What all wishes together mean for one transfer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meaning {
    /// Not to be started.
    pub held: bool,
    /// Not wanted.
    pub cancelled: bool,
    /// Nothing new starts.
    pub drained: bool,
    /// The operator's priority.
    pub priority: Option<i32>,
    /// Who held it.
    pub held_by: Option<String>,
    /// Who cancelled it.
    pub cancelled_by: Option<String>,
    /// Why it was cancelled.
    pub cancelled_why: Option<String>,
}

impl Ledger {
    /// What the wishes mean for a transfer.
    pub fn wish_for(&self, key: &RunKey, lfn: &Lfn, site: &SiteName) -> Meaning {
        let mut meaning = Meaning::default();
        if self.wishes.is_empty() {
            return meaning;
        }
        let subjects = [
            Subject::Everything,
            Subject::Experiment(key.experiment.clone()),
            Subject::Run(key.clone()),
            Subject::File(lfn.clone()),
        ];
        // From the widest to the narrowest: the last that says something stands.
        for subject in subjects {
            for site in [None, Some(site.clone())] {
                let Some(wish) = self.wishes.get(&WishKey { subject: subject.clone(), site }) else {
                    continue;
                };
                if let Some(held) = wish.held {
                    meaning.held = held;
                    meaning.held_by = held.then(|| wish.who.clone());
                }
                if let Some(cancelled) = wish.cancelled {
                    meaning.cancelled = cancelled;
                    meaning.cancelled_by = cancelled.then(|| wish.who.clone());
                    meaning.cancelled_why = cancelled.then(|| wish.why.clone());
                }
                meaning.drained = wish.drained.unwrap_or(meaning.drained);
                meaning.priority = wish.priority.or(meaning.priority);
            }
        }
        meaning
    }

    /// The present wish of a key.
    pub fn wish(&self, key: &WishKey) -> Wish {
        self.wishes.get(key).cloned().unwrap_or_default()
    }

    /// Takes the whole present wish for a key and says it on `requests`.
    pub fn wished(&mut self, key: &WishKey, wish: &Wish, now: Millis) -> Step {
        let mut step = Step::default();
        step.messages.push(message::wish(key, Some(wish), &self.rules.source, now));
        let before = self.note_wish(key, wish, &mut step).unwrap_or_default();
        self.follow_wish(key, wish, &before, now, &mut step);
        self.finish(step, now)
    }

    /// Takes a wish in; gives what was wished for the key before.
    pub(super) fn note_wish(&mut self, key: &WishKey, wish: &Wish, step: &mut Step) -> Option<Wish> {
        step.writes.push(Write::Put(Row::Wish(key.clone(), wish.clone())));
        self.wishes.insert(key.clone(), wish.clone())
    }

    /// Does what follows from a wish, now that it and all others are known.
    pub(super) fn follow_wish(
        &mut self,
        key: &WishKey,
        wish: &Wish,
        before: &Wish,
        now: Millis,
        step: &mut Step,
    ) {
        if wish.asked == Some(true) {
            self.take_request(key, now, step);
        }
        let requeue = wish.requeued > before.requeued;
        let again = wish.asked_again > before.asked_again;
        for (run, lfn, site) in self.in_scope(key) {
            let state = self.transfer(&run, &lfn, &site).map(|transfer| transfer.state.clone());
            let meaning = self.wish_for(&run, &lfn, &site);
            match state {
                Some(State::Failed | State::Cancelled) if requeue && !meaning.cancelled => {
                    if let Some(transfer) = self.transfer_mut(&run, &lfn, &site) {
                        transfer.tries = 0;
                    }
                    self.put_back(&run, &lfn, &site, now, step);
                }
                Some(State::Gone) if again || requeue => {
                    let next = self.generation(&run, &lfn, &site).unwrap_or(Generation::FIRST).next();
                    if let Some(transfer) = self.transfer_mut(&run, &lfn, &site) {
                        *transfer = transfer.renewed(next);
                    }
                    self.note_awaited(&run, &lfn, &site, (false, "asked for again"));
                    step.touched_files.insert((run.clone(), lfn.clone()));
                    self.tell(&run, &lfn, &site, None, now, step);
                }
                Some(State::Cancelled) if !meaning.cancelled && before.cancelled == Some(true) => {
                    self.put_back(&run, &lfn, &site, now, step);
                }
                _ => {}
            }
            self.wake_file(&run, &lfn, now, step);
        }
    }

    /// A transfer that had ended without its file begins again. A manifest that was said without the file is no longer true.
    fn put_back(&mut self, key: &RunKey, lfn: &Lfn, site: &SiteName, now: Millis, step: &mut Step) {
        self.advance(key, lfn, site, Move::Requeue, step);
        // Of what was asked long ago the correction was said long ago; what still waits is noted when all is read.
        if self.reading_back.is_none() {
            self.note_awaited(key, lfn, site, (false, "asked for again"));
        }
        self.tell(key, lfn, site, None, now, step);
    }

    /// A request: the run or file goes to the site whatever the routes say.
    fn take_request(&mut self, key: &WishKey, now: Millis, step: &mut Step) {
        let runs: Vec<RunKey> = match &key.subject {
            Subject::Run(run) => vec![run.clone()],
            Subject::File(lfn) => self.run_of(lfn).into_iter().collect(),
            Subject::Experiment(experiment) => {
                self.runs.keys().filter(|run| run.experiment == *experiment).cloned().collect()
            }
            Subject::Everything => self.runs.keys().cloned().collect(),
        };
        for run in runs {
            if !self.runs.contains_key(&run) {
                let mut fresh = super::Run::default();
                fresh.row.heard = now;
                fresh.row.low = true;
                self.runs.insert(run.clone(), fresh);
            }
            step.touched_runs.insert(run.clone());
            let sites = match &key.site {
                Some(site) => vec![site.clone()],
                None => self.destinations(&run, now),
            };
            for site in sites {
                self.add_site(&run, &site, now, step);
            }
            if let Subject::File(lfn) = &key.subject {
                if self.file(&run, lfn).is_none() {
                    self.register(
                        &run,
                        lfn,
                        &lightrail_topics::events::Registration::default(),
                        None,
                        now,
                        step,
                    );
                }
            }
            if self.runs.get(&run).is_some_and(|run| !run.row.listed) {
                self.asked.insert(run.clone(), now);
                step.effects.push(Effect::AskLogbook(run));
            }
        }
    }

    /// The run goes to the site too.
    pub(super) fn add_site(&mut self, key: &RunKey, site: &SiteName, now: Millis, step: &mut Step) {
        let Some(run) = self.runs.get_mut(key) else { return };
        if !run.row.sites.iter().any(|row| row.site == *site) {
            run.row.sites.push(RunSiteRow::new(site.clone()));
        }
        step.touched_runs.insert(key.clone());
        let files: Vec<Lfn> = run.files.keys().cloned().collect();
        for lfn in files {
            self.want(key, &lfn, site, now, step);
        }
    }

    pub(super) fn cancel_transfer(
        &mut self,
        key: &RunKey,
        lfn: &Lfn,
        site: &SiteName,
        now: Millis,
        step: &mut Step,
    ) {
        let cancellable = self.transfer(key, lfn, site).is_some_and(|transfer| {
            !matches!(transfer.state, State::Done(_) | State::Cancelled | State::Gone)
        });
        if cancellable {
            self.call_back(key, lfn, site, step);
            self.advance(key, lfn, site, Move::Cancel, step);
            // A manifest that was said left it out for another reason, or did not know it.
            if self.reading_back.is_none() {
                self.note_change(key, site, &format!("{}: cancelled", lfn.file_name()));
            }
            self.tell(key, lfn, site, None, now, step);
        }
    }

    fn in_scope(&self, key: &WishKey) -> Vec<(RunKey, Lfn, SiteName)> {
        let mut found = Vec::new();
        for (run, state) in &self.runs {
            let inside = match &key.subject {
                Subject::Everything => true,
                Subject::Experiment(experiment) => run.experiment == *experiment,
                Subject::Run(wanted) => run == wanted,
                Subject::File(lfn) => state.files.contains_key(lfn),
            };
            if !inside {
                continue;
            }
            for (lfn, file) in &state.files {
                if matches!(&key.subject, Subject::File(wanted) if wanted != lfn) {
                    continue;
                }
                for transfer in &file.sites {
                    if key.site.as_ref().is_none_or(|site| *site == transfer.site) {
                        found.push((run.clone(), lfn.clone(), transfer.site.clone()));
                    }
                }
            }
        }
        found.sort();
        found
    }
}
