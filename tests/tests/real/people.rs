//! What people do with a mover: ask, hold, give up, try again, put first, stop it.

use std::time::Duration;

use lightrail_tests::stage::{SOON, experiment, instrument, nersc};
use lightrail_tests::{Judge, Setup, on_stage};
use lightrail_topics::events::TransferState;

const MIB: u64 = 1 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_without_a_route_is_moved_when_somebody_asks_for_it() -> anyhow::Result<()> {
    let setup = Setup { without_mover: true, ..Setup::default() };
    on_stage("a request", setup, async |stage| {
        stage.settings.remove("experiments.default");
        stage.configure()?;
        stage.start_mover().await?;
        stage.logbook.register_experiment(&experiment(), &instrument(), &[]);
        let names = [("mfxlv9518-r0001-s000-c000.xtc2", MIB), ("mfxlv9518-r0001-s000-c000.smd.xtc2", 20_000)];
        let run = stage.daq().take_found(&stage.made_up(1, &names)?).await?;
        lightrail_compose::wait::until("the run to be listed as one without a route", SOON, async || {
            let (_, runs) = stage.get("/runs").await.ok()?;
            runs.contains("no route").then_some(())
        })
        .await?;
        let why = stage.command_ok(&["why", "mfxlv9518", "1"]).await?;
        anyhow::ensure!(why.contains("route"), "why says {why}");
        stage.command_ok(&["request", "mfxlv9518", "1", "--to", "NERSC", "--why", "a test"]).await?;
        stage.until_available(std::slice::from_ref(&run), SOON).await?;
        Judge::of(stage).verify(stage, &[run]).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_paused_waits_and_says_so_and_goes_when_it_is_resumed() -> anyhow::Result<()> {
    on_stage("pause and resume", Setup::default(), async |stage| {
        stage.command_ok(&["pause", "*"]).await?;
        let runs = stage.take(&stage.runs(1, 2, 20 * MIB, 31)?).await?;
        lightrail_compose::wait::until("the files to be held", SOON, async || {
            let (_, why) = stage.get("/why/mfxlv9518/2").await.ok()?;
            why.contains("paused").then_some(())
        })
        .await?;
        let status = stage.command_ok(&["status"]).await?;
        anyhow::ensure!(status.contains("mfxlv9518/1") && status.contains("NERSC"), "status says {status}");
        let started = stage.witness.look(|seen| {
            seen.transfers.iter().filter(|said| said.event.state == TransferState::Carrying).count()
        });
        anyhow::ensure!(started == 0, "{started} attempts were made although all is paused");
        // The second run goes before the first, for somebody says so.
        stage.command_ok(&["prioritise", "mfxlv9518/2", "5"]).await?;
        stage.command_ok(&["resume", "*"]).await?;
        stage.until_available(&runs, SOON).await?;
        Judge::of(stage).verify(stage, &runs).await?;
        let first = stage.witness.look(|seen| {
            let mut started: Vec<_> =
                seen.transfers.iter().filter(|said| said.event.state == TransferState::Carrying).collect();
            started.sort_by_key(|said| said.event.at);
            started.iter().take(8).map(|said| said.event.run.run.0).collect::<Vec<_>>()
        });
        anyhow::ensure!(first.iter().all(|run| *run == 2), "the first attempts were of runs {first:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_file_is_left_out_and_comes_as_a_correction_when_it_is_requeued() -> anyhow::Result<()> {
    on_stage("cancel and requeue", Setup::default(), async |stage| {
        stage.command_ok(&["pause", "*"]).await?;
        stage.announce()?;
        let names = [("mfxlv9518-r0001-s000-c000.xtc2", MIB), ("mfxlv9518-r0001-s001-c000.xtc2", MIB)];
        let run = stage.daq().take_found(&stage.made_up(1, &names)?).await?;
        let unwanted = run.files[1].lfn.clone();
        lightrail_compose::wait::until("the file to be known", SOON, async || {
            let (_, why) = stage.get("/why/mfxlv9518/1").await.ok()?;
            why.contains(unwanted.as_str()).then_some(())
        })
        .await?;
        stage.command_ok(&["cancel", unwanted.as_str(), "--why", "noise only"]).await?;
        stage.command_ok(&["resume", "*"]).await?;
        stage.until_available(std::slice::from_ref(&run), SOON).await?;
        let left_out = stage
            .witness
            .look(|seen| seen.manifest(&run.key, &nersc()).map(|manifest| manifest.left_out.clone()))
            .unwrap_or_default();
        anyhow::ensure!(
            left_out.len() == 1 && left_out[0].lfn == unwanted && left_out[0].why == "noise only",
            "left out are {left_out:?}"
        );
        stage.command_ok(&["requeue", unwanted.as_str()]).await?;
        let corrected = stage.witness.until("the correction", SOON, |seen| {
            (!seen.corrections(&run.key, &nersc()).is_empty()).then_some(())
        });
        corrected.await?;
        Judge::of(stage).verify(stage, &[run]).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_name_on_the_command_line_is_told_with_near_ones() -> anyhow::Result<()> {
    on_stage("unknown names", Setup::default(), async |stage| {
        let runs = stage.take(&stage.runs(1, 1, MIB, 32)?).await?;
        stage.until_available(&runs, SOON).await?;
        let cases: [(&[&str], &str); 4] = [
            (&["pause", "mfxlv9519"], "mfxlv9518"),
            (&["why", "mfxlv9518", "7"], "1"),
            (&["request", "mfxlv9518", "1", "--to", "NERSK"], "NERSC"),
            (&["request", "mfxlv9518", "77"], "77"),
        ];
        for (args, near) in cases {
            let ran = stage.command(args).await?;
            anyhow::ensure!(
                ran.status.code() == Some(2) && ran.stderr.contains("unknown") && ran.stderr.contains(near),
                "{args:?}: {} {}",
                ran.status,
                ran.stderr
            );
        }
        Judge::of(stage).verify(stage, &runs).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_drains_and_the_next_start_goes_on() -> anyhow::Result<()> {
    let mut setup = Setup::default();
    setup.settings.set("sites.NERSC", "transfers", 3);
    on_stage("SIGTERM", setup, async |stage| {
        let scripts = stage.runs(1, 3, 150 * MIB, 33)?;
        let runs = stage.take(&scripts).await?;
        let some = stage
            .witness
            .until("some files to be available", SOON, |seen| (seen.available().count() >= 5).then_some(()));
        some.await?;
        stage.mover()?.term();
        let status = stage.mover()?.wait_exit(Duration::from_secs(40)).await?;
        anyhow::ensure!(status.success(), "a drained mover ends with {status}");
        let said = stage.witness.account().await?;
        anyhow::ensure!(said.manifests().count() < runs.len(), "it drained too late to show anything");
        let left: Vec<_> = lightrail_tests::guard::files_below(&stage.nersc.store(0))
            .into_iter()
            .filter(|(path, _)| lightrail_tests::guard::is_hidden(path))
            .collect();
        anyhow::ensure!(left.is_empty(), "a drained mover leaves {left:?}");
        stage.start_mover().await?;
        stage.until_available(&runs, SOON).await?;
        Judge::in_order(stage).verify(stage, &runs).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_sigterm_stops_at_once_and_nothing_is_lost() -> anyhow::Result<()> {
    on_stage("SIGTERM twice", Setup::default(), async |stage| {
        let runs = stage.take(&stage.runs(1, 3, 150 * MIB, 34)?).await?;
        let some = stage
            .witness
            .until("a file to be available", SOON, |seen| (seen.available().count() >= 1).then_some(()));
        some.await?;
        stage.mover()?.term();
        lightrail_compose::wait::until("the first signal to be taken", SOON, async || {
            stage.mover().ok()?.log().contains("draining").then_some(())
        })
        .await?;
        stage.mover()?.term();
        stage.mover()?.wait_exit(Duration::from_secs(15)).await?;
        stage.start_mover().await?;
        stage.until_available(&runs, SOON).await?;
        Judge::of(stage).verify(stage, &runs).await
    })
    .await
}
