//! What must hold of a ledger at every moment, looked for the slow way: tests hold the fast structures (queue, slots,
//! delays, sets of runs) against the state of every transfer. Changes nothing.

use lightrail_topics::{FileAtSite, Lfn, RunKey};

use super::queue::{Doors, Group, Held, Rank};
use super::rows::{State, Transfer};
use super::{Ledger, is_settled};

impl Ledger {
    fn transfers(&self) -> impl Iterator<Item = (&RunKey, &Lfn, &Transfer)> {
        self.runs.iter().flat_map(|(key, run)| {
            run.files
                .iter()
                .flat_map(move |(lfn, file)| file.sites.iter().map(move |transfer| (key, lfn, transfer)))
        })
    }

    fn may_start(&self, key: &RunKey, lfn: &Lfn, transfer: &Transfer) -> bool {
        if transfer.state != State::Ready {
            return false;
        }
        let at = FileAtSite { lfn: lfn.clone(), site: transfer.site.clone() };
        let wish = self.wish_for(key, lfn, &transfer.site);
        !self.taken.contains_key(&at) && !wish.held && !wish.drained
    }

    /// The place of the transfer that rule 6 wants to start next, found by looking at every transfer there is.
    pub(crate) fn next_by_search(&self, doors: &dyn Doors) -> Option<Rank> {
        if self.queue.is_empty() {
            return None;
        }
        let mut ready: Vec<(Rank, Group)> = Vec::new();
        for (key, lfn, transfer) in self.transfers() {
            if !self.may_start(key, lfn, transfer) {
                continue;
            }
            let priority = self.wish_for(key, lfn, &transfer.site).priority;
            let Some((group, rank)) = self.place(key, lfn, &transfer.site, priority) else { continue };
            let at = FileAtSite { lfn: lfn.clone(), site: transfer.site.clone() };
            // The age of a run that never said when it began or ended is when it was queued.
            let rank = self.queued.get(&at).map_or(rank, |(_, queued)| queued.clone());
            ready.push((rank, group));
        }
        ready.sort_unstable();
        let mut held = Held::default();
        for (rank, group) in &ready {
            if self.queue.goes(group, rank, &mut held, &self.rules.limits, doors).is_ok() {
                return Some(rank.clone());
            }
        }
        None
    }

    /// Says what does not hold.
    pub(crate) fn audit(&self) -> Result<(), String> {
        let mut queued = 0;
        for (key, lfn, transfer) in self.transfers() {
            let at = FileAtSite { lfn: lfn.clone(), site: transfer.site.clone() };
            if self.may_start(key, lfn, transfer) {
                queued += 1;
                let priority = self.wish_for(key, lfn, &transfer.site).priority;
                let run = &self.runs[key].row;
                let aged = run.ended.is_some() || run.began.is_some();
                match (self.queued.get(&at), self.place(key, lfn, &transfer.site, priority)) {
                    (Some((group, rank)), Some((right_group, mut right))) => {
                        if !aged {
                            right.age = rank.age;
                        }
                        if *group != right_group || *rank != right {
                            return Err(format!("{at} stands at {rank:?} and should stand at {right:?}"));
                        }
                    }
                    (None, _) => return Err(format!("{at} is ready and not in the queue")),
                    (Some(_), None) => return Err(format!("{at} is in the queue and has no place")),
                }
            } else if self.queued.contains_key(&at) {
                return Err(format!("{at} is {:?} and in the queue", transfer.state));
            }
            match transfer.state {
                State::Delayed(until) if !self.delayed.contains(&(until, at.clone())) => {
                    return Err(format!("{at} is delayed, and nobody wakes it"));
                }
                State::Carrying(attempt) if self.taken.get(&at).is_none_or(|(n, _)| *n != attempt) => {
                    return Err(format!("{at} is carried by {attempt}, and has no slot"));
                }
                _ => {}
            }
        }
        if queued != self.queued.len() || queued != self.queue.len() {
            let (known, standing) = (self.queued.len(), self.queue.len());
            return Err(format!("{queued} transfers may start, {known} are known as queued, {standing} are"));
        }
        for (key, run) in &self.runs {
            let open = self.open.get(&key.experiment).is_some_and(|open| open.contains(&key.run));
            if open != run.row.closed.is_none() {
                return Err(format!("{key} is closed by {:?}, and open is {open}", run.row.closed));
            }
            if self.reading_back.is_none() && !is_settled(run) && !self.restless.contains(key) {
                return Err(format!("{key} is not settled, and nobody looks at it"));
            }
        }
        for site in self.rules.limits.sites.keys() {
            let taken = self.taken.values().filter(|(_, taken)| {
                let group = &taken.group;
                group.to == *site || group.from == *site
            });
            let (taken, in_use) = (taken.count(), self.queue.in_use(site));
            if taken != in_use as usize {
                return Err(format!("{taken} attempts at {site} hold {in_use} slots"));
            }
        }
        Ok(())
    }
}
