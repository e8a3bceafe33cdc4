//! Measures Lightrail against its peers: each figure is a ratio of medians from interleaved runs on the same servers with
//! the same settings. Decides nothing about passing: a bar that does not hold is printed as that.

mod analysis;
mod journal;
mod mover;
mod processor;
mod report;
mod stream;
mod trigger;

use clap::{Parser, ValueEnum};

/// The mover's, since parts of it and bare loops of its calls are measured in this process.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Benchmarks against peers. Tables go to standard output, and with JSON to target/bench.
#[derive(Debug, Parser)]
#[command(name = "bench/run", version)]
struct Cli {
    /// Fewer runs: the figures are rough.
    #[arg(long)]
    quick: bool,
    /// Only this part of a scenario, such as `many` of `mover`; writes no report.
    #[arg(long, value_name = "PART")]
    only: Option<String>,
    /// Which scenarios; all without a name.
    scenarios: Vec<Scenario>,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Scope<'a> {
    quick: bool,
    only: Option<&'a str>,
}

impl Scope<'_> {
    /// Whether a part of a scenario is to be measured.
    fn wants(&self, part: &str) -> bool {
        self.only.is_none_or(|only| only == part)
    }
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
    /// The trigger: deciding, submitting to a real Slurm, choosing sites.
    Trigger,
}

#[tokio::main(flavor = "multi_thread")]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let all = [Scenario::Journal, Scenario::Trigger, Scenario::Analysis, Scenario::Mover];
    let scope = Scope { quick: cli.quick, only: cli.only.as_deref() };
    let chosen = if cli.scenarios.is_empty() { all.to_vec() } else { cli.scenarios };
    for scenario in chosen {
        let mut settings = String::new();
        let (name, rows) = match scenario {
            Scenario::Analysis => {
                settings = format!("{}; {}", analysis::settings(), stream::settings());
                let mut rows = analysis::measure(scope)?;
                rows.extend(stream::measure(scope).await?);
                ("analysis", rows)
            }
            Scenario::Stream => {
                settings = stream::settings();
                ("stream", stream::measure(scope).await?)
            }
            Scenario::Mover => ("mover", mover::measure(scope).await?),
            Scenario::Journal => ("journal", journal::measure(scope.quick)?),
            Scenario::Trigger => {
                settings = trigger::settings();
                ("trigger", trigger::measure(scope).await?)
            }
        };
        if scope.only.is_none() {
            report::write(name, &settings, &rows)?;
        }
    }
    xrootd::shutdown();
    Ok(())
}
