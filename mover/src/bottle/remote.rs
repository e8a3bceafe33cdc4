//! The remote as one life of the mover sees it: every change is a step, and after the life's death nothing more comes of it,
//! except what servers go on doing by themselves.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lightrail_topics::{Checksum, ChecksumKind};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::world::{Life, World};
use crate::carry::{CopyOrder, Engine, Entry, Place, Progress, Site, SitePath, Stat, SumOrder};
use crate::fault::Fault;

/// A life's engine.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) world: Arc<World>,
    pub(super) life: Life,
}

impl Remote {
    async fn alive<T>(&self, call: impl Future<Output = Result<T, Fault>> + Send) -> Result<T, Fault> {
        tokio::select! {
            biased;
            () = self.life.over() => std::future::pending().await,
            answer = call => answer,
        }
    }

    fn step(&self, place: Place<'_>, what: impl FnOnce() -> String) {
        let site = &place.site.name;
        self.world.act(&self.life, || format!("{} at {site}", what()), |_| ());
    }
}

/// How much a server's copy of a dead client moves at a time, and how often.
const ZOMBIE_PIECE: usize = 200;
const ZOMBIE_PAUSE: Duration = Duration::from_millis(150);

#[async_trait]
impl Engine for Remote {
    async fn servers(&self, site: &Site) -> Result<Vec<String>, Fault> {
        self.alive(self.world.remote.servers(site)).await
    }

    async fn stat(&self, place: Place<'_>, path: &SitePath) -> Result<Option<Stat>, Fault> {
        self.alive(self.world.remote.stat(place, path)).await
    }

    async fn checksums_offered(&self, place: Place<'_>) -> Result<Vec<ChecksumKind>, Fault> {
        self.alive(self.world.remote.checksums_offered(place)).await
    }

    async fn checksum(&self, place: Place<'_>, path: &SitePath, order: SumOrder) -> Result<Checksum, Fault> {
        self.alive(self.world.remote.checksum(place, path, order)).await
    }

    async fn copy(
        &self,
        order: CopyOrder<'_>,
        progress: &watch::Sender<Progress>,
        cancel: &CancellationToken,
    ) -> Result<(), Fault> {
        let name = order.to_path.file_name().to_owned();
        self.step(order.to, || format!("copy to {name} begins"));
        let outcome = tokio::select! {
            biased;
            () = self.life.over() => None,
            outcome = self.world.remote.copy(order, progress, cancel) => Some(outcome),
        };
        if let Some(outcome) = outcome {
            self.step(order.to, || match &outcome {
                Ok(()) => format!("copy to {name} ends"),
                Err(fault) => format!("copy to {name} fails: {fault}"),
            });
            return outcome;
        }
        if self.world.dice(2) == 0 {
            let (world, to, path) = (self.world.clone(), order.to.site.name.clone(), order.to_path.clone());
            let (from, source) = (order.from.site.name.clone(), order.from_path.clone());
            tokio::spawn(async move {
                for _ in 0..20 {
                    tokio::time::sleep(ZOMBIE_PAUSE).await;
                    let memory = world.memory();
                    let (Some(all), Some(part)) = (memory.get(&from, &source), memory.get(&to, &path)) else {
                        return;
                    };
                    let end = all.bytes.len().min(part.bytes.len() + ZOMBIE_PIECE);
                    memory.put(&to, &path, all.bytes[..end].to_vec());
                }
            });
        }
        std::future::pending().await
    }

    async fn rename(&self, place: Place<'_>, from: &SitePath, to: &SitePath) -> Result<(), Fault> {
        let outcome = tokio::select! {
            biased;
            () = self.life.over() => None,
            outcome = self.world.remote.rename(place, from, to) => Some(outcome),
        };
        let Some(outcome) = outcome else {
            if self.world.dice(2) == 0 {
                // It was sent: the server does it, and nobody hears the answer.
                let _ = self.world.memory().rename(place, from, to).await;
                self.world.note(format!("a dead process's rename to {} is done", to.file_name()));
                self.world.check_final(&place.site.name, to);
            }
            return std::future::pending().await;
        };
        self.world.check_final(&place.site.name, to);
        self.step(place, || format!("rename to {}: {outcome:?}", to.file_name()));
        outcome
    }

    async fn remove(&self, place: Place<'_>, path: &SitePath) -> Result<bool, Fault> {
        let removed = self.alive(self.world.remote.remove(place, path)).await?;
        if removed {
            self.step(place, || format!("{} is removed", path.file_name()));
        }
        Ok(removed)
    }

    async fn list(&self, place: Place<'_>, folder: &SitePath) -> Result<Option<Vec<Entry>>, Fault> {
        self.alive(self.world.remote.list(place, folder)).await
    }

    async fn set_mode(&self, place: Place<'_>, path: &SitePath, mode: u32) -> Result<(), Fault> {
        self.alive(self.world.remote.set_mode(place, path, mode)).await
    }

    async fn ping(&self, place: Place<'_>) -> Result<(), Fault> {
        self.alive(self.world.remote.ping(place)).await
    }
}
