//! What the services and the operators say on our topics: payloads, one type per topic, tagged by `type` where a topic
//! holds several. Plain data: no decision, no Kafka. Times are instants in UTC, sizes bytes, rates bytes per second.
//!
//! JSON only: what is left out where it is unknown has no place in a compact form that counts fields.

mod facility;
mod file;
mod image;
mod job;
mod result;
mod rule;
mod run;
mod transfer;
mod trial;
mod wish;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Millis;

pub use facility::{FacilityStatus, Health, KnownOutage, Measured, StatusBy};
pub use file::{FileAvailable, FileEvent, FileGone, FileTiming, Registration, Verified};
pub use image::{ConfigurePlace, Extent, ExtentKind, Image, IndexPosition, IndexState, Indexed, ShotData};
pub use job::{
    Counted, Decider, FailureClass, Job, JobAsked, JobEnd, JobIdentity, JobStep, PoolJob, ReadUpTo,
    ResultsOf, RunJob, Withdrawal, asked_key, counted_key, decider_key,
};
pub use result::{ImageResult, Numbers, Outcome, RadialProfile, Stage, StageTimes};
pub use rule::{
    Argument, Class, Dataset, Field, Piece, Rule, RunGroup, RunParam, RunRange, RunTags, TagsOf, Task,
    Trigger, Work, dataset_key, group_key, tags_key,
};
pub use run::{
    ClosedBy, LeftOut, ManifestFile, MissingFile, RunCorrected, RunEvent, RunIncomplete, RunManifest,
};
pub use transfer::{Cause, TransferEvent, TransferState};
pub use trial::Trial;
pub use wish::{Route, RouteOverride, Start, Subject, Wish, WishKey};

/// On `dead-letters`: what could not be understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetter {
    /// The topic it was read from.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The raw key, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The raw value, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Why it could not be understood.
    pub reason: String,
    /// Who could not.
    pub by: String,
    /// When.
    pub at: Millis,
}
