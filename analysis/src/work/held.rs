//! An image that a worker holds, from its record to its result, and the result made of it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lightrail_topics::events::{Image, ImageResult, Numbers, Outcome, Stage, StageTimes};
use lightrail_topics::{Message, Millis, SiteName, WorkerName, message};
use tokio::task::AbortHandle;

use super::decide::Lane;
use super::reading::Ready;
use super::stages::{Bad, Job, Progress, Worked};

/// An image that is held.
pub(super) struct Held {
    pub(super) lane: Lane,
    pub(super) image: Arc<Image>,
    /// When it was published, by its message.
    pub(super) published: Option<Millis>,
    /// Its reading, while it is read.
    pub(super) reading: Option<AbortHandle>,
    /// What its stages need, from the end of the reading to their begin.
    pub(super) job: Option<Job>,
    /// How long they may take.
    pub(super) limit: Duration,
    /// In which stage it is.
    pub(super) progress: Arc<Progress>,
    times: StageTimes,
    taken: Option<Instant>,
    read: Option<Instant>,
}

impl Held {
    pub(super) fn new(lane: Lane, image: Arc<Image>, published: Option<Millis>) -> Self {
        let (progress, times) = (Arc::default(), StageTimes::default());
        let (reading, job, limit) = (None, None, Duration::ZERO);
        Self { lane, image, published, reading, job, limit, progress, times, taken: None, read: None }
    }

    /// Its bytes are asked for.
    pub(super) fn take(&mut self, reading: AbortHandle) {
        let waited = self.published.map(|published| now().since(published));
        self.times.waited = waited.map_or(0, |waited| u64::try_from(waited.as_micros()).unwrap_or(u64::MAX));
        (self.taken, self.reading) = (Some(Instant::now()), Some(reading));
    }

    /// Its bytes are here.
    pub(super) fn ready(&mut self, ready: Option<Ready>) {
        (self.read, self.reading) = (Some(Instant::now()), None);
        if let Some((job, limit)) = ready {
            (self.job, self.limit) = (Some(job), limit);
        }
        self.times.read = micros(self.taken);
    }

    /// It is given to the threads.
    pub(super) fn begin(&mut self) -> Option<Job> {
        self.times.queued = micros(self.read);
        self.job.take()
    }

    /// A thread took it then.
    pub(super) fn begun(&mut self, at: Instant) {
        let queued = self.read.map(|read| at.saturating_duration_since(read));
        self.times.queued = queued.map(|queued| u64::try_from(queued.as_micros()).unwrap_or(u64::MAX));
    }

    /// Its result.
    pub(super) fn result(
        &self,
        by: &(SiteName, WorkerName),
        outcome: Result<Worked, Bad>,
    ) -> (ImageResult, Millis) {
        let (image, times) = (&self.image, self.times.clone());
        let shot = &image.shot;
        let of_message = || Numbers {
            photon_energy: shot.photon_energy,
            pulse_id: shot.pulse_id,
            event_codes: shot.event_codes.clone(),
            detector_distance: shot.detector_distance,
            ..Numbers::default()
        };
        let mut result = ImageResult {
            image: image.image.clone(),
            trial: image.trial,
            site: by.0.clone(),
            outcome: Outcome::Miss,
            stage: Stage::Spotfind,
            cause: None,
            numbers: Numbers::default(),
            times,
            worker: by.1.clone(),
            used: None,
        };
        match outcome {
            Ok(worked) => {
                result.outcome = if worked.hit { Outcome::Hit } else { Outcome::Miss };
                let both = |ours: Option<u64>, its: Option<u64>| ours.map(|ours| ours + its.unwrap_or(0));
                result.times = StageTimes {
                    waited: result.times.waited,
                    read: both(result.times.read, worked.times.read),
                    queued: both(result.times.queued, worked.times.queued),
                    ..worked.times
                };
                (result.numbers, result.used) = (worked.numbers, worked.used);
            }
            Err(bad) => {
                (result.outcome, result.stage, result.cause) = (bad.outcome, bad.stage, Some(bad.cause));
                result.numbers = of_message();
            }
        }
        (result, now())
    }
}

/// What is committed for a record: a result, a dead letter, or nothing but its position.
pub(super) struct Output {
    pub(super) lane: Lane,
    pub(super) message: Message,
    /// Of a result.
    pub(super) result: Option<ImageResult>,
}

impl Output {
    pub(super) fn result(lane: Lane, result: ImageResult, at: Millis, source: &str) -> Self {
        Self { lane, message: message::result(&result, source, at), result: Some(result) }
    }

    /// The same result in fewer words: Kafka does not take it as it is.
    pub(super) fn refused(&self, why: &str, source: &str, at: Millis) -> Option<Self> {
        let mut result = self.result.clone()?;
        let bad = Bad::new(Outcome::Failed, result.stage, format!("kafka refuses its result: {why}"));
        (result.outcome, result.cause, result.numbers) = (bad.outcome, Some(bad.cause), Numbers::default());
        Some(Self::result(self.lane, result, at, source))
    }
}

fn micros(since: Option<Instant>) -> Option<u64> {
    Some(u64::try_from(since?.elapsed().as_micros()).unwrap_or(u64::MAX))
}

/// The clock of messages.
pub(super) fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
