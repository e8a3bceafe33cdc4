//! What is the same of a site for all work that is placed there at one moment: its queue, what comes, rates, outages. Taken together
//! once, however many runs are placed, and from it what is known of the site for one of them. Pure.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use lightrail_topics::events::{Rule, RunJob};
use lightrail_topics::{Millis, RunKey, SiteName};

use super::book::Book;
use super::life::Phase;
use crate::place::{Ahead, Candidate, Outage, Rate};

/// One site at one moment.
#[derive(Debug)]
pub(super) struct Outlook<'b> {
    pub(super) site: &'b SiteName,
    now: Millis,
    /// Jobs that are not over, and since when they run, if they do.
    open: Vec<(Option<&'b RunJob>, Option<Millis>)>,
    /// Runs that such jobs are of.
    worked: HashSet<&'b RunKey>,
    /// Runs of which something is still to come, in their order, and their bytes.
    coming: Vec<(&'b RunKey, u64)>,
    rate: Option<Rate>,
    settling: Duration,
    wait: Duration,
    slots: usize,
    outages: Vec<Outage>,
    allocation: Option<u64>,
    pub(super) lost: Option<String>,
}

/// What is the same of a site for all rules' work on one run.
#[derive(Debug)]
pub(super) struct Before<'o, 'b> {
    pub(super) at: &'o Outlook<'b>,
    /// Whether any of its files is on its way there.
    pub(super) comes: bool,
    /// How many runs' files come before its own.
    earlier: usize,
    /// Its bytes that are not there yet.
    bytes: u64,
    /// Whether a job of it is not over there.
    worked: bool,
}

/// Runs with the same of it at a site have the same before them there, whatever their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Alike<'b> {
    site: &'b SiteName,
    earlier: usize,
    bytes: u64,
}

impl<'b> Before<'_, 'b> {
    /// None where a job of the run itself is there, which is not before it.
    pub(super) fn alike(&self) -> Option<Alike<'b>> {
        let Self { at, earlier, bytes, worked, .. } = self;
        (!worked).then_some(Alike { site: at.site, earlier: *earlier, bytes: *bytes })
    }
}

impl Book {
    /// A site as it is now.
    pub(super) fn outlook<'b>(&'b self, site: &'b SiteName, now: Millis) -> Outlook<'b> {
        let estimates = &self.sites.estimates;
        let open = self.open.iter().filter_map(|name| self.jobs.get(name)).filter(|life| life.site == *site);
        let open = open.map(|life| {
            let runs = matches!(life.phase, Phase::Running(_));
            (life.identity.of_run(), life.running.filter(|_| runs))
        });
        let open: Vec<(Option<&RunJob>, _)> = open.collect();
        Outlook {
            site,
            now,
            worked: open.iter().filter_map(|(job, _)| Some(&(*job)?.run)).collect(),
            open,
            coming: self.sites.all_coming(site, now),
            rate: estimates.rate(site, None, now),
            settling: estimates.settling(site),
            wait: estimates.wait(site).unwrap_or_default(),
            slots: self.limits.at_once.get(site).copied().unwrap_or(0),
            outages: self.sites.outages(site),
            allocation: self.left_at(site),
            lost: self.lost(site, now),
        }
    }

    /// The sites of all rules that name several.
    pub(super) fn outlooks(&self, now: Millis) -> BTreeMap<&SiteName, Outlook<'_>> {
        let several = self.rules.values().filter(|rule| !rule.or_at.is_empty());
        let mut outlooks = BTreeMap::new();
        for site in several.flat_map(Rule::sites) {
            outlooks.entry(site).or_insert_with(|| self.outlook(site, now));
        }
        outlooks
    }

    /// What a run has before it at a site.
    pub(super) fn before<'o, 'b>(&self, run: &RunKey, at: &'o Outlook<'b>) -> Before<'o, 'b> {
        let found = at.coming.binary_search_by(|(other, _)| (*other).cmp(run));
        let (Ok(earlier) | Err(earlier)) = found;
        let comes = found.is_ok();
        let coming = comes.then(|| at.coming[earlier].1);
        Before {
            at,
            comes,
            earlier,
            bytes: self.bytes_left(run, coming, at),
            worked: at.worked.contains(run),
        }
    }

    /// What is known of a site for a rule's work on a run.
    pub(super) fn candidate(&self, rule: &Rule, run: &RunKey, before: &Before<'_, '_>) -> Candidate {
        let Before { at, earlier, bytes, .. } = before;
        let first = rule.tasks.iter().find(|task| task.after.is_empty());
        let class = first.map(|task| (rule.rule.clone(), task.task.clone()));
        let takes = class.and_then(|class| self.sites.estimates.run(at.site, &class));
        // What it has there itself is not ahead of it.
        let others = at.open.iter().filter(|(job, _)| {
            job.is_none_or(|job| job.run.run != run.run || (&job.rule, &job.run) != (&rule.rule, run))
        });
        let open = others.map(|(_, running)| match running {
            Some(since) => Ahead::Running(since.plus(takes.unwrap_or_default()).max(at.now)),
            None => Ahead::Waiting,
        });
        let coming = at.coming.iter().take(*earlier);
        Candidate {
            site: at.site.clone(),
            bytes: *bytes,
            ahead: open.chain(coming.map(|(_, bytes)| Ahead::Coming(*bytes))).collect(),
            rate: at.rate,
            settling: at.settling,
            slots: at.slots,
            run: takes,
            wait: at.wait,
            after: Duration::ZERO,
            outages: at.outages.clone(),
            room: (at.slots == 0).then_some(0),
            allocation: at.allocation,
            lost: at.lost.clone(),
        }
    }

    /// Bytes of a run that are not at a site yet; `coming` is what is on its way there.
    fn bytes_left(&self, run: &RunKey, coming: Option<u64>, at: &Outlook<'_>) -> u64 {
        let (site, now) = (at.site, at.now);
        let Some(known) = self.run(run) else { return coming.unwrap_or(0) };
        if known.at(site).is_some_and(|at| at.whole.is_some()) {
            return 0;
        }
        coming.unwrap_or_else(|| {
            let there = |site: &SiteName| known.at(site).map_or(0, |at| at.tally().size);
            let all =
                |site: &SiteName| there(site).saturating_add(self.sites.coming(site, run, now).unwrap_or(0));
            known.sites().map(all).max().unwrap_or(0).saturating_sub(there(site))
        })
    }
}
