//! Where jobs run: one small seam between what is to run and who runs it. A script is submitted under a name, jobs are looked up
//! by name among those that wait, run and have ended, and a job can be told to end. Whoever implements it decides nothing.

mod claims;
mod commands;
#[cfg(test)]
mod contract;
mod iri;
mod local;
mod lsf;
mod pbs;
mod script;
mod sfapi;
mod sge;
mod slurm;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use lightrail_topics::JobName;
use lightrail_topics::events::JobEnd;

pub use claims::{ClaimError, Claims};
pub use commands::Commands;
pub use iri::{Iri, IriAt};
pub use local::Local;
pub use lsf::Lsf;
pub use pbs::Pbs;
pub use script::{
    Analysis, COPY, Container, Dialect, Engine, Head, NO_INPUT, NO_OUTPUT, Preemptible, Script, ScriptError,
    Wishes, is_constraint, is_image, is_volume, is_word,
};
pub use sfapi::{Sfapi, SfapiAt};
pub use sge::Sge;
pub use slurm::{History, Slurm};

/// A scheduler's id of a job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchedulerId(String);

/// A text that cannot be a scheduler's id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no scheduler's id: up to 64 letters, digits, dots, - and _")]
pub struct IdRefused(String);

impl FromStr for SchedulerId {
    type Err = IdRefused;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if text.is_empty() || text.len() > 64 || text.starts_with('-') || !text.bytes().all(good) {
            return Err(IdRefused(text.chars().take(80).flat_map(char::escape_default).collect()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for SchedulerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a scheduler says of a job, in our words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It waits, or was put back into its queue.
    Pending,
    /// It waits until somebody releases it.
    Held,
    /// It runs, or is being brought to its end.
    Running,
    /// It has begun and is stopped by the scheduler, until that lets it go on.
    Suspended,
    /// It has ended.
    Ended {
        /// How.
        end: JobEnd,
        /// Its exit status, where it has one.
        exit: Option<u8>,
    },
}

/// A job as a scheduler knows it. A name may be there several times, where a submission was doubled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The name that it was submitted under.
    pub name: JobName,
    /// The scheduler's id of it.
    pub id: SchedulerId,
    /// What the scheduler says of it.
    pub seen: Seen,
}

/// Why a submission gave no id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitFault {
    /// The scheduler does not take such a job, now or later.
    #[error("the scheduler refuses the job: {0}")]
    Refused(String),
    /// It may have been taken or not: look it up by its name before it is submitted once more.
    #[error("nobody knows whether the job was taken: {0}")]
    Unknown(String),
}

/// Why a scheduler cannot be asked, or told. Nothing is known then: least of all that a job is gone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub struct ExecutorError {
    /// What was tried.
    pub what: String,
    /// What came of it.
    pub why: String,
}

/// How a job is told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By SIGTERM: it finishes what it has begun.
    Finish,
    /// At once, also where it only waits.
    Cancel,
}

/// A scheduler, or what stands for one.
#[async_trait]
pub trait Executor: Send + Sync + fmt::Debug {
    /// Submits a script under a name, once. Takes a name that is there already all the same, as schedulers do.
    async fn submit(&self, name: &JobName, script: &str) -> Result<SchedulerId, SubmitFault>;
    /// All jobs that are known under these names, whether they wait, run or have ended; the ended ones at least for a while.
    async fn look(&self, names: &BTreeSet<JobName>) -> Result<Vec<Sighting>, ExecutorError>;
    /// Tells a job to end. One that has ended already is no error.
    async fn end(&self, id: &SchedulerId, how: Ending) -> Result<(), ExecutorError>;
}
