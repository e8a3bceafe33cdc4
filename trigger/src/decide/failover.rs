//! Where an experiment's data go when the sites of its rules to which they go are lost: to another of the rules' sites, said to the
//! mover on `routes.override` with why and until when; and which runs go there too whose work is stranded at a lost site. Said again
//! while it is needed, and ends by itself. Pure.

use std::collections::BTreeSet;

use lightrail_topics::events::{RouteOverride, Rule};
use lightrail_topics::{Experiment, Millis, RunKey, RunNumber, SiteName};

use super::book::Book;
use super::placing::decide;
use super::runs::Run;
use crate::place::Candidate;

impl Book {
    /// What is to be said on `routes.override` now.
    pub(super) fn failovers(&self, now: Millis) -> Vec<(Experiment, RouteOverride)> {
        if self.limits.failover_for.is_zero() || self.rules.values().all(|rule| rule.or_at.is_empty()) {
            return Vec::new();
        }
        let of_runs = self.active.iter().map(|run| &run.experiment);
        let experiments: BTreeSet<&Experiment> = self.sites.experiments().chain(of_runs).collect();
        let said = |experiment: &Experiment| Some((experiment.clone(), self.failover(experiment, now)?));
        experiments.into_iter().filter_map(said).collect()
    }

    fn failover(&self, experiment: &Experiment, now: Millis) -> Option<RouteOverride> {
        let sites = self.sites_of_rules(experiment);
        let lost: Vec<(&SiteName, String)> =
            sites.iter().filter_map(|site| Some((site, self.lost(site, now)?))).collect();
        if lost.is_empty() {
            return None;
        }
        let is_lost = |site: &SiteName| lost.iter().any(|(lost, _)| *lost == site);
        let stranded = self.stranded(experiment, is_lost);
        let runs: BTreeSet<RunNumber> = stranded.iter().map(|run| run.run).collect();
        let expires = now.plus(self.limits.failover_for);
        let known = self.overrides.get(experiment).filter(|route| route.expires > now);
        if let Some(route) = known
            && route.to.iter().any(|site| sites.contains(site) && !is_lost(site))
        {
            // Said again in its last third, and no more when the sites are back.
            let is_needed = lost.iter().any(|(site, _)| !route.to.contains(site));
            let is_late = route.expires <= now.plus(self.limits.failover_for / 3);
            let named: BTreeSet<RunNumber> = route.runs.iter().copied().collect();
            let is_more = !runs.is_subset(&named);
            let runs = if is_more { named.union(&runs).copied().collect() } else { route.runs.clone() };
            let again = RouteOverride { expires, at: now, runs, ..route.clone() };
            return ((is_needed && is_late) || is_more).then_some(again);
        }
        let of_stranded = || stranded.iter().flat_map(|run| self.run(run).into_iter().flat_map(Run::sites));
        let goes = self.sites.goes(experiment).cloned().unwrap_or_else(|| of_stranded().cloned().collect());
        let going: Vec<&SiteName> = goes.iter().filter(|site| sites.contains(*site)).collect();
        let mut to: Vec<SiteName> =
            going.iter().filter(|site| !is_lost(site)).map(|site| (*site).clone()).collect();
        if going.is_empty() || (!to.is_empty() && runs.is_empty()) {
            return None;
        }
        let mut reason =
            lost.iter().map(|(site, why)| format!("{site} is lost: {why}")).collect::<Vec<_>>().join("; ");
        if to.is_empty() {
            let (rule, run) = self.newest(experiment, stranded.last())?;
            let others = rule.sites().filter(|site| !is_lost(site));
            let candidates: Vec<Candidate> = others
                .map(|site| self.candidate(rule, &run, &self.before(&run, &self.outlook(site, now))))
                .collect();
            let decision = decide(rule, None, &candidates, now).ok()?;
            reason = format!("{reason}; {decision}");
            to.push(decision.site);
        }
        // Where they go beside the rules' sites, they go on going.
        to.extend(goes.iter().filter(|site| !sites.contains(*site)).cloned());
        Some(RouteOverride {
            to,
            move_begun: true,
            runs: runs.into_iter().collect(),
            reason,
            expires,
            at: now,
        })
    }

    /// Runs that are whole at lost sites only, on their way to no other one, and not done.
    fn stranded(&self, experiment: &Experiment, is_lost: impl Fn(&SiteName) -> bool) -> Vec<RunKey> {
        let rules: Vec<&Rule> = self.rules.values().filter(|rule| !rule.or_at.is_empty()).collect();
        let is_stranded = |rule: &&Rule, run: &RunKey| {
            let Some(known) = self.run(run).filter(|_| rule.is_about(run)) else { return false };
            let whole: Vec<&SiteName> =
                rule.sites().filter(|site| known.at(site).is_some_and(|at| at.whole.is_some())).collect();
            let comes = |site: &SiteName| !is_lost(site) && self.sites.comes(site, run);
            !whole.is_empty()
                && whole.iter().all(|site| is_lost(site))
                && !rule.sites().any(comes)
                && self.is_unfinished(rule, run)
        };
        let of_jobs = self.open.iter().filter_map(|name| self.jobs.get(name)?.identity.run());
        let all: BTreeSet<&RunKey> = self.active.iter().chain(of_jobs).collect();
        let of_experiment = all.into_iter().filter(|run| run.experiment == *experiment);
        of_experiment.filter(|run| rules.iter().any(|rule| is_stranded(rule, run))).cloned().collect()
    }

    /// A rule of several sites about an experiment, and its newest run.
    fn newest(&self, experiment: &Experiment, or: Option<&RunKey>) -> Option<(&Rule, RunKey)> {
        let run = self.sites.newest(experiment).or_else(|| or.cloned())?;
        let rule = self.rules.values().find(|rule| !rule.or_at.is_empty() && rule.is_about(&run))?;
        Some((rule, run))
    }
}
