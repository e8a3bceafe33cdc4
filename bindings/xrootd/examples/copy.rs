//! Copies one file from server to server, by third-party copy, and tells how long each step took:
//! `cargo run -p xrootd --example copy -- root://door//path root://door//path`. Redirectors are fine on both sides.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use xrootd::tpc::{self, Key, Limits, Spec};
use xrootd::{Error, FileSystem, Settings, Url};

const LIMIT: Duration = Duration::from_secs(30);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let source: Url = arguments.next().context("from where? root://host:port//path")?.parse()?;
    let destination: Url = arguments.next().context("to where? root://host:port//path")?.parse()?;
    xrootd::init(&Settings::default())?;

    let begun = Instant::now();
    let step = |what: &str| println!("{:8.1} ms  {what}", begun.elapsed().as_secs_f64() * 1e3);
    let door = source.endpoint().context("the source is not at a server")?;
    let holders = FileSystem::new(door).locate(source.path(), false, LIMIT).await?;
    let holder = holders.first().context("no server has the file")?;
    step(&format!("located at {holder} ({} in all)", holders.len()));
    let size =
        FileSystem::new(holder).stat(source.path(), LIMIT).await?.context("the file is not there")?.size;
    step(&format!("{size} bytes"));

    let spec = Spec {
        source: Url::new(holder, source.path()),
        destination,
        size: Some(size),
        streams: 1,
        ttl: None,
        mode: 0o644,
        source_as_user_gave: door.clone(),
    };
    let mut copying = tpc::open(&spec, &Key::new(fastrand::u128(..)), &Limits::default()).await?;
    step(&format!("opened at {}", copying.destination_server()));
    copying.granted().await?;
    step("granted");
    copying.start()?;
    while let Err(error) = copying.wait(Duration::from_secs(1)).await {
        retold(error)?;
        step(&format!("{} bytes", copying.size(LIMIT).await?));
    }
    step("copied");
    copying.close(LIMIT).await?;
    step("closed");
    xrootd::shutdown();
    Ok(())
}

/// Only patience has run out: look and wait on.
fn retold(error: Error) -> Result<(), Error> {
    if error.kind() == xrootd::ErrorKind::TimedOut { Ok(()) } else { Err(error) }
}
