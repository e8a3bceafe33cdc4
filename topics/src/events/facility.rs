//! What is said of facilities: how each of a site's parts is, which outages are known, and what was measured there.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{ResourceAtSite, ResourceName, SiteName};
use crate::time::Millis;

/// How a part of a facility is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It works.
    Up,
    /// It works, but not as it should.
    Degraded,
    /// It does not work.
    Down,
    /// Its interface does not answer, or not in words that are known.
    Unknown,
}

impl Health {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Down => "down",
            Self::Unknown => "unknown",
        }
    }
}

/// Who says how it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StatusBy {
    /// NERSC's Superfacility API.
    Sfapi,
    /// DOE's IRI Facility API.
    Iri,
    /// The scheduler, by answering.
    Scheduler,
}

/// A time in which it does not work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KnownOutage {
    /// When it begins.
    pub from: Millis,
    /// When it ends, where that is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Millis>,
    /// Whether it was known beforehand.
    pub planned: bool,
    /// The facility's own words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
}

/// What the mover's transfers to a site and the jobs there were measured to take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Measured {
    /// Bytes per second that come there now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u64>,
    /// Bytes per second that come there as a rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usual_rate: Option<u64>,
    /// Milliseconds that a job waits there in the queue, the median of the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_wait: Option<u64>,
    /// Milliseconds that a job runs there until it is done, the median of the newest, whatever they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_time: Option<u64>,
}

impl Measured {
    /// Whether nothing was measured.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// On `facility.status`, key site/resource; compacted: how a part of a facility is. Said when it changes, and from time to time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FacilityStatus {
    /// The site.
    pub site: SiteName,
    /// The part of it.
    pub resource: ResourceName,
    /// Who says so.
    pub by: StatusBy,
    /// How it is.
    pub health: Health,
    /// In the facility's own words, or why nothing is known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// Outages that are not over, by their begin.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outages: Vec<KnownOutage>,
    /// What was measured at the site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measured>,
    /// Since when its health is as it is.
    pub since: Millis,
    /// When this was said.
    pub at: Millis,
}

impl FacilityStatus {
    /// The key.
    pub fn key(&self) -> ResourceAtSite {
        ResourceAtSite { site: self.site.clone(), resource: self.resource.clone() }
    }

    /// Whether both say the same, whenever, and whatever was measured.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let plain =
            |status: &Self| Self { measured: None, since: Millis(0), at: Millis(0), ..status.clone() };
        plain(self) == plain(other)
    }
}
