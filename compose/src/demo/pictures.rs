//! The pictures at the demo's end, drawn by `lightrail-analysis plot` from what the analysis has left: the image with most spots,
//! the powders of the last run, hit rates. Draws nothing itself.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use lightrail_topics::RunKey;

use super::analysis::{Analysis, TRIAL};
use super::results::Results;
use super::scene::Scene;
use crate::play::PlayedRun;
use crate::services;

/// No picture takes longer.
const WITHIN: Duration = Duration::from_secs(120);

/// Draws all, and gives their paths.
///
/// # Errors
/// When one cannot be drawn: with what was said.
pub(super) async fn draw(
    folder: &Path,
    scene: &Scene,
    analysis: &Analysis,
    results: &Results,
    played: &[PlayedRun],
) -> anyhow::Result<Vec<String>> {
    let folder = std::path::absolute(folder).context("the pictures' folder cannot be told")?;
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let trial = analysis.trial().display().to_string();
    let to = |name: &str| folder.join(name).display().to_string();
    let mut drawn = Vec::new();
    if let Some((run, event)) = results.richest() {
        let files = first_files(scene, played, &run);
        let image =
            ["image", "--trial", &trial, "--event", &event, "--output", &to("image.png")].map(str::to_owned);
        drawn.extend(plot(image.into_iter().chain(files).collect()).await?);
    }
    if let Some(run) = played.last() {
        let powders = analysis.powders().display().to_string();
        let (run, number) = (run.key.to_string(), TRIAL.to_string());
        let powder = ["powder", &powders, "--run", &run, "--in-trial", &number, "--trial", &trial];
        drawn.extend(
            plot(
                [&powder[..], &["--output", &to("powder.png")]]
                    .concat()
                    .into_iter()
                    .map(str::to_owned)
                    .collect(),
            )
            .await?,
        );
    }
    let lines = analysis.folder().join("results.jsonl");
    let mut file = std::fs::File::create(&lines).context("cannot write the results")?;
    for result in results.results() {
        serde_json::to_writer(&mut file, result)?;
        writeln!(file)?;
    }
    let rate = ["rate", &lines.display().to_string(), "--output", &to("rate.png")].map(str::to_owned);
    drawn.extend(plot(rate.into()).await?);
    Ok(drawn)
}

/// The first big file of each stream of a run, where it arrived.
fn first_files(scene: &Scene, played: &[PlayedRun], run: &RunKey) -> Vec<String> {
    let files = played.iter().filter(|played| played.key == *run).flat_map(|played| &played.files);
    let first = files
        .filter(|file| file.lfn.chunk() == Some(0) && file.lfn.kind() == lightrail_topics::FileKind::Xtc);
    first
        .map(|file| -> PathBuf { scene.nersc.path_of(file.lfn.as_str()) })
        .map(|path| path.display().to_string())
        .collect()
}

async fn plot(args: Vec<String>) -> anyhow::Result<Vec<String>> {
    let args: Vec<&str> = std::iter::once("plot").chain(args.iter().map(String::as_str)).collect();
    let ran = services::run("lightrail-analysis", &args, WITHIN).await?;
    anyhow::ensure!(
        ran.status.success(),
        "lightrail-analysis {} failed: {}",
        args.join(" "),
        ran.stderr.trim()
    );
    Ok(ran.stdout.lines().map(str::to_owned).collect())
}
