//! Measures Lightrail against its peers: each figure is a ratio of medians from interleaved runs on the same servers with
//! the same settings. Decides nothing about passing: a bar that does not hold is printed as that.

mod analysis;
mod journal;
mod mover;
mod processor;
mod report;
mod stream;

use clap::{Parser, ValueEnum};

/// Benchmarks against peers. Tables go to standard output, and with JSON to target/bench.
#[derive(Debug, Parser)]
#[command(name = "bench/run", version)]
struct Cli {
    /// Fewer runs: the figures are rough.
    #[arg(long)]
    quick: bool,
    /// Which scenarios; all without a name.
    scenarios: Vec<Scenario>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// The analysis: against psana's peakfinder8, DIALS and the truth; and as a stream on Kafka.
    Analysis,
    /// Only the analysis as a stream on Kafka.
    Stream,
    /// The mover against xrdcp.
    Mover,
    /// The journal against bare sled.
    Journal,
}

#[tokio::main(flavor = "multi_thread")]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let all = [Scenario::Journal, Scenario::Analysis, Scenario::Mover];
    let chosen = if cli.scenarios.is_empty() { all.to_vec() } else { cli.scenarios };
    for scenario in chosen {
        let mut settings = String::new();
        let (name, rows) = match scenario {
            Scenario::Analysis => {
                settings = format!("{}; {}", analysis::settings(), stream::settings());
                let mut rows = analysis::measure(cli.quick)?;
                rows.extend(stream::measure(cli.quick).await?);
                ("analysis", rows)
            }
            Scenario::Stream => {
                settings = stream::settings();
                ("stream", stream::measure(cli.quick).await?)
            }
            Scenario::Mover => ("mover", mover::measure(cli.quick).await?),
            Scenario::Journal => ("journal", journal::measure(cli.quick)?),
        };
        report::write(name, &settings, &rows)?;
    }
    xrootd::shutdown();
    Ok(())
}
