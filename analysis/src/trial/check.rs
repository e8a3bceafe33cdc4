//! Checks a trial against [`KEYS`], names every fault at once with its key and a suggestion, then makes types of it.

use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::{KEYS, Parameters, Range, SpotFinder};

/// One thing that is wrong with a trial.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{key}: {what}")]
pub struct Fault {
    /// The key, such as `spots.peakfinder8.snr`.
    pub key: String,
    /// What is wrong and what to write instead.
    pub what: String,
}

/// Why a trial is refused.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum TrialError {
    /// It is no TOML.
    #[error("the trial is no TOML: {0}")]
    Syntax(String),
    /// Keys or values are wrong.
    #[error("the trial is refused:{}", list(.0))]
    Faults(Vec<Fault>),
}

fn list(faults: &[Fault]) -> String {
    faults.iter().fold(String::new(), |text, fault| text + "\n  " + &fault.to_string())
}

impl Parameters {
    /// A trial as people write it.
    pub fn from_toml(text: &str) -> Result<Self, TrialError> {
        let value: toml::Table = toml::from_str(text).map_err(|e| TrialError::Syntax(e.to_string()))?;
        let value = serde_json::to_value(value).map_err(|e| TrialError::Syntax(e.to_string()))?;
        Self::from_json(&value)
    }

    /// A trial as it lies on the topic `trials`.
    pub fn from_json(value: &Value) -> Result<Self, TrialError> {
        let mut faults = Vec::new();
        walk("", value, &mut faults);
        if !faults.is_empty() {
            return Err(TrialError::Faults(faults));
        }
        let parameters = Self::deserialize(value)
            .map_err(|e| TrialError::Faults(vec![Fault { key: "trial".into(), what: e.to_string() }]))?;
        let faults = parameters.contradictions();
        if faults.is_empty() { Ok(parameters) } else { Err(TrialError::Faults(faults)) }
    }

    /// What each key alone allows but not together.
    fn contradictions(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut fault = |key: &str, what: String| faults.push(Fault { key: key.into(), what });
        match &self.spots {
            SpotFinder::Peakfinder8(p) => {
                if p.min_pixels > p.max_pixels {
                    fault(
                        "spots.peakfinder8.min_pixels",
                        format!("{} is more than max_pixels {}", p.min_pixels, p.max_pixels),
                    );
                }
                if p.min_res >= p.max_res {
                    fault(
                        "spots.peakfinder8.min_res",
                        format!("{} leaves nothing below max_res {}", p.min_res, p.max_res),
                    );
                }
            }
            SpotFinder::Dispersion(p) => {
                if p.min_spot > p.max_spot {
                    fault(
                        "spots.dispersion.min_spot",
                        format!("{} is more than max_spot {}", p.min_spot, p.max_spot),
                    );
                }
            }
        }
        if self.hit.min_spots > self.hit.max_spots {
            fault(
                "hit.min_spots",
                format!("{} is more than max_spots {}", self.hit.min_spots, self.hit.max_spots),
            );
        }
        if let (Some(coarsest), Some(finest)) = (self.hit.coarsest, self.hit.finest)
            && coarsest <= finest
        {
            fault(
                "hit.coarsest",
                format!("{coarsest} angstrom must be more than hit.finest, {finest} angstrom"),
            );
        }
        if let (Some(least), Some(most)) = (self.hit.min_total, self.hit.max_total)
            && least > most
        {
            fault("hit.min_total", format!("{least} is more than max_total {most}"));
        }
        let kinds = self.detector.kind;
        if !kinds.common_modes().contains(&self.calibration.common_mode) {
            fault(
                "calibration.common_mode",
                format!(
                    "{} is none that {kinds} knows; write one of {:?}",
                    self.calibration.common_mode,
                    kinds.common_modes()
                ),
            );
        }
        if let Some(gains) = &self.calibration.gains
            && (gains.len() != kinds.gain_modes() || gains.contains(&0.0))
        {
            fault(
                "calibration.gains",
                format!("{kinds} has {} gains, none of them 0; {gains:?} are not", kinds.gain_modes()),
            );
        }
        if self.calibration.unit == super::Unit::Photon && self.detector.photon_energy.is_none() {
            fault(
                "detector.photon_energy",
                "is needed where calibration.unit is `photon`: write it in eV".into(),
            );
        }
        faults
    }
}

/// Looks at every leaf of `value`.
fn walk(place: &str, value: &Value, faults: &mut Vec<Fault>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let path = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
                let inner = format!("{path}.");
                if KEYS.iter().any(|key| key.path == path || key.path.starts_with(&inner)) {
                    walk(&path, value, faults);
                } else {
                    faults.push(Fault { what: unknown(place, name), key: path });
                }
            }
        }
        Value::Array(items) if !KEYS.iter().any(|key| key.path == place) => {
            for item in items {
                walk(place, item, faults);
            }
        }
        leaf => match KEYS.iter().find(|key| key.path == place) {
            Some(key) => {
                if let Err(what) = key.range.check(leaf) {
                    faults.push(Fault { key: place.into(), what });
                }
            }
            None => {
                faults.push(Fault {
                    key: place.into(),
                    what: format!("is a section, not a value; {leaf} is not"),
                });
            }
        },
    }
}

/// What to say of a key that does not exist: the nearest name at that place, else the nearest anywhere.
fn unknown(place: &str, name: &str) -> String {
    let prefix = if place.is_empty() { String::new() } else { format!("{place}.") };
    let here = KEYS.iter().filter_map(|key| {
        let rest = key.path.strip_prefix(&prefix)?;
        Some(rest.split('.').next().unwrap_or(rest))
    });
    let near = |names: &mut dyn Iterator<Item = &'static str>, of: &str| {
        let limit = (of.len() / 3).max(2);
        // The beginning of a name is the name cut short.
        let distance = |n: &str| if n.starts_with(of) { 1 } else { strsim::damerau_levenshtein(of, n) };
        names
            .map(|n| (distance(n), n))
            .filter(|(distance, _)| *distance <= limit)
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, n)| n)
    };
    if let Some(found) = near(&mut { here }, name) {
        return format!("unknown key, did you mean `{prefix}{found}`?");
    }
    let mut last = KEYS.iter().map(|key| key.path.rsplit('.').next().unwrap_or(key.path));
    match near(&mut last, name)
        .and_then(|found| KEYS.iter().find(|key| key.path.rsplit('.').next() == Some(found)))
    {
        Some(key) => format!("unknown key, did you mean `{}`?", key.path),
        None => "unknown key; `lightrail-analysis trials keys` lists all".into(),
    }
}

impl Range {
    /// Whether a value is in it; else what to write.
    fn check(self, value: &Value) -> Result<(), String> {
        let number = |value: &Value, low: f64, high: f64| match value.as_f64() {
            Some(v) if (low..=high).contains(&v) => Ok(()),
            Some(v) => Err(format!("{v} is out of range; write a number from {low} to {high}")),
            None => Err(format!("{value} is no number; write one from {low} to {high}")),
        };
        match self {
            Self::Number(low, high) => number(value, low, high),
            Self::Whole(low, high) => match value.as_u64() {
                Some(v) if (low..=high).contains(&v) => Ok(()),
                _ => Err(format!("{value} is out of range; write a whole number from {low} to {high}")),
            },
            Self::Numbers(low, high) => match value.as_array() {
                Some(all) => all.iter().try_for_each(|value| number(value, low, high)),
                None => Err(format!("{value} is no list; write numbers from {low} to {high} in [ ]")),
            },
            Self::Flag if value.is_boolean() => Ok(()),
            Self::Flag => Err(format!("{value} is neither true nor false")),
            Self::Text => match value.as_str() {
                Some(text) if !text.trim().is_empty() => Ok(()),
                _ => Err(format!("{value} is no text; write some in quotation marks")),
            },
            Self::Word(words) => match value.as_str() {
                Some(word) if words.contains(&word) => Ok(()),
                other => {
                    let of = other.unwrap_or_default();
                    let near = words
                        .iter()
                        .map(|w| (strsim::damerau_levenshtein(of, w), w))
                        .filter(|(d, _)| *d <= 3)
                        .min();
                    let hint = near.map(|(_, w)| format!(", did you mean `{w}`?")).unwrap_or_default();
                    Err(format!("{value} is none of {}{hint}", words.join(", ")))
                }
            },
        }
    }
}
