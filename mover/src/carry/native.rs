//! The engine for `XRootD` sites: has the destination's data server pull the file, each step driven by ourselves through
//! the `xrootd` crate. The only module of the mover that knows that crate. No byte passes through this process, no thread waits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use lightrail_topics::{Checksum, ChecksumKind};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use xrootd::tpc::{self, Copying, Key, Limits};
use xrootd::{Endpoint, ErrorKind, FileSystem, Url};

use super::engine::{CopyOrder, Engine, Entry, Phase, Place, Progress, Stat, SumOrder};
use super::names::SitePath;
use super::site::{Patience, Site};
use crate::fault::{Answer, Fault, FaultClass, Side};

/// Settings of the native engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NativeSettings {
    /// Limits for its own calls; the flow's stand above them.
    pub patience: Patience,
    /// TCP streams of one copy.
    pub streams: u16,
    /// How long a list of a site's data servers is believed. 10 s.
    pub servers_last: Duration,
    /// How long a source remembers that a destination may read; its server caps it. 60 s.
    pub permission_lasts: Duration,
}

impl Default for NativeSettings {
    fn default() -> Self {
        Self {
            patience: Patience::default(),
            streams: 1,
            servers_last: Duration::from_secs(10),
            permission_lasts: Duration::from_secs(60),
        }
    }
}

/// The engine.
#[derive(Debug, Default)]
pub struct Native {
    settings: NativeSettings,
    known: Mutex<Known>,
}

/// What was learnt. Short critical sections, never across an await.
#[derive(Debug, Default)]
struct Known {
    clients: HashMap<String, FileSystem>,
    servers: HashMap<(String, String), (Vec<String>, Instant)>,
    offers: HashMap<String, Vec<ChecksumKind>>,
    /// Servers that copy from others; one that does not is asked again next time.
    copiers: HashMap<String, tpc::Capability>,
    /// Sums that are being computed, by server, path and kind.
    sums: HashMap<(String, String, ChecksumKind), Weak<Semaphore>>,
}

/// Lets whoever computes on this machine go first; before any thread is started. Where the kernel does not, only speed is lost.
pub fn give_way() {
    let _ = xrootd::give_way();
}

/// Ends the client library's threads, before the process ends.
pub fn shutdown() {
    xrootd::shutdown();
}

impl Native {
    /// An engine that knows no server yet.
    pub fn new(settings: NativeSettings) -> Self {
        Self { settings, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The turn to ask for a sum. A server that is asked twice for the same one on one connection while it computes it answers
    /// only once (a file that goes to two sites): the second waits for the first, and then finds the sum stored.
    fn turn(&self, server: &str, path: &SitePath, kind: ChecksumKind) -> Arc<Semaphore> {
        let mut known = self.known();
        known.sums.retain(|_, turn| turn.strong_count() > 0);
        let key = (server.to_owned(), path.as_str().to_owned(), kind);
        if let Some(turn) = known.sums.get(&key).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::new(Semaphore::new(1));
        known.sums.insert(key, Arc::downgrade(&turn));
        turn
    }

    fn call_limit(&self) -> Duration {
        self.settings.patience.call
    }

    /// The client of a place, made once per server.
    pub(super) fn client(&self, place: Place<'_>) -> Result<FileSystem, Fault> {
        let address = address(place)?;
        if let Some(client) = self.known().clients.get(address) {
            return Ok(client.clone());
        }
        let client = FileSystem::new(&endpoint(address)?);
        self.known().clients.insert(address.to_owned(), client.clone());
        Ok(client)
    }

    /// Whether a server can copy from others; asked once and remembered.
    async fn must_copy(&self, place: Place<'_>) -> Result<(), Fault> {
        let address = address(place)?;
        if self.known().copiers.contains_key(address) {
            return Ok(());
        }
        let client = self.client(place)?;
        let capability =
            tpc::capability(&client, self.call_limit()).await.map_err(|error| fault_at(place, &error))?;
        if !capability.tpc {
            let text = format!("{address} does not offer third-party copies (ofs.tpc)");
            return Err(Fault::new(FaultClass::Permanent, "no-tpc", text).at(Side::Neither, Some(address)));
        }
        self.known().copiers.insert(address.to_owned(), capability);
        Ok(())
    }
}

fn address(place: Place<'_>) -> Result<&str, Fault> {
    place.address().ok_or_else(|| {
        let text = format!("site {} has no door; only the posix engine can reach it", place.site.name);
        Fault::new(FaultClass::Permanent, "no-door", text)
    })
}

fn endpoint(address: &str) -> Result<Endpoint, Fault> {
    address
        .parse()
        .map_err(|error| Fault::new(FaultClass::Permanent, "bad-address", format!("{address}: {error}")))
}

/// The fault that an error means; the flow says which side it was.
fn fault_of(error: &xrootd::Error, side: Side, endpoint: Option<&str>) -> Fault {
    let (side, endpoint) = if error.from_source() { (Side::Source, None) } else { (side, endpoint) };
    // A number of this machine, not of a server, is no kXR code.
    let answer = Answer { code: error.code(), errno: error.errno(), message: error.message() };
    Fault::from_answer(error.what(), side, endpoint, answer)
}

fn fault_at(place: Place<'_>, error: &xrootd::Error) -> Fault {
    fault_of(error, Side::Neither, place.address())
}

fn stat_of(stat: &xrootd::Stat) -> Stat {
    Stat { size: stat.size, mtime: stat.mtime, folder: stat.is_dir }
}

#[async_trait]
impl Engine for Native {
    async fn servers(&self, site: &Site) -> Result<Vec<String>, Fault> {
        let door = Place { site, server: None };
        let name = address(door)?;
        let key = (name.to_owned(), site.prefix.clone());
        let remembered = self.known().servers.get(&key).cloned();
        if let Some((servers, at)) = remembered
            && at.elapsed() < self.settings.servers_last
        {
            return Ok(servers);
        }
        // The exported folder itself lies on every server that takes part.
        let exported = if site.prefix.is_empty() { "/" } else { &site.prefix };
        let client = self.client(door)?;
        let found = client.deep_locate(exported, false, self.call_limit()).await;
        let found = found.map_err(|error| fault_at(door, &error))?;
        if found.is_empty() {
            let text = format!("{name} knows no data server that exports {exported}");
            return Err(Fault::new(FaultClass::Endpoint, "no-servers", text).at(Side::Neither, Some(name)));
        }
        let servers: Vec<String> = found.iter().map(Endpoint::to_string).collect();
        self.known().servers.insert(key, (servers.clone(), Instant::now()));
        Ok(servers)
    }

    async fn stat(&self, place: Place<'_>, path: &SitePath) -> Result<Option<Stat>, Fault> {
        let client = self.client(place)?;
        let stat =
            client.stat(path.as_str(), self.call_limit()).await.map_err(|error| fault_at(place, &error))?;
        Ok(stat.as_ref().map(stat_of))
    }

    async fn checksums_offered(&self, place: Place<'_>) -> Result<Vec<ChecksumKind>, Fault> {
        let address = address(place)?;
        if let Some(offers) = self.known().offers.get(address) {
            return Ok(offers.clone());
        }
        let client = self.client(place)?;
        let values = client.query_config(&["chksum"], self.call_limit()).await;
        let values = values.map_err(|error| fault_at(place, &error))?;
        let offers = offered(values.first().map_or("", String::as_str));
        self.known().offers.insert(address.to_owned(), offers.clone());
        Ok(offers)
    }

    async fn checksum(&self, place: Place<'_>, path: &SitePath, order: SumOrder) -> Result<Checksum, Fault> {
        // A server has no way to be asked for a sum that is not stored, so `fresh` cannot be kept here.
        let client = self.client(place)?;
        let turn = self.turn(address(place)?, path, order.kind);
        let _turn = turn.acquire().await;
        let answer = client.checksum(path.as_str(), order.kind.name(), order.limit).await;
        let (kind, value) = answer.map_err(|error| fault_at(place, &error))?;
        let sum = kind.parse().and_then(|kind| Checksum::new(kind, &value));
        match sum {
            Ok(sum) if sum.kind() == order.kind => Ok(sum),
            _ => {
                let text = format!(
                    "{} answered {kind} {value} when asked for {} of {path}",
                    client.endpoint(),
                    order.kind
                );
                Err(Fault::new(FaultClass::Transient, "bad-answer", text).at(Side::Neither, place.address()))
            }
        }
    }

    async fn copy(
        &self,
        order: CopyOrder<'_>,
        progress: &watch::Sender<Progress>,
        cancel: &CancellationToken,
    ) -> Result<(), Fault> {
        let patience = order.patience;
        let at_destination = |error: &xrootd::Error| fault_of(error, Side::Destination, order.to.address());
        let stopped = || Fault::cancelled("the copy was cancelled");
        let mut copying = tokio::select! {
            biased;
            opened = self.open(order) => opened?,
            // Dropped while it is opened: what may have been opened is closed behind our back.
            () = cancel.cancelled() => return Err(stopped()),
        };
        progress.send_replace(Progress { phase: Phase::Waiting, bytes: 0 });
        let done = tokio::select! {
            biased;
            done = rendezvous(&mut copying, patience, order.size, progress) => done,
            () = cancel.cancelled() => {
                stop(copying, patience).await;
                return Err(stopped());
            }
        };
        if let Err(error) = done {
            stop(copying, patience).await;
            return Err(at_destination(&error));
        }
        progress.send_replace(Progress { phase: Phase::Closing, bytes: order.size });
        copying.close(patience.closing(order.size)).await.map_err(|error| at_destination(&error))
    }

    async fn rename(&self, place: Place<'_>, from: &SitePath, to: &SitePath) -> Result<(), Fault> {
        let client = self.client(place)?;
        client
            .mv(from.as_str(), to.as_str(), self.call_limit())
            .await
            .map_err(|error| fault_at(place, &error))
    }

    async fn remove(&self, place: Place<'_>, path: &SitePath) -> Result<bool, Fault> {
        let client = self.client(place)?;
        match client.rm(path.as_str(), self.call_limit()).await {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(fault_at(place, &error)),
        }
    }

    async fn list(&self, place: Place<'_>, folder: &SitePath) -> Result<Option<Vec<Entry>>, Fault> {
        let client = self.client(place)?;
        match client.dirlist(folder.as_str(), self.call_limit()).await {
            Ok(entries) => {
                let entry = |found: xrootd::DirEntry| Entry {
                    stat: found.stat.as_ref().map(stat_of),
                    name: found.name,
                };
                let mut entries: Vec<Entry> = entries.into_iter().map(entry).collect();
                entries.sort_by(|a, b| a.name.cmp(&b.name));
                Ok(Some(entries))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(fault_at(place, &error)),
        }
    }

    async fn set_mode(&self, place: Place<'_>, path: &SitePath, mode: u32) -> Result<(), Fault> {
        let client = self.client(place)?;
        client.chmod(path.as_str(), mode, self.call_limit()).await.map_err(|error| fault_at(place, &error))
    }

    async fn ping(&self, place: Place<'_>) -> Result<(), Fault> {
        let client = self.client(place)?;
        client.ping(self.call_limit()).await.map_err(|error| fault_at(place, &error))
    }
}

/// The mode of a temporary file; the site's own comes when it is verified.
const NEW_FILE: u32 = 0o644;

impl Native {
    async fn open(&self, order: CopyOrder<'_>) -> Result<Copying, Fault> {
        self.must_copy(order.to).await?;
        let source_server = endpoint(address(order.from)?)?;
        let destination_server = endpoint(address(order.to)?)?;
        let door = order.from.site.door.as_deref().map(endpoint).transpose()?;
        let spec = tpc::Spec {
            source: Url::new(&source_server, order.from_path.as_str()),
            destination: Url::new(&destination_server, order.to_path.as_str()),
            size: Some(order.size),
            streams: self.settings.streams,
            ttl: Some(self.settings.permission_lasts),
            mode: NEW_FILE,
            source_as_user_gave: door.unwrap_or(source_server),
        };
        let limits = Limits { open: order.patience.call, slot: order.patience.slot };
        // Never used twice: two copies with one key end each other.
        let key = Key::new(fastrand::u128(..));
        let opened = tpc::open(&spec, &key, &limits).await;
        opened.map_err(|error| fault_of(&error, Side::Destination, order.to.address()))
    }
}

/// From the slot to the last byte.
async fn rendezvous(
    copying: &mut Copying,
    patience: &Patience,
    size: u64,
    progress: &watch::Sender<Progress>,
) -> Result<(), xrootd::Error> {
    copying.granted().await?;
    copying.start()?;
    progress.send_replace(Progress { phase: Phase::Copying, bytes: 0 });
    loop {
        match copying.wait(patience.progress_every).await {
            Err(error) if error.kind() == ErrorKind::TimedOut => {}
            done => return done,
        }
        // A server that does not tell the size is one whose copy does not grow.
        if let Ok(bytes) = copying.size(patience.call).await {
            progress.send_replace(Progress { phase: Phase::Copying, bytes: bytes.min(size) });
        }
    }
}

/// Cancels a copy and closes its files, within the limit for that; what takes longer goes on behind our back.
async fn stop(copying: Copying, patience: &Patience) {
    match timeout(patience.cancel, copying.close(patience.cancel)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "closing a stopped copy"),
        Err(_) => tracing::info!("a stopped copy was not closed in time"),
    }
}

/// The kinds in a server's answer to `chksum`: `0:adler32,1:crc32c`, by number and name; `chksum` itself where there is none.
fn offered(answer: &str) -> Vec<ChecksumKind> {
    let names = answer.split([',', ' ']).filter_map(|one| one.split(':').next_back());
    let mut kinds: Vec<ChecksumKind> = names.filter_map(|name| name.parse().ok()).collect();
    kinds.dedup();
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_are_read_from_the_server_s_answer() {
        use ChecksumKind::{Adler32, Crc32c};
        assert_eq!(offered("0:adler32,1:crc32c"), [Adler32, Crc32c]);
        assert_eq!(offered("adler32"), [Adler32]);
        assert_eq!(offered("0:crc64,1:crc32c"), [Crc32c]);
        assert!(offered("chksum").is_empty() && offered("").is_empty());
    }
}
