//! Folders for data, configurations and logs of the parts: readable by the user that the servers run as, removed at the
//! end. Never on a tmpfs, where XRootD cannot keep its checksums (no user attributes).

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// The user that servers run as when we are root: `nobody` and its group, by number for they have many names.
pub const NOBODY: u32 = 65534;

/// The magic number that statfs gives for a tmpfs.
const TMPFS: i64 = 0x0102_1994;

/// A folder that is removed with everything in it when this is dropped.
#[derive(Debug)]
pub struct Scratch {
    folder: tempfile::TempDir,
}

impl Scratch {
    /// Makes a new folder; below `LIGHTRAIL_SCRATCH` where that is set, else below the system's temporary folder, or
    /// `/var/tmp` where that is a tmpfs.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new() -> anyhow::Result<Self> {
        let below = base();
        let folder = tempfile::Builder::new()
            .prefix("lightrail-")
            .permissions(std::fs::Permissions::from_mode(0o755))
            .tempdir_in(&below)
            .with_context(|| format!("cannot make a scratch folder in {}", below.display()))?;
        crate::keeper::remove_folder(folder.path());
        Ok(Self { folder })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Makes `folder` and its missing parents, and gives what was made to the servers' user.
///
/// # Errors
/// When a folder cannot be made or given away.
pub fn make_folder_for_servers(folder: &Path) -> anyhow::Result<()> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|folder| !folder.exists()).collect();
    for folder in missing.into_iter().rev() {
        match std::fs::create_dir(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("cannot make {}", folder.display()));
            }
            _ => give_to_servers(folder)?,
        }
    }
    Ok(())
}

/// Gives one file or folder to the servers' user; when we are not root, that is us already.
///
/// # Errors
/// When the system refuses.
pub fn give_to_servers(path: &Path) -> anyhow::Result<()> {
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::lchown(path, Some(NOBODY), Some(NOBODY))
            .with_context(|| format!("cannot give {} to the servers' user", path.display()))?;
    }
    Ok(())
}

fn base() -> PathBuf {
    if let Some(named) = std::env::var_os("LIGHTRAIL_SCRATCH") {
        return PathBuf::from(named);
    }
    let usual = std::env::temp_dir();
    let is_tmpfs = rustix::fs::statfs(&usual).is_ok_and(|about| about.f_type == TMPFS);
    if is_tmpfs { PathBuf::from("/var/tmp") } else { usual }
}
