//! A wrapper that makes any engine unreliable, driven by a seed: it fails before, fails after having done it, delays,
//! hangs, and spoils copies. The same seed and the same calls give the same faults.

use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use lightrail_topics::{Checksum, ChecksumKind};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::engine::{CopyOrder, Engine, Entry, Place, Progress, Stat, SumOrder};
use super::memory::{Tamper, Tampering};
use super::names::SitePath;
use super::site::Site;
use crate::fault::{Fault, FaultClass};

/// An engine that fails now and then.
#[derive(Debug)]
pub struct Faulty<E> {
    inner: E,
    /// Short critical sections, never across an await.
    dice: Mutex<Dice>,
}

#[derive(Debug)]
struct Dice {
    rng: fastrand::Rng,
    per_mille: u32,
    left: u32,
    thrown: u32,
}

/// What is done to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mischief {
    FailBefore,
    FailAfter,
    Delay(Duration),
    Hang,
    /// Copies only: done, then tampered with, and success is said.
    Spoil(Tampering),
    /// Copies only: runs for a while, then never moves again.
    Stand(Duration),
    /// Copies only: moves in small steps with long pauses.
    Crawl,
}

impl<E> Faulty<E> {
    /// Wraps an engine: `per_mille` of 1000 calls get a fault, `most` in all, so that what tries again gets through.
    pub fn new(inner: E, seed: u64, per_mille: u32, most: u32) -> Self {
        let dice = Dice { rng: fastrand::Rng::with_seed(seed), per_mille, left: most, thrown: 0 };
        Self { inner, dice: Mutex::new(dice) }
    }

    /// The engine inside.
    pub fn inner(&self) -> &E {
        &self.inner
    }

    /// How many faults there were so far.
    pub fn faults(&self) -> u32 {
        self.lock().thrown
    }

    /// No more faults from now on.
    pub fn calm(&self) {
        self.lock().left = 0;
    }

    fn lock(&self) -> MutexGuard<'_, Dice> {
        self.dice.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn throw(&self, copy: bool) -> Option<Mischief> {
        let dice = &mut *self.lock();
        if dice.left == 0 || dice.rng.u32(0..1000) >= dice.per_mille {
            return None;
        }
        dice.left -= 1;
        dice.thrown += 1;
        let delay = Duration::from_millis(dice.rng.u64(1..8000));
        let sides = if copy { 9 } else { 4 };
        Some(match dice.rng.u32(0..sides) {
            0 => Mischief::FailBefore,
            1 => Mischief::FailAfter,
            2 => Mischief::Delay(delay),
            3 => Mischief::Hang,
            4 => Mischief::Spoil(Tampering::Truncate),
            5 => Mischief::Spoil(Tampering::Corrupt),
            6 => Mischief::Spoil(Tampering::Vanish),
            7 => Mischief::Stand(delay / 1000),
            _ => Mischief::Crawl,
        })
    }

    async fn call<T: Send>(&self, call: impl Future<Output = Result<T, Fault>> + Send) -> Result<T, Fault> {
        match self.throw(false) {
            None => call.await,
            Some(Mischief::FailBefore) => Err(injected("before")),
            Some(Mischief::FailAfter) => {
                let _ = call.await;
                Err(injected("after"))
            }
            Some(Mischief::Delay(delay)) => {
                sleep(delay).await;
                call.await
            }
            Some(_) => std::future::pending().await,
        }
    }
}

fn injected(when: &str) -> Fault {
    Fault::new(FaultClass::Transient, "injected", format!("made to fail {when} doing it"))
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<E: Engine + Tamper> Engine for Faulty<E> {
    async fn servers(&self, site: &Site) -> Result<Vec<String>, Fault> {
        self.call(self.inner.servers(site)).await
    }

    async fn stat(&self, place: Place<'_>, path: &SitePath) -> Result<Option<Stat>, Fault> {
        self.call(self.inner.stat(place, path)).await
    }

    async fn checksums_offered(&self, place: Place<'_>) -> Result<Vec<ChecksumKind>, Fault> {
        self.call(self.inner.checksums_offered(place)).await
    }

    async fn checksum(&self, place: Place<'_>, path: &SitePath, order: SumOrder) -> Result<Checksum, Fault> {
        self.call(self.inner.checksum(place, path, order)).await
    }

    async fn copy(
        &self,
        order: CopyOrder<'_>,
        progress: &watch::Sender<Progress>,
        cancel: &CancellationToken,
    ) -> Result<(), Fault> {
        let copy = self.inner.copy(order, progress, cancel);
        match self.throw(true) {
            None => copy.await,
            Some(Mischief::FailBefore) => Err(injected("before")),
            Some(Mischief::FailAfter) => {
                let _ = copy.await;
                Err(injected("after"))
            }
            Some(Mischief::Delay(delay)) => {
                sleep(delay).await;
                copy.await
            }
            Some(Mischief::Hang) => std::future::pending().await,
            Some(Mischief::Spoil(how)) => {
                copy.await?;
                self.inner.tamper(order.to, order.to_path, how);
                Ok(())
            }
            Some(Mischief::Stand(after)) => {
                let mut copy = pin!(copy);
                match timeout_at(Instant::now() + after, &mut copy).await {
                    Ok(done) => done,
                    // Not polled any more: the bytes so far stay.
                    Err(_) => std::future::pending().await,
                }
            }
            Some(Mischief::Crawl) => {
                let mut copy = pin!(copy);
                loop {
                    if let Ok(done) = timeout_at(Instant::now() + CRAWL_STEP, &mut copy).await {
                        return done;
                    }
                    sleep(CRAWL_PAUSE).await;
                }
            }
        }
    }

    async fn rename(&self, place: Place<'_>, from: &SitePath, to: &SitePath) -> Result<(), Fault> {
        self.call(self.inner.rename(place, from, to)).await
    }

    async fn remove(&self, place: Place<'_>, path: &SitePath) -> Result<bool, Fault> {
        self.call(self.inner.remove(place, path)).await
    }

    async fn list(&self, place: Place<'_>, folder: &SitePath) -> Result<Option<Vec<Entry>>, Fault> {
        self.call(self.inner.list(place, folder)).await
    }

    async fn set_mode(&self, place: Place<'_>, path: &SitePath, mode: u32) -> Result<(), Fault> {
        self.call(self.inner.set_mode(place, path, mode)).await
    }

    async fn ping(&self, place: Place<'_>) -> Result<(), Fault> {
        self.call(self.inner.ping(place)).await
    }
}

const CRAWL_STEP: Duration = Duration::from_micros(500);
const CRAWL_PAUSE: Duration = Duration::from_secs(2);
