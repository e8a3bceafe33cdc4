//! The owner's answers: views of runs and transfers, why a run is not there, and wishes. Answers that follow from a
//! change are sent only after it is durable and, while Kafka is there, on Kafka.

use std::time::Duration;

use lightrail_topics::events::{Subject, Wish, WishKey};
use lightrail_topics::{Lfn, Millis, RunKey, SiteName};
use tokio::sync::oneshot;

use super::Owner;
use crate::carry::Step;
use crate::config::near;
use crate::ledger::rows::{RunRow, State, Transfer};
use crate::ledger::{Effect, transfer};
use crate::view::{
    NotKnown, Presence, Question, Readiness, RunFilter, RunView, TransferFilter, TransferView, WhySite,
    WhyView, WishChange, Wished,
};

/// An answer that waits until what it says is durable.
#[derive(Debug)]
pub(super) struct Answer {
    reply: oneshot::Sender<Result<Wished, NotKnown>>,
    wished: Wished,
    /// The wish's message in the outbox.
    pub(super) place: u64,
    /// When it is answered in any case.
    pub(super) until: Millis,
}

impl Answer {
    pub(super) fn send(mut self, published: bool) {
        self.wished.published = published;
        let _ = self.reply.send(Ok(self.wished));
    }
}

/// How long an answer waits for Kafka to have the wish: while Kafka is away it is in force all the same.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(3);

impl Owner {
    pub(super) fn question(&mut self, question: Question, now: Millis) {
        match question {
            Question::Runs(filter, reply) => drop(reply.send(self.run_views(&filter))),
            Question::Transfers(filter, reply) => drop(reply.send(self.transfer_views(&filter, now))),
            Question::Why(run, reply) => {
                self.fetch(&run);
                let _ = reply.send(self.why_view(&run, now));
            }
            Question::Ready(reply) => drop(reply.send(self.readiness())),
            Question::Present(run, site, files, restore, reply) => {
                self.fetch(&run);
                let _ = reply.send(self.present(&run, &site, files, restore, now));
            }
            Question::Wish(key, change, who, why, reply) => {
                for run in Self::runs_of(&key.subject) {
                    self.fetch(&run);
                    // A run that only the logbook knows: it is asked first, so that a slip of the pen is not kept.
                    let unknown = !self.parts.ledger.holds(&run);
                    if change == WishChange::Ask && unknown && self.parts.ledger.rules().has_logbook {
                        let question = Question::Wish(key, change, who, why, reply);
                        self.asked.entry(run.clone()).or_default().push(question);
                        self.batch.effects.push(Effect::AskLogbook(run));
                        return;
                    }
                }
                match self.not_known(&key, change) {
                    Some(unknown) => drop(reply.send(Err(unknown))),
                    None => {
                        // The wish itself is the first message of what follows from it.
                        let place = self.parts.ledger.next_outbox();
                        let wish = self.wish(&key, change, who, why, now);
                        let wished = Wished { wish, transfers: self.concerned(&key), published: false };
                        let until = now.plus(PUBLISHED_WITHIN);
                        self.batch.answers.push(Answer { reply, wished, place, until });
                    }
                }
            }
        }
    }

    /// A question whose run the logbook does not know, or about which it does not answer.
    pub(super) fn refuse(&self, question: Question, run: &RunKey, why: &str) {
        if let Question::Wish(.., reply) = question {
            tracing::info!(run = %run, why, "asked for a run that the logbook does not tell of");
            let unknown = self.run_not_known(run, false);
            let _ = reply.send(Err(unknown.unwrap_or_else(|| not_known("run", &run.to_string(), vec![]))));
        }
    }

    fn runs_of(subject: &Subject) -> Vec<RunKey> {
        match subject {
            Subject::Run(run) => vec![run.clone()],
            Subject::File(lfn) => {
                lfn.run().map(|run| RunKey { experiment: lfn.experiment(), run }).into_iter().collect()
            }
            Subject::Everything | Subject::Experiment(_) => Vec::new(),
        }
    }

    fn wish(&mut self, key: &WishKey, change: WishChange, who: String, why: String, now: Millis) -> Wish {
        let mut wish = self.parts.ledger.wish(key);
        wish.who = who;
        wish.why = why;
        wish.at = now;
        match change {
            WishChange::Ask => {
                wish.asked_again += u32::from(wish.asked == Some(true));
                wish.asked = Some(true);
                wish.cancelled = wish.cancelled.map(|_| false);
            }
            WishChange::Pause => wish.held = Some(true),
            WishChange::Resume => {
                wish.held = Some(false);
                wish.drained = wish.drained.map(|_| false);
            }
            WishChange::Cancel => wish.cancelled = Some(true),
            WishChange::Requeue => {
                wish.requeued += 1;
                wish.cancelled = Some(false);
            }
            WishChange::Prioritise(priority) => wish.priority = Some(priority),
            WishChange::Drain => wish.drained = Some(true),
        }
        tracing::info!(key = %key, ?change, who = wish.who, why = wish.why, "wish taken");
        let step = self.parts.ledger.wished(key, &wish, now);
        self.keep(step);
        wish
    }

    /// What a wish names and nobody knows. A run may be asked for that only the logbook knows.
    fn not_known(&self, key: &WishKey, change: WishChange) -> Option<NotKnown> {
        if let Some(site) = &key.site {
            if self.parts.sites.site(site).is_none() {
                let names: Vec<&str> = self.parts.sites.names().map(SiteName::as_str).collect();
                return Some(not_known("site", site.as_str(), names));
            }
        }
        let experiments: Vec<String> = self.experiments();
        let names = || experiments.iter().map(String::as_str).collect::<Vec<_>>();
        let asks = change == WishChange::Ask;
        match &key.subject {
            Subject::Everything => None,
            Subject::Experiment(experiment) => {
                let known = experiments.iter().any(|name| name == experiment.as_str());
                (!known).then(|| not_known("experiment", experiment.as_str(), names()))
            }
            Subject::Run(run) => self.run_not_known(run, asks),
            Subject::File(lfn) => {
                let run = lfn.run().map(|run| RunKey { experiment: lfn.experiment(), run });
                match run {
                    Some(run) => self.run_not_known(&run, asks),
                    None => None,
                }
            }
        }
    }

    fn run_not_known(&self, run: &RunKey, asks: bool) -> Option<NotKnown> {
        if self.parts.ledger.holds(run) || asks {
            return None;
        }
        let experiments = self.experiments();
        if !experiments.iter().any(|name| name == run.experiment.as_str()) {
            let names = experiments.iter().map(String::as_str).collect();
            return Some(not_known("experiment", run.experiment.as_str(), names));
        }
        let runs: Vec<String> =
            self.parts.ledger.runs_of(&run.experiment).into_iter().map(|run| run.to_string()).collect();
        let near = runs.iter().rev().take(5).rev().cloned().collect();
        Some(NotKnown { what: format!("run of {}", run.experiment), name: run.run.to_string(), near })
    }

    fn experiments(&self) -> Vec<String> {
        self.parts.ledger.experiments().iter().map(ToString::to_string).collect()
    }

    fn concerned(&self, key: &WishKey) -> usize {
        let ledger = &self.parts.ledger;
        let in_scope = |run: &RunKey, lfn: &Lfn| match &key.subject {
            Subject::Everything => true,
            Subject::Experiment(experiment) => run.experiment == *experiment,
            Subject::Run(wanted) => run == wanted,
            Subject::File(wanted) => lfn == wanted,
        };
        ledger
            .runs()
            .flat_map(|(run, _)| ledger.files(run).map(move |(lfn, file)| (run, lfn, file)))
            .filter(|(run, lfn, _)| in_scope(run, lfn))
            .flat_map(|(_, _, file)| &file.sites)
            .filter(|transfer| key.site.as_ref().is_none_or(|site| *site == transfer.site))
            .count()
    }

    fn run_views(&self, filter: &RunFilter) -> Vec<RunView> {
        let ledger = &self.parts.ledger;
        let mut runs: Vec<(&RunKey, &RunRow)> = ledger
            .runs()
            .filter(|(key, _)| filter.experiment.as_ref().is_none_or(|wanted| key.experiment == *wanted))
            .collect();
        runs.sort_by_key(|(key, row)| {
            (std::cmp::Reverse(row.began.or(row.ended).unwrap_or(row.heard)), (*key).clone())
        });
        runs.truncate(filter.limit.unwrap_or(100));
        let mut views = Vec::new();
        for (key, row) in runs {
            if row.sites.is_empty() {
                views.push(self.run_view(key, row, None));
            }
            views.extend(row.sites.iter().map(|site| self.run_view(key, row, Some(&site.site))));
        }
        views
    }

    fn run_view(&self, key: &RunKey, row: &RunRow, site: Option<&SiteName>) -> RunView {
        let said = site.and_then(|site| row.sites.iter().find(|said| said.site == *site));
        let mut view = RunView {
            run: key.clone(),
            site: site.cloned(),
            state: String::new(),
            began: row.began,
            ended: row.ended,
            files: 0,
            available: 0,
            failed: 0,
            bytes: 0,
            bytes_available: 0,
            first_file: said.and_then(|said| said.first_file),
        };
        for (_, file) in self.parts.ledger.files(key) {
            view.files += 1;
            let transfer = file.sites.iter().find(|transfer| Some(&transfer.site) == site);
            match transfer.map(|transfer| &transfer.state) {
                Some(State::Done(done)) => {
                    view.available += 1;
                    view.bytes += done.size;
                    view.bytes_available += done.size;
                }
                other => {
                    view.failed += usize::from(matches!(other, Some(State::Failed)));
                    view.bytes += file.said.size.unwrap_or(0);
                }
            }
        }
        let state = match said {
            None => "no route",
            Some(said) if said.available && said.changed.is_none() => "available",
            Some(_) if row.closed.is_none() => "open",
            Some(said) if said.incomplete > 0 && !said.available => "incomplete",
            Some(_) => "moving",
        };
        state.clone_into(&mut view.state);
        view
    }

    fn transfer_views(&self, filter: &TransferFilter, now: Millis) -> Vec<TransferView> {
        let ledger = &self.parts.ledger;
        let keys: Vec<RunKey> = match &filter.run {
            Some(run) => vec![run.clone()],
            None => ledger.runs().map(|(key, _)| key.clone()).collect(),
        };
        let limit = filter.limit.unwrap_or(1000);
        let mut views = Vec::new();
        for key in &keys {
            for (lfn, file) in ledger.files(key) {
                for transfer in &file.sites {
                    let settled = matches!(transfer.state, State::Done(_) | State::Cancelled | State::Gone);
                    if views.len() < limit && (filter.run.is_some() || !settled) {
                        views.push(self.transfer_view(key, lfn, file.said.size, transfer, now));
                    }
                }
            }
        }
        views.sort_by(|a, b| a.lfn.cmp(&b.lfn));
        views
    }

    fn transfer_view(
        &self,
        key: &RunKey,
        lfn: &Lfn,
        size: Option<u64>,
        transfer: &Transfer,
        now: Millis,
    ) -> TransferView {
        let at = lightrail_topics::FileAtSite { lfn: lfn.clone(), site: transfer.site.clone() };
        let running = self.running.get(&at);
        let report = running.map(|running| running.report.borrow().clone());
        let (step, bytes) = match report.as_ref().map(|report| &report.step) {
            Some(Step::Copying { bytes, .. }) => (Some("copying".to_owned()), Some(*bytes)),
            Some(other) => (Some(format!("{other:?}").to_lowercase()), None),
            None => (None, None),
        };
        let size = match (&transfer.state, report.as_ref().map(|report| &report.step)) {
            (State::Done(done), _) => Some(done.size),
            (_, Some(Step::Copying { total, .. })) => Some(*total),
            _ => size,
        };
        TransferView {
            lfn: lfn.clone(),
            run: key.clone(),
            site: transfer.site.clone(),
            generation: transfer.generation,
            state: transfer::name(&transfer.state),
            tries: transfer.tries,
            size,
            attempt: running.map(|running| running.attempt),
            step,
            bytes,
            since: running.map(|running| running.since),
            from_server: report.as_ref().and_then(|report| report.source_server.clone()),
            to_server: report.as_ref().and_then(|report| report.destination_server.clone()),
            why: self.parts.ledger.why(key, lfn, transfer, &self.parts.sites.doors(now), now),
            history: transfer.history.clone(),
        }
    }

    fn why_view(&self, key: &RunKey, now: Millis) -> Result<WhyView, NotKnown> {
        let ledger = &self.parts.ledger;
        let Some(row) = ledger.run(key) else {
            return Err(self
                .run_not_known(key, false)
                .unwrap_or_else(|| not_known("run", &key.to_string(), vec![])));
        };
        let doors = self.parts.sites.doors(now);
        let mut sites = Vec::new();
        if row.sites.is_empty() {
            let summary = format!(
                "no route: nothing says where {} goes; apply a route or configure one",
                key.experiment
            );
            sites.push(WhySite { site: None, summary, missing: Vec::new() });
        }
        for said in &row.sites {
            let missing: Vec<(Lfn, String)> = ledger
                .files(key)
                .filter_map(|(lfn, file)| {
                    let transfer = file.sites.iter().find(|transfer| transfer.site == said.site)?;
                    let running = self
                        .running
                        .get(&lightrail_topics::FileAtSite { lfn: lfn.clone(), site: said.site.clone() });
                    let why = match running.map(|running| running.report.borrow().clone()) {
                        Some(report) => carrying_words(&report),
                        None => ledger.why(key, lfn, transfer, &doors, now)?,
                    };
                    Some((lfn.clone(), why))
                })
                .collect();
            let files = ledger.files(key).count();
            let summary = if said.available && missing.is_empty() {
                format!("available: all {files} files")
            } else if row.closed.is_none() {
                format!(
                    "the run is open; {files} files are known so far, {} of them missing here",
                    missing.len()
                )
            } else if !row.listed {
                "closed, but nobody has told yet which files it has; the logbook is asked".to_owned()
            } else if missing.is_empty() && ledger.is_behind() {
                format!(
                    "all {files} files are there; it is said once what the logbook said before the start is read"
                )
            } else {
                format!("{} of {files} files are missing", missing.len())
            };
            sites.push(WhySite { site: Some(said.site.clone()), summary, missing });
        }
        Ok(WhyView { run: key.clone(), sites })
    }

    fn readiness(&self) -> Readiness {
        let mut notes = Vec::new();
        if let Err(why) = &self.kafka {
            notes.push(why.clone());
        }
        let room = self.parts.journal.room();
        let mut ready = self.kafka.is_ok();
        match room {
            Ok(room) if room.is_enough() => {}
            Ok(room) => {
                ready = false;
                notes.push(format!(
                    "the journal's disk is full ({room}); intake is stopped until there is room"
                ));
            }
            Err(error) => {
                ready = false;
                notes.push(format!("the journal's disk cannot be looked at: {error}"));
            }
        }
        if self.parts.ledger.is_behind() {
            notes.push(
                "reads what the logbook said before the start; nothing is said of runs until then".to_owned(),
            );
        }
        if self.draining {
            ready = false;
            notes.push("draining: nothing new starts".to_owned());
        }
        for site in self.parts.sites.unheard() {
            ready = false;
            notes.push(format!("waits for {site}, which has not answered since the start"));
        }
        notes.extend(
            self.parts.sites.troubled().into_iter().map(|(who, why)| format!("{who} is left alone: {why}")),
        );
        Readiness {
            ready,
            notes,
            queued: self.parts.ledger.ready(),
            under_way: self.running.len(),
            outbox: self.waiting.len(),
        }
    }

    /// Only what is verified here or on its way is said; for any other word the logbook would forget the file.
    fn present(
        &mut self,
        run: &RunKey,
        site: &SiteName,
        files: Vec<Lfn>,
        restore: bool,
        now: Millis,
    ) -> Vec<(Lfn, Presence)> {
        let mut answers = Vec::new();
        let mut missing = Vec::new();
        for lfn in files {
            let state = self
                .parts
                .ledger
                .files(run)
                .find(|(known, _)| **known == lfn)
                .and_then(|(_, file)| file.sites.iter().find(|transfer| transfer.site == *site))
                .map(|transfer| transfer.state.clone());
            match state {
                Some(State::Done(_)) => answers.push((lfn, Presence::Present)),
                Some(State::Waiting | State::Ready | State::Carrying(_) | State::Delayed(_)) => {
                    answers.push((lfn, Presence::Pending));
                }
                Some(State::Failed | State::Cancelled | State::Gone) | None => missing.push(lfn),
            }
        }
        if restore && self.parts.sites.site(site).is_some() {
            for lfn in missing {
                let key = WishKey { subject: Subject::File(lfn.clone()), site: Some(site.clone()) };
                self.wish(
                    &key,
                    WishChange::Ask,
                    "logbook".to_owned(),
                    "restore_missing_files".to_owned(),
                    now,
                );
                answers.push((lfn, Presence::Pending));
            }
        }
        answers
    }
}

fn carrying_words(report: &crate::carry::Report) -> String {
    let to = report.destination_server.as_deref().map_or(String::new(), |server| format!(" to {server}"));
    match &report.step {
        Step::Copying { bytes, total } => format!("is being copied{to}: {bytes} of {total} bytes"),
        Step::Waiting => format!("waits for a slot of the data server{to}"),
        Step::Summing => format!("is copied; its checksum is being computed{to}"),
        other => format!("is being copied{to}: {}", format!("{other:?}").to_lowercase()),
    }
}

fn not_known(what: &str, name: &str, known: Vec<&str>) -> NotKnown {
    NotKnown {
        what: what.to_owned(),
        name: name.to_owned(),
        near: near(name, known).into_iter().map(str::to_owned).collect(),
    }
}
