//! The folders behind a cluster: making them, and putting files into them as the servers' user would.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use super::{Cluster, ClusterOptions, PREFIX};
use crate::scratch::{give_to_servers, make_folder_for_servers};

impl Cluster {
    /// The folder that data server `index` exports; the same for all where the store is shared.
    pub fn store(&self, index: usize) -> PathBuf {
        self.stores[index].join(PREFIX.trim_start_matches('/'))
    }

    /// Where `lfn` lies in the store of the first server.
    pub fn path_of(&self, lfn: &str) -> PathBuf {
        self.path_on(0, lfn)
    }

    /// Where `lfn` lies in the store of data server `index`.
    pub fn path_on(&self, index: usize, lfn: &str) -> PathBuf {
        self.store(index).join(lfn.trim_start_matches('/'))
    }

    /// Writes a file into the store of data server `index`, owned by the servers' user, with missing folders.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, index: usize, lfn: &str, bytes: &[u8]) -> anyhow::Result<PathBuf> {
        let path = self.path_on(index, lfn);
        make_folder_for_servers(path.parent().context("an LFN has a folder")?)?;
        std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        give_to_servers(&path)?;
        Ok(path)
    }
}

/// Arguments of `xrootd.chksum` for an adler32 that takes `delay` longer than it should, by a script in `folder`.
///
/// # Errors
/// When the script cannot be written.
pub fn slow_checksum(folder: &Path, delay: Duration) -> anyhow::Result<String> {
    let script = folder.join("slow-adler32");
    // The server hands over the LFN with prefix, and its root folder in the environment; it wants the value alone.
    let text = format!(
        "#!/bin/sh\nfor path; do :; done\nsleep {}\nset -- $(xrdadler32 \"$XRDLCLROOT$path\")\necho \"$1\"\n",
        delay.as_secs_f64()
    );
    std::fs::write(&script, text).with_context(|| format!("cannot write {}", script.display()))?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))
        .context("cannot make it executable")?;
    Ok(format!("max 2 adler32 {}", script.display()))
}

/// One root folder per data server.
pub(super) fn make(folder: &Path, options: &ClusterOptions) -> anyhow::Result<Vec<PathBuf>> {
    let base = options.store.clone().unwrap_or_else(|| folder.join("store"));
    let stores: Vec<PathBuf> = (0..options.servers)
        .map(|index| if options.shared_store { base.clone() } else { base.join(super::server_name(index)) })
        .collect();
    for store in &stores {
        make_folder_for_servers(&store.join(PREFIX.trim_start_matches('/')))?;
    }
    Ok(stores)
}

/// The servers' own copy, which only they may read.
pub(super) fn copy_keytab(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::copy(from, to).with_context(|| format!("cannot copy the key file {}", from.display()))?;
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o600))
        .context("cannot protect the key file")?;
    give_to_servers(to)
}
