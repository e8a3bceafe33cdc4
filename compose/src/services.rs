//! Lightrail's own programs, started as a user starts them: by path, with a configuration file. Links none of them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::process::{Proc, Start};

/// A running `lightrail-mover`.
#[derive(Debug)]
pub struct Mover {
    proc: Proc,
}

impl Mover {
    /// Starts `lightrail-mover run` with a configuration file; its output goes to `mover.out` beside that file.
    ///
    /// # Errors
    /// When the program is not built or cannot be started.
    pub fn start(config: &Path) -> anyhow::Result<Self> {
        Self::start_with(config, &[])
    }

    /// The same with more environment.
    ///
    /// # Errors
    /// As [`Mover::start`].
    pub fn start_with(config: &Path, env: &[(&str, &str)]) -> anyhow::Result<Self> {
        Self::start_as(&["run"], config, env)
    }

    /// The same by another command or with more arguments: `["run", "--take-over"]`, `["rebuild"]`.
    ///
    /// # Errors
    /// As [`Mover::start`].
    pub fn start_as(command: &[&str], config: &Path, env: &[(&str, &str)]) -> anyhow::Result<Self> {
        let folder = config.parent().context("a configuration file lies in a folder")?;
        let name = config.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut start = Start::new(name, program("lightrail-mover")?, folder)
            .args(command.iter().copied())
            .args([OsString::from("--config"), config.into()]);
        for (key, value) in env {
            start = start.env(key, *value);
        }
        Ok(Self { proc: Proc::start(start)? })
    }

    /// Starts the same again, where it has ended or not.
    ///
    /// # Errors
    /// As [`Mover::start`].
    pub fn restart(&self) -> anyhow::Result<()> {
        self.proc.start_again()
    }

    /// SIGKILL; gone on return.
    pub fn kill(&self) {
        self.proc.kill();
    }

    /// SIGSTOP.
    pub fn stop(&self) {
        self.proc.stop();
    }

    /// SIGCONT.
    pub fn cont(&self) {
        self.proc.cont();
    }

    /// SIGTERM: asks it to drain.
    pub fn term(&self) {
        self.proc.term();
    }

    /// Whether it has not ended.
    pub fn is_running(&self) -> bool {
        self.proc.is_running()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.proc.pid()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub async fn wait_exit(&self, limit: Duration) -> anyhow::Result<ExitStatus> {
        self.proc.wait_exit(limit).await
    }

    /// All that it has written, over all its starts.
    pub fn log(&self) -> String {
        self.proc.output()
    }
}

/// Starts a service of `lightrail-analysis`, such as `["work", "--slot", "1"]`, with a configuration file; its output goes to
/// `<name>.out` beside that file.
///
/// # Errors
/// As [`Mover::start`].
pub fn start_analysis(
    name: &str,
    command: &[&str],
    config: &Path,
    env: &[(&str, &str)],
) -> anyhow::Result<Proc> {
    let folder = config.parent().context("a configuration file lies in a folder")?;
    let mut start = Start::new(name, program("lightrail-analysis")?, folder)
        .args(command.iter().copied())
        .args([OsString::from("--config"), config.into()]);
    for (key, value) in env {
        start = start.env(key, *value);
    }
    Proc::start(start)
}

/// Starts `lightrail-trigger run` with a configuration file; its output goes to `<name>.out` beside that file.
///
/// # Errors
/// As [`Mover::start`].
pub fn start_trigger(name: &str, config: &Path, env: &[(&str, &str)]) -> anyhow::Result<Proc> {
    let folder = config.parent().context("a configuration file lies in a folder")?;
    let mut start = Start::new(name, program("lightrail-trigger")?, folder)
        .args([OsString::from("run"), OsString::from("--config"), config.into()])
        .env("NO_COLOR", "1");
    for (key, value) in env {
        start = start.env(key, *value);
    }
    Proc::start(start)
}

/// What a one-shot command has done.
#[derive(Debug)]
pub struct Ran {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Runs one of our programs to its end, as from a shell.
///
/// # Errors
/// When it is not built, or still runs after `limit` (it is killed then).
pub async fn run(name: &str, args: &[&str], limit: Duration) -> anyhow::Result<Ran> {
    let mut command = tokio::process::Command::new(program(name)?);
    command.args(args).stdin(std::process::Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(limit, command.output())
        .await
        .with_context(|| format!("{name} {} still ran after {limit:?}", args.join(" ")))?
        .with_context(|| format!("cannot run {name}"))?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Ran { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) })
}

/// The path of one of our programs: in `LIGHTRAIL_BIN`, else beside the running program or, for a test program, one
/// folder up, where cargo puts it.
///
/// # Errors
/// When it is in none of them: it has to be built.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let mut folders: Vec<PathBuf> =
        std::env::var_os("LIGHTRAIL_BIN").map(PathBuf::from).into_iter().collect();
    if folders.is_empty() {
        let ours = std::env::current_exe().context("cannot tell where this program lies")?;
        folders.extend(ours.ancestors().skip(1).take(2).map(Path::to_path_buf));
    }
    let found = folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    let looked = folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(" and ");
    ensure!(found.is_some(), "{name} is not in {looked}: build it with `cargo build --bin {name}`");
    found.context("just looked at")
}
