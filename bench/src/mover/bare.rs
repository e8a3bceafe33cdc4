//! A bare loop of the binding's calls: open, rendezvous, close, both sums, rename. What the mover's engine adds to it is
//! looking, watching and deciding.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures::StreamExt as _;
use lightrail_tests::Stage;
use xrootd::tpc::{self, Key, Limits, Spec};
use xrootd::{Endpoint, ErrorKind, FileSystem, Url};

const LIMIT: Duration = Duration::from_secs(60);
/// After how long a copy without a byte is begun anew, as the mover does.
const STALL: Duration = Duration::from_secs(10);
const ATTEMPTS: usize = 3;

/// Clients of the servers, each asked for once.
pub(super) struct Bare {
    door: Endpoint,
    sources: Vec<(Endpoint, FileSystem)>,
    destination: (Endpoint, FileSystem),
    prefixes: (String, String),
}

impl Bare {
    pub(super) fn new(stage: &Stage) -> anyhow::Result<Self> {
        let server = |address: &str| -> anyhow::Result<(Endpoint, FileSystem)> {
            let endpoint: Endpoint = address.parse()?;
            let client = FileSystem::new(&endpoint);
            Ok((endpoint, client))
        };
        let sources = (0..stage.slac.servers())
            .map(|n| server(stage.slac.server(n).address()))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            door: stage.slac.door().parse()?,
            sources,
            destination: server(stage.nersc.server(0).address())?,
            prefixes: (stage.slac.prefix().to_owned(), stage.nersc.prefix().to_owned()),
        })
    }

    /// Copies files of `(source path, destination path, size)`, so many at once.
    pub(super) async fn copy_all(
        &self,
        files: &[(String, String, u64)],
        at_once: usize,
    ) -> anyhow::Result<()> {
        let mut copies = futures::stream::iter(files)
            .map(|(from, to, size)| self.copy(from, to, *size))
            .buffer_unordered(at_once);
        while let Some(copied) = copies.next().await {
            copied?;
        }
        Ok(())
    }

    async fn copy(&self, from: &str, to: &str, size: u64) -> anyhow::Result<()> {
        for _ in 0..ATTEMPTS {
            if self.attempt(from, to, size).await? {
                return Ok(());
            }
        }
        anyhow::bail!("{to}: no copy begins")
    }

    /// Whether the file is there now; not if its copy stood still before the first byte.
    async fn attempt(&self, from: &str, to: &str, size: u64) -> anyhow::Result<bool> {
        let (from, to) = (format!("{}{from}", self.prefixes.0), format!("{}{to}", self.prefixes.1));
        let mut holder = None;
        for (endpoint, client) in &self.sources {
            if client.stat(&from, LIMIT).await?.is_some() {
                holder = Some((endpoint, client));
                break;
            }
        }
        let (holder, source) = holder.with_context(|| format!("nobody has {from}"))?;
        let (destination, there) = &self.destination;
        let temporary = format!("{to}.bare{:08x}", fastrand::u32(..));
        let spec = Spec {
            source: Url::new(holder, &from),
            destination: Url::new(destination, &temporary),
            size: Some(size),
            streams: 1,
            ttl: None,
            mode: 0o644,
            source_as_user_gave: self.door.clone(),
        };
        let mut copying = tpc::open(&spec, &Key::new(fastrand::u128(..)), &Limits::default()).await?;
        copying.granted().await?;
        copying.start()?;
        while let Err(error) = copying.wait(STALL).await {
            ensure!(error.kind() == ErrorKind::TimedOut, error);
            if copying.size(LIMIT).await? == 0 {
                // The copy program has hung, as it does about once in a thousand copies.
                copying.close(LIMIT).await?;
                return Ok(false);
            }
        }
        copying.close(LIMIT).await?;
        let (ours, theirs) = tokio::try_join!(
            there.checksum(&temporary, "adler32", LIMIT),
            source.checksum(&from, "adler32", LIMIT)
        )?;
        ensure!(ours == theirs, "{to}: checksums differ");
        there.mv(&temporary, &to, LIMIT).await?;
        Ok(true)
    }
}
