//! The owner: the one task that has the ledger and the journal. It takes inputs from a channel, lets the ledger decide,
//! writes what changed in one batch, flushes where something outside depends on it, and only then lets it happen:
//! offsets are stored, messages go to the outbox, attempts start, questions are answered.
//!
//! Never here: a wait for Kafka, for a copy or for the logbook; they report back through the channel.

mod carrying;
mod questions;
mod sites;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use lightrail_topics::events::{ClosedBy, Registration};
use lightrail_topics::{
    AttemptId, Event, FileAtSite, Lfn, Message, Millis, MoverName, Record, RunKey, SiteName, Topics,
    TransferId,
};
use lightrail_topics::{decode, message};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::carry::backoff::BackoffPolicy;
use crate::carry::{Carried, Engine, Patience};
use crate::clock::Clock;
use crate::fault::Fault;
use crate::gather::Gather;
use crate::journal::{Compacted, Journal, JournalError, Room};
use crate::ledger::rows::{PartitionKey, Row, RowKey, Write};
use crate::ledger::{Effect, Ledger, RunAnswer, Step};
use crate::outbox::Published;
use crate::view::Question;

use carrying::Running;
pub use sites::Sites;

/// Everything that can happen to the owner.
#[derive(Debug)]
pub enum Input {
    /// A record of a topic that the mover follows.
    Record(Record),
    /// Every record that the followed topics held at the start has been given.
    CaughtUp,
    /// An attempt has ended.
    Ended(RunKey, TransferId, AttemptId, Result<Carried, Fault>),
    /// Outbox rows were published, or found published.
    Published(Published),
    /// The logbook has answered.
    Answer(RunKey, RunAnswer),
    /// The logbook does not know the run, or does not answer.
    NoAnswer(RunKey, String),
    /// A source was looked at: size in bytes, modification time in seconds since 1970.
    Source(RunKey, Lfn, u64, i64),
    /// A verified file was seen to be missing.
    Missing(RunKey, FileAtSite),
    /// A site's data servers.
    Servers(SiteName, Vec<String>),
    /// A file was found in a watched folder.
    Found {
        /// Its run.
        run: RunKey,
        /// The file.
        lfn: Lfn,
        /// What is known of it.
        registration: Registration,
        /// Whether its writer is done with it.
        whole: bool,
        /// Whether it was there before the folder was watched.
        old: bool,
    },
    /// A run without logbook has been quiet for long enough.
    Quiet(RunKey, ClosedBy),
    /// A person or a page asks or wishes something.
    Question(Question),
    /// The sweep asks for what it is to look at.
    Sweep(tokio::sync::oneshot::Sender<Vec<(RunKey, FileAtSite, u64)>>),
    /// Whether Kafka takes what we say; if not, why.
    Kafka(Result<(), String>),
    /// Start nothing new; end when what runs has ended and is announced.
    Drain,
    /// Call all attempts back and end.
    Stop,
}

/// Why the owner has ended.
#[derive(Debug)]
pub enum End {
    /// It was drained, or everybody who could send an input is gone.
    Drained,
    /// The journal's disk failed: it has to be opened again and everything read again.
    Journal(JournalError),
}

/// What the owner is made with.
#[derive(Debug)]
pub struct Parts {
    /// What is known and decided.
    pub ledger: Ledger,
    /// Where it is kept.
    pub journal: Box<dyn Journal>,
    /// The engine of each site, used when the site is the destination.
    pub engines: HashMap<SiteName, Arc<dyn Engine>>,
    /// The sites.
    pub sites: Sites,
    /// The limits of a copy's waits.
    pub patience: Patience,
    /// The delays between attempts.
    pub backoff: BackoffPolicy,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness: of jitter and of this start.
    pub rng: fastrand::Rng,
    /// Whose temporary names.
    pub mover: MoverName,
    /// The names of the topics.
    pub topics: Topics,
    /// Outbox rows that the journal holds and Kafka does not, in order.
    pub unsent: Vec<(u64, Message)>,
    /// Messages to be published, with their places in the outbox; they are in the journal already.
    pub outbox: mpsc::UnboundedSender<Vec<(u64, Message)>>,
    /// Things to be done by others.
    pub effects: mpsc::UnboundedSender<Effect>,
    /// Whether records are to be taken in.
    pub taking: watch::Sender<bool>,
    /// Offsets whose records are flushed.
    pub offsets: mpsc::UnboundedSender<(PartitionKey, i64)>,
}

/// The owner's own state.
#[derive(Debug)]
pub(crate) struct Owner {
    parts: Parts,
    /// Where attempts report their ends.
    inputs: mpsc::WeakSender<Input>,
    /// This start's number in attempts' names.
    start: u32,
    running: BTreeMap<FileAtSite, Running>,
    /// Messages that the journal holds and the outbox has not confirmed.
    waiting: BTreeSet<u64>,
    /// Wishes that are in force and not yet on Kafka.
    unanswered: Vec<questions::Answer>,
    /// Questions that wait for the logbook to tell of their run.
    asked: HashMap<RunKey, Vec<Question>>,
    /// Whether records are taken in: not while the journal's disk is nearly full.
    taking: bool,
    next_care: Millis,
    draining: bool,
    stopping: bool,
    kafka: Result<(), String>,
    batch: Batch,
}

/// What the inputs taken together ask to be written and done.
#[derive(Debug, Default)]
struct Batch {
    writes: Vec<Write>,
    effects: Vec<Effect>,
    messages: Vec<(u64, Message)>,
    offsets: HashMap<PartitionKey, i64>,
    answers: Vec<questions::Answer>,
    published: Vec<questions::Answer>,
    /// What goes, and the endpoints of which it is the probe.
    orders: Vec<(crate::ledger::Order, Vec<String>)>,
}

/// How many inputs are taken into one batch at the most: the price of a lost one stays small.
const BATCH: usize = 512;
/// How long a commit waits after the one before it; two inputs in one are many.
const GATHER: Gather = Gather::new(Duration::from_millis(1), Duration::from_millis(25), 2);
/// How often time alone is looked at, when no delay is due sooner.
const TICK: Duration = Duration::from_millis(500);

/// How often settled runs are dropped from memory and the journal's size is looked at.
const CARE: Duration = Duration::from_secs(60);

/// Runs until it is drained or the journal fails. `inputs` holds a sender of its own channel, for its attempts.
pub async fn own(
    parts: Parts,
    inputs: mpsc::Sender<Input>,
    mut receiver: mpsc::Receiver<Input>,
) -> (End, Box<dyn Journal>) {
    let weak = inputs.downgrade();
    drop(inputs);
    let mut owner = Owner::new(parts, weak);
    let mut next_tick = owner.now();
    let (mut gather, mut gathered) = (GATHER, Instant::now());
    loop {
        tokio::time::sleep_until(gathered).await;
        let now = owner.now();
        let due = owner.parts.ledger.next_due().map_or(next_tick, |due| due.min(next_tick));
        let input = tokio::select! {
            biased;
            input = receiver.recv() => match input {
                Some(input) => Some(input),
                None => return (End::Drained, owner.parts.journal),
            },
            () = tokio::time::sleep(due.since(now)) => None,
        };
        let mut taken = 0;
        let mut next = input;
        while let Some(input) = next {
            owner.take(input);
            taken += 1;
            next = if taken < BATCH { receiver.try_recv().ok() } else { None };
        }
        let now = owner.now();
        if now >= due {
            let step = owner.parts.ledger.tick(now);
            owner.keep(step);
            next_tick = now.plus(TICK);
            owner.watch_room();
            for answer in owner.unanswered.extract_if(.., |answer| answer.until <= now) {
                answer.send(false);
            }
            owner.show();
        }
        if now >= owner.next_care {
            owner.next_care = now.plus(CARE);
            if let Err(error) = owner.care(now) {
                owner.call_all_back().await;
                return (End::Journal(error), owner.parts.journal);
            }
        }
        owner.plan();
        match owner.carry_out() {
            // A full batch shows that more is waiting: the next is gathered already.
            Ok(committed) if committed && taken < BATCH => gathered = Instant::now() + gather.after(taken),
            Ok(_) => {}
            Err(error) => {
                owner.call_all_back().await;
                return (End::Journal(error), owner.parts.journal);
            }
        }
        if owner.draining && owner.running.is_empty() && (owner.stopping || owner.waiting.is_empty()) {
            return (End::Drained, owner.parts.journal);
        }
    }
}

impl Owner {
    fn new(mut parts: Parts, inputs: mpsc::WeakSender<Input>) -> Self {
        let start = parts.rng.u32(..);
        let messages = std::mem::take(&mut parts.unsent);
        let waiting = messages.iter().map(|(place, _)| *place).collect();
        if !messages.is_empty() {
            let _ = parts.outbox.send(messages);
        }
        Self {
            parts,
            inputs,
            start,
            running: BTreeMap::new(),
            waiting,
            unanswered: Vec::new(),
            asked: HashMap::new(),
            taking: true,
            next_care: Millis::default(),
            draining: false,
            stopping: false,
            kafka: Ok(()),
            batch: Batch::default(),
        }
    }

    fn now(&self) -> Millis {
        self.parts.clock.now()
    }

    /// Lets the ledger decide on one input.
    fn take(&mut self, input: Input) {
        let now = self.now();
        match input {
            Input::Record(record) => self.record(&record, now),
            Input::CaughtUp => {
                let step = self.parts.ledger.caught_up(now);
                self.keep(step);
            }
            Input::Ended(run, id, attempt, outcome) => self.ended(&run, &id, attempt, outcome, now),
            Input::Published(published) => self.published(published),
            Input::Answer(run, answer) => {
                self.fetch(&run);
                let step = self.parts.ledger.logbook_answer(&run, &answer, now);
                self.keep(step);
                for question in self.asked.remove(&run).into_iter().flatten() {
                    self.question(question, now);
                }
            }
            Input::NoAnswer(run, why) => {
                for question in self.asked.remove(&run).into_iter().flatten() {
                    self.refuse(question, &run, &why);
                }
            }
            Input::Source(run, lfn, size, mtime) => {
                self.fetch(&run);
                let step = self.parts.ledger.source_seen(&run, &lfn, size, mtime, now);
                self.keep(step);
            }
            Input::Missing(run, at) => {
                self.fetch(&run);
                let step = self.parts.ledger.vanished(&run, &at, now);
                self.keep(step);
            }
            Input::Servers(site, servers) => self.parts.sites.learn(site, servers),
            Input::Found { run, lfn, registration, whole, old } => {
                self.fetch(&run);
                let step = self.parts.ledger.found(&run, &lfn, &registration, (whole, old), now);
                self.keep(step);
            }
            Input::Quiet(run, by) => {
                self.fetch(&run);
                let step = self.parts.ledger.close(&run, by, now);
                self.keep(step);
            }
            Input::Question(question) => self.question(question, now),
            Input::Sweep(reply) => {
                let since = self.mended_since(now);
                // The logbook may have told of a file and been heard by nobody.
                self.batch.effects.extend(self.parts.ledger.to_compare(since));
                let _ = reply.send(self.parts.ledger.verified(since));
            }
            Input::Kafka(state) => self.kafka = state,
            Input::Drain => self.draining = true,
            Input::Stop => {
                self.draining = true;
                self.stopping = true;
                for running in self.running.values_mut() {
                    running.called_back = true;
                    running.cancel.cancel();
                }
            }
        }
    }

    /// Takes a record; its offset is stored once what it changed is flushed, also if it changed nothing.
    fn record(&mut self, record: &Record, now: Millis) {
        let written = record.timestamp.unwrap_or(now);
        match decode(&self.parts.topics, record) {
            Ok(Event::Logbook(event)) => {
                for run in crate::intake::runs_named(&event) {
                    self.fetch(&run);
                }
                for (raw, reason) in crate::intake::bad_files(&event) {
                    tracing::warn!(file = raw, reason, "file in a run's list is refused");
                }
                let step = self.parts.ledger.logbook(&event, written, now);
                self.keep(step);
            }
            Ok(Event::Route(experiment, route)) => {
                let step = self.parts.ledger.routed(&experiment, route.as_ref(), now);
                self.keep(step);
            }
            Ok(Event::RouteOverride(experiment, route)) => {
                let step = self.parts.ledger.overridden(&experiment, route.as_ref(), now);
                self.keep(step);
            }
            // Our own announcements were read back at the start.
            Ok(_) => {}
            Err(error) => {
                let reason = error.reason();
                tracing::warn!(topic = %record.topic, partition = record.partition, offset = record.offset, reason, "dead letter");
                metrics::counter!(crate::metric::DEAD_LETTERS).increment(1);
                let source = self.parts.ledger.rules().source.clone();
                let letter = record.dead_letter(&reason, &source, now);
                let message = message::dead_letter(&letter, &source, now);
                let step = self.parts.ledger.say(message);
                self.keep(step);
            }
        }
        let key = PartitionKey { topic: record.topic.to_string(), partition: record.partition };
        self.batch.offsets.insert(key, record.offset + 1);
    }

    fn published(&mut self, published: Published) {
        for place in published.places {
            if self.waiting.remove(&place) {
                self.batch.writes.push(Write::Remove(RowKey::Outbox(place)));
            }
            self.batch.published.extend(self.unanswered.extract_if(.., |answer| answer.place == place));
        }
        for (key, next) in published.positions {
            self.batch.writes.push(Write::Put(Row::Position(key, next)));
        }
    }

    /// Takes a settled run that an input names back into memory.
    fn fetch(&mut self, key: &RunKey) {
        if self.parts.ledger.holds(key) {
            return;
        }
        match self.parts.journal.run(key) {
            Ok(Some((row, files))) => self.parts.ledger.adopt(key, row, files),
            Ok(None) => {}
            // The next commit fails too, and ends this owner.
            Err(error) => tracing::error!(run = %key, %error, "journal cannot be read"),
        }
    }

    /// Adds a step's changes to the batch.
    fn keep(&mut self, step: Step) {
        for write in &step.writes {
            if let Write::Put(Row::Outbox(place, message)) = write {
                self.batch.messages.push((*place, message.clone()));
                self.waiting.insert(*place);
            }
        }
        #[cfg(test)]
        if !step.writes.is_empty() {
            self.parts.ledger.audit().expect("the ledger is in step with itself");
        }
        self.batch.writes.extend(step.writes);
        self.batch.effects.extend(step.effects);
    }

    /// Stops taking records before the journal's disk is full, and takes them again when there is room.
    fn watch_room(&mut self) {
        let room = self.parts.journal.room();
        let enough = room.as_ref().is_ok_and(Room::is_enough);
        if enough != self.taking {
            self.taking = enough;
            self.parts.taking.send_replace(enough);
            match room {
                Ok(room) if enough => {
                    tracing::info!(%room, "the journal's disk has room again; intake goes on")
                }
                Ok(room) => tracing::error!(%room, "the journal's disk is nearly full; intake is stopped"),
                Err(error) => {
                    tracing::error!(%error, "the journal's disk cannot be looked at; intake is stopped")
                }
            }
        }
    }

    #[allow(clippy::cast_precision_loss)] // counts of things in memory
    fn show(&self) {
        metrics::gauge!(crate::metric::QUEUED).set(self.parts.ledger.ready() as f64);
        metrics::gauge!(crate::metric::UNDER_WAY).set(self.running.len() as f64);
        metrics::gauge!(crate::metric::OUTBOX).set(self.waiting.len() as f64);
        metrics::gauge!(crate::metric::BREAKERS_OPEN).set(self.parts.sites.troubled().len() as f64);
        let ready = self.kafka.is_ok() && self.taking && !self.draining;
        metrics::gauge!(crate::metric::READY).set(f64::from(u8::from(ready)));
    }

    /// Settled runs that nobody mends any more leave memory; in a quiet moment the journal is made small again.
    fn care(&mut self, now: Millis) -> Result<(), JournalError> {
        let evicted = self.parts.ledger.evict(self.mended_since(now));
        if evicted > 0 {
            tracing::info!(runs = evicted, "settled runs left memory");
        }
        if self.running.is_empty() && self.parts.ledger.ready() == 0 {
            if let Compacted::Done { before, after } = self.parts.journal.compact_if_needed()? {
                tracing::info!(before, after, "journal written anew");
            }
        }
        Ok(())
    }

    fn mended_since(&self, now: Millis) -> Millis {
        Millis(now.0.saturating_sub(self.parts.sites.mend_for_ms()))
    }

    /// Chooses what can start now.
    fn plan(&mut self) {
        if self.draining {
            return;
        }
        let now = self.now();
        loop {
            let doors = self.parts.sites.doors(now);
            let Some((order, step)) = self.parts.ledger.plan(&doors, self.start, now) else { break };
            let probes = self.parts.sites.admitted(&order, now);
            self.keep(step);
            self.batch.orders.push((order, probes));
        }
    }

    /// Writes the batch, and lets happen what it asks for; says whether there was anything to write.
    fn carry_out(&mut self) -> Result<bool, JournalError> {
        let mut batch = std::mem::take(&mut self.batch);
        for (key, next) in &batch.offsets {
            batch.writes.push(Write::Put(Row::Position(key.clone(), *next)));
        }
        let committed = !batch.writes.is_empty();
        if committed {
            self.parts.journal.commit(&batch.writes)?;
        }
        // Rule 1 and 3: nothing outside depends on what is not flushed.
        if !batch.messages.is_empty() || !batch.offsets.is_empty() || !batch.answers.is_empty() {
            self.parts.journal.flush()?;
        }
        if !batch.messages.is_empty() {
            let _ = self.parts.outbox.send(batch.messages);
        }
        for offset in batch.offsets {
            let _ = self.parts.offsets.send(offset);
        }
        for (order, probes) in batch.orders {
            self.start_attempt(order, probes);
        }
        for effect in batch.effects {
            match effect {
                Effect::CallBack(at, attempt) => self.call_back(&at, attempt),
                other => drop(self.parts.effects.send(other)),
            }
        }
        for answer in batch.published {
            answer.send(true);
        }
        self.unanswered.extend(batch.answers);
        Ok(committed)
    }
}
