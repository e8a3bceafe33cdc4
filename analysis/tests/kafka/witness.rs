//! Counts results as anybody could: reads what is committed on `results`, knows nothing of workers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::ensure;
use lightrail_compose::wait;
use lightrail_topics::events::{Image, ImageResult, Outcome};
use lightrail_topics::kafka::{Connection, fold_to_end};
use lightrail_topics::{Event, Millis, Topic, Topics, decode};

/// Who counts.
#[derive(Debug)]
pub(crate) struct Witness {
    connection: Connection,
    topics: Topics,
    next: BTreeMap<(String, i32), i64>,
    /// All results, by image and trial; more than one where something is wrong.
    pub(crate) results: BTreeMap<String, Vec<ImageResult>>,
    /// When each was worked.
    pub(crate) times: BTreeMap<String, Millis>,
}

impl Witness {
    pub(crate) fn new(connection: &Connection, topics: &Topics) -> Self {
        let connection = connection.named("witness");
        let (next, results, times) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { connection, topics: topics.clone(), next, results, times }
    }

    /// Reads what has come.
    pub(crate) async fn look(&mut self) -> anyhow::Result<()> {
        let name = self.topics.name(Topic::Results);
        let limit = Duration::from_secs(60);
        let records =
            fold_to_end(&self.connection, &[name], &self.next, limit, Vec::new(), Vec::push).await?;
        for record in records {
            self.next.insert((record.topic.to_string(), record.partition), record.offset + 1);
            match decode(&self.topics, &record)? {
                Event::Result(result) => {
                    let key = result.key().to_string();
                    self.times.extend(record.ce_time().map(|at| (key.clone(), at)));
                    self.results.entry(key).or_default().push(result);
                }
                Event::Settled => {}
                other => anyhow::bail!("{other:?} is no result"),
            }
        }
        Ok(())
    }

    /// Waits until so many images have results.
    pub(crate) async fn until(&mut self, images: usize, limit: Duration) -> anyhow::Result<()> {
        let begin = std::time::Instant::now();
        loop {
            self.look().await?;
            if self.results.len() >= images {
                return Ok(());
            }
            let (there, late) = (self.results.len(), begin.elapsed() >= limit);
            ensure!(!late, "after {limit:?} there are results of {there} images, not of {images}");
            let pause = Duration::from_millis(200);
            let _ = wait::until("a little", pause, async || None::<()>).await;
        }
    }

    /// Every image has one result, and there is no other.
    pub(crate) fn judge(&self, images: &[Image]) -> anyhow::Result<()> {
        let expected: BTreeSet<String> = images.iter().map(|image| image.key().to_string()).collect();
        let double: Vec<_> = self.results.iter().filter(|(_, results)| results.len() != 1).collect();
        ensure!(double.is_empty(), "{} images have several results, such as {:?}", double.len(), double[0]);
        let missing: Vec<_> = expected.iter().filter(|key| !self.results.contains_key(*key)).collect();
        ensure!(missing.is_empty(), "{} images have no result, such as {}", missing.len(), missing[0]);
        let strange = self.results.keys().find(|key| !expected.contains(*key));
        ensure!(strange.is_none(), "{strange:?} was never published");
        Ok(())
    }

    /// The one result of an image.
    pub(crate) fn of(&self, image: &Image) -> &ImageResult {
        &self.results[&image.key().to_string()][0]
    }

    /// How many results ended so.
    pub(crate) fn count(&self, outcome: Outcome) -> usize {
        self.results.values().flatten().filter(|result| result.outcome == outcome).count()
    }
}
