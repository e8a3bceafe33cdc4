//! The transactions by which images go from one site to another, and what is needed for them: the run's own publisher, how far
//! the run is, and the counts that move with its images.

use std::time::Duration;

use lightrail_topics::events::{Image, Indexed};
use lightrail_topics::kafka::{GroupMetadata, KafkaError, Position, Publisher, Timeouts};
use lightrail_topics::{Message, RunInTrial, Topic, message};

use super::super::kept::read_kept;
use super::super::progress::Step;
use super::super::publish::{SOURCE, now, transactional_id};
use super::line::Batch;
use super::{Moving, RerouteError, Side};
use crate::work::decide::Lane;

/// What one that is killed leaves open hides images from everybody for so long, itself included.
const TIMEOUTS: Timeouts = Timeouts { transaction: Duration::from_secs(8), publish: Duration::from_secs(6) };
/// How long a failed transaction waits before it is tried again.
const RETRY: Duration = Duration::from_millis(300);

impl Moving<'_> {
    /// One transaction; false when nothing of it stands.
    pub(super) async fn transact(
        &mut self,
        side: &Side,
        (partition, note): (i32, String),
        batch: &Batch,
        member: GroupMetadata,
    ) -> Result<bool, RerouteError> {
        let lane = side.lane;
        let mut messages: Vec<(Message, Option<i32>)> = Vec::new();
        self.publisher(batch.of.clone()).await?;
        let counts = match &batch.of {
            Some(of) => self.move_counts(of, batch.moved.len() as u64),
            None => Vec::new(),
        };
        messages.extend(counts.iter().map(|indexed| (message::indexed(indexed, SOURCE, indexed.at), None)));
        for (image, at) in &batch.moved {
            let image = Image { site: self.asked.to.clone(), ..image.clone() };
            let place = i32::try_from(self.count % self.partitions).ok();
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
            for indexed in counts {
                self.kept.put(indexed);
            }
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
    pub(super) async fn committed(&self, side: &Side, partition: i32) -> Result<Option<i64>, KafkaError> {
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
            None => {
                let (from, name) = (&self.asked.from, self.name());
                format!("{}.{from}.{name}", place.topics.name(Topic::ImagesIndexed))
            }
        };
        let stakes = Lane::ALL.map(|lane| lane.stake(&place.topics, &self.asked.from)).to_vec();
        let publisher = Publisher::start_for(&place.connection, &place.topics, &id, TIMEOUTS, stakes)?;
        publisher.init(place.patience).await?;
        if of.is_some() {
            // How far the run is: nobody else can change it any more without fencing us.
            let kept = std::mem::take(&mut self.kept);
            self.kept = read_kept(&place.connection, &place.topics, kept, place.patience).await?;
        }
        self.publishers.insert(of, publisher);
        Ok(())
    }

    /// Images of a run go from one site's count to the other's, and its files' positions with them: from now on the second site
    /// publishes what a correction brings.
    fn move_counts(&self, of: &RunInTrial, images: u64) -> Vec<Indexed> {
        let (at, progress) = (now(), self.kept.of(of));
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
        vec![left, taken]
    }

    /// The runs are the second site's from now on, those too of which nothing is left to be moved.
    pub(super) async fn take_over(&mut self) -> Result<(), RerouteError> {
        let kept = std::mem::take(&mut self.kept);
        self.kept = read_kept(&self.place.connection, &self.place.topics, kept, self.place.patience).await?;
        let all: Vec<RunInTrial> = self
            .kept
            .all()
            .filter(|(of, progress)| self.is_asked(of) && progress.owner() == Some(&self.asked.from))
            .map(|(of, _)| of.clone())
            .collect();
        for of in all {
            self.publisher(Some(of.clone())).await?;
            if self.kept.of(&of).owner() == Some(&self.asked.from) {
                let counts = self.move_counts(&of, 0);
                let messages = counts.iter().map(|indexed| message::indexed(indexed, SOURCE, indexed.at));
                if let Some(publisher) = self.publishers.get(&Some(of.clone())) {
                    publisher.publish(messages.collect()).await?;
                }
                for indexed in counts {
                    self.kept.put(indexed);
                }
                self.moved.images.entry(of).or_default();
            }
        }
        Ok(())
    }
}
