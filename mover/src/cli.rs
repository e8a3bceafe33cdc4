//! The command line: what can be said, and who does it. A mover is run here; a running one is asked by HTTP; topics
//! and routes are set on Kafka. Prints for people on standard output, faults on standard error. Decides nothing.

mod kafka;
mod remote;
mod show;
mod signals;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use lightrail_topics::events::{Subject, WishKey};
use lightrail_topics::{Experiment, Millis, RunKey, RunNumber, SiteName};

use crate::config::Config;
use crate::http::{Action, WishBody};
use crate::run::{Options, run};

use lightrail_service::command::{self, Failure, Threads};
use lightrail_service::say;
use remote::Remote;

/// Copies every finished run's files to the sites that want them, and says so on Kafka.
#[derive(Debug, Parser)]
#[command(
    name = "lightrail-mover",
    version,
    propagate_version = true,
    after_help = "Exit status: 0 done, 1 failed, \
    2 wrong configuration, usage or name, 3 another mover of this name is running."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the mover until SIGTERM (finishes what it copies) or a second one (stops at once).
    Run {
        #[command(flatten)]
        file: ConfigFile,
        /// Take over from a mover of this name that runs elsewhere.
        #[arg(long)]
        take_over: bool,
    },
    /// Run the mover with a journal made anew from Kafka and from what the destinations have.
    Rebuild {
        #[command(flatten)]
        file: ConfigFile,
        /// From this instant on, such as 2026-11-21T08:00:00Z; by default from where the mover once began.
        #[arg(long)]
        since: Option<Millis>,
        /// Take over from a mover of this name that runs elsewhere.
        #[arg(long)]
        take_over: bool,
    },
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
    /// Where experiments' data go.
    Routes {
        #[command(subcommand)]
        command: Routes,
    },
    /// Ask for a run to be moved, whatever the routes say.
    Request {
        /// The experiment.
        experiment: Experiment,
        /// The run's number.
        run: RunNumber,
        /// To this site; by default to all that its experiment goes to.
        #[arg(long)]
        to: Option<SiteName>,
        #[command(flatten)]
        wish: Wishing,
    },
    /// Show runs and transfers.
    Status {
        /// Of this experiment only.
        experiment: Option<Experiment>,
        /// Keep showing, with progress bars.
        #[arg(long)]
        watch: bool,
        #[command(flatten)]
        mover: Running,
    },
    /// Say why a run is not at its sites: for each missing file the one thing it waits for.
    Why {
        /// The experiment.
        experiment: Experiment,
        /// The run's number.
        run: RunNumber,
        #[command(flatten)]
        mover: Running,
    },
    /// Start nothing new of it until it is resumed.
    Pause(Of),
    /// Undo pause and drain.
    Resume(Of),
    /// Give it up: copies under way are stopped.
    Cancel(Of),
    /// Try again what has failed or was cancelled.
    Requeue(Of),
    /// Put it before (positive) or after (negative) others; 0 is the live runs' own.
    Prioritise {
        #[command(flatten)]
        of: Of,
        /// The priority.
        #[arg(allow_negative_numbers = true)]
        priority: i32,
    },
    /// Finish what runs and start nothing new, until resumed.
    Drain(Of),
}

#[derive(Debug, Subcommand)]
enum Routes {
    /// Put the routes of a file on Kafka, where they go above the configuration.
    Apply {
        /// TOML: a table per experiment with `to`, a list of sites; or `remove = true`, which ends its route.
        routes: PathBuf,
        #[command(flatten)]
        file: ConfigFile,
    },
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// The mover's configuration.
    #[arg(long, value_name = "FILE", env = "LIGHTRAIL_MOVER_CONFIG")]
    config: PathBuf,
}

/// Where a running mover is.
#[derive(Debug, Args)]
struct Running {
    /// The mover's configuration, which says where it listens.
    #[arg(long, value_name = "FILE", env = "LIGHTRAIL_MOVER_CONFIG", required_unless_present = "url")]
    config: Option<PathBuf>,
    /// Where it listens, such as `http://127.0.0.1:8741`.
    #[arg(long, env = "LIGHTRAIL_MOVER_URL")]
    url: Option<String>,
    /// A file that holds the token; by default what the configuration names, or the environment's
    /// `LIGHTRAIL_MOVER_TOKEN`.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Wishing {
    /// Why; kept with the wish.
    #[arg(long, default_value = "")]
    why: String,
    #[command(flatten)]
    mover: Running,
}

#[derive(Debug, Args)]
struct Of {
    /// Of what: '*' (everything), an experiment, experiment/run, or a file's LFN.
    subject: Subject,
    /// At this site only.
    #[arg(long)]
    at: Option<SiteName>,
    #[command(flatten)]
    wish: Wishing,
}

/// Does what the command line says; the exit status tells the truth.
pub fn main() -> ExitCode {
    crate::carry::native::give_way();
    // A copy is done by its servers; the journal and the client library block threads of their own.
    command::run(Threads::One, obey(Cli::parse().command))
}

impl From<crate::run::RunError> for Failure {
    /// A mover that ended has a status of its own.
    fn from(error: crate::run::RunError) -> Self {
        Self::Status(error.exit_status(), error.into())
    }
}

async fn obey(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run { file, take_over } => {
            run_mover(&file.config, Options { take_over, rebuild: None }).await
        }
        Command::Rebuild { file, since, take_over } => {
            run_mover(&file.config, Options { take_over, rebuild: Some(since) }).await
        }
        Command::CheckConfig { file } => {
            let config = Config::load(&file)?;
            say!("{}: right; mover {}, {} sites", file.display(), config.mover, config.sites.len());
            Ok(())
        }
        Command::Topics { file, create } => kafka::topics(&Config::load(&file.config)?, create).await,
        Command::Routes { command: Routes::Apply { routes, file } } => {
            kafka::apply_routes(&Config::load(&file.config)?, &routes).await
        }
        Command::Request { experiment, run, to, wish } => {
            let of = WishKey { subject: Subject::Run(RunKey { experiment, run }), site: to };
            wished(Action::Request, of, wish, None).await
        }
        Command::Status { experiment, watch, mover } => {
            let remote = Remote::of(&mover)?;
            if watch {
                show::watch(&remote, experiment).await
            } else {
                show::status(&remote, experiment).await
            }
        }
        Command::Why { experiment, run, mover } => {
            show::why(&Remote::of(&mover)?, &RunKey { experiment, run }).await
        }
        Command::Pause(of) => wish(Action::Pause, of, None).await,
        Command::Resume(of) => wish(Action::Resume, of, None).await,
        Command::Cancel(of) => wish(Action::Cancel, of, None).await,
        Command::Requeue(of) => wish(Action::Requeue, of, None).await,
        Command::Prioritise { of, priority } => wish(Action::Prioritise, of, Some(priority)).await,
        Command::Drain(of) => wish(Action::Drain, of, None).await,
    }
}

async fn run_mover(file: &Path, options: Options) -> Result<(), Failure> {
    let config = Config::load(file)?;
    lightrail_service::telemetry::start(&config.log).map_err(Failure::Usage)?;
    run(config, options, signals::shutdown()?).await?;
    Ok(())
}

async fn wish(action: Action, of: Of, priority: Option<i32>) -> Result<(), Failure> {
    wished(action, WishKey { subject: of.subject, site: of.at }, of.wish, priority).await
}

async fn wished(action: Action, of: WishKey, wish: Wishing, priority: Option<i32>) -> Result<(), Failure> {
    let body = WishBody { of, who: lightrail_service::who(), why: wish.why, priority };
    let answer = Remote::of(&wish.mover)?.wish(action, &body).await?;
    let kept = if answer.published { "" } else { "; kafka does not take it yet, it is kept until it does" };
    say!("{}: taken; it concerns {} known transfers{kept}", body.of, answer.transfers);
    Ok(())
}
