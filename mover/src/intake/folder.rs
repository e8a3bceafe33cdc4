//! Intake from a folder without logbook: what a scan of it tells of runs and files. [`Folder`] decides (pure);
//! [`watch`] scans, now and then and when the system says that something changed. NFS and Lustre do not notify, so the
//! scan alone must do. Never writes to the folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lightrail_topics::events::{ClosedBy, Registration};
use lightrail_topics::{Lfn, Millis, RunKey};
use notify::Watcher as _;
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::config::Watch;
use crate::owner::Input;

/// One file as a scan sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The file, by the name that it has once its writer is done.
    pub lfn: Lfn,
    /// Bytes.
    pub size: u64,
    /// Modification time, seconds since 1970.
    pub mtime: i64,
    /// Whether it still has the name `.inprogress`.
    pub in_progress: bool,
}

/// What a scan tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A file is there, or has changed. `whole`: its writer is done with it. `old`: found by the first scan.
    File {
        /// Its run.
        run: RunKey,
        /// The file.
        lfn: Lfn,
        /// Size and modification time, where the file is complete.
        registration: Registration,
        /// Whether `.inprogress` is gone.
        whole: bool,
        /// Whether it was there before the mover looked for the first time.
        old: bool,
    },
    /// A run takes no more data.
    Closed(RunKey, ClosedBy),
}

/// What is known of a folder from scan to scan.
#[derive(Debug)]
pub struct Folder {
    quiet: Duration,
    runs: BTreeMap<RunKey, RunSeen>,
    scans: u64,
}

#[derive(Debug)]
struct RunSeen {
    files: BTreeMap<Lfn, (Seen, bool)>,
    changed: Millis,
    closed: bool,
    old: bool,
}

impl Folder {
    /// Nothing is known yet. A run without a change for `quiet` is closed.
    pub fn new(quiet: Duration) -> Self {
        Self { quiet, runs: BTreeMap::new(), scans: 0 }
    }

    /// What a whole scan tells that the ones before did not. Files without a run in their name are no business of ours.
    pub fn scan(&mut self, found: Vec<Seen>, now: Millis) -> Vec<News> {
        let first = self.scans == 0;
        self.scans += 1;
        let mut news = Vec::new();
        for seen in found {
            let Some(number) = seen.lfn.run() else { continue };
            let key = RunKey { experiment: seen.lfn.experiment(), run: number };
            let fresh = || RunSeen { files: BTreeMap::new(), changed: now, closed: false, old: first };
            let run = self.runs.entry(key.clone()).or_insert_with(fresh);
            let before = run.files.get(&seen.lfn);
            let changed = before.is_none_or(|(known, _)| *known != seen);
            if !changed {
                continue;
            }
            run.changed = now;
            let finished = before.is_some_and(|(known, _)| known.in_progress) && !seen.in_progress;
            if before.is_none() || finished {
                news.push(News::File {
                    run: key,
                    lfn: seen.lfn.clone(),
                    registration: Registration::default(),
                    whole: finished,
                    old: run.old,
                });
            }
            run.files.insert(seen.lfn.clone(), (seen, false));
        }
        let newest = self.runs.keys().next_back().cloned();
        for (key, run) in &mut self.runs {
            let next_came =
                newest.as_ref().is_some_and(|newest| newest.experiment == key.experiment && newest > key);
            let quiet = now.since(run.changed) >= self.quiet;
            let writing = run.files.values().any(|(seen, _)| seen.in_progress);
            let done = (quiet || (next_came && !run.closed)) && !writing;
            if !done {
                continue;
            }
            // Complete: size and time are the generation's, and said once.
            for (seen, said) in run.files.values_mut().filter(|(_, said)| !said) {
                *said = true;
                news.push(News::File {
                    run: key.clone(),
                    lfn: seen.lfn.clone(),
                    registration: Registration {
                        size: Some(seen.size),
                        mtime: Some(seen.mtime),
                        ..Registration::default()
                    },
                    whole: true,
                    old: run.old,
                });
            }
            if !run.closed {
                run.closed = true;
                let by = if next_came { ClosedBy::NextRunsFiles } else { ClosedBy::QuietTime };
                news.push(News::Closed(key.clone(), by));
            }
        }
        news
    }
}

/// Watches one folder until the owner ends.
pub async fn watch(watch: Watch, clock: std::sync::Arc<dyn Clock>, inputs: mpsc::Sender<Input>) {
    let mut folder = Folder::new(watch.quiet);
    let (wake, mut woken) = mpsc::channel(1);
    // Kept alive as long as the folder is watched. Without notifications the scan does.
    let _notifier = notifier(&watch.folder, wake);
    loop {
        let (root, prefix) = (watch.folder.clone(), format!("/{}/{}", watch.instrument, watch.experiment));
        match tokio::task::spawn_blocking(move || list(&root, &prefix)).await {
            Ok(Ok(found)) => {
                for news in folder.scan(found, clock.now()) {
                    let input = match news {
                        News::File { run, lfn, registration, whole, old } => {
                            Input::Found { run, lfn, registration, whole, old }
                        }
                        News::Closed(run, by) => Input::Quiet(run, by),
                    };
                    if inputs.send(input).await.is_err() {
                        return;
                    }
                }
            }
            Ok(Err(error)) => {
                tracing::warn!(folder = %watch.folder.display(), %error, "folder cannot be scanned; it is tried again");
            }
            Err(error) => tracing::error!(%error, "scan failed"),
        }
        // A burst of notifications is one scan, and never more than some a second.
        let pause = Duration::from_millis(200).min(watch.scan);
        tokio::time::sleep(pause).await;
        tokio::select! {
            () = tokio::time::sleep(watch.scan) => {}
            _ = woken.recv() => {}
        }
    }
}

fn notifier(folder: &Path, wake: mpsc::Sender<()>) -> Option<notify::RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |_| {
        let _ = wake.try_send(());
    })
    .ok()?;
    match watcher.watch(folder, notify::RecursiveMode::Recursive) {
        Ok(()) => Some(watcher),
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "no notifications from this folder; it is scanned");
            None
        }
    }
}

/// Everything in an experiment's folder that is named as an LFN can be.
fn list(root: &Path, prefix: &str) -> std::io::Result<Vec<Seen>> {
    let mut found = Vec::new();
    let mut folders: Vec<(PathBuf, String)> = Vec::new();
    for area in ["xtc", "hdf5", "cbf"] {
        folders.push((root.join(area), format!("{prefix}/{area}")));
    }
    for below in ["smalldata", "index", "md5"] {
        folders.push((root.join("xtc").join(below), format!("{prefix}/xtc/{below}")));
    }
    std::fs::metadata(root)?;
    for (path, prefix) in folders {
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            // One that vanished meanwhile is seen by the next scan.
            let Ok(meta) = entry.metadata() else { continue };
            if !meta.is_file() {
                continue;
            }
            let name = entry.file_name();
            let Some(lfn) = name.to_str().and_then(|name| format!("{prefix}/{name}").parse::<Lfn>().ok())
            else {
                continue;
            };
            let in_progress = lfn.is_in_progress();
            let mtime = std::os::unix::fs::MetadataExt::mtime(&meta);
            found.push(Seen { lfn: lfn.finished(), size: meta.len(), mtime, in_progress });
        }
    }
    found.sort_by(|a, b| a.lfn.cmp(&b.lfn).then(b.in_progress.cmp(&a.in_progress)));
    // A final name beside its `.inprogress` is an older copy: the writer is not done.
    found.dedup_by(|next, kept| next.lfn == kept.lfn);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(name: &str, size: u64, in_progress: bool) -> Seen {
        Seen { lfn: format!("/mfx/mfxl1/xtc/mfxl1-{name}").parse().unwrap(), size, mtime: 5, in_progress }
    }

    fn words(news: &[News]) -> Vec<String> {
        news.iter()
            .map(|news| match news {
                News::File { lfn, registration, whole, .. } => {
                    let size = registration.size.map_or("-".to_owned(), |size| size.to_string());
                    format!("{} {size}{}", lfn.file_name(), if *whole { " whole" } else { "" })
                }
                News::Closed(run, by) => format!("{run} closed {by:?}"),
            })
            .collect()
    }

    #[test]
    fn growing_files_are_named_at_once_and_sized_when_their_run_is_quiet() {
        let mut folder = Folder::new(Duration::from_secs(60));
        let at = |seconds: i64| Millis(seconds * 1000);
        let one = "r0001-s000-c000.xtc2";
        assert_eq!(words(&folder.scan(vec![seen(one, 1, false)], at(0))), [format!("mfxl1-{one} -")]);
        assert!(folder.scan(vec![seen(one, 2, false)], at(50)).is_empty());
        assert!(folder.scan(vec![seen(one, 2, false)], at(100)).is_empty());
        assert_eq!(
            words(&folder.scan(vec![seen(one, 2, false)], at(110))),
            [format!("mfxl1-{one} 2 whole"), "mfxl1/1 closed QuietTime".to_owned()]
        );
        assert!(folder.scan(vec![seen(one, 2, false)], at(999)).is_empty());
        // Written again after that: said anew once it is quiet.
        assert!(folder.scan(vec![seen(one, 3, false)], at(1000)).is_empty());
        assert_eq!(
            words(&folder.scan(vec![seen(one, 3, false)], at(1060))),
            [format!("mfxl1-{one} 3 whole")]
        );
    }

    #[test]
    fn the_next_runs_files_close_a_run_but_not_while_one_of_its_files_is_in_progress() {
        let mut folder = Folder::new(Duration::from_secs(60));
        let (one, two) = ("r0001-s000-c000.xtc2", "r0002-s000-c000.xtc2");
        folder.scan(vec![seen(one, 1, true)], Millis(0));
        let both = vec![seen(one, 1, true), seen(two, 1, true)];
        assert_eq!(words(&folder.scan(both, Millis(1000))), [format!("mfxl1-{two} -")]);
        let done = vec![seen(one, 1, false), seen(two, 1, true)];
        assert_eq!(
            words(&folder.scan(done, Millis(2000))),
            [
                format!("mfxl1-{one} - whole"),
                format!("mfxl1-{one} 1 whole"),
                "mfxl1/1 closed NextRunsFiles".to_owned()
            ]
        );
    }
}
