//! One stream of a run, read from its index file (LCLS-II smd, LCLS-I smd or idx) or, where it has none, from the headers of
//! its big files: where each event of a detector lies, and what it is decoded with. Pure: says which bytes it wants next.

mod lcls1;
mod lcls2;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use lightrail_topics::events::{ConfigurePlace, Extent, IndexPosition, ShotData};
use lightrail_topics::{EventId, FileKind, Fingerprint, Generation, Lfn};
use sha2::{Digest as _, Sha256};

use super::Joined;
use crate::formats::FormatError;

/// What a stream gives to an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Pixels of the detector: its events are images.
    Detector,
    /// What is said of the shot only, such as the beam's energy.
    Shot,
    /// Nothing.
    Nothing,
}

/// One event of a stream.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Event {
    pub(super) id: EventId,
    /// Its pieces.
    pub(super) extents: Vec<Extent>,
    /// So many of the stream's configuration places hold for it.
    pub(super) epoch: usize,
    pub(super) role: Role,
    /// What the small data say of its shot.
    pub(super) shot: ShotData,
    /// Where it ends in the index file.
    pub(super) until: u64,
}

/// A place of the stream's configuration, and from which event on it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Configured {
    pub(super) from: EventId,
    pub(super) place: ConfigurePlace,
}

/// The bytes that a stream wants next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// Of this file.
    pub lfn: Lfn,
    /// From here on.
    pub offset: u64,
    /// So many, or all that there are.
    pub length: Option<u64>,
}

/// What was found in a stream so far.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// The detector whose images are wanted.
    pub(super) detector: String,
    /// The events that give something to images, in the file's order.
    pub(super) events: Vec<Event>,
    /// Its configuration, in the file's order.
    pub(super) configured: Vec<Configured>,
    /// What it gives as of now.
    pub(super) role: Role,
    /// The newest event, whether or not it gives something.
    pub(super) passed: Option<EventId>,
    /// The detectors of which it has images, where its configuration tells.
    pub(super) detectors: BTreeSet<String>,
}

impl Found {
    fn of(detector: &str) -> Self {
        Self {
            detector: detector.to_owned(),
            events: Vec::new(),
            configured: Vec::new(),
            role: Role::Nothing,
            passed: None,
            detectors: BTreeSet::new(),
        }
    }
}

#[derive(Clone, Debug)]
enum Reader {
    Lcls2Small(lcls2::Small),
    Lcls2Big(lcls2::Big),
    Lcls1Small(lcls1::Small),
    Lcls1Index(lcls1::Idx),
    /// So many whole images, read elsewhere.
    Whole(u64),
}

/// One stream of a run.
#[derive(Clone, Debug)]
pub struct Stream {
    lfn: Lfn,
    generation: Option<Generation>,
    reader: Reader,
    pub(super) found: Found,
    closed: bool,
    faults: Vec<String>,
}

impl Stream {
    /// The stream that a file indexes, for images of `detector`; `None` for a file that indexes nothing.
    pub fn of(lfn: &Lfn, detector: &str) -> Option<Self> {
        let lfn = lfn.finished();
        let is_lcls2 = lfn.file_name().rsplit_once('.').is_some_and(|(_, end)| end == "xtc2");
        let reader = match (lfn.kind(), is_lcls2) {
            (FileKind::Smd, true) => Reader::Lcls2Small(lcls2::Small::of(&lfn)?),
            (FileKind::Xtc, true) => Reader::Lcls2Big(lcls2::Big::of(&lfn)),
            (FileKind::Smd, false) => Reader::Lcls1Small(lcls1::Small::of(&lfn)?),
            (FileKind::Idx, _) => Reader::Lcls1Index(lcls1::Idx::of(&lfn)?),
            _ => return None,
        };
        let found = Found::of(detector);
        Some(Self { lfn, generation: None, reader, found, closed: false, faults: Vec::new() })
    }

    /// Whole images as a stream under a file's name, all read already; of bytes in it the number of images is meant. All have
    /// the configuration of the first.
    pub fn of_whole(lfn: &Lfn, images: Vec<Joined>) -> Self {
        let reader = Reader::Whole(images.len() as u64);
        let mut found = Found { role: Role::Detector, ..Found::of("") };
        if let Some(first) = images.first() {
            let configured =
                |place: &ConfigurePlace| Configured { from: first.event.clone(), place: place.clone() };
            found.configured = first.configure.iter().map(configured).collect();
        }
        for (until, image) in (1..).zip(images) {
            let Joined { event: id, extents, shot, .. } = image;
            let (epoch, role) = (found.configured.len(), Role::Detector);
            found.events.push(Event { id, extents, epoch, role, shot, until });
        }
        Self { lfn: lfn.clone(), generation: None, reader, found, closed: true, faults: Vec::new() }
    }

    /// The same with something that was wrong with its file.
    #[must_use]
    pub fn with_fault(mut self, what: impl std::fmt::Display) -> Self {
        self.faults.push(format!("{}: {what}", self.lfn));
        self
    }

    /// The same as of this registration of its file.
    #[must_use]
    pub fn registered(mut self, generation: Option<Generation>) -> Self {
        self.generation = generation;
        self
    }

    /// The index file, by the name that it has when it is done.
    pub fn lfn(&self) -> &Lfn {
        &self.lfn
    }

    /// Which bytes it wants next; `None` when it has read all that it will.
    pub fn wants(&self) -> Option<Want> {
        if self.closed {
            return None;
        }
        match &self.reader {
            Reader::Lcls2Small(small) => Some(small.wants()),
            Reader::Lcls2Big(big) => Some(big.wants()),
            Reader::Lcls1Small(small) => Some(small.wants()),
            Reader::Lcls1Index(index) => index.wants(),
            Reader::Whole(_) => None,
        }
    }

    /// Takes the bytes that it wanted, or as many of them as there were.
    ///
    /// # Errors
    /// Damage: what lay before it is taken, nothing behind it will be.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        let taken = match &mut self.reader {
            Reader::Lcls2Small(small) => small.take(bytes, &mut self.found),
            Reader::Lcls2Big(big) => big.take(bytes, &mut self.found),
            Reader::Lcls1Small(small) => small.take(bytes, &mut self.found),
            Reader::Lcls1Index(index) => index.take(bytes, &mut self.found),
            Reader::Whole(_) => Ok(()),
        };
        if let Err(error) = &taken {
            self.faults.push(format!("{}: {error}", self.lfn));
            self.closed = true;
        } else if matches!(&self.reader, Reader::Lcls1Index(index) if index.wants().is_none()) {
            self.closed = true;
        }
        taken
    }

    /// The file that is wanted ends here: of a stream read from big files, its next chunk is wanted now; any other stream has
    /// no more.
    pub fn end(&mut self) {
        if let Reader::Lcls2Big(big) = &mut self.reader
            && big.next_chunk()
        {
            return;
        }
        self.close();
    }

    /// There will be no more of this stream.
    pub fn close(&mut self) {
        if !self.closed {
            self.closed = true;
            let rest = match &self.reader {
                Reader::Lcls2Small(small) => small.rest(),
                Reader::Lcls2Big(big) => big.rest(),
                Reader::Lcls1Small(small) => small.rest(),
                Reader::Lcls1Index(index) => index.rest(),
                Reader::Whole(_) => None,
            };
            self.faults.extend(rest.map(|what| format!("{}: {what}", self.lfn)));
        }
    }

    /// Has found nothing, and will not.
    pub(super) fn forget(&mut self) {
        self.found = Found::of(&self.found.detector);
        self.closed = true;
    }

    /// Whether no more will come.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// What was wrong with its files.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// How many events of the detector it has.
    pub fn images(&self) -> usize {
        if self.found.role == Role::Detector { self.found.events.len() } else { 0 }
    }

    /// The detectors of which it has images, where its configuration tells.
    pub fn detectors(&self) -> impl Iterator<Item = &str> {
        self.found.detectors.iter().map(String::as_str)
    }

    /// As which registration of its file it is read.
    pub fn generation(&self) -> Option<Generation> {
        self.generation
    }

    /// The big file beside an index file, from which the stream can be read where that one is damaged: LCLS-II only.
    pub fn big_file(&self) -> Option<Lfn> {
        big_beside(&self.lfn, ".smd.xtc2", ".xtc2")
    }

    /// Where all bytes are taken.
    fn position(&self) -> u64 {
        match &self.reader {
            Reader::Lcls2Small(small) => small.position(),
            Reader::Lcls2Big(big) => big.position(),
            Reader::Lcls1Small(small) => small.position(),
            Reader::Lcls1Index(index) => index.position(),
            Reader::Whole(count) => *count,
        }
    }

    /// The stream as far as its first `taken` events are.
    pub(super) fn at(&self, taken: usize) -> IndexPosition {
        let offset = match self.found.events.get(taken) {
            None => self.position(),
            Some(_) => taken.checked_sub(1).map_or(0, |last| self.found.events[last].until),
        };
        IndexPosition {
            lfn: self.lfn.clone(),
            generation: self.generation,
            offset,
            events: taken as u64,
            digest: self.digest(taken),
        }
    }

    /// A hash of the ids of the first `count` events.
    pub(super) fn digest(&self, count: usize) -> Fingerprint {
        let mut hash = Sha256::new();
        for event in self.found.events.iter().take(count) {
            match &event.id {
                EventId::Time { seconds, nanoseconds, fiducial } => {
                    hash.update(seconds.to_le_bytes());
                    hash.update(nanoseconds.to_le_bytes());
                    hash.update(fiducial.unwrap_or(u32::MAX).to_le_bytes());
                }
                EventId::Frame { file, frame } => {
                    hash.update(file.as_str());
                    hash.update([0]);
                    hash.update(frame.to_le_bytes());
                }
            }
        }
        fingerprint(&hash.finalize()[..16])
    }
}

/// Bytes of a hash as their digits.
pub(super) fn fingerprint(bytes: &[u8]) -> Fingerprint {
    let digits = bytes.iter().fold(String::new(), |mut digits, byte| {
        // Writing to a String never fails.
        let _ = write!(digits, "{byte:02x}");
        digits
    });
    digits.parse().expect("8 to 32 bytes are 16 to 64 digits")
}

/// The big file beside an index file: `smalldata/<name><from>` or `index/<name><from>` becomes `<name><to>`.
fn big_beside(lfn: &Lfn, from: &str, to: &str) -> Option<Lfn> {
    let name = lfn.file_name().strip_suffix(from)?;
    let folder = lfn.folder();
    let folder = ["smalldata/", "index/"].iter().find_map(|end| folder.strip_suffix(end)).unwrap_or(folder);
    format!("{folder}{name}{to}").parse().ok()
}

/// Another file in the folder of `lfn`.
fn beside(lfn: &Lfn, name: &str) -> Option<Lfn> {
    format!("{}{name}", lfn.folder()).parse().ok()
}
