//! What is said of transfers: each change of state, with cause and numbers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::events::Registration;
use crate::ids::{AttemptId, Generation, RunKey, SiteName};
use crate::lfn::Lfn;
use crate::time::Millis;

/// Where a transfer stands, as `transfers` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TransferState {
    /// Wanted; its file is not complete yet.
    Waiting,
    /// Can be copied as soon as there is a slot.
    Ready,
    /// An attempt is under way.
    Carrying,
    /// An attempt failed; the next comes at `next_try`.
    Delayed,
    /// Verified at its final name.
    Done,
    /// Given up; can be requeued.
    Failed,
    /// Not wanted any more.
    Cancelled,
}

/// Why an attempt or a transfer ended as it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cause {
    /// The class of the error table: `transient`, `endpoint`, `credential`, `source_not_ready`, `integrity`, ...
    pub class: String,
    /// A stable short word: `stalled`, `no-space`, `cannot-verify`.
    pub code: String,
    /// In words, with the server's own text.
    pub text: String,
    /// The server concerned, `host:port`.
    #[serde(default)]
    pub endpoint: Option<String>,
}

/// On `transfers`, key LFN@site: a change of state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TransferEvent {
    /// The file.
    pub lfn: Lfn,
    /// Its run.
    pub run: RunKey,
    /// Where to.
    pub site: SiteName,
    /// Which registration.
    pub generation: Generation,
    /// The state that it has now.
    pub state: TransferState,
    /// What is known of the file, where its generation begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration: Option<Registration>,
    /// The attempt concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<AttemptId>,
    /// The how manieth message of the attempt this is, from 0.
    pub place: u32,
    /// How many attempts were made that count against its limit.
    pub tries: u32,
    /// When it happened.
    pub at: Millis,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// When the next attempt may begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_try: Option<Millis>,
    /// Bytes moved by the attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The source's data server, `host:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_server: Option<String>,
    /// The destination's data server, `host:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_server: Option<String>,
    /// For a failed transfer: the causes of its attempts, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Cause>,
}
