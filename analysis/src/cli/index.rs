//! `index`: runs the service until SIGTERM or SIGINT.

use std::net::SocketAddr;

use clap::Args;

use super::ConfigFile;
use lightrail_service::command::{self, Failure};

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
        // A transaction that is under way ends by itself or is taken back: nothing is waited for.
        let outcome = crate::index::run(config, listen, command::stopped()?).await;
        crate::source::shutdown();
        outcome.map_err(|error| Failure::Other(error.into()))
    }
}
