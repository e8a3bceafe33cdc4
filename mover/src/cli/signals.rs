//! SIGTERM and SIGINT: the first drains, the second stops at once.

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::run::Shutdown;

/// A shutdown that the process's signals bring about.
pub(super) fn shutdown() -> anyhow::Result<Shutdown> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be waited for")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be waited for")?;
    let shutdown = Shutdown::default();
    let told = shutdown.clone();
    tokio::spawn(async move {
        for stop in [&told.drain, &told.now] {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("SIGTERM"),
                _ = interrupt.recv() => tracing::info!("SIGINT"),
            }
            stop.cancel();
        }
    });
    Ok(shutdown)
}
