//! Third-party copies between two real servers.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use xrootd::tpc::{self, Key, Limits, Spec};
use xrootd::{Endpoint, Error, ErrorKind, Url};

use crate::server::{SOON, Server};

/// A copy of `path` from one server to the same path at the other.
pub(crate) fn spec(from: &Server, to: &Server, path: &str) -> Spec {
    between(&from.endpoint, &to.endpoint, path)
}

pub(crate) fn between(from: &Endpoint, to: &Endpoint, path: &str) -> Spec {
    Spec {
        source: Url::new(from, path),
        destination: Url::new(to, path),
        size: None,
        streams: 1,
        ttl: None,
        mode: 0o644,
        source_as_user_gave: from.clone(),
    }
}

pub(crate) fn key() -> Key {
    Key::new(u128::from(fastrand::u64(..)) << 64 | u128::from(fastrand::u64(..)))
}

/// The whole rendezvous.
pub(crate) async fn copy(spec: &Spec) -> Result<(), Error> {
    let mut copying = tpc::open(spec, &key(), &Limits::default()).await?;
    copying.granted().await?;
    copying.start()?;
    copying.wait(SOON).await?;
    copying.close(SOON).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_all_sizes_arrive_as_they_were() -> Result<()> {
    let (from, to) = (Server::start().await?, Server::start().await?);
    for (name, size) in [("empty", 0usize), ("small", 20_000), ("big", 5_000_000)] {
        let path = format!("/data/sub/{name}");
        let content: Vec<u8> = (0..size).map(|_| fastrand::u8(..)).collect();
        std::fs::create_dir_all(from.on_disk("/data/sub"))?;
        from.put(&path, &content)?;
        let begun = Instant::now();
        copy(&spec(&from, &to, &path)).await.with_context(|| format!("copying {name}"))?;
        println!("{name}: {size} bytes in {:?}", begun.elapsed());
        assert_eq!(std::fs::read(to.on_disk(&path))?, content, "{name}");
        let stat = to.fs().stat(&path, SOON).await?.context("the copy is not there")?;
        assert_eq!(stat.size, size as u64);
    }
    Ok(())
}

/// Waits for a condition on a copy's size, with a limit.
async fn grown(copying: &tpc::Copying, least: u64) -> Result<u64> {
    let until = Instant::now() + SOON;
    loop {
        let size = copying.size(SOON).await?;
        if size >= least {
            return Ok(size);
        }
        anyhow::ensure!(Instant::now() < until, "only {size} bytes");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until nobody writes to a file any more, and removes it: what a cancelled copy has written may stay or go,
/// `autorm` or not (the server loses the race with its own copy program).
async fn at_rest(server: &Server, path: &str) -> Result<()> {
    let until = Instant::now() + SOON;
    let mut before = u64::MAX;
    while let Some(stat) = server.fs().stat(path, SOON).await? {
        assert!(stat.size < LONG, "the whole file was copied");
        if stat.size == before {
            return Ok(server.fs().rm(path, SOON).await?);
        }
        before = stat.size;
        anyhow::ensure!(Instant::now() < until, "it still grows");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    Ok(())
}

async fn started(spec: &Spec) -> Result<tpc::Copying> {
    let mut copying = tpc::open(spec, &key(), &Limits::default()).await?;
    copying.granted().await?;
    copying.start()?;
    Ok(copying)
}

/// Too much to be copied before the test has looked at it.
const LONG: u64 = 4 << 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_cancelled_in_its_middle() -> Result<()> {
    let (from, to) = (Server::start().await?, Server::start().await?);
    from.put_sparse("/data/a", LONG)?;
    let mut copying = started(&spec(&from, &to, "/data/a")).await?;
    let size = grown(&copying, 1).await?;
    assert!(size < LONG, "it is copied already");
    let early = copying.wait(Duration::from_millis(50)).await.expect_err("not that soon");
    assert_eq!(early.kind(), ErrorKind::TimedOut, "{early}");

    let begun = Instant::now();
    copying.cancel(SOON).await?;
    let error = copying.wait(SOON).await.expect_err("it was cancelled");
    println!("cancelled in {:?}: {error}", begun.elapsed());
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let _ = copying.close(SOON).await;
    at_rest(&to, "/data/a").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_whose_future_is_dropped_ends_by_itself() -> Result<()> {
    let (from, to) = (Server::start().await?, Server::start().await?);
    from.put_sparse("/data/a", LONG)?;
    let copying = started(&spec(&from, &to, "/data/a")).await?;
    grown(&copying, 1).await?;
    drop(copying);
    at_rest(&to, "/data/a").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_copy_can_be_closed_at_once() -> Result<()> {
    let (from, to) = (Server::start().await?, Server::start().await?);
    from.put_sparse("/data/a", LONG)?;
    let copying = started(&spec(&from, &to, "/data/a")).await?;
    grown(&copying, 1).await?;
    let begun = Instant::now();
    let _ = copying.close(SOON).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    at_rest(&to, "/data/a").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_side_is_blamed_for_its_own() -> Result<()> {
    let (from, to) = (Server::start().await?, Server::start().await?);
    let missing = copy(&spec(&from, &to, "/data/missing")).await.expect_err("nothing to copy");
    assert_eq!((missing.kind(), missing.from_source()), (ErrorKind::NotFound, true), "{missing}");

    from.put("/data/a", b"123")?;
    to.put("/data/a", b"old")?;
    let exists = copy(&spec(&from, &to, "/data/a")).await.expect_err("it is there");
    assert_eq!((exists.kind(), exists.from_source()), (ErrorKind::Exists, false), "{exists}");
    assert_eq!(std::fs::read(to.on_disk("/data/a"))?, b"old", "nothing was overwritten");

    let plain = Server::start_with("").await?;
    let unable = copy(&spec(&from, &plain, "/data/a")).await.expect_err("it does not copy");
    assert_eq!((unable.kind(), unable.from_source()), (ErrorKind::Unsupported, false), "{unable}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_wait_for_their_slot() -> Result<()> {
    let from = Server::start().await?;
    let to =
        Server::start_with("ofs.tpc autorm ttl 60 120 xfr 1 streams 0 pgm /usr/bin/xrdcp --server").await?;
    from.put_sparse("/data/first", LONG)?;
    from.put("/data/second", b"1234")?;
    let first = started(&spec(&from, &to, "/data/first")).await?;
    let mut second = tpc::open(&spec(&from, &to, "/data/second"), &key(), &Limits::default()).await?;
    tokio::time::timeout(Duration::from_secs(1), second.granted()).await.expect_err("the only slot is taken");
    first.close(SOON).await?;
    second.granted().await?;
    second.start()?;
    second.wait(SOON).await?;
    second.close(SOON).await?;
    assert_eq!(std::fs::read(to.on_disk("/data/second"))?, b"1234");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_does_not_come_is_not_waited_for_longer_than_the_limit() -> Result<()> {
    let from = Server::start().await?;
    let to =
        Server::start_with("ofs.tpc autorm ttl 60 120 xfr 1 streams 0 pgm /usr/bin/xrdcp --server").await?;
    let slow = Server::start().await?;
    slow.put_sparse("/data/first", LONG)?;
    from.put("/data/second", b"1234")?;
    let limits = Limits { slot: Duration::from_secs(1), ..Limits::default() };
    // Its source stops answering, so that it keeps the slot.
    let first = started(&spec(&slow, &to, "/data/first")).await?;
    grown(&first, 1).await?;
    slow.freeze().await?;
    let mut second = tpc::open(&spec(&from, &to, "/data/second"), &key(), &limits).await?;
    let begun = Instant::now();
    let error = second.granted().await.expect_err("the only slot is taken");
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    // It gives up its place in the queue: a third one comes next.
    second.close(SOON).await?;
    let _ = first.close(SOON).await;
    slow.thaw()?;
    at_rest(&to, "/data/second").await?;
    copy(&spec(&from, &to, "/data/second")).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permission_that_has_expired_while_its_copy_queued_is_given_again() -> Result<()> {
    // Permissions last 4 s, and are asked for no longer.
    let from =
        Server::start_with("ofs.tpc autorm ttl 4 4 xfr 9 streams 0 pgm /usr/bin/xrdcp --server").await?;
    let slow = Server::start().await?;
    let to =
        Server::start_with("ofs.tpc autorm ttl 60 120 xfr 1 streams 0 pgm /usr/bin/xrdcp --server").await?;
    slow.put_sparse("/data/first", LONG)?;
    from.put("/data/second", b"1234")?;
    let first = started(&spec(&slow, &to, "/data/first")).await?;
    grown(&first, 1).await?;
    slow.freeze().await?;
    let mut second = tpc::open(&spec(&from, &to, "/data/second"), &key(), &Limits::default()).await?;
    let long = Duration::from_secs(6);
    tokio::time::timeout(long, second.granted()).await.expect_err("the only slot is taken");
    let (cancelled, granted) = tokio::join!(first.cancel(SOON), second.granted());
    cancelled?;
    granted?;
    slow.thaw()?;
    let _ = first.close(SOON).await;
    second.start()?;
    second.wait(SOON).await?;
    second.close(SOON).await?;
    assert_eq!(std::fs::read(to.on_disk("/data/second"))?, b"1234");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_dies_is_noticed_by_nobody_but_the_copy_can_be_cancelled() -> Result<()> {
    let (mut from, to) = (Server::start().await?, Server::start().await?);
    from.put_sparse("/data/a", LONG)?;
    let mut copying = started(&spec(&from, &to, "/data/a")).await?;
    grown(&copying, 1).await?;
    from.kill()?;
    let silence = copying.wait(Duration::from_secs(2)).await.expect_err("it cannot have ended");
    assert_eq!(silence.kind(), ErrorKind::TimedOut, "{silence}");
    copying.cancel(SOON).await?;
    let error = copying.wait(SOON).await.expect_err("it was cancelled");
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
    let begun = Instant::now();
    let _ = copying.close(SOON).await;
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    at_rest(&to, "/data/a").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_that_dies_ends_the_copy_at_once() -> Result<()> {
    let (from, mut to) = (Server::start().await?, Server::start().await?);
    from.put_sparse("/data/a", LONG)?;
    let mut copying = started(&spec(&from, &to, "/data/a")).await?;
    grown(&copying, 1).await?;
    let begun = Instant::now();
    to.kill()?;
    let error = copying.wait(SOON).await.expect_err("it is dead");
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    println!("noticed in {:?}: {error}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_outlives_the_promised_answer_is_asked_for_again() -> Result<()> {
    let (from, to) = (Server::start().await?, Server::start().await?);
    from.put_sparse("/data/a", LONG)?;
    // The source stops answering, so that the copy takes as long as we please.
    let mut copying = tpc::open(&spec(&from, &to, "/data/a"), &key(), &Limits::default()).await?;
    copying.ask_again_after(Duration::from_secs(1));
    copying.granted().await?;
    copying.start()?;
    grown(&copying, 1).await?;
    from.freeze().await?;
    let late = copying.wait(Duration::from_secs(6)).await.expect_err("its source hangs");
    assert_eq!(late.kind(), ErrorKind::TimedOut, "{late}");
    copying.cancel(SOON).await?;
    let error = copying.wait(SOON).await.expect_err("it was cancelled");
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
    from.thaw()?;
    let _ = copying.close(SOON).await;
    at_rest(&to, "/data/a").await
}

/// The reason for all this: the tool looks whether a copy has ended every 2.5 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_copy_is_far_quicker_than_with_the_tool() -> Result<()> {
    let (from, to) = (Server::start().await?, Server::start().await?);
    from.put("/data/a", &vec![7; 20_000])?;
    let (mut ours, mut tools) = (Vec::new(), Vec::new());
    for round in 0..7 {
        let mut spec = spec(&from, &to, "/data/a");
        spec.destination = to.url(&format!("/data/ours-{round}"));
        let begun = Instant::now();
        copy(&spec).await?;
        ours.push(begun.elapsed());
        // Enough of these to see the grid.
        if round < 3 {
            let begun = Instant::now();
            let said = tokio::process::Command::new("xrdcp")
                .args(["--silent", "--tpc", "only", &from.url("/data/a").to_string()])
                .arg(to.url(&format!("/data/tools-{round}")).to_string())
                .output()
                .await?;
            anyhow::ensure!(said.status.success(), "xrdcp: {}", String::from_utf8_lossy(&said.stderr));
            tools.push(begun.elapsed());
        }
    }
    ours.sort();
    tools.sort();
    println!("20 kB: ours {ours:?}, xrdcp {tools:?}");
    assert!(ours[3] * 10 < tools[1], "median of ours {:?}, of xrdcp {:?}", ours[3], tools[1]);
    Ok(())
}
