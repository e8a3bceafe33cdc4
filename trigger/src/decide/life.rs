//! One job's life: which step it has come to, what its scheduler was seen to say of it, and what follows.

use std::time::Duration;

use lightrail_topics::events::{FailureClass, Job, JobEnd, JobIdentity, JobStep};
use lightrail_topics::{JobName, Millis, SiteName};

use super::Action;
use crate::executor::{COPY, Ending, SchedulerId, Seen, Sighting, SubmitFault};

/// How often what is to be done with a job is tried.
const TOLD_AGAIN: Duration = Duration::from_secs(10);

/// Where a job stands, as its committed steps say, and what this decider knows beside them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its intent is committed, and nobody has submitted it.
    Ready,
    /// Its intent is committed, and somebody may have submitted it.
    Doubt {
        /// Since when nothing can have been begun any more.
        since: Millis,
        /// When it was last looked for in vain.
        absent: Option<Millis>,
    },
    /// Its submission is under way.
    Submitting,
    /// The scheduler has it.
    Queued(SchedulerId),
    /// It runs.
    Running(SchedulerId),
    /// It is over.
    Over,
}

/// One job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// What it is.
    pub identity: JobIdentity,
    /// Where it runs.
    pub site: SiteName,
    /// Why it was started.
    pub reason: String,
    /// Where it stands.
    pub phase: Phase,
    /// Its last committed step, and when that was.
    pub last: (JobStep, Millis),
    pub(super) place: u32,
    pub(super) fenced: bool,
    /// What the scheduler said last and no step says yet.
    seen: Option<(SchedulerId, Seen)>,
    /// Its first step.
    intent: JobStep,
    refused: Option<String>,
    not_seen_since: Option<Millis>,
    told: Option<Millis>,
    fencing: Option<Millis>,
}

impl Life {
    /// A job's first step begins it; any other without the first is passed over.
    pub(super) fn begun(job: Job) -> Option<Self> {
        let JobStep::Intended { reason, site, .. } = &job.step else { return None };
        Some(Self {
            identity: job.identity,
            site: site.clone(),
            reason: reason.clone(),
            phase: Phase::Ready,
            intent: job.step.clone(),
            last: (job.step, job.at),
            place: job.place + 1,
            fenced: false,
            seen: None,
            refused: None,
            not_seen_since: None,
            told: None,
            fencing: None,
        })
    }

    /// A committed step. One that was there already changes nothing.
    pub(super) fn step(&mut self, job: Job) {
        if job.place < self.place || self.phase == Phase::Over {
            return;
        }
        self.place = job.place + 1;
        let id = |id: &str| id.parse::<SchedulerId>().ok();
        match &job.step {
            JobStep::Intended { .. } => {
                self.phase = Phase::Ready;
                self.not_seen_since = None;
            }
            JobStep::Submitted { id: text } => {
                self.phase = id(text).map_or(Phase::Submitting, Phase::Queued);
            }
            JobStep::Running { id: text } => {
                self.phase = id(text).map_or(Phase::Submitting, Phase::Running);
            }
            JobStep::Ended { .. } | JobStep::GivenUp { .. } => self.phase = Phase::Over,
        }
        self.last = (job.step, job.at);
    }

    /// A new decider cannot know whether the one before has submitted what it intended.
    pub(super) fn doubt(&mut self, now: Millis) {
        if matches!(self.phase, Phase::Ready | Phase::Submitting) {
            self.phase = Phase::Doubt { since: now, absent: None };
        }
    }

    /// What became of a submission.
    pub(super) fn submitted(&mut self, outcome: Result<SchedulerId, SubmitFault>, now: Millis) {
        if self.phase != Phase::Submitting {
            return;
        }
        match outcome {
            // It may have been seen to run meanwhile.
            Ok(id) => drop(self.seen.get_or_insert((id, Seen::Pending))),
            Err(SubmitFault::Refused(why)) => self.refused = Some(why),
            Err(SubmitFault::Unknown(_)) => self.phase = Phase::Doubt { since: now, absent: None },
        }
    }

    /// What the scheduler knows under the job's name: nothing, one, or several where a submission was doubled. Copies that
    /// ended because another one had the claim are as good as none.
    pub(super) fn looked<'s>(&mut self, seen: impl Iterator<Item = &'s Sighting>, now: Millis) {
        let works = |sighting: &&Sighting| !matches!(sighting.seen, Seen::Ended { exit: Some(COPY), .. });
        let best = seen.filter(works).max_by_key(|sighting| match sighting.seen {
            Seen::Running => 3,
            Seen::Ended { .. } => 2,
            Seen::Pending | Seen::Held => 1,
        });
        match best {
            Some(sighting) => {
                self.not_seen_since = None;
                self.seen = Some((sighting.id.clone(), sighting.seen.clone()));
            }
            None => {
                self.not_seen_since.get_or_insert(now);
                if let Phase::Doubt { absent, .. } = &mut self.phase {
                    *absent = Some(now);
                }
            }
        }
    }

    pub(super) fn was_told_to_end(&self) -> bool {
        self.told.is_some()
    }

    pub(super) fn is_watched(&self) -> bool {
        matches!(self.phase, Phase::Doubt { .. } | Phase::Submitting | Phase::Queued(_) | Phase::Running(_))
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Whether it did what it was to do.
    pub fn is_done(&self) -> bool {
        matches!(self.last.0, JobStep::Ended { end: JobEnd::Done, .. })
    }

    /// Whether another attempt may help.
    pub(super) fn may_be_tried_again(&self) -> bool {
        match &self.last.0 {
            JobStep::Ended { end: JobEnd::Failed { class, .. }, .. } => *class != FailureClass::Refused,
            JobStep::GivenUp { .. } => true,
            _ => false,
        }
    }

    /// The step that follows from what is known. `complete` tells of work that is measured by its results.
    pub(super) fn next_step(
        &self,
        runs_here: bool,
        complete: Option<bool>,
        grace: Duration,
        now: Millis,
    ) -> Option<JobStep> {
        if self.phase == Phase::Over {
            return None;
        }
        if let Some(text) = self.refused.clone() {
            let end = JobEnd::Failed { class: FailureClass::Refused, text };
            return Some(JobStep::Ended { id: None, end });
        }
        if self.fenced {
            let since = self.not_seen_since.unwrap_or(now);
            return Some(JobStep::GivenUp { why: format!("the scheduler has not known it since {since}") });
        }
        let Some((id, seen)) = self.seen.clone() else {
            return self.is_to_be_submitted_again(grace).then(|| self.intent.clone()).filter(|_| runs_here);
        };
        match (&self.phase, seen) {
            (Phase::Over, _) => None,
            // Each step is said in turn, so that every job that runs was said to be submitted.
            (Phase::Ready | Phase::Doubt { .. } | Phase::Submitting, _) => {
                Some(JobStep::Submitted { id: id.to_string() })
            }
            (Phase::Queued(_), Seen::Running) => Some(JobStep::Running { id: id.to_string() }),
            // Put back into its queue, or the copy that works is another one.
            (Phase::Running(_), Seen::Pending | Seen::Held) => {
                Some(JobStep::Submitted { id: id.to_string() })
            }
            (Phase::Queued(known), Seen::Pending | Seen::Held) => {
                (*known != id).then(|| JobStep::Submitted { id: id.to_string() })
            }
            (Phase::Running(known), Seen::Running) => {
                (*known != id).then(|| JobStep::Running { id: id.to_string() })
            }
            (_, Seen::Ended { end, .. }) => {
                let end = match (end, complete) {
                    (JobEnd::Done, Some(false)) => JobEnd::Failed {
                        class: FailureClass::Application,
                        text: "its workers ended before the run's results were complete".to_owned(),
                    },
                    (end, _) => end,
                };
                Some(JobStep::Ended { id: Some(id.to_string()), end })
            }
        }
    }

    /// Looked for in vain until nothing that was begun can still arrive. The intent is then said once more, which only the one who
    /// decides can do, and submitted after that.
    fn is_to_be_submitted_again(&self, grace: Duration) -> bool {
        match self.phase {
            Phase::Doubt { since, absent: Some(absent) } => since.plus(grace) <= absent,
            _ => false,
        }
    }

    /// What is to be done where no step follows.
    pub(super) fn next_action(
        &mut self,
        name: &JobName,
        runs_here: bool,
        complete: Option<bool>,
        grace: Duration,
        now: Millis,
    ) -> Option<Action> {
        let is_due = |since: Millis| since.plus(grace) <= now;
        match &self.phase {
            // Without its rule nobody knows what to submit; it is given up, or goes on when the rule is back.
            Phase::Ready if runs_here => {
                self.phase = Phase::Submitting;
                Some(Action::Submit(name.clone()))
            }
            Phase::Queued(id) | Phase::Running(id) => {
                if self.not_seen_since.is_some_and(is_due) {
                    let begins = self.fencing.is_none_or(|begun| begun.plus(TOLD_AGAIN) <= now);
                    return begins.then(|| {
                        self.fencing = Some(now);
                        Action::Fence(name.clone())
                    });
                }
                if complete == Some(true) && self.told.is_none_or(|told| told.plus(TOLD_AGAIN) <= now) {
                    self.told = Some(now);
                    let ending = match self.phase {
                        Phase::Running(_) => Ending::Finish,
                        _ => Ending::Cancel,
                    };
                    return Some(Action::End(name.clone(), id.clone(), ending));
                }
                None
            }
            _ => None,
        }
    }
}
