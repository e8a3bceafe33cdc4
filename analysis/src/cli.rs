//! The command line: what can be said, and who does it. Prints for people on standard output, faults on standard error.
//! Decides nothing.

mod again;
mod data;
mod index;
mod inspect;
mod kafka;
mod plot;
mod process;
mod reroute;
mod simulate;
mod trials;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::Config;

use lightrail_service::command::{self, Failure, Threads};
use lightrail_service::say;

/// From a run's files to a result per image.
#[derive(Debug, Parser)]
#[command(
    name = "lightrail-analysis",
    version,
    propagate_version = true,
    after_help = "Exit status: 0 done, 1 failed, 2 wrong configuration, usage or name, \
    3 another process has taken this worker's slot."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a configuration and list all that is wrong with it.
    CheckConfig {
        /// The configuration.
        file: PathBuf,
    },
    /// Compare the topics on Kafka with what they should be.
    Topics {
        #[command(flatten)]
        file: ConfigFile,
        /// Make those that are not there. Safe to repeat; never changes one that is there.
        #[arg(long)]
        create: bool,
    },
    /// Simulate a beam time with known truth: run files as a DAQ writes them, and all that analysis needs for them.
    Simulate(Box<simulate::Simulate>),
    /// Tell what is in files: configuration, detectors, events, transitions, chunk switches, damage.
    Inspect(inspect::Inspect),
    /// Work files without any broker: spots, hits and numbers of every image.
    Process(Box<process::Process>),
    /// Pictures for people: an image with its spots, powders, hit rate against time.
    #[command(subcommand)]
    Plot(plot::Plot),
    /// Trials: sets of analysis parameters.
    Trials {
        #[command(subcommand)]
        command: trials::Trials,
    },
    /// Index runs as they become available until SIGTERM: one message per image, exactly once.
    Index(index::Index),
    /// Put images of earlier runs again under a new trial, once per image and trial.
    Reprocess(again::Reprocess),
    /// Move runs' images that are not worked yet to another site.
    Reroute(reroute::Asked),
    /// Work images until SIGTERM or SIGUSR1 (finishes what it has begun) or a second SIGTERM (stops at once).
    Work(work::Work),
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration of the analysis' services.
    #[arg(long, value_name = "FILE", env = "LIGHTRAIL_ANALYSIS_CONFIG")]
    config: PathBuf,
}

impl ConfigFile {
    fn load(&self) -> Result<Config, Failure> {
        Ok(Config::load(&self.config)?)
    }
}

/// Does what the command line says; the exit status tells the truth.
pub fn main() -> ExitCode {
    command::run(Threads::Cores, obey(Cli::parse().command))
}

async fn obey(command: Command) -> Result<(), Failure> {
    match command {
        Command::CheckConfig { file } => {
            let config = Config::load(&file)?;
            say!("{}: right; works at {}, {} sites", file.display(), config.site, config.sites.len());
            Ok(())
        }
        Command::Topics { file, create } => kafka::topics(&file.load()?, create).await,
        Command::Simulate(asked) => simulate::simulate(*asked).await,
        Command::Inspect(inspect) => inspect.obey().await,
        Command::Process(process) => process.obey().await,
        Command::Plot(plot) => plot.obey().await,
        Command::Trials { command } => command.obey().await,
        Command::Index(index) => index.obey().await,
        Command::Reprocess(asked) => asked.obey().await,
        Command::Reroute(asked) => asked.obey().await,
        Command::Work(work) => work.obey().await,
    }
}
