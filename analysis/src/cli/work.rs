//! `work`: runs a worker until a signal ends it ([`Shutdown::by_signals`]).

use std::net::SocketAddr;

use anyhow::Context as _;
use clap::Args;
use lightrail_topics::WorkerName;

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
        let shutdown = Shutdown::by_signals().context("signals cannot be waited for")?;
        let outcome = run(config, Options { slot, listen }, shutdown).await;
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
