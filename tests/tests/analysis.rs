//! From a run that is taken to a result per image, on a real Kafka and real XRootD clusters: moved, indexed by itself, worked by
//! workers that read through a door; as things should be, with what comes late, while a run is taken, and with services killed.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use lightrail_compose::play::{PlayedRun, Simulation};
use lightrail_compose::wait;
use lightrail_tests::analysis::{Analysis, TRIAL};
use lightrail_tests::images::{Images, Truth};
use lightrail_tests::stage::{SOON, Stage, experiment, instrument, nersc};
use lightrail_tests::{Judge, Settings, Setup, campaign, on_stage};
use lightrail_topics::events::IndexState;
use lightrail_topics::{Lfn, RunKey, RunNumber, SiteName};

/// For what no fault delays, with all images of a case worked by unoptimised programs.
const WORKED: Duration = Duration::from_secs(90);

fn small(images: u64) -> Simulation {
    Simulation::small(experiment(), instrument(), images)
}

/// Takes a run up to its end and gives what is true of it.
async fn take(stage: &Stage, analysis: &Analysis, run: u32) -> anyhow::Result<(PlayedRun, Truth)> {
    let daq = stage.daq();
    let open = daq.open_simulated(&analysis.simulation, RunNumber(run)).await?;
    let played = daq.close(open)?;
    Ok((played, analysis.truth(stage, RunNumber(run))?))
}

/// A case with an analysis for NERSC; what the services said last is told where it fails.
async fn with_analysis(
    case: &str,
    setup: Setup,
    simulation: Simulation,
    settings: Settings,
    body: impl AsyncFnOnce(&mut Stage, &mut Analysis) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    on_stage(case, setup, async |stage| {
        stage.announce()?;
        let mut analysis = Analysis::prepare(stage, simulation, nersc(), &settings).await?;
        let outcome = body(stage, &mut analysis).await;
        if outcome.is_err() {
            println!("{}", analysis.logs());
        }
        outcome
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_that_are_taken_are_moved_indexed_and_worked_to_one_result_per_image() -> anyhow::Result<()> {
    let simulation = Simulation { chunk_images: Some(100), ..small(150) };
    with_analysis(
        "taken and worked",
        Setup::default(),
        simulation,
        Settings::default(),
        async |stage, analysis| {
            analysis.start_index()?;
            analysis.start_workers(2)?;
            let mut taken = Vec::new();
            // The second is taken while the first is moved, indexed and worked.
            for run in 1..=2 {
                taken.push(take(stage, analysis, run).await?);
            }
            let mut images = Images::default();
            for (played, truth) in &taken {
                images = Images::until(stage, &nersc(), &played.key, truth.len(), WORKED).await?;
            }
            for (played, truth) in &taken {
                images.judge(&played.key, &nersc(), truth)?;
                ensure!(
                    truth.values().any(|image| image.findable() >= 20),
                    "no image of {} tests the hits",
                    played.key
                );
            }
            let workers: Vec<_> = taken.iter().flat_map(|(played, _)| images.workers(&played.key)).collect();
            ensure!(
                workers.contains(&"w-1".to_owned()) && workers.contains(&"w-2".to_owned()),
                "{workers:?} worked"
            );
            let runs: Vec<PlayedRun> = taken.into_iter().map(|(played, _)| played).collect();
            Judge::of(stage).verify(stage, &runs).await
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_comes_late_adds_its_images_to_a_run_that_was_closed() -> anyhow::Result<()> {
    let simulation = Simulation { chunk_images: Some(60), rate: None, ..small(100) };
    with_analysis(
        "a late file",
        Setup::default(),
        simulation,
        Settings::default(),
        async |stage, analysis| {
            analysis.start_index()?;
            analysis.start_workers(2)?;
            let (run, daq) = (RunNumber(1), stage.daq());
            let is_late = |lfn: &Lfn| lfn.chunk() == Some(1);
            let (open, late) = daq.open_in_part(&analysis.simulation, run, |lfn| !is_late(lfn)).await?;
            ensure!(late.len() == 1, "late are {late:?}");
            let mut played = daq.close(open)?;
            let truth = analysis.truth(stage, run)?;
            let images = Images::until(stage, &nersc(), &played.key, 60, WORKED).await?;
            ensure!(
                images.published[&played.key].len() == 60,
                "{} are published",
                images.published[&played.key].len()
            );
            for file in late {
                stage.daq().register(&played.key, &file.lfn, &file.path)?;
                played.files.push(file);
            }
            Images::until(stage, &nersc(), &played.key, truth.len(), WORKED).await?.judge(
                &played.key,
                &nersc(),
                &truth,
            )?;
            let corrections = stage.witness.look(|seen| seen.corrections(&played.key, &nersc()).len());
            ensure!(corrections > 0, "the run was never corrected");
            Ok(())
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_of_a_run_that_is_being_taken_have_results_before_it_ends() -> anyhow::Result<()> {
    on_stage("streaming images", Setup::default(), async |stage| {
        stage.announce()?;
        let (run, site): (RunNumber, SiteName) = (RunNumber(1), "DAQ".parse()?);
        // Where the DAQ writes, which is read there without a door.
        let mut settings = Settings::default();
        settings.text("sites.DAQ", "folder", stage.daq().store_of(run)?.display());
        settings.set("sites.DAQ", "growing", true).text("index", "look", "100ms");
        let of_it = format!("experiments.{}", experiment());
        settings.text(&of_it, "site", &site).set(&of_it, "streaming", true);
        // Long enough that results come meanwhile, also where the machine is busy.
        let simulation = Simulation { rate: Some(25.0), chunk_images: Some(120), ..small(250) };
        let mut analysis = Analysis::prepare(stage, simulation, site, &settings).await?;
        analysis.start_index()?;
        analysis.start_workers(2)?;
        let outcome = streamed(stage, &analysis, run).await;
        if outcome.is_err() {
            println!("{}", analysis.logs());
        }
        outcome
    })
    .await
}

async fn streamed(stage: &Stage, analysis: &Analysis, run: RunNumber) -> anyhow::Result<()> {
    let (site, daq) = (&analysis.site, stage.daq());
    let key = RunKey { experiment: experiment(), run };
    let early = async {
        let images = Images::until(stage, site, &key, 1, WORKED).await?;
        let progress = images.indexed.into_values().flatten().next_back().context("no progress is said")?;
        ensure!(progress.state == IndexState::Growing && progress.live, "{progress:?}");
        Ok(())
    };
    // Both end well only where the first result was there while the run was being taken.
    let (open, ()) = tokio::try_join!(daq.open_simulated(&analysis.simulation, run), early)?;
    let played = daq.close(open)?;
    let truth = analysis.truth(stage, run)?;
    Images::until(stage, site, &key, truth.len(), WORKED).await?;
    let closed = async || Images::account(stage, site).await.ok()?.judge(&key, site, &truth).ok();
    wait::until("the run to be closed with all its images", SOON, closed).await?;
    // It is moved all the same.
    stage.until_available(std::slice::from_ref(&played), SOON).await?;
    Judge::of(stage).verify(stage, &[played]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_workers_and_a_killed_index_leave_one_result_per_image() -> anyhow::Result<()> {
    let rounds = if campaign() { 20 } else { 2 };
    let simulation = Simulation { rate: None, ..small(300) };
    with_analysis(
        "killed services",
        Setup::default(),
        simulation,
        Settings::default(),
        async |stage, analysis| {
            analysis.start_index()?;
            analysis.start_workers(3)?;
            let mut taken = Vec::new();
            for round in 1..=rounds {
                let (played, truth) = take(stage, analysis, round).await?;
                // As it begins to publish, now a little earlier and now a little later.
                stage.until_available(std::slice::from_ref(&played), SOON).await?;
                let later = Duration::from_millis(fastrand::u64(0..80));
                let _ = wait::until("a little", later, async || None::<()>).await;
                let index = analysis.index.as_ref().context("the index was started")?;
                index.kill();
                index.start_again()?;
                // In the middle of its images.
                Images::until(stage, &nersc(), &played.key, truth.len() / 4, WORKED).await?;
                let worker = &analysis.workers[fastrand::usize(..analysis.workers.len())];
                worker.kill();
                worker.start_again()?;
                taken.push((played, truth));
            }
            for (played, truth) in &taken {
                let images = Images::until(stage, &nersc(), &played.key, truth.len(), WORKED).await?;
                images.judge(&played.key, &nersc(), truth)?;
            }
            // Asked once more, everything is there already.
            let before = Images::account(stage, &nersc()).await?;
            analysis.index.as_ref().context("the index was started")?.start_again()?;
            let (played, truth) = take(stage, analysis, rounds + 1).await?;
            let after = Images::until(stage, &nersc(), &played.key, truth.len(), WORKED).await?;
            for (played, _) in &taken {
                ensure!(
                    before.published[&played.key] == after.published[&played.key],
                    "{TRIAL}: published again"
                );
            }
            Ok(())
        },
    )
    .await
}
