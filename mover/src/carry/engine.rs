//! The seam between the flow of one file and what moves its bytes: a trait of few methods, each a single request.
//! An engine never retries, never decides, and knows nothing of transfers. Every wait has a limit in the engine where
//! it can have one, and in the flow in any case: dropping any of these futures is allowed at any time.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use lightrail_topics::{Checksum, ChecksumKind};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::names::SitePath;
use super::site::{Patience, Site};
use crate::fault::Fault;

/// Which site, and which server of it.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The site.
    pub site: &'a Site,
    /// One of its data servers by its own address `host:port`; none means the site's door, or the site itself where it
    /// has no servers.
    pub server: Option<&'a str>,
}

impl<'a> Place<'a> {
    /// The address that is asked: the server's, else the door's; none for a mounted file system.
    pub fn address(self) -> Option<&'a str> {
        self.server.or(self.site.door.as_deref())
    }
}

/// What a look at a path finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Bytes.
    pub size: u64,
    /// Last modification, in whole seconds since 1970.
    pub mtime: i64,
    /// Whether it is a folder.
    pub folder: bool,
}

/// One name in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name, without the folder.
    pub name: String,
    /// What it is, where the listing says so.
    pub stat: Option<Stat>,
}

/// A checksum that is wanted.
#[derive(Clone, Copy, Debug)]
pub struct SumOrder {
    /// Its kind.
    pub kind: ChecksumKind,
    /// How long the server may take.
    pub limit: Duration,
    /// Read the file again even where a sum of it is stored, if the server can.
    pub fresh: bool,
}

/// One copy.
#[derive(Clone, Copy, Debug)]
pub struct CopyOrder<'a> {
    /// Where from.
    pub from: Place<'a>,
    /// What.
    pub from_path: &'a SitePath,
    /// Where to.
    pub to: Place<'a>,
    /// Under which name, which must not exist.
    pub to_path: &'a SitePath,
    /// How many bytes the source has.
    pub size: u64,
    /// The limits.
    pub patience: &'a Patience,
}

/// How far a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Opening source and destination.
    Opening,
    /// The data server has it queued until one of its slots is free.
    Waiting,
    /// Bytes are moving, or should be.
    Copying,
    /// All bytes are there; the files are being closed.
    Closing,
}

/// Progress of a copy, written by the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// How far it is.
    pub phase: Phase,
    /// Bytes that the destination has.
    pub bytes: u64,
}

impl Progress {
    /// The beginning of every copy.
    pub const START: Self = Self { phase: Phase::Opening, bytes: 0 };
}

/// Moves bytes between sites and looks after names there.
#[async_trait]
pub trait Engine: Send + Sync + Debug {
    /// The data servers of a site that may be asked for or given files under its prefix, by their own address. Empty where a site
    /// has none of its own (a mounted file system): then the site itself is the only place.
    async fn servers(&self, site: &Site) -> Result<Vec<String>, Fault>;

    /// What lies at a path; `None` if nothing does. Asks the disk, not a memory of it.
    async fn stat(&self, place: Place<'_>, path: &SitePath) -> Result<Option<Stat>, Fault>;

    /// The kinds of checksum that can be had there. Asked once per place and remembered.
    async fn checksums_offered(&self, place: Place<'_>) -> Result<Vec<ChecksumKind>, Fault>;

    /// The checksum of a file there.
    async fn checksum(&self, place: Place<'_>, path: &SitePath, order: SumOrder) -> Result<Checksum, Fault>;

    /// Copies a file to a new name, making folders below the site's prefix. Never overwrites: an existing name is the
    /// fault `exists`. On success all bytes are there and closed, unverified.
    ///
    /// When `cancel` is cancelled it stops the copy and returns soon, the fault being `Cancelled`. After any fault, or when the
    /// future is dropped, it is unknown whether the new name holds nothing, a part, or all; and a copy that runs on servers may go on
    /// writing to it for a while.
    async fn copy(
        &self,
        order: CopyOrder<'_>,
        progress: &watch::Sender<Progress>,
        cancel: &CancellationToken,
    ) -> Result<(), Fault>;

    /// Renames within one folder of one place. An existing target is refused (fault `exists`) where the storage can
    /// refuse (the posix engine); **`XRootD` overwrites it without a word**, so look first.
    ///
    /// After a fault it is unknown whether the rename happened. `source-missing` or `not-found` may mean that it did and was sent
    /// twice. Settle it by looking at both names.
    async fn rename(&self, place: Place<'_>, from: &SitePath, to: &SitePath) -> Result<(), Fault>;

    /// Removes a file; whether there was one. After a fault it is unknown whether it is gone. Removing again is harmless.
    async fn remove(&self, place: Place<'_>, path: &SitePath) -> Result<bool, Fault>;

    /// The names in a folder; `None` if there is no such folder.
    async fn list(&self, place: Place<'_>, folder: &SitePath) -> Result<Option<Vec<Entry>>, Fault>;

    /// Sets a file's permission bits. Setting them again is harmless.
    async fn set_mode(&self, place: Place<'_>, path: &SitePath, mode: u32) -> Result<(), Fault>;

    /// Whether somebody is there. Any answer will do, also a refusal.
    async fn ping(&self, place: Place<'_>) -> Result<(), Fault>;
}
