//! Runs that are taken, moved and announced.

use lightrail_tests::stage::SOON;
use lightrail_tests::{Judge, Setup, on_stage};

const MIB: u64 = 1 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_runs_are_moved_verified_and_announced_once_oldest_first() -> anyhow::Result<()> {
    let setup = Setup { without_mover: true, ..Setup::default() };
    on_stage("three runs", setup, async |stage| {
        let runs = stage.take(&stage.runs(1, 3, 120 * MIB, 7)?).await?;
        stage.settings.set("sites.NERSC", "transfers", 3);
        stage.start_mover().await?;
        stage.until_available(&runs, SOON).await?;
        Judge::in_order(stage).verify(stage, &runs).await
    })
    .await
}
