//! Blocking work on this machine's cores that has an end for the others even where it has none itself: what panics is its
//! image's bad end, and what takes longer than an image may is left behind. Nothing here knows what the work is.

use std::sync::Arc;
use std::time::Duration;

use lightrail_topics::events::{Outcome, Stage};
use tokio::sync::Semaphore;

use crate::work::stages::{Bad, Progress};

/// The cores.
#[derive(Clone, Debug)]
pub struct Cores {
    /// As many as work at once, and as many again for what is left behind.
    places: Arc<Semaphore>,
    limit: Duration,
}

/// Why work has no outcome.
#[derive(Debug)]
pub enum Fallen {
    /// The image's bad end.
    Bad(Bad),
    /// It was not begun: what was left behind holds all places, and none of it came back for as long as an image may take.
    Stuck,
}

impl Cores {
    /// `threads` work at once; `limit` is what one image may take.
    pub fn new(threads: usize, limit: Duration) -> Self {
        Self { places: Arc::new(Semaphore::new(2 * threads.max(1))), limit }
    }

    /// Does it on a thread that may block. It goes on after its time, unseen, and holds its place until it comes back.
    ///
    /// # Errors
    /// Its image's end as `timeout` or `failed` in the stage that `progress` tells, or that there is no place for it.
    pub async fn run<T: Send + 'static>(
        &self,
        progress: &Progress,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Fallen> {
        let place = tokio::time::timeout(self.limit, self.places.clone().acquire_owned()).await;
        let Ok(Ok(place)) = place else { return Err(Fallen::Stuck) };
        let work = tokio::task::spawn_blocking(move || {
            let _place = place;
            work()
        });
        match tokio::time::timeout(self.limit, work).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(Fallen::Bad(match error.try_into_panic() {
                Ok(panic) => Bad::panicked(progress.stage(), &*panic),
                Err(error) => Bad::new(Outcome::Failed, progress.stage(), error),
            })),
            Err(_) => Err(Fallen::Bad(Bad::timeout(progress.stage()))),
        }
    }

    /// Does it on a thread that may block, however long it takes: what is made once for many images.
    ///
    /// # Errors
    /// When it panics.
    pub async fn run_long<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Bad> {
        tokio::task::spawn_blocking(work).await.map_err(|error| match error.try_into_panic() {
            Ok(panic) => Bad::panicked(Stage::Read, &*panic),
            Err(error) => Bad::new(Outcome::Failed, Stage::Read, error),
        })
    }
}
