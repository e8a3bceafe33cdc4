//! The place where images lie, as reads see it: after some failures in a row that are not a file's own it counts as away,
//! and stays away until it has answered again. Counts; whoever asks it acts.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::source::{Location, Source};

/// When a place counts as away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patience {
    /// Failures in a row, of whichever files.
    pub(super) failures: u32,
    /// How often one file is tried while others are read well.
    pub(super) tries: u32,
    /// Between two tries, and between two looks whether the place is back.
    pub(super) pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { failures: 4, tries: 8, pause: Duration::from_secs(1) }
    }
}

/// How a place has answered.
#[derive(Debug)]
pub(super) struct Door {
    patience: Patience,
    in_a_row: AtomicU32,
}

impl Door {
    pub(super) fn new(patience: Patience) -> Self {
        Self { patience, in_a_row: AtomicU32::new(0) }
    }

    /// It has answered.
    pub(super) fn answered(&self) {
        self.in_a_row.store(0, Ordering::Relaxed);
    }

    /// It has not, at the `tries`th try of a file; true when it counts as away.
    pub(super) fn failed(&self, tries: u32) -> bool {
        let in_a_row = self.in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
        in_a_row >= self.patience.failures || tries >= self.patience.tries
    }

    pub(super) fn pause(&self) -> Duration {
        self.patience.pause
    }
}

/// Waits until a file can be asked for again, whatever is then said of it.
pub(super) async fn until_back(source: &Source, file: &Location, pause: Duration) {
    loop {
        match source.size(file).await {
            Err(error) if !error.concerns_file() => tracing::debug!(%file, %error, "still away"),
            _ => return,
        }
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_or_of_one_file_make_a_place_away() {
        let door = Door::new(Patience { failures: 3, tries: 5, ..Patience::default() });
        assert_eq!([door.failed(1), door.failed(1), door.failed(1)], [false, false, true]);
        door.answered();
        assert!(!door.failed(4));
        door.answered();
        assert!(door.failed(5), "others are read well, this one never");
    }
}
