//! A scheduler's own commands: each under a limit; one that submits is tied to our life besides, so that what it has not done when
//! the grace time is over it never does. A command that fails tells nothing about any job.

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::{ExecutorError, SubmitFault};

/// How a scheduler's commands are found and how long each may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commands {
    /// Their folder; by default the path's.
    pub folder: Option<PathBuf>,
    /// The limit of each, submissions included.
    pub within: Duration,
}

impl Commands {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.as_ref().map_or_else(|| PathBuf::from(name), |folder| folder.join(name))
    }

    /// Runs one; what it printed.
    pub(super) async fn run(&self, name: &str, arguments: &[&str]) -> Result<String, ExecutorError> {
        let failed = |why: String| ExecutorError { what: format!("{name} {}", arguments.join(" ")), why };
        let running =
            Command::new(self.path(name)).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
        let output = tokio::time::timeout(self.within, running)
            .await
            .map_err(|_| failed(format!("did not end within {:?}", self.within)))?
            .map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            return Err(failed(said(&output)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Gives a script to the command that submits; what that printed. `is_refusal` tells of what it says when it fails.
    pub(super) async fn submit(
        &self,
        name: &str,
        arguments: &[&str],
        script: &str,
        is_refusal: fn(&str) -> bool,
    ) -> Result<String, SubmitFault> {
        let unknown = |error: std::io::Error| SubmitFault::Unknown(error.to_string());
        let seconds = format!("{:.3}", self.within.as_secs_f64().max(0.001));
        // Ends with us, however we end, and after its limit: what is not there after the grace time never comes.
        let mut running = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "timeout", "-s", "KILL", &seconds])
            .args(["setpriv", "--pdeathsig", "KILL"])
            .arg(self.path(name))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(unknown)?;
        if let Some(mut input) = running.stdin.take() {
            input.write_all(script.as_bytes()).await.map_err(unknown)?;
        }
        let output = running.wait_with_output().await.map_err(unknown)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = said(&output);
        Err(if is_refusal(&said) { SubmitFault::Refused(said) } else { SubmitFault::Unknown(said) })
    }
}

/// What a command printed on its standard error, or else on its output, in one line.
fn said(output: &Output) -> String {
    let one_line = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(500).collect::<String>()
    };
    let texts = [one_line(&output.stderr), one_line(&output.stdout), output.status.to_string()];
    texts.into_iter().find(|text| !text.is_empty()).unwrap_or_default()
}

/// Whether a text has one of these parts, however it is written.
pub(super) fn has_any(text: &str, parts: &[&str]) -> bool {
    let text = text.to_lowercase();
    parts.iter().any(|part| text.contains(&part.to_lowercase()))
}
