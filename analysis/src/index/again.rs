//! Puts images of earlier runs again under another trial, once per image and trial: the same publication as that of live runs,
//! on the site's other topic.

use std::collections::{BTreeMap, HashMap, HashSet};

use lightrail_topics::events::{Outcome, RunEvent};
use lightrail_topics::kafka::{KafkaError, fold_to_end, read_to_end};
use lightrail_topics::{
    Event, EventId, Experiment, Record, RunInTrial, RunKey, SiteTopic, Topic, TrialKey, TrialNumber, decode,
};

use super::files::RunFiles;
use super::kept::read_kept;
use super::progress::Kept;
use super::publish::{Place, Publication, PublishFault, Published, Purpose};
use super::trials;
use crate::trial::{Parameters, Runs, TrialError};

/// Which images are to be put again.
#[derive(Clone, Debug)]
pub struct Again {
    /// Of this experiment.
    pub experiment: Experiment,
    /// Of these of its runs, as far as they are available at the site.
    pub runs: Runs,
    /// Under this trial.
    pub trial: TrialNumber,
    /// Only those that ended so; all where there is none.
    pub only: Vec<Outcome>,
    /// Under which trial they ended so; the highest other one under which the run has results where it is left out.
    pub of: Option<TrialNumber>,
}

/// Why nothing is put again.
#[derive(Debug, thiserror::Error)]
pub enum AgainError {
    /// The trial is not there.
    #[error("trial {0} is not on topic trials; `trials apply` puts it there")]
    NoTrial(TrialKey),
    /// The trial cannot be understood by this version.
    #[error("trial {key} cannot be used")]
    Trial {
        /// The trial.
        key: TrialKey,
        /// Why.
        #[source]
        source: TrialError,
    },
    /// No such run is available at the site.
    #[error("none of the runs {runs} of {experiment} is available at {site}")]
    NoRun {
        /// The experiment.
        experiment: Experiment,
        /// The runs asked for.
        runs: Runs,
        /// The site.
        site: lightrail_topics::SiteName,
    },
    /// Kafka does not do it.
    #[error("kafka does not do it")]
    Kafka(#[from] KafkaError),
}

/// Puts the images again, run by run; `told` hears what became of each.
pub async fn again(
    place: &Place,
    asked: &Again,
    mut told: impl FnMut(&RunKey, Result<Published, PublishFault>),
) -> Result<(), AgainError> {
    let key = TrialKey { experiment: asked.experiment.clone(), trial: asked.trial };
    let mut trials = trials::all(&place.connection, &place.topics, place.patience).await?;
    let trial = trials.remove(&key).ok_or_else(|| AgainError::NoTrial(key.clone()))?;
    let parameters = Parameters::from_json(&serde_json::Value::Object(trial.parameters))
        .map_err(|source| AgainError::Trial { key, source })?;
    let runs = available(place, asked).await?;
    if runs.is_empty() {
        let (experiment, runs) = (asked.experiment.clone(), asked.runs);
        return Err(AgainError::NoRun { experiment, runs, site: place.site.clone() });
    }
    let mut chosen = if asked.only.is_empty() { None } else { Some(ended(place, asked).await?) };
    let kept = read_kept(&place.connection, &place.topics, Kept::default(), place.patience).await?;
    for (run, files) in runs {
        let of = RunInTrial { run: run.clone(), trial: asked.trial };
        let only = chosen.as_mut().map(|chosen| chosen.remove(&run).unwrap_or_default());
        if only.as_ref().is_some_and(HashSet::is_empty) {
            told(&run, Ok(Published { all: kept.of(&of).images(), is_done: true, ..Published::default() }));
            continue;
        }
        let topic = SiteTopic::ImagesReprocess;
        let purpose = Purpose { of, parameters: parameters.clone(), topic, live: false, only };
        let outcome = async {
            let mut publication = Publication::begin(place, purpose, kept.clone(), &files).await?;
            publication.go_on(&files).await
        };
        told(&run, outcome.await);
    }
    Ok(())
}

/// The runs asked for that are available at the site, with their newest manifests.
async fn available(place: &Place, asked: &Again) -> Result<BTreeMap<RunKey, RunFiles>, KafkaError> {
    let mut runs = BTreeMap::new();
    let name = [place.topics.name(Topic::RunsAvailable)];
    for record in read_to_end(&place.connection, &name, &BTreeMap::new(), place.patience).await? {
        let manifest = match decode(&place.topics, &record) {
            Ok(Event::Run(RunEvent::Available(manifest))) => manifest,
            Ok(Event::Run(RunEvent::Corrected(corrected))) => corrected.manifest,
            _ => continue,
        };
        let RunKey { experiment, run } = &manifest.run;
        if manifest.site == place.site && *experiment == asked.experiment && asked.runs.contains(*run) {
            runs.insert(manifest.run.clone(), RunFiles::of(&manifest));
        }
    }
    Ok(runs)
}

/// Of each run the images that ended as asked for, under the trial asked for.
async fn ended(place: &Place, asked: &Again) -> Result<HashMap<RunKey, HashSet<EventId>>, KafkaError> {
    type Found = BTreeMap<(RunKey, TrialNumber), HashSet<EventId>>;
    let (topics, wanted) = (place.topics.clone(), asked.clone());
    let take = move |found: &mut Found, record: Record| {
        let Ok(Event::Result(result)) = decode(&topics, &record) else { return };
        let run = &result.image.run;
        let is_asked = run.experiment == wanted.experiment && wanted.runs.contains(run.run);
        if !is_asked || result.trial == wanted.trial || wanted.of.is_some_and(|of| result.trial != of) {
            return;
        }
        let images = found.entry((run.clone(), result.trial)).or_default();
        if wanted.only.contains(&result.outcome) {
            images.insert(result.image.event);
        }
    };
    let names = [place.topics.name(Topic::Results)];
    let limit = place.patience.max(std::time::Duration::from_secs(600));
    let found = fold_to_end(&place.connection, &names, &BTreeMap::new(), limit, Found::new(), take).await?;
    // Trials come in order: the highest of a run is the one that stays.
    Ok(found.into_iter().map(|((run, _), images)| (run, images)).collect())
}
