//! Typed ids. Each parses from text or is refused with a reason; inside the project no id is a bare string.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::lfn::{Lfn, LfnError};
use crate::time::as_string;

/// Why a text is no id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text breaks the rule of its id.
    #[error("{what} `{text}` is refused: {rule}")]
    Refused {
        /// Which id was expected, such as `experiment`.
        what: &'static str,
        /// The text, escaped and cut to 80 characters.
        text: String,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// The LFN inside is refused.
    #[error(transparent)]
    Lfn(#[from] LfnError),
}

pub(crate) fn refused(what: &'static str, text: &str, rule: &'static str) -> IdError {
    IdError::Refused { what, text: text.chars().take(80).flat_map(char::escape_default).collect(), rule }
}

/// Names made of `[A-Za-z0-9_-]`, in one shape, cheap to clone.
macro_rules! name_id {
    ($(#[$doc:meta])* $type:ident, $what:literal, $max:literal, $check:expr, $rule:literal, $pattern:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// The text of the id.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let check: fn(&str) -> bool = $check;
                if text.is_empty() || text.len() > $max || !check(text) {
                    return Err(refused($what, text, $rule));
                }
                Ok(Self(text.into()))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        as_string!($type, stringify!($type), schemars::json_schema!({ "type": "string", "pattern": $pattern }));
    };
}

fn lower_word(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

fn word(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

name_id!(
    /// An instrument as it stands in paths: `mfx`, `cxi`.
    Instrument, "instrument", 16, lower_word,
    "1 to 16 of a-z, 0-9, - and _, beginning with a letter or digit", "^[a-z0-9][a-z0-9_-]{0,15}$"
);
name_id!(
    /// An experiment: `mfxlv9518`.
    Experiment, "experiment", 64, lower_word,
    "1 to 64 of a-z, 0-9, - and _, beginning with a letter or digit", "^[a-z0-9][a-z0-9_-]{0,63}$"
);
name_id!(
    /// A place that holds files: `SLAC`, `NERSC`.
    SiteName, "site", 32, word,
    "1 to 32 letters, digits, - and _, beginning with a letter or digit", "^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$"
);
name_id!(
    /// The name of a mover; one runs at a time under it. Stands in temporary file names.
    MoverName, "mover", 32, word,
    "1 to 32 letters, digits, - and _, beginning with a letter or digit", "^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$"
);

name_id!(
    /// The name of an analysis worker's slot, the same after a restart: `nid001234-3`.
    WorkerName, "worker", 64, word,
    "1 to 64 letters, digits, - and _, beginning with a letter or digit", "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
);

name_id!(
    /// The name under which a trigger says that it decides.
    DeciderName, "decider", 32, word,
    "1 to 32 letters, digits, - and _, beginning with a letter or digit", "^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$"
);
name_id!(
    /// The name of a rule: `live-hits`.
    RuleName, "rule", 64, word,
    "1 to 64 letters, digits, - and _, beginning with a letter or digit", "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
);
name_id!(
    /// The name of a task within its rule: `work`.
    TaskName, "task", 32, word,
    "1 to 32 letters, digits, - and _, beginning with a letter or digit", "^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$"
);
name_id!(
    /// A tag that people put on runs: `sample-a`.
    TagName, "tag", 64, word,
    "1 to 64 letters, digits, - and _, beginning with a letter or digit", "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
);
name_id!(
    /// The name of a group of an experiment's runs: `detector-at-95mm`.
    GroupName, "run group", 64, word,
    "1 to 64 letters, digits, - and _, beginning with a letter or digit", "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
);
name_id!(
    /// The name of a dataset of an experiment: `lysozyme`.
    DatasetName, "dataset", 64, word,
    "1 to 64 letters, digits, - and _, beginning with a letter or digit", "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
);
name_id!(
    /// A part of a facility, as its own interface names it: `perlmutter`, `dtns`.
    ResourceName, "resource", 64, word,
    "1 to 64 letters, digits, - and _, beginning with a letter or digit", "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
);
name_id!(
    /// The name of a standing pool of workers: `live-nersc`.
    PoolName, "pool", 32, word,
    "1 to 32 letters, digits, - and _, beginning with a letter or digit", "^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$"
);
name_id!(
    /// A job's name at its scheduler, made of its identity; some keep 15 characters.
    JobName, "job", 15, word,
    "1 to 15 letters, digits, - and _, beginning with a letter or digit", "^[A-Za-z0-9][A-Za-z0-9_-]{0,14}$"
);

/// The number of a run within its experiment, at least 0.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(transparent)]
#[schemars(inline)]
pub struct RunNumber(pub u32);

impl fmt::Display for RunNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for RunNumber {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        number("run", text).map(Self)
    }
}

/// A number of 32 bits in digits alone.
pub(crate) fn number(what: &'static str, text: &str) -> Result<u32, IdError> {
    let rule = "a number from 0 to 4294967295";
    if text.len() > 10 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(refused(what, text, rule));
    }
    text.parse().map_err(|_| refused(what, text, rule))
}

/// Which registration of a file at a site is meant. The first is 1; it only grows.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Generation(pub u32);

impl Generation {
    /// The first registration.
    pub const FIRST: Self = Self(1);

    /// The registration after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A run of an experiment, written `mfxlv9518/12`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunKey {
    /// The experiment.
    pub experiment: Experiment,
    /// The run within it.
    pub run: RunNumber,
}

impl fmt::Display for RunKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.experiment, self.run)
    }
}

impl FromStr for RunKey {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (experiment, run) =
            text.split_once('/').ok_or_else(|| refused("run key", text, "written as experiment/run"))?;
        Ok(Self { experiment: experiment.parse()?, run: run.parse()? })
    }
}
as_string!(RunKey, "RunKey", schemars::json_schema!({ "type": "string", "examples": ["mfxlv9518/12"] }));

pub(crate) fn at_site<T: FromStr<Err = E>, E: Into<IdError>>(
    what: &'static str,
    text: &str,
) -> Result<(T, SiteName), IdError> {
    let (subject, site) =
        text.rsplit_once('@').ok_or_else(|| refused(what, text, "written as subject@site"))?;
    Ok((subject.parse().map_err(Into::into)?, site.parse()?))
}

/// A file at a site, written `/mfx/mfxlv9518/xtc/name@NERSC`: the key of `files.available` and `transfers`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileAtSite {
    /// The file.
    pub lfn: Lfn,
    /// The site.
    pub site: SiteName,
}

impl fmt::Display for FileAtSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.lfn, self.site)
    }
}

impl FromStr for FileAtSite {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        at_site("file at site", text).map(|(lfn, site)| Self { lfn, site })
    }
}
as_string!(FileAtSite, "FileAtSite", schemars::json_schema!({ "type": "string" }));

/// A run at a site, written `mfxlv9518/12@NERSC`: the key of `runs.available`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunAtSite {
    /// The run.
    pub run: RunKey,
    /// The site.
    pub site: SiteName,
}

impl fmt::Display for RunAtSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.run, self.site)
    }
}

impl FromStr for RunAtSite {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        at_site("run at site", text).map(|(run, site)| Self { run, site })
    }
}
as_string!(RunAtSite, "RunAtSite", schemars::json_schema!({ "type": "string" }));

/// A part of a site's facility, written `NERSC/perlmutter`: the key of `facility.status`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceAtSite {
    /// The site.
    pub site: SiteName,
    /// The part.
    pub resource: ResourceName,
}

impl fmt::Display for ResourceAtSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.site, self.resource)
    }
}

impl FromStr for ResourceAtSite {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rule = "written as site/resource";
        let (site, resource) = text.split_once('/').ok_or_else(|| refused("resource", text, rule))?;
        Ok(Self { site: site.parse()?, resource: resource.parse()? })
    }
}
as_string!(ResourceAtSite, "ResourceAtSite", schemars::json_schema!({ "type": "string" }));

/// One generation of a file to one site.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferId {
    /// The file.
    pub lfn: Lfn,
    /// Which registration of it.
    pub generation: Generation,
    /// Where to.
    pub site: SiteName,
}

impl TransferId {
    /// The file at the site, whatever its generation.
    pub fn at(&self) -> FileAtSite {
        FileAtSite { lfn: self.lfn.clone(), site: self.site.clone() }
    }
}

impl fmt::Display for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}#{}", self.lfn, self.site, self.generation)
    }
}

impl FromStr for TransferId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rule = "written as LFN@site#generation";
        let (at, generation) = text.rsplit_once('#').ok_or_else(|| refused("transfer", text, rule))?;
        let FileAtSite { lfn, site } = at.parse()?;
        let generation = generation.parse().map_err(|_| refused("transfer", text, rule))?;
        Ok(Self { lfn, generation: Generation(generation), site })
    }
}
as_string!(TransferId, "TransferId", schemars::json_schema!({ "type": "string" }));

/// One try of a transfer: which start of the mover (8 random hexadecimal digits) and the how manieth within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId {
    /// Random number of the mover's start.
    pub start: u32,
    /// Counts the transfer's attempts within that start, from 1.
    pub n: u32,
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}.{}", self.start, self.n)
    }
}

impl FromStr for AttemptId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.split_once('.').and_then(|(start, n)| {
            (start.len() == 8).then_some(())?;
            Some(Self { start: u32::from_str_radix(start, 16).ok()?, n: n.parse().ok()? })
        });
        parsed.ok_or_else(|| refused("attempt", text, "8 hexadecimal digits, a dot and a number"))
    }
}
as_string!(
    AttemptId,
    "AttemptId",
    schemars::json_schema!({ "type": "string", "pattern": "^[0-9a-f]{8}\\.[0-9]+$" })
);

#[cfg(test)]
mod tests;
