//! The images of one partition that a worker holds, in the partition's order: which have been begun, which are done, and
//! what may be committed of them. Pure.

use std::collections::VecDeque;

use super::note::Note;

/// An image that a worker holds, by a number that is never given twice. Later arrivals have higher ones.
pub type Ticket = u64;

/// How far an image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Arrived.
    Waiting,
    /// Its bytes are under way.
    Reading,
    /// Its bytes are here.
    Ready,
    /// It is worked on.
    Computing,
    /// It has its result, or needs none.
    Done,
}

/// An image in its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which.
    pub ticket: Ticket,
    /// Where it stands in its partition.
    pub offset: i64,
    /// How far it is.
    pub stage: Stage,
}

/// The fewest and the most images that one note lets be begun.
const WINDOW: std::ops::RangeInclusive<i64> = 8..=64;
/// Results that may wait behind one that is not done.
const BEHIND: usize = 1024;

/// As what a worker writes a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum As {
    /// As one that works, perhaps on several images.
    Busy,
    /// As one that works on nothing at the moment.
    Alone,
    /// As one that leaves: nothing of it goes on here.
    Leaving,
}

/// A partition as this worker has it.
#[derive(Clone, Debug)]
pub struct Line {
    /// The committed position.
    pub next: i64,
    /// What the one before us has left.
    before: Note,
    /// What stands on Kafka beside the position; `None` until we have written there.
    noted: Option<Note>,
    held: VecDeque<Held>,
    /// How many from the front are begun or done.
    begun: usize,
    /// How many images the next note covers beyond those that are begun.
    window: i64,
}

impl Line {
    /// A partition that was given.
    pub fn new(next: i64, before: Note) -> Self {
        Self { next, before, noted: None, held: VecDeque::new(), begun: 0, window: *WINDOW.start() }
    }

    /// Puts an image at the end. Offsets and tickets only grow.
    pub fn push(&mut self, ticket: Ticket, offset: i64, done: bool) {
        let stage = if done { Stage::Done } else { Stage::Waiting };
        self.held.push_back(Held { ticket, offset, stage });
    }

    /// The stage of an image that is still held.
    pub fn stage_mut(&mut self, ticket: Ticket) -> Option<&mut Stage> {
        let at = self.held.binary_search_by_key(&ticket, |held| held.ticket).ok()?;
        Some(&mut self.held[at].stage)
    }

    /// All that is held.
    pub fn held(&self) -> impl Iterator<Item = &Held> {
        self.held.iter()
    }

    /// What is begun or done.
    pub fn begun_held(&self) -> impl DoubleEndedIterator<Item = &Held> {
        self.held.iter().take(self.begun)
    }

    /// How many are not begun.
    pub fn waiting(&self) -> usize {
        self.held.len() - self.begun
    }

    /// The first image that is not begun, where one more may be.
    pub fn first_waiting(&mut self) -> Option<Held> {
        while self.held.get(self.begun).is_some_and(|held| held.stage != Stage::Waiting) {
            self.begun += 1;
        }
        self.held.get(self.begun).copied().filter(|_| self.begun < BEHIND)
    }

    /// Marks the first waiting image as begun.
    pub fn begin(&mut self, stage: Stage) {
        if let Some(held) = self.held.get_mut(self.begun) {
            held.stage = stage;
            self.begun += 1;
        }
    }

    /// Whether the note on Kafka covers the beginning of this image. One that somebody has begun before has to be named by
    /// it.
    pub fn covered(&self, offset: i64) -> bool {
        let before = self.before.begun(offset);
        self.noted.is_some_and(|noted| match before {
            0 => offset < noted.until,
            times => noted.alone == Some((offset, times + 1)),
        })
    }

    /// How many of those that wait the note on Kafka covers.
    pub fn covers_waiting(&self) -> usize {
        let until = self.noted.map_or(0, |noted| noted.until);
        self.held.partition_point(|held| held.offset < until).saturating_sub(self.begun)
    }

    /// Whether more wait, and could be begun, than the note on Kafka covers.
    pub fn is_limited(&self) -> bool {
        self.begun < BEHIND && self.waiting() > self.covers_waiting()
    }

    /// Whether half of what the note on Kafka let be begun is begun, and more waits than it covers.
    pub fn is_short(&self) -> bool {
        self.is_limited() && 2 * self.covers_waiting() <= self.window()
    }

    /// How many images the next note covers beyond those that are begun.
    pub fn window(&self) -> usize {
        usize::try_from(self.window).unwrap_or(usize::MAX)
    }

    /// How often the image was begun by workers that ended before they had its result.
    pub fn begun_before(&self, offset: i64) -> u32 {
        self.before.begun(offset)
    }

    /// How many from the front are done.
    pub fn done(&self) -> usize {
        self.held.iter().take_while(|held| held.stage == Stage::Done).count()
    }

    /// Whether any that was begun is not done.
    pub fn busy(&self) -> bool {
        self.begun_held().any(|held| held.stage != Stage::Done)
    }

    /// Whether there is one that is not done.
    pub fn open(&self) -> bool {
        self.waiting() > 0 || self.busy()
    }

    /// Forgets what is not begun; its tickets.
    pub fn drop_waiting(&mut self) -> Vec<Ticket> {
        self.drop_where(|stage| stage == Stage::Waiting)
    }

    /// Forgets images by their stage; their tickets.
    pub fn drop_where(&mut self, forget: impl Fn(Stage) -> bool) -> Vec<Ticket> {
        // What is done behind a gap would be a position past the gap: it goes too.
        let keep = self.held.iter().take_while(|held| !forget(held.stage)).count();
        let dropped = self.held.drain(keep..).map(|held| held.ticket).collect();
        self.begun = self.begun.min(keep);
        dropped
    }

    /// Whether nobody has yet written down that we are here.
    pub fn is_fresh(&self) -> bool {
        self.noted.is_none()
    }

    /// The position after the first `count` images, and the note beside it.
    pub fn position(&self, count: usize, as_one: As) -> (i64, Note) {
        let last = count.checked_sub(1).and_then(|last| self.held.get(last));
        let next = last.map_or(self.next, |held| held.offset + 1);
        let replay = self.before.replay.filter(|end| next < *end);
        let open = self.held.iter().skip(count).find(|held| held.stage != Stage::Done);
        if next < self.before.until && open.is_none_or(|held| held.offset < self.before.until) {
            // The next one is named before it is begun, with this time counted; who leaves takes that back.
            let alone = match as_one {
                As::Alone => open.map(|held| (held.offset, self.before.begun(held.offset) + 1)),
                As::Busy => self.noted.map_or(self.before, |noted| noted).alone,
                As::Leaving => self.before.alone,
            };
            let alone = alone.or(self.before.alone).filter(|(offset, _)| *offset >= next);
            return (next, Note { until: self.before.until, alone, replay });
        }
        if as_one == As::Leaving {
            return (next, Note { until: next, alone: None, replay });
        }
        let begun = self.begun_held().next_back().map_or(next, |held| held.offset + 1);
        let waiting = self.held.get(self.begun).map_or(next, |held| held.offset);
        // What the note on Kafka lets be begun may be begun while this one is on its way there.
        let allowed = self.noted.map_or(0, |noted| noted.until);
        (next, Note { until: allowed.max(begun).max(waiting.max(next) + self.window), alone: None, replay })
    }

    /// Whether what stands on Kafka is not what should stand there when we leave.
    pub fn unclean(&self) -> bool {
        self.noted.is_some_and(|noted| noted != self.position(0, As::Leaving).1)
    }

    /// The position with its note stands on Kafka: the first `count` images are gone.
    pub fn committed(&mut self, count: usize, next: i64, note: Note) {
        self.held.drain(..count.min(self.held.len()));
        self.begun = self.begun.saturating_sub(count);
        self.next = next;
        self.noted = Some(note);
        // What has kept more from being begun is made wider, what has not need not be.
        let used = if self.is_limited() { self.window } else { i64::try_from(count).unwrap_or(i64::MAX) };
        self.window = used.saturating_mul(2).clamp(*WINDOW.start(), *WINDOW.end());
    }
}
