//! The same parts in containers: they hold the contract that processes hold, and nothing of them is left.

use lightrail_compose::ClusterOptions;
use lightrail_compose::containers::Containers;
use lightrail_compose::parts::{Parts as _, contract};
use lightrail_compose::require::{Need, require};

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
