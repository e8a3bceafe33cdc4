//! Futures dropped at any moment: nothing is freed too early, nothing stays open, and the rest goes on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use xrootd::{File, FileSystem, OpenFlags, Url};

use crate::copies;
use crate::server::{SOON, Server};

/// 10,000, or what `XROOTD_CONTRACT_OPERATIONS` says: under valgrind fewer must do.
fn operations() -> Result<usize> {
    match std::env::var("XROOTD_CONTRACT_OPERATIONS") {
        Ok(number) => number.parse().context("XROOTD_CONTRACT_OPERATIONS"),
        Err(_) => Ok(10_000),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_operations_with_random_drops() -> Result<()> {
    let (server, other) = (Arc::new(Server::start().await?), Arc::new(Server::start().await?));
    server.put("/data/read", &(0..=255u8).cycle().take(100_000).collect::<Vec<_>>())?;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let random = fastrand::Rng::with_seed(seed);
    let baseline = server.open_files()?;
    let shared = Arc::new(File::open(&server.url("/data/read"), OpenFlags::READ, 0, SOON).await?);

    let mut completed = 0;
    let mut under_way = futures::stream::iter((0..operations()?).map(|number| {
        let (server, other, shared) = (Arc::clone(&server), Arc::clone(&other), Arc::clone(&shared));
        let mut random = random.clone().fork_at(number);
        async move {
            // A third is left to end by itself, the others are dropped: unpolled, polled once, or a little later.
            let patience = match random.u8(..6) {
                0 | 1 => SOON,
                2 => Duration::ZERO,
                _ => Duration::from_micros(random.u64(..2000)),
            };
            let work = one(&server, &other, &shared, number, &mut random);
            // Out of patience is what this is about; what fails otherwise is a fault.
            tokio::time::timeout(patience, work).await.ok().transpose()
        }
    }))
    .buffer_unordered(64);
    while let Some(done) = under_way.next().await {
        completed += usize::from(done.with_context(|| format!("seed {seed}"))?.is_some());
    }
    drop(under_way);
    println!("{completed} of {} came to their end", operations()?);
    ensure!(completed > operations()? / 10, "only {completed} operations were not dropped");

    // The server is well, and every file that was opened in passing is closed again.
    assert_eq!(shared.read(0, 4, SOON).await?, [0, 1, 2, 3]);
    drop(shared);
    let until = Instant::now() + SOON;
    while server.open_files()? > baseline {
        ensure!(
            Instant::now() < until,
            "{} files stay open at the server, seed {seed}",
            server.open_files()?
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

async fn one(
    server: &Server,
    other: &Server,
    shared: &File,
    number: usize,
    random: &mut fastrand::Rng,
) -> Result<()> {
    let fs: FileSystem = server.fs();
    match random.u8(..8) {
        0 => ensure!(fs.stat("/data/read", SOON).await?.is_some(), "the file is there"),
        1 => ensure!(fs.stat("/data/none", SOON).await?.is_none(), "the file is not there"),
        2 => {
            let at = random.u64(..90_000);
            let read = shared.read(at, 10_000, SOON).await?;
            ensure!(read.len() == 10_000 && u64::from(read[0]) == at % 256, "wrong bytes at {at}");
        }
        3 => {
            let file = File::open(&server.url("/data/read"), OpenFlags::READ, 0, SOON).await?;
            ensure!(file.read(256, 2, SOON).await? == [0, 1], "wrong bytes");
            file.close(SOON).await?;
        }
        4 => drop(File::open(&server.url("/data/read"), OpenFlags::READ, 0, SOON).await?),
        5 => write(&server.url(&format!("/data/written-{number}")), random).await?,
        6 => {
            let listed = fs.dirlist("/data", SOON).await?;
            ensure!(listed.iter().any(|entry| entry.name == "read"), "it is listed");
        }
        // Copies are dear: every tenth.
        _ if random.u8(..10) == 0 => {
            let mut spec = copies::spec(server, other, "/data/read");
            spec.destination = other.url(&format!("/data/copy-{number}"));
            copies::copy(&spec).await?;
        }
        _ => fs.ping(SOON).await?,
    }
    Ok(())
}

async fn write(url: &Url, random: &mut fastrand::Rng) -> Result<()> {
    let file = File::open(url, OpenFlags::NEW | OpenFlags::UPDATE, 0o600, SOON).await?;
    let data: Vec<u8> = (0..random.usize(..20_000)).map(|_| random.u8(..)).collect();
    file.write(0, data.clone(), SOON).await?;
    ensure!(file.read(0, 20_000, SOON).await? == data, "what was written is read back");
    file.close(SOON).await?;
    Ok(())
}

/// A generator of its own for each operation, so that the order in which they run does not matter.
trait ForkAt {
    fn fork_at(self, number: usize) -> Self;
}

impl ForkAt for fastrand::Rng {
    fn fork_at(self, number: usize) -> Self {
        Self::with_seed(self.get_seed() ^ (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}
