//! What is known of each run's images: what is true of them, how many are published, and what results were given. Pure; times
//! are arguments, those of whoever reads the topics.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lightrail_topics::events::{ImageResult, IndexState, Indexed, Job, Outcome};
use lightrail_topics::{Millis, RunKey};

use super::jobs::{Jobs, Started};
use crate::play::TrueImage;

/// How a run's images fared.
#[derive(Clone, Debug, Default)]
pub(super) struct Worked {
    /// When the run was closed.
    pub(super) ended: Option<Millis>,
    /// When all its files were there: work could begin.
    pub(super) whole: Option<Millis>,
    pub(super) first: Option<Millis>,
    /// When the last result that there must be was read.
    pub(super) all: Option<Millis>,
    /// Images the index says it has published, once it has closed the run.
    published: Option<u64>,
    truth: BTreeMap<String, TrueImage>,
    results: BTreeMap<String, ImageResult>,
    /// Images with more than one result.
    double: BTreeSet<String>,
}

/// Hits against the truth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hits {
    pub(super) images: usize,
    /// Said to be hits.
    pub(super) said: usize,
    /// With a crystal in them.
    pub(super) truth: usize,
    /// With a crystal, and said to be hits.
    pub(super) found: usize,
}

impl Hits {
    /// Said to be hits without a crystal.
    pub(super) fn false_ones(&self) -> usize {
        self.said - self.found
    }
}

impl std::ops::Add for Hits {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            images: self.images + other.images,
            said: self.said + other.said,
            truth: self.truth + other.truth,
            found: self.found + other.found,
        }
    }
}

impl Worked {
    /// End of run until the first result.
    pub(super) fn to_first(&self) -> Option<Duration> {
        Some(self.first?.since(self.ended?))
    }

    /// End of run until all results.
    pub(super) fn to_all(&self) -> Option<Duration> {
        Some(self.all?.since(self.ended?))
    }

    /// Images per second from the moment all files were there until all results were.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn rate(&self) -> Option<f64> {
        let took = self.all?.since(self.whole?).as_secs_f64();
        (took > 0.0).then(|| self.results.len() as f64 / took)
    }

    /// Images that were taken, and those that have a result.
    pub(super) fn progress(&self) -> (usize, usize) {
        (self.truth.len(), self.results.len())
    }

    pub(super) fn hits(&self) -> Hits {
        let mut hits = Hits { images: self.results.len(), ..Hits::default() };
        for (event, image) in &self.truth {
            let said = self.results.get(event).is_some_and(|result| result.outcome == Outcome::Hit);
            hits.said += usize::from(said);
            hits.truth += usize::from(image.hit);
            hits.found += usize::from(said && image.hit);
        }
        hits
    }

    /// Images whose result is not what was to be done.
    fn ended_badly(&self) -> usize {
        self.results.values().filter(|result| !matches!(result.outcome, Outcome::Hit | Outcome::Miss)).count()
    }
}

/// All runs, from the moment they are closed.
#[derive(Clone, Debug, Default)]
pub(super) struct Results {
    runs: BTreeMap<RunKey, Worked>,
    jobs: Jobs,
}

impl Results {
    /// A run was closed: what is true of its images.
    pub(super) fn expect(&mut self, run: &RunKey, ended: Millis, truth: BTreeMap<String, TrueImage>) {
        let worked = self.runs.entry(run.clone()).or_default();
        worked.ended = Some(ended);
        worked.truth = truth;
    }

    /// A run's files were all there at `at`.
    pub(super) fn whole(&mut self, run: &RunKey, at: Millis) {
        self.runs.entry(run.clone()).or_default().whole.get_or_insert(at);
    }

    /// A message of `images.indexed`.
    pub(super) fn indexed(&mut self, indexed: &Indexed) {
        let worked = self.runs.entry(indexed.run.clone()).or_default();
        worked.published = (indexed.state == IndexState::Closed).then_some(indexed.images);
    }

    /// A message of `results`, read at `now`.
    pub(super) fn result(&mut self, result: &ImageResult, now: Millis) {
        let worked = self.runs.entry(result.image.run.clone()).or_default();
        let event = result.image.event.to_string();
        worked.first.get_or_insert(now);
        if worked.results.insert(event.clone(), result.clone()).is_some() {
            worked.double.insert(event);
        }
        if worked.results.len() == worked.truth.len() {
            worked.all.get_or_insert(now);
        }
    }

    /// A message of `jobs`.
    pub(super) fn job(&mut self, job: &Job) {
        self.jobs.step(job);
    }

    /// The job that worked a run.
    pub(super) fn job_of(&self, run: &RunKey) -> Option<&Started> {
        self.jobs.of(run)
    }

    /// The runs in order.
    pub(super) fn runs(&self) -> impl Iterator<Item = (&RunKey, &Worked)> {
        self.runs.iter()
    }

    /// All results, by run and event.
    pub(super) fn results(&self) -> impl Iterator<Item = &ImageResult> {
        self.runs.values().flat_map(|run| run.results.values())
    }

    /// The image with the most spots.
    pub(super) fn richest(&self) -> Option<(RunKey, String)> {
        let richest = self.results().max_by_key(|result| result.numbers.spots)?;
        Some((richest.image.run.clone(), richest.image.event.to_string()))
    }

    /// Whether every image of every run has a result, the index has closed the runs, and the jobs that worked them are done.
    pub(super) fn all_there(&self) -> bool {
        self.runs.iter().all(|(key, run)| {
            run.published.is_some()
                && run.truth.keys().all(|event| run.results.contains_key(event))
                && self.job_of(key).is_some_and(Started::is_done)
        })
    }

    /// What is not as it must be: exactly one result of each image, none of another, and as many published.
    pub(super) fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (key, run) in &self.runs {
            let taken = run.truth.len();
            let missing = run.truth.keys().filter(|event| !run.results.contains_key(*event)).count();
            let strange = run.results.keys().filter(|event| !run.truth.contains_key(*event)).count();
            let mut say = |count: usize, what: &str| {
                if count > 0 {
                    wrong.push(format!("run {key}: {count} of {taken} images {what}"));
                }
            };
            say(missing, "have no result");
            say(run.double.len(), "have more than one result");
            say(strange, "that have a result were never taken");
            say(run.ended_badly(), "could not be worked");
            match run.published {
                Some(published) if published == taken as u64 => {}
                Some(published) => {
                    wrong.push(format!("run {key}: {published} images were published, {taken} were taken"))
                }
                None => wrong.push(format!("run {key}: its images were never all published")),
            }
            match self.job_of(key) {
                None => wrong.push(format!("run {key}: the trigger started no job")),
                Some(job) if job.is_done() && job.attempt == 1 => {}
                Some(job) => {
                    let (attempt, end) = (job.attempt, job.ended.as_ref().map(|(_, end)| end));
                    wrong.push(format!("run {key}: attempt {attempt} of its job came to {end:?}"));
                }
            }
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use lightrail_topics::events::{Class, JobEnd, JobIdentity, JobStep, Numbers, RunJob, Stage, StageTimes};
    use lightrail_topics::{EventId, Fingerprint, ImageKey, TrialNumber};

    use super::*;

    fn key() -> RunKey {
        "mfxlv9518/1".parse().unwrap()
    }

    fn result(event: &str, outcome: Outcome) -> ImageResult {
        ImageResult {
            image: ImageKey { run: key(), event: event.parse::<EventId>().unwrap() },
            trial: TrialNumber(1),
            site: "NERSC".parse().unwrap(),
            outcome,
            stage: Stage::Spotfind,
            cause: None,
            numbers: Numbers::default(),
            times: StageTimes::default(),
            worker: "w".parse().unwrap(),
            used: None::<Fingerprint>,
        }
    }

    fn indexed(images: u64) -> Indexed {
        Indexed {
            run: key(),
            trial: TrialNumber(1),
            site: "NERSC".parse().unwrap(),
            number: 1,
            live: true,
            images,
            state: IndexState::Closed,
            manifest: None,
            positions: Vec::new(),
            at: Millis(0),
        }
    }

    fn job(step: JobStep) -> Job {
        let identity = JobIdentity::from(RunJob {
            rule: "live".parse().unwrap(),
            run: key(),
            trial: Some(TrialNumber(1)),
            task: "work".parse().unwrap(),
            request: None,
            attempt: 1,
        });
        Job { job: identity.name(), identity, place: 0, epoch: 1, step, at: Millis(1600) }
    }

    fn job_is_done(results: &mut Results) {
        results.job(&job(JobStep::Intended {
            reason: String::new(),
            rule_version: 1,
            site: "NERSC".parse().unwrap(),
            class: Class::Live,
            workers: true,
            nodes: 1,
            workers_each: None,
            placed: None,
            moves: None,
            ahead: false,
            spills: false,
        }));
        results.job(&job(JobStep::Ended { id: None, end: JobEnd::Done, waited: None }));
    }

    #[test]
    fn a_run_is_worked_when_each_image_has_one_result_and_hits_are_held_against_the_truth() {
        let mut results = Results::default();
        let image =
            |n: u32, hit: bool| (format!("{n}-0"), TrueImage { event: format!("{n}-0"), hit, spots: vec![] });
        results.expect(&key(), Millis(1000), [image(1, true), image(2, true), image(3, false)].into());
        results.whole(&key(), Millis(1500));
        results.indexed(&indexed(3));
        results.result(&result("1-0", Outcome::Hit), Millis(2000));
        results.result(&result("2-0", Outcome::Miss), Millis(2100));
        assert!(!results.all_there());
        let wrong =
            ["run mfxlv9518/1: 1 of 3 images have no result", "run mfxlv9518/1: the trigger started no job"];
        assert_eq!(results.wrong(), wrong);
        results.result(&result("3-0", Outcome::Hit), Millis(2500));
        assert!(!results.all_there());
        job_is_done(&mut results);
        assert!(results.all_there() && results.wrong().is_empty());
        let run = &results.runs[&key()];
        assert_eq!(run.hits(), Hits { images: 3, said: 2, truth: 2, found: 1 });
        assert_eq!(run.hits().false_ones(), 1);
        assert_eq!(
            (run.to_first(), run.to_all()),
            (Some(Duration::from_secs(1)), Some(Duration::from_millis(1500)))
        );
        assert_eq!(run.rate(), Some(3.0));
    }

    #[test]
    fn a_second_result_a_strange_one_and_a_bad_one_are_told() {
        let mut results = Results::default();
        let image = TrueImage { event: "1-0".to_owned(), hit: false, spots: vec![] };
        results.expect(&key(), Millis(0), [("1-0".to_owned(), image)].into());
        for event in ["1-0", "1-0", "9-0"] {
            results.result(&result(event, Outcome::Unreadable), Millis(1));
        }
        results.indexed(&indexed(2));
        let wrong = results.wrong().join("\n");
        for what in [
            "1 of 1 images have more",
            "1 of 1 images that",
            "2 of 1 images could not",
            "2 images were published",
        ] {
            assert!(wrong.contains(what), "{wrong}");
        }
    }
}
