//! The command line: what can be said, and who does it. Prints for people on standard output, faults on standard error.

use std::process::ExitCode;

use clap::Parser;

/// From a run's files to a result per image.
#[derive(Debug, Parser)]
#[command(
    name = "lightrail-analysis",
    version,
    propagate_version = true,
    after_help = "Exit status: 0 done, 1 failed, 2 wrong configuration, usage or name."
)]
struct Cli {}

/// The program.
pub fn main() -> ExitCode {
    let Cli {} = Cli::parse();
    ExitCode::SUCCESS
}
