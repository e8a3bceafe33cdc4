//! Trials on their topic: read whole, and put there once. The first message of a key counts; whoever would put a second one
//! is told so before anything is written.

use std::collections::BTreeMap;
use std::time::Duration;

use lightrail_topics::events::Trial;
use lightrail_topics::kafka::{Connection, KafkaError, PublishError, Publisher, Timeouts, read_to_end};
use lightrail_topics::{Event, Topic, Topics, TrialKey, decode, message};
use serde_json::{Map, Value};

use super::publish::now;
use crate::trial::Parameters;

/// What became of a trial that was to be applied.
#[derive(Clone, Debug, PartialEq)]
pub enum Applied {
    /// It is there now.
    New,
    /// It said the same already.
    Known(Trial),
}

/// Why a trial was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The number is taken by a trial that says something else.
    #[error(
        "trial {key} says something else since {at} by {who}, and a trial never changes: {what}; take the next number"
    )]
    Other {
        /// The trial.
        key: TrialKey,
        /// Since when.
        at: lightrail_topics::Millis,
        /// Who put it there.
        who: String,
        /// What differs.
        what: String,
    },
    /// Kafka does not do it.
    #[error("kafka does not do it")]
    Kafka(#[from] KafkaError),
    /// Kafka does not take it.
    #[error("kafka does not take the trial")]
    Publish(#[from] PublishError),
}

/// All trials, by key.
pub async fn all(
    connection: &Connection,
    topics: &Topics,
    limit: Duration,
) -> Result<BTreeMap<TrialKey, Trial>, KafkaError> {
    let mut trials = BTreeMap::new();
    for record in read_to_end(connection, &[topics.name(Topic::Trials)], &BTreeMap::new(), limit).await? {
        match decode(topics, &record) {
            Ok(Event::Trial(trial)) => drop(trials.entry(trial.key()).or_insert(trial)),
            Ok(_) => {}
            Err(error) => tracing::warn!(
                partition = record.partition,
                offset = record.offset,
                why = error.reason(),
                "a trial cannot be understood"
            ),
        }
    }
    Ok(trials)
}

/// Puts a trial on its topic, if it is not there: fences whoever would do the same, reads, then writes.
pub async fn apply(
    connection: &Connection,
    topics: &Topics,
    key: &TrialKey,
    parameters: &Parameters,
    limit: Duration,
) -> Result<Applied, ApplyError> {
    let trial = Trial {
        experiment: key.experiment.clone(),
        trial: key.trial,
        live: parameters.live,
        parameters: table(parameters),
        who: lightrail_service::who(),
        at: now(),
    };
    let id = format!("{}.apply.{}.{}", topics.name(Topic::Trials), key.experiment, key.trial);
    let publisher = Publisher::start(connection, topics, &id, Timeouts::default())?;
    publisher.init(limit).await?;
    if let Some(there) = all(connection, topics, limit).await?.remove(key) {
        if there.says_the_same(&trial) {
            return Ok(Applied::Known(there));
        }
        let what = differences("", &Value::Object(there.parameters), &Value::Object(trial.parameters));
        let what = if what.is_empty() { "live".to_owned() } else { what.join(", ") };
        return Err(ApplyError::Other { key: key.clone(), at: there.at, who: there.who, what });
    }
    publisher.publish(vec![message::trial(&trial, "lightrail-analysis/trials", trial.at)]).await?;
    Ok(Applied::New)
}

/// A trial's parameters as they lie on the topic: all of them, defaults included, so that a later version's defaults change
/// nothing.
pub fn table(parameters: &Parameters) -> Map<String, Value> {
    match serde_json::to_value(parameters) {
        Ok(Value::Object(table)) => table,
        _ => Map::new(),
    }
}

/// The keys in which two trials differ, with both values.
fn differences(place: &str, old: &Value, new: &Value) -> Vec<String> {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
            keys.sort();
            keys.dedup();
            let at = |map: &Map<String, Value>, key: &String| map.get(key).cloned().unwrap_or(Value::Null);
            let inner = |key: &String| if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
            keys.into_iter().flat_map(|key| differences(&inner(key), &at(old, key), &at(new, key))).collect()
        }
        (old, new) if old == new => Vec::new(),
        (old, new) => vec![format!("{place} is {old} and not {new}")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_lies_whole_on_its_topic_and_differences_are_named() {
        let parameters = Parameters::from_toml(crate::trial::EXAMPLE).unwrap();
        let old = table(&parameters);
        assert_eq!(Parameters::from_json(&Value::Object(old.clone())).unwrap(), parameters);
        let other =
            crate::trial::EXAMPLE.replace("snr = 6.0", "snr = 7.0").replace("live = true", "live = false");
        let new = table(&Parameters::from_toml(&other).unwrap());
        let what = differences("", &Value::Object(old.clone()), &Value::Object(new));
        assert_eq!(what, ["live is true and not false", "spots.peakfinder8.snr is 6.0 and not 7.0"]);
        assert!(differences("", &Value::Object(old.clone()), &Value::Object(old)).is_empty());
    }
}
