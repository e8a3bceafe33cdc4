//! When is planned: as soon as what comes together has come, at once after a step of our own, and now and then for what follows from
//! the time alone. Pure: instants are arguments.

use std::time::{Duration, Instant};

/// What comes together is decided together: nothing has come for as long as the last step took, and for so long at most,
const QUIET: Duration = Duration::from_millis(2);
/// or the first of it came so long ago.
const SETTLE: Duration = Duration::from_millis(25);
/// What is shorter than a tick of the timers is not waited for: they would make one or two milliseconds of it.
const TICK: Duration = Duration::from_millis(1);
/// What follows from the time alone follows so late at most.
const PLANS_EVERY: Duration = Duration::from_secs(1);

/// When was planned, and what has come since.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    planned: Instant,
    took: Duration,
    /// The first and the last news since.
    news: Option<(Instant, Instant)>,
    at_once: bool,
}

impl Pace {
    /// Everything is new.
    pub(super) fn new(now: Instant) -> Self {
        Self { planned: now, took: Duration::ZERO, news: None, at_once: true }
    }

    /// Something has come.
    pub(super) fn news(&mut self, now: Instant) {
        self.news = Some((self.news.map_or(now, |(first, _)| first), now));
    }

    /// It was planned and done, which took so long; whether something follows that was done by it.
    pub(super) fn planned(&mut self, now: Instant, took: Duration, follows: bool) {
        *self = Self { planned: now, took, news: None, at_once: follows };
    }

    /// When is to be planned next, if nothing more comes.
    pub(super) fn due(&self) -> Instant {
        match self.news {
            _ if self.at_once => self.planned,
            Some((first, last)) => {
                let quiet = if self.took < TICK { Duration::ZERO } else { self.took.min(QUIET) };
                (last + quiet).min(first + SETTLE)
            }
            None => self.planned + PLANS_EVERY,
        }
    }

    /// Whether planning comes before more news: however much comes, it is not put off for ever.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        now >= match self.news {
            _ if self.at_once => self.planned,
            Some((first, _)) => first + SETTLE,
            None => self.planned + PLANS_EVERY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_together_is_waited_for_but_not_for_ever() {
        let begin = Instant::now();
        let at = |millis: u64| begin + Duration::from_millis(millis);
        let mut pace = Pace::new(begin);
        assert_eq!(pace.due(), begin, "what is there at the start is planned at once");
        pace.planned(at(1), Duration::from_micros(100), true);
        assert_eq!(pace.due(), at(1), "a step of our own is followed at once");
        assert!(pace.is_overdue(at(1)));
        pace.planned(at(2), Duration::from_micros(100), false);
        assert_eq!(pace.due(), at(1002));
        assert!(
            !pace.is_overdue(at(1001)) && pace.is_overdue(at(1002)),
            "what tells nothing puts nothing off"
        );
        pace.news(at(10));
        assert_eq!(pace.due(), at(10), "a step that takes nothing is not saved");
        pace.planned(at(110), Duration::from_millis(100), false);
        pace.news(at(112));
        assert_eq!(pace.due(), at(114));
        pace.planned(at(214), Duration::from_millis(100), false);
        let at = |millis: u64| begin + Duration::from_millis(204 + millis);
        pace.news(at(10));
        for millis in 11..200 {
            pace.news(at(millis));
        }
        assert_eq!(pace.due(), at(35));
        assert!(!pace.is_overdue(at(34)) && pace.is_overdue(at(35)));
    }
}
