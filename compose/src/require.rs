//! What a machine may lack and a test may be skipped for: real data, containers, psana, Python packages, Slurm, Grid Engine, loop. A skip
//! is always said, past the test runner's capture, and `LIGHTRAIL_REQUIRE=data,containers,psana,python,slurm,sge,loop` makes it a failure.

use std::io::Write as _;
use std::path::PathBuf;

/// What a machine may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The folder of real data.
    Data,
    /// A container engine that runs, or that root may start.
    Containers,
    /// psana's tools, installed or to be had from PyPI.
    Psana,
    /// `h5py` and `pyarrow`, installed or to be had from PyPI.
    Python,
    /// Slurm's packages, and namespaces for it, which root may make.
    Slurm,
    /// Grid Engine's packages, and namespaces for it, which root may make.
    Sge,
    /// Loop devices, which only root may set up, for small file systems that fill up.
    Loop,
}

impl Need {
    /// The word in `LIGHTRAIL_REQUIRE`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Containers => "containers",
            Self::Psana => "psana",
            Self::Python => "python",
            Self::Loop => "loop",
            Self::Slurm => "slurm",
            Self::Sge => "sge",
        }
    }
}

/// Gives what was found; otherwise says `SKIPPED <test>: <why>` and gives nothing: the test returns.
///
/// # Panics
/// When nothing was found and `LIGHTRAIL_REQUIRE` names the need.
#[allow(clippy::panic, reason = "a test that may not be skipped fails")]
pub fn require<T>(test: &str, need: Need, found: anyhow::Result<T>) -> Option<T> {
    match found {
        Ok(found) => Some(found),
        Err(why) => {
            let required = std::env::var("LIGHTRAIL_REQUIRE").unwrap_or_default();
            assert!(
                !required.split(',').any(|word| word.trim() == need.word()),
                "{test} needs {}, and LIGHTRAIL_REQUIRE does not let it be skipped: {why:#}",
                need.word()
            );
            // Not `println`, which the test runner swallows when the test passes.
            let _ = writeln!(std::io::stderr().lock(), "SKIPPED {test}: {why:#}");
            None
        }
    }
}

/// The folder of real data: `LIGHTRAIL_DATA`, else `shared/data` beside the repository.
pub fn data(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("LIGHTRAIL_DATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")),
        PathBuf::from,
    );
    let found = if folder.join("xtc2").is_dir() {
        Ok(folder)
    } else {
        Err(anyhow::anyhow!("no real data in {} (LIGHTRAIL_DATA names the folder)", folder.display()))
    };
    require(test, Need::Data, found)
}

/// Whether loop devices can be set up.
pub fn loop_devices(test: &str) -> Option<()> {
    let found = if !rustix::process::geteuid().is_root() {
        Err(anyhow::anyhow!("loop devices need root"))
    } else if std::fs::metadata("/dev/loop-control").is_err() {
        Err(anyhow::anyhow!("no /dev/loop-control"))
    } else {
        Ok(())
    };
    require(test, Need::Loop, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_given() {
        assert_eq!(require("a test", Need::Loop, Ok(7)), Some(7));
    }
}
