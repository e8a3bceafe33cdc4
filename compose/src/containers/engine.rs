//! The Docker engine: found running, or started by hand where it is installed and we are root; then stopped at the end.
//! Also the few calls to its command line that have to work without a runtime, at a drop.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::fs::FlockOperation;
use tokio::sync::Mutex;

use crate::kafka::jars;
use crate::{keeper, wait};

const UP_WITHIN: Duration = Duration::from_secs(30);

/// Returns when an engine answers. It is looked at each time: one that ended in the meantime is started again.
///
/// # Errors
/// When none runs and none can be started; for a test a reason to be skipped.
pub(super) async fn up() -> anyhow::Result<()> {
    // Taken once, kept to this process's end: while we have it, no other's keeper ends the engine below us. Held until the engine
    // answers: two engines that start at once are in each other's way.
    static IN_USE: Mutex<Option<File>> = Mutex::const_new(None);
    let mut in_use = IN_USE.lock().await;
    if in_use.is_none() {
        let path = jars::cache()?.join("dockerd.lock");
        let shared = tokio::task::spawn_blocking(move || share(&path));
        *in_use = Some(shared.await.context("the wait for the engine's lock was broken off")??);
    }
    if answers().await {
        return Ok(());
    }
    ensure!(rustix::process::geteuid().is_root(), "no Docker engine answers, and only root can start one");
    start()?;
    wait::until("the Docker engine to answer", UP_WITHIN, async || answers().await.then_some(())).await
}

/// A shared lock on this file, as soon as nobody who ends an engine has it alone.
fn share(path: &Path) -> anyhow::Result<File> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    rustix::fs::flock(&file, FlockOperation::LockShared)
        .with_context(|| format!("cannot lock {}", path.display()))?;
    keeper::end_engine(path);
    Ok(file)
}

/// Runs `docker` with these arguments and returns what it says.
///
/// # Errors
/// When it fails; with its own words.
pub(super) async fn docker<A: AsRef<OsStr>>(args: &[A], limit: Duration) -> anyhow::Result<String> {
    let mut command = tokio::process::Command::new("docker");
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    let what = args.first().map(|verb| verb.as_ref().to_string_lossy().into_owned()).unwrap_or_default();
    let output = tokio::time::timeout(limit, command.output())
        .await
        .with_context(|| format!("docker {what} did not end within {limit:?}"))?
        .context("cannot run docker: install the package `docker.io`")?;
    told(&what, &output)
}

/// The same on this thread, for the short verbs.
pub(super) fn docker_now(args: &[&str]) -> anyhow::Result<String> {
    let output =
        Command::new("docker").args(args).stdin(Stdio::null()).output().context("cannot run docker")?;
    told(args.first().unwrap_or(&""), &output)
}

fn told(what: &str, output: &std::process::Output) -> anyhow::Result<String> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "docker {what} failed: {}", said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

async fn answers() -> bool {
    docker(&["version", "--format", "{{.Server.Version}}"], Duration::from_secs(5)).await.is_ok()
}

/// With its defaults, so that images that were built once are found again.
fn start() -> anyhow::Result<()> {
    let log = jars::cache()?.join("dockerd.log");
    // What earlier ones said stays: the one that ended in between may have said why.
    let output = OpenOptions::new().create(true).append(true).open(&log);
    let output = output.with_context(|| format!("cannot write {}", log.display()))?;
    let errors = output.try_clone().context("cannot share a log file")?;
    let (mark, ours) = keeper::ENGINE_MARK;
    let spawned = Command::new("dockerd")
        // It may outlive us for others' sake, so it carries nothing by which ours are found and killed.
        .env_remove(keeper::MARK)
        .env_remove(keeper::RUN)
        .env(mark, ours)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .process_group(0)
        .spawn();
    if let Err(error) = spawned {
        bail!("no Docker engine answers, and dockerd cannot be started: {error}");
    }
    tracing::info!(log = %log.display(), "started the Docker engine");
    Ok(())
}
