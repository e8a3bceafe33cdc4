//! How many jobs a site takes, and for whom: reprocessing has what live runs leave, those on their way and some room kept for
//! others included; where that shrinks, reprocessing jobs are told to give way before the live ones come.

use std::collections::{BTreeMap, BTreeSet};

use lightrail_topics::events::{Class, Rule, Task, Trigger};
use lightrail_topics::{JobName, Millis, RunKey, SiteName};

use super::book::Book;
use super::life::Life;
use super::wanted::Wanted;
use super::when::Verdict;
use super::{Belongs, Phase};

/// A site's room now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Room {
    /// More live jobs that it takes.
    pub(super) live: usize,
    /// More reprocessing jobs that it takes.
    pub(super) again: usize,
    /// More jobs for which there is room in its reservation, where that is limited.
    pub(super) reserved: Option<usize>,
}

impl Room {
    /// Takes a place of it, if there is one.
    pub(super) fn take(&mut self, class: Class) -> bool {
        let left = match class {
            Class::Live => &mut self.live,
            Class::Reprocess => &mut self.again,
        };
        let is_left = *left > 0;
        *left = left.saturating_sub(1);
        is_left
    }

    /// Whether one goes without the reservation: there is no room in it, and what is reprocessed takes none of a limited one.
    pub(super) fn spills(&mut self, class: Class) -> bool {
        match &mut self.reserved {
            Some(left) if class == Class::Reprocess || *left == 0 => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }
}

impl Book {
    /// The live jobs that a run will want at a site once it has landed, while that is waited for.
    fn expected(&self, run: &RunKey, site: Option<&SiteName>, now: Millis) -> usize {
        let Some(known) = self.run(run).filter(|known| known.ended) else { return 0 };
        let Some(ended) = known.ended_at.filter(|ended| now < ended.plus(self.limits.lands_within)) else {
            return 0;
        };
        let comes = |trigger: Trigger| !matches!(trigger, Trigger::Manual | Trigger::RunParamIsValue);
        let rules =
            self.rules.values().filter(|rule| site.is_none_or(|site| self.site_of(rule, run) == site));
        let waits = rules.filter(|rule| {
            // Live, or it would not be waited for: since when the rule wants it is compared as in `class`.
            ended >= rule.since.unwrap_or(rule.at)
                && rule.is_about(run)
                && comes(rule.trigger)
                && known.at(self.site_of(rule, run)).is_none_or(|at| at.whole.is_none())
                && rule.dataset.as_ref().is_none_or(|name| self.belongs(name, run) == Belongs::Yes)
                && self.may_come(rule, run)
        });
        // Those that were submitted ahead have their places.
        let is_to_come = |rule: &Rule, task: &Task| {
            task.after.is_empty() && self.attempts(rule, task, run, None).is_empty()
        };
        waits.map(|rule| rule.tasks.iter().filter(|task| is_to_come(rule, task)).count()).sum()
    }

    /// Whether any work is expected of a run, as in [`Self::room`].
    pub(super) fn is_expected(&self, run: &RunKey, now: Millis) -> bool {
        self.expected(run, None, now) > 0 || self.pools_wait_for(run, now)
    }

    pub(super) fn may_come(&self, rule: &Rule, run: &RunKey) -> bool {
        rule.when.as_ref().is_none_or(|_| {
            let parts = self.conditions(rule, run);
            !parts.iter().any(|part| part.what == super::What::When && part.holds == Verdict::No)
        }) && !self.fires(rule, run)
    }

    /// Each site's room, and the reprocessing jobs that are to give way.
    pub(super) fn room(
        &self,
        wanted: &[Wanted<'_>],
        now: Millis,
    ) -> (BTreeMap<SiteName, Room>, BTreeSet<JobName>) {
        let (mut rooms, mut give_way) = (BTreeMap::new(), BTreeSet::new());
        for (site, at_once) in &self.limits.at_once {
            let of_site = self.open.iter().filter_map(|name| Some((name, self.jobs.get(name)?)));
            let of_site: Vec<(&JobName, &Life)> = of_site.filter(|(_, life)| life.site == *site).collect();
            let reserved = self
                .limits
                .reserved
                .get(site)
                .map(|room| room.saturating_sub(of_site.iter().filter(|(_, life)| !life.spills).count()));
            let live = of_site.iter().filter(|(_, life)| life.class == Class::Live).count();
            // Who was told to end takes no room any more: its place is the next one's, as the scheduler sees to it.
            let mut again: Vec<(&JobName, &Life)> = of_site
                .into_iter()
                .filter(|(_, life)| life.class == Class::Reprocess && !life.is_withdrawn())
                .collect();
            let comes = wanted.iter().filter(|one| one.class == Class::Live && one.site == site).count();
            let on_their_way: usize = self.active.iter().map(|run| self.expected(run, Some(site), now)).sum();
            let on_their_way = on_their_way + self.pools_expect(site, now);
            let kept = self.limits.for_live.get(site).copied().unwrap_or_default();
            let for_again = at_once.saturating_sub(kept.max(live + comes + on_their_way));
            // Those that wait in the queue lose nothing; of the others the newest run's.
            again.sort_by_key(|(_, life)| {
                (matches!(life.phase, Phase::Running(_)), std::cmp::Reverse(life.identity.run().cloned()))
            });
            let excess = again.len().saturating_sub(for_again);
            give_way.extend(again.iter().take(excess).map(|(name, _)| (*name).clone()));
            let stays = again.len() - excess;
            let room = Room {
                live: at_once.saturating_sub(live + stays),
                again: for_again - stays.min(for_again),
                reserved,
            };
            rooms.insert(site.clone(), room);
        }
        (rooms, give_way)
    }
}
