//! `work`: runs a worker. SIGTERM, SIGINT and SIGUSR1 (a batch system's warning before preemption) let it finish what it has
//! begun; a second SIGTERM or SIGINT stops it at once.

use std::net::SocketAddr;

use anyhow::Context as _;
use clap::Args;
use lightrail_topics::WorkerName;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::ConfigFile;
use crate::config::Config;
use crate::work::{Options, Shutdown, run};
use lightrail_service::command::Failure;

/// What a worker is told beside its configuration.
#[derive(Debug, Args)]
pub(super) struct Work {
    #[command(flatten)]
    file: ConfigFile,
    /// Which of this machine's workers it is: the same after a restart, another for each that runs at once.
    #[arg(long, default_value = "0")]
    slot: String,
    /// Where health and metrics are asked for; by default where the configuration says.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

impl Work {
    pub(super) async fn obey(self) -> Result<(), Failure> {
        let config = self.file.load()?;
        lightrail_service::telemetry::start(&config.log).map_err(Failure::Usage)?;
        let slot = worker(&config, &self.slot)?;
        let listen = Some(self.listen.unwrap_or(config.http.work));
        let outcome = run(config, Options { slot, listen }, shutdown()?).await;
        crate::source::shutdown();
        outcome.map_err(|error| Failure::Status(error.exit_status(), error.into()))
    }
}

/// The slot's name: the machine's workers', and the slot.
fn worker(config: &Config, slot: &str) -> Result<WorkerName, Failure> {
    let machine = match &config.work.worker {
        Some(worker) => worker.to_string(),
        None => {
            let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
            host.split('.').next().unwrap_or_default().to_owned()
        }
    };
    let name: WorkerName = format!("{machine}-{slot}").parse().map_err(|error| {
        Failure::Usage(anyhow::Error::new(error).context("set work.worker in the configuration, or --slot"))
    })?;
    Ok(name)
}

/// A shutdown that the process's signals bring about.
fn shutdown() -> anyhow::Result<Shutdown> {
    let listen = |kind| signal(kind).context("signals cannot be waited for");
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut preempt = listen(SignalKind::user_defined1())?;
    let shutdown = Shutdown::default();
    let told = shutdown.clone();
    tokio::spawn(async move {
        async fn stop(terminate: &mut Signal, interrupt: &mut Signal) {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("SIGTERM"),
                _ = interrupt.recv() => tracing::info!("SIGINT"),
            }
        }
        tokio::select! {
            () = stop(&mut terminate, &mut interrupt) => {}
            _ = preempt.recv() => tracing::info!("SIGUSR1"),
        }
        told.drain.cancel();
        // A batch system's warning is often followed by SIGTERM: only that one's second means haste.
        stop(&mut terminate, &mut interrupt).await;
        told.now.cancel();
    });
    Ok(shutdown)
}
