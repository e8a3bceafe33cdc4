//! The contract, held by processes.

use super::{Processes, contract};

#[tokio::test]
async fn a_broker_is_killed_stopped_and_dropped() {
    contract::a_broker_is_killed_stopped_and_dropped(&Processes).await.unwrap();
}

#[tokio::test]
async fn a_third_party_copy_goes_from_door_to_door() {
    contract::a_third_party_copy_goes_from_door_to_door(&Processes).await.unwrap();
}

#[tokio::test]
async fn with_sss_only_who_has_the_key_copies() {
    contract::with_sss_only_who_has_the_key_copies(&Processes).await.unwrap();
}

#[tokio::test]
async fn daemons_are_killed_and_stopped() {
    contract::daemons_are_killed_and_stopped(&Processes).await.unwrap();
}
