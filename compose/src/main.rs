//! `lightrail-compose`: shows the real parts together. Parses, listens for Ctrl-C and SIGTERM, calls the library.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use bytesize::ByteSize;
use clap::{Parser, Subcommand};
use lightrail_compose::demo::{self, DemoOptions};
use tokio::signal::unix::{SignalKind, signal};

/// Starts the real parts of Lightrail on this machine.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Takes three simulated runs, shows how they arrive at NERSC and what the analysis makes of them, and what xrdcp needs for
    /// the same files.
    Demo {
        /// Move the files of this folder instead of simulated ones, without an analysis; each folder in it with files is a run.
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
        /// Leave everything up at the end until Ctrl-C.
        #[arg(long)]
        keep: bool,
        /// Bytes of the simulated runs together, about.
        #[arg(long, value_name = "SIZE", default_value = "600MiB")]
        total: ByteSize,
        /// Decides what is simulated.
        #[arg(long, value_name = "N", default_value_t = 2020)]
        seed: u64,
        /// The folder into which pictures of images, powders and hit rates are written.
        #[arg(long, value_name = "DIR", default_value = "target/demo")]
        pictures: PathBuf,
    },
}

/// What a shell calls a program that was ended by SIGINT.
const INTERRUPTED: u8 = 130;

#[tokio::main]
async fn main() -> ExitCode {
    match shown(Args::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn shown(args: Args) -> anyhow::Result<ExitCode> {
    let Args { command: Command::Demo { data, keep, total, seed, pictures } } = args;
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "error".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();

    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut stopped = async || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    let finished = tokio::select! {
        finished = demo::run(DemoOptions { data, bytes: total.as_u64(), seed, pictures }) => finished?,
        () = stopped() => {
            eprintln!("\ninterrupted; everything that was started is stopped");
            return Ok(ExitCode::from(INTERRUPTED));
        }
    };
    for line in &finished.wrong {
        eprintln!("wrong: {line}");
    }
    if keep {
        println!("\n{}\neverything stays up; Ctrl-C stops it", finished.addresses());
        stopped().await;
    }
    Ok(if finished.wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
