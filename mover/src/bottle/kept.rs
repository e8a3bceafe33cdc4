//! The journal of a life: the world's rows, and a step for each commit and each flush. Knows what is flushed, so that
//! others can be held against it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lightrail_topics::RunKey;

use super::world::{Life, World};
use crate::journal::{
    Compacted, Header, Journal, JournalError, MemoryJournal, Opened, Room, RowKind, RunRows,
};
use crate::ledger::rows::{Row, RowKey, Write};

/// A life's hand on the journal.
#[derive(Debug)]
pub(super) struct Kept {
    world: Arc<World>,
    life: Life,
    rows: Arc<Mutex<MemoryJournal>>,
}

impl Kept {
    pub(super) fn new(world: &Arc<World>, life: &Life) -> Self {
        let rows = world.lock().journal.clone();
        Self { world: world.clone(), life: life.clone(), rows }
    }

    fn rows(&self) -> MutexGuard<'_, MemoryJournal> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dead(doing: &'static str) -> JournalError {
        let source = Box::new(std::io::Error::other("its process is dead"));
        JournalError::Disk { folder: "(bottle)".into(), doing, source }
    }
}

impl Journal for Kept {
    fn commit(&mut self, writes: &[Write]) -> Result<(), JournalError> {
        let (mut positions, mut ids) = (Vec::new(), Vec::new());
        for write in writes {
            match write {
                Write::Put(Row::Position(key, next)) => positions.push((key.clone(), *next)),
                Write::Put(Row::Outbox(_, message)) => {
                    if let Err(wrong) = self.world.check_announced(message) {
                        self.world.fail(wrong);
                    }
                    ids.push(message.headers.id.clone());
                }
                _ => {}
            }
        }
        let rows = self.rows.clone();
        let words = || format!("commits {} rows, says {}", writes.len(), ids.join(", "));
        let noted = (positions.clone(), ids.clone());
        let done = self.world.act(&self.life, words, |state| {
            let done = rows.lock().unwrap_or_else(PoisonError::into_inner).commit(writes);
            if done.is_ok() && !writes.is_empty() {
                state.unflushed.push(noted);
            }
            done
        });
        done.unwrap_or_else(|| Err(Self::dead("wrote")))
    }

    fn flush(&mut self) -> Result<(), JournalError> {
        let rows = self.rows.clone();
        let done = self.world.act(
            &self.life,
            || "flushes".to_owned(),
            |state| {
                let done = rows.lock().unwrap_or_else(PoisonError::into_inner).flush();
                if done.is_ok() {
                    state.keep_flushed(usize::MAX);
                }
                done
            },
        );
        done.unwrap_or_else(|| Err(Self::dead("flushed")))
    }

    fn scan(&self, kind: RowKind, each: &mut dyn FnMut(Row)) -> Result<(), JournalError> {
        self.rows().scan(kind, each)
    }

    fn get(&self, key: &RowKey) -> Result<Option<Row>, JournalError> {
        self.rows().get(key)
    }

    fn run(&self, key: &RunKey) -> Result<Option<RunRows>, JournalError> {
        self.rows().run(key)
    }

    fn header(&self) -> Header {
        self.rows().header()
    }

    fn room(&self) -> Result<Room, JournalError> {
        self.rows().room()
    }

    fn reopen(&mut self) -> Result<Opened, JournalError> {
        self.rows().reopen()
    }

    fn compact_if_needed(&mut self) -> Result<Compacted, JournalError> {
        self.flush()?;
        Ok(Compacted::NotNeeded { bytes: 0 })
    }
}

impl super::world::State {
    /// Of the commits since the last flush the oldest `kept` are safe, the others are not there any more.
    pub(super) fn keep_flushed(&mut self, kept: usize) {
        for (positions, ids) in std::mem::take(&mut self.unflushed).into_iter().take(kept) {
            self.positions.extend(positions);
            self.flushed.extend(ids);
        }
    }

    /// The process has died: of what was not flushed a part is lost. Or the folder is.
    pub(super) fn journal_after_death(&mut self, lose: bool) {
        let journal = self.journal.clone();
        let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
        if lose {
            let id = self.rng.u64(..);
            journal.lose(id);
            self.unflushed.clear();
            self.positions.clear();
            self.wishes_lost = true;
            return;
        }
        let kept = self.rng.usize(0..=journal.unflushed());
        journal.crash(kept);
        self.keep_flushed(kept);
    }
}
