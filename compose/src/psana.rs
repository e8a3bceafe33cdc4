//! psana's own tools and extensions, out of the wheel on PyPI: installed once into the cache folder, and never looked for on the
//! network again. What they read and write is compared with what we do; none of it is linked.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use crate::kafka::jars;
use crate::require::{Need, require};

/// The version that is compared with.
pub const VERSION: &str = "4.3.4";

/// An environment with psana and NumPy in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Psana {
    folder: PathBuf,
}

/// psana where it is or can be had; otherwise the test is skipped and says so.
pub fn psana(test: &str) -> Option<Psana> {
    require(test, Need::Psana, Psana::install())
}

impl Psana {
    /// Installs it where it is not there yet. Safe beside others who want the same.
    ///
    /// # Errors
    /// Without Python's venv, or when PyPI does not answer or has no wheel for this machine.
    pub fn install() -> anyhow::Result<Self> {
        let cache = jars::cache()?;
        let folder = cache.join(format!("psana-{VERSION}"));
        let lock = File::create(cache.join("psana.lock")).context("cannot write to the cache")?;
        lock.lock().context("cannot lock the cache folder")?;
        // Written last: an installation that was interrupted is begun again.
        let done = folder.join("done");
        if !done.is_file() {
            let _ = std::fs::remove_dir_all(&folder);
            run(Command::new("python3").args(["-m", "venv"]).arg(&folder))
                .context("no virtual environment: is the package `python3-venv` there?")?;
            let pip = folder.join("bin/pip");
            let psana = format!("psana=={VERSION}");
            // psana's own requirements are for its Python parts, which nobody imports here.
            run(Command::new("timeout")
                .arg("300")
                .arg(pip)
                .args(["--disable-pip-version-check", "--no-input", "--timeout", "20", "--retries", "1"])
                .args(["install", "-q", "--no-deps", "--only-binary=:all:", &psana, "numpy"]))
            .with_context(|| format!("psana {VERSION} cannot be had from PyPI"))?;
            std::fs::write(&done, "").context("cannot write to the cache")?;
        }
        Ok(Self { folder })
    }

    /// The environment's Python.
    pub fn python(&self) -> PathBuf {
        self.folder.join("bin/python3")
    }

    /// Where the packages lie.
    ///
    /// # Errors
    /// When they do not.
    pub fn packages(&self) -> anyhow::Result<PathBuf> {
        let lib = self.folder.join("lib");
        let versions = std::fs::read_dir(&lib).with_context(|| format!("no {}", lib.display()))?;
        versions
            .filter_map(Result::ok)
            .map(|entry| entry.path().join("site-packages"))
            .find(|packages| packages.join("psana").is_dir())
            .with_context(|| format!("no psana below {}", lib.display()))
    }

    /// Runs one of its programs (`xtcreader`, `xtcwriter`, `smdwriter`) in a folder; what it printed.
    ///
    /// # Errors
    /// When it cannot be started or ends badly.
    pub fn tool(&self, name: &str, folder: &Path, arguments: &[&str]) -> anyhow::Result<String> {
        let program = self.packages()?.join("bin").join(name);
        run(Command::new(program).args(arguments).current_dir(folder)).with_context(|| name.to_owned())
    }
}

/// Runs to the end; what it printed.
fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output().context("cannot be started")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {} {}", output.status, complaint.trim(), said.trim());
    Ok(said)
}
