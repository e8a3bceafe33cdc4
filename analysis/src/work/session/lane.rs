//! One lane of a session: its taker, what was given to it, and where its partitions begin.

use std::collections::BTreeMap;

use lightrail_topics::kafka::{
    Begin, Given, GroupMetadata, KafkaError, Release, Taken, Taker, TakerEvent, TakerSettings,
};
use lightrail_topics::{Record, message, record};

use super::super::decide::{Event, Lane, Start};
use super::super::held::{Held, Output, now};
use super::super::note::Note;
use super::super::replay::Known;
use super::super::run::Life;
use super::{Session, Told};
use lightrail_service::http::Readiness;

/// Records that may wait between the taker and its lane.
const CAPACITY: usize = 512;

pub(super) struct LaneDoing {
    pub(super) topic: String,
    taker: Taker,
    taken: Taken,
    /// Who we are in the group, as long as the present assignment holds.
    pub(super) group: Option<GroupMetadata>,
    release: Option<Release>,
    /// An assignment that waits for what `results` holds; nothing is taken meanwhile.
    loading: Option<Given>,
    /// Partitions whose images may have results, up to which offset.
    replay: BTreeMap<i32, i64>,
    known: Known,
    held_back: bool,
}

impl LaneDoing {
    pub(super) fn join(life: &Life, lane: Lane) -> Result<Self, KafkaError> {
        let work = &life.config.work;
        let topic = life.topics.name(lane.channel(&life.identity.site));
        let settings = TakerSettings {
            group: lane.group(&life.topics, &life.identity.site),
            instance: life.identity.slot.to_string(),
            session_timeout: work.session,
            topic: topic.clone(),
            capacity: CAPACITY,
            // The images that are begun, then the transaction of their results.
            hand_over: work.hand_over + work.transaction,
        };
        let (taker, taken) = Taker::join(&life.connection, &settings)?;
        Ok(Self {
            topic,
            taker,
            taken,
            group: None,
            release: None,
            loading: None,
            replay: BTreeMap::new(),
            known: Known::default(),
            held_back: false,
        })
    }

    /// The taker's next event; never, while an assignment waits.
    pub(super) async fn next(&mut self) -> Option<TakerEvent> {
        if self.loading.is_some() {
            return std::future::pending().await;
        }
        self.taken.next().await
    }

    /// Takes no more records while too many wait; each pause throws fetched ones away, so it lasts until half are gone.
    pub(super) fn hold_back(&mut self, waiting: usize, limit: usize) {
        if !self.held_back && waiting >= limit {
            self.held_back = true;
            self.taker.pause();
        } else if self.held_back && waiting <= limit / 2 {
            self.held_back = false;
            self.taker.resume();
        }
    }

    pub(super) fn taken(&mut self, release: Release) {
        self.release = Some(release);
    }

    /// Lets the partitions go.
    pub(super) fn release(&mut self) {
        self.release = None;
    }

    /// Leaves the group, or stays a member that a new session takes over.
    pub(super) async fn end(self, leaves: bool) {
        drop(self.release);
        if leaves {
            self.taker.leave().await;
        } else {
            self.taker.stop().await;
        }
    }
}

impl Session<'_> {
    /// Partitions were given. Where positions were lost, `results` tells what has been worked.
    pub(super) fn given(&mut self, lane: Lane, given: Given) {
        let doing = &mut self.lanes[lane as usize];
        doing.release = None;
        let lost =
            given.partitions.iter().filter(|begin| begin.committed.is_none() && begin.first < begin.end);
        for begin in lost {
            let Begin { partition, first, end, .. } = begin;
            tracing::warn!(
                lane = lane.name(),
                partition,
                first,
                end,
                "the group has no position in this partition; what results hold is passed over"
            );
            metrics::counter!(super::super::metric::LOST_POSITIONS).increment(1);
        }
        let replays = given.partitions.iter().map(start).any(|start| start.note.replay.is_some());
        doing.loading = Some(given);
        if !replays {
            return self.begin_with(lane, None);
        }
        self.life.says(Readiness::waits("reads results, for its group's positions were lost"));
        let known = std::mem::take(&mut doing.known);
        let (connection, topics) = (self.life.connection.clone(), self.life.topics.clone());
        let tell = self.tell.clone();
        self.tasks.spawn(async move {
            let known = known.read_on(&connection, &topics).await;
            let _ = tell.send(Told::Known(lane, known));
        });
    }

    /// Begins with what was given.
    pub(super) fn begin_with(&mut self, lane: Lane, known: Option<Known>) {
        let doing = &mut self.lanes[lane as usize];
        let Some(given) = doing.loading.take() else { return };
        if let Some(known) = known {
            tracing::info!(lane = lane.name(), results = known.len(), "results read");
            doing.known = known;
        }
        let starts: Vec<Start> = given.partitions.iter().map(start).collect();
        let replays = starts.iter().filter_map(|start| Some((start.partition, start.note.replay?)));
        doing.replay = replays.collect();
        if doing.replay.is_empty() {
            doing.known = Known::default();
        }
        doing.group = Some(given.group);
        let partitions: Vec<i32> = starts.iter().map(|start| start.partition).collect();
        tracing::info!(lane = lane.name(), ?partitions, "partitions given");
        if self.lanes.iter().all(|lane| lane.group.is_some()) {
            self.life.says(Readiness::ready("works"));
            metrics::gauge!(super::super::metric::READY).set(1.0);
        }
        self.step(Event::Given(lane, starts));
    }

    /// A record came.
    pub(super) fn arrived(&mut self, lane: Lane, record: &Record) {
        self.crew.tickets += 1;
        let ticket = self.crew.tickets;
        let (partition, offset) = (record.partition, record.offset);
        let doing = &self.lanes[lane as usize];
        let replays = doing.replay.get(&partition).is_some_and(|end| offset < *end);
        let done = if replays && record.key.as_deref().is_some_and(|key| doing.known.has(key)) {
            true
        } else {
            match record::decode(&self.life.topics, record) {
                Ok(record::Event::Image(_, image)) => {
                    let held = Held::new(lane, image.into(), record.ce_time().or(record.timestamp));
                    self.images.insert(ticket, held);
                    false
                }
                Ok(_) => true,
                Err(error) => {
                    self.bury(lane, ticket, record, &error.reason());
                    true
                }
            }
        };
        self.step(Event::Arrived { lane, partition, offset, ticket, done });
    }

    /// What cannot be understood goes to the dead letters, together with its position.
    fn bury(&mut self, lane: Lane, ticket: u64, record: &Record, why: &str) {
        let (partition, offset) = (record.partition, record.offset);
        tracing::error!(lane = lane.name(), partition, offset, why, "a message cannot be understood");
        metrics::counter!(super::super::metric::DEAD_LETTERS).increment(1);
        if !self.life.has_dead_letters {
            return;
        }
        let source = self.life.identity.source();
        let letter = record.dead_letter(why, &source, now());
        let message = message::dead_letter(&letter, &source, now());
        self.outputs.insert(ticket, Output { lane, message, result: None });
    }
}

/// Where a partition begins. One without a position begins at its first image, and with the question whether it has its result.
fn start(begin: &Begin) -> Start {
    let partition = begin.partition;
    match &begin.committed {
        Some((next, note)) => {
            let note = Note::parse(note);
            Start {
                partition,
                next: *next,
                note: Note { replay: note.replay.filter(|end| next < end), ..note },
            }
        }
        None => {
            let replay = (begin.first < begin.end).then_some(begin.end);
            Start { partition, next: begin.first, note: Note { replay, ..Note::CLEAN } }
        }
    }
}
