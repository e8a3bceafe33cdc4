//! How a program's command is run: threads for it, what asks it to stop, why it failed, and the exit status that says so. Never
//! knows what a command does.

use std::fmt;
use std::process::ExitCode;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use lightrail_topics::topic::PrefixError;

use crate::settings::{ConfigError, SecretError};

/// Prints a line. Whoever reads it may have seen enough (`| head`): then there is nothing more to do.
#[macro_export]
macro_rules! say {
    ($($argument:tt)*) => {{
        use std::io::Write as _;
        if writeln!(std::io::stdout(), $($argument)*).is_err() {
            std::process::exit(0);
        }
    }};
}

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// Wrong configuration, usage or name: status 2.
    Usage(anyhow::Error),
    /// What has a status of its own.
    Status(u8, anyhow::Error),
    /// Anything else: status 1.
    Other(anyhow::Error),
}

/// How many threads a command's tasks share. What blocks has threads of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// One: for tasks that do little and wait for others; more would mostly wake each other.
    One,
    /// One for each core.
    Cores,
}

/// Runs a command to its end; what it failed of goes to standard error, the exit status tells the truth.
pub fn run(threads: Threads, command: impl Future<Output = Result<(), Failure>>) -> ExitCode {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if threads == Threads::One {
        runtime.worker_threads(1);
    }
    let outcome = runtime
        .enable_all()
        .build()
        .map_err(|why| Failure::Other(anyhow::Error::new(why).context("threads cannot be started")))
        .and_then(|runtime| {
            let outcome = runtime.block_on(command);
            // A thread that hangs in a call of a library must not keep the process.
            runtime.shutdown_background();
            outcome
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit_code()
        }
    }
}

/// Is cancelled by SIGTERM or SIGINT.
///
/// # Errors
/// When signals cannot be waited for.
pub fn stopped() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be waited for")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be waited for")?;
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM"),
            _ = interrupt.recv() => tracing::info!("SIGINT"),
        }
        told.cancel();
    });
    Ok(stop)
}

impl Failure {
    /// A name or argument that is wrong.
    pub fn usage(what: impl fmt::Display) -> Self {
        Self::Usage(anyhow::anyhow!("{what}"))
    }

    /// What the process ends with.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Status(status, _) => ExitCode::from(*status),
            Self::Other(_) => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for Failure {
    /// One line with its causes; a configuration's faults are a line each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(error) | Self::Status(_, error) | Self::Other(error) => write!(f, "{error:#}"),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.into())
    }
}

impl From<SecretError> for Failure {
    fn from(error: SecretError) -> Self {
        Self::Usage(error.into())
    }
}

impl From<PrefixError> for Failure {
    fn from(error: PrefixError) -> Self {
        Self::Usage(error.into())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}
