//! What is made once and used by many images: made by whoever needs it first while the others wait, the least recently used
//! given up when there are too many. A refusal is kept for a while, so that not every image pays for it again.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;

/// How long a refusal counts.
const REFUSED_FOR: Duration = Duration::from_secs(30);

/// Why there is nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure<Refusal, Trouble> {
    /// It cannot be made, for anybody.
    Refused(Refusal),
    /// This once.
    Trouble(Trouble),
}

type Slot<V, R> = Arc<OnceCell<(Instant, Result<V, R>)>>;

/// Things by key.
pub(super) struct Shelf<K, V, R> {
    limit: usize,
    kept: Mutex<Kept<K, V, R>>,
}

struct Kept<K, V, R> {
    uses: u64,
    slots: HashMap<K, (u64, Slot<V, R>)>,
}

impl<K: Hash + Eq + Clone, V: Clone, R: Clone> Shelf<K, V, R> {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), kept: Mutex::new(Kept { uses: 0, slots: HashMap::new() }) }
    }

    /// What is there, or what `make` makes.
    pub(super) async fn get_or_make<T, F>(
        &self,
        key: &K,
        make: impl FnOnce() -> F,
    ) -> Result<V, Failure<R, T>>
    where
        F: Future<Output = Result<V, Failure<R, T>>>,
    {
        let slot = self.slot(key);
        let made = slot.get_or_try_init(async || match make().await {
            Ok(value) => Ok((Instant::now(), Ok(value))),
            Err(Failure::Refused(why)) => Ok((Instant::now(), Err(why))),
            Err(Failure::Trouble(why)) => Err(Failure::Trouble(why)),
        });
        made.await?.1.clone().map_err(Failure::Refused)
    }

    fn slot(&self, key: &K) -> Slot<V, R> {
        let mut kept = self.lock();
        kept.uses += 1;
        let now = kept.uses;
        if let Some((used, slot)) = kept.slots.get_mut(key) {
            *used = now;
            let is_old = |(at, made): &(Instant, Result<V, R>)| made.is_err() && at.elapsed() >= REFUSED_FOR;
            if slot.get().is_some_and(is_old) {
                *slot = Slot::default();
            }
            return Arc::clone(slot);
        }
        if kept.slots.len() >= self.limit {
            let oldest = kept.slots.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| key.clone());
            // Images that are under way hold what they need.
            oldest.and_then(|oldest| kept.slots.remove(&oldest));
        }
        let slot = Slot::default();
        kept.slots.insert(key.clone(), (now, Arc::clone(&slot)));
        slot
    }

    fn lock(&self) -> MutexGuard<'_, Kept<K, V, R>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn each_thing_is_made_once_and_trouble_is_not_kept() {
        let shelf: Shelf<u32, u32, &str> = Shelf::new(2);
        let made = AtomicU32::new(0);
        let make = |value| {
            made.fetch_add(1, Ordering::Relaxed);
            async move { value }
        };
        let trouble: Result<u32, Failure<&str, &str>> = Err(Failure::Trouble("door"));
        assert_eq!(shelf.get_or_make(&1, || make(trouble.clone())).await, trouble);
        let fine: Result<u32, Failure<&str, &str>> = Ok(7);
        for _ in 0..2 {
            assert_eq!(shelf.get_or_make(&1, || make(fine.clone())).await, fine);
        }
        let refused: Result<u32, Failure<&str, &str>> = Err(Failure::Refused("no"));
        for _ in 0..2 {
            assert_eq!(shelf.get_or_make(&2, || make(refused.clone())).await, refused);
        }
        assert_eq!(made.load(Ordering::Relaxed), 3);
        // A third pushes out the one used longest ago.
        shelf.get_or_make(&3, || make(fine.clone())).await.unwrap();
        shelf.get_or_make(&2, || make(fine.clone())).await.unwrap_err();
        shelf.get_or_make(&1, || make(fine.clone())).await.unwrap();
        assert_eq!(made.load(Ordering::Relaxed), 5);
    }
}
