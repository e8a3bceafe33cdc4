//! kill -9 of the mover at random moments.

use std::time::Duration;

use lightrail_tests::stage::SOON;
use lightrail_tests::{Judge, Setup, Stage, campaign, on_stage};

const MIB: u64 = 1 << 20;

/// Moves three runs and kills the mover `kills` times meanwhile, each time after a random time, also while it starts.
async fn move_and_kill(
    stage: &mut Stage,
    round: u32,
    kills: u32,
    rng: &mut fastrand::Rng,
) -> anyhow::Result<()> {
    let runs = stage.runs(round * 3 + 1, 3, 30 * MIB, rng.u64(..))?;
    let mut taken = Vec::new();
    let mut left = kills;
    for run in &runs {
        taken.push(stage.daq().take(run).await?);
        if left > 0 && rng.bool() {
            kill_after(stage, rng.u64(0..400)).await?;
            left -= 1;
        }
    }
    for _ in 0..left {
        kill_after(stage, rng.u64(0..1500)).await?;
    }
    stage.until_available(&taken, SOON).await?;
    stage.played.extend(taken);
    Ok(())
}

/// The moment is what is drawn here: nothing is waited for.
async fn kill_after(stage: &mut Stage, ms: u64) -> anyhow::Result<()> {
    tokio::time::sleep(Duration::from_millis(ms)).await;
    stage.mover()?.kill();
    stage.launch_mover()
}

async fn killed(case: &str, rounds: u32, kills: u32) -> anyhow::Result<()> {
    let seed = std::env::var("LIGHTRAIL_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    println!("{case}: LIGHTRAIL_SEED={seed} does the same again");
    let mut rng = fastrand::Rng::with_seed(seed);
    on_stage(case, Setup::default(), async |stage| {
        for round in 0..rounds {
            move_and_kill(stage, round, kills, &mut rng).await?;
            Judge::of(stage).verify(stage, &stage.played).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mover_killed_once_in_each_move_announces_everything_once() -> anyhow::Result<()> {
    killed("killed once", if campaign() { 100 } else { 10 }, 1).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mover_killed_again_and_again_announces_everything_once() -> anyhow::Result<()> {
    killed("killed again and again", if campaign() { 25 } else { 3 }, 4).await
}
