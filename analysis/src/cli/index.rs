//! `index`: runs the service until SIGTERM or SIGINT.

use std::net::SocketAddr;

use anyhow::Context as _;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::ConfigFile;
use super::failure::Failure;

/// What the service is told beside its configuration.
#[derive(Debug, Args)]
pub(super) struct Index {
    #[command(flatten)]
    file: ConfigFile,
    /// Where health and metrics are asked for; by default where the configuration says.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

impl Index {
    pub(super) async fn obey(self) -> Result<(), Failure> {
        let config = self.file.load()?;
        lightrail_service::telemetry::start(&config.log).map_err(Failure::Usage)?;
        let listen = Some(self.listen.unwrap_or(config.http.index));
        let outcome = crate::index::run(config, listen, stopped()?).await;
        crate::source::shutdown();
        outcome.map_err(|error| Failure::Other(error.into()))
    }
}

/// A stop that the process's signals bring about. A transaction that is under way ends by itself or is taken back: nothing is
/// waited for.
fn stopped() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be waited for")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be waited for")?;
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM"),
            _ = interrupt.recv() => tracing::info!("SIGINT"),
        }
        told.cancel();
    });
    Ok(stop)
}
