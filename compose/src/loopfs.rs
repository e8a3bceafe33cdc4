//! A small ext4 file system in a file, for tests that fill a disk: mounted by a loop device, unmounted and removed at the
//! end. Only root can, and not in every container; the error says why not.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::keeper;
use crate::scratch::give_to_servers;

/// A mounted file system of its own.
#[derive(Debug)]
pub struct LoopFs {
    mounted: PathBuf,
}

impl LoopFs {
    /// Makes `<folder>/disk.img` of `mib` MiB and mounts it on `<folder>/disk`, owned by the servers' user.
    ///
    /// # Errors
    /// When we are not root, or there is no loop device: for a test a reason to be skipped.
    pub fn create(folder: &Path, mib: u64) -> anyhow::Result<Self> {
        ensure!(rustix::process::geteuid().is_root(), "only root can mount a file system by a loop device");
        let (image, mounted) = (folder.join("disk.img"), folder.join("disk"));
        File::create(&image)
            .and_then(|file| file.set_len(mib * 1024 * 1024))
            .with_context(|| format!("cannot make {}", image.display()))?;
        std::fs::create_dir_all(&mounted).with_context(|| format!("cannot make {}", mounted.display()))?;
        // Without a journal and without blocks kept for root: nearly all of it can be filled.
        let features = ["-q", "-F", "-m", "0", "-O", "^has_journal"];
        command(Command::new("mkfs.ext4").args(features).arg(&image), "e2fsprogs")?;
        keeper::unmount(&mounted);
        command(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mounted), "mount")?;
        let made = Self { mounted };
        give_to_servers(&made.mounted)?;
        Ok(made)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mounted
    }

    /// Bytes that an ordinary user can still write.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn free(&self) -> anyhow::Result<u64> {
        let about =
            rustix::fs::statvfs(&self.mounted).context("cannot ask the loop file system for its space")?;
        Ok(about.f_bavail * about.f_frsize)
    }

    /// Fills it up but for `leave` bytes, by one file; [`LoopFs::make_room`] removes that.
    ///
    /// # Errors
    /// When that file cannot be written.
    pub fn fill(&self, leave: u64) -> anyhow::Result<()> {
        let file = File::create(self.ballast()).context("cannot make the file that fills the disk")?;
        let size = self.free()?.saturating_sub(leave);
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size)
            .context("cannot fill the disk")?;
        Ok(())
    }

    /// Gives back what [`LoopFs::fill`] took.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn make_room(&self) -> anyhow::Result<()> {
        std::fs::remove_file(self.ballast()).context("cannot remove the file that fills the disk")
    }

    fn ballast(&self) -> PathBuf {
        self.mounted.join(".ballast")
    }
}

impl Drop for LoopFs {
    fn drop(&mut self) {
        // Lazily where something still holds a file: the device goes when that ends.
        let unmounted =
            Command::new("umount").arg(&self.mounted).output().is_ok_and(|output| output.status.success());
        if !unmounted {
            let _ = Command::new("umount").arg("-l").arg(&self.mounted).output();
        }
    }
}

fn command(command: &mut Command, package: &str) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output =
        command.output().with_context(|| format!("cannot run {program}: install the package `{package}`"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} failed: {}", said.trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::require::{Need, require};
    use crate::scratch::Scratch;

    #[test]
    fn it_fills_up_and_has_room_again() {
        let scratch = Scratch::new().unwrap();
        let Some(disk) = require("it_fills_up", Need::Loop, LoopFs::create(scratch.path(), 16)) else {
            return;
        };
        assert!(disk.free().unwrap() > 8 * 1024 * 1024);
        disk.fill(0).unwrap();
        let full = std::fs::write(disk.path().join("file"), vec![1; 1024 * 1024]).unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
        disk.make_room().unwrap();
        std::fs::write(disk.path().join("file"), vec![1; 1024 * 1024]).unwrap();
        let mounted = disk.path().to_path_buf();
        drop(disk);
        assert!(!std::fs::read_to_string("/proc/mounts").unwrap().contains(mounted.to_str().unwrap()));
    }
}
