//! What is known of the job that the trigger started for a run: which rule, why, where, and when it came to each step. Pure; times
//! are those that the trigger wrote.

use std::collections::BTreeMap;

use lightrail_topics::events::{Job, JobEnd, JobStep};
use lightrail_topics::{Millis, RunKey, SiteName};

/// The job of a run.
#[derive(Clone, Debug)]
pub(super) struct Started {
    /// Which rule and task.
    pub(super) by: String,
    /// Why it fired.
    pub(super) reason: String,
    pub(super) site: SiteName,
    /// The scheduler's id.
    pub(super) id: Option<String>,
    pub(super) attempt: u32,
    pub(super) intended: Millis,
    pub(super) submitted: Option<Millis>,
    pub(super) running: Option<Millis>,
    /// When it had ended, and how.
    pub(super) ended: Option<(Millis, JobEnd)>,
}

impl Started {
    /// Whether it did its work.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.ended, Some((_, JobEnd::Done)))
    }
}

/// The last job of each run.
#[derive(Clone, Debug, Default)]
pub(super) struct Jobs(BTreeMap<RunKey, Started>);

impl Jobs {
    /// A message of `jobs`.
    pub(super) fn step(&mut self, job: &Job) {
        let Some(identity) = job.identity.of_run() else { return };
        let run = &identity.run;
        if let JobStep::Intended { reason, site, .. } = &job.step {
            // An intent in doubt is said once more: the first one counts.
            if self.0.get(run).is_some_and(|known| known.attempt >= identity.attempt) {
                return;
            }
            let started = Started {
                by: format!("{} / {}", identity.rule, identity.task),
                reason: reason.clone(),
                site: site.clone(),
                id: None,
                attempt: identity.attempt,
                intended: job.at,
                submitted: None,
                running: None,
                ended: None,
            };
            self.0.insert(run.clone(), started);
            return;
        }
        let Some(known) = self.0.get_mut(run).filter(|known| known.attempt == identity.attempt) else {
            return;
        };
        match &job.step {
            JobStep::Submitted { id } => {
                known.id = Some(id.clone());
                known.submitted.get_or_insert(job.at);
            }
            JobStep::Running { .. } => drop(known.running.get_or_insert(job.at)),
            JobStep::Ended { end, .. } => known.ended = Some((job.at, end.clone())),
            _ => {}
        }
    }

    pub(super) fn of(&self, run: &RunKey) -> Option<&Started> {
        self.0.get(run)
    }
}

#[cfg(test)]
mod tests {
    use lightrail_topics::events::{Class, FailureClass, JobIdentity, RunJob};

    use super::*;

    fn job(attempt: u32, at: i64, step: JobStep) -> Job {
        let identity = JobIdentity::from(RunJob {
            rule: "live".parse().unwrap(),
            run: "mfxlv9518/1".parse().unwrap(),
            trial: None,
            task: "work".parse().unwrap(),
            request: None,
            attempt,
        });
        Job { job: identity.name(), identity, place: 0, epoch: 1, step, at: Millis(at) }
    }

    fn intended() -> JobStep {
        JobStep::Intended {
            reason: "because".to_owned(),
            rule_version: 1,
            site: "NERSC".parse().unwrap(),
            class: Class::Live,
            workers: true,
            nodes: 1,
            workers_each: None,
            placed: None,
            moves: None,
            ahead: false,
            spills: false,
        }
    }

    #[test]
    fn the_last_attempts_steps_count_each_at_its_first_time() {
        let mut jobs = Jobs::default();
        let ended = |end| JobStep::Ended { id: Some("7".to_owned()), end, waited: None };
        let failed = JobEnd::Failed { class: FailureClass::Node, text: "gone".to_owned() };
        for (attempt, at, step) in [
            (1, 1, intended()),
            (1, 2, ended(failed)),
            (2, 3, intended()),
            (2, 4, intended()),
            (2, 5, JobStep::Submitted { id: "7".to_owned() }),
            (2, 6, JobStep::Running { id: "7".to_owned() }),
            (2, 7, JobStep::Running { id: "7".to_owned() }),
        ] {
            jobs.step(&job(attempt, at, step));
        }
        let run = "mfxlv9518/1".parse().unwrap();
        let known = jobs.of(&run).unwrap();
        assert_eq!((known.by.as_str(), known.attempt, known.intended), ("live / work", 2, Millis(3)));
        assert_eq!((known.submitted, known.running), (Some(Millis(5)), Some(Millis(6))));
        assert!(!known.is_done());
        jobs.step(&job(2, 8, ended(JobEnd::Done)));
        assert!(jobs.of(&run).unwrap().is_done());
    }
}
