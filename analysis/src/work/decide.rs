//! What a worker does next: which images are read and worked on, when results are committed, what is given up, and when it
//! leaves. Takes closed events with the time as an argument and answers with closed actions; no clock, no file, no Kafka.
//!
//! Live images come first; an image that may have ended a process is begun alone and counted; a slow image holds up only
//! its own partition, and only for its time limit.

mod begin;
mod commit;
mod give_up;
#[cfg(test)]
mod step_tests;
#[cfg(test)]
mod tests;
mod words;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::line::{Line, Stage, Ticket};
use super::note::Note;
pub use words::{Action, Commit, Event, Lane, Now, Settings, Start, Why};

#[derive(Debug)]
struct Running {
    since: Now,
    limit: Duration,
    /// When it was given up.
    overdue: Option<Now>,
}

#[derive(Debug, Default)]
struct LaneState {
    lines: BTreeMap<i32, Line>,
    /// Since when its partitions are to be let go.
    leaving: Option<Now>,
    /// Whether the group waits for our release.
    asked: bool,
}

#[derive(Debug)]
struct Publishing {
    lane: Lane,
    /// Partition, images, next offset, note.
    parts: Vec<(i32, usize, i64, Note)>,
}

#[derive(Clone, Copy, Debug)]
struct Grant {
    images: usize,
    ends: Now,
}

/// The decider.
#[derive(Debug)]
pub struct Decider {
    settings: Settings,
    lanes: [LaneState; 2],
    places: HashMap<Ticket, (Lane, i32)>,
    limits: HashMap<Ticket, Duration>,
    running: BTreeMap<Ticket, Running>,
    publishing: Option<Publishing>,
    last_lane: Lane,
    /// After a failed commit: not before.
    publish_after: Now,
    /// When the last commit was begun.
    last_commit: Option<Now>,
    lag: Option<(Now, u64, u64)>,
    looking: bool,
    look_after: Now,
    grant: Option<Grant>,
    /// Mean work of a reprocessed image, seconds.
    work: Option<f64>,
    leave: Option<Why>,
    left: bool,
    /// When the last event was taken: what was due then is done, or waits for something else than time.
    stepped: Now,
    /// Ready images, by lane.
    ready: [BTreeSet<Ticket>; 2],
    /// The image that is worked on alone.
    alone: Option<Ticket>,
}

/// A failed commit waits so long before it is tried again.
const RETRY: Duration = Duration::from_millis(300);
/// The same for one who leaves: what it has begun would count against its images.
const RETRY_LEAVING: Duration = Duration::from_millis(50);

impl Decider {
    /// A worker that has nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            lanes: Default::default(),
            places: HashMap::new(),
            limits: HashMap::new(),
            running: BTreeMap::new(),
            publishing: None,
            last_lane: Lane::Reprocess,
            publish_after: Duration::ZERO,
            last_commit: None,
            lag: None,
            looking: false,
            look_after: Duration::ZERO,
            grant: None,
            work: None,
            leave: None,
            left: false,
            stepped: Duration::ZERO,
            ready: Default::default(),
            alone: None,
        }
    }

    /// From now on so many images may be worked on at the same time; whether that is something new.
    pub fn set_threads(&mut self, threads: usize) -> bool {
        std::mem::replace(&mut self.settings.threads, threads.max(1)) != threads.max(1)
    }

    /// Takes an event and says what is to be done, in order.
    pub fn step(&mut self, now: Now, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.stepped = now;
        self.take(now, event, &mut actions);
        self.expire(now, &mut actions);
        if self.leave.is_none() {
            self.begin(now, &mut actions);
        }
        self.compute(now, &mut actions);
        self.commit(now, &mut actions);
        self.let_go(now, &mut actions);
        actions
    }

    /// When a [`Event::Tick`] is wanted if nothing else happens.
    pub fn wake_at(&self) -> Option<Now> {
        let limits = self.running.values().map(|running| match running.overdue {
            Some(since) => since + self.settings.grace,
            None => running.since + running.limit,
        });
        let leaving = self.lanes.iter().filter_map(|lane| Some(lane.leaving? + self.settings.hand_over));
        let look = Some(self.look_after.max(self.stepped + Duration::from_millis(10)))
            .filter(|_| self.is_open(Lane::Reprocess));
        let others = [Some(self.publish_after), look, self.gathered_at()].into_iter().flatten();
        limits.chain(leaving).chain(others).filter(|at| *at > self.stepped).min()
    }

    /// Whether a lane holds an image that is not done.
    pub fn is_open(&self, lane: Lane) -> bool {
        self.lane(lane).lines.values().any(Line::open)
    }

    /// Images of a lane that are not begun.
    pub fn waiting(&self, lane: Lane) -> usize {
        self.lane(lane).lines.values().map(Line::waiting).sum()
    }

    fn lane(&self, lane: Lane) -> &LaneState {
        &self.lanes[lane as usize]
    }

    /// Whether a lane's partitions should have been let go by now.
    fn is_late(&self, lane: Lane, now: Now) -> bool {
        let state = self.lane(lane);
        !state.lines.is_empty() && state.leaving.is_some_and(|since| now >= since + self.settings.hand_over)
    }

    fn take(&mut self, now: Now, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Given(lane, starts) => {
                self.forget(lane, actions);
                let state = &mut self.lanes[lane as usize];
                let lines = starts.iter().map(|start| (start.partition, Line::new(start.next, start.note)));
                state.lines = lines.collect();
                (state.leaving, state.asked) = (self.leave.map(|_| now), false);
            }
            Event::Taken(lane) => {
                let state = &mut self.lanes[lane as usize];
                state.asked = true;
                state.leaving.get_or_insert(now);
                self.quiet(lane, actions);
            }
            Event::Arrived { lane, partition, offset, ticket, done } => {
                let state = &mut self.lanes[lane as usize];
                let line = state.lines.get_mut(&partition).filter(|_| state.leaving.is_none());
                match line {
                    Some(line) => {
                        line.push(ticket, offset, done);
                        self.places.insert(ticket, (lane, partition));
                    }
                    None => actions.push(Action::Forget(ticket)),
                }
            }
            Event::Read { ticket, limit } => {
                if self.set(ticket, Stage::Reading, Stage::Ready) {
                    self.limits.insert(ticket, limit);
                    if let Some((lane, _)) = self.places.get(&ticket) {
                        self.ready[*lane as usize].insert(ticket);
                    }
                }
            }
            Event::Ended(tickets) => tickets.into_iter().for_each(|ticket| self.ended(now, ticket)),
            Event::Committed => self.committed(),
            Event::NotCommitted => {
                if let Some(Publishing { lane, .. }) = self.publishing.take() {
                    if self.is_late(lane, now) {
                        // Who leaves has no more time: the next one works it anew.
                        self.forget(lane, actions);
                    } else {
                        let leaves = self.lane(lane).leaving.is_some();
                        self.publish_after = now + if leaves { RETRY_LEAVING } else { RETRY };
                    }
                }
            }
            Event::Looked { lag, workers } => {
                self.looking = false;
                self.lag = Some((now, lag, workers));
                self.look_after = now + self.settings.lag_age / 2;
            }
            Event::NotLooked => {
                self.looking = false;
                self.look_after = now + self.settings.lag_age / 2;
            }
            Event::Leave(why) => self.leave(now, why, actions),
            Event::Tick => {}
        }
    }

    fn ended(&mut self, now: Now, ticket: Ticket) {
        self.limits.remove(&ticket);
        self.not_ready(ticket);
        self.alone.take_if(|alone| *alone == ticket);
        let place = self.places.get(&ticket).copied();
        if let Some(running) = self.running.remove(&ticket) {
            let took = now.saturating_sub(running.since).as_secs_f64();
            if matches!(place, Some((Lane::Reprocess, _))) {
                self.work = Some(self.work.map_or(took, |mean| mean + 0.1 * (took - mean)));
            }
        }
        if let Some(stage) = self.stage(ticket) {
            *stage = Stage::Done;
        }
    }

    fn stage(&mut self, ticket: Ticket) -> Option<&mut Stage> {
        let (lane, partition) = *self.places.get(&ticket)?;
        self.lanes[lane as usize].lines.get_mut(&partition)?.stage_mut(ticket)
    }

    /// Moves an image from one stage to the next; false when it is not in that stage or not ours any more.
    fn set(&mut self, ticket: Ticket, from: Stage, to: Stage) -> bool {
        match self.stage(ticket) {
            Some(stage) if *stage == from => {
                *stage = to;
                true
            }
            _ => false,
        }
    }
}
