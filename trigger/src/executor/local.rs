//! Jobs as processes of this machine, in sessions of their own: they outlive whoever submitted them, and are found again by a
//! folder each. The folder says all: the script, the process, the exit status. Starts what it is given at once.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use lightrail_topics::JobName;
use lightrail_topics::events::{FailureClass, JobEnd};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::Command;

use super::{Ending, Executor, ExecutorError, SchedulerId, Seen, Sighting, SubmitFault};

/// What a job finds its own id in.
const ID: &str = "LIGHTRAIL_LOCAL_ID";

/// Starts the script in a session of its own, ends it when its time is over, and keeps its exit status. Files appear whole. Who
/// cancels writes that down and then looks for the process; this looks in the other order, so one of both ends it. A process that was
/// started just now may have no group yet.
const WRAPPER: &str = r#"
echo $$ >keeper.new && mv keeper.new keeper
setsid /bin/bash ./script &
pid=$!
echo $pid >pid.new && mv pid.new pid
if [ -e cancelled ]; then
    kill -KILL -$pid || kill -KILL $pid
    kill -KILL -$pid
fi 2>/dev/null
timer=
if [ -n "$1" ]; then
    (
        trap 'kill $!; exit' TERM
        sleep "$1" & wait $!
        echo >timeout
        kill -TERM $pid
        sleep "$2" & wait $!
        kill -KILL -$pid
    ) &
    timer=$!
fi
wait $pid
echo $? >exit.new
[ -z "$timer" ] || kill $timer 2>/dev/null
mv exit.new exit
"#;

/// What stands before a script's time, in seconds, in its head.
pub(super) const TIME: &str = "#LIGHTRAIL --time=";

/// After SIGTERM at its time's end a job has so many seconds.
const KILLED_AFTER: &str = "10";

/// How often and how many times a job that is just being started is told to end.
const TOLD_EVERY: Duration = Duration::from_millis(50);
const TOLD_TIMES: u32 = 40;

/// A submission that did not come so far within this time was cut off, and starts nothing any more.
const STARTS_WITHIN: Duration = Duration::from_secs(10);

/// Processes of this machine.
#[derive(Clone, Debug)]
pub struct Local {
    spool: PathBuf,
}

impl Local {
    /// Keeps its jobs in a folder, which it makes where it is not there.
    pub fn new(spool: impl Into<PathBuf>) -> Self {
        Self { spool: spool.into() }
    }

    /// A new folder for a job; the n-th of its name.
    fn folder(&self, name: &JobName) -> std::io::Result<(SchedulerId, PathBuf)> {
        std::fs::create_dir_all(&self.spool)?;
        for number in 1_u32.. {
            let id = format!("{name}.{number}");
            let folder = self.spool.join(&id);
            // Ours alone: a script may hold what its job was entrusted with.
            match std::fs::DirBuilder::new().mode(0o700).create(&folder) {
                Ok(()) => {
                    let id = id.parse().map_err(std::io::Error::other)?;
                    return Ok((id, folder));
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(std::io::Error::other("no number is left"))
    }
}

#[async_trait]
impl Executor for Local {
    async fn submit(&self, name: &JobName, script: &str) -> Result<SchedulerId, SubmitFault> {
        let unknown = |error: std::io::Error| SubmitFault::Unknown(error.to_string());
        let (id, folder) = self.folder(name).map_err(unknown)?;
        std::fs::write(folder.join("script"), script).map_err(unknown)?;
        let output = std::fs::File::create(folder.join("out")).map_err(unknown)?;
        let errors = output.try_clone().map_err(unknown)?;
        let limit = script.lines().find_map(|line| line.strip_prefix(TIME)?.parse::<u64>().ok());
        let limit = limit.map(|seconds| seconds.to_string()).unwrap_or_default();
        let spawned = Command::new("setsid")
            .args(["/bin/sh", "-c", WRAPPER, "keeper", &limit, KILLED_AFTER])
            .current_dir(&folder)
            .env(ID, id.to_string())
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn();
        spawned.map(|_| id).map_err(unknown)
    }

    async fn look(&self, names: &BTreeSet<JobName>) -> Result<Vec<Sighting>, ExecutorError> {
        let failed = |error: std::io::Error| ExecutorError {
            what: format!("jobs in {}", self.spool.display()),
            why: error.to_string(),
        };
        let entries = match std::fs::read_dir(&self.spool) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let text = entry.file_name().to_string_lossy().into_owned();
            let Some((name, _)) = text.rsplit_once('.') else { continue };
            let (Ok(name), Ok(id)) = (name.parse::<JobName>(), text.parse::<SchedulerId>()) else { continue };
            if names.contains(&name)
                && let Some(seen) = state(&entry.path(), &id)
            {
                found.push(Sighting { name, id, seen });
            }
        }
        Ok(found)
    }

    async fn end(&self, id: &SchedulerId, how: Ending) -> Result<(), ExecutorError> {
        let folder = self.spool.join(id.to_string());
        let failed = |why: String| ExecutorError { what: format!("job {id} cannot be told to end"), why };
        if how == Ending::Cancel {
            std::fs::write(folder.join("cancelled"), "").map_err(|error| failed(error.to_string()))?;
        }
        // One that is just being started has no environment for a moment, and no group of its own.
        for _ in 0..TOLD_TIMES {
            let told = match (process(&folder, "pid", id), how) {
                (Some(pid), Ending::Finish) => kill_process(pid, Signal::TERM),
                (Some(pid), Ending::Cancel) => kill_process_group(pid, Signal::KILL),
                (None, _) => Err(rustix::io::Errno::SRCH),
            };
            match told {
                Ok(()) => return Ok(()),
                Err(rustix::io::Errno::SRCH) if process(&folder, "keeper", id).is_none() => return Ok(()),
                Err(rustix::io::Errno::SRCH) => tokio::time::sleep(TOLD_EVERY).await,
                Err(error) => return Err(failed(error.to_string())),
            }
        }
        Ok(())
    }
}

fn number(path: &Path) -> Option<i32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The job's process or its keeper, while it is there: its number may be somebody else's by now, its environment is not.
fn process(folder: &Path, which: &str, id: &SchedulerId) -> Option<Pid> {
    let pid = number(&folder.join(which))?;
    let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let own = format!("{ID}={id}");
    let is_ours = environment.split(|byte| *byte == 0).any(|entry| entry == own.as_bytes());
    if is_ours { Pid::from_raw(pid) } else { None }
}

fn is_older(path: &Path, than: Duration) -> bool {
    let modified = std::fs::metadata(path).and_then(|about| about.modified());
    modified.ok().and_then(|modified| modified.elapsed().ok()).is_some_and(|age| age > than)
}

/// What a job's folder says; nothing of one that was never started.
fn state(folder: &Path, id: &SchedulerId) -> Option<Seen> {
    // In this order: the keeper ends after it has written the exit status.
    if process(folder, "pid", id).is_some() {
        return Some(Seen::Running);
    }
    if process(folder, "keeper", id).is_some() {
        // Not begun yet, or its exit status is being written.
        return Some(if folder.join("pid").is_file() { Seen::Running } else { Seen::Pending });
    }
    if let Some(code) = number(&folder.join("exit")) {
        let exit = u8::try_from(code).ok();
        let end = if folder.join("cancelled").is_file() {
            JobEnd::Cancelled { text: "told to end at once".to_owned() }
        } else if folder.join("timeout").is_file() && code != 0 {
            JobEnd::Failed { class: FailureClass::Timeout, text: "its time is over".to_owned() }
        } else if code == 0 {
            JobEnd::Done
        } else {
            JobEnd::Failed { class: FailureClass::Application, text: format!("exit status {code}") }
        };
        return Some(Seen::Ended { end, exit });
    }
    if folder.join("keeper").is_file() {
        let text = "its process is gone without an exit status".to_owned();
        return Some(Seen::Ended { end: JobEnd::Failed { class: FailureClass::Node, text }, exit: None });
    }
    (!is_older(folder, STARTS_WITHIN)).then_some(Seen::Pending)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use lightrail_compose::scratch::Scratch;

    use super::*;

    #[tokio::test]
    async fn a_job_that_is_cancelled_before_it_has_a_group_of_its_own_does_not_begin() {
        let scratch = Scratch::new().unwrap();
        let file = |name: &str| scratch.path().join(name);
        // A setsid that comes to it late, as on a machine that is busy.
        std::fs::create_dir(file("bin")).unwrap();
        std::fs::write(file("bin/setsid"), "#!/bin/sh\nsleep 1\nexec /usr/bin/setsid \"$@\"\n").unwrap();
        std::fs::set_permissions(file("bin/setsid"), std::fs::Permissions::from_mode(0o700)).unwrap();
        std::fs::write(file("script"), "echo >began\n").unwrap();
        std::fs::write(file("cancelled"), "").unwrap();
        let path = format!("{}:{}", file("bin").display(), std::env::var("PATH").unwrap());
        let ended = Command::new("/bin/sh")
            .args(["-c", WRAPPER, "keeper", "", KILLED_AFTER])
            .current_dir(scratch.path())
            .env("PATH", path)
            .output();
        let ended = ended.await.unwrap();
        assert!(!file("began").exists(), "{ended:?}");
        assert_eq!(number(&file("exit")), Some(137));
    }
}
