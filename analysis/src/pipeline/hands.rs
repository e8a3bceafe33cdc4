//! Parts of one piece of work, done by several threads at once. Which thread does which part is chance: no outcome may depend on it.

use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::places::PLACES;

/// Has all parts done by so many threads, this one among them. One that cannot be started is done without; a part's panic is this
/// thread's.
pub(super) fn side_by_side<T: Send>(hands: usize, parts: Vec<T>, work: impl Fn(T) + Sync) {
    let helpers = hands.min(parts.len()).saturating_sub(1);
    let left = Mutex::new(parts.into_iter());
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
    let hand = || {
        while let Some(part) = next() {
            work(part);
        }
    };
    if helpers == 0 {
        return hand();
    }
    let _here = PLACES.stay();
    let helper = || {
        let _elsewhere = PLACES.take();
        hand();
    };
    thread::scope(|scope| {
        let start = |_| thread::Builder::new().name("hand".to_owned()).spawn_scoped(scope, helper).ok();
        let helpers: Vec<_> = (0..helpers).filter_map(start).collect();
        // Those that begin beside this one go away from here, for which they have to have begun.
        thread::yield_now();
        hand();
        for helper in helpers {
            helper.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
    });
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn each_part_is_done_once_by_however_many() {
        for hands in [0, 1, 2, 7] {
            let mut done = vec![0; 5];
            side_by_side(hands, done.iter_mut().collect(), |part| *part += 1);
            assert_eq!(done, [1; 5], "{hands} threads");
        }
        side_by_side(3, Vec::<()>::new(), |()| unreachable!("there is nothing to do"));
    }

    #[test]
    fn they_do_it_at_once() {
        // Each waits for the other one: alone nobody would come back.
        let both = Barrier::new(2);
        side_by_side(2, vec![(), ()], |()| {
            both.wait();
        });
    }

    #[test]
    fn a_panic_is_told_with_its_words_when_the_others_are_done() {
        let done = AtomicU32::new(0);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let both = Barrier::new(2);
            side_by_side(2, vec![true, false], |bad| {
                both.wait();
                assert!(!bad, "a part is bad");
                done.fetch_add(1, Ordering::Relaxed);
            });
        }));
        assert_eq!(outcome.unwrap_err().downcast_ref(), Some(&"a part is bad"));
        assert_eq!(done.load(Ordering::Relaxed), 1);
    }
}
