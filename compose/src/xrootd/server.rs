//! One daemon of a cluster (`xrootd` or `cmsd`): its address, its log, and what a test does to it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::parts::Part;
use crate::process::{read_lossy, tail};
use crate::wait;

/// What is said of a daemon that is no more.
pub(super) const HAS_ENDED: &str = "it has ended";
/// And of one that said nothing.
pub(super) const NO_LOG: &str = "its log is empty";

/// A running `xrootd` or `cmsd`.
#[derive(Debug)]
pub struct Server {
    pub(super) address: String,
    pub(super) log: PathBuf,
    pub(super) part: Box<dyn Part>,
}

impl Server {
    /// `host:port` as clients and other servers name it; a server's `cmsd` listens nowhere and has its name here.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// SIGKILL; gone on return. A copy program that it has forked lives on, as it would on a real server.
    pub fn kill(&self) {
        self.part.kill();
    }

    /// SIGSTOP: it hangs, its connections stay open.
    pub fn stop(&self) {
        self.part.stop();
    }

    /// SIGCONT.
    pub fn cont(&self) {
        self.part.cont();
    }

    /// Kills it where it still runs and starts it again with the same port and data; returns when it listens. The
    /// cluster may take it back later (a restarted `cmsd` after up to 10 s): [`super::Cluster::ready`] tells.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn restart(&self) -> anyhow::Result<()> {
        let mut left = super::TRIES;
        loop {
            left -= 1;
            self.part.start_again().await?;
            match self.listens().await {
                Err(_) if left > 0 && !self.is_running() => {
                    eprintln!("{} ended at its start and is started again", self.part.name());
                }
                outcome => return outcome,
            }
        }
    }

    /// Whether it has not ended.
    pub fn is_running(&self) -> bool {
        self.part.is_running()
    }

    /// Its log and, where it died early, what it said on its standard error.
    pub fn log(&self) -> String {
        self.part.output() + &read_lossy(&self.log)
    }

    /// Waits until it takes connections, where it takes any.
    pub(super) async fn listens(&self) -> anyhow::Result<()> {
        let Some(port) = super::port_of(&self.address) else { return Ok(()) };
        self.lives_until(&format!("it to listen on port {port}"), async || {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok().map(drop)
        })
        .await
    }

    /// Waits for a sign of life, but not for that of a dead.
    pub(super) async fn lives_until<Looking: Future<Output = Option<()>>>(
        &self,
        what: &str,
        mut probe: impl FnMut() -> Looking,
    ) -> anyhow::Result<()> {
        let waiting = wait::until(what, super::DAEMON_WITHIN, || {
            let looking = probe();
            async {
                if self.is_running() { looking.await.map(Ok) } else { Some(Err(anyhow::anyhow!(HAS_ENDED))) }
            }
        });
        waiting.await.flatten().with_context(|| {
            let log = self.log();
            if log.trim().is_empty() {
                return format!("{}: {NO_LOG}", self.part.name());
            }
            format!("{}: its log ends with:\n{}", self.part.name(), tail(&log, 20))
        })
    }

    /// Whether this `cmsd` of a data server, in its present life, has logged in at the manager.
    pub(super) fn has_logged_in(&self) -> bool {
        let log = self.log();
        let life = log.rfind(" Starting on ").map_or("", |begin| &log[begin..]);
        life.contains("Protocol: Logged into")
    }

    /// Where its log lies.
    pub fn log_path(&self) -> &Path {
        &self.log
    }
}
