//! What is said of runs at a site: `run.available`, `run.corrected`, `run.incomplete`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::checksum::Checksum;
use crate::ids::{Generation, RunKey, SiteName};
use crate::lfn::Lfn;
use crate::time::Millis;

/// By what a run was known to take no more data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClosedBy {
    /// The first Update with `end_time`.
    EndTime,
    /// The start of the experiment's next run.
    NextRun,
    /// The logbook's REST, asked when the run had been silent.
    Logbook,
    /// In a folder without logbook: files of the next run.
    NextRunsFiles,
    /// In a folder without logbook: a quiet time.
    QuietTime,
    /// A request named the run.
    Request,
}

/// One file of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ManifestFile {
    /// The file.
    pub lfn: Lfn,
    /// Which registration of it.
    pub generation: Generation,
    /// Size in bytes.
    pub size: u64,
    /// Its checksum at the site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
    /// Where to read it: by the site's door.
    pub url: String,
}

/// A file that the run does not wait for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftOut {
    /// The file.
    pub lfn: Lfn,
    /// Who left it out: `configuration`, or a person.
    pub by: String,
    /// Why.
    pub why: String,
}

/// A file that a run still lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MissingFile {
    /// The file.
    pub lfn: Lfn,
    /// The one thing it waits for or failed by, in words.
    pub why: String,
}

/// On `runs.available`, key experiment/run@site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type")]
pub enum RunEvent {
    /// Closed, and every file verified or named as left out. Once.
    #[serde(rename = "run.available")]
    Available(RunManifest),
    /// The whole manifest again, after something came late, was registered again, or went.
    #[serde(rename = "run.corrected")]
    Corrected(RunCorrected),
    /// Closed, and what is missing has failed or is overdue. May repeat; the one `run.available` may still follow.
    #[serde(rename = "run.incomplete")]
    Incomplete(RunIncomplete),
}

/// All files of a closed run at a site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunManifest {
    /// The run.
    pub run: RunKey,
    /// Where its files are.
    pub site: SiteName,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<Millis>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Millis>,
    /// By what it was known to be closed.
    pub closed_by: ClosedBy,
    /// Its files, by name. Empty for a run that wrote none.
    pub files: Vec<ManifestFile>,
    /// Files that the run did not wait for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// When its first file became available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_file: Option<Millis>,
    /// When this was known.
    pub at: Millis,
}

/// A manifest that replaces the one before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunCorrected {
    /// Counts the run's corrections at the site, from 1.
    pub number: u32,
    /// What changed, in words.
    pub because: String,
    /// The whole manifest.
    pub manifest: RunManifest,
}

/// A closed run that lacks files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunIncomplete {
    /// Counts these messages of the run at the site, from 1.
    pub number: u32,
    /// The run.
    pub run: RunKey,
    /// The site that lacks files.
    pub site: SiteName,
    /// What is missing, and why.
    pub missing: Vec<MissingFile>,
    /// How many files are there.
    pub available: u32,
    /// When this was known.
    pub at: Millis,
}
