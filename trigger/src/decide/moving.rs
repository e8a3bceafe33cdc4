//! Images that were published for another site than the one where their run is worked now: a job moves those that are not worked yet
//! (`lightrail-analysis reroute`), after which nobody who held them before can commit them, and workers are started after it. Pure.

use lightrail_topics::events::{JobEnd, JobIdentity, JobStep, Rule, RunJob, Task, Work};
use lightrail_topics::{Millis, RunInTrial, RunKey, SiteName, TaskName};

use super::book::Book;
use super::life::Life;

/// What stands behind a task's name in that of the job that moves its images.
pub const MOVES: &str = "-reroute";
/// It has this time, seconds.
pub const MOVES_WITHIN: u64 = 1800;
/// A task's name has 32 letters at most.
const OF_TASK: usize = 24;

/// What is with a run's images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Moving {
    /// They are to be moved from this site by this job.
    Wanted(JobIdentity, SiteName),
    /// They are being moved, or are tried to be later.
    Later,
    /// That was tried as often as it may be.
    Failed,
}

impl Book {
    /// The jobs that have moved images of a task's run, or were to, oldest first.
    pub fn moves(&self, rule: &Rule, task: &Task, run: &RunKey, request: Option<u32>) -> Vec<&Life> {
        self.attempts_of(&first(rule, task, run, request))
    }

    /// What is to be done before a task's workers can work a run where it is placed; nothing where its images are there.
    pub(super) fn moving(
        &self,
        rule: &Rule,
        task: &Task,
        run: &RunKey,
        request: Option<u32>,
        now: Millis,
    ) -> Option<Moving> {
        let trial =
            rule.trial.filter(|_| !rule.or_at.is_empty() && matches!(task.work, Work::Analysis { .. }))?;
        let site = self.site_of(rule, run);
        let of = RunInTrial { run: run.clone(), trial };
        let first = first(rule, task, run, request);
        let attempts = self.attempts_of(&first);
        let here: Vec<&&Life> = attempts.iter().rev().take_while(|life| life.site == *site).collect();
        let is_moved = |from: &SiteName| {
            let is_done = |life: &&&&Life| matches!(life.last.0, JobStep::Ended { end: JobEnd::Done, .. });
            here.iter().filter(is_done).any(|life| life.moves.as_ref() == Some(from))
        };
        let from = self.published_at(&of).find(|from| *from != site && !is_moved(from))?.clone();
        let Some(last) = attempts.last() else { return Some(Moving::Wanted(first, from)) };
        if !last.is_over() {
            return Some(Moving::Later);
        }
        let failed = here.iter().take_while(|life| life.has_failed()).count();
        let failed = u32::try_from(failed).unwrap_or(u32::MAX);
        if failed >= task.attempts {
            return Some(Moving::Failed);
        }
        let due = last.last.1.plus(self.limits.again * failed);
        Some(if due <= now { Moving::Wanted(last.identity.next_attempt(), from) } else { Moving::Later })
    }
}

/// The first job that moves the images of a task's run.
fn first(rule: &Rule, task: &Task, run: &RunKey, request: Option<u32>) -> JobIdentity {
    let (rule, trial, task) = (rule.rule.clone(), rule.trial, moves(&task.task));
    RunJob { rule, run: run.clone(), trial, task, request, attempt: 1 }.into()
}

/// The name of the task that moves a task's images.
fn moves(task: &TaskName) -> TaskName {
    let short: String = task.as_str().chars().take(OF_TASK).collect();
    format!("{short}{MOVES}").parse().expect("a task's name and a word fit the rule")
}
