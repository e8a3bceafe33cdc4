//! How many records wait in a taker's channel, and the wait until half of them are gone. Holds no record.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Records sent and not yet asked for.
#[derive(Debug)]
pub(super) struct Waiting {
    capacity: usize,
    records: Mutex<usize>,
    half_empty: Condvar,
}

impl Waiting {
    /// None, of at most so many.
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, records: Mutex::new(0), half_empty: Condvar::new() }
    }

    /// One was sent.
    pub(super) fn one_more(&self) {
        *self.records() += 1;
    }

    /// One was taken.
    pub(super) fn one_less(&self) {
        let mut records = self.records();
        *records -= 1;
        if *records == self.capacity / 2 {
            self.half_empty.notify_all();
        }
    }

    /// Whether as many wait as may.
    pub(super) fn is_full(&self) -> bool {
        *self.records() >= self.capacity
    }

    /// Whether no more than half of them wait.
    pub(super) fn is_half_empty(&self) -> bool {
        *self.records() <= self.capacity / 2
    }

    /// Where as many wait as may: until half of them are gone, but no longer than that.
    pub(super) fn wait_for_room(&self, limit: Duration) {
        let records = self.records();
        if *records >= self.capacity {
            let more = |records: &mut usize| *records > self.capacity / 2;
            drop(self.half_empty.wait_timeout_while(records, limit, more));
        }
    }

    fn records(&self) -> MutexGuard<'_, usize> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn who_waits_for_room_has_it_when_half_are_gone() {
        let waiting = Arc::new(Waiting::new(8));
        (0..8).for_each(|_| waiting.one_more());
        assert!(waiting.is_full());
        let taker = waiting.clone();
        let takes = std::thread::spawn(move || (0..4).for_each(|_| taker.one_less()));
        waiting.wait_for_room(Duration::from_secs(60));
        assert!(waiting.is_half_empty());
        takes.join().unwrap();
    }

    #[test]
    fn who_takes_nothing_is_not_waited_for_longer_than_the_limit() {
        let waiting = Waiting::new(2);
        waiting.wait_for_room(Duration::from_secs(3600));
        (0..2).for_each(|_| waiting.one_more());
        waiting.wait_for_room(Duration::from_millis(1));
        assert!(waiting.is_full() && !waiting.is_half_empty());
    }
}
