//! What is done with an image on a compute thread: decode, calibrate, find spots, decide, add to the powders. Blocking work
//! on what was read before; no Kafka, no file.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use lightrail_topics::Fingerprint;
use lightrail_topics::events::{Extent, Image, Numbers, Outcome, RadialProfile, Stage, StageTimes};
use lightrail_topics::message::stable_hash;

use super::powder::Sums;
use crate::decode::{Decoder, with_message};
use crate::frame::{Frame, Shot};
use crate::pipeline::{self, Chain, ImageError, Powders, Reason, Spot, Workspace};

/// An image with all that its stages need.
#[derive(Debug)]
pub struct Job {
    /// The image.
    pub image: Arc<Image>,
    /// The bytes of its extents, in its order.
    pub extents: Vec<Vec<u8>>,
    /// Makes pixels of them.
    pub decoder: Arc<Decoder>,
    /// Its trial, compiled for its detector.
    pub chain: Arc<Chain>,
}

impl Job {
    /// The extents beside their bytes, as a decoder takes them.
    pub fn pieces(&self) -> Vec<(&Extent, &[u8])> {
        self.image.extents.iter().zip(self.extents.iter().map(Vec::as_slice)).collect()
    }
}

/// An image that ended badly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    /// As what.
    pub outcome: Outcome,
    /// In which stage.
    pub stage: Stage,
    /// Why, in one line.
    pub cause: String,
}

impl Bad {
    /// An image that ended so, with its cause cut to what a person reads.
    pub fn new(outcome: Outcome, stage: Stage, cause: impl fmt::Display) -> Self {
        const LONGEST: usize = 1000;
        let cause = cause.to_string();
        let cause = match cause.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{} ...", &cause[..end]),
            None => cause,
        };
        Self { outcome, stage, cause }
    }

    /// An image that took longer than it may.
    pub fn timeout(stage: Stage) -> Self {
        Self::new(Outcome::Timeout, stage, "it took longer than the trial's time_limit")
    }

    /// An image whose stage panicked.
    pub fn panicked(stage: Stage, panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Self::new(Outcome::Failed, stage, format!("panic: {}", text.as_deref().unwrap_or("it says nothing")))
    }
}

/// An image that went through its stages.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Worked {
    /// Whether it is a hit.
    pub hit: bool,
    /// What was found.
    pub numbers: Numbers,
    /// How long the stages took; `read` is the decoding alone, `queued` what others of its batch took.
    pub times: StageTimes,
    /// A hash of what was used.
    pub used: Option<Fingerprint>,
    /// Why it is no hit, for a miss.
    pub reason: Option<Reason>,
    /// Its spots: what the next stages take.
    pub spots: Vec<Spot>,
}

/// In which stage an image is, seen from outside of its thread.
#[derive(Debug)]
pub struct Progress(AtomicU8);

const STAGES: [Stage; 6] =
    [Stage::Read, Stage::Calibrate, Stage::Spotfind, Stage::Index, Stage::Refine, Stage::Integrate];

impl Default for Progress {
    fn default() -> Self {
        Self(AtomicU8::new(Stage::Read as u8))
    }
}

impl Progress {
    /// A stage begins.
    pub fn begin(&self, stage: Stage) {
        self.0.store(stage as u8, Ordering::Relaxed);
    }

    /// The stage that was begun last.
    pub fn stage(&self) -> Stage {
        STAGES.get(usize::from(self.0.load(Ordering::Relaxed))).copied().unwrap_or(Stage::Read)
    }
}

/// The stages that images go through on a compute thread: [`Chained`], or that with faults around it in a test.
pub trait Stages: Send + Sync + 'static {
    /// Takes images of one chain through, together; one outcome for each, in order. May panic: each is then taken alone, and
    /// the one that panics gets the result `failed`. May never come back, which ends the process.
    fn work(&self, images: &[(&Job, &Progress)], workspace: &mut Workspace) -> Vec<Result<Worked, Bad>>;

    /// Takes one image through.
    fn work_one(&self, job: &Job, workspace: &mut Workspace, progress: &Progress) -> Result<Worked, Bad> {
        let none = || Err(Bad::new(Outcome::Failed, progress.stage(), "the stages gave no outcome"));
        self.work(&[(job, progress)], workspace).pop().unwrap_or_else(none)
    }
}

/// The stages of a trial's chain.
#[derive(Debug, Default)]
pub struct Chained {
    /// Where hits and sampled misses are added.
    pub powders: Option<Arc<Sums>>,
}

/// An image that is decoded.
struct Decoded {
    frame: Frame,
    shot: Shot,
    took: Duration,
}

impl Stages for Chained {
    fn work(&self, images: &[(&Job, &Progress)], workspace: &mut Workspace) -> Vec<Result<Worked, Bad>> {
        let begun = Instant::now();
        let decoded: Vec<Result<Decoded, Bad>> = images.iter().map(|(job, _)| decode(job)).collect();
        let good: Vec<(&Frame, &Shot)> =
            decoded.iter().flatten().map(|image| (&image.frame, &image.shot)).collect();
        let mut found = Vec::new();
        let before = Instant::now();
        if let Some((job, _)) = images.first() {
            for (_, progress) in images {
                progress.begin(Stage::Calibrate);
            }
            found = job.chain.process(workspace, &good);
            for (_, progress) in images {
                progress.begin(Stage::Spotfind);
            }
        }
        let each = before.elapsed() / u32::try_from(good.len().max(1)).unwrap_or(1);
        let mut found = found.into_iter();
        let mut worked = Vec::with_capacity(images.len());
        for ((job, _), decoded) in images.iter().zip(decoded) {
            worked.push(decoded.and_then(|image| {
                let none = || Err(Bad::new(Outcome::Failed, Stage::Calibrate, "the chain gave no outcome"));
                let outcome = found.next().map_or_else(none, |found| {
                    found.map_err(|error| {
                        let is_trials = matches!(error, ImageError::Type(_));
                        let outcome = if is_trials { Outcome::Refused } else { Outcome::Failed };
                        Bad::new(outcome, Stage::Calibrate, error)
                    })
                })?;
                let deciding = Instant::now();
                self.add(job, workspace, &image.frame, outcome.hit);
                let decide = deciding.elapsed();
                let times = StageTimes {
                    read: Some(micros(image.took)),
                    // Calibration is no pass of its own: it is in this.
                    spotfind: Some(micros(each)),
                    decide: Some(micros(decide)),
                    // While others of its batch were worked.
                    queued: Some(micros(begun.elapsed().saturating_sub(image.took + each + decide))),
                    ..StageTimes::default()
                };
                let used = job.chain.hash().to_string().parse().ok();
                let (hit, reason) = (outcome.hit, outcome.reason);
                let numbers = numbers(&job.chain, &outcome, image.shot);
                Ok(Worked { hit, numbers, times, used, reason, spots: outcome.spots })
            }));
        }
        worked
    }
}

fn decode(job: &Job) -> Result<Decoded, Bad> {
    let begun = Instant::now();
    let decoded = job.decoder.decode(&job.image.image.event, &job.pieces());
    let (frame, shot) = decoded.map_err(|error| {
        let outcome = if error.concerns_trial() { Outcome::Refused } else { Outcome::Unreadable };
        Bad::new(outcome, Stage::Read, error.line())
    })?;
    Ok(Decoded { frame, shot: with_message(shot, &job.image.shot), took: begun.elapsed() })
}

impl Chained {
    /// Adds the image to its run's powders where the trial wants it there.
    fn add(&self, job: &Job, workspace: &mut Workspace, frame: &Frame, hit: bool) {
        let Some(powders) = &self.powders else { return };
        let key = stable_hash(job.image.image.to_string().as_bytes());
        if !Powders::wants(&job.chain.parameters().powder, hit, key) {
            return;
        }
        match job.chain.values(workspace, frame) {
            Ok(values) => powders.add(&job.image, &job.chain, hit, values),
            Err(error) => tracing::warn!(image = %job.image.image, %error, "image is in no powder"),
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// What a result says of an outcome and its shot.
pub fn numbers(chain: &Chain, outcome: &pipeline::Outcome, shot: Shot) -> Numbers {
    Numbers {
        spots: u32::try_from(outcome.spots.len()).ok(),
        resolution: outcome.resolution.map(f64::from),
        saturated: Some(outcome.saturated),
        saturation: outcome.saturation.map(f64::from),
        intensity: Some(outcome.total).filter(|total| total.is_finite()),
        profile: Some(profile(chain, outcome)).filter(|profile| !profile.means.is_empty()),
        photon_energy: outcome.photon_energy,
        pulse_id: shot.pulse_id,
        event_codes: shot.event_codes,
        detector_distance: outcome.distance,
    }
}

/// The rings that have a mean.
fn profile(chain: &Chain, outcome: &pipeline::Outcome) -> RadialProfile {
    let rings = chain.profile_radii().iter().zip(&outcome.profile);
    let known = rings.filter_map(|(radius, mean)| {
        let mean = four_digits(*mean);
        Some((u32::try_from(*radius).ok()?, mean)).filter(|_| mean.is_finite())
    });
    let (radii, means) = known.unzip();
    RadialProfile { radii, means }
}

/// To four digits: more than a profile's noise, and half the text.
#[allow(clippy::cast_possible_truncation)] // a logarithm is small
fn four_digits(value: f32) -> f32 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let one = 10_f64.powi(3 - value.abs().log10().floor() as i32);
    ((f64::from(value) * one).round() / one) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_digits_are_kept_of_any_size() {
        for (value, kept) in [
            (0.0, "0"),
            (1.234_56, "1.235"),
            (-0.000_987_654, "-0.0009877"),
            (123_456.0, "123500"),
            (9.999_9, "10"),
            (1e-40, "0.0000000000000000000000000000000000000001"),
        ] {
            assert_eq!(four_digits(value).to_string(), kept, "{value}");
        }
    }
}
