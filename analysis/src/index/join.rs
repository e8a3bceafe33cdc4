//! Puts the events of a run's streams together into images, and knows which of them are taken. Pure.
//!
//! What is taken is always a beginning of each stream: positions in the index files name the same set of images whatever the
//! order in which they were taken, so that whoever comes later goes on without reading what was published.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use lightrail_topics::events::{ConfigurePlace, Extent, Image, IndexPosition, ShotData};
use lightrail_topics::message::stable_hash;
use lightrail_topics::{EventId, ImageKey, Lfn, RunKey, SiteName, TrialNumber};

use super::stream::{Event, Role, Stream};

/// One image with all its extents.
#[derive(Clone, Debug, PartialEq)]
pub struct Joined {
    /// The event.
    pub event: EventId,
    /// Its pieces, by stream.
    pub extents: Vec<Extent>,
    /// How the extents' streams are decoded; also those of the detector's streams that lack this event, so that a missing
    /// segment is seen.
    pub configure: Arc<[ConfigurePlace]>,
    /// A hash of `configure`.
    pub names_epoch: u32,
    /// What the small data say of the shot.
    pub shot: ShotData,
}

impl Joined {
    /// The message that says so.
    pub fn image(&self, run: &RunKey, trial: TrialNumber, site: &SiteName) -> Image {
        Image {
            image: ImageKey { run: run.clone(), event: self.event.clone() },
            trial,
            site: site.clone(),
            extents: self.extents.clone(),
            configure: self.configure.to_vec(),
            names_epoch: self.names_epoch,
            shot: self.shot.clone(),
        }
    }

    /// All files that are needed to decode it.
    pub fn files(&self) -> impl Iterator<Item = &Lfn> {
        self.extents.iter().map(|extent| &extent.lfn).chain(self.configure.iter().map(|place| &place.lfn))
    }
}

/// Positions that do not tell which images were published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// A position does not lie in the streams as they are now.
    #[error("{lfn} is no longer the file of which {events} events were taken")]
    File {
        /// The index file.
        lfn: Lfn,
        /// How many events were taken of it.
        events: u64,
    },
    /// Not all before the positions was published, or more than that.
    #[error("{before} images lie before the positions and {published} were published")]
    Count {
        /// How many were published.
        published: u64,
        /// How many lie before the positions.
        before: u64,
    },
}

/// The places of a configuration, and their hash.
type Configured = (Arc<[ConfigurePlace]>, u32);

/// The streams of a run.
#[derive(Clone, Debug, Default)]
pub struct Join {
    streams: Vec<Stream>,
    /// Of each stream, how many events are known below, and how many are taken.
    seen: Vec<usize>,
    taken: Vec<usize>,
    /// Where each event lies: stream, event.
    by_event: BTreeMap<EventId, Vec<(usize, usize)>>,
    /// The images that are taken.
    done: HashSet<EventId>,
    /// Configurations by the epochs of their streams.
    configurations: HashMap<Vec<(usize, usize)>, Configured>,
    late: usize,
    twice: usize,
}

impl Join {
    /// Of no streams yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a stream, in order of their names.
    pub fn add(&mut self, stream: Stream) {
        let at = self.streams.partition_point(|other| other.lfn() < stream.lfn());
        self.streams.insert(at, stream);
        self.seen.insert(at, 0);
        self.taken.insert(at, 0);
        self.look_anew();
    }

    /// Takes a stream out, for another one that stands for it from now on. The images that are taken stay so.
    pub fn remove(&mut self, lfn: &Lfn) {
        if let Some(at) = self.streams.iter().position(|stream| stream.lfn() == lfn) {
            self.streams.remove(at);
            self.seen.remove(at);
            self.taken.remove(at);
            self.look_anew();
        }
    }

    /// The streams, by name.
    pub fn streams(&self) -> &[Stream] {
        &self.streams
    }

    /// A stream to be read on; [`Join::look`] afterwards.
    pub fn stream_mut(&mut self, at: usize) -> Option<&mut Stream> {
        self.streams.get_mut(at)
    }

    /// Another stream stands for this one from now on: what it has found is forgotten, its faults are not.
    pub fn give_up(&mut self, at: usize) {
        if let Some(stream) = self.streams.get_mut(at) {
            stream.forget();
            self.taken[at] = 0;
            self.look_anew();
        }
    }

    /// Looks at all that the streams have found, for places count streams.
    fn look_anew(&mut self) {
        self.by_event.clear();
        self.configurations.clear();
        self.seen.fill(0);
        (self.late, self.twice) = (0, 0);
        self.look();
    }

    /// Takes notice of what the streams have found since.
    pub fn look(&mut self) {
        for (at, stream) in self.streams.iter().enumerate() {
            for (number, event) in stream.found.events.iter().enumerate().skip(self.seen[at]) {
                let places = self.by_event.entry(event.id.clone()).or_default();
                if places.iter().any(|(stream, _)| *stream == at) {
                    self.twice += 1;
                    continue;
                }
                places.push((at, number));
                // Of an image that is whole in one stream nothing can come late.
                let has_parts = event.role == Role::Detector && !is_in_one(&event.id);
                let is_late = has_parts && number >= self.taken[at] && self.done.contains(&event.id);
                self.late += usize::from(is_late);
            }
            self.seen[at] = stream.found.events.len();
        }
    }

    /// How many parts of images came when their image was already published without them.
    pub fn late(&self) -> usize {
        self.late
    }

    /// How many events of a stream had the time of one before: only the first is taken.
    pub fn twice(&self) -> usize {
        self.twice
    }

    /// What was wrong with the streams' files.
    pub fn faults(&self) -> Vec<String> {
        self.streams.iter().flat_map(|stream| stream.faults().iter().cloned()).collect()
    }

    /// How many images are taken.
    pub fn count(&self) -> usize {
        self.done.len()
    }

    /// How many images there are so far, taken or not.
    pub fn images(&self) -> usize {
        let is_image = |places: &&Vec<(usize, usize)>| places.iter().any(|place| self.is_image(*place));
        self.by_event.values().filter(is_image).count()
    }

    /// Whether all streams have ended and all images are taken.
    pub fn is_done(&self) -> bool {
        self.streams.iter().all(Stream::is_closed)
            && (0..self.streams.len())
                .all(|at| self.taken[at] == self.streams[at].found.events.len() || !self.gives(at))
    }

    /// How far each stream of the detector is taken, by name.
    pub fn positions(&self) -> Vec<IndexPosition> {
        (0..self.streams.len())
            .filter(|at| self.gives(*at))
            .map(|at| self.streams[at].at(self.taken[at]))
            .collect()
    }

    /// Goes on where these positions were written: what lies before them is taken, if it is as much as was published.
    ///
    /// # Errors
    /// A position whose file is not here, is shorter, or has other events before it; another number of images. Nothing is
    /// taken then.
    pub fn resume(&mut self, positions: &[IndexPosition], published: u64) -> Result<(), Mismatch> {
        let (mut found, mut done) = (Vec::with_capacity(positions.len()), HashSet::new());
        for position in positions {
            let mismatch = || Mismatch::File { lfn: position.lfn.clone(), events: position.events };
            let at = self.streams.iter().position(|stream| *stream.lfn() == position.lfn);
            let (at, events) = (at.ok_or_else(mismatch)?, usize::try_from(position.events));
            let (stream, events) = (&self.streams[at], events.map_err(|_| mismatch())?);
            if stream.found.events.len() < events || stream.digest(events) != position.digest {
                return Err(mismatch());
            }
            let of_detector = |event: &&Event| event.role == Role::Detector;
            let ids = stream.found.events[..events].iter().filter(of_detector);
            done.extend(ids.map(|event| event.id.clone()));
            found.push((at, events));
        }
        let before = done.len() as u64;
        if before != published {
            return Err(Mismatch::Count { published, before });
        }
        for (at, events) in found {
            self.taken[at] = self.taken[at].max(events);
        }
        self.done.extend(done);
        Ok(())
    }

    /// Takes images that are known to be published, whatever their place.
    pub fn skip(&mut self, events: impl IntoIterator<Item = EventId>) {
        self.done.extend(events);
        self.pass();
    }

    /// All images that are not taken, in order of their events, as far as their streams have come.
    pub fn all(&mut self) -> Vec<Joined> {
        self.next(usize::MAX, |_| true)
    }

    /// The next images, at most so many: those whose streams have all passed them, and whose pieces are all there.
    pub fn next(&mut self, at_most: usize, is_there: impl Fn(&Joined) -> bool) -> Vec<Joined> {
        let mut images = Vec::new();
        let mut held: BTreeSet<usize> = BTreeSet::new();
        self.pass();
        let mut heads: BTreeSet<(EventId, usize)> =
            (0..self.streams.len()).filter_map(|at| self.head(at).map(|id| (id, at))).collect();
        while images.len() < at_most {
            let Some((id, at)) = heads.pop_first() else { break };
            if held.contains(&at) {
                continue;
            }
            if self.is_image((at, self.taken[at])) && !self.done.contains(&id) {
                let joined = if self.is_whole(&id) { self.joined(&id) } else { None };
                let Some(joined) = joined.filter(&is_there) else {
                    // Nothing behind it in this stream is taken before it.
                    held.insert(at);
                    continue;
                };
                self.done.insert(id);
                images.push(joined);
            }
            self.taken[at] += 1;
            heads.extend(self.head(at).map(|id| (id, at)));
        }
        self.pass();
        images
    }

    /// The first event of a stream that is not taken.
    fn head(&self, at: usize) -> Option<EventId> {
        let events = &self.streams[at].found.events;
        self.gives(at).then(|| events.get(self.taken[at]).map(|event| event.id.clone())).flatten()
    }

    /// Passes what is taken already at the head of each stream.
    fn pass(&mut self) {
        for at in (0..self.streams.len()).filter(|at| self.gives(*at)).collect::<Vec<_>>() {
            let events = &self.streams[at].found.events;
            let is_passed = |event: &Event| event.role != Role::Detector || self.done.contains(&event.id);
            while events.get(self.taken[at]).is_some_and(is_passed) {
                self.taken[at] += 1;
            }
        }
    }

    /// Whether a stream gives images.
    fn gives(&self, at: usize) -> bool {
        self.streams[at].found.role == Role::Detector
    }

    fn is_image(&self, (stream, event): (usize, usize)) -> bool {
        self.streams[stream].found.events[event].role == Role::Detector
    }

    /// Whether nothing more of this event can come.
    fn is_whole(&self, id: &EventId) -> bool {
        if is_in_one(id) {
            return true;
        }
        let places = self.by_event.get(id).map(Vec::as_slice).unwrap_or_default();
        self.streams.iter().enumerate().all(|(at, stream)| {
            let found = &stream.found;
            stream.is_closed()
                || (found.role == Role::Nothing && !found.configured.is_empty())
                || places.iter().any(|(stream, _)| *stream == at)
                || found.passed.as_ref().is_some_and(|passed| *passed >= *id)
        })
    }

    fn joined(&mut self, id: &EventId) -> Option<Joined> {
        let places = self.by_event.get(id)?.clone();
        let together = !is_in_one(id);
        let mut extents = Vec::new();
        let mut shot = ShotData::default();
        let mut epochs: BTreeMap<usize, usize> = BTreeMap::new();
        for (at, number) in &places {
            let event = &self.streams[*at].found.events[*number];
            extents.extend(event.extents.iter().cloned());
            epochs.insert(*at, event.epoch);
            if shot.is_empty() {
                shot = event.shot.clone();
            }
        }
        if together {
            for (at, stream) in self.streams.iter().enumerate().filter(|(at, _)| self.gives(*at)) {
                let before = || stream.found.configured.iter().take_while(|one| one.from <= *id).count();
                epochs.entry(at).or_insert_with(before);
            }
        }
        extents.sort();
        let (configure, names_epoch) = self.configuration(epochs.into_iter().collect());
        Some(Joined { event: id.clone(), extents, configure, names_epoch, shot })
    }

    /// The places of these epochs of streams.
    fn configuration(&mut self, epochs: Vec<(usize, usize)>) -> Configured {
        if let Some(known) = self.configurations.get(&epochs) {
            return known.clone();
        }
        let of = |(at, epoch): &(usize, usize)| {
            self.streams[*at].found.configured.iter().take(*epoch).map(|one| one.place.clone())
        };
        let places: Arc<[ConfigurePlace]> = epochs.iter().flat_map(of).collect();
        let folded = epoch(&places);
        self.configurations.insert(epochs, (places.clone(), folded));
        (places, folded)
    }
}

/// Whether all of an image is in one stream: whole images are, and LCLS-I puts a whole event into one.
fn is_in_one(id: &EventId) -> bool {
    matches!(id, EventId::Time { fiducial: Some(_), .. } | EventId::Frame { .. })
}

/// A hash of what decodes an image: images with the same one share their tables.
pub(super) fn epoch(places: &[ConfigurePlace]) -> u32 {
    let text = |place: &ConfigurePlace| format!("{}@{}+{};", place.lfn, place.offset, place.length);
    let hash = stable_hash(places.iter().map(text).collect::<Vec<_>>().concat().as_bytes());
    u32::try_from((hash >> 32) ^ (hash & 0xffff_ffff)).expect("32 bits are left")
}
