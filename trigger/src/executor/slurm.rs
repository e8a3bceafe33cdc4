//! Slurm by its own commands: sbatch under a limit and tied to our life, squeue once for all jobs, sacct or the completion log
//! for those that squeue knows no more. A command that fails tells nothing about any job.

pub(super) mod states;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::PathBuf;

use async_trait::async_trait;
use lightrail_topics::JobName;

use super::commands::Commands;
use super::{Ending, Executor, ExecutorError, SchedulerId, Sighting, SubmitFault};

/// Where jobs are found that squeue knows no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum History {
    /// sacct, where Slurm keeps accounts.
    Sacct,
    /// The log of jobcomp/filetxt.
    Jobcomp(PathBuf),
}

/// A Slurm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slurm {
    /// Its commands.
    pub commands: Commands,
    /// Where ended jobs are found.
    pub history: History,
}

impl Slurm {
    async fn ended(&self, names: &BTreeSet<JobName>) -> Result<Vec<Sighting>, ExecutorError> {
        match &self.history {
            History::Jobcomp(path) => match std::fs::read(path) {
                Ok(log) => Ok(states::jobcomp(&String::from_utf8_lossy(&log), names)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
                Err(error) => Err(ExecutorError { what: path.display().to_string(), why: error.to_string() }),
            },
            History::Sacct => {
                let wanted: Vec<&str> = names.iter().map(JobName::as_str).collect();
                let wanted = format!("--name={}", wanted.join(","));
                let arguments = [states::SACCT.as_slice(), &[&wanted]].concat();
                Ok(states::sacct(&self.commands.run("sacct", &arguments).await?, names))
            }
        }
    }
}

#[async_trait]
impl Executor for Slurm {
    async fn submit(&self, _: &JobName, script: &str) -> Result<SchedulerId, SubmitFault> {
        let said = self.commands.submit("sbatch", &["--parsable"], script, states::is_refusal).await?;
        // `id` or `id;cluster`.
        let id = said.trim().split(';').next().unwrap_or_default();
        id.parse().map_err(|_| SubmitFault::Unknown(format!("sbatch said {:?}", said.trim())))
    }

    async fn look(&self, names: &BTreeSet<JobName>) -> Result<Vec<Sighting>, ExecutorError> {
        let format = "--Format=JobID:|,Name:|,State:|,Reason:|,exit_code:|";
        let queue = self.commands.run("squeue", &["--me", "--noheader", "--states=all", format]).await?;
        let mut found = states::squeue(&queue, names);
        let known: BTreeSet<JobName> = found.iter().map(|sighting| sighting.name.clone()).collect();
        let rest: BTreeSet<JobName> = names.difference(&known).cloned().collect();
        if !rest.is_empty() {
            found.extend(self.ended(&rest).await?);
        }
        Ok(found)
    }

    async fn end(&self, id: &SchedulerId, how: Ending) -> Result<(), ExecutorError> {
        let id = id.to_string();
        let told = match how {
            // To the batch script alone, which tells its workers.
            Ending::Finish => self.commands.run("scancel", &["--batch", "--signal=TERM", &id]).await,
            Ending::Cancel => self.commands.run("scancel", &[&id]).await,
        };
        match told {
            Err(error) if !states::has_ended(&error.why) => Err(error),
            _ => Ok(()),
        }
    }
}
