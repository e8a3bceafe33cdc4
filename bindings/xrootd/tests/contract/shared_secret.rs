//! Servers that want a shared secret (`sss`): who has it copies, who has not is told so at once.
//! The library reads the secret's place from the environment, so the part that has it runs in a process of its own.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use xrootd::{Endpoint, ErrorKind, FileSystem};

use crate::copies;
use crate::server::{SOON, Server};

/// The endpoints that the part with the key works on, from the one that started it.
const PLACES: &str = "XROOTD_CONTRACT_SSS";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_between_servers_that_want_a_secret_need_it() -> Result<()> {
    if let Ok(places) = std::env::var(PLACES) {
        return with_the_key(&places).await;
    }
    let folder = tempfile::Builder::new().prefix("xrootd-contract-key-").tempdir_in("/var/tmp")?;
    let key = folder.path().join("mine");
    let made = Command::new("xrdsssadmin")
        .args(["-k", "contract", "-u", "anybody", "-g", "anygroup", "add"])
        .arg(&key)
        .output()
        .context("xrdsssadmin (Debian: xrootd-server)")?;
    ensure!(made.status.success(), "xrdsssadmin: {}", String::from_utf8_lossy(&made.stderr));
    let (from, to) = (Server::start_with_key(&key).await?, Server::start_with_key(&key).await?);
    from.put("/data/a", b"secret")?;

    let begun = Instant::now();
    let error = from.fs().stat("/data/a", SOON).await.expect_err("no key");
    assert_eq!(error.kind(), ErrorKind::Credential, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());

    let ran = Command::new(std::env::current_exe()?)
        .args(["--exact", "shared_secret::copies_between_servers_that_want_a_secret_need_it", "--nocapture"])
        .env("XrdSecSSSKT", &key)
        .env(PLACES, format!("{} {}", from.endpoint, to.endpoint))
        .output()?;
    let said = String::from_utf8_lossy(&ran.stdout);
    ensure!(ran.status.success(), "with the key: {said}\n{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(std::fs::read(to.on_disk("/data/a"))?, b"secret");
    Ok(())
}

async fn with_the_key(places: &str) -> Result<()> {
    let (from, to) = places.split_once(' ').context("two endpoints")?;
    let (from, to): (Endpoint, Endpoint) = (from.parse()?, to.parse()?);
    ensure!(FileSystem::new(&from).stat("/data/a", SOON).await?.is_some(), "the key opens the door");
    Ok(copies::copy(&copies::between(&from, &to, "/data/a")).await?)
}
