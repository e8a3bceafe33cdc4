//! What follows from an attempt that is over: another one, when, or none any more and why. By the class of the failure: what is the
//! site's fault is not held against the job, what a scheduler refuses is not asked of it again. Pure.

use lightrail_topics::events::{FailureClass, JobEnd, JobIdentity, JobStep, Rule, Task};
use lightrail_topics::{Millis, RunKey};

use super::book::Book;
use super::life::Life;

/// So often a job's site may fail before it is given up: a fault that nobody mends.
const SITE_FAULTS: u32 = 10;
/// A job whose memory does not suffice does not get more by being tried again; once it may have been its neighbour's.
const TOO_LARGE: usize = 2;

impl Book {
    /// When the attempt after these may begin; none where there is none any more.
    pub(super) fn due(
        &self,
        rule: &Rule,
        task: &Task,
        run: &RunKey,
        attempts: &[&Life],
        now: Millis,
    ) -> Option<Millis> {
        let last = attempts.last()?;
        let count = |of: fn(&Life) -> bool| {
            u32::try_from(attempts.iter().filter(|life| of(life)).count()).unwrap_or(u32::MAX)
        };
        let (own, sites) = (count(Life::has_failed_itself), count(Life::was_failed_by_its_site));
        let goes_elsewhere = *self.site_of(rule, run) != last.site;
        let again = |times: u32| last.last.1.plus(self.limits.again * times);
        match &last.last.0 {
            // Nobody's fault: it was told to end, or what it had done is not complete any more.
            JobStep::Ended { end: JobEnd::Done | JobEnd::Withdrawn { .. }, .. } => Some(now),
            JobStep::GivenUp { .. } => {
                (sites < SITE_FAULTS).then(|| if goes_elsewhere { now } else { again(sites) })
            }
            JobStep::Ended { end: JobEnd::Failed { class, .. }, .. } => match class {
                FailureClass::Refused => goes_elsewhere.then(|| again(1)),
                class if class.is_the_sites() => (sites < SITE_FAULTS).then(|| again(sites)),
                FailureClass::Memory if !goes_elsewhere && alike(attempts) >= TOO_LARGE => None,
                _ => (own < task.attempts).then(|| again(own)),
            },
            // Somebody's will.
            _ => None,
        }
    }

    /// Why a task of a rule is not tried again for a run, though it has failed.
    pub fn stopped(&self, rule: &Rule, task: &Task, run: &RunKey, request: Option<u32>) -> Option<String> {
        let attempts = self.attempts(rule, task, run, request);
        let last = attempts.last().filter(|life| life.is_over() && life.has_failed())?;
        if !rule.or_at.is_empty()
            && let Some(each) = self.failed_everywhere(rule, run)
        {
            return Some(format!("it has failed at all its sites: {}", each.join("; ")));
        }
        if self.due(rule, task, run, &attempts, last.last.1).is_some() {
            return None;
        }
        let (class, text) = last.failure().unwrap_or((FailureClass::Node, "nobody knows what became of it"));
        let (alike, all) = (alike(&attempts), attempts.len());
        let same = if alike == all && all > 1 { ", each time the same way" } else { "" };
        Some(format!("it has failed in {all} attempts{same}: {class} ({text})"))
    }

    /// The same of a job.
    pub fn stopped_job(&self, identity: &JobIdentity) -> Option<String> {
        let job = identity.of_run()?;
        let rule = self.rules.get(&job.rule)?;
        let task = rule.tasks.iter().find(|task| task.task == job.task)?;
        self.stopped(rule, task, &job.run, job.request)
    }
}

/// How many of the newest attempts have failed in the same way.
fn alike(attempts: &[&Life]) -> usize {
    let last = attempts.last().and_then(|life| life.failure()).map(|(class, _)| class);
    let same = |life: &&&Life| last.is_some() && life.failure().map(|(class, _)| class) == last;
    attempts.iter().rev().take_while(same).count()
}
