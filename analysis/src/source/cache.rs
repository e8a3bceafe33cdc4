//! The files kept open: the least recently used one is closed when there are too many. A file is opened once, however many
//! ask for it at the same time.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::{Handle, Location, SourceError};

type Slot = Arc<OnceCell<Arc<dyn Handle>>>;

pub(super) struct Cache {
    limit: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    uses: u64,
    slots: HashMap<Location, (u64, Slot)>,
}

impl Cache {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), kept: Mutex::default() }
    }

    /// The open file; whoever asks first opens it, and a failure to do so is not kept.
    pub(super) async fn get_or_open<F>(
        &self,
        file: &Location,
        open: impl FnOnce() -> F,
    ) -> Result<Arc<dyn Handle>, SourceError>
    where
        F: Future<Output = Result<Arc<dyn Handle>, SourceError>>,
    {
        let slot = self.slot(file);
        slot.get_or_try_init(open).await.map(Arc::clone)
    }

    pub(super) fn forget(&self, file: &Location) {
        self.lock().slots.remove(file);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().slots.len()
    }

    fn slot(&self, file: &Location) -> Slot {
        let mut kept = self.lock();
        kept.uses += 1;
        let now = kept.uses;
        if let Some((used, slot)) = kept.slots.get_mut(file) {
            *used = now;
            return Arc::clone(slot);
        }
        if kept.slots.len() >= self.limit {
            let oldest = kept.slots.iter().min_by_key(|(_, (used, _))| *used).map(|(file, _)| file.clone());
            // Reads that are under way hold the file until they are done.
            oldest.and_then(|oldest| kept.slots.remove(&oldest));
        }
        let slot = Slot::default();
        kept.slots.insert(file.clone(), (now, Arc::clone(&slot)));
        slot
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
