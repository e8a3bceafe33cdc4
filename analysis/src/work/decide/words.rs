//! The words of the decider: what happens, and what is to be done about it. No behaviour.

use std::time::Duration;

use super::super::line::Ticket;
use super::super::note::Note;

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
    /// Where many images wait, transactions begin so far apart; the fewer wait, the closer.
    pub gather: Duration,
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
            gather: Duration::from_millis(400),
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
    /// Images have their results: those that a thread took together.
    Ended(Vec<Ticket>),
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
