//! How much of the compute threads' time images take, and so how many of them may go through one image at once: splitting an image
//! makes its result come sooner and costs more in all, which only idle threads should pay. Pure: instants are arguments.

use std::time::{Duration, Instant};

/// A pause counts for no more: after it what comes is not as seldom as all that.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The part of all threads' time that images may take when they are split; the rest is left for what splitting costs.
const PART: f64 = 0.9;

/// Means over the last ten batches or so.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    begun: Option<Instant>,
    /// Seconds from one image to the next.
    between: Option<f64>,
    /// Seconds for an image.
    time: Option<f64>,
    /// The same times its threads.
    work: Option<f64>,
}

impl Load {
    /// So many images are begun together.
    pub(super) fn begun(&mut self, now: Instant, images: usize) {
        let since = self.begun.replace(now).map_or(LONGEST_PAUSE, |begun| now - begun);
        mean(&mut self.between, since.min(LONGEST_PAUSE), images);
    }

    /// So many images are done, which took so many threads so long.
    pub(super) fn done(&mut self, took: Duration, hands: usize, images: usize) {
        mean(&mut self.time, took, images);
        mean(&mut self.work, took.saturating_mul(u32::try_from(hands).unwrap_or(u32::MAX)), images);
    }

    /// How many images take so long one after the other.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // what is too large for it is as many as there can be
    pub(super) fn within(&self, limit: Duration) -> usize {
        self.time.map_or(1, |time| (limit.as_secs_f64() / time.max(1e-9)) as usize)
    }

    /// How many of so many threads may go through an image at once.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // some threads
    pub(super) fn hands(&self, threads: usize) -> usize {
        let (Some(between), Some(work)) = (self.between, self.work) else { return 1 };
        let busy = (work / between.max(1e-9)).max(1e-9);
        ((PART * threads as f64 / busy) as usize).clamp(1, threads.max(1))
    }
}

#[allow(clippy::cast_precision_loss)] // some images
fn mean(mean: &mut Option<f64>, of: Duration, images: usize) {
    let each = of.as_secs_f64() / images.max(1) as f64;
    *mean = Some(mean.map_or(each, |mean| 0.9 * mean + 0.1 * each));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After a hundred images so many milliseconds apart, of so many milliseconds of one thread each.
    fn after(load: &mut Load, now: &mut Instant, between: u64, work: u64, threads: usize) -> usize {
        for _ in 0..100 {
            *now += Duration::from_millis(between);
            load.begun(*now, 1);
            // It can be split in two, and takes six tenths of the time then.
            let hands = load.hands(threads).min(2);
            let took = Duration::from_millis(work).mul_f64([1.0, 0.6][hands - 1]);
            load.done(took, hands, 1);
        }
        load.hands(threads)
    }

    #[test]
    fn an_image_is_split_where_threads_are_idle_by_and_large() {
        let (mut load, mut now) = (Load::default(), Instant::now());
        assert_eq!(load.hands(2), 1, "nothing is known yet");
        assert_eq!(after(&mut load, &mut now, 17, 6, 2), 2, "a third of a thread is wanted");
        assert_eq!(after(&mut load, &mut now, 9, 6, 2), 2, "two thirds of one of two");
        assert_eq!(after(&mut load, &mut now, 6, 6, 2), 1, "one");
        assert_eq!(after(&mut load, &mut now, 4, 6, 2), 1, "more than one");
        assert_eq!(after(&mut load, &mut now, 10, 6, 16), 16, "less than one of sixteen");
        assert_eq!(after(&mut load, &mut now, 17, 6, 1), 1, "there is but one");
    }

    #[test]
    fn what_comes_in_batches_comes_often() {
        let (mut load, mut now) = (Load::default(), Instant::now());
        for _ in 0..100 {
            now += Duration::from_millis(17);
            load.begun(now, 4);
            load.done(Duration::from_millis(24), 1, 4);
        }
        assert_eq!(load.hands(2), 1);
    }

    #[test]
    fn as_many_images_fit_into_a_time_as_they_take() {
        let (mut load, second) = (Load::default(), Duration::from_secs(1));
        assert_eq!(load.within(second), 1, "nothing is known yet");
        load.done(Duration::from_millis(80), 2, 4);
        assert_eq!(
            (load.within(second), load.within(second / 100)),
            (50, 0),
            "20 ms each, however many threads"
        );
        load.done(Duration::ZERO, 1, 1);
        assert_eq!(load.within(second), 55);
    }

    #[test]
    fn a_pause_is_soon_forgotten() {
        let (mut load, mut now) = (Load::default(), Instant::now());
        assert_eq!(after(&mut load, &mut now, 4, 6, 2), 1);
        now += Duration::from_secs(3600);
        load.begun(now, 1);
        assert_eq!(load.hands(2), 2, "the first after a pause");
        assert_eq!(after(&mut load, &mut now, 4, 6, 2), 1);
    }
}
