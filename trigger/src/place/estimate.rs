//! How fast data come to a site, how long its scheduler lets a job wait, how long work runs there: by what was measured before,
//! newer measurements counting more. What was never measured is not known.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use lightrail_topics::{Millis, RuleName, SiteName, TaskName};

/// Work of the same kind: one rule's task.
pub type Class = (RuleName, TaskName);

/// A measurement that is so old counts half of a new one, for the rate as it is now,
const SHORT: f64 = 20.0;
/// and for the rate as it is as a rule.
const LONG: f64 = 4.0 * 3600.0;
/// So fast a rate that is unusual becomes usual again.
const RETURNS: f64 = 600.0;
/// So many of the newest times are looked at.
const KEPT: usize = 31;

/// How fast data come to a site, bytes per second: now, and as a rule. What lies further ahead is the more as a rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Now.
    pub now: f64,
    /// As a rule.
    pub usual: f64,
}

impl Rate {
    /// A rate that does not change.
    pub fn steady(rate: f64) -> Self {
        Self { now: rate, usual: rate }
    }

    /// The mean rate over the next seconds.
    pub fn over(&self, seconds: f64) -> f64 {
        let spans = (seconds / RETURNS).max(1e-6);
        let weight = (1.0 - (-spans).exp()) / spans;
        self.usual * (self.now / self.usual).powf(weight)
    }

    /// Seconds until so many bytes have come.
    pub fn seconds_for(&self, bytes: f64) -> f64 {
        let mut seconds = bytes / self.now;
        for _ in 0..8 {
            seconds = 0.5 * (seconds + bytes / self.over(seconds));
        }
        seconds
    }
}

/// Bytes over time, both fading.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Fading {
    bytes: f64,
    seconds: f64,
    at: Millis,
}

impl Fading {
    fn faded(self, now: Millis, half: f64) -> Self {
        let kept = 0.5_f64.powf(now.since(self.at).as_secs_f64() / half);
        Self { bytes: self.bytes * kept, seconds: self.seconds * kept, at: self.at.max(now) }
    }

    fn take(&mut self, bytes: f64, seconds: f64, at: Millis, half: f64) {
        *self = self.faded(at, half);
        self.bytes += bytes;
        self.seconds += seconds;
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
struct OfSite {
    short: Fading,
    long: Fading,
    /// The newest time without a gap in which data came.
    busy: Option<(Millis, Millis)>,
    settled: VecDeque<Duration>,
    waits: VecDeque<Duration>,
    runs: BTreeMap<Class, VecDeque<Duration>>,
    /// The newest of all kinds.
    all_runs: VecDeque<Duration>,
}

/// All that was measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Estimates {
    sites: BTreeMap<SiteName, OfSite>,
}

impl Estimates {
    fn of(&mut self, site: &SiteName) -> &mut OfSite {
        self.sites.entry(site.clone()).or_default()
    }

    /// A file of so many bytes came to a site in this time. Files that come at once share it; they are told in the order of
    /// their ends.
    pub fn moved(&mut self, site: &SiteName, bytes: u64, from: Millis, to: Millis) {
        let of = self.of(site);
        let (begun, seconds) = match of.busy {
            Some((begun, until)) if from <= until => {
                let before = begun.since(from).as_secs_f64();
                (begun.min(from), before + to.since(until).as_secs_f64())
            }
            _ => (from, to.since(from).as_secs_f64()),
        };
        of.busy = Some((begun, to.max(of.busy.map_or(to, |(_, until)| until))));
        #[expect(clippy::cast_precision_loss, reason = "a rate is no exact number")]
        let bytes = bytes as f64;
        of.short.take(bytes, seconds, to, SHORT);
        of.long.take(bytes, seconds, to, LONG);
    }

    /// What had come was ready to be worked so much later.
    pub fn settled(&mut self, site: &SiteName, took: Duration) {
        keep(&mut self.of(site).settled, took);
    }

    /// A job waited so long in a site's queue.
    pub fn waited(&mut self, site: &SiteName, took: Duration) {
        keep(&mut self.of(site).waits, took);
    }

    /// Work of a kind ran so long at a site, and was done.
    pub fn ran(&mut self, site: &SiteName, class: &Class, took: Duration) {
        let of = self.of(site);
        keep(of.runs.entry(class.clone()).or_default(), took);
        keep(&mut of.all_runs, took);
    }

    /// How fast data come to a site. `since` is when the file was begun that comes now, if one does: one that should have come
    /// long ago tells that the rate has fallen.
    pub fn rate(&self, site: &SiteName, since: Option<(Millis, u64)>, now: Millis) -> Option<Rate> {
        let of = self.sites.get(site)?;
        if of.long.seconds <= 0.0 || of.long.bytes <= 0.0 {
            return None;
        }
        let usual = of.long.bytes / of.long.seconds;
        let mut short = of.short.faded(now, SHORT);
        // What is old says little, and the rule says the rest.
        let usual_weight = 5.0;
        short.seconds += usual_weight;
        short.bytes += usual_weight * usual;
        if let Some((since, bytes)) = since {
            let since = since.max(of.busy.map_or(since, |(_, until)| until));
            #[expect(clippy::cast_precision_loss, reason = "a rate is no exact number")]
            let expected = bytes as f64 / (short.bytes / short.seconds);
            let late = now.since(since).as_secs_f64() - expected;
            short.seconds += late.max(0.0);
        }
        Some(Rate { now: short.bytes / short.seconds, usual })
    }

    /// From a file's last byte until work may begin.
    pub fn settling(&self, site: &SiteName) -> Duration {
        self.sites.get(site).and_then(|of| median(&of.settled)).unwrap_or_default()
    }

    /// How long a site's queue lets a job wait; none where no job was seen to.
    pub fn wait(&self, site: &SiteName) -> Option<Duration> {
        median(&self.sites.get(site)?.waits)
    }

    /// How long such work runs at a site; none where none was seen to.
    pub fn run(&self, site: &SiteName, class: &Class) -> Option<Duration> {
        median(self.sites.get(site)?.runs.get(class)?)
    }

    /// How long work runs at a site, of whatever kind: for people, a prediction asks for its kind.
    pub fn run_of_any(&self, site: &SiteName) -> Option<Duration> {
        median(&self.sites.get(site)?.all_runs)
    }
}

fn keep(times: &mut VecDeque<Duration>, took: Duration) {
    if times.len() == KEPT {
        times.pop_front();
    }
    times.push_back(took);
}

fn median(times: &VecDeque<Duration>) -> Option<Duration> {
    let mut sorted: Vec<Duration> = times.iter().copied().collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}
