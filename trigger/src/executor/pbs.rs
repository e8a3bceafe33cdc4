//! PBS by its own commands: PBS Professional and OpenPBS, whose `qstat` speaks JSON and keeps ended jobs, and the older torque
//! dialect, whose does not. Every look is one `qstat` for all jobs.

mod mended;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use async_trait::async_trait;
use lightrail_topics::JobName;
use lightrail_topics::events::{FailureClass, JobEnd};
use serde_json::Value;

use super::commands::{Commands, has_any};
use super::{Ending, Executor, ExecutorError, SchedulerId, Seen, Sighting, SubmitFault};

/// Parts of the messages with which qsub refuses a job for good.
const REFUSALS: [&str; 9] = [
    "unknown queue",
    "invalid account",
    "illegal attribute",
    "unknown resource",
    "job exceeds queue",
    "illegal -",
    "invalid credential",
    "unauthorized request",
    "invalid partition",
];

/// A PBS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pbs {
    /// Its commands.
    pub commands: Commands,
    /// Whether it is torque, or speaks as torque does.
    pub is_torque: bool,
}

#[async_trait]
impl Executor for Pbs {
    async fn submit(&self, name: &JobName, script: &str) -> Result<SchedulerId, SubmitFault> {
        let is_refusal = |said: &str| has_any(said, &REFUSALS);
        let said = if self.is_torque {
            // The wrappers over Slurm take a file alone, and whichever torque it is copies it. Where the output goes they take from
            // the command line alone: by default where we are.
            let file =
                ScriptFile::write(name, script).map_err(|error| SubmitFault::Unknown(error.to_string()))?;
            let path = file.0.to_string_lossy().into_owned();
            let options = script.lines().filter_map(|line| line.strip_prefix("#PBS ")?.split_once(' '));
            let output =
                options.filter(|(option, _)| matches!(*option, "-o" | "-j")).flat_map(<[&str; 2]>::from);
            let arguments: Vec<&str> =
                ["-N", name.as_str()].into_iter().chain(output).chain([&*path]).collect();
            self.commands.submit("qsub", &arguments, "", is_refusal).await?
        } else {
            self.commands.submit("qsub", &[], script, is_refusal).await?
        };
        let id = said.lines().last().unwrap_or_default().trim();
        id.parse().map_err(|_| SubmitFault::Unknown(format!("qsub said {:?}", said.trim())))
    }

    async fn look(&self, names: &BTreeSet<JobName>) -> Result<Vec<Sighting>, ExecutorError> {
        if self.is_torque {
            return match self.commands.run("qstat", &["-f"]).await {
                Ok(said) => Ok(torque(&said, names)),
                // Without a word: there is no job at all (the last byte of PBSE_UNKJOBID).
                Err(error) if error.why == "exit status: 153" => Ok(Vec::new()),
                Err(error) => Err(error),
            };
        }
        let said = self.commands.run("qstat", &["-x", "-f", "-F", "json"]).await?;
        json(&said, names).ok_or_else(|| ExecutorError {
            what: "qstat -x -f -F json".to_owned(),
            why: format!("is no list of jobs: {}", said.chars().take(200).collect::<String>()),
        })
    }

    async fn end(&self, id: &SchedulerId, how: Ending) -> Result<(), ExecutorError> {
        let id = id.to_string();
        // The wrappers over other schedulers have no qsig: qdel begins with SIGTERM as well, and gives less time.
        let told = match how {
            Ending::Finish if !self.is_torque => self.commands.run("qsig", &["-s", "SIGTERM", &id]).await,
            _ => self.commands.run("qdel", &[&id]).await,
        };
        let is_over = |why: &str| {
            let words = ["unknown job id", "has finished", "invalid state", "invalid job id"];
            // The wrappers fail without a word where there is nothing to delete any more.
            has_any(why, &words) || self.is_torque && why == "exit status: 1"
        };
        match told {
            Err(error) if !is_over(&error.why) => Err(error),
            _ => Ok(()),
        }
    }
}

/// A script's file, which is removed when this is dropped.
struct ScriptFile(PathBuf);

impl ScriptFile {
    fn write(name: &JobName, script: &str) -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("{name}.{:016x}", fastrand::u64(..)));
        let mut options = std::fs::File::options();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&path)?;
        let written = Self(path);
        file.write_all(script.as_bytes()).map(|()| written)
    }
}

impl Drop for ScriptFile {
    fn drop(&mut self) {
        // Left behind it is in nobody's way.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// `qstat -x -f -F json`: jobs by their ids.
fn json(text: &str, names: &BTreeSet<JobName>) -> Option<Vec<Sighting>> {
    let said: Value =
        serde_json::from_str(text).or_else(|_| serde_json::from_str(&mended::mended(text))).ok()?;
    // Without jobs there is no such member.
    let Some(jobs) = said.get("Jobs") else { return said.get("timestamp").map(|_| Vec::new()) };
    let read = |(id, job): (&String, &Value)| {
        let field = |key: &str| match job.get(key) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        let number = |key: &str| field(key).and_then(|text| text.parse::<i64>().ok());
        let comment = field("comment").unwrap_or_default();
        let seen = seen(&field("job_state")?, number("Exit_status"), number("substate"), &comment)?;
        sighting(id, &field("Job_Name")?, seen, names)
    };
    Some(jobs.as_object()?.iter().filter_map(read).collect())
}

/// torque's `qstat -f`: a block per job, `Job Id: 12.host`, then `    key = value`; long values go on after a tab.
fn torque(text: &str, names: &BTreeSet<JobName>) -> Vec<Sighting> {
    let read = |block: &str| {
        let (id, rest) = block.split_once('\n')?;
        let field = |key: &str| {
            rest.lines()
                .find_map(|line| line.trim_start().strip_prefix(key)?.trim_start().strip_prefix('='))
                .map(str::trim)
        };
        let exit = field("exit_status").and_then(|text| text.parse().ok());
        let seen = seen(field("job_state")?, exit, None, field("comment").unwrap_or_default())?;
        sighting(id.trim(), field("Job_Name")?, seen, names)
    };
    text.split("Job Id:").skip(1).filter_map(read).collect()
}

fn sighting(id: &str, name: &str, seen: Seen, names: &BTreeSet<JobName>) -> Option<Sighting> {
    let name: JobName = name.parse().ok()?;
    if !names.contains(&name) {
        return None;
    }
    Some(Sighting { name, id: id.parse().ok()?, seen })
}

/// PBS's states. An end is told by its exit status: negative where PBS itself ended or never started it, 256 and a signal's number
/// where a signal did.
fn seen(state: &str, exit: Option<i64>, substate: Option<i64>, comment: &str) -> Option<Seen> {
    let failed = |class, exit: i64| Seen::Ended {
        end: JobEnd::Failed {
            class,
            text: format!("{state} Exit_status {exit} {comment}").trim().to_owned(),
        },
        exit: u8::try_from(exit).ok(),
    };
    Some(match state {
        "Q" | "W" | "T" | "M" => Seen::Pending,
        "H" => Seen::Held,
        "R" | "B" | "E" => Seen::Running,
        // By somebody, or for its node's owner is at the keyboard.
        "S" | "U" => Seen::Suspended,
        "F" | "X" | "C" => match exit {
            // Deleted: while it waited there is no exit status at all.
            _ if substate == Some(91) => {
                Seen::Ended { end: JobEnd::Cancelled { text: comment.to_owned() }, exit: None }
            }
            None => Seen::Ended {
                end: JobEnd::Cancelled { text: "it has no exit status".to_owned() },
                exit: None,
            },
            Some(0) => Seen::Ended { end: JobEnd::Done, exit: Some(0) },
            // PBS Pro, and torque.
            Some(exit @ (-29 | -28 | -12 | -11)) => failed(FailureClass::Timeout, exit),
            Some(exit @ (-27 | -26 | -10)) => failed(FailureClass::Memory, exit),
            Some(exit) if exit < 0 => failed(FailureClass::Node, exit),
            Some(exit @ (265 | 271)) if has_any(comment, &["walltime"]) => {
                failed(FailureClass::Timeout, exit)
            }
            Some(exit) => failed(FailureClass::Application, exit),
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
