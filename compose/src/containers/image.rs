//! The images that parts run in: the usual ones where a registry answers, otherwise one of our own with a JRE and XRootD,
//! built once by debootstrap and then found by its name. Image names are settings.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::engine::docker;
use crate::kafka::jars;
use crate::scratch::Scratch;

/// Our own image. Another number when what is in it changes.
const OWN: &str = "lightrail-parts:bookworm-1";

/// What our own image has in it, beside the smallest Debian. Kafka's jars are shared from the cache.
const PACKAGES: &str =
    "ca-certificates,default-jre-headless,xrootd-server,xrootd-server-plugins,xrootd-client";
const BASE: &str = "debian:bookworm-slim";

const PULL_WITHIN: Duration = Duration::from_secs(300);
const BUILD_WITHIN: Duration = Duration::from_secs(900);
const ASK_WITHIN: Duration = Duration::from_secs(30);

/// What an image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A JVM for the broker.
    Kafka,
    /// `xrootd`, `cmsd`, `xrdcp`.
    Xrootd,
}

/// The name of an image that is here now: the one that `LIGHTRAIL_KAFKA_IMAGE` or `LIGHTRAIL_XROOTD_IMAGE` names; else what
/// is here already; else what can be pulled; else our own, built.
pub(super) async fn ready(purpose: Purpose) -> anyhow::Result<String> {
    let setting = match purpose {
        Purpose::Kafka => "LIGHTRAIL_KAFKA_IMAGE",
        Purpose::Xrootd => "LIGHTRAIL_XROOTD_IMAGE",
    };
    if let Ok(named) = std::env::var(setting) {
        if !is_here(&named).await {
            pull(&named).await.with_context(|| format!("the image that {setting} names is not to be had"))?;
        }
        return Ok(named);
    }
    let usual = (purpose == Purpose::Kafka).then(|| format!("apache/kafka:{}", jars::VERSION));
    for name in usual.iter().map(String::as_str).chain([OWN]) {
        if is_here(name).await {
            return Ok(name.to_owned());
        }
    }
    let _lock = jars::lock(&jars::cache()?).await?;
    if is_here(OWN).await {
        return Ok(OWN.to_owned());
    }
    if let Some(usual) = usual {
        match pull(&usual).await {
            Ok(()) => return Ok(usual),
            Err(error) => tracing::info!(image = usual, "cannot be pulled, so we use our own: {error:#}"),
        }
    }
    build().await.context("cannot build the image for the parts")?;
    Ok(OWN.to_owned())
}

async fn is_here(name: &str) -> bool {
    docker(&["image", "inspect", "--format", "{{.Id}}", name], ASK_WITHIN).await.is_ok()
}

async fn pull(name: &str) -> anyhow::Result<()> {
    docker(&["pull", "--quiet", name], PULL_WITHIN).await.map(drop)
}

async fn build() -> anyhow::Result<()> {
    match pull(BASE).await {
        Ok(()) => build_on_base().await,
        Err(error) => {
            tracing::info!(image = OWN, "building by debootstrap, once, in one or two minutes: {error:#}");
            build_from_nothing().await
        }
    }
}

async fn build_on_base() -> anyhow::Result<()> {
    let folder = Scratch::new()?;
    let packages = PACKAGES.replace(',', " ");
    let text = format!(
        "FROM {BASE}\nRUN apt-get update && apt-get install -y --no-install-recommends {packages} \
         && rm -rf /var/lib/apt/lists/*\n"
    );
    std::fs::write(folder.path().join("Dockerfile"), text).context("cannot write a Dockerfile")?;
    let folder = folder.path().display().to_string();
    docker(&["build", "--quiet", "--tag", OWN, &folder], BUILD_WITHIN).await.map(drop)
}

async fn build_from_nothing() -> anyhow::Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "no registry answers, and only root can run debootstrap");
    let scratch = Scratch::new()?;
    let root = scratch.path().join("root");
    let made = debootstrap(&root).await;
    // It unmounts them itself, unless it failed half-way; nothing may be mounted when the folder is removed.
    for below in ["proc", "sys"] {
        let _ = std::process::Command::new("umount").arg("-l").arg(root.join(below)).output();
    }
    made?;
    shell("tar -C \"$0\" -c . | docker import - \"$1\"", &[&root.display().to_string(), OWN]).await
}

async fn debootstrap(root: &Path) -> anyhow::Result<()> {
    let include = format!("--include={PACKAGES}");
    let script = "debootstrap --variant=minbase \"$0\" bookworm \"$1\" >&2";
    shell(script, &[&include, &root.display().to_string()]).await.context("package `debootstrap`")
}

async fn shell(script: &str, args: &[&str]) -> anyhow::Result<()> {
    let mut command = tokio::process::Command::new("bash");
    command.args(["-o", "pipefail", "-c", script]).args(args).stdin(Stdio::null()).kill_on_drop(true);
    command.env(crate::keeper::MARK, crate::keeper::mark());
    let output =
        tokio::time::timeout(BUILD_WITHIN, command.output()).await.context("took longer than 15 minutes")?;
    let output = output.context("cannot run bash")?;
    let said = crate::process::tail(&String::from_utf8_lossy(&output.stderr), 5);
    ensure!(output.status.success(), "{script} failed: {said}");
    Ok(())
}
