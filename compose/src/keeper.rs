//! Sees to it that an interrupted program leaves nothing behind: a small shell that waits for this process's end, however
//! it ends (also SIGKILL, also a panic that aborts), and then removes what was started: containers, processes, mounts, folders.
//! It finds processes by a mark in their environment, so it also finds what they forked. It touches nothing without the mark.
//! The Docker engine, which several such programs may use, has a mark of its own, and the last of them ends it.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

/// The environment variable that everything started by us carries; its value names the starting process.
pub const MARK: &str = "LIGHTRAIL_STARTED_BY";

/// Lines come in as `folder PATH` and so on; the end of the input is the end of our process.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
folders=; mounts=; containers=; engine=
while read -r what path; do
  case $what in
    folder) folders="$folders$path
" ;;
    mount) mounts="$mounts$path
" ;;
    container) containers="$containers $path" ;;
    engine) engine=$path ;;
  esac
done
[ -z "$containers" ] || docker rm --force --volumes $containers
tries=0
while [ $tries -lt 200 ]; do
  found=$(grep -lzsxF -- "$0" /proc/[0-9]*/environ | cut -d/ -f3)
  [ -n "$found" ] || break
  kill -KILL $found 2>/dev/null
  tries=$((tries + 1))
done
printf %s "$mounts" | while read -r path; do umount "$path" 2>/dev/null || umount -l "$path" 2>/dev/null; done
printf %s "$folders" | while read -r path; do rm -rf --one-file-system -- "$path"; done
[ -z "$engine" ] || flock --exclusive --wait 5 "$engine" sh -c '
[ -z "$(docker ps --quiet)" ] || exit
for pid in $(grep -lzsxF -- "$0" /proc/[0-9]*/environ | cut -d/ -f3); do
  [ "$(cat "/proc/$pid/comm")" = dockerd ] && kill -TERM "$pid" && while kill -0 "$pid"; do sleep 0.1; done
done' "$1"
"#;

/// What an engine that we started has in its environment, and nothing else that we start.
pub const ENGINE_MARK: (&str, &str) = ("LIGHTRAIL_ENGINE", "ours");

/// The environment variable by which `./test` ends what a suite has left. What outlives a suite on purpose does not carry it.
pub const RUN: &str = "LIGHTRAIL_RUN";

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
    say("folder", path.display());
}

/// Has `path` unmounted when this process ends without having done so.
pub fn unmount(path: &Path) {
    say("mount", path.display());
}

/// Has a container removed when this process ends without having done so.
pub fn remove_container(name: &str) {
    say("container", name);
}

/// Has an engine with [`ENGINE_MARK`] ended after this process, unless somebody else has a container in it or a lock on this
/// file by then: who uses an engine has a shared one, and the last who does ends it.
pub fn end_engine(lock: &Path) {
    say("engine", lock.display());
}

fn start() -> Option<ChildStdin> {
    let (engine, ours) = ENGINE_MARK;
    let spawned = Command::new("sh")
        .args(["-c", SCRIPT, &format!("{MARK}={}", mark()), &format!("{engine}={ours}")])
        .env_remove(MARK)
        .env_remove(RUN)
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

fn say(what: &str, about: impl std::fmt::Display) {
    watch();
    let Some(keeper) = KEEPER.get() else { return };
    let mut pipe = keeper.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(Err(error)) = pipe.as_mut().map(|pipe| writeln!(pipe, "{what} {about}")) {
        tracing::warn!(%error, "the keeper is gone: an interrupted run will leave things behind");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::time::Duration;

    use super::*;
    use crate::loopfs::LoopFs;
    use crate::process::{Proc, Start, marked};
    use crate::scratch::Scratch;
    use crate::xrootd::{Cluster, ClusterOptions};
    use crate::{ports, wait};

    /// Where the one that will be killed writes what it has started. Set: this process is that one.
    const VICTIM: &str = "LIGHTRAIL_TEST_VICTIM";
    const LIMIT: Duration = Duration::from_secs(60);

    /// Starts a bit of everything, tells of it and waits to be killed.
    async fn be_killed(report: &Path) {
        let scratch = Scratch::new().unwrap();
        // A grandchild in a session of its own, as hard to find as they come.
        let script = ["-c", "setsid sleep 3600 & wait"];
        let _proc = Proc::start(Start::new("sh", "sh", scratch.path()).args(script)).unwrap();
        let _disk = LoopFs::create(scratch.path(), 8).ok();
        let _port = ports::Port::take().unwrap();
        let cluster = Cluster::start(ClusterOptions::separate("SLAC")).await.unwrap();
        let text = format!("{}\n{}\n{}", mark(), scratch.path().display(), cluster.folder().display());
        std::fs::write(report.with_extension("new"), text).unwrap();
        std::fs::rename(report.with_extension("new"), report).unwrap();
        std::future::pending::<()>().await;
    }

    #[tokio::test]
    async fn a_killed_suite_leaves_no_process_no_folder_and_no_mount() {
        if let Some(report) = std::env::var_os(VICTIM) {
            be_killed(Path::new(&report)).await;
        }
        let scratch = Scratch::new().unwrap();
        let report = scratch.path().join("report");
        let name = "keeper::tests::a_killed_suite_leaves_no_process_no_folder_and_no_mount";
        let mut suite = Command::new(std::env::current_exe().unwrap());
        suite.args(["--exact", name, "--nocapture"]).env(VICTIM, &report);
        let mut suite = suite.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let told = wait::until("the suite to start its parts", LIMIT, async || {
            std::fs::read_to_string(&report).ok()
        });
        let told = told.await.unwrap();
        let [mark, folder, cluster] = told.lines().collect::<Vec<_>>().try_into().unwrap();
        let variable = format!("{MARK}={mark}");
        // setsid's sleep, its shell, and two daemons per server and for the redirector.
        let started = wait::until("all of it to run", LIMIT, async || {
            let found = marked(&variable);
            (found.len() >= 8).then_some(found.len())
        });
        println!("{} processes run", started.await.unwrap());

        suite.kill().unwrap();
        assert_eq!(suite.wait().unwrap().signal(), Some(9));
        wait::until("all of it to be gone", LIMIT, async || {
            let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
            let gone = marked(&variable).is_empty()
                && !Path::new(folder).exists()
                && !Path::new(cluster).exists()
                && !mounts.contains(folder);
            gone.then_some(())
        })
        .await
        .unwrap();
    }
}
