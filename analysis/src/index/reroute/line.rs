//! One partition of a site's images as it is moved: what has come of it, and what goes into the next transaction. Pure.

use std::collections::{HashSet, VecDeque};

use lightrail_topics::events::{DeadLetter, Image};
use lightrail_topics::kafka::Begin;
use lightrail_topics::{DecodeError, Event, ImageInTrial, Millis, Record, RunInTrial};

use super::super::publish::{SOURCE, now};
use super::image_of;
use crate::work::note::Note;

/// What stands at an offset.
#[derive(Clone, Debug)]
enum What {
    /// An image, and when it was published.
    Image(Box<Image>, Millis),
    /// What cannot be understood.
    Dead(Box<DeadLetter>),
    /// Nothing that has to be kept: it has its result, or says nothing.
    Nothing,
}

/// A partition.
#[derive(Debug)]
pub(super) struct Line {
    /// What stands beside the group's position; it stays as it is.
    pub(super) note: String,
    /// Images below this offset may have results: the group's position was lost.
    replay: Option<i64>,
    held: VecDeque<(i64, What)>,
}

impl Line {
    /// A partition that was given.
    pub(super) fn new(begin: &Begin) -> Self {
        // Whoever goes on where we have stopped has to know that a position was lost.
        let (note, replay) = match &begin.committed {
            Some((_, note)) => (note.clone(), Note::parse(note).replay),
            None => {
                let replay = (begin.first < begin.end).then_some(begin.end);
                (Note { replay, ..Note::CLEAN }.to_string(), replay)
            }
        };
        Self { note, replay, held: VecDeque::new() }
    }

    /// Whether images may have results although the group's position is before them.
    pub(super) fn replays(&self) -> bool {
        self.replay.is_some()
    }

    /// A record came; `worked` are images that have results, where the group's position was lost.
    pub(super) fn push(
        &mut self,
        record: &Record,
        what: Result<Event, DecodeError>,
        worked: Option<&HashSet<ImageInTrial>>,
    ) {
        let offset = record.offset;
        let what = match what {
            Ok(event) => match image_of(&event) {
                Some(image)
                    if self.replay.is_some_and(|end| offset < end)
                        && worked.is_some_and(|worked| worked.contains(&image.key())) =>
                {
                    What::Nothing
                }
                Some(image) => {
                    let at = record.ce_time().or(record.timestamp).unwrap_or_else(now);
                    What::Image(Box::new(image.clone()), at)
                }
                None => What::Nothing,
            },
            Err(error) => What::Dead(Box::new(record.dead_letter(&error.reason(), SOURCE, now()))),
        };
        self.held.push_back((offset, what));
    }

    /// What has come and is not committed.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// All before that offset is committed.
    pub(super) fn passed(&mut self, next: i64) {
        while self.held.front().is_some_and(|(offset, _)| *offset < next) {
            self.held.pop_front();
        }
    }
}

/// What goes into one transaction.
#[derive(Clone, Debug, Default)]
pub(super) struct Batch {
    /// The run under its trial whose images are moved, if any are: of one only.
    pub(super) of: Option<RunInTrial>,
    /// They, and when they were published.
    pub(super) moved: Vec<(Image, Millis)>,
    /// Others' images, to be put back.
    pub(super) others: Vec<(Image, Millis)>,
    /// What cannot be understood.
    pub(super) dead: Vec<DeadLetter>,
    /// The group's position afterwards.
    pub(super) next: i64,
}

/// The beginning of a partition, up to the first image of a second run that is to be moved. `of` tells of which run that is to
/// be moved an image is.
pub(super) fn batch(line: &Line, at_most: usize, of: impl Fn(&Image) -> Option<RunInTrial>) -> Option<Batch> {
    let mut batch = Batch::default();
    for (offset, what) in line.held.iter().take(at_most) {
        match what {
            What::Image(image, at) => match of(image) {
                None => batch.others.push(((**image).clone(), *at)),
                Some(this) => {
                    if batch.of.as_ref().is_some_and(|first| *first != this) {
                        break;
                    }
                    batch.of = Some(this);
                    batch.moved.push(((**image).clone(), *at));
                }
            },
            What::Dead(letter) => batch.dead.push((**letter).clone()),
            What::Nothing => {}
        }
        batch.next = offset + 1;
    }
    (batch.next > 0).then_some(batch)
}

#[cfg(test)]
mod tests {
    use lightrail_topics::events::ShotData;
    use lightrail_topics::{SiteTopic, TrialNumber};

    use super::*;

    fn image(run: u32, n: u32) -> Image {
        Image {
            image: format!("mfxx1/{run}/5-{n}").parse().unwrap(),
            trial: TrialNumber(1),
            site: "NERSC".parse().unwrap(),
            extents: Vec::new(),
            configure: Vec::new(),
            names_epoch: 0,
            shot: ShotData::default(),
        }
    }

    fn line(runs: &[u32], committed: bool) -> Line {
        let committed = committed.then(|| (0, "until=9".to_owned()));
        let end = i64::try_from(runs.len()).unwrap();
        let mut line = Line::new(&Begin { partition: 0, committed, first: 0, end });
        let worked = HashSet::from([image(1, 0).key()]);
        for (offset, run) in (0..).zip(runs) {
            let record = Record {
                topic: "images.live.NERSC".into(),
                partition: 0,
                offset,
                key: None,
                value: None,
                headers: Vec::new(),
                timestamp: Some(Millis(7)),
            };
            let image = image(*run, u32::try_from(offset).unwrap());
            line.push(&record, Ok(Event::Image(SiteTopic::ImagesLive, image)), Some(&worked));
        }
        line
    }

    fn asked(image: &Image) -> Option<RunInTrial> {
        let of = RunInTrial { run: image.image.run.clone(), trial: image.trial };
        (of.run.run.0 != 9).then_some(of)
    }

    #[test]
    fn one_transaction_has_images_of_one_run_that_moves_and_those_of_all_others_around_them() {
        let mut line = line(&[9, 1, 9, 1, 2, 9], true);
        let sizes = |batch: &Batch| (batch.moved.len(), batch.others.len(), batch.next);
        let first = batch(&line, 100, asked).unwrap();
        assert_eq!((first.of.as_ref().unwrap().run.run.0, sizes(&first)), (1, (2, 2, 4)));
        line.passed(first.next);
        let second = batch(&line, 100, asked).unwrap();
        assert_eq!((second.of.as_ref().unwrap().run.run.0, sizes(&second)), (2, (1, 1, 6)));
        line.passed(second.next);
        assert!(batch(&line, 100, asked).is_none());
        assert_eq!(line.note, "until=9");
    }

    #[test]
    fn where_a_position_was_lost_what_has_its_result_is_passed() {
        let lost = line(&[1, 1], false);
        assert!(lost.replays() && lost.note.contains("replay=2"), "{}", lost.note);
        let batch = batch(&lost, 100, asked).unwrap();
        assert_eq!((batch.moved.len(), batch.next), (1, 2));
        assert_eq!(batch.moved[0].1, Millis(7), "since when it waits is kept");
    }
}
