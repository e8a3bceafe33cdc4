//! A double of Slurm's commands, for what has to happen hundreds of times: sbatch, squeue and scancel as shell scripts that talk
//! through a folder to a controller in this process, which takes jobs, runs them as processes and forgets them, all in a hundredth of
//! the real one's times. As with the real one a job that was taken is there though its sbatch was killed before it was told so, a
//! name is taken as often as it is given, and while the controller is away every command fails. It knows nothing of who submits.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::scratch::Scratch;

/// How often the controller looks at what has come, and at its jobs.
const TICK: Duration = Duration::from_millis(5);
/// An ended job is shown by squeue for so long: Slurm's default of 300 s.
const SHOWN: Duration = Duration::from_secs(3);
/// Jobs that run at once.
const SLOTS: usize = 4;

const SBATCH: &str = r#"#!/bin/sh
folder='@'
if [ -e "$folder/down" ]; then
    echo 'sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)' >&2
    exit 1
fi
rm -f "$folder/answers/$$"
cat >"$folder/incoming/.$$"
mv "$folder/incoming/.$$" "$folder/incoming/$$"
until [ -s "$folder/answers/$$" ]; do sleep 0.005; done
cat "$folder/answers/$$"
"#;
const SQUEUE: &str = r#"#!/bin/sh
folder='@'
if [ -e "$folder/down" ]; then
    echo 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)' >&2
    exit 1
fi
cat "$folder/queue"
"#;
const SCANCEL: &str = r#"#!/bin/sh
folder='@'
signal=KILL
for argument; do
    case $argument in
        --signal=*) signal=${argument#--signal=} ;;
        --*) ;;
        *) id=$argument ;;
    esac
done
if [ -e "$folder/down" ]; then
    echo 'scancel: error: Unable to contact slurm controller (connect failure)' >&2
    exit 1
fi
echo "$signal" >"$folder/cancels/.$$"
mv "$folder/cancels/.$$" "$folder/cancels/$id"
"#;

/// A running double.
#[derive(Debug)]
pub struct Double {
    folder: Scratch,
    control: Arc<Mutex<Control>>,
    task: tokio::task::JoinHandle<()>,
}

/// What it is told, and what it has taken.
#[derive(Debug, Default)]
struct Control {
    /// It is away until then.
    away: Option<Instant>,
    /// It goes away for so long as soon as it has taken a job, without an answer.
    leaves: Option<Duration>,
    /// All copies of each name, in the order of their coming.
    copies: BTreeMap<String, Vec<u32>>,
}

/// One copy of a job.
struct Job {
    name: String,
    script: PathBuf,
    state: State,
    is_cancelled: bool,
}

enum State {
    Pending,
    Running(Child),
    /// With the word, the exit status and the signal.
    Ended(&'static str, i32, i32, Instant),
}

impl Double {
    /// Starts one; commands answer on return.
    ///
    /// # Errors
    /// When its folder cannot be made.
    pub fn start() -> anyhow::Result<Self> {
        let folder = Scratch::new()?;
        for below in ["bin", "incoming", "answers", "cancels", "jobs"] {
            std::fs::create_dir(folder.path().join(below)).with_context(|| format!("cannot make {below}"))?;
        }
        std::fs::write(folder.path().join("queue"), "")?;
        for (name, text) in [("sbatch", SBATCH), ("squeue", SQUEUE), ("scancel", SCANCEL)] {
            let path = folder.path().join("bin").join(name);
            std::fs::write(&path, text.replace('@', &folder.path().display().to_string()))?;
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        }
        let control = Arc::new(Mutex::new(Control::default()));
        let mut controller = Controller {
            folder: folder.path().to_path_buf(),
            control: Arc::clone(&control),
            jobs: BTreeMap::new(),
        };
        let task = tokio::spawn(async move {
            let mut tick = tokio::time::interval(TICK);
            loop {
                tick.tick().await;
                // What fails here fails a wait of the case.
                if let Err(error) = controller.step() {
                    tracing::warn!(%error, "the double of Slurm cannot go on");
                }
            }
        });
        Ok(Self { folder, control, task })
    }

    /// The folder of its commands.
    pub fn commands(&self) -> PathBuf {
        self.folder.path().join("bin")
    }

    /// The log of completed jobs, as jobcomp/filetxt writes it.
    pub fn jobcomp(&self) -> PathBuf {
        self.folder.path().join("jobcomp.log")
    }

    /// The controller is away for so long; its jobs go on.
    pub fn restart(&self, away: Duration) {
        self.control().away = Some(Instant::now() + away);
    }

    /// The controller goes away for so long when it has taken the next job, which is told to nobody.
    pub fn restart_after_the_next(&self, away: Duration) {
        self.control().leaves = Some(away);
    }

    /// How many copies of each name it has taken.
    pub fn copies(&self) -> BTreeMap<String, usize> {
        self.control().copies.iter().map(|(name, ids)| (name.clone(), ids.len())).collect()
    }

    fn control(&self) -> std::sync::MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Controller {
    folder: PathBuf,
    control: Arc<Mutex<Control>>,
    jobs: BTreeMap<u32, Job>,
}

impl Controller {
    fn step(&mut self) -> anyhow::Result<()> {
        let control = Arc::clone(&self.control);
        let mut control = control.lock().unwrap_or_else(PoisonError::into_inner);
        let down = self.folder.join("down");
        let is_away = control.away.is_some_and(|until| Instant::now() < until);
        if is_away {
            std::fs::write(&down, "")?;
        } else if control.away.take().is_some() {
            std::fs::remove_file(&down)?;
        }
        self.advance()?;
        if !is_away {
            self.cancel()?;
            self.accept(&mut control)?;
        }
        self.show()
    }

    /// Takes what sbatch has brought.
    fn accept(&mut self, control: &mut Control) -> anyhow::Result<()> {
        for entry in std::fs::read_dir(self.folder.join("incoming"))? {
            let entry = entry?;
            let caller = entry.file_name().to_string_lossy().into_owned();
            if caller.starts_with('.') {
                continue;
            }
            let text = std::fs::read_to_string(entry.path())?;
            let name = text.lines().find_map(|line| line.strip_prefix("#SBATCH --job-name="));
            let name = name.unwrap_or("sbatch").to_owned();
            let id = u32::try_from(self.jobs.len())? + 1;
            let script = self.folder.join("jobs").join(format!("{id}.sh"));
            std::fs::rename(entry.path(), &script)?;
            control.copies.entry(name.clone()).or_default().push(id);
            self.jobs.insert(id, Job { name, script, state: State::Pending, is_cancelled: false });
            if let Some(away) = control.leaves.take() {
                control.away = Some(Instant::now() + away);
                return Ok(());
            }
            replace(&self.folder.join("answers").join(caller), &format!("{id}\n"))?;
        }
        Ok(())
    }

    /// Starts what waits, and sees what has ended.
    fn advance(&mut self) -> anyhow::Result<()> {
        let mut running = self.jobs.values().filter(|job| matches!(job.state, State::Running(_))).count();
        let mut log = String::new();
        for (id, job) in &mut self.jobs {
            match &mut job.state {
                State::Pending if running < SLOTS => {
                    running += 1;
                    let child = Command::new("bash")
                        .arg(&job.script)
                        .env("SLURM_JOB_ID", id.to_string())
                        .stdin(Stdio::null())
                        .stdout(Stdio::null())
                        .stderr(Stdio::null())
                        .process_group(0)
                        .spawn()
                        .context("no bash")?;
                    job.state = State::Running(child);
                }
                State::Running(child) => {
                    let Some(status) = child.try_wait()? else { continue };
                    let (exit, signal) = (status.code().unwrap_or(0), status.signal().unwrap_or(0));
                    let word = match status.success() {
                        true => "COMPLETED",
                        false if job.is_cancelled => "CANCELLED",
                        false => "FAILED",
                    };
                    let _ = writeln!(
                        log,
                        "JobId={id} Name={} JobState={word} ExitCode={exit}:{signal} ",
                        job.name
                    );
                    job.state = State::Ended(word, exit, signal, Instant::now());
                }
                State::Pending | State::Ended(..) => {}
            }
        }
        if !log.is_empty() {
            let before = std::fs::read_to_string(self.folder.join("jobcomp.log")).unwrap_or_default();
            replace(&self.folder.join("jobcomp.log"), &format!("{before}{log}"))?;
        }
        Ok(())
    }

    /// Does what scancel has asked for.
    fn cancel(&mut self) -> anyhow::Result<()> {
        for entry in std::fs::read_dir(self.folder.join("cancels"))? {
            let entry = entry?;
            let Ok(id) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            let signal = std::fs::read_to_string(entry.path())?;
            std::fs::remove_file(entry.path())?;
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            match &job.state {
                State::Pending => job.state = State::Ended("CANCELLED", 0, 0, Instant::now()),
                State::Running(child) => {
                    let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else { continue };
                    // One that has just ended is told nothing.
                    job.is_cancelled |= signal.trim() != "TERM";
                    let _ = if signal.trim() == "TERM" {
                        kill_process(pid, Signal::TERM)
                    } else {
                        kill_process_group(pid, Signal::KILL)
                    };
                }
                State::Ended(..) => {}
            }
        }
        Ok(())
    }

    /// What squeue prints: the exit code is the wait status there.
    fn show(&self) -> anyhow::Result<()> {
        let mut text = String::new();
        for (id, job) in &self.jobs {
            let (word, status) = match &job.state {
                State::Pending => ("PENDING", 0),
                State::Running(_) => ("RUNNING", 0),
                State::Ended(_, _, _, at) if at.elapsed() > SHOWN => continue,
                State::Ended(word, exit, signal, _) => (*word, exit << 8 | signal),
            };
            let _ = writeln!(text, "{id}|{}|{word}|None|{status}|", job.name);
        }
        replace(&self.folder.join("queue"), &text)
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        for job in self.jobs.values_mut() {
            if let State::Running(child) = &mut job.state {
                if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                    let _ = kill_process_group(pid, Signal::KILL);
                }
                let _ = child.wait();
            }
        }
    }
}

/// Whole or not at all, for who reads meanwhile.
fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    std::fs::write(&new, text)?;
    std::fs::rename(&new, path)?;
    Ok(())
}
