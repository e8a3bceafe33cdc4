//! What is left of sites' allocations: less what jobs have spent, and less what those that are not over may take still, for nobody
//! knows what they spend before they end. Pure.

use std::collections::{BTreeMap, BTreeSet};

use lightrail_topics::events::Rule;
use lightrail_topics::{RuleName, RunKey, SiteName};

use super::book::Book;
use super::life::Life;
use super::moving::MOVES_WITHIN;
use super::wanted::Wanted;

/// Node-seconds that are left while one plan is made: what is begun in it takes its part at once.
#[derive(Debug)]
pub(super) struct Left {
    at: BTreeMap<SiteName, u64>,
    /// Work of this plan that has its part.
    begun: BTreeSet<(RuleName, RunKey)>,
}

impl Left {
    /// Takes what a rule's work for a run may spend at a site; false where that is not left. Nothing is taken then.
    pub(super) fn take(&mut self, rule: &Rule, run: &RunKey, site: &SiteName) -> bool {
        let of = (rule.rule.clone(), run.clone());
        let Some(left) = self.at.get_mut(site).filter(|_| !self.begun.contains(&of)) else { return true };
        let Some(rest) = left.checked_sub(needed(rule)) else { return false };
        *left = rest;
        self.begun.insert(of);
        true
    }

    /// Takes what is begun however little is left.
    pub(super) fn take_anyway(&mut self, site: &SiteName, node_seconds: u64) {
        if let Some(left) = self.at.get_mut(site) {
            *left = left.saturating_sub(node_seconds);
        }
    }
}

impl Book {
    /// Node-seconds that are left at a site; none where nobody counts.
    pub(super) fn left_at(&self, site: &SiteName) -> Option<u64> {
        let allocation = self.limits.allocation.get(site)?;
        let open = self.open.iter().filter_map(|name| self.jobs.get(name)).filter(|life| life.site == *site);
        let spent = self.sites.spent.get(site).copied().unwrap_or(0);
        let taken = open.map(|life| self.may_take(life)).fold(spent, u64::saturating_add);
        Some(allocation.saturating_sub(taken))
    }

    /// The same of all sites where it is counted.
    pub(super) fn left(&self) -> Left {
        let sites = self.limits.allocation.keys();
        let at = sites.filter_map(|site| Some((site.clone(), self.left_at(site)?))).collect();
        Left { at, begun: BTreeSet::new() }
    }

    /// Whether a wanted job's part is left; it is taken. Only rules of several sites go elsewhere for it, and what was begun stays.
    pub(super) fn allows(&self, wanted: &Wanted<'_>, left: &mut Left) -> bool {
        let begun = |rule: &Rule, run: &RunKey| {
            let known = self.tried.get(run).and_then(|rules| rules.get(&rule.rule));
            known.is_some_and(|(_, site)| site == wanted.site)
        };
        match wanted.rule.zip(wanted.identity.run()) {
            Some((rule, run)) if !rule.or_at.is_empty() && !begun(rule, run) => {
                left.take(rule, run, wanted.site)
            }
            _ => {
                left.take_anyway(wanted.site, wanted.seconds.saturating_mul(wanted.nodes.into()));
                true
            }
        }
    }

    /// Node-seconds that a job may spend in all. What nobody knows any more is about to be ended.
    fn may_take(&self, life: &Life) -> u64 {
        let seconds = match (self.pool(life), &life.moves) {
            (Some(pool), _) => pool.seconds,
            (None, Some(_)) => MOVES_WITHIN,
            (None, None) => self.task(life).map_or(0, |(_, task)| task.seconds),
        };
        seconds.saturating_mul(life.nodes.into())
    }
}

/// Node-seconds that a rule's first tasks may spend on a run.
pub(super) fn needed(rule: &Rule) -> u64 {
    let first = rule.tasks.iter().filter(|task| task.after.is_empty());
    first.map(|task| u64::from(task.nodes).saturating_mul(task.seconds)).fold(0, u64::saturating_add)
}
