//! The engine that has the `xrdcp` tool make the copy: the reference, and the fall-back where the native engine's own
//! rendezvous should fail. All other calls are the native engine's. A copy is one process, killed when nobody waits for it.

use std::convert::Infallible;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use async_trait::async_trait;
use lightrail_topics::{Checksum, ChecksumKind};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::engine::{CopyOrder, Engine, Entry, Phase, Place, Progress, Stat, SumOrder};
use super::names::SitePath;
use super::native::Native;
use super::site::Site;
use crate::fault::{Answer, Fault, FaultClass, Side};

/// The engine.
#[derive(Debug)]
pub struct Xrdcp {
    native: Native,
    program: PathBuf,
}

impl Xrdcp {
    /// Uses the `xrdcp` of the path.
    pub fn new(native: Native) -> Self {
        Self::with_program(native, "xrdcp")
    }

    /// Uses that program.
    pub fn with_program(native: Native, program: impl Into<PathBuf>) -> Self {
        Self { native, program: program.into() }
    }

    async fn watch_size(&self, order: CopyOrder<'_>, progress: &watch::Sender<Progress>) -> Infallible {
        let mut ticks = interval(order.patience.progress_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Ok(Some(stat)) = self.native.stat(order.to, order.to_path).await {
                // The tool says nothing of slots: an empty file may still be waiting for one.
                let phase = if stat.size == 0 { Phase::Waiting } else { Phase::Copying };
                progress.send_replace(Progress { phase, bytes: stat.size });
            }
        }
    }
}

fn url(place: Place<'_>, path: &SitePath) -> Result<String, Fault> {
    match place.address() {
        Some(address) => Ok(format!("root://{address}/{path}")),
        None => {
            Err(Fault::new(FaultClass::Permanent, "no-door", format!("site {} has no door", place.site.name)))
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Engine for Xrdcp {
    async fn servers(&self, site: &Site) -> Result<Vec<String>, Fault> {
        self.native.servers(site).await
    }

    async fn stat(&self, place: Place<'_>, path: &SitePath) -> Result<Option<Stat>, Fault> {
        self.native.stat(place, path).await
    }

    async fn checksums_offered(&self, place: Place<'_>) -> Result<Vec<ChecksumKind>, Fault> {
        self.native.checksums_offered(place).await
    }

    async fn checksum(&self, place: Place<'_>, path: &SitePath, order: SumOrder) -> Result<Checksum, Fault> {
        self.native.checksum(place, path, order).await
    }

    async fn copy(
        &self,
        order: CopyOrder<'_>,
        progress: &watch::Sender<Progress>,
        cancel: &CancellationToken,
    ) -> Result<(), Fault> {
        let mut command = Command::new(&self.program);
        command
            .args(["--tpc", "only", "--nopbar", "--silent"])
            .arg(url(order.from, order.from_path)?)
            .arg(url(order.to, order.to_path)?)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let child = command.spawn().map_err(|error| {
            let text = format!("{} could not be started: {error}", self.program.display());
            Fault::new(FaultClass::Permanent, "no-xrdcp", text)
        })?;
        progress.send_replace(Progress { phase: Phase::Waiting, bytes: 0 });
        let output = tokio::select! {
            biased;
            output = child.wait_with_output() => output,
            // Both leave the process to be killed by its drop; its server ends the copy when the connection closes.
            () = cancel.cancelled() => return Err(Fault::cancelled("the copy was cancelled")),
            never = self.watch_size(order, progress) => match never {},
        };
        let output = output.map_err(|error| {
            Fault::new(
                FaultClass::Transient,
                "lost-process",
                format!("xrdcp could not be waited for: {error}"),
            )
        })?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(said_fault(output.status, &said, order))
    }

    async fn rename(&self, place: Place<'_>, from: &SitePath, to: &SitePath) -> Result<(), Fault> {
        self.native.rename(place, from, to).await
    }

    async fn remove(&self, place: Place<'_>, path: &SitePath) -> Result<bool, Fault> {
        self.native.remove(place, path).await
    }

    async fn list(&self, place: Place<'_>, folder: &SitePath) -> Result<Option<Vec<Entry>>, Fault> {
        self.native.list(place, folder).await
    }

    async fn set_mode(&self, place: Place<'_>, path: &SitePath, mode: u32) -> Result<(), Fault> {
        self.native.set_mode(place, path, mode).await
    }

    async fn ping(&self, place: Place<'_>) -> Result<(), Fault> {
        self.native.ping(place).await
    }
}

/// What the tool's exit code and last words mean: the code is `XrdCl`'s divided by 100, plus 50; the words may hold the
/// server's number.
fn said_fault(status: ExitStatus, said: &str, order: CopyOrder<'_>) -> Fault {
    let words = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing").trim();
    let what = format!("xrdcp of {} ended with {status}", order.from_path);
    let (side, endpoint) = (Side::Destination, order.to.address());
    if words.contains("file exists") || words.contains("File exists") {
        return Fault::new(FaultClass::Transient, "exists", format!("{what}: {words}")).at(side, endpoint);
    }
    let answer = match crate::fault::wrapped_code(words) {
        Some(errno) => Answer { code: 400, errno, message: words },
        None => Answer { code: code_of(status), errno: 0, message: words },
    };
    match crate::fault::wrapped_code(words) {
        // It opens the source first and says the same words for either side; what is not there can only be the source.
        Some(3011) => Fault::from_answer(&what, Side::Source, None, answer),
        _ => Fault::from_answer(&what, side, endpoint, answer),
    }
}

fn code_of(status: ExitStatus) -> u16 {
    match status.code() {
        // 51: a socket, 52: the post master, 53 and 54: others.
        Some(51) => 101,
        Some(52) => 206,
        _ => 0,
    }
}
