//! `xrdcp`, as somebody would use it, and `cp`.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use lightrail_compose::xrootd::RESOLVER;
use lightrail_tests::Stage;

/// After how long a peer is taken for hung: `--parallel 1` takes 45 s for a run, the bare loop of a thousand files over 60 s on a
/// machine that does other things too.
const HUNG: Duration = Duration::from_secs(200);
/// What a copy that stood still ends with.
const EXPIRED: &str = "tpc authorization expired";
/// How often a measurement that hung is made again.
const AGAIN: usize = 3;

/// Measures something that can hang: a source that meets the copy program before the permission, which comes from `xrdcp` only
/// then, now and then forgets it; the copy stands still until the permission expires. That run is told, and made again with other
/// files.
pub(super) async fn patiently(
    what: &str,
    mut measure: impl AsyncFnMut() -> anyhow::Result<Duration>,
) -> anyhow::Result<Duration> {
    for _ in 0..AGAIN {
        match tokio::time::timeout(HUNG, measure()).await {
            Ok(Err(error)) if format!("{error:#}").contains(EXPIRED) => {
                eprintln!("{what}: a copy stood still until its permission expired; measured again");
            }
            Ok(measured) => return measured,
            Err(_) => eprintln!("{what} stood still for {} s; measured again", HUNG.as_secs()),
        }
    }
    anyhow::bail!("{what} stood still {AGAIN} times")
}

/// Copies files in one call, `parallel` at once, third party only, checksums compared; how long that took.
pub(super) async fn xrdcp(
    stage: &Stage,
    files: &[String],
    folder: &str,
    parallel: usize,
) -> anyhow::Result<Duration> {
    let from: Vec<String> = files
        .iter()
        .map(|path| format!("root://{}/{}{path}", stage.slac.door(), stage.slac.prefix()))
        .collect();
    let to = format!("root://{}/{}{folder}", stage.nersc.door(), stage.nersc.prefix());
    make_folder(stage, folder).await?;
    let begun = Instant::now();
    let output = tokio::process::Command::new("xrdcp")
        .args([
            "--nopbar",
            "--silent",
            "--tpc",
            "only",
            "--cksum",
            "adler32",
            "--parallel",
            &parallel.to_string(),
        ])
        .args(&from)
        .arg(format!("{to}/"))
        .env(RESOLVER.0, RESOLVER.1)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("xrdcp cannot be run")?;
    let took = begun.elapsed();
    ensure!(output.status.success(), "xrdcp failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(took)
}

async fn make_folder(stage: &Stage, folder: &str) -> anyhow::Result<()> {
    let path = format!("{}{folder}", stage.nersc.prefix());
    let made = stage.nersc.xrdfs(&["mkdir", "-p", &path]).await;
    ensure!(made.is_some(), "{path} cannot be made at NERSC");
    Ok(())
}

/// The same bytes by `cp` from store to store, without any server.
pub(super) async fn cp(files: &[std::path::PathBuf], to: &Path) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let status =
        tokio::process::Command::new("cp").args(files).arg(to).status().await.context("cp cannot be run")?;
    ensure!(status.success(), "cp failed");
    Ok(begun.elapsed())
}
