//! Third-party copies between two real servers.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use xrootd::tpc::{self, Key, Limits, Spec};
use xrootd::{Error, ErrorKind};

use crate::server::{SOON, Server};

/// A copy of `path` from one server to the same path at the other.
pub(crate) fn spec(from: &Server, to: &Server, path: &str) -> Spec {
    Spec {
        source: from.url(path),
        destination: to.url(path),
        size: None,
        streams: 1,
        ttl: None,
        mode: 0o644,
        source_as_user_gave: from.endpoint.clone(),
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
