//! At which of its sites a rule's work for a run is done: the one where it is predicted to be done first (`place`), by what comes
//! there, what is ahead of it, and what was measured. Where it was begun it stays, as long as that site is not lost and it can be done
//! there at all. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lightrail_topics::events::{FailureClass, Rule};
use lightrail_topics::{Millis, RuleName, RunKey, SiteName};

use super::allocation::needed;
use super::book::Book;
use super::life::Life;
use super::outlook::{Alike, Before, Outlook};
use super::runs::Run;
use crate::place::{Candidate, Decision, Nowhere, Wanted, choose, forecast};

/// Where a rule's work for a run is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// There, and why.
    At(SiteName, String),
    /// Nowhere yet, and why.
    Nowhere(String),
}

/// The sites of rules that name several, as they are at one moment.
type Outlooks<'b> = BTreeMap<&'b SiteName, Outlook<'b>>;

/// A rule's last decision, and of what it was made: most runs have the same before them at each site.
struct Decided<'o> {
    before: Option<SiteName>,
    each: Vec<Alike<'o>>,
    placed: Arc<Placed>,
}

/// The last decision of each rule at one moment.
type Memo<'b, 'o> = BTreeMap<&'b RuleName, Decided<'o>>;

/// A run that is placed: what is known of it, taken together once for all rules.
struct Placing<'a> {
    key: &'a RunKey,
    run: Option<&'a Run>,
    /// Where each rule's work on it was begun, with its attempt.
    tried: Option<&'a BTreeMap<RuleName, (Millis, SiteName)>>,
    /// Where each rule's work on it is placed.
    placed: Option<&'a BTreeMap<RuleName, Arc<Placed>>>,
    before: Vec<Before<'a, 'a>>,
}

/// So many failures of the same kind at a site, and it is tried at another one.
const TRIED_AT_A_SITE: usize = 2;

impl Book {
    /// The site at which a rule's work for a run is done: its only one, or where it is placed; until then its first.
    pub fn site_of<'b>(&'b self, rule: &'b Rule, run: &RunKey) -> &'b SiteName {
        match self.placed(rule, run) {
            Some(Placed::At(site, _)) => site,
            _ => &rule.site,
        }
    }

    /// Why a rule's work for a run is done there, or nowhere yet; for rules of several sites.
    pub fn why_there(&self, rule: &Rule, run: &RunKey) -> Option<&str> {
        match self.placed(rule, run)? {
            Placed::At(_, why) | Placed::Nowhere(why) => Some(why),
        }
    }

    pub(super) fn placed(&self, rule: &Rule, run: &RunKey) -> Option<&Placed> {
        if rule.or_at.is_empty() {
            return None;
        }
        self.placed.get(run)?.get(&rule.rule).map(|placed| &**placed)
    }

    /// Places what the rules of several sites want of the active runs.
    pub(super) fn place_all(&mut self, now: Millis) {
        if self.rules.values().all(|rule| rule.or_at.is_empty()) {
            self.placed.clear();
            return;
        }
        let outlooks = self.outlooks(now);
        let mut memo = Memo::new();
        let places = self.active.iter().map(|run| (run.clone(), self.places(run, &outlooks, &mut memo, now)));
        let places: Vec<_> = places.collect();
        for (run, places) in places {
            self.placed_at(run, places);
        }
    }

    /// Places what the rules of several sites want of a run.
    pub fn place(&mut self, run: &RunKey, now: Millis) {
        let places = self.places(run, &self.outlooks(now), &mut Memo::new(), now);
        self.placed_at(run.clone(), places);
    }

    fn placed_at(&mut self, run: RunKey, places: BTreeMap<RuleName, Arc<Placed>>) {
        if places.is_empty() {
            self.placed.remove(&run);
        } else {
            self.placed.insert(run, places);
        }
    }

    fn places<'o>(
        &'o self,
        key: &'o RunKey,
        outlooks: &'o Outlooks<'o>,
        memo: &mut Memo<'o, 'o>,
        now: Millis,
    ) -> BTreeMap<RuleName, Arc<Placed>> {
        let placing = Placing {
            key,
            run: self.run(key),
            tried: self.tried.get(key),
            placed: self.placed.get(key),
            before: outlooks.values().map(|at| self.before(key, at)).collect(),
        };
        let several = self.rules.values().filter(|rule| !rule.or_at.is_empty() && rule.is_about(key));
        several
            .filter_map(|rule| Some((rule.rule.clone(), self.choose(rule, &placing, memo, now)?)))
            .collect()
    }

    /// None where nothing is there, or on its way, to be worked.
    fn choose<'o>(
        &'o self,
        rule: &'o Rule,
        placing: &Placing<'o>,
        memo: &mut Memo<'o, 'o>,
        now: Millis,
    ) -> Option<Arc<Placed>> {
        let Placing { key, run, before, .. } = placing;
        let at = |site: &SiteName| before.iter().find(|before| before.at.site == site);
        let begun = placing.tried.and_then(|rules| rules.get(&rule.rule)).map(|(_, site)| site);
        let known = placing.placed.and_then(|rules| rules.get(&rule.rule));
        if let Some(site) = begun.filter(|site| rule.sites().any(|named| named == *site)) {
            let stays = self.is_open_at(rule, key, site)
                || (at(site).is_some_and(|before| before.at.lost.is_none())
                    && self.failed_there(rule, key, site).is_none());
            if stays {
                return Some(match known {
                    Some(known) if matches!(&**known, Placed::At(known, _) if known == site) => known.clone(),
                    _ => Arc::new(Placed::At(site.clone(), format!("{site}: it was begun there"))),
                });
            }
        }
        let (mut fit, mut failed) = (Vec::new(), Vec::new());
        for before in rule.sites().filter_map(at) {
            let site = before.at.site;
            if !before.comes && !self.is_triggered_by(rule, key, *run, site) {
                continue;
            }
            // What was never begun has failed nowhere.
            match begun.and_then(|_| self.failed_there(rule, key, site)) {
                Some(why) => failed.push(format!("{site}: {why}")),
                None => fit.push(before),
            }
        }
        if fit.is_empty() {
            let why = || format!("it has failed at all its sites: {}", failed.join("; "));
            return (!failed.is_empty()).then(|| Arc::new(Placed::Nowhere(why())));
        }
        let was = match known.map(|known| &**known) {
            Some(Placed::At(site, _)) => Some(site),
            _ => begun,
        };
        let each: Option<Vec<Alike<'o>>> = fit.iter().map(|before| before.alike()).collect();
        let same = |known: &&Decided<'_>| known.before.as_ref() == was && Some(&known.each) == each.as_ref();
        let placed = match memo.get(&rule.rule).filter(same) {
            Some(known) => known.placed.clone(),
            None => {
                let candidates: Vec<Candidate> =
                    fit.iter().map(|before| self.candidate(rule, key, before)).collect();
                let placed = Arc::new(match decide(rule, was.cloned(), &candidates, now) {
                    Ok(decision) => Placed::At(decision.site.clone(), decision.to_string()),
                    Err(nowhere) => Placed::Nowhere(nowhere.to_string()),
                });
                if let Some(each) = each {
                    memo.insert(&rule.rule, Decided { before: was.cloned(), each, placed: placed.clone() });
                }
                placed
            }
        };
        if failed.is_empty() {
            return Some(placed);
        }
        let told = |why: &str| format!("{why}; {}", failed.join("; "));
        Some(Arc::new(match &*placed {
            Placed::At(site, why) => Placed::At(site.clone(), told(why)),
            Placed::Nowhere(why) => Placed::Nowhere(told(why)),
        }))
    }

    /// When a run's files are predicted to be at a site; none where that was never measured.
    pub(super) fn lands(&self, rule: &Rule, run: &RunKey, site: &SiteName, now: Millis) -> Option<Millis> {
        let candidate = self.candidate(rule, run, &self.before(run, &self.outlook(site, now)));
        Some(forecast(&Candidate { run: Some(Duration::ZERO), ..candidate }, now)?.landed)
    }

    /// Why a site is held for lost, if it is.
    pub(super) fn lost(&self, site: &SiteName, now: Millis) -> Option<String> {
        let after = self.limits.lost_after;
        if after.is_zero() { None } else { self.sites.lost(site, after, now) }
    }

    /// Why a job that is not over is given up, if its site is lost and its rule has another one that is not: at once where it does
    /// not run, after a longer time where it may be working.
    pub fn given_up(&self, life: &Life, now: Millis) -> Option<String> {
        let rule = self.rules.get(&life.identity.of_run()?.rule)?;
        if rule.or_at.is_empty() || self.limits.lost_after.is_zero() {
            return None;
        }
        let after = if life.runs() { self.limits.give_up_after } else { self.limits.lost_after };
        let why = self.sites.lost(&life.site, after.max(self.limits.lost_after), now)?;
        let mut others = rule.sites().filter(|site| **site != life.site);
        others
            .any(|site| self.lost(site, now).is_none())
            .then(|| format!("site {} is lost: {why}", life.site))
    }

    /// Whether it has a job there that is not over; one that was submitted ahead of files that do not go there any more is none.
    fn is_open_at(&self, rule: &Rule, run: &RunKey, site: &SiteName) -> bool {
        let reaches = self.is_triggered(rule, run, site) || self.sites.comes(site, run);
        let mut open = self.open.iter().filter_map(|name| self.jobs.get(name));
        open.any(|life| {
            let job = life.identity.of_run();
            life.site == *site
                && (reaches || !life.ahead)
                && job.is_some_and(|job| (&job.rule, &job.run) == (&rule.rule, run))
        })
    }

    /// Why a rule's work for a run is not tried at a site again: the scheduler there refuses it, or it has failed there as often
    /// in the same way.
    pub(super) fn failed_there(&self, rule: &Rule, run: &RunKey, site: &SiteName) -> Option<String> {
        for task in &rule.tasks {
            for request in self.requests(rule, run) {
                let attempts = self.attempts(rule, task, run, request);
                let there = attempts.iter().rev().filter(|life| life.site == *site);
                let failures: Vec<(FailureClass, &str)> = there.filter_map(|life| life.failure()).collect();
                let Some((class, text)) = failures.first() else { continue };
                let alike = failures.iter().take_while(|(other, _)| other == class).count();
                let most = if matches!(class, FailureClass::Refused) { 1 } else { TRIED_AT_A_SITE };
                if alike >= most && !class.is_the_sites() {
                    return Some(format!("{} failed there, for {class} ({text})", task.task));
                }
            }
        }
        None
    }

    /// Sites at which a rule's work for a run has failed for good; all of them.
    pub(super) fn failed_everywhere(&self, rule: &Rule, run: &RunKey) -> Option<Vec<String>> {
        let each = rule.sites().map(|site| Some(format!("{site}: {}", self.failed_there(rule, run, site)?)));
        each.collect()
    }

    /// The sites of all rules that name several and are about an experiment.
    pub(super) fn sites_of_rules(&self, experiment: &lightrail_topics::Experiment) -> BTreeSet<SiteName> {
        let is_about = |rule: &&Rule| {
            !rule.or_at.is_empty() && rule.experiment.as_ref().is_none_or(|about| about == experiment)
        };
        self.rules.values().filter(is_about).flat_map(Rule::sites).cloned().collect()
    }
}

/// Chooses among candidates for a rule's work.
pub(super) fn decide(
    rule: &Rule,
    placed: Option<SiteName>,
    candidates: &[Candidate],
    now: Millis,
) -> Result<Decision, Nowhere> {
    choose(&Wanted { placed, node_seconds: needed(rule) }, candidates, now)
}
