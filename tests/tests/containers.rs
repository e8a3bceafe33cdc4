//! The same parts in containers: they hold the contract that processes hold, nothing of them is left, and the core of the
//! real suite runs on them.

use std::time::Duration;

use lightrail_compose::ClusterOptions;
use lightrail_compose::containers::Containers;
use lightrail_compose::parts::{Parts as _, contract};
use lightrail_compose::require::{Need, require};
use lightrail_tests::stage::SOON;
use lightrail_tests::{Judge, Setup, Stage, on_stage};

const MIB: u64 = 1 << 20;
/// With breakers and backoff on top of the fault.
const LONG: Duration = Duration::from_secs(120);

/// The engine with the images; says why not.
async fn containers(test: &str) -> Option<Containers> {
    require(test, Need::Containers, Containers::find().await)
}

#[tokio::test]
async fn a_broker_is_killed_stopped_and_dropped() {
    let Some(containers) = containers("a_broker_is_killed_stopped_and_dropped").await else { return };
    contract::a_broker_is_killed_stopped_and_dropped(&containers).await.unwrap();
}

#[tokio::test]
async fn a_third_party_copy_goes_from_door_to_door() {
    let Some(containers) = containers("a_third_party_copy_goes_from_door_to_door").await else { return };
    contract::a_third_party_copy_goes_from_door_to_door(&containers).await.unwrap();
}

#[tokio::test]
async fn with_sss_only_who_has_the_key_copies() {
    let Some(containers) = containers("with_sss_only_who_has_the_key_copies").await else { return };
    contract::with_sss_only_who_has_the_key_copies(&containers).await.unwrap();
}

#[tokio::test]
async fn daemons_are_killed_and_stopped() {
    let Some(containers) = containers("daemons_are_killed_and_stopped").await else { return };
    contract::daemons_are_killed_and_stopped(&containers).await.unwrap();
}

#[tokio::test]
async fn no_container_is_left_after_drop() {
    let Some(containers) = containers("no_container_is_left_after_drop").await else { return };
    let cluster = containers.cluster(ClusterOptions::separate("GONE")).await.unwrap();
    let named = || {
        let args = ["ps", "--all", "--quiet", "--filter", "name=GONE"];
        let output = std::process::Command::new("docker").args(args).output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().count()
    };
    assert_eq!(named(), 6, "xrootd and cmsd of two servers and a redirector");
    drop(cluster);
    assert_eq!(named(), 0);
}

/// Three runs on containers; `torment` comes when some files have arrived and most have not.
async fn three_runs(
    case: &str,
    torment: impl AsyncFnOnce(&Stage) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let Some(containers) = containers(case).await else { return Ok(()) };
    let mut setup = Setup { containers: Some(containers), ..Setup::default() };
    setup.settings.set("sites.NERSC", "transfers", 4).set("retry", "tries", 40);
    on_stage(case, setup, async |stage| {
        let runs = stage.take(&stage.runs(1, 3, 120 * MIB, 61)?).await?;
        stage.logbook.settle().await;
        let under_way = stage
            .witness
            .until("copies to be under way", SOON, |seen| (seen.available().count() >= 3).then_some(()));
        under_way.await?;
        torment(stage).await?;
        stage.until_available(&runs, LONG).await?;
        Judge::of(stage).verify(stage, &runs).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_are_moved_between_containers() -> anyhow::Result<()> {
    three_runs("runs between containers", async |_| Ok(())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_server_in_a_container_is_lost_and_comes_back() -> anyhow::Result<()> {
    three_runs("a server in a container lost", async |stage| {
        stage.nersc.server(0).kill();
        let begin = stage.witness.look(|seen| seen.available().count());
        let other = stage.witness.until("files to arrive by the other server", LONG, |seen| {
            (seen.available().count() >= begin + 2).then_some(())
        });
        other.await?;
        stage.nersc.server(0).restart().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_in_a_container_is_restarted() -> anyhow::Result<()> {
    three_runs("the broker in a container restarted", async |stage| stage.kafka()?.restart().await).await
}
