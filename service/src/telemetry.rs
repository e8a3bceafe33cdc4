//! Logs to standard error and metrics in memory, started once per process. Renders nothing and decides nothing.

use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::settings::{Log, LogFormat};

/// Starts the log as configured; `RUST_LOG` goes above the configuration.
///
/// # Errors
/// The filter is not understood, or a log has been started before.
pub fn start(log: &Log) -> anyhow::Result<()> {
    let filter = match EnvFilter::try_from_default_env() {
        Ok(filter) => filter,
        Err(_) => EnvFilter::try_new(&log.filter)?,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    metrics();
    started.map_err(|why| anyhow::anyhow!("the log cannot be started: {why}"))
}

/// This process's metrics. The first call installs their recorder; where a test has installed another one, what is
/// rendered here stays empty.
pub fn metrics() -> PrometheusHandle {
    static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();
    METRICS
        .get_or_init(|| {
            let builder = || PrometheusBuilder::new();
            match builder().install_recorder() {
                Ok(metrics) => {
                    sum_up(metrics.clone());
                    metrics
                }
                Err(_) => builder().build_recorder().handle(),
            }
        })
        .clone()
}

/// How often what was recorded is put into its summaries.
const SUMMED_UP_EVERY: Duration = Duration::from_secs(5);

/// Until then each value that was recorded is kept by itself: a process that nobody asks for its metrics would grow for ever.
fn sum_up(metrics: PrometheusHandle) {
    let every = move || {
        loop {
            std::thread::park_timeout(SUMMED_UP_EVERY);
            metrics.run_upkeep();
        }
    };
    if let Err(error) = std::thread::Builder::new().name("metrics".to_owned()).spawn(every) {
        tracing::warn!(%error, "metrics are summed up only when they are asked for");
    }
}
