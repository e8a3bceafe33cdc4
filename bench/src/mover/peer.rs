//! `xrdcp`, as somebody would use it, and `cp`.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use lightrail_tests::Stage;

/// After how long a peer is taken for hung: `--parallel 1` takes 45 s for a run, the bare loop of a thousand files over 60 s on a
/// machine that does other things too.
const HUNG: Duration = Duration::from_secs(200);
/// How often a measurement that hung is made again.
const AGAIN: usize = 3;

/// Measures something that can hang: `xrdcp --server`, which the servers start for every copy, whoever drives it, now and then
/// stands still for ever at the first byte. That run is ended, told, and made again with other files.
pub(super) async fn patiently(
    what: &str,
    mut measure: impl AsyncFnMut() -> anyhow::Result<Duration>,
) -> anyhow::Result<Duration> {
    for _ in 0..AGAIN {
        match tokio::time::timeout(HUNG, measure()).await {
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
