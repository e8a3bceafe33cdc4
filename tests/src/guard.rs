//! Watches a destination's store while a case runs, and remembers every size that a final name was seen with: a file that
//! grows under its final name is seen. Reads names and sizes only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Sizes by path.
pub type Sizes = BTreeMap<PathBuf, BTreeSet<u64>>;

/// Short beside the time that a copy of some megabytes takes.
const BETWEEN_LOOKS: Duration = Duration::from_millis(15);

/// A thread that looks at a store again and again.
#[derive(Debug)]
pub struct Guard {
    seen: Arc<Mutex<Sizes>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Guard {
    /// Begins to look.
    #[expect(
        clippy::disallowed_methods,
        reason = "nothing is waited for: it looks now and then until it is dropped"
    )]
    pub fn over(store: PathBuf) -> Self {
        let (seen, ended) = (Arc::new(Mutex::new(Sizes::new())), Arc::new(AtomicBool::new(false)));
        let (sizes, end) = (Arc::clone(&seen), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                for (path, size) in files_below(&store) {
                    if !is_hidden(&path) {
                        sizes
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .entry(path)
                            .or_default()
                            .insert(size);
                    }
                }
                std::thread::sleep(BETWEEN_LOOKS);
            }
        });
        Self { seen, ended, thread: Some(thread) }
    }

    /// What was seen so far.
    pub fn sizes(&self) -> Sizes {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Whether the name begins with a dot, as those of copies under way do.
pub fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

/// All files below a folder with their sizes; what goes meanwhile is left out.
pub fn files_below(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(about) if about.is_dir() => folders.push(entry.path()),
                Ok(about) => found.push((entry.path(), about.len())),
                Err(_) => {}
            }
        }
    }
    found
}
