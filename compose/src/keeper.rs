//! Sees to it that an interrupted program leaves nothing behind: a small shell that waits for this process's end, however
//! it ends (also SIGKILL, also a panic that aborts), and then kills what was started, unmounts and removes scratch folders.
//! It finds processes by a mark in their environment, so it also finds what they forked. It touches nothing without the mark.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

/// The environment variable that everything started by us carries; its value names the starting process.
pub const MARK: &str = "LIGHTRAIL_STARTED_BY";

/// Lines come in as `folder PATH` and `mount PATH`; the end of the input is the end of our process.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
folders=; mounts=
while read -r what path; do
  case $what in
    folder) folders="$folders$path
" ;;
    mount) mounts="$mounts$path
" ;;
  esac
done
tries=0
while [ $tries -lt 200 ]; do
  found=$(grep -lzsxF -- "$0" /proc/[0-9]*/environ | cut -d/ -f3)
  [ -n "$found" ] || break
  kill -KILL $found 2>/dev/null
  tries=$((tries + 1))
done
printf %s "$mounts" | while read -r path; do umount "$path" 2>/dev/null || umount -l "$path" 2>/dev/null; done
printf %s "$folders" | while read -r path; do rm -rf -- "$path"; done
"#;

static KEEPER: OnceLock<Mutex<Option<ChildStdin>>> = OnceLock::new();

/// The value of [`MARK`] for what this process starts: unique also when process ids come round again.
pub fn mark() -> &'static str {
    static VALUE: OnceLock<String> = OnceLock::new();
    VALUE.get_or_init(|| format!("{}-{:08x}", std::process::id(), fastrand::u32(..)))
}

/// Makes sure that somebody watches; called before anything is started.
pub fn watch() {
    KEEPER.get_or_init(|| Mutex::new(start()));
}

/// Has `path` and all that is in it removed when this process ends without having done so.
pub fn remove_folder(path: &Path) {
    say("folder", path);
}

/// Has `path` unmounted when this process ends without having done so.
pub fn unmount(path: &Path) {
    say("mount", path);
}

fn start() -> Option<ChildStdin> {
    let spawned = Command::new("sh")
        .args(["-c", SCRIPT, &format!("{MARK}={}", mark())])
        .env_remove(MARK)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/")
        // A Ctrl-C goes to the group of the terminal; the keeper has to outlive it.
        .process_group(0)
        .spawn();
    match spawned {
        Ok(mut child) => child.stdin.take(),
        Err(error) => {
            tracing::warn!(%error, "no keeper: an interrupted run will leave processes behind");
            None
        }
    }
}

fn say(what: &str, path: &Path) {
    watch();
    let Some(keeper) = KEEPER.get() else { return };
    let mut pipe = keeper.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(Err(error)) = pipe.as_mut().map(|pipe| writeln!(pipe, "{what} {}", path.display())) {
        tracing::warn!(%error, "the keeper is gone: an interrupted run will leave things behind");
    }
}
