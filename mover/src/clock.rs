//! The clock as a value that is passed in, so that tests can drive it. Deciding code takes `now`, never a clock.

use std::fmt;

use lightrail_topics::Millis;

/// Tells the time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The present instant.
    fn now(&self) -> Millis;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Millis {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// A clock that follows tokio's time, which tests can pause and advance.
#[derive(Clone, Copy, Debug)]
pub struct TokioClock {
    origin: tokio::time::Instant,
    at_origin: Millis,
}

impl TokioClock {
    /// Starts at the given instant now.
    pub fn starting_at(at_origin: Millis) -> Self {
        Self { origin: tokio::time::Instant::now(), at_origin }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Millis {
        self.at_origin.plus(self.origin.elapsed())
    }
}
