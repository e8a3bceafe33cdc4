//! At which processors this process's threads work on images, so that two of them share none while another one is free. A scheduler
//! that puts what is begun or woken beside who has begun it, or that packs a machine that is little used, has them share one for
//! milliseconds: as long as an image takes. Binds nobody for longer than the way there takes; does nothing about other processes.

use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// How many work at each processor, by its number.
pub(crate) struct Places([AtomicU32; CpuSet::MAX_CPU]);

/// A thread that works, until it is dropped.
pub(crate) struct Place<'a>(Option<&'a AtomicU32>);

/// Those of this process.
pub(crate) static PLACES: Places = Places::new();

impl Places {
    const fn new() -> Self {
        Self([const { AtomicU32::new(0) }; CpuSet::MAX_CPU])
    }

    /// This thread works where it is.
    pub(crate) fn stay(&self) -> Place<'_> {
        let here = self.0.get(sched_getcpu());
        here.inspect(|here| {
            here.fetch_add(1, Ordering::Relaxed);
        });
        Place(here)
    }

    /// This thread works, and first goes where nobody does, if there is such a processor among those that it may use.
    pub(crate) fn take(&self) -> Place<'_> {
        let is_free =
            |place: &&AtomicU32| place.compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if let Some(here) = self.0.get(sched_getcpu()).filter(is_free) {
            return Place(Some(here));
        }
        // Where nobody says what may be used (more processors than a set holds), it stays.
        let Ok(allowed) = sched_getaffinity(None) else { return self.stay() };
        let mut others = self.0.iter().enumerate().filter(|(number, _)| allowed.is_set(*number));
        let Some((number, place)) = others.find(|(_, place)| is_free(place)) else { return self.stay() };
        let mut there = CpuSet::new();
        there.set(number);
        if let Err(error) = sched_setaffinity(None, &there).and_then(|()| sched_setaffinity(None, &allowed)) {
            tracing::debug!(%error, number, "cannot go to a processor that is free");
        }
        Place(Some(place))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.0 {
            place.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    /// Which places so many threads have that take one at once; each may still go wherever it might before.
    fn taken(places: &Places, threads: usize) -> Vec<usize> {
        let allowed = sched_getaffinity(None).unwrap();
        let all = Barrier::new(threads);
        let take = || {
            let place = places.take();
            all.wait();
            assert_eq!(sched_getaffinity(None).unwrap(), allowed, "nobody stays bound");
            std::ptr::from_ref(place.0.unwrap()).addr()
        };
        let mut taken: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        taken.sort_unstable();
        taken.dedup();
        taken
    }

    #[test]
    fn no_two_threads_share_a_processor_while_another_one_is_free() {
        let (places, processors) = (Places::new(), sched_getaffinity(None).unwrap().count() as usize);
        for _ in 0..100 {
            assert_eq!(taken(&places, processors).len(), processors);
        }
        let most = taken(&places, processors + 1).len();
        assert!(most <= processors, "more threads than processors share");
        assert!(places.0.iter().all(|place| place.load(Ordering::Relaxed) == 0), "all have gone");
    }

    #[test]
    fn who_may_go_nowhere_else_stays() {
        let (places, here) = (Places::new(), sched_getcpu());
        thread::scope(|scope| {
            let bound = scope.spawn(|| {
                let mut only = CpuSet::new();
                only.set(here);
                sched_setaffinity(None, &only).unwrap();
                let (first, second) = (places.take(), places.take());
                assert_eq!(places.0[here].load(Ordering::Relaxed), 2);
                drop((first, second));
            });
            bound.join().unwrap();
        });
        assert_eq!(places.0[here].load(Ordering::Relaxed), 0);
    }
}
