//! When a piece of work would be done at a site: its data behind those that come before, its run behind those that run before,
//! both around known outages.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use lightrail_topics::Millis;

use super::{Ahead, Candidate, Outage, Rate};

/// When what is foreseen to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Its data are there.
    pub landed: Millis,
    /// It begins to run.
    pub starts: Millis,
    /// Its results are where they belong.
    pub finishes: Millis,
}

impl Times {
    /// In words: how long until it is done, and of what that is made.
    pub fn told(&self, now: Millis) -> String {
        format!(
            "done in {} ({} of data, {} of queue, {} of run)",
            for_people(self.finishes.since(now)),
            for_people(self.landed.since(now)),
            for_people(self.starts.since(self.landed)),
            for_people(self.finishes.since(self.starts)),
        )
    }
}

/// A time in words: `3m 20s`.
pub fn for_people(time: Duration) -> String {
    let seconds = (time.as_millis() + 500) / 1000;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m {seconds}s"),
        (hours, minutes, _) => format!("{hours}h {minutes}m"),
    }
}

/// Bytes in words: `12.3 GB`.
pub fn bytes_for_people(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let bytes = bytes as f64;
    let units = [("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    let unit = units.into_iter().find(|(_, size)| bytes >= *size);
    unit.map_or_else(|| format!("{bytes:.0} B"), |(name, size)| format!("{:.1} {name}", bytes / size))
}

/// When work would be done there; none where what it depends on was never measured.
pub fn forecast(candidate: &Candidate, now: Millis) -> Option<Times> {
    let run = candidate.run?;
    let walls = walls(&candidate.outages, now);
    let coming = candidate.ahead.iter().map(|ahead| match ahead {
        Ahead::Coming(bytes) => *bytes,
        Ahead::Running(_) | Ahead::Waiting => 0,
    });
    let all = coming.fold(candidate.bytes, u64::saturating_add);
    let curve = if all == 0 { None } else { Some(Curve::new(now, all, candidate.rate?, &walls)) };
    let landing = |bytes: u64| curve.as_ref().map_or(now, |curve| curve.at(bytes)).plus(candidate.settling);
    let mut free: BinaryHeap<Reverse<Millis>> = BinaryHeap::new();
    let mut before = 0_u64;
    let mut queue = Vec::new();
    for ahead in &candidate.ahead {
        match ahead {
            Ahead::Running(ends) => free.push(Reverse((*ends).max(now))),
            Ahead::Waiting => queue.push(now),
            Ahead::Coming(bytes) => {
                before = before.saturating_add(*bytes);
                queue.push(landing(before));
            }
        }
    }
    while free.len() < candidate.slots.max(1) {
        free.push(Reverse(now));
    }
    queue.sort_unstable();
    let mut take = |landed: Millis| -> Millis {
        let earliest = free.pop().map_or(now, |Reverse(at)| at).max(landed);
        let starts = around(earliest, run, &walls);
        free.push(Reverse(starts.plus(run)));
        starts
    };
    for landed in queue {
        take(landed);
    }
    let landed = if candidate.bytes == 0 { now } else { landing(all) };
    // It waits in the queue while its data come.
    let starts = around(take(landed.max(now.plus(candidate.wait))), run, &walls);
    Some(Times { landed, starts, finishes: starts.plus(run).plus(candidate.after) })
}

/// Outages that are not over, in order, as times in which nothing goes on.
fn walls(outages: &[Outage], now: Millis) -> Vec<(Millis, Millis)> {
    let end = |outage: &Outage| outage.to.unwrap_or(Millis(i64::MAX / 4));
    let mut walls: Vec<(Millis, Millis)> =
        outages.iter().filter(|outage| end(outage) > now).map(|outage| (outage.from, end(outage))).collect();
    walls.sort_unstable();
    walls
}

/// How much has come when: some points, and straight lines between them.
struct Curve {
    now: Millis,
    step: u64,
    points: [Millis; POINTS],
}

const POINTS: usize = 16;

impl Curve {
    fn new(now: Millis, bytes: u64, rate: Rate, walls: &[(Millis, Millis)]) -> Self {
        let step = bytes.div_ceil(16);
        let mut point = 0_u64;
        let points = [now; POINTS].map(|_| {
            point = point.saturating_add(step);
            arrives(now, point, rate, walls)
        });
        Self { now, step, points }
    }

    fn at(&self, bytes: u64) -> Millis {
        let whole = bytes / self.step;
        let after = usize::try_from(whole).unwrap_or(POINTS).min(POINTS - 1);
        let before = if after == 0 { self.now } else { self.points[after - 1] };
        let part = bytes - self.step * whole.min(15);
        let time = self.points[after].since(before).as_millis() * u128::from(part) / u128::from(self.step);
        before.plus(Duration::from_millis(u64::try_from(time).unwrap_or(u64::MAX)))
    }
}

/// When the last of so many bytes comes, where none come during outages.
fn arrives(now: Millis, bytes: u64, rate: Rate, walls: &[(Millis, Millis)]) -> Millis {
    #[expect(clippy::cast_precision_loss, reason = "a prediction is no exact number")]
    let seconds = rate.seconds_for(bytes as f64);
    // Not longer than a year, whatever the rate.
    let mut left = Duration::from_secs_f64(seconds.clamp(0.0, 3.2e7));
    let mut at = now;
    for (from, to) in walls {
        let until = from.since(at);
        if at < *from && left <= until {
            break;
        }
        if *to > at {
            left = left.saturating_sub(until);
            at = *to;
        }
    }
    at.plus(left)
}

/// The first instant from `earliest` on at which a run meets no outage.
fn around(earliest: Millis, run: Duration, walls: &[(Millis, Millis)]) -> Millis {
    let mut starts = earliest;
    for (from, to) in walls {
        if starts < *to && starts.plus(run) > *from {
            starts = *to;
        }
    }
    starts
}
