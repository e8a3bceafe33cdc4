//! Who waits for results: reads them committed as they come, and remembers when each came and what it says of its way. Judges
//! nothing.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use lightrail_topics::events::{Outcome, StageTimes};
use lightrail_topics::kafka::Reader;
use lightrail_topics::{Event, ImageInTrial, Topic, Topics, decode};

use super::stand::Stand;
use crate::trip::from_now_on;

/// A result that came.
pub(super) struct Came {
    pub(super) at: Instant,
    pub(super) times: StageTimes,
}

/// When results came.
pub(super) struct Watch {
    reader: Reader,
    topics: Topics,
    came: HashMap<ImageInTrial, Came>,
    /// In their order.
    times: Vec<Instant>,
}

impl Watch {
    /// Results that come from now on. Nobody works meanwhile.
    pub(super) async fn start(stand: &Stand) -> anyhow::Result<Self> {
        let reader = from_now_on(&stand.connection, &stand.topics, Topic::Results).await?;
        Ok(Self { reader, topics: stand.topics.clone(), came: HashMap::new(), times: Vec::new() })
    }

    /// Takes results until there are so many in all; `waits` is how long none may come.
    pub(super) async fn until(&mut self, images: usize, waits: Duration) -> anyhow::Result<()> {
        while self.times.len() < images {
            let there = self.times.len();
            let next = tokio::time::timeout(waits, self.reader.next()).await;
            let record = next
                .with_context(|| format!("after {there} of {images} results none came for {waits:?}"))?
                .context("the reader has ended")??;
            let now = Instant::now();
            match decode(&self.topics, &record)? {
                Event::Result(result) => {
                    let is_good = matches!(result.outcome, Outcome::Hit | Outcome::Miss);
                    ensure!(is_good, "an image ended badly: {result:?}");
                    let key = result.key();
                    let came = Came { at: now, times: result.times };
                    ensure!(self.came.insert(key.clone(), came).is_none(), "a second result: {key}");
                    self.times.push(now);
                }
                Event::Settled => {}
                other => anyhow::bail!("{other:?} is no result"),
            }
        }
        Ok(())
    }

    /// Takes so many results, whatever they say, and remembers none.
    pub(super) async fn pass(&mut self, mut images: usize, waits: Duration) -> anyhow::Result<()> {
        while images > 0 {
            let next = tokio::time::timeout(waits, self.reader.next()).await;
            let record = next
                .with_context(|| format!("{images} results are missing, none came for {waits:?}"))?
                .context("the reader has ended")??;
            images -= usize::from(matches!(decode(&self.topics, &record)?, Event::Result(_)));
        }
        Ok(())
    }

    /// Forgets what came: only what comes from now on counts.
    pub(super) fn forget(&mut self) {
        self.came.clear();
        self.times.clear();
    }

    /// An image's result.
    pub(super) fn of(&self, image: &ImageInTrial) -> Option<&Came> {
        self.came.get(image)
    }

    /// When the last one came.
    pub(super) fn last(&self) -> Option<Instant> {
        self.times.last().copied()
    }

    /// Results a second between the first tenth and the last: neither the start nor the end of a burst counts.
    #[allow(clippy::cast_precision_loss)] // numbers of images
    pub(super) fn rate(&self) -> Option<f64> {
        let (from, to) = (self.times.len() / 10, self.times.len() * 9 / 10);
        let took = self.times.get(to)?.duration_since(*self.times.get(from)?);
        Some((to - from) as f64 / took.as_secs_f64())
    }
}
