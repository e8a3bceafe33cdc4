//! Programs of others from PyPI, each in a virtual environment of its own in the cache folder: installed once, and never looked
//! for on the network again. What they read and write is compared with what we do; none of it is linked.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use crate::kafka::jars;
use crate::require::{Need, require};

/// A virtual environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Python {
    folder: PathBuf,
}

/// What reads HDF5 and Parquet files as scientists do: `h5py` (libhdf5) and `pyarrow`. Otherwise the test is skipped and says
/// so.
pub fn tables(test: &str) -> Option<Python> {
    let packages = ["h5py==3.16.0", "pyarrow==26.0.1", "numpy==2.4.6"];
    require(test, Need::Python, Python::install("tables-1", &packages))
}

impl Python {
    /// Installs wheels, and nothing that they ask for, where that is not done yet. Safe beside others who want the same.
    ///
    /// # Errors
    /// Without Python's venv, or when PyPI does not answer or has no wheel for this machine.
    pub fn install(name: &str, packages: &[&str]) -> anyhow::Result<Self> {
        let cache = jars::cache()?;
        let folder = cache.join(name);
        let lock = File::create(cache.join(format!("{name}.lock"))).context("cannot write to the cache")?;
        lock.lock().context("cannot lock the cache folder")?;
        // Written last: an installation that was interrupted is begun again.
        let done = folder.join("done");
        if !done.is_file() {
            let _ = std::fs::remove_dir_all(&folder);
            run(Command::new("python3").args(["-m", "venv"]).arg(&folder))
                .context("no virtual environment: is the package `python3-venv` there?")?;
            run(Command::new("timeout")
                .arg("300")
                .arg(folder.join("bin/pip"))
                .args(["--disable-pip-version-check", "--no-input", "--timeout", "20", "--retries", "1"])
                .args(["install", "-q", "--no-deps", "--only-binary=:all:"])
                .args(packages))
            .with_context(|| format!("{} cannot be had from PyPI", packages.join(", ")))?;
            std::fs::write(&done, "").context("cannot write to the cache")?;
        }
        Ok(Self { folder })
    }

    /// The environment's Python.
    pub fn python(&self) -> PathBuf {
        self.folder.join("bin/python3")
    }

    /// Runs a script's text with arguments; what it printed.
    ///
    /// # Errors
    /// When it ends badly.
    pub fn run(&self, script: &str, arguments: &[&Path]) -> anyhow::Result<String> {
        run(Command::new(self.python()).args(["-c", script]).args(arguments))
    }

    /// Where the packages lie.
    ///
    /// # Errors
    /// When `package` does not.
    pub fn packages(&self, package: &str) -> anyhow::Result<PathBuf> {
        let lib = self.folder.join("lib");
        let versions = std::fs::read_dir(&lib).with_context(|| format!("no {}", lib.display()))?;
        versions
            .filter_map(Result::ok)
            .map(|entry| entry.path().join("site-packages"))
            .find(|packages| packages.join(package).is_dir())
            .with_context(|| format!("no {package} below {}", lib.display()))
    }
}

/// Runs to the end; what it printed.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output().context("cannot be started")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {} {}", output.status, complaint.trim(), said.trim());
    Ok(said)
}
