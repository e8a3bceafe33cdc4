//! Workers that are submitted while their run is still being copied, so that the queue's wait passes while it comes: at the
//! predicted landing less the expected wait, unheld, for schedulers do not age what is held. What begins too early waits for images up
//! to a limit; what a run never lands for is cancelled. Pure.

use lightrail_topics::events::{Class, Rule, Task, Trigger, Withdrawal, Work};
use lightrail_topics::{Millis, RunInTrial, RunKey, SiteName};

use super::Belongs;
use super::book::Book;
use super::life::Life;
use super::placing::Placed;

/// What is with a task that may be submitted ahead of its run's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ahead {
    /// Its time has come.
    Now,
    /// It will, or what it depends on is not measured yet.
    Later,
}

impl Book {
    /// The tasks of a rule that does not fire for a run yet which are submitted ahead of its files.
    pub(super) fn ahead<'r>(&self, rule: &'r Rule, run: &RunKey, now: Millis) -> Vec<(&'r Task, Ahead)> {
        let may = |task: &&Task| task.ahead.is_some() && matches!(task.work, Work::Analysis { .. });
        if !rule.tasks.iter().any(|task| may(&task)) || !self.lands_for(rule, run, now) {
            return Vec::new();
        }
        let tasks =
            rule.tasks.iter().filter(may).filter(|task| self.attempts(rule, task, run, None).is_empty());
        let site = self.site_of(rule, run);
        let wait = self.sites.estimates.wait(site).unwrap_or_default();
        let landing = self.lands(rule, run, site, now);
        let is_due = landing.is_some_and(|landing| landing <= now.plus(wait));
        tasks.map(|task| (task, if is_due { Ahead::Now } else { Ahead::Later })).collect()
    }

    /// Whether a live run has ended and is expected at the site where the rule's work for it is done.
    fn lands_for(&self, rule: &Rule, run: &RunKey, now: Millis) -> bool {
        let comes = matches!(rule.trigger, Trigger::AllFilesTransferred | Trigger::AllNonrecFilesTransferred);
        if !comes || !rule.is_about(run) || self.class(rule, run) != Class::Live {
            return false;
        }
        let is_placed = rule.or_at.is_empty() || matches!(self.placed(rule, run), Some(Placed::At(..)));
        let site = self.site_of(rule, run);
        is_placed
            && self.runs_at(site)
            && self.run(run).is_some_and(|known| known.ended)
            && self.run(run).and_then(|known| known.at(site)).is_none_or(|at| at.whole.is_none())
            && self.sites.comes(site, run)
            && !self.never_lands(run, site, now)
            && rule.dataset.as_ref().is_none_or(|name| self.belongs(name, run) == Belongs::Yes)
            && self.may_come(rule, run)
    }

    /// Whether a run is no more expected at a site: it is said to lack files there, or should have landed long ago.
    fn never_lands(&self, run: &RunKey, site: &SiteName, now: Millis) -> bool {
        let Some(known) = self.run(run) else { return false };
        let is_late = known.ended_at.is_some_and(|ended| ended.plus(self.limits.lands_within) <= now);
        known.is_incomplete(site) || is_late
    }

    /// Why a job that was submitted ahead is to be ended, if it is.
    pub(super) fn ahead_ends(&self, life: &Life, now: Millis) -> Option<Withdrawal> {
        let job = life.identity.of_run().filter(|_| life.ahead)?;
        let (rule, task) = self.task(life)?;
        if *self.site_of(rule, &job.run) != life.site {
            return Some(Withdrawal::Elsewhere);
        }
        if self.run(&job.run).and_then(|run| run.at(&life.site)).is_some_and(|at| at.whole.is_some()) {
            // Its images are being published; where there are none yet, they are waited for as long as before.
        } else if self.never_lands(&job.run, &life.site, now) {
            return Some(Withdrawal::NeverLanded);
        }
        let of = RunInTrial { run: job.run.clone(), trial: job.trial? };
        let waits = std::time::Duration::from_secs(task.ahead?);
        let is_over = life.running.filter(|_| life.runs()).is_some_and(|since| since.plus(waits) <= now);
        (is_over && self.first_image(&of).is_none()).then_some(Withdrawal::NothingCame)
    }

    /// Node-seconds that a job which was submitted ahead has waited for its run's first image.
    pub(super) fn waited(&self, life: &Life, now: Millis) -> Option<u64> {
        let job = life.identity.of_run().filter(|_| life.ahead)?;
        let since = life.running?;
        let of = RunInTrial { run: job.run.clone(), trial: job.trial? };
        let until = self.first_image(&of).unwrap_or(now).min(now);
        Some(until.since(since).as_secs().saturating_mul(life.nodes.into()))
    }
}
