//! Debian's packages unpacked into the cache folder and never installed: schedulers' packages conflict with each other, and none of
//! them belongs on the host.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use crate::kafka::jars;
use crate::process::tail;

/// The folder into which packages are unpacked; fetched by apt where they are not there yet, never again after that.
///
/// # Errors
/// Where there is no apt, or it does not get them.
pub(crate) fn unpacked(name: &str, packages: &[&str]) -> anyhow::Result<PathBuf> {
    let cache = jars::cache()?;
    let folder = cache.join(name);
    let lock =
        std::fs::File::create(cache.join(format!("{name}.lock"))).context("cannot write to the cache")?;
    lock.lock().context("cannot lock the cache folder")?;
    let (root, done) = (folder.join("root"), folder.join("done"));
    // Written last: what was interrupted is begun again.
    if !done.is_file() {
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&root).context("cannot make a folder in the cache")?;
        let mut fetching = Command::new("timeout");
        fetching.args(["300", "apt-get", "download", "-q"]).args(packages).current_dir(&folder);
        let output = fetching.stdin(Stdio::null()).output().context("no apt-get: this is no Debian")?;
        ensure!(
            output.status.success(),
            "apt-get cannot download {}: {}",
            packages.join(" "),
            tail(&String::from_utf8_lossy(&output.stderr), 3)
        );
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|ending| ending == "deb") {
                let unpacking = Command::new("dpkg").arg("-x").arg(&path).arg(&root).status();
                ensure!(unpacking.context("no dpkg")?.success(), "{} cannot be unpacked", path.display());
            }
        }
        std::fs::write(&done, "").context("cannot write to the cache")?;
    }
    Ok(root)
}
