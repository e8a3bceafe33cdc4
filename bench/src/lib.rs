//! Measures Lightrail against its peers: each figure is a ratio of medians from interleaved runs on the same servers with
//! the same settings. Decides nothing about passing: a bar that does not hold is printed as that. Each scenario runs in a program
//! with the allocator of what it measures, since parts of both sides run in it; the one starts the other.

mod analysis;
mod journal;
mod memory;
mod mover;
mod processor;
mod report;
mod stream;
mod trigger;
mod trip;

use std::process::Command;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};

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

impl Scenario {
    /// What the program runs under that is measured.
    fn allocator(self) -> Allocator {
        match self {
            Self::Mover | Self::Journal => Allocator::Jemalloc,
            Self::Analysis | Self::Stream | Self::Trigger => Allocator::System,
        }
    }
}

/// What a program of benchmarks allocates with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocator {
    /// The C library's.
    System,
    /// The mover's.
    Jemalloc,
}

impl Allocator {
    /// The program that runs under it.
    fn program(self) -> &'static str {
        match self {
            Self::System => "lightrail-bench",
            Self::Jemalloc => "lightrail-bench-mover",
        }
    }
}

/// Measures what the arguments name: here what belongs under `allocator`, the rest by the program beside this one.
///
/// # Errors
///
/// A scenario that could not be measured.
pub fn main(allocator: Allocator) -> anyhow::Result<()> {
    let cli = Cli::parse();
    let all = [Scenario::Journal, Scenario::Trigger, Scenario::Analysis, Scenario::Mover];
    let chosen = if cli.scenarios.is_empty() { &all } else { cli.scenarios.as_slice() };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let scope = Scope { quick: cli.quick, only: cli.only.as_deref() };
    for &scenario in chosen {
        if scenario.allocator() == allocator {
            runtime.block_on(measure(scenario, scope))?;
        } else {
            elsewhere(scenario, scope)?;
        }
    }
    xrootd::shutdown();
    Ok(())
}

async fn measure(scenario: Scenario, scope: Scope<'_>) -> anyhow::Result<()> {
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
    Ok(())
}

/// Measures in the program with the other allocator, which lies beside this one.
fn elsewhere(scenario: Scenario, scope: Scope<'_>) -> anyhow::Result<()> {
    let program = std::env::current_exe()?.with_file_name(scenario.allocator().program());
    let value = scenario.to_possible_value().context("every scenario has a name")?;
    let status = Command::new(&program)
        .args(scope.quick.then_some("--quick"))
        .args(scope.only.map(|part| format!("--only={part}")))
        .arg(value.get_name())
        .status()
        .with_context(|| format!("cannot start {}", program.display()))?;
    anyhow::ensure!(status.success(), "{} ended with {status}", program.display());
    Ok(())
}
