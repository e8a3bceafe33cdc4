//! Moves runs' images that are not worked yet from one site to another: a member of the first site's groups takes them, and
//! in one transaction they go to the second site, others' images back to the end of the first one's topic, and the group's
//! position past them. Whoever held them before cannot commit them any more.
//!
//! The transaction of a run's images has the run's own transactional id, as its publication has: neither can come between
//! the other's reading of how far the run is and its writing.

mod line;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use lightrail_topics::events::{Image, Indexed};
use lightrail_topics::kafka::{
    Admin, GroupMetadata, KafkaError, Position, PublishError, Publisher, Taken, Taker, TakerEvent,
    TakerSettings, Timeouts, fold_to_end,
};
use lightrail_topics::{
    Event, Experiment, ImageInTrial, Message, Record, RunInTrial, SiteName, Topic, decode, message,
};

use self::line::{Batch, Line, batch};
use super::progress::{Kept, Progress, Step};
use super::publish::{Place, SOURCE, now, read_kept, transactional_id};
use crate::trial::Runs;
use crate::work::decide::Lane;

/// What is to be moved.
#[derive(Clone, Debug)]
pub struct Reroute {
    /// Of this experiment.
    pub experiment: Experiment,
    /// These of its runs.
    pub runs: Runs,
    /// From this site.
    pub from: SiteName,
    /// To this one.
    pub to: SiteName,
}

/// What was moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Images that are now the second site's, by run and trial.
    pub images: BTreeMap<RunInTrial, u64>,
    /// Others' images that were put back.
    pub put_back: u64,
}

/// Why it could not be done, or not to the end. What was moved until then is moved whole.
#[derive(Debug, thiserror::Error)]
pub enum RerouteError {
    /// Kafka does not do it.
    #[error("kafka does not do it")]
    Kafka(#[from] KafkaError),
    /// Kafka does not take it.
    #[error("kafka does not take the images")]
    Publish(#[from] PublishError),
    /// Another process has taken our place in the group.
    #[error("another process has taken our place in the group: {0}")]
    Fenced(String),
}

/// Most images of one transaction.
const AT_ONCE: usize = 500;
/// A member that was silent for so long is dead to the group; it stays so long after it has left.
const SESSION: Duration = Duration::from_secs(6);
/// How long a failed transaction waits before it is tried again.
const RETRY: Duration = Duration::from_millis(300);

/// Moves them; ends when both groups of the first site have passed what was on their topics when it began.
pub async fn reroute(place: &Place, asked: &Reroute) -> Result<Moved, RerouteError> {
    let mut moving = Moving::new(place, asked);
    for lane in Lane::ALL {
        moving.lane(lane).await?;
    }
    moving.hand_over().await?;
    Ok(moving.moved)
}

/// One of the first site's topics with its group.
struct Side {
    lane: Lane,
    topic: String,
    group: String,
}

struct Moving<'p> {
    place: &'p Place,
    asked: &'p Reroute,
    admin: Admin,
    kept: Kept,
    publishers: HashMap<Option<RunInTrial>, Publisher>,
    /// Spreads what is moved.
    count: usize,
    moved: Moved,
}

impl<'p> Moving<'p> {
    fn new(place: &'p Place, asked: &'p Reroute) -> Self {
        let admin = Admin::new(&place.connection, Duration::from_secs(20));
        let (publishers, moved) = (HashMap::new(), Moved::default());
        Self { place, asked, admin, kept: Kept::default(), publishers, count: 0, moved }
    }

    fn is_asked(&self, of: &RunInTrial) -> bool {
        of.run.experiment == self.asked.experiment && self.asked.runs.contains(of.run.run)
    }

    /// One of the two topics.
    async fn lane(&mut self, lane: Lane) -> Result<(), RerouteError> {
        let topics = &self.place.topics;
        let side = Side {
            lane,
            topic: topics.name(lane.channel(&self.asked.from)),
            group: lane.group(topics, &self.asked.from),
        };
        let ends = self.ends(&side).await?;
        if ends.is_empty() {
            return Ok(());
        }
        let settings = TakerSettings {
            group: side.group.clone(),
            instance: format!("reroute-{:08x}", fastrand::u32(..)),
            session_timeout: SESSION,
            topic: side.topic.clone(),
            capacity: 4 * AT_ONCE,
            hand_over: Duration::from_secs(2),
        };
        let connection = self.place.connection.named("lightrail-reroute");
        let (taker, mut taken) = Taker::join(&connection, &settings)?;
        let outcome = self.take(&side, &ends, &mut taken).await;
        taker.leave().await;
        outcome
    }

    /// Per partition the offset after its last image, where the group is not past it.
    async fn ends(&self, side: &Side) -> Result<BTreeMap<i32, i64>, KafkaError> {
        let topics = std::slice::from_ref(&side.topic);
        let from: BTreeMap<(String, i32), i64> =
            self.admin.committed(&side.group, topics).await?.into_iter().collect();
        let marks = self.admin.watermarks(&side.topic).await?;
        // What the topic no longer holds was worked or is lost: reading begins at what it has.
        let from = from.into_iter().filter(|((_, partition), at)| {
            marks.iter().any(|(this, first, end)| this == partition && (first..=end).contains(&at))
        });
        let take = |ends: &mut BTreeMap<i32, i64>, record: Record| {
            ends.insert(record.partition, record.offset + 1);
        };
        let limit = self.place.patience.max(Duration::from_secs(300));
        fold_to_end(&self.place.connection, topics, &from.collect(), limit, BTreeMap::new(), take).await
    }

    async fn take(
        &mut self,
        side: &Side,
        ends: &BTreeMap<i32, i64>,
        taken: &mut Taken,
    ) -> Result<(), RerouteError> {
        let mut lines: BTreeMap<i32, Line> = BTreeMap::new();
        let mut member: Option<GroupMetadata> = None;
        let mut worked: Option<HashSet<ImageInTrial>> = None;
        let mut look = tokio::time::interval(Duration::from_millis(500));
        'next: loop {
            if let Some(group_member) = &member
                && let Some((partition, batch)) = self.next(&lines)
            {
                let note = lines.get(&partition).map(|line| line.note.clone()).unwrap_or_default();
                // What is not committed is tried again, unless its partition has gone meanwhile.
                if self.transact(side, (partition, note), &batch, group_member.clone()).await? {
                    if let Some(line) = lines.get_mut(&partition) {
                        line.passed(batch.next);
                    }
                    self.count_moved(&batch);
                }
            }
            let has_work = member.is_some() && self.next(&lines).is_some();
            tokio::select! {
                biased;
                event = taken.next() => match event {
                    None => return Err(KafkaError::Fatal("the taker has ended".to_owned()).into()),
                    Some(TakerEvent::Given(given)) => {
                        lines = given.partitions.iter().map(|begin| (begin.partition, Line::new(begin))).collect();
                        if lines.values().any(Line::is_lost) && worked.is_none() {
                            tracing::warn!(group = side.group, "the group has no position in some partitions; results are read");
                            worked = Some(self.worked().await?);
                        }
                        member = Some(given.group);
                    }
                    Some(TakerEvent::Taken(_release)) => {
                        lines.clear();
                        member = None;
                    }
                    Some(TakerEvent::Record(record)) => {
                        let is_wanted = ends.get(&record.partition).is_some_and(|end| record.offset < *end);
                        if let Some(line) = lines.get_mut(&record.partition).filter(|_| is_wanted) {
                            let what = decode(&self.place.topics, &record);
                            line.push(&record, what, worked.as_ref());
                        }
                    }
                    Some(TakerEvent::Fault(fault)) if fault.is_retriable() => {
                        tracing::warn!(error = %fault, "kafka does not answer well");
                    }
                    Some(TakerEvent::Fault(fault)) => return Err(fault.into()),
                    Some(TakerEvent::Fenced(why)) => return Err(RerouteError::Fenced(why)),
                },
                _ = look.tick(), if !has_work => {
                    for (partition, end) in ends {
                        if self.committed(side, *partition).await?.is_none_or(|at| at < *end) {
                            continue 'next;
                        }
                    }
                    return Ok(());
                }
                () = std::future::ready(()), if has_work => {}
            }
        }
    }

    fn next(&self, lines: &BTreeMap<i32, Line>) -> Option<(i32, Batch)> {
        lines.iter().find_map(|(partition, line)| {
            let of = |image: &Image| {
                let of = RunInTrial { run: image.image.run.clone(), trial: image.trial };
                self.is_asked(&of).then_some(of)
            };
            Some((*partition, batch(line, AT_ONCE, of)?))
        })
    }

    fn count_moved(&mut self, batch: &Batch) {
        self.moved.put_back += batch.others.len() as u64;
        if let Some(of) = &batch.of {
            *self.moved.images.entry(of.clone()).or_default() += batch.moved.len() as u64;
        }
    }

    /// One transaction; false when nothing of it stands.
    async fn transact(
        &mut self,
        side: &Side,
        (partition, note): (i32, String),
        batch: &Batch,
        member: GroupMetadata,
    ) -> Result<bool, RerouteError> {
        let lane = side.lane;
        let mut messages: Vec<(Message, Option<i32>)> = Vec::new();
        if let Some(of) = &batch.of {
            let progress = self.progress(of).await?;
            let count = batch.moved.len() as u64;
            messages
                .extend(self.move_counts(of, &progress, count).into_iter().map(|message| (message, None)));
        } else {
            self.publisher(None).await?;
        }
        let to = lane.channel(&self.asked.to);
        let partitions = self.admin.partitions(&self.place.topics.name(&to)).await?.len().max(1);
        for (image, at) in &batch.moved {
            let image = Image { site: self.asked.to.clone(), ..image.clone() };
            let place = i32::try_from(self.count % partitions).ok();
            self.count += 1;
            messages.push((message::image(&image, lane.topic(), SOURCE, *at), place));
        }
        for (image, at) in &batch.others {
            messages.push((message::image(image, lane.topic(), SOURCE, *at), Some(partition)));
        }
        for letter in &batch.dead {
            messages.push((message::dead_letter(letter, SOURCE, letter.at), None));
        }
        let position = Position { topic: side.topic.clone(), partition, next: batch.next, note };
        let Some(publisher) = self.publishers.get(&batch.of) else { return Ok(false) };
        let Err(error) = publisher.publish_to(messages, Some((vec![position], member))).await else {
            return Ok(true);
        };
        tracing::warn!(%error, "a transaction was not committed");
        if error.needs_new_publisher() {
            self.publishers.remove(&batch.of);
            // Whether it stands is known once a successor has ended it: the group's position tells.
            self.publisher(batch.of.clone()).await?;
            return Ok(self.committed(side, partition).await?.is_some_and(|at| at >= batch.next));
        }
        tokio::time::sleep(RETRY).await;
        Ok(false)
    }

    /// The group's position in a partition.
    async fn committed(&self, side: &Side, partition: i32) -> Result<Option<i64>, KafkaError> {
        let committed = self.admin.committed(&side.group, std::slice::from_ref(&side.topic)).await?;
        Ok(committed.get(&(side.topic.clone(), partition)).copied())
    }

    /// A publisher under a run's own transactional id, or under ours.
    async fn publisher(&mut self, of: Option<RunInTrial>) -> Result<(), RerouteError> {
        if self.publishers.contains_key(&of) {
            return Ok(());
        }
        let place = self.place;
        let id = match &of {
            Some(of) => transactional_id(&place.topics, of),
            None => format!("{}.reroute.{}", place.topics.name(Topic::ImagesIndexed), self.asked.from),
        };
        let publisher = Publisher::start(&place.connection, &place.topics, &id, Timeouts::default())?;
        publisher.init(place.patience).await?;
        self.publishers.insert(of, publisher);
        Ok(())
    }

    /// How far a run is. Read after its publisher has fenced every other, and again when one has fenced ours.
    async fn progress(&mut self, of: &RunInTrial) -> Result<Progress, RerouteError> {
        self.publisher(Some(of.clone())).await?;
        let kept = std::mem::take(&mut self.kept);
        self.kept = read_kept(&self.place.connection, &self.place.topics, kept, self.place.patience).await?;
        Ok(self.kept.of(of))
    }

    /// Images of a run go from one site's count to the other's, and its files' positions with them: from now on the second site
    /// publishes what a correction brings.
    fn move_counts(&self, of: &RunInTrial, progress: &Progress, images: u64) -> Vec<Message> {
        let at = now();
        let (Some(from), to) = (progress.at(&self.asked.from), progress.at(&self.asked.to)) else {
            return Vec::new();
        };
        let left = Indexed {
            number: from.number + 1,
            images: from.images.saturating_sub(images),
            positions: Vec::new(),
            at,
            ..from.clone()
        };
        let positions = match to {
            Some(to) if !to.positions.is_empty() => to.positions.clone(),
            _ => from.positions.clone(),
        };
        let newer = to.filter(|to| !to.positions.is_empty()).unwrap_or(from);
        let step = Step { state: newer.state, manifest: newer.manifest.clone(), positions };
        let taken = progress.next(of, &self.asked.to, from.live, images, step, at);
        vec![message::indexed(&left, SOURCE, at), message::indexed(&taken, SOURCE, at)]
    }

    /// Runs of which nothing was left to be moved are the second site's too from now on.
    async fn hand_over(&mut self) -> Result<(), RerouteError> {
        let kept = std::mem::take(&mut self.kept);
        self.kept = read_kept(&self.place.connection, &self.place.topics, kept, self.place.patience).await?;
        let all: Vec<RunInTrial> = self
            .kept
            .all()
            .filter(|(of, progress)| self.is_asked(of) && progress.owner() == Some(&self.asked.from))
            .map(|(of, _)| of.clone())
            .collect();
        for of in all {
            let progress = self.progress(&of).await?;
            if progress.owner() == Some(&self.asked.from) {
                let messages = self.move_counts(&of, &progress, 0);
                if let Some(publisher) = self.publishers.get(&Some(of.clone())) {
                    publisher.publish(messages).await?;
                }
                self.moved.images.entry(of).or_default();
            }
        }
        Ok(())
    }

    /// Images that have results.
    async fn worked(&self) -> Result<HashSet<ImageInTrial>, KafkaError> {
        let names = [self.place.topics.name(Topic::Results)];
        let take = |found: &mut HashSet<ImageInTrial>, record: Record| {
            let key = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
            found.extend(key.and_then(|key| key.parse().ok()));
        };
        let limit = self.place.patience.max(Duration::from_secs(600));
        fold_to_end(&self.place.connection, &names, &BTreeMap::new(), limit, HashSet::new(), take).await
    }
}

/// Whether an event is an image.
fn image_of(event: &Event) -> Option<&Image> {
    if let Event::Image(_, image) = event { Some(image) } else { None }
}
