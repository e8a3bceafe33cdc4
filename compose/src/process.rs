//! One process that the suites start, torment and end: in a group of its own, with its log in a file, marked so that also
//! what it forks is found. Dropping it kills the whole group and everything that carries its mark. It knows nothing of
//! Kafka or XRootD.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::scratch::NOBODY;
use crate::{keeper, wait};

/// The environment variable by which a process's own offspring is told from that of its neighbours.
const OFFSPRING: &str = "LIGHTRAIL_PART";

/// What to start and how.
#[derive(Debug, Clone)]
pub struct Start {
    /// What messages call it.
    pub name: String,
    /// A program, looked up in the path.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Added to our environment.
    pub env: Vec<(String, OsString)>,
    /// Where standard output and error are appended.
    pub output: PathBuf,
    /// Its working folder.
    pub folder: PathBuf,
    /// Folders beside its own that it reads or writes; a process sees them anyway, a container does not.
    pub shares: Vec<PathBuf>,
    /// To run as `nobody` when we are root (XRootD refuses root). As an ordinary user: as ourselves.
    pub as_nobody: bool,
}

impl Start {
    /// A program that runs as ourselves in `folder` and writes to `<folder>/<name>.out`.
    pub fn new(name: impl Into<String>, program: impl Into<OsString>, folder: &Path) -> Self {
        let name = name.into();
        let output = folder.join(format!("{name}.out"));
        let (args, env) = (Vec::new(), Vec::new());
        Self {
            name,
            program: program.into(),
            args,
            env,
            output,
            folder: folder.to_path_buf(),
            shares: Vec::new(),
            as_nobody: false,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Adds a variable to its environment.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl Into<OsString>) -> Self {
        self.env.push((key.to_owned(), value.into()));
        self
    }

    /// The command line that does it, with the change of user where there is one.
    fn command(&self) -> Command {
        if self.as_nobody && rustix::process::geteuid().is_root() {
            let mut command = Command::new("setpriv");
            command.args([
                &format!("--reuid={NOBODY}"),
                &format!("--regid={NOBODY}"),
                "--clear-groups",
                "--",
            ]);
            command.arg(&self.program).args(&self.args);
            return command;
        }
        let mut command = Command::new(&self.program);
        command.args(&self.args);
        command
    }
}

/// A started process, which may have ended meanwhile and may be started again.
#[derive(Debug)]
pub struct Proc {
    start: Start,
    mark: String,
    child: Mutex<Child>,
}

impl Proc {
    /// Starts it.
    ///
    /// # Errors
    /// When the program or its log file cannot be opened. A program that ends at once is seen by [`Proc::is_running`].
    pub fn start(start: Start) -> anyhow::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        keeper::watch();
        let mark = format!("{}.{}", keeper::mark(), COUNT.fetch_add(1, Ordering::Relaxed));
        let child = Mutex::new(spawn(&start, &mark)?);
        Ok(Self { start, mark, child })
    }

    /// Starts the same again, after what is left of the one before is killed.
    ///
    /// # Errors
    /// As [`Proc::start`].
    pub fn start_again(&self) -> anyhow::Result<()> {
        self.kill();
        *self.child() = spawn(&self.start, &self.mark)?;
        Ok(())
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.start.name
    }

    /// Its process id; that of the last start.
    pub fn pid(&self) -> u32 {
        self.child().id()
    }

    /// Whether it has not ended (a stopped one has not).
    pub fn is_running(&self) -> bool {
        matches!(self.child().try_wait(), Ok(None))
    }

    /// SIGKILL to the process alone, as the kernel or an operator would do it: what it has forked lives on. Returns when
    /// the process is gone.
    pub fn kill(&self) {
        let mut child = self.child();
        // Both fail only where the process has ended and been waited for, which is what is wanted.
        let _ = child.kill();
        let _ = child.wait();
    }

    /// SIGSTOP to the whole group: it hangs, its connections stay.
    pub fn stop(&self) {
        self.signal_group(Signal::STOP);
    }

    /// SIGCONT to the whole group.
    pub fn cont(&self) {
        self.signal_group(Signal::CONT);
    }

    /// SIGTERM to the process.
    pub fn term(&self) {
        let mut child = self.child();
        // Not to a process that has been waited for: its id may be somebody else's by now.
        if let (Ok(None), Some(pid)) = (child.try_wait(), pid_of(&child)) {
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub async fn wait_exit(&self, limit: Duration) -> anyhow::Result<ExitStatus> {
        wait::until(&format!("{} to end", self.start.name), limit, async || {
            self.child().try_wait().ok().flatten()
        })
        .await
    }

    /// What it has written so far; empty when nothing could be read.
    pub fn output(&self) -> String {
        read_lossy(&self.start.output)
    }

    /// Where it writes to.
    pub fn output_path(&self) -> &Path {
        &self.start.output
    }

    fn signal_group(&self, signal: Signal) {
        let mut child = self.child();
        if let (Ok(None), Some(pid)) = (child.try_wait(), pid_of(&child)) {
            let _ = kill_process_group(pid, signal);
        }
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        self.signal_group(Signal::KILL);
        self.kill();
        kill_marked(&format!("{OFFSPRING}={}", self.mark));
    }
}

/// The whole text of a log; bytes that are no text are replaced.
pub fn read_lossy(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// The last `lines` lines of a text, for messages.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn spawn(start: &Start, mark: &str) -> anyhow::Result<Child> {
    let output = File::options()
        .create(true)
        .append(true)
        .open(&start.output)
        .with_context(|| format!("cannot open {}", start.output.display()))?;
    let errors = output.try_clone().context("cannot share a log file")?;
    start
        .command()
        .envs(start.env.iter().map(|(key, value)| (key, value)))
        .env(keeper::MARK, keeper::mark())
        .env(OFFSPRING, mark)
        .current_dir(&start.folder)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {} ({})", start.name, start.program.display()))
}

fn pid_of(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

/// Kills every process whose environment has `variable`, until none is found: one may have forked meanwhile.
fn kill_marked(variable: &str) {
    for _ in 0..100 {
        let found = marked(variable);
        if found.is_empty() {
            return;
        }
        for pid in found {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// Processes whose environment has `variable` (`KEY=value`). What has ended but was not waited for has none.
pub fn marked(variable: &str) -> Vec<Pid> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    processes
        .flatten()
        .filter_map(|process| {
            let pid = process.file_name().to_str()?.parse().ok().and_then(Pid::from_raw)?;
            let environment = std::fs::read(process.path().join("environ")).ok()?;
            environment.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes()).then_some(pid)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    const LIMIT: Duration = Duration::from_secs(10);

    fn sh(scratch: &Scratch, script: &str) -> Proc {
        Proc::start(Start::new("sh", "sh", scratch.path()).args(["-c", script])).unwrap()
    }

    async fn says(proc: &Proc, word: &str) {
        wait::until(word, LIMIT, async || proc.output().contains(word).then_some(())).await.unwrap();
    }

    #[tokio::test]
    async fn a_kill_spares_what_was_forked_and_a_drop_does_not() {
        let scratch = Scratch::new().unwrap();
        // In a session of its own, as a server's copy program is.
        let proc = sh(&scratch, "setsid sleep 3600 & echo started; wait");
        says(&proc, "started").await;
        let mark = format!("{OFFSPRING}={}", proc.mark);
        wait::until("both to run", LIMIT, async || (marked(&mark).len() == 2).then_some(())).await.unwrap();
        proc.kill();
        assert!(!proc.is_running());
        assert_eq!(marked(&mark).len(), 1, "what it forked lives on");
        drop(proc);
        wait::until("nothing to run", LIMIT, async || marked(&mark).is_empty().then_some(())).await.unwrap();
    }

    #[tokio::test]
    async fn a_stopped_process_does_nothing_until_it_goes_on() {
        let scratch = Scratch::new().unwrap();
        let proc = sh(&scratch, "echo ready; until [ -e go ]; do sleep 0.01; done; echo gone");
        says(&proc, "ready").await;
        proc.stop();
        std::fs::write(scratch.path().join("go"), "").unwrap();
        assert!(proc.wait_exit(Duration::from_millis(300)).await.is_err());
        assert!(proc.is_running());
        proc.cont();
        assert!(proc.wait_exit(LIMIT).await.unwrap().success());
        assert!(proc.output().ends_with("gone\n"));
    }

    #[tokio::test]
    async fn a_process_hears_sigterm_and_can_be_started_again() {
        let scratch = Scratch::new().unwrap();
        let proc = sh(&scratch, "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done");
        says(&proc, "ready").await;
        proc.term();
        assert_eq!(proc.wait_exit(LIMIT).await.unwrap().code(), Some(7));
        proc.start_again().unwrap();
        says(&proc, "ready\nready").await;
        assert!(proc.is_running());
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let scratch = Scratch::new().unwrap();
        let error = Proc::start(Start::new("mover", "no-such-program", scratch.path())).unwrap_err();
        assert!(format!("{error:#}").contains("cannot start mover (no-such-program)"));
    }

    #[test]
    fn a_tail_is_the_last_lines() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("a", 2), "a");
        assert_eq!(tail("", 2), "");
    }
}
