//! Where an experiment's data go when the sites of its rules to which they go are lost: to another of the rules' sites, said to the
//! mover on `routes.override` with why and until when. It is said again while it is needed, and ends by itself. Pure.

use lightrail_topics::events::{RouteOverride, Rule};
use lightrail_topics::{Experiment, Millis, RunKey, SiteName};

use super::book::Book;
use super::placing::decide;
use crate::place::Candidate;

impl Book {
    /// What is to be said on `routes.override` now.
    pub(super) fn failovers(&self, now: Millis) -> Vec<(Experiment, RouteOverride)> {
        if self.limits.failover_for.is_zero() || self.rules.values().all(|rule| rule.or_at.is_empty()) {
            return Vec::new();
        }
        let experiments = self.sites.experiments();
        experiments
            .filter_map(|experiment| Some((experiment.clone(), self.failover(experiment, now)?)))
            .collect()
    }

    fn failover(&self, experiment: &Experiment, now: Millis) -> Option<RouteOverride> {
        let rules = self.sites_of_rules(experiment);
        let expires = now.plus(self.limits.failover_for);
        let known = self.overrides.get(experiment).filter(|route| route.expires > now);
        if let Some(route) = known {
            let is_needed =
                rules.iter().any(|site| !route.to.contains(site) && self.lost(site, now).is_some());
            let is_good = route.to.iter().any(|site| rules.contains(site) && self.lost(site, now).is_none());
            if is_good {
                // Said again in its last third, and no more when the sites are back.
                let is_late = route.expires <= now.plus(self.limits.failover_for / 3);
                return (is_needed && is_late).then(|| RouteOverride { expires, at: now, ..route.clone() });
            }
        }
        let goes = self.sites.goes(experiment)?;
        let going: Vec<&SiteName> = goes.iter().filter(|site| rules.contains(*site)).collect();
        let lost: Vec<String> = going
            .iter()
            .map(|site| Some(format!("{site} is lost: {}", self.lost(site, now)?)))
            .collect::<Option<_>>()?;
        if lost.is_empty() {
            return None;
        }
        let (rule, run) = self.newest(experiment)?;
        let others = rule.sites().filter(|site| !going.contains(site));
        let candidates: Vec<Candidate> = others
            .map(|site| self.candidate(rule, &run, site, now))
            .filter(|one| one.lost.is_none())
            .collect();
        let decision = decide(rule, None, &candidates, now).ok()?;
        // Where they go beside the rules' sites, they go on going.
        let mut to = vec![decision.site.clone()];
        to.extend(goes.iter().filter(|site| !rules.contains(*site)).cloned());
        let reason = format!("{}; {decision}", lost.join("; "));
        Some(RouteOverride { to, move_begun: true, reason, expires, at: now })
    }

    /// A rule of several sites about an experiment, and its newest run.
    fn newest(&self, experiment: &Experiment) -> Option<(&Rule, RunKey)> {
        let run = self.sites.newest(experiment)?;
        let rule = self.rules.values().find(|rule| !rule.or_at.is_empty() && rule.is_about(&run))?;
        Some((rule, run))
    }
}
