//! Follows what trigger and analysis give: a task of its own reads `jobs`, `images.indexed` and `results`, read committed, from the beginning,
//! so that the time of a result is not that of somebody who was busy. The tally is shared with it; no lock is held for long.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use lightrail_topics::kafka::{Admin, Connection, Isolation, Offset, Reader};
use lightrail_topics::topic::{Topic, Topics};
use lightrail_topics::{Event, decode};

use super::analysis::Analysis;
use super::results::Results;
use super::scene::Scene;
use super::watch::Watch;
use crate::logbook::now;

/// How long no result may come before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(90);

/// The follower; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Follower {
    results: Arc<Mutex<Results>>,
    following: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.following.abort();
    }
}

impl Follower {
    /// Begins to read.
    ///
    /// # Errors
    /// When the topics are not there.
    pub(super) async fn begin(scene: &Scene) -> anyhow::Result<Self> {
        let connection = Connection::plain(scene.bootstrap(), "demo-results");
        let admin = Admin::new(&connection, Duration::from_secs(30));
        let mut positions = Vec::new();
        for topic in [Topic::Jobs, Topic::ImagesIndexed, Topic::Results].map(|topic| scene.topics.name(topic))
        {
            for partition in admin.partitions(&topic).await? {
                positions.push((topic.clone(), partition, Offset::Beginning));
            }
        }
        let reader = Reader::assign(&connection, &positions, Isolation::ReadCommitted)?;
        let results = Arc::new(Mutex::new(Results::default()));
        let following = tokio::spawn(follow(reader, scene.topics.clone(), Arc::clone(&results)));
        Ok(Self { results, following })
    }

    /// What is known by now.
    pub(super) fn results(&self) -> MutexGuard<'_, Results> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until every image of all runs has its result; what is wrong even so, the tally says.
    ///
    /// # Errors
    /// When a service ends, or nothing happens for too long: with the services' logs.
    pub(super) async fn until_all(&self, analysis: &Analysis, watch: &Watch) -> anyhow::Result<()> {
        let progress = || {
            let results = self.results();
            results
                .runs()
                .map(|(_, run)| run.progress())
                .fold((0, 0), |sum, run| (sum.0 + run.0, sum.1 + run.1))
        };
        let (taken, _) = progress();
        let bar = watch.count_bar("results", taken);
        let (mut last, mut seen) = (Instant::now(), 0);
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        while !self.results().all_there() {
            tick.tick().await;
            let (_, there) = progress();
            bar.set_position(there as u64);
            if there != seen {
                (last, seen) = (Instant::now(), there);
            }
            if !analysis.runs() {
                bail!("the trigger or the index ended; the logs end with:\n{}", analysis.logs());
            }
            if self.following.is_finished() {
                bail!("the reader of the results ended");
            }
            if last.elapsed() > PATIENCE {
                let wrong = self.results().wrong().join("; ");
                let waited = PATIENCE.as_secs();
                bail!("no result came for {waited} s ({wrong}); the logs end with:\n{}", analysis.logs());
            }
        }
        bar.set_position(progress().1 as u64);
        bar.finish();
        Ok(())
    }
}

async fn follow(mut reader: Reader, topics: Topics, results: Arc<Mutex<Results>>) -> anyhow::Result<()> {
    while let Some(record) = reader.next().await {
        let record = match record {
            Ok(record) => record,
            Err(error) if error.is_retriable() => continue,
            Err(error) => return Err(error).context("cannot read the results"),
        };
        let event = decode(&topics, &record);
        let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Ok(Event::Result(result)) => results.result(&result, now()),
            Ok(Event::Indexed(indexed)) => results.indexed(&indexed),
            Ok(Event::Job(job)) => results.job(&job),
            Ok(_) => {}
            Err(error) => bail!("{}: {}", record.topic, error.reason()),
        }
    }
    Ok(())
}
