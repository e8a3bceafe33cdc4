//! How long to wait before the next try: exponential, with full jitter. Pure: the random number is an argument, the
//! answer is data for the journal. The only module that knows the `backoff` crate.

use std::time::Duration;

use ::backoff::SystemClock;
use ::backoff::backoff::Backoff as _;
use ::backoff::exponential::{ExponentialBackoff, ExponentialBackoffBuilder};

/// How waits grow from one try to the next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BackoffPolicy {
    /// The longest wait after the first failure. 1 s.
    pub first: Duration,
    /// By how much the longest wait grows with each failure. 2.
    pub factor: f64,
    /// The longest wait of all. 5 min.
    pub longest: Duration,
}

impl Default for BackoffPolicy {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), factor: 2.0, longest: Duration::from_secs(300) }
    }
}

/// From here on waits have long stopped growing.
const STEPS: u32 = 64;

impl BackoffPolicy {
    /// The longest wait after that many failures in a row, at least one.
    pub fn ceiling(&self, failures: u32) -> Duration {
        let mut ladder: ExponentialBackoff<SystemClock> = ExponentialBackoffBuilder::new()
            .with_initial_interval(self.first)
            .with_multiplier(self.factor)
            .with_max_interval(self.longest)
            // The crate's own jitter would draw from a generator of its own.
            .with_randomization_factor(0.0)
            .with_max_elapsed_time(None)
            .build();
        let mut ceiling = self.first;
        for _ in 0..failures.clamp(1, STEPS) {
            ceiling = ladder.next_backoff().unwrap_or(self.longest);
        }
        // Without its jitter the crate still adds up to one nanosecond by chance.
        Duration::from_micros(u64::try_from(ceiling.as_micros()).unwrap_or(u64::MAX)).min(self.longest)
    }

    /// The wait after that many failures in a row: evenly spread from nothing to the ceiling by `random`, any number.
    pub fn wait(&self, failures: u32, random: u64) -> Duration {
        let micros = u64::try_from(self.ceiling(failures).as_micros()).unwrap_or(u64::MAX);
        let share = u128::from(micros) * u128::from(random) / u128::from(u64::MAX);
        Duration::from_micros(u64::try_from(share).unwrap_or(micros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let policy = BackoffPolicy::default();
        let seconds: Vec<u64> = (0..12).map(|n| policy.ceiling(n).as_secs()).collect();
        assert_eq!(seconds, [1, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(policy.ceiling(u32::MAX), policy.longest);
    }

    #[test]
    fn the_random_number_alone_decides_within_the_ceiling() {
        let policy = BackoffPolicy::default();
        assert_eq!(policy.wait(4, 0), Duration::ZERO);
        assert_eq!(policy.wait(4, u64::MAX), Duration::from_secs(8));
        assert_eq!(policy.wait(4, u64::MAX / 2).as_secs(), 3);
        for seed in 0..1000 {
            let random = fastrand::Rng::with_seed(seed).u64(..);
            assert!(policy.wait(20, random) <= policy.longest);
        }
    }
}
