//! The contract, held by containers; and that they are gone at the end.

use super::*;
use crate::parts::contract;
use crate::require::{Need, require};

async fn containers(test: &str) -> Option<Containers> {
    require(test, Need::Containers, Containers::find().await)
}

#[tokio::test]
async fn a_broker_in_a_container() {
    let Some(containers) = containers("a_broker_in_a_container").await else { return };
    contract::a_broker_is_killed_stopped_and_dropped(&containers).await;
}

#[tokio::test]
async fn a_third_party_copy_between_containers() {
    let Some(containers) = containers("a_third_party_copy_between_containers").await else { return };
    contract::a_third_party_copy_goes_from_door_to_door(&containers).await;
}

#[tokio::test]
async fn sss_between_containers() {
    let Some(containers) = containers("sss_between_containers").await else { return };
    contract::with_sss_only_who_has_the_key_copies(&containers).await;
}

#[tokio::test]
async fn daemons_in_containers() {
    let Some(containers) = containers("daemons_in_containers").await else { return };
    contract::daemons_are_killed_and_stopped(&containers).await;
}

#[tokio::test]
async fn no_container_is_left_after_drop() {
    let Some(containers) = containers("no_container_is_left_after_drop").await else { return };
    let cluster = containers.cluster(ClusterOptions::separate("GONE")).await.unwrap();
    let named = || docker_now(&["ps", "--all", "--quiet", "--filter", "name=GONE"]).unwrap();
    assert_eq!(named().lines().count(), 6);
    drop(cluster);
    assert_eq!(named(), "");
}

#[test]
fn a_folder_inside_another_is_not_shared_twice() {
    let mut start = Start::new("x", "x", Path::new("/a/b"));
    start.shares = ["/a/b/c", "/a", "/d", "/ab", "/d"].map(std::path::PathBuf::from).to_vec();
    assert_eq!(shared(&start), [Path::new("/a"), Path::new("/ab"), Path::new("/d")]);
}
