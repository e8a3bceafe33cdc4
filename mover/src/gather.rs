//! How long to wait before the next of something that costs nearly the same however much it holds (a commit, a transaction).
//! Never looks at a clock.

use std::time::Duration;

/// A wait that doubles with each that holds much, and is at its least again with the first that holds little, or
/// when nothing came while it lasted: what comes now and then or in one burst, and the few steps of a file that comes alone,
/// wait for nearly nothing; what keeps coming is served together.
#[derive(Debug)]
pub(crate) struct Gather {
    least: Duration,
    most: Duration,
    /// So much in one is much.
    much: usize,
    wait: Duration,
}

impl Gather {
    pub(crate) const fn new(least: Duration, most: Duration, much: usize) -> Self {
        Self { least, most, much, wait: least }
    }

    /// How long the next one waits after one that held so much.
    pub(crate) fn after(&mut self, held: usize) -> Duration {
        self.wait = if held < self.much { self.least } else { self.wait.saturating_mul(2).min(self.most) };
        self.wait
    }

    /// Nothing came while the last wait lasted.
    pub(crate) fn in_vain(&mut self) {
        self.wait = self.least;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_coming_is_gathered_and_what_comes_alone_or_in_a_burst_is_not() {
        let ms = Duration::from_millis;
        let mut gather = Gather::new(ms(5), ms(50), 4);
        let waits = [1, 36, 2, 4, 9, 20, 40, 500, 3].map(|held| gather.after(held));
        assert_eq!(waits, [5, 10, 5, 10, 20, 40, 50, 50, 5].map(ms));
    }

    #[test]
    fn a_wait_in_vain_is_not_made_longer_however_much_comes_after_it() {
        let ms = Duration::from_millis;
        let mut gather = Gather::new(ms(5), ms(50), 4);
        let waits = [9, 9, 9].map(|held| {
            gather.in_vain();
            gather.after(held)
        });
        assert_eq!(waits, [ms(10); 3]);
    }
}
