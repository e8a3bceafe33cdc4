//! A trial as it stands on its topic.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ids::Experiment;
use crate::image::{TrialKey, TrialNumber};
use crate::time::Millis;

/// On `trials`, key experiment/trial; kept for ever: one set of analysis parameters. A trial never changes: the first message of
/// a key counts, whatever comes later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Trial {
    /// The experiment.
    pub experiment: Experiment,
    /// Its number within the experiment.
    pub trial: TrialNumber,
    /// Whether runs are worked under it as they are taken; of several, the highest number is.
    pub live: bool,
    /// The parameters as a table, as the trial's file holds them.
    pub parameters: Map<String, Value>,
    /// Who put it there.
    pub who: String,
    /// When.
    pub at: Millis,
}

impl Trial {
    /// The key.
    pub fn key(&self) -> TrialKey {
        TrialKey { experiment: self.experiment.clone(), trial: self.trial }
    }

    /// Whether both say the same, whoever said it and when.
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.key() == other.key() && self.live == other.live && self.parameters == other.parameters
    }
}
