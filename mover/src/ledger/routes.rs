//! Where an experiment's data go: an override while it lasts, else the route, else the configuration, else the
//! logbook's `dm_locations`, else nowhere. A switch holds for whole runs: one that has begun is finished where it
//! began, unless the override moves it. Pure.

use lightrail_topics::events::{Route, RouteOverride};
use lightrail_topics::{Experiment, Lfn, Millis, RunKey, SiteName};

use super::rows::{Row, RowKey, RunSiteRow, State, Write};
use super::{Ledger, Step};

impl Ledger {
    /// The sites of a run that begins now. Empty: no route.
    pub(super) fn destinations(&self, key: &RunKey, now: Millis) -> Vec<SiteName> {
        let experiment = &key.experiment;
        if let Some(route) = self.overrides.get(experiment).filter(|route| route.expires > now) {
            return route.to.clone();
        }
        if let Some(route) = self.routes.get(experiment) {
            return route.to.clone();
        }
        if let Some(to) = self.rules.experiments.get(experiment).unwrap_or(&self.rules.default).to.clone() {
            return to;
        }
        let known =
            |site: &&SiteName| self.rules.urls.contains_key(*site) && **site != self.rules.source_site;
        self.experiments
            .get(experiment)
            .map_or(Vec::new(), |row| row.dm_locations.iter().filter(known).cloned().collect())
    }

    /// Takes an experiment's route, or its removal.
    pub fn routed(&mut self, experiment: &Experiment, route: Option<&Route>, now: Millis) -> Step {
        let mut step = Step::default();
        match route {
            Some(route) => {
                self.routes.insert(experiment.clone(), route.clone());
                step.writes.push(Write::Put(Row::Route(experiment.clone(), route.clone())));
                match route.transfers {
                    Some(most) => self.rules.limits.experiments.insert(experiment.clone(), most),
                    None => self.rules.limits.experiments.remove(experiment),
                };
            }
            None => {
                self.routes.remove(experiment);
                step.writes.push(Write::Remove(RowKey::Route(experiment.clone())));
            }
        }
        self.route_anew(Some(experiment), now, &mut step);
        self.finish(step, now)
    }

    /// Takes a failover, or its end.
    pub fn overridden(
        &mut self,
        experiment: &Experiment,
        route: Option<&RouteOverride>,
        now: Millis,
    ) -> Step {
        let mut step = Step::default();
        match route.filter(|route| route.expires > now) {
            Some(route) => {
                self.overrides.insert(experiment.clone(), route.clone());
                step.writes.push(Write::Put(Row::Override(experiment.clone(), route.clone())));
                self.bring(experiment, route, now, &mut step);
            }
            None => {
                self.overrides.remove(experiment);
                step.writes.push(Write::Remove(RowKey::Override(experiment.clone())));
            }
        }
        self.route_anew(Some(experiment), now, &mut step);
        self.finish(step, now)
    }

    /// Runs that a failover names go to its sites as well; they stay where they are.
    fn bring(&mut self, experiment: &Experiment, route: &RouteOverride, now: Millis, step: &mut Step) {
        for number in &route.runs {
            let key = RunKey { experiment: experiment.clone(), run: *number };
            let Some(run) = self.runs.get(&key) else { continue };
            let is_there = |site: &SiteName| run.row.sites.iter().any(|row| row.site == *site);
            let lacking: Vec<SiteName> = route.to.iter().filter(|site| !is_there(site)).cloned().collect();
            for site in &lacking {
                self.add_site(&key, site, now, step);
            }
            if !lacking.is_empty() {
                self.wake(&key, now, step);
            }
        }
    }

    pub(super) fn end_overrides(&mut self, now: Millis, step: &mut Step) {
        let over: Vec<Experiment> = self
            .overrides
            .iter()
            .filter(|(_, route)| route.expires <= now)
            .map(|(experiment, _)| experiment.clone())
            .collect();
        for experiment in over {
            self.overrides.remove(&experiment);
            step.writes.push(Write::Remove(RowKey::Override(experiment.clone())));
            self.route_anew(Some(&experiment), now, step);
        }
    }

    /// Gives runs that have not begun, or have no route yet, the sites that hold now.
    pub(super) fn route_anew(&mut self, experiment: Option<&Experiment>, now: Millis, step: &mut Step) {
        let keys: Vec<RunKey> = self
            .runs
            .keys()
            .filter(|key| experiment.is_none_or(|experiment| key.experiment == *experiment))
            .cloned()
            .collect();
        for key in keys {
            let sites = self.destinations(&key, now);
            let moves = self.overrides.get(&key.experiment).is_some_and(|route| route.move_begun);
            let Some(run) = self.runs.get(&key) else { continue };
            let begun = run.row.sites.iter().any(|site| site.available || site.incomplete > 0)
                || run.files.values().flat_map(|file| &file.sites).any(|transfer| {
                    !matches!(transfer.state, State::Waiting | State::Ready | State::Cancelled)
                });
            let announced = run.row.sites.iter().any(|site| site.available);
            let now_at: Vec<SiteName> = run.row.sites.iter().map(|row| row.site.clone()).collect();
            if now_at == sites || (begun && (announced || !moves)) || run.row.low {
                continue;
            }
            for site in now_at.iter().filter(|site| !sites.contains(site)) {
                self.leave(&key, site, step);
            }
            for site in &sites {
                self.add_site(&key, site, now, step);
            }
            self.wake(&key, now, step);
        }
    }

    /// The run does not go to the site any more.
    fn leave(&mut self, key: &RunKey, site: &SiteName, step: &mut Step) {
        let files: Vec<Lfn> =
            self.runs.get(key).map_or(Vec::new(), |run| run.files.keys().cloned().collect());
        for lfn in &files {
            self.call_back(key, lfn, site, step);
            if let Some(file) = self.runs.get_mut(key).and_then(|run| run.files.get_mut(lfn)) {
                // What has landed there stays and stays announced.
                file.sites
                    .retain(|transfer| transfer.site != *site || matches!(transfer.state, State::Done(_)));
                step.touched_files.insert((key.clone(), lfn.clone()));
            }
            self.reindex(key, lfn, site);
        }
        if let Some(run) = self.runs.get_mut(key) {
            run.row.sites.retain(|row: &RunSiteRow| row.site != *site);
            step.touched_runs.insert(key.clone());
        }
    }
}
