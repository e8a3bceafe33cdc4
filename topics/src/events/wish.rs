//! What people and movers want: wishes and their keys, starts, routes, failovers.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{Experiment, IdError, MoverName, RunKey, RunNumber, SiteName};
use crate::lfn::Lfn;
use crate::time::{Millis, as_string};

/// What a wish is about. The narrowest that says something wins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// All there is: `*`.
    Everything,
    /// An experiment.
    Experiment(Experiment),
    /// A run.
    Run(RunKey),
    /// A file.
    File(Lfn),
}

/// A wish's key on `requests`: `mfxlv9518/12@NERSC`, `*@*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WishKey {
    /// What it is about.
    pub subject: Subject,
    /// At which site; none is every site (`@*`).
    pub site: Option<SiteName>,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("*"),
            Self::Experiment(experiment) => experiment.fmt(f),
            Self::Run(run) => run.fmt(f),
            Self::File(lfn) => fmt::Display::fmt(lfn, f),
        }
    }
}

impl FromStr for Subject {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "*" {
            Ok(Self::Everything)
        } else if text.starts_with('/') {
            Ok(Self::File(text.parse::<Lfn>()?))
        } else if text.contains('/') {
            text.parse().map(Self::Run)
        } else {
            text.parse().map(Self::Experiment)
        }
    }
}

impl fmt::Display for WishKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.site {
            Some(site) => write!(f, "{}@{site}", self.subject),
            None => write!(f, "{}@*", self.subject),
        }
    }
}

impl FromStr for WishKey {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (subject, site) = text.rsplit_once('@').unwrap_or((text, "*"));
        Ok(Self { subject: subject.parse()?, site: if site == "*" { None } else { Some(site.parse()?) } })
    }
}
as_string!(
    Subject,
    "Subject",
    schemars::json_schema!({ "type": "string", "examples": ["*", "mfxlv9518/12"] })
);
as_string!(
    WishKey,
    "WishKey",
    schemars::json_schema!({ "type": "string", "examples": ["mfxlv9518/12@NERSC"] })
);

/// On `requests`: the whole present wish for its key. What is `None` is left to a wider key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Wish {
    /// To be moved, whatever the routes say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<bool>,
    /// How often it was asked for again after its files had gone.
    #[serde(default)]
    pub asked_again: u32,
    /// Not to be started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<bool>,
    /// Not wanted any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled: Option<bool>,
    /// How often failed transfers were put back.
    #[serde(default)]
    pub requeued: u32,
    /// Above (positive) or below (negative) others; 0 is the live runs' own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// What runs is finished, nothing new starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained: Option<bool>,
    /// Files that their run need not wait for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<bool>,
    /// Who wished.
    pub who: String,
    /// When.
    pub at: Millis,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// On `requests` under `start@<mover>`: the instant from which the mover moves what the logbook says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Start {
    /// The mover.
    pub mover: MoverName,
    /// Messages before this are not its business.
    pub from: Millis,
    /// When this was decided.
    pub at: Millis,
}

/// On `routes`, key experiment: where an experiment's data go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Route {
    /// Sites, in order of preference; all of them get the data.
    pub to: Vec<SiteName>,
    /// Whole runs (after they are closed), or file by file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streaming: Option<bool>,
    /// At most so many of the experiment's transfers at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfers: Option<u32>,
    /// Streams that a run need not wait for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_waited_streams: Option<Vec<u16>>,
    /// Who set it.
    pub who: String,
    /// When.
    pub at: Millis,
}

/// On `routes.override`, key experiment: a failover. Ends by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RouteOverride {
    /// Sites instead of the route's.
    pub to: Vec<SiteName>,
    /// Whether runs that have begun elsewhere go wholly to the new sites.
    #[serde(default, rename = "move")]
    pub move_begun: bool,
    /// Runs that are to be at the new sites as well, though they are whole elsewhere: their work is not done and is stranded there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<RunNumber>,
    /// Why.
    pub reason: String,
    /// When it ends.
    pub expires: Millis,
    /// When it was said.
    pub at: Millis,
}
