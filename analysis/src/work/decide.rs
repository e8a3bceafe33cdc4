//! What a worker does next: which images are read and worked on, when results are committed, what is given up, and when it
//! leaves. Takes closed events with the time as an argument and answers with closed actions; no clock, no file, no Kafka.
//!
//! Live images come first; an image that may have ended a process is begun alone and counted; a slow image holds up only
//! its own partition, and only for its time limit.

mod begin;
mod commit;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::line::{Line, Stage, Ticket};
use super::note::Note;

/// A time since the worker's start.
pub type Now = Duration;

/// The two sources of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Images of runs that are being taken.
    Live,
    /// Images of earlier runs.
    Reprocess,
}

impl Lane {
    /// Both, the more urgent one first.
    pub const ALL: [Self; 2] = [Self::Live, Self::Reprocess];

    /// The word that logs and metrics use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Reprocess => "reprocess",
        }
    }
}

/// What the decisions depend on beside the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Images worked on at the same time.
    pub threads: usize,
    /// Images of each lane that may be under way or wait as bytes in memory.
    pub ahead: usize,
    /// The most results of one transaction.
    pub results: usize,
    /// How long a stage may go on past its image's limit before the process is ended.
    pub grace: Duration,
    /// How long begun images are waited for when partitions go or the worker leaves.
    pub hand_over: Duration,
    /// The most work that is taken from the reprocess lane at a time.
    pub reprocess_batch: Duration,
    /// The age at which the live group's lag is looked at again.
    pub lag_age: Duration,
    /// An image begun so often without a result is not begun again.
    pub begun_at_most: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            threads: 1,
            ahead: 4,
            results: 500,
            grace: Duration::from_secs(10),
            hand_over: Duration::from_secs(2),
            reprocess_batch: Duration::from_millis(200),
            lag_age: Duration::from_secs(1),
            begun_at_most: 4,
        }
    }
}

/// Where a partition that was given begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The partition.
    pub partition: i32,
    /// The position.
    pub next: i64,
    /// The note beside it.
    pub note: Note,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// These partitions are ours now, and no others of this lane.
    Given(Lane, Vec<Start>),
    /// The lane's partitions are to be let go.
    Taken(Lane),
    /// A record came: an image, or one that has its result, or none.
    Arrived {
        /// Of this lane.
        lane: Lane,
        /// Of this partition.
        partition: i32,
        /// At this offset.
        offset: i64,
        /// It goes by this number from now on.
        ticket: Ticket,
        /// Whether there is nothing to be worked.
        done: bool,
    },
    /// An image's bytes are here; its work may last `limit`.
    Read {
        /// Which.
        ticket: Ticket,
        /// How long.
        limit: Duration,
    },
    /// An image has its result.
    Ended(Ticket),
    /// The last commit stands on Kafka.
    Committed,
    /// Nothing of the last commit stands on Kafka.
    NotCommitted,
    /// The live group's lag in images, all partitions together, and how many work there.
    Looked {
        /// Images behind.
        lag: u64,
        /// Members of the live group.
        workers: u64,
    },
    /// The lag could not be looked at.
    NotLooked,
    /// Somebody wants the worker to leave.
    Leave(Why),
    /// Time has passed.
    Tick,
}

/// Why a worker leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It was asked to.
    Asked,
    /// The place where the images lie does not answer.
    Door,
    /// A stage never came back: only the end of the process ends it.
    Stuck,
}

/// A commit of one lane: results and positions, both or neither.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The lane.
    pub lane: Lane,
    /// The images whose results are in it.
    pub tickets: Vec<Ticket>,
    /// Partition, next offset, note.
    pub positions: Vec<(i32, i64, Note)>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read an image's bytes.
    Read(Ticket),
    /// Work on an image.
    Compute(Ticket),
    /// Make its result: it took too long. Its thread is not waited for; another takes its place.
    TimedOut(Ticket),
    /// Make its result: it was begun so often, and each time its process ended.
    Crashed(Ticket, u32),
    /// Forget an image: it is somebody else's, or will come again.
    Forget(Ticket),
    /// Commit.
    Commit(Commit),
    /// Look at the live group's lag.
    Look,
    /// Let a lane's partitions go.
    Release(Lane),
    /// Everything is committed that will be: leave.
    Left(Why),
}

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
    lag: Option<(Now, u64, u64)>,
    looking: bool,
    look_after: Now,
    grant: Option<Grant>,
    /// Mean work of a reprocessed image, seconds.
    work: Option<f64>,
    leave: Option<Why>,
    left: bool,
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
            lag: None,
            looking: false,
            look_after: Duration::ZERO,
            grant: None,
            work: None,
            leave: None,
            left: false,
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
    pub fn wake_at(&self, now: Now) -> Option<Now> {
        let limits = self.running.values().map(|running| match running.overdue {
            Some(since) => since + self.settings.grace,
            None => running.since + running.limit,
        });
        let leaving = self.lanes.iter().filter_map(|lane| Some(lane.leaving? + self.settings.hand_over));
        let retry = Some(self.publish_after).filter(|at| *at > now);
        let look = Some(self.look_after.max(now + Duration::from_millis(10)))
            .filter(|_| self.is_open(Lane::Reprocess));
        limits.chain(leaving).chain(retry).chain(look).min()
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
            Event::Ended(ticket) => self.ended(now, ticket),
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

    fn leave(&mut self, now: Now, why: Why, actions: &mut Vec<Action>) {
        if self.leave.is_some() {
            return;
        }
        self.leave = Some(why);
        for lane in Lane::ALL {
            self.lanes[lane as usize].leaving.get_or_insert(now);
            if why == Why::Door {
                // What is being read will not come.
                self.drop_where(lane, |stage| stage == Stage::Reading, actions);
            }
            self.quiet(lane, actions);
        }
    }

    /// What is not begun in a lane is not begun any more.
    fn quiet(&mut self, lane: Lane, actions: &mut Vec<Action>) {
        self.drop_where(lane, |stage| stage == Stage::Waiting, actions);
    }

    fn drop_where(&mut self, lane: Lane, which: impl Fn(Stage) -> bool, actions: &mut Vec<Action>) {
        let lines = self.lanes[lane as usize].lines.values_mut();
        let dropped: Vec<Ticket> = lines.flat_map(|line| line.drop_where(&which)).collect();
        self.forget_all(&dropped, actions);
    }

    fn forget_all(&mut self, tickets: &[Ticket], actions: &mut Vec<Action>) {
        for ticket in tickets {
            self.places.remove(ticket);
            self.limits.remove(ticket);
            self.not_ready(*ticket);
            self.alone.take_if(|alone| alone == ticket);
            actions.push(Action::Forget(*ticket));
        }
    }

    fn not_ready(&mut self, ticket: Ticket) {
        for ready in &mut self.ready {
            ready.remove(&ticket);
        }
    }

    /// Nothing of a lane is ours any more.
    fn forget(&mut self, lane: Lane, actions: &mut Vec<Action>) {
        let lines = std::mem::take(&mut self.lanes[lane as usize].lines);
        let held: Vec<Ticket> = lines.values().flat_map(Line::held).map(|held| held.ticket).collect();
        self.forget_all(&held, actions);
        if self.publishing.as_ref().is_some_and(|publishing| publishing.lane == lane) {
            // Its answer is still to come and means nothing then.
            self.publishing = Some(Publishing { lane, parts: Vec::new() });
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

    /// Gives up what is past its limit.
    fn expire(&mut self, now: Now, actions: &mut Vec<Action>) {
        let late = |running: &Running| running.overdue.is_none() && now >= running.since + running.limit;
        let overdue: Vec<Ticket> =
            self.running.iter().filter(|(_, running)| late(running)).map(|(ticket, _)| *ticket).collect();
        for ticket in overdue {
            if let Some(running) = self.running.get_mut(&ticket) {
                running.overdue = Some(now);
            }
            self.alone.take_if(|alone| *alone == ticket);
            if self.set(ticket, Stage::Computing, Stage::Done) {
                actions.push(Action::TimedOut(ticket));
            }
        }
        let overdue = self.running.values().filter_map(|running| running.overdue);
        let stuck = overdue.clone().any(|since| now >= since + self.settings.grace);
        if stuck || overdue.count() > self.settings.threads {
            self.leave(now, Why::Stuck, actions);
        }
        for lane in Lane::ALL {
            let state = &self.lanes[lane as usize];
            if state.leaving.is_some_and(|since| now >= since + self.settings.hand_over) {
                self.drop_where(lane, |stage| stage != Stage::Done, actions);
            }
        }
    }
}
