//! What is said of files: registrations, `file.available`, `file.gone`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::checksum::Checksum;
use crate::ids::{AttemptId, Generation, RunKey, SiteName};
use crate::lfn::Lfn;
use crate::time::{LogTime, Millis};

/// What a registration says of a file. Two registrations that do not contradict each other are one generation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Registration {
    /// When the file was created, as its writer says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<LogTime>,
    /// Where its writer put it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The writer's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Checksum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
    /// For a file found in a folder: modification time, seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtime: Option<i64>,
}

/// How a file was verified at its final name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verified {
    /// Size and checksum are the source's.
    Checksum,
    /// Only the size is: the site says `verify = "size"`.
    Size,
}

/// On `files.available`, key LFN@site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type")]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are the large one, and they live briefly")]
pub enum FileEvent {
    /// A file was verified at its final name.
    #[serde(rename = "file.available")]
    Available(FileAvailable),
    /// A file that was available is no longer there.
    #[serde(rename = "file.gone")]
    Gone(FileGone),
}

/// A file at a site, its size and checksum verified there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FileAvailable {
    /// The file.
    pub lfn: Lfn,
    /// Its run.
    pub run: RunKey,
    /// Where it is.
    pub site: SiteName,
    /// Which registration of it.
    pub generation: Generation,
    /// Size in bytes.
    pub size: u64,
    /// Its checksum, read at the final name. Missing only when `verified` is `size`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
    /// How it was verified.
    pub verified: Verified,
    /// The checksum that its registration named and that no server could compute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unchecked: Option<Checksum>,
    /// Where to read it: by the site's door.
    pub url: String,
    /// Whether it lay there already.
    pub already_there: bool,
    /// What its registration said.
    pub registration: Registration,
    /// Modification time of the source, seconds since 1970.
    pub source_mtime: i64,
    /// When what happened.
    pub timing: FileTiming,
    /// The attempt that brought it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<AttemptId>,
}

/// The course of a file's transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileTiming {
    /// When the mover learned of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Millis>,
    /// When the file was complete and could be copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<Millis>,
    /// When the attempt began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Millis>,
    /// When the last byte was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied: Option<Millis>,
    /// When size and checksum were read at the final name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Millis>,
}

/// A file that was available and is no longer there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileGone {
    /// The file.
    pub lfn: Lfn,
    /// Its run.
    pub run: RunKey,
    /// Where it was.
    pub site: SiteName,
    /// Which registration of it.
    pub generation: Generation,
    /// When its absence was seen.
    pub seen: Millis,
}
