//! A result as a row of a table: the columns that CSV and Parquet have, each with its name, type and where it comes from.

use lightrail_topics::events::{ImageResult, Numbers, Outcome, Stage, StageTimes};
use lightrail_topics::{EventId, FileName, Fingerprint, ImageKey, RunInTrial, TrialNumber};

use crate::formats::xtc2::Timestamp;
use crate::pipeline::{Reason, Spot};

/// What became of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The image.
    pub image: ImageKey,
    /// Where its first extent lies.
    pub file: FileName,
    /// How it ended.
    pub outcome: Outcome,
    /// The last stage that was begun.
    pub stage: Stage,
    /// What happened, for what ended badly.
    pub cause: Option<String>,
    /// Why it is no hit, for a miss.
    pub reason: Option<Reason>,
    /// Its numbers.
    pub numbers: Numbers,
    /// How long its stages took.
    pub times: StageTimes,
    /// A hash of what was used.
    pub used: Option<Fingerprint>,
    /// Its spots, where they are kept: those of hits.
    pub spots: Vec<Spot>,
}

/// A cell.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// Nothing is known.
    None,
    /// Text.
    Text(String),
    /// A whole number.
    Whole(i64),
    /// A number.
    Real(f64),
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Text,
    Whole,
    Real,
}

/// A column.
pub(super) struct Column {
    /// Its name, with the unit where it has one.
    pub name: &'static str,
    /// What it holds.
    pub of: Type,
    /// A row's value.
    pub value: fn(&Row) -> Value,
}

/// Seconds since 1970, where the event is named by time.
pub fn unix_seconds(event: &EventId) -> Option<f64> {
    match event {
        EventId::Time { seconds, nanoseconds, fiducial: Some(_) } => {
            Some(f64::from(*seconds) + f64::from(*nanoseconds) * 1e-9)
        }
        EventId::Time { seconds, nanoseconds, fiducial: None } => {
            let since_1990 = Timestamp::new(*seconds, 0).unix_millis();
            #[allow(clippy::cast_precision_loss)] // far below 2^52
            Some(since_1990 as f64 * 1e-3 + f64::from(*nanoseconds) * 1e-9)
        }
        EventId::Frame { .. } => None,
    }
}

fn text(value: &impl ToString) -> Value {
    Value::Text(value.to_string())
}

fn whole<T: TryInto<i64>>(value: Option<T>) -> Value {
    value.and_then(|value| value.try_into().ok()).map_or(Value::None, Value::Whole)
}

fn real(value: Option<f64>) -> Value {
    value.filter(|value| value.is_finite()).map_or(Value::None, Value::Real)
}

/// The word that a topic's message has for it.
fn word(of: impl serde::Serialize) -> Value {
    match serde_json::to_value(of) {
        Ok(serde_json::Value::String(word)) => Value::Text(word),
        _ => Value::None,
    }
}

pub(super) const COLUMNS: &[Column] = &[
    Column { name: "experiment", of: Type::Text, value: |r| text(&r.image.run.experiment) },
    Column { name: "run", of: Type::Whole, value: |r| Value::Whole(i64::from(r.image.run.run.0)) },
    Column { name: "event", of: Type::Text, value: |r| text(&r.image.event) },
    Column { name: "unix_time_s", of: Type::Real, value: |r| real(unix_seconds(&r.image.event)) },
    Column { name: "file", of: Type::Text, value: |r| text(&r.file) },
    Column { name: "outcome", of: Type::Text, value: |r| word(r.outcome) },
    Column { name: "reason", of: Type::Text, value: |r| r.reason.as_ref().map_or(Value::None, text) },
    Column { name: "spots", of: Type::Whole, value: |r| whole(r.numbers.spots) },
    Column { name: "resolution_angstrom", of: Type::Real, value: |r| real(r.numbers.resolution) },
    Column { name: "saturated_pixels", of: Type::Whole, value: |r| whole(r.numbers.saturated) },
    Column { name: "saturation", of: Type::Real, value: |r| real(r.numbers.saturation) },
    Column { name: "intensity", of: Type::Real, value: |r| real(r.numbers.intensity) },
    Column { name: "photon_energy_ev", of: Type::Real, value: |r| real(r.numbers.photon_energy) },
    Column { name: "detector_distance_m", of: Type::Real, value: |r| real(r.numbers.detector_distance) },
    Column { name: "pulse_id", of: Type::Whole, value: |r| whole(r.numbers.pulse_id) },
    Column { name: "event_codes", of: Type::Text, value: |r| codes(&r.numbers.event_codes) },
    Column { name: "stage", of: Type::Text, value: |r| word(r.stage) },
    Column { name: "cause", of: Type::Text, value: |r| r.cause.as_ref().map_or(Value::None, text) },
    Column { name: "decode_us", of: Type::Whole, value: |r| whole(r.times.read) },
    Column { name: "spotfind_us", of: Type::Whole, value: |r| whole(r.times.spotfind) },
    Column { name: "decide_us", of: Type::Whole, value: |r| whole(r.times.decide) },
    Column { name: "used", of: Type::Text, value: |r| r.used.as_ref().map_or(Value::None, text) },
];

fn codes(codes: &[u16]) -> Value {
    let codes: Vec<String> = codes.iter().map(ToString::to_string).collect();
    if codes.is_empty() { Value::None } else { Value::Text(codes.join(" ")) }
}

/// What a figure of hits against time needs of a result, wherever it was read from.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The experiment.
    pub experiment: String,
    /// The run.
    pub run: u32,
    /// The trial, where results say it.
    pub trial: Option<TrialNumber>,
    /// Seconds since 1970, where the data have times.
    pub at: Option<f64>,
    /// How it ended.
    pub outcome: Outcome,
    /// Spots found.
    pub spots: Option<u32>,
    /// eV.
    pub photon_energy: Option<f64>,
    /// Metres.
    pub distance: Option<f64>,
}

impl Seen {
    /// Whether it is a result of this run, and under no other trial.
    pub fn is_of(&self, of: &RunInTrial) -> bool {
        (self.experiment.as_str(), self.run) == (of.run.experiment.as_str(), of.run.run.0)
            && self.trial.is_none_or(|trial| trial == of.trial)
    }
}

impl From<&ImageResult> for Seen {
    fn from(result: &ImageResult) -> Self {
        Self {
            experiment: result.image.run.experiment.to_string(),
            run: result.image.run.run.0,
            trial: Some(result.trial),
            at: unix_seconds(&result.image.event),
            outcome: result.outcome,
            spots: result.numbers.spots,
            photon_energy: result.numbers.photon_energy,
            distance: result.numbers.detector_distance,
        }
    }
}
