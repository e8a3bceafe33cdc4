//! Credentials: servers that want a shared secret (`sss`), and what happens when a credential's file changes.
//! The library finds credentials by the environment, so what has some runs in a process of its own: this program again.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use xrootd::{Endpoint, ErrorKind, FileSystem};

use crate::copies;
use crate::server::{SOON, Server};

/// Tells a child that it is one, and what it works on.
const CHILD: &str = "XROOTD_CONTRACT_CHILD";

/// Runs the calling test again with these variables; what it says when it fails is part of the error.
fn again(test: &str, work: &str, variable: &str, value: &Path) -> Result<()> {
    let ran = Command::new(std::env::current_exe()?)
        .args(["--exact", &format!("credentials::{test}"), "--nocapture"])
        .env(variable, value)
        .env(CHILD, work)
        .output()?;
    let (said, erred) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    ensure!(ran.status.success() && said.contains("1 passed"), "with {variable}: {said}\n{erred}");
    Ok(())
}

fn make_key(path: &Path) -> Result<()> {
    let made = Command::new("xrdsssadmin")
        .args(["-k", "contract", "-u", "anybody", "-g", "anygroup", "add"])
        .arg(path)
        .output()
        .context("xrdsssadmin (Debian: xrootd-server)")?;
    ensure!(made.status.success(), "xrdsssadmin: {}", String::from_utf8_lossy(&made.stderr));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_want_a_secret_are_copied_between_with_it_only() -> Result<()> {
    const SELF: &str = "servers_that_want_a_secret_are_copied_between_with_it_only";
    if let Ok(work) = std::env::var(CHILD) {
        return with_a_key(&work).await;
    }
    let folder = tempfile::Builder::new().prefix("xrootd-contract-key-").tempdir_in("/var/tmp")?;
    let (key, other) = (folder.path().join("mine"), folder.path().join("other"));
    make_key(&key)?;
    make_key(&other)?;
    let (from, to) = (Server::start_with_key(&key).await?, Server::start_with_key(&key).await?);
    from.put("/data/a", b"secret")?;
    let places = format!("{} {}", from.endpoint, to.endpoint);

    let begun = Instant::now();
    let error = from.fs().stat("/data/a", SOON).await.expect_err("no key");
    assert_eq!(error.kind(), ErrorKind::Credential, "{error}");
    assert!(error.message().contains("no credential was found"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());

    again(SELF, &format!("refused {places}"), "XrdSecSSSKT", &other)?;
    again(SELF, &format!("welcome {places}"), "XrdSecSSSKT", &key)?;
    assert_eq!(std::fs::read(to.on_disk("/data/a"))?, b"secret");
    Ok(())
}

async fn with_a_key(work: &str) -> Result<()> {
    let [expected, from, to] = work.split(' ').collect::<Vec<_>>()[..] else {
        anyhow::bail!("not work: {work}")
    };
    let (from, to): (Endpoint, Endpoint) = (from.parse()?, to.parse()?);
    let seen = FileSystem::new(&from).stat("/data/a", SOON).await;
    if expected == "refused" {
        let error = seen.expect_err("another key");
        assert_eq!(error.kind(), ErrorKind::Credential, "{error}");
        let file = std::env::var("XrdSecSSSKT")?;
        assert!(error.message().contains(&format!("shared secret {file}")), "{error}");
        return Ok(());
    }
    ensure!(seen?.is_some(), "the key opens the door");
    Ok(copies::copy(&copies::between(&from, &to, "/data/a")).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_changes_is_shown_by_a_new_login() -> Result<()> {
    if std::env::var_os(CHILD).is_some() {
        return with_a_token(Path::new(&std::env::var_os("BEARER_TOKEN_FILE").context("a token")?)).await;
    }
    let folder = tempfile::tempdir()?;
    let token = folder.path().join("token");
    std::fs::write(&token, "first")?;
    again("a_token_that_changes_is_shown_by_a_new_login", "", "BEARER_TOKEN_FILE", &token)
}

async fn with_a_token(token: &Path) -> Result<()> {
    let (from, to) = (Server::start().await?, Server::start().await?);
    let fs = from.fs();
    from.put("/data/a", b"1")?;
    copies::copy(&copies::spec(&from, &to, "/data/a")).await?;
    ensure!(!from.log()?.contains("login1."), "no token has changed yet");

    let new = token.with_extension("new");
    std::fs::write(&new, "second")?;
    std::fs::rename(&new, token)?;
    let until = Instant::now() + SOON;
    while !from.log()?.contains("login1.") {
        ensure!(Instant::now() < until, "no new login:\n{}", from.log()?);
        fs.ping(SOON).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut copy = copies::spec(&from, &to, "/data/a");
    copy.destination = to.url("/data/b");
    copies::copy(&copy).await?;
    ensure!(to.log()?.contains("login1."), "the copy went by the new login");
    Ok(())
}
