//! An engine whose sites are in memory: several servers over one store or each with its own, in tokio's time, so that
//! a paused clock runs it in no time and always in the same way. For tests of the flow and of everything above it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use lightrail_topics::{Checksum, ChecksumKind, SiteName};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

mod tamper;

use super::digest::of_bytes;
use super::engine::{CopyOrder, Engine, Entry, Phase, Place, Progress, Stat, SumOrder};
use super::names::SitePath;
use super::site::Site;
use crate::fault::{Fault, FaultClass};

pub use tamper::{Tamper, Tampering};

/// A file in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryFile {
    /// What it holds.
    pub bytes: Vec<u8>,
    /// Last modification, in whole seconds since 1970.
    pub mtime: i64,
    /// Permission bits.
    pub mode: u32,
}

/// What a server does with whoever calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Answers.
    Up,
    /// Refuses at once, as a dead process does.
    Refuses,
    /// Never answers, as a stopped process does; copies that it takes part in stand still.
    Hangs,
}

/// How a memory site is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemorySite {
    /// Its data servers' addresses; empty makes it like a mounted file system.
    pub servers: Vec<String>,
    /// Whether all servers see one store (as over Lustre), or each has its own.
    pub shared: bool,
    /// The kinds of checksum that can be had.
    pub offers: Vec<ChecksumKind>,
    /// Copies at once per server; more wait for a slot.
    pub slots: usize,
    /// Bytes per second of every copy to it.
    pub rate: u64,
    /// How long every call takes.
    pub latency: Duration,
}

impl MemorySite {
    /// A site with these servers over one store, that offers adler32 and crc32c.
    pub fn shared(servers: &[&str]) -> Self {
        Self {
            servers: servers.iter().map(|name| (*name).to_owned()).collect(),
            shared: true,
            offers: vec![ChecksumKind::Adler32, ChecksumKind::Crc32c],
            slots: 9,
            rate: 100_000_000,
            latency: Duration::from_millis(1),
        }
    }
}

/// Where the seconds of memory files begin.
const EPOCH: i64 = 1_600_000_000;

/// The engine.
#[derive(Debug, Default)]
pub struct Memory {
    sites: BTreeMap<SiteName, Kept>,
}

#[derive(Debug)]
struct Kept {
    settings: MemorySite,
    slots: Vec<Arc<Semaphore>>,
    state: Mutex<State>,
    born: Instant,
}

/// Short critical sections, never across an await.
#[derive(Debug, Default)]
struct State {
    stores: Vec<BTreeMap<String, MemoryFile>>,
    health: BTreeMap<String, Health>,
}

impl Memory {
    /// No sites.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a site.
    #[must_use]
    pub fn with(mut self, name: &SiteName, settings: MemorySite) -> Self {
        let stores = if settings.shared { 1 } else { settings.servers.len().max(1) };
        let slots =
            (0..settings.servers.len().max(1)).map(|_| Arc::new(Semaphore::new(settings.slots))).collect();
        let state = State { stores: vec![BTreeMap::new(); stores], health: BTreeMap::new() };
        self.sites
            .insert(name.clone(), Kept { settings, slots, state: Mutex::new(state), born: Instant::now() });
        self
    }

    /// Puts a file on the first server's store, replacing what was there; modified now.
    pub fn put(&self, site: &SiteName, path: &SitePath, bytes: impl Into<Vec<u8>>) {
        self.put_at(site, 0, path, bytes);
    }

    /// Puts a file on that store (0 where all servers share one).
    pub fn put_at(&self, site: &SiteName, store: usize, path: &SitePath, bytes: impl Into<Vec<u8>>) {
        let kept = self.kept(site);
        let file = MemoryFile { bytes: bytes.into(), mtime: kept.now(), mode: 0o644 };
        kept.lock().stores[store].insert(path.as_str().to_owned(), file);
    }

    /// The file at a path, on whichever store has it.
    pub fn get(&self, site: &SiteName, path: &SitePath) -> Option<MemoryFile> {
        self.kept(site).lock().stores.iter().find_map(|store| store.get(path.as_str()).cloned())
    }

    /// The file at a path, on that server's store.
    pub fn get_from(&self, site: &SiteName, server: Option<&str>, path: &SitePath) -> Option<MemoryFile> {
        let kept = self.kept(site);
        let index = kept.index(server).ok()?;
        kept.with(index, |files| files.get(path.as_str()).cloned())
    }

    /// Removes a file from all stores.
    pub fn delete(&self, site: &SiteName, path: &SitePath) {
        for store in &mut self.kept(site).lock().stores {
            store.remove(path.as_str());
        }
    }

    /// Every file at a site, store after store.
    pub fn files(&self, site: &SiteName) -> Vec<(String, MemoryFile)> {
        let state = self.kept(site).lock();
        state.stores.iter().flatten().map(|(path, file)| (path.clone(), file.clone())).collect()
    }

    /// Every path at a site, in order.
    pub fn paths(&self, site: &SiteName) -> Vec<String> {
        let mut paths: Vec<String> =
            self.kept(site).lock().stores.iter().flat_map(|store| store.keys().cloned()).collect();
        paths.sort();
        paths
    }

    /// Changes what a server does with its callers from now on.
    pub fn set_health(&self, site: &SiteName, server: &str, health: Health) {
        self.kept(site).lock().health.insert(server.to_owned(), health);
    }

    fn kept(&self, site: &SiteName) -> &Kept {
        self.sites.get(site).expect("a test asks only for sites that it made")
    }

    async fn enter<'a>(&'a self, place: Place<'_>) -> Result<(&'a Kept, usize), Fault> {
        let Some(kept) = self.sites.get(&place.site.name) else {
            return Err(Fault::new(
                FaultClass::Permanent,
                "unknown-site",
                format!("no site {}", place.site.name),
            ));
        };
        sleep(kept.settings.latency).await;
        let index = kept.index(place.server)?;
        kept.healthy(place.server).await?;
        Ok((kept, index))
    }
}

impl Kept {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> i64 {
        EPOCH + i64::try_from(self.born.elapsed().as_secs()).unwrap_or(0)
    }

    fn index(&self, server: Option<&str>) -> Result<usize, Fault> {
        let Some(server) = server else { return Ok(0) };
        self.settings.servers.iter().position(|name| name == server).ok_or_else(|| refused(server))
    }

    fn store(&self, server: usize) -> usize {
        if self.settings.shared { 0 } else { server }
    }

    fn health(&self, server: Option<&str>) -> Health {
        server.and_then(|name| self.lock().health.get(name).copied()).unwrap_or(Health::Up)
    }

    async fn healthy(&self, server: Option<&str>) -> Result<(), Fault> {
        match self.health(server) {
            Health::Up => Ok(()),
            Health::Refuses => Err(refused(server.unwrap_or_default())),
            Health::Hangs => std::future::pending().await,
        }
    }

    fn with<T>(&self, server: usize, act: impl FnOnce(&mut BTreeMap<String, MemoryFile>) -> T) -> T {
        let store = self.store(server);
        act(&mut self.lock().stores[store])
    }
}

fn refused(server: &str) -> Fault {
    let fault = Fault::new(FaultClass::Transient, "unreachable", format!("{server} refused the connection"));
    Fault { endpoint: Some(server.to_owned()), ..fault }
}

fn missing(path: &SitePath) -> Fault {
    Fault::new(FaultClass::SourceNotReady, "source-missing", format!("{path} is not there"))
}

fn exists(path: &SitePath) -> Fault {
    Fault::new(FaultClass::Transient, "exists", format!("{path} exists"))
}

#[async_trait]
impl Engine for Memory {
    async fn servers(&self, site: &Site) -> Result<Vec<String>, Fault> {
        let (kept, _) = self.enter(Place { site, server: None }).await?;
        Ok(kept.settings.servers.clone())
    }

    async fn stat(&self, place: Place<'_>, path: &SitePath) -> Result<Option<Stat>, Fault> {
        let (kept, server) = self.enter(place).await?;
        let stat =
            |file: &MemoryFile| Stat { size: file.bytes.len() as u64, mtime: file.mtime, folder: false };
        Ok(kept.with(server, |files| files.get(path.as_str()).map(stat)))
    }

    async fn checksums_offered(&self, place: Place<'_>) -> Result<Vec<ChecksumKind>, Fault> {
        let (kept, _) = self.enter(place).await?;
        Ok(kept.settings.offers.clone())
    }

    async fn checksum(&self, place: Place<'_>, path: &SitePath, order: SumOrder) -> Result<Checksum, Fault> {
        let (kept, server) = self.enter(place).await?;
        if !kept.settings.offers.contains(&order.kind) {
            let text = format!("{} is not offered", order.kind);
            return Err(Fault::new(FaultClass::Permanent, "unsupported", text));
        }
        let sum =
            kept.with(server, |files| files.get(path.as_str()).map(|file| of_bytes(order.kind, &file.bytes)));
        sum.ok_or_else(|| missing(path))
    }

    async fn copy(
        &self,
        order: CopyOrder<'_>,
        progress: &watch::Sender<Progress>,
        cancel: &CancellationToken,
    ) -> Result<(), Fault> {
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Fault::cancelled("the copy was cancelled")),
            done = self.copy_through(order, progress) => done,
        }
    }

    async fn rename(&self, place: Place<'_>, from: &SitePath, to: &SitePath) -> Result<(), Fault> {
        let (kept, server) = self.enter(place).await?;
        // Overwrites like XRootD, the worse of the two behaviours.
        kept.with(server, |files| {
            let file = files.remove(from.as_str()).ok_or_else(|| missing(from))?;
            files.insert(to.as_str().to_owned(), file);
            Ok(())
        })
    }

    async fn remove(&self, place: Place<'_>, path: &SitePath) -> Result<bool, Fault> {
        let (kept, server) = self.enter(place).await?;
        Ok(kept.with(server, |files| files.remove(path.as_str()).is_some()))
    }

    async fn list(&self, place: Place<'_>, folder: &SitePath) -> Result<Option<Vec<Entry>>, Fault> {
        let (kept, server) = self.enter(place).await?;
        let prefix = format!("{folder}/");
        let entries: Vec<Entry> = kept.with(server, |files| {
            let inside = files.iter().filter_map(|(path, file)| Some((path.strip_prefix(&prefix)?, file)));
            inside
                .filter(|(name, _)| !name.contains('/'))
                .map(|(name, file)| Entry {
                    name: name.to_owned(),
                    stat: Some(Stat { size: file.bytes.len() as u64, mtime: file.mtime, folder: false }),
                })
                .collect()
        });
        Ok(if entries.is_empty() { None } else { Some(entries) })
    }

    async fn set_mode(&self, place: Place<'_>, path: &SitePath, mode: u32) -> Result<(), Fault> {
        let (kept, server) = self.enter(place).await?;
        kept.with(server, |files| {
            files.get_mut(path.as_str()).ok_or_else(|| missing(path))?.mode = mode;
            Ok(())
        })
    }

    async fn ping(&self, place: Place<'_>) -> Result<(), Fault> {
        self.enter(place).await.map(|_| ())
    }
}

/// In how many pieces a copy moves.
const PIECES: usize = 8;

impl Memory {
    async fn copy_through(
        &self,
        order: CopyOrder<'_>,
        progress: &watch::Sender<Progress>,
    ) -> Result<(), Fault> {
        let (source, source_server) = self.enter(order.from).await?;
        let (target, target_server) = self.enter(order.to).await?;
        let (from, to) = (order.from_path.as_str(), order.to_path.as_str());
        if !source.with(source_server, |files| files.contains_key(from)) {
            return Err(missing(order.from_path));
        }
        let empty = MemoryFile { bytes: Vec::new(), mtime: target.now(), mode: 0o644 };
        let is_new = target.with(target_server, |files| {
            !files.contains_key(to) && files.insert(to.to_owned(), empty).is_none()
        });
        if !is_new {
            return Err(exists(order.to_path));
        }

        progress.send_replace(Progress { phase: Phase::Waiting, bytes: 0 });
        let slot = target.slots[target_server].acquire().await;
        let _slot = slot.expect("the semaphore is never closed");
        progress.send_replace(Progress { phase: Phase::Copying, bytes: 0 });

        let piece = (usize::try_from(order.size).unwrap_or(usize::MAX) / PIECES).max(1);
        let mut done = 0;
        loop {
            let next = source.with(source_server, |files| {
                let file = files.get(from).ok_or_else(|| missing(order.from_path))?;
                let end = file.bytes.len().min(done + piece);
                Ok(file.bytes.get(done..end).unwrap_or_default().to_vec())
            })?;
            if next.is_empty() {
                break;
            }
            sleep(
                Duration::from_micros(next.len() as u64 * 1_000_000 / target.settings.rate.max(1))
                    .max(MINIMUM),
            )
            .await;
            // A copy whose server died stands still: nobody tells (as measured with XRootD).
            for (kept, place) in [(source, order.from), (target, order.to)] {
                if kept.health(place.server) != Health::Up {
                    std::future::pending::<()>().await;
                }
            }
            done += next.len();
            let now = target.now();
            target.with(target_server, |files| {
                // Removed under the copy: it writes on, to nobody.
                if let Some(file) = files.get_mut(to) {
                    file.bytes.extend_from_slice(&next);
                    file.mtime = now;
                }
            });
            progress.send_replace(Progress { phase: Phase::Copying, bytes: done as u64 });
        }
        progress.send_replace(Progress { phase: Phase::Closing, bytes: done as u64 });
        sleep(target.settings.latency).await;
        Ok(())
    }
}

/// No piece takes less, so that other tasks can come between.
const MINIMUM: Duration = Duration::from_micros(100);
