//! The engine for sites that are mounted file systems: copies between folders, renames without ever replacing. The only
//! one whose bytes pass through this process. Never makes a site's prefix itself: a missing one is a file system that
//! is not mounted.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use lightrail_topics::{Checksum, ChecksumKind};
use rustix::fs::{AtFlags, CWD, RenameFlags, linkat, renameat_with, unlinkat};
use rustix::io::Errno;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::digest::Summer;
use super::engine::{CopyOrder, Engine, Entry, Phase, Place, Progress, Stat, SumOrder};
use super::names::SitePath;
use super::site::Site;
use crate::fault::{Fault, FaultClass};

/// Copies between folders of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Posix;

/// Bytes between two looks at the cancel flag.
const PIECE: u64 = 8 << 20;

/// Runs on a thread that may block; what it waits for (a dead NFS server) may keep that thread, not its caller.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panicked) => {
            Err(Fault::new(FaultClass::Transient, "panicked", format!("file work ended: {panicked}")))
        }
    }
}

fn fault(what: &str, path: &Path, error: &io::Error) -> Fault {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    let (class, code) = match errno {
        Some(Errno::NOSPC) => (FaultClass::Endpoint, "no-space"),
        Some(Errno::DQUOT) => (FaultClass::Endpoint, "over-quota"),
        Some(Errno::ROFS) => (FaultClass::Endpoint, "read-only"),
        Some(Errno::ACCESS | Errno::PERM) => (FaultClass::Credential, "permission-denied"),
        Some(Errno::NOENT) => (FaultClass::SourceNotReady, "source-missing"),
        Some(Errno::EXIST) => (FaultClass::Transient, "exists"),
        Some(Errno::ISDIR) => (FaultClass::Permanent, "is-a-folder"),
        Some(Errno::NOTDIR) => (FaultClass::Permanent, "not-a-folder"),
        Some(Errno::NAMETOOLONG) => (FaultClass::Permanent, "name-too-long"),
        Some(Errno::STALE) => (FaultClass::Transient, "stale-mount"),
        _ => (FaultClass::Transient, "io-error"),
    };
    Fault::new(class, code, format!("{what} {}: {error}", path.display()))
}

fn path_of(path: &SitePath) -> PathBuf {
    PathBuf::from(path.as_str())
}

fn stat_of(meta: &fs::Metadata) -> Stat {
    Stat { size: meta.len(), mtime: meta.mtime(), folder: meta.is_dir() }
}

fn look(path: &Path) -> Result<Option<Stat>, Fault> {
    match fs::metadata(path) {
        Ok(meta) => Ok(Some(stat_of(&meta))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fault("looking at", path, &error)),
    }
}

/// The prefix must be there: an empty mount point looks like a site that lost everything.
fn mounted(prefix: &str) -> Result<(), Fault> {
    let root = if prefix.is_empty() { Path::new("/") } else { Path::new(prefix) };
    match fs::metadata(root) {
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => {
            Err(Fault::new(FaultClass::Endpoint, "not-a-folder", format!("{} is no folder", root.display())))
        }
        Err(error) => {
            let text = format!("the site's folder {} cannot be read, is it mounted: {error}", root.display());
            Err(Fault::new(FaultClass::Endpoint, "not-mounted", text))
        }
    }
}

#[async_trait]
impl Engine for Posix {
    async fn servers(&self, _site: &Site) -> Result<Vec<String>, Fault> {
        Ok(Vec::new())
    }

    async fn stat(&self, place: Place<'_>, path: &SitePath) -> Result<Option<Stat>, Fault> {
        let (path, prefix) = (path_of(path), place.site.prefix.clone());
        blocking(move || match look(&path)? {
            Some(stat) => Ok(Some(stat)),
            None => mounted(&prefix).map(|()| None),
        })
        .await
    }

    async fn checksums_offered(&self, _place: Place<'_>) -> Result<Vec<ChecksumKind>, Fault> {
        Ok(ChecksumKind::ALL.to_vec())
    }

    async fn checksum(&self, _place: Place<'_>, path: &SitePath, order: SumOrder) -> Result<Checksum, Fault> {
        let path = path_of(path);
        let stop = StopOnDrop::default();
        let flag = stop.flag();
        blocking(move || {
            let failed = |error: io::Error| fault("reading", &path, &error);
            let mut file = File::open(&path).map_err(failed)?;
            let mut summer = Summer::new(order.kind);
            let mut buffer = vec![0; 1 << 20];
            while !flag.load(Ordering::Relaxed) {
                match file.read(&mut buffer) {
                    Ok(0) => return Ok(summer.finish()),
                    Ok(count) => summer.feed(&buffer[..count]),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(failed(error)),
                }
            }
            Err(Fault::cancelled("nobody waits for the checksum any more"))
        })
        .await
    }

    async fn copy(
        &self,
        order: CopyOrder<'_>,
        progress: &watch::Sender<Progress>,
        cancel: &CancellationToken,
    ) -> Result<(), Fault> {
        let (from, to) = (path_of(order.from_path), path_of(order.to_path));
        let prefix = order.to.site.prefix.clone();
        let stop = StopOnDrop::default();
        let (flag, sender) = (stop.flag(), progress.clone());
        let work = blocking(move || copy_file(&from, &to, &prefix, &flag, &sender));
        tokio::pin!(work);
        tokio::select! {
            biased;
            done = &mut work => done,
            () = cancel.cancelled() => {
                stop.now();
                // It looks at the flag after every piece; its caller limits this wait.
                work.await
            }
        }
    }

    async fn rename(&self, _place: Place<'_>, from: &SitePath, to: &SitePath) -> Result<(), Fault> {
        let (from, to) = (path_of(from), path_of(to));
        blocking(move || rename_new(&from, &to)).await
    }

    async fn remove(&self, _place: Place<'_>, path: &SitePath) -> Result<bool, Fault> {
        let path = path_of(path);
        blocking(move || match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(fault("removing", &path, &error)),
        })
        .await
    }

    async fn list(&self, place: Place<'_>, folder: &SitePath) -> Result<Option<Vec<Entry>>, Fault> {
        let (folder, prefix) = (path_of(folder), place.site.prefix.clone());
        blocking(move || {
            let failed = |error: io::Error| fault("listing", &folder, &error);
            let names = match fs::read_dir(&folder) {
                Ok(names) => names,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return mounted(&prefix).map(|()| None);
                }
                Err(error) => return Err(failed(error)),
            };
            let mut entries = Vec::new();
            for name in names {
                let name = name.map_err(failed)?;
                // A name that is not UTF-8 is nobody's LFN.
                let Ok(text) = name.file_name().into_string() else { continue };
                let stat = fs::metadata(name.path()).ok().map(|meta| stat_of(&meta));
                entries.push(Entry { name: text, stat });
            }
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(Some(entries))
        })
        .await
    }

    async fn set_mode(&self, _place: Place<'_>, path: &SitePath, mode: u32) -> Result<(), Fault> {
        let path = path_of(path);
        blocking(move || {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))
                .map_err(|error| fault("setting the mode of", &path, &error))
        })
        .await
    }

    async fn ping(&self, place: Place<'_>) -> Result<(), Fault> {
        let prefix = place.site.prefix.clone();
        blocking(move || mounted(&prefix)).await
    }
}

/// Tells a blocking thread that nobody waits for it any more.
#[derive(Debug, Default)]
struct StopOnDrop(Arc<AtomicBool>);

impl StopOnDrop {
    fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }

    fn now(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.now();
    }
}

fn copy_file(
    from: &Path,
    to: &Path,
    prefix: &str,
    stop: &AtomicBool,
    progress: &watch::Sender<Progress>,
) -> Result<(), Fault> {
    let source = File::open(from).map_err(|error| fault("opening", from, &error))?;
    mounted(prefix)?;
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(|error| fault("making folder", folder, &error))?;
    }
    let write = |error: io::Error| match fault("writing", to, &error) {
        // Its folder went away, or it is not there: not a matter of the source.
        Fault { class: FaultClass::SourceNotReady, text, .. } => {
            Fault::new(FaultClass::Transient, "vanished", text)
        }
        other => other,
    };
    let mut target = File::create_new(to).map_err(write)?;
    let mut bytes = 0;
    loop {
        progress.send_replace(Progress { phase: Phase::Copying, bytes });
        if stop.load(Ordering::Relaxed) {
            return Err(Fault::cancelled("the copy was cancelled"));
        }
        // The standard library copies between files inside the kernel where it can.
        let moved = io::copy(&mut (&source).take(PIECE), &mut target).map_err(write)?;
        if moved == 0 {
            break;
        }
        bytes += moved;
    }
    progress.send_replace(Progress { phase: Phase::Closing, bytes });
    target.sync_all().map_err(write)
}

/// Renames, refusing to replace: by `RENAME_NOREPLACE`, else (NFS) by a hard link, which refuses too.
fn rename_new(from: &Path, to: &Path) -> Result<(), Fault> {
    let failed = |errno: Errno| match (errno, to.try_exists()) {
        (Errno::EXIST, _) => fault("renaming to", to, &errno.into()),
        _ => fault("renaming", from, &errno.into()),
    };
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            linkat(CWD, from, CWD, to, AtFlags::empty()).map_err(failed)?;
            unlinkat(CWD, from, AtFlags::empty()).map_err(failed)?;
        }
        Err(errno) => return Err(failed(errno)),
    }
    // The name must outlive a crash of this machine as the bytes do.
    let folder = to.parent().unwrap_or(Path::new("/"));
    File::open(folder).and_then(|open| open.sync_all()).map_err(|error| fault("syncing", folder, &error))
}

#[cfg(test)]
mod tests;
