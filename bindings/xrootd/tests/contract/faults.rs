//! What goes wrong comes back as the right kind of error, and in time.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use xrootd::{Endpoint, ErrorKind, File, FileSystem, OpenFlags};

use crate::server::{SOON, Server};

/// What comes on top of a deadline: the library's clock, ours, and a slow machine.
const SLACK: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_we_may_not_touch_is_told_apart_from_what_is_not_there() -> Result<()> {
    let server = Server::start().await?;
    let fs = server.fs();
    server.put("/data/secret", b"x")?;
    std::fs::set_permissions(server.on_disk("/data/secret"), std::fs::Permissions::from_mode(0o000))?;
    let denied =
        File::open(&server.url("/data/secret"), OpenFlags::READ, 0, SOON).await.expect_err("mode 000");
    assert_eq!(
        (denied.kind(), denied.code(), denied.errno()),
        (ErrorKind::PermissionDenied, 400, 3010),
        "{denied}"
    );
    assert!(
        denied.to_string().starts_with(&format!("open /data/secret at {}: ", server.endpoint)),
        "{denied}"
    );
    let outside = fs.stat("/etc/passwd", SOON).await.expect_err("not exported");
    assert_eq!(outside.kind(), ErrorKind::PermissionDenied, "{outside}");
    server.put("/data/file", b"x")?;
    let below = fs.mkdir("/data/file/below", 0o755, true, SOON).await.expect_err("a file is no folder");
    assert_eq!(below.kind(), ErrorKind::Invalid, "{below}");
    let folder =
        File::open(&server.url("/data"), OpenFlags::READ, 0, SOON).await.expect_err("a folder is no file");
    assert_eq!(folder.kind(), ErrorKind::Invalid, "{folder}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_without_a_server_is_unreachable_at_once_and_again_later() -> Result<()> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let nobody = Endpoint::new("localhost", port)?;
    for _ in 0..3 {
        let begun = Instant::now();
        let error = FileSystem::new(&nobody).stat("/a", SOON).await.expect_err("nobody listens");
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
        assert!(begun.elapsed() < SLACK, "{:?}", begun.elapsed());
    }
    let begun = Instant::now();
    let unknown = FileSystem::new(&"no-such-host.invalid:1094".parse()?);
    let error = unknown.stat("/a", SOON).await.expect_err("a host that is not");
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(begun.elapsed() < SLACK, "{:?}", begun.elapsed());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_never_answers_is_noticed_within_the_deadline() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mute = Endpoint::new("localhost", listener.local_addr()?.port())?;
    let (begun, deadline) = (Instant::now(), Duration::from_secs(2));
    let error = FileSystem::new(&mute).stat("/a", deadline).await.expect_err("it never answers");
    assert!(matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::Unreachable), "{error}");
    assert!(begun.elapsed() < deadline + SLACK, "{:?}", begun.elapsed());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_noticed_within_the_deadline_and_comes_back() -> Result<()> {
    let server = Server::start().await?;
    server.put("/data/a", b"123")?;
    let file = File::open(&server.url("/data/a"), OpenFlags::READ, 0, SOON).await?;
    server.freeze().await?;
    let deadline = Duration::from_secs(2);
    let begun = Instant::now();
    let fs = server.fs();
    let url = server.url("/data/a");
    let (stat, read, open, ping) = tokio::join!(
        fs.stat("/data/a", deadline),
        file.read(0, 3, deadline),
        File::open(&url, OpenFlags::READ, 0, deadline),
        fs.ping(deadline),
    );
    let took = begun.elapsed();
    for error in
        [stat.map(drop), read.map(drop), open.map(drop), ping].map(|answer| answer.expect_err("it hangs"))
    {
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    }
    assert!(took >= deadline && took < deadline + SLACK, "{took:?}");
    server.thaw()?;
    assert_eq!(fs.stat("/data/a", SOON).await?.context("it is still there")?.size, 3);
    assert_eq!(file.read(0, 3, SOON).await?, b"123");
    file.close(SOON).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_breaks_what_is_under_way_and_what_follows() -> Result<()> {
    let mut server = Server::start().await?;
    server.put("/data/a", b"123")?;
    let fs = server.fs();
    fs.stat("/data/a", SOON).await?;
    server.kill()?;
    let begun = Instant::now();
    let error = fs.stat("/data/a", SOON).await.expect_err("it is dead");
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    Ok(())
}

/// The end of a process, with a file open, a request under way and nobody left to hear of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_shuts_down_ends_at_once() -> Result<()> {
    const CHILD: &str = "XROOTD_CONTRACT_SHUTDOWN";
    if let Ok(url) = std::env::var(CHILD) {
        let url: xrootd::Url = url.parse()?;
        let fs = FileSystem::new(url.endpoint().context("a server")?);
        let file = File::open(&url, OpenFlags::READ, 0, SOON).await?;
        drop(File::open(&url, OpenFlags::READ, 0, SOON).await?);
        drop(File::open(&url, OpenFlags::READ, 0, Duration::MAX).await?);
        drop(tokio::spawn(async move { file.read(0, 1, SOON).await }));
        tokio::task::spawn_blocking(xrootd::shutdown).await?;
        let error = fs.ping(SOON).await.expect_err("it is shut down");
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
        return Ok(());
    }
    let server = Server::start().await?;
    server.put("/data/a", b"123")?;
    let begun = Instant::now();
    let ran = Command::new(std::env::current_exe()?)
        .args(["--exact", "faults::a_process_that_shuts_down_ends_at_once", "--nocapture"])
        .env(CHILD, server.url("/data/a").to_string())
        .output()?;
    let said = String::from_utf8_lossy(&ran.stdout);
    anyhow::ensure!(
        ran.status.success() && said.contains("1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    Ok(())
}
