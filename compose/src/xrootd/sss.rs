//! The shared secret of the `sss` protocol: a key file for clients, of which every cluster makes its own copy.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, ensure};

/// Makes a key file `sss.keytab` in `folder`, readable by us alone; clients name it in `XrdSecSSSKT`.
///
/// # Errors
/// When `xrdsssadmin` is missing or fails.
pub async fn make_keytab(folder: &Path) -> anyhow::Result<PathBuf> {
    let keytab = folder.join("sss.keytab");
    let mut command = tokio::process::Command::new("xrdsssadmin");
    command.args(["-k", "lightrail", "-u", "anybody", "-g", "anygroup", "add"]).arg(&keytab);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.context("cannot run xrdsssadmin: install the package `xrootd-server`")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "xrdsssadmin could not make a key: {}", said.trim());
    Ok(keytab)
}
