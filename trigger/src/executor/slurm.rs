//! Slurm by its own commands: sbatch under a limit and tied to our life, squeue once for all jobs, sacct or the completion log
//! for those that squeue knows no more. A command that fails tells nothing about any job.

mod states;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use lightrail_topics::JobName;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

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
    /// The folder of its commands; by default the path's.
    pub commands: Option<PathBuf>,
    /// The limit of each command, submissions included.
    pub within: Duration,
    /// Where ended jobs are found.
    pub history: History,
}

impl Slurm {
    fn command(&self, name: &str) -> PathBuf {
        self.commands.as_ref().map_or_else(|| PathBuf::from(name), |folder| folder.join(name))
    }

    async fn run(&self, name: &str, arguments: &[&str]) -> Result<String, ExecutorError> {
        let failed = |why: String| ExecutorError { what: format!("{name} {}", arguments.join(" ")), why };
        let running =
            Command::new(self.command(name)).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
        let output = tokio::time::timeout(self.within, running)
            .await
            .map_err(|_| failed(format!("did not end within {:?}", self.within)))?
            .map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            return Err(failed(said(&output)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

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
                let format = "--format=JobIDRaw,JobName,State,ExitCode";
                let arguments =
                    ["--noheader", "--parsable2", "--allocations", "--starttime=now-7days", &wanted, format];
                Ok(states::sacct(&self.run("sacct", &arguments).await?, names))
            }
        }
    }
}

/// What a command printed on its standard error, in one line.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text: String = text.chars().take(500).collect();
    if text.is_empty() { output.status.to_string() } else { text }
}

#[async_trait]
impl Executor for Slurm {
    async fn submit(&self, _: &JobName, script: &str) -> Result<SchedulerId, SubmitFault> {
        let unknown = |why: String| SubmitFault::Unknown(why);
        let seconds = self.within.as_secs().max(1).to_string();
        // Ends with us, however we end, and after its limit: what is not there after the grace time never comes.
        let mut running = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "timeout", "-s", "KILL", &seconds])
            .args(["setpriv", "--pdeathsig", "KILL"])
            .arg(self.command("sbatch"))
            .arg("--parsable")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| unknown(error.to_string()))?;
        if let Some(mut input) = running.stdin.take() {
            input.write_all(script.as_bytes()).await.map_err(|error| unknown(error.to_string()))?;
        }
        let output = running.wait_with_output().await.map_err(|error| unknown(error.to_string()))?;
        if !output.status.success() {
            let said = said(&output);
            return Err(if states::is_refusal(&said) {
                SubmitFault::Refused(said)
            } else {
                SubmitFault::Unknown(said)
            });
        }
        // `id` or `id;cluster`.
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let id = text.trim().split(';').next().unwrap_or_default();
        id.parse().map_err(|_| unknown(format!("sbatch said {:?}", text.trim())))
    }

    async fn look(&self, names: &BTreeSet<JobName>) -> Result<Vec<Sighting>, ExecutorError> {
        let format = "--Format=JobID:|,Name:|,State:|,Reason:|,exit_code:|";
        let queue = self.run("squeue", &["--me", "--noheader", "--states=all", format]).await?;
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
            Ending::Finish => self.run("scancel", &["--batch", "--signal=TERM", &id]).await,
            Ending::Cancel => self.run("scancel", &[&id]).await,
        };
        match told {
            Err(error) if !states::has_ended(&error.why) => Err(error),
            _ => Ok(()),
        }
    }
}
