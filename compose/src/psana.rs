//! psana's own tools and extensions, out of the wheel on PyPI. What they read and write is compared with what we do; none of it
//! is linked.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::python::{Python, run};
use crate::require::{Need, require};

/// The version that is compared with.
pub const VERSION: &str = "4.3.4";

/// An environment with psana and NumPy in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Psana(Python);

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
        // psana's own requirements are for its Python parts, which nobody imports here.
        let packages = [&*format!("psana=={VERSION}"), "numpy"];
        Ok(Self(Python::install(&format!("psana-{VERSION}"), &packages)?))
    }

    /// The environment's Python.
    pub fn python(&self) -> PathBuf {
        self.0.python()
    }

    /// Where the packages lie.
    ///
    /// # Errors
    /// When they do not.
    pub fn packages(&self) -> anyhow::Result<PathBuf> {
        self.0.packages("psana")
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
