//! One contract for all engines, and one file's whole way over real `XRootD` clusters. Memory and posix need nothing; native
//! and xrdcp start clusters of their own on free ports.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod contract;
mod grounds;
mod whole;

use contract::keep_contract;
use grounds::{Clusters, Folders, Ground, InMemory};
use lightrail_mover::carry::native::Native;
use lightrail_mover::carry::posix::Posix;
use lightrail_mover::carry::xrdcp::Xrdcp;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_keeps_the_contract() {
    let ground = InMemory::new();
    keep_contract(ground.engine(), &ground).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn posix_keeps_the_contract() {
    keep_contract(&Posix, &Folders::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn native_and_xrdcp_keep_the_contract() {
    let clusters = Clusters::start().await;
    assert_eq!(clusters.from().name.as_str(), "SLAC");
    keep_contract(&Native::default(), &clusters).await;
    keep_contract(&Xrdcp::new(Native::default()), &clusters).await;
}
