//! An independent reader of what index and workers say, read committed, from the beginning; and the rules that must hold of it:
//! each image of a run published once and with exactly one result, progress that says the same number, hits that are true.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use lightrail_compose::play::TrueImage;
use lightrail_compose::wait;
use lightrail_topics::events::{ImageResult, IndexState, Indexed, Outcome};
use lightrail_topics::kafka::{Connection, read_to_end};
use lightrail_topics::{Event, RunInTrialAtSite, RunKey, SiteName, SiteTopic, Topic, decode};

use crate::analysis::TRIAL;
use crate::stage::Stage;

/// What is true of a run's images, by event.
pub type Truth = BTreeMap<String, TrueImage>;

/// With so many spots that can be found an image is a hit, whatever else.
const SURELY_A_HIT: usize = 20;

/// Everything committed at a moment.
#[derive(Clone, Debug, Default)]
pub struct Images {
    /// How often each image was published, by run and event.
    pub published: BTreeMap<RunKey, BTreeMap<String, usize>>,
    /// The results of each image, by run and event.
    pub results: BTreeMap<RunKey, BTreeMap<String, Vec<ImageResult>>>,
    /// Each run's progress as it was said, in order.
    pub indexed: BTreeMap<RunInTrialAtSite, Vec<Indexed>>,
}

impl Images {
    /// Reads all that is committed now, by a consumer that begins anew.
    ///
    /// # Errors
    /// When it cannot be read or understood.
    pub async fn account(stage: &Stage, site: &SiteName) -> anyhow::Result<Self> {
        let connection = Connection::plain(stage.bootstrap(), "images-witness");
        let names = [
            stage.topics.name(SiteTopic::ImagesLive.at(site)),
            stage.topics.name(Topic::ImagesIndexed),
            stage.topics.name(Topic::Results),
        ];
        let records = read_to_end(&connection, &names, &BTreeMap::new(), Duration::from_secs(60)).await;
        let mut images = Self::default();
        for record in records.context("the analysis' topics cannot be read")? {
            match decode(&stage.topics, &record)? {
                Event::Image(_, image) => {
                    let of_run = images.published.entry(image.image.run.clone()).or_default();
                    *of_run.entry(image.image.event.to_string()).or_default() += 1;
                }
                Event::Result(result) => {
                    let of_run = images.results.entry(result.image.run.clone()).or_default();
                    of_run.entry(result.image.event.to_string()).or_default().push(result);
                }
                Event::Indexed(indexed) => images.indexed.entry(indexed.key()).or_default().push(indexed),
                Event::Settled => {}
                other => anyhow::bail!("{} holds {other:?}", record.topic),
            }
        }
        Ok(images)
    }

    /// Reads again and again until so many images of a run have results.
    ///
    /// # Errors
    /// When they do not within `limit`: how many have.
    pub async fn until(
        stage: &Stage,
        site: &SiteName,
        run: &RunKey,
        wanted: usize,
        limit: Duration,
    ) -> anyhow::Result<Self> {
        let mut there = 0;
        let begin = std::time::Instant::now();
        while begin.elapsed() < limit {
            let images = Self::account(stage, site).await?;
            there = images.results.get(run).map_or(0, BTreeMap::len);
            if there >= wanted {
                // Results may have come since the images were read that they are of.
                return Self::account(stage, site).await;
            }
            let _ = wait::until("a little", Duration::from_millis(200), async || None::<()>).await;
        }
        anyhow::bail!("after {limit:?} {there} images of run {run} have results, not {wanted}")
    }

    /// Everything that must hold of a run that is worked to its end.
    ///
    /// # Errors
    /// Every breach in a line.
    pub fn judge(&self, run: &RunKey, site: &SiteName, truth: &Truth) -> anyhow::Result<()> {
        let mut breaches = Vec::new();
        let taken: BTreeSet<&String> = truth.keys().collect();
        let empty = BTreeMap::new();
        let published = self.published.get(run).unwrap_or(&empty);
        if published.keys().collect::<BTreeSet<_>>() != taken {
            breaches.push(format!("{} images were published, {} were taken", published.len(), taken.len()));
        }
        if let Some((event, often)) = published.iter().find(|(_, often)| **often != 1) {
            breaches.push(format!("image {event} was published {often} times"));
        }
        let none = BTreeMap::new();
        let results = self.results.get(run).unwrap_or(&none);
        if results.keys().collect::<BTreeSet<_>>() != taken {
            breaches.push(format!("{} images have results, {} were taken", results.len(), taken.len()));
        }
        if let Some((event, several)) = results.iter().find(|(_, results)| results.len() != 1) {
            breaches.push(format!("image {event} has {} results: {several:?}", several.len()));
        }
        let key = RunInTrialAtSite {
            of: lightrail_topics::RunInTrial { run: run.clone(), trial: TRIAL },
            site: site.clone(),
        };
        match self.indexed.get(&key).and_then(|said| said.last()) {
            Some(last) if last.state == IndexState::Closed && last.images == taken.len() as u64 => {}
            last => {
                breaches.push(format!("the index said last: {last:?}; {} images were taken", taken.len()))
            }
        }
        for (event, image) in truth {
            let Some(result) = results.get(event).and_then(|results| results.first()) else { continue };
            let right = match result.outcome {
                Outcome::Hit => image.hit,
                Outcome::Miss => image.findable() < SURELY_A_HIT,
                _ => false,
            };
            if !right {
                let (hit, findable) = (image.hit, image.findable());
                breaches.push(format!("in truth hit={hit} with {findable} spots to be found: {result:?}"));
            }
            if result.used.is_none() || result.numbers.photon_energy.is_none() || result.times.read.is_none()
            {
                breaches.push(format!("a result says too little: {result:?}"));
            }
        }
        breaches.truncate(20);
        ensure!(breaches.is_empty(), "run {run}:\n{}", breaches.join("\n"));
        Ok(())
    }

    /// Which workers gave a run's results.
    pub fn workers(&self, run: &RunKey) -> BTreeSet<String> {
        let results = self.results.get(run).into_iter().flat_map(BTreeMap::values).flatten();
        results.map(|result| result.worker.to_string()).collect()
    }
}
