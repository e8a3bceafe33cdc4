//! Why a command failed, and the exit status that says so.

use std::fmt;
use std::process::ExitCode;

use crate::config::ConfigError;
use crate::run::RunError;

/// Why a command failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Wrong configuration, usage or name: status 2.
    Usage(anyhow::Error),
    /// The mover ended: its own status.
    Run(RunError),
    /// Anything else: status 1.
    Other(anyhow::Error),
}

impl Failure {
    /// A name or argument that is wrong.
    pub(super) fn usage(what: impl fmt::Display) -> Self {
        Self::Usage(anyhow::anyhow!("{what}"))
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Run(error) => ExitCode::from(error.exit_status()),
            Self::Other(_) => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for Failure {
    /// One line with its causes; a configuration's faults are a line each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(error) | Self::Other(error) => write!(f, "{error:#}"),
            Self::Run(error) => {
                write!(f, "{error}")?;
                let mut source = std::error::Error::source(error);
                while let Some(cause) = source {
                    write!(f, ": {cause}")?;
                    source = cause.source();
                }
                Ok(())
            }
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.into())
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        Self::Run(error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}
