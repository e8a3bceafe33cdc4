//! The planner: which ready transfers start next. Ready transfers stand in groups (destination, source, experiment,
//! lane), each sorted by rank; one pick looks at the heads of the groups and never scans a group. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use lightrail_topics::{Experiment, Lfn, Millis, RunKey, SiteName};

/// A ready transfer's place in the order: smaller goes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// An operator's priority, higher first.
    pub priority: Reverse<i32>,
    /// Requests, first scans and repairs come after live runs.
    pub low: bool,
    /// The run's age: its end time, begin time while it is open.
    pub age: Millis,
    /// The run.
    pub run: RunKey,
    /// Small index files come first inside a run.
    pub index_last: bool,
    /// Smaller before bigger; unknown sizes after known ones.
    pub size: u64,
    /// The file.
    pub lfn: Lfn,
}

/// Transfers that share all limits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group {
    /// Where to.
    pub to: SiteName,
    /// Where from.
    pub from: SiteName,
    /// Whose.
    pub experiment: Experiment,
    /// Whether the file may use the slots kept for small files.
    pub small: bool,
}

/// What a site allows at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteLimits {
    /// Transfers, in and out together.
    pub transfers: u32,
    /// Of these, kept for small files.
    pub reserved_small: u32,
    /// Bytes of files in flight. One file alone may be bigger.
    pub bytes_in_flight: u64,
    /// Transfers per data server: our share of the server's own limit.
    pub per_server: u32,
}

impl Default for SiteLimits {
    fn default() -> Self {
        Self { transfers: 16, reserved_small: 4, bytes_in_flight: 500_000_000_000, per_server: 9 }
    }
}

/// All limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Per site; a site that is not named has the default.
    pub sites: BTreeMap<SiteName, SiteLimits>,
    /// Transfers at once per experiment, where limited.
    pub experiments: BTreeMap<Experiment, u32>,
}

impl Limits {
    fn site(&self, site: &SiteName) -> SiteLimits {
        self.sites.get(site).cloned().unwrap_or_default()
    }
}

/// What one transfer under way takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The group that it came from.
    pub group: Group,
    /// Bytes counted against the limit.
    pub bytes: u64,
    /// The destination's data server, `host:port`, where one was chosen.
    pub server: Option<String>,
}

#[derive(Clone, Debug, Default)]
struct SiteUse {
    all: u32,
    big: u32,
    bytes: u64,
}

/// The ready transfers and the slots in use.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    ready: BTreeMap<Group, BTreeSet<Rank>>,
    sites: HashMap<SiteName, SiteUse>,
    experiments: HashMap<Experiment, u32>,
    servers: HashMap<(SiteName, String), u32>,
    len: usize,
}

/// Where, while the heads are looked at in their order, an older one waits for bytes: a site's lane.
#[derive(Debug, Default)]
pub(super) struct Held<'a>(BTreeSet<(&'a SiteName, bool)>);

/// What keeps a group's head from starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// The destination's or the source's slots are in use.
    SiteSlots,
    /// The slots that are free are kept for small files.
    Reserved,
    /// The experiment's share is in use.
    ExperimentSlots,
    /// Every data server of the destination has our share of its slots in use.
    ServerSlots,
    /// Nothing but this: the bytes in flight would exceed the limit.
    Bytes,
    /// An older transfer waits for bytes in flight to end, and is not passed.
    Behind,
    /// The site is not to be used now (breaker open, drained).
    SiteClosed,
}

/// A transfer chosen to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Its group.
    pub group: Group,
    /// Its rank.
    pub rank: Rank,
    /// The destination's data server to use, where the site's servers are known.
    pub server: Option<String>,
}

/// Facts about sites that change from plan to plan.
pub trait Doors {
    /// Whether new transfers may use the site now.
    fn is_open(&self, site: &SiteName) -> bool;
    /// The site's data servers, as far as known, the ones to prefer first.
    fn servers(&self, site: &SiteName) -> Vec<String>;

    /// Why the site is left alone, where it is.
    fn reason(&self, _site: &SiteName) -> Option<String> {
        None
    }
}

impl Queue {
    /// Adds a ready transfer.
    pub fn insert(&mut self, group: Group, rank: Rank) {
        if self.ready.entry(group).or_default().insert(rank) {
            self.len += 1;
        }
    }

    /// Takes a transfer out, if it is in.
    pub fn remove(&mut self, group: &Group, rank: &Rank) {
        if let Some(ranks) = self.ready.get_mut(group) {
            if ranks.remove(rank) {
                self.len -= 1;
            }
            if ranks.is_empty() {
                self.ready.remove(group);
            }
        }
    }

    /// How many transfers are ready.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none is ready.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes the transfer that goes next out of the queue and counts it as under way, if one can start: the smallest
    /// rank among the groups' heads that no limit blocks. One that waits for bytes in flight to end is not passed by newer
    /// ones of its lane at that site, however small: they would keep it waiting for ever.
    pub fn pick(&mut self, limits: &Limits, doors: &dyn Doors) -> Option<Pick> {
        let (rank, group, server) = self.next(limits, doors)?;
        let (rank, group) = (rank.clone(), group.clone());
        self.remove(&group, &rank);
        self.take(&Taken { group: group.clone(), bytes: known(rank.size), server: server.clone() });
        Some(Pick { group, rank, server })
    }

    /// The first of each group, the oldest of them first.
    fn heads(&self) -> Vec<(&Rank, &Group)> {
        let first = self.ready.iter().filter_map(|(group, ranks)| Some((ranks.first()?, group)));
        let mut heads: Vec<(&Rank, &Group)> = first.collect();
        heads.sort_unstable();
        heads
    }

    fn next(&self, limits: &Limits, doors: &dyn Doors) -> Option<(&Rank, &Group, Option<String>)> {
        let mut held = Held::default();
        self.heads().into_iter().find_map(|(rank, group)| {
            let server = self.goes(group, rank, &mut held, limits, doors).ok()?;
            Some((rank, group, server))
        })
    }

    /// As [`Queue::admits`], for one transfer after the other in the order of their ranks.
    pub(super) fn goes<'a>(
        &'a self,
        group: &'a Group,
        rank: &Rank,
        held: &mut Held<'a>,
        limits: &Limits,
        doors: &dyn Doors,
    ) -> Result<Option<String>, Blocked> {
        let admitted = self.admits(group, rank, limits, doors);
        if admitted == Err(Blocked::Bytes) {
            held.0.extend(self.full(group, rank, limits).map(|site| (site, group.small)));
        }
        let behind = [&group.to, &group.from].into_iter().any(|site| held.0.contains(&(site, group.small)));
        admitted.and_then(|server| if behind { Err(Blocked::Behind) } else { Ok(server) })
    }

    /// What keeps a ready transfer from starting, if something does.
    pub fn blocked(&self, group: &Group, rank: &Rank, limits: &Limits, doors: &dyn Doors) -> Option<Blocked> {
        let mut held = Held::default();
        for (head, its) in self.heads().into_iter().filter(|(head, _)| *head < rank) {
            let _ = self.goes(its, head, &mut held, limits, doors);
        }
        self.goes(group, rank, &mut held, limits, doors).err()
    }

    /// Whether a transfer could start now: on which server, or what blocks it.
    pub fn admits(
        &self,
        group: &Group,
        rank: &Rank,
        limits: &Limits,
        doors: &dyn Doors,
    ) -> Result<Option<String>, Blocked> {
        if !doors.is_open(&group.to) || !doors.is_open(&group.from) {
            return Err(Blocked::SiteClosed);
        }
        for site in [&group.to, &group.from] {
            let allowed = limits.site(site);
            let used = self.sites.get(site).cloned().unwrap_or_default();
            if used.all >= allowed.transfers {
                return Err(Blocked::SiteSlots);
            }
            if !group.small && used.big >= allowed.transfers.saturating_sub(allowed.reserved_small).max(1) {
                return Err(Blocked::Reserved);
            }
        }
        let used = self.experiments.get(&group.experiment).copied().unwrap_or_default();
        if limits.experiments.get(&group.experiment).is_some_and(|allowed| used >= *allowed) {
            return Err(Blocked::ExperimentSlots);
        }
        let servers = doors.servers(&group.to);
        let told = !servers.is_empty();
        let per_server = limits.site(&group.to).per_server;
        let in_use = |server: &String| {
            self.servers.get(&(group.to.clone(), server.clone())).copied().unwrap_or_default()
        };
        let least = servers.into_iter().min_by_key(in_use).filter(|server| in_use(server) < per_server);
        if told && least.is_none() {
            return Err(Blocked::ServerSlots);
        }
        if self.full(group, rank, limits).next().is_some() {
            return Err(Blocked::Bytes);
        }
        Ok(least)
    }

    /// The sites, of the two, at which a transfer would exceed the bytes in flight. One alone may.
    fn full<'a>(
        &'a self,
        group: &'a Group,
        rank: &Rank,
        limits: &Limits,
    ) -> impl Iterator<Item = &'a SiteName> + use<'a> {
        let more = known(rank.size);
        let exceeds = |site: &&SiteName| {
            let used = self.sites.get(*site).map_or(0, |used| used.bytes);
            used > 0 && used.saturating_add(more) > limits.site(site).bytes_in_flight
        };
        [&group.to, &group.from].map(|site| Some(site).filter(exceeds)).into_iter().flatten()
    }

    /// Counts a transfer as under way.
    fn take(&mut self, taken: &Taken) {
        self.count(taken, |count| *count += 1, |bytes| *bytes = bytes.saturating_add(taken.bytes));
    }

    /// Gives a transfer's slots back.
    pub fn release(&mut self, taken: &Taken) {
        let less = |count: &mut u32| *count = count.saturating_sub(1);
        self.count(taken, less, |bytes| *bytes = bytes.saturating_sub(taken.bytes));
    }

    fn count(&mut self, taken: &Taken, slot: impl Fn(&mut u32), bytes: impl Fn(&mut u64)) {
        let group = &taken.group;
        for site in [&group.to, &group.from] {
            let used = self.sites.entry(site.clone()).or_default();
            slot(&mut used.all);
            if !group.small {
                slot(&mut used.big);
            }
            bytes(&mut used.bytes);
        }
        slot(self.experiments.entry(group.experiment.clone()).or_default());
        if let Some(server) = &taken.server {
            slot(self.servers.entry((group.to.clone(), server.clone())).or_default());
        }
    }

    /// How many transfers are under way to or from a site.
    pub fn in_use(&self, site: &SiteName) -> u32 {
        self.sites.get(site).map_or(0, |used| used.all)
    }
}

/// A size as counted against the bytes in flight: an unknown one counts nothing.
fn known(size: u64) -> u64 {
    if size == u64::MAX { 0 } else { size }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
