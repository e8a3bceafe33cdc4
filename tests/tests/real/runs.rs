//! Runs that are taken, moved and announced.

use std::time::Duration;

use lightrail_compose::play::{PlayedRun, runs_of};
use lightrail_compose::require;
use lightrail_tests::stage::{SOON, experiment, instrument, nersc};
use lightrail_tests::{Judge, Setup, on_stage};
use lightrail_topics::{Millis, RunKey, RunNumber};

const MIB: u64 = 1 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_runs_are_moved_verified_and_announced_once_oldest_first() -> anyhow::Result<()> {
    // All are closed when the mover starts, so that only the order decides who goes.
    let setup = Setup { without_mover: true, ..Setup::default() };
    on_stage("three runs", setup, async |stage| {
        let runs = stage.take(&stage.runs(1, 3, 120 * MIB, 7)?).await?;
        stage.settings.set("sites.NERSC", "transfers", 4);
        stage.configure()?;
        stage.start_mover().await?;
        stage.until_available(&runs, SOON).await?;
        Judge::in_order(stage).verify(stage, &runs).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_xtc2_files_arrive_byte_for_byte() -> anyhow::Result<()> {
    let Some(data) = require::data("real_xtc2_files_arrive_byte_for_byte") else { return Ok(()) };
    on_stage("xtc2 files", Setup::default(), async |stage| {
        stage.announce()?;
        let mut runs = Vec::new();
        for run in runs_of(&data.join("xtc2"), &instrument(), &experiment(), RunNumber(1))? {
            runs.push(stage.daq().take_found(&run).await?);
        }
        anyhow::ensure!(runs.iter().map(|run| run.files.len()).sum::<usize>() >= 19, "files are missing");
        stage.until_available(&runs, SOON).await?;
        Judge::in_order(stage).verify(stage, &runs).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_run_is_announced_with_an_empty_manifest() -> anyhow::Result<()> {
    on_stage("an empty run", Setup::default(), async |stage| {
        stage.announce()?;
        stage.logbook.start_run(&experiment(), Some(RunNumber(1)))?;
        stage.logbook.end_run(&experiment())?;
        let key = RunKey { experiment: experiment(), run: RunNumber(1) };
        let empty = PlayedRun { key, ended: Millis(0), files: Vec::new() };
        stage.until_available(std::slice::from_ref(&empty), SOON).await?;
        Judge::of(stage).verify(stage, &[empty]).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streaming_moves_a_chunk_when_the_next_one_is_registered() -> anyhow::Result<()> {
    let mut setup = Setup::default();
    setup.settings.set("experiments.default", "streaming", true);
    on_stage("streaming", setup, async |stage| {
        stage.announce()?;
        let names = [
            ("mfxlv9518-r0001-s000-c000.xtc2", MIB),
            ("mfxlv9518-r0001-s000-c001.xtc2", MIB),
            ("mfxlv9518-r0001-s001-c000.xtc2", MIB),
        ];
        let open = stage.daq().open_found(&stage.made_up(1, &names)?).await?;
        let first = open.files[0].lfn.clone();
        let early = stage.witness.until("the first chunk to be available", SOON, |seen| {
            seen.available().any(|file| file.lfn == first).then_some(())
        });
        early.await?;
        // The others may still grow: nothing says that they are complete.
        let said = stage.witness.look(|seen| (seen.available().count(), seen.manifests().count()));
        anyhow::ensure!(said == (1, 0), "files and runs announced while the run was open: {said:?}");
        let run = stage.daq().close(open)?;
        stage.until_available(std::slice::from_ref(&run), SOON).await?;
        Judge::of(stage).verify(stage, &[run]).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_does_not_wait_for_the_recorders_streams() -> anyhow::Result<()> {
    let mut setup = Setup::default();
    setup.settings.set("experiments.default", "not_waited_streams", "[80, 81]");
    setup.settings.set("retry", "tries", 30);
    on_stage("stream 80", setup, async |stage| {
        stage.announce()?;
        let names = [("mfxlv9518-r0001-s000-c000.xtc2", MIB), ("mfxlv9518-r0001-s080-c000.xtc2", MIB)];
        let open = stage.daq().open_found(&stage.made_up(1, &names)?).await?;
        let recorder = open.files[1].clone();
        let hidden = stage.folder().join("hidden");
        std::fs::copy(&recorder.path, &hidden)?;
        std::fs::remove_file(&recorder.path)?;
        let run = stage.daq().close(open)?;
        stage.until_available(std::slice::from_ref(&run), SOON).await?;
        let manifest = stage.witness.look(|seen| seen.manifest(&run.key, &nersc()).cloned());
        let left_out = manifest.map(|manifest| manifest.left_out).unwrap_or_default();
        anyhow::ensure!(
            left_out.len() == 1 && left_out[0].lfn == recorder.lfn && left_out[0].by == "configuration",
            "left out are {left_out:?}"
        );
        std::fs::copy(&hidden, &recorder.path)?;
        let corrected = stage.witness.until("the correction", Duration::from_secs(30), |seen| {
            (!seen.corrections(&run.key, &nersc()).is_empty()).then_some(())
        });
        corrected.await?;
        Judge::of(stage).verify(stage, &[run]).await
    })
    .await
}
