//! One job's life: which step it has come to, what its scheduler was seen to say of it, and what follows.

use std::time::Duration;

use lightrail_topics::events::{Class, FailureClass, Job, JobEnd, JobIdentity, JobStep, Withdrawal};
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
    /// How urgent it is.
    pub class: Class,
    /// Whether it is analysis workers, which end when they are told to.
    pub workers: bool,
    /// Why it was told to end, as its steps say.
    pub withdrawn: Option<Withdrawal>,
    /// Where it stands.
    pub phase: Phase,
    /// Its last committed step, and when that was.
    pub last: (JobStep, Millis),
    /// Its nodes.
    pub nodes: u32,
    /// Why it is there and not at another site of its rule.
    pub placed: Option<String>,
    /// From which site it moves a run's images, if that is what it does.
    pub moves: Option<SiteName>,
    /// Whether it was submitted ahead of its run's files.
    pub ahead: bool,
    /// Since when it runs, or ran.
    pub running: Option<Millis>,
    pub(super) place: u32,
    fenced: bool,
    /// A copy that nobody has seen had the claim.
    claimed: bool,
    /// What the scheduler said last and no step says yet.
    seen: Option<(SchedulerId, Seen)>,
    /// Its first step.
    intent: JobStep,
    refused: Option<String>,
    not_seen_since: Option<Millis>,
    told: Option<Millis>,
    /// Since when its claim is to be taken, and when that was tried last.
    fencing: Option<(Millis, Millis)>,
    withdrawn_at: Option<Millis>,
    /// A copy that was given up and may work still.
    pub(super) haunts: Option<SchedulerId>,
}

/// What a job's next step is decided by, beside the job itself.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// Whether its rule and task are there.
    pub(super) runs_here: bool,
    /// Whether its work is known to be complete, for work that is measured by its results.
    pub(super) complete: Option<bool>,
    /// Why it is to be ended, if it is.
    pub(super) withdrawal: Option<Withdrawal>,
    /// Why it is given up, where its site is lost.
    pub(super) given_up: Option<String>,
    /// Node-seconds that it waited for images.
    pub(super) waited: Option<u64>,
    /// As in the limits.
    pub(super) grace: Duration,
    /// Now.
    pub(super) now: Millis,
}

impl Life {
    /// A job's first step begins it; any other without the first is passed over.
    pub(super) fn begun(job: Job) -> Option<Self> {
        let JobStep::Intended { reason, site, class, workers, nodes, placed, moves, ahead, .. } = &job.step
        else {
            return None;
        };
        Some(Self {
            identity: job.identity,
            site: site.clone(),
            reason: reason.clone(),
            class: *class,
            workers: *workers,
            withdrawn: None,
            nodes: *nodes,
            placed: placed.clone(),
            moves: moves.clone(),
            ahead: *ahead,
            running: None,
            phase: Phase::Ready,
            intent: job.step.clone(),
            last: (job.step, job.at),
            place: job.place + 1,
            fenced: false,
            claimed: false,
            seen: None,
            refused: None,
            not_seen_since: None,
            told: None,
            fencing: None,
            withdrawn_at: None,
            haunts: None,
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
                self.running = None;
                self.phase = id(text).map_or(Phase::Submitting, Phase::Queued);
            }
            JobStep::Running { id: text } => {
                self.running = self.running.or(Some(job.at));
                self.phase = id(text).map_or(Phase::Submitting, Phase::Running);
            }
            JobStep::Withdrawn { why, .. } => {
                self.withdrawn = Some(*why);
                self.withdrawn_at = Some(job.at);
            }
            JobStep::GivenUp { id: known, .. } => {
                self.phase = Phase::Over;
                self.haunts = known.as_deref().and_then(id);
            }
            JobStep::Ended { .. } => self.phase = Phase::Over,
        }
        self.last = (job.step, job.at);
    }

    /// A new decider cannot know whether the one before has submitted what it intended.
    pub(super) fn doubt(&mut self, now: Millis) {
        if matches!(self.phase, Phase::Ready | Phase::Submitting) {
            self.phase = Phase::Doubt { since: now, absent: None };
        }
    }

    /// Its claim is taken. A copy that came just before that is looked for once more, as long as one may last that nobody sees.
    pub(super) fn fenced(&mut self, claimed: bool, now: Millis) {
        if claimed && !self.claimed && matches!(self.phase, Phase::Ready | Phase::Doubt { .. }) {
            self.claimed = true;
            self.phase = Phase::Doubt { since: now, absent: None };
        } else {
            self.fenced = true;
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

    /// Whether Kafka fences it without its claim: `reroute` takes its images from whoever held them, none of which can commit them
    /// after that, and whoever moves images is fenced by who moves them next. A program of another kind may go on working.
    pub fn is_fenced_on_kafka(&self) -> bool {
        self.identity.of_run().is_some() && (self.workers || self.moves.is_some())
    }

    /// The place of its last committed step.
    pub(super) fn last_place(&self) -> u32 {
        self.place.saturating_sub(1)
    }

    /// Whether it was told to end, and takes no room any more.
    pub fn is_withdrawn(&self) -> bool {
        self.withdrawn.is_some()
    }

    /// Whether it is known to run.
    pub fn runs(&self) -> bool {
        matches!(self.phase, Phase::Running(_))
    }

    pub(super) fn is_watched(&self) -> bool {
        matches!(self.phase, Phase::Doubt { .. } | Phase::Submitting | Phase::Queued(_) | Phase::Running(_))
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Whether it did what it was to do, or others did it.
    pub fn is_done(&self) -> bool {
        let JobStep::Ended { end, .. } = &self.last.0 else { return false };
        matches!(end, JobEnd::Done | JobEnd::Withdrawn { why: Withdrawal::Complete })
    }

    /// Whether it has failed, or nobody knows.
    pub(super) fn has_failed(&self) -> bool {
        matches!(self.last.0, JobStep::Ended { end: JobEnd::Failed { .. }, .. } | JobStep::GivenUp { .. })
    }

    /// How it failed, where its scheduler says so.
    pub fn failure(&self) -> Option<(FailureClass, &str)> {
        match &self.last.0 {
            JobStep::Ended { end: JobEnd::Failed { class, text }, .. } => Some((*class, text)),
            _ => None,
        }
    }

    /// Whether it has failed, and by itself.
    pub(super) fn has_failed_itself(&self) -> bool {
        self.failure().is_some_and(|(class, _)| !class.is_the_sites())
    }

    /// Whether its site has failed it, or it was given up.
    pub(super) fn was_failed_by_its_site(&self) -> bool {
        self.has_failed() && !self.has_failed_itself()
    }

    /// The scheduler's id of it, as far as that is known.
    fn id(&self) -> Option<&SchedulerId> {
        match &self.phase {
            Phase::Queued(id) | Phase::Running(id) => Some(id),
            _ => None,
        }
    }

    /// Whether no other decider can have submitted it: this one has just said its intent, for the first time.
    fn is_untouched(&self) -> bool {
        self.phase == Phase::Ready && self.place == 1
    }

    /// The step that follows from what is known.
    pub(super) fn next_step(&self, view: &View) -> Option<JobStep> {
        if self.phase == Phase::Over {
            return None;
        }
        if let Some(text) = self.refused.clone() {
            let end = JobEnd::Failed { class: FailureClass::Refused, text };
            return Some(JobStep::Ended { id: None, end, waited: None });
        }
        if self.fenced || self.is_untouched() {
            let is_lost = view.given_up.is_some();
            if let Some(why) = view.withdrawal.filter(|why| !is_lost && *why != Withdrawal::Hangs) {
                let end = JobEnd::Withdrawn { why };
                return Some(JobStep::Ended { id: None, end, waited: None });
            }
        }
        // The folder of its claims may be as lost as its site.
        let has_no_claim = self.fencing.is_some_and(|(since, _)| since.plus(TOLD_AGAIN) <= view.now);
        let goes_without = has_no_claim && self.is_fenced_on_kafka() && view.given_up.is_some();
        if self.fenced || goes_without {
            let since = self.not_seen_since.unwrap_or(view.now);
            let why = match &view.given_up {
                Some(lost) if self.fenced => lost.clone(),
                Some(lost) => {
                    format!("{lost}; its claim cannot be taken, and its images can be moved without")
                }
                None if self.withdrawn == Some(Withdrawal::Hangs) => {
                    "it hung, and did not end when it was told to".to_owned()
                }
                None => format!("the scheduler has not known it since {since}"),
            };
            let id =
                self.id().filter(|_| view.given_up.is_some() || self.withdrawn == Some(Withdrawal::Hangs));
            return Some(JobStep::GivenUp { why, id: id.map(ToString::to_string) });
        }
        let Some((id, seen)) = self.seen.clone() else {
            let again = view.runs_here && view.withdrawal.is_none() && self.is_not_there(view.grace);
            return again.then(|| self.intent.clone());
        };
        match (&self.phase, seen) {
            (Phase::Over, _) => None,
            // Each step is said in turn, so that every job that runs was said to be submitted.
            (Phase::Ready | Phase::Doubt { .. } | Phase::Submitting, _) => {
                Some(JobStep::Submitted { id: id.to_string() })
            }
            (_, Seen::Ended { end, .. }) => {
                let end = self.ended_as(end, view);
                Some(JobStep::Ended { id: Some(id.to_string()), end, waited: view.waited })
            }
            (Phase::Queued(_), Seen::Running) => Some(JobStep::Running { id: id.to_string() }),
            // Put back into its queue, or the copy that works is another one.
            (Phase::Running(_), Seen::Pending | Seen::Held) => {
                Some(JobStep::Submitted { id: id.to_string() })
            }
            (Phase::Queued(known), Seen::Pending | Seen::Held) if *known != id => {
                Some(JobStep::Submitted { id: id.to_string() })
            }
            (Phase::Running(known), Seen::Running) if *known != id => {
                Some(JobStep::Running { id: id.to_string() })
            }
            _ => {
                let why = view.withdrawal.filter(|_| self.withdrawn.is_none())?;
                Some(JobStep::Withdrawn { id: id.to_string(), why })
            }
        }
    }

    /// What its end means: one that was told to end did not fail by that, and workers that end before the results are complete,
    /// untold, did.
    fn ended_as(&self, end: JobEnd, view: &View) -> JobEnd {
        let is_short = view.complete == Some(false) || (self.workers && self.identity.of_pool().is_some());
        match (end, self.withdrawn) {
            (JobEnd::Done, Some(why)) if is_short => JobEnd::Withdrawn { why },
            (JobEnd::Done, None) if is_short => JobEnd::Failed {
                class: FailureClass::Application,
                text: match self.identity.of_pool() {
                    Some(_) => "its workers ended though nobody told them to".to_owned(),
                    None => "its workers ended before the run's results were complete".to_owned(),
                },
            },
            (JobEnd::Cancelled { .. } | JobEnd::Failed { .. }, Some(Withdrawal::Hangs)) => JobEnd::Failed {
                class: FailureClass::Hung,
                text: "it was told to end for it got nowhere".to_owned(),
            },
            (JobEnd::Cancelled { .. }, Some(why)) => JobEnd::Withdrawn { why },
            // By the signal, before it had done all.
            (JobEnd::Failed { .. }, Some(why)) if why != Withdrawal::Complete => JobEnd::Withdrawn { why },
            (end, _) => end,
        }
    }

    /// Looked for in vain until nothing that was begun can still arrive. The intent is then said once more, which only the one who
    /// decides can do, and submitted after that.
    fn is_not_there(&self, grace: Duration) -> bool {
        match self.phase {
            Phase::Doubt { since, absent: Some(absent) } => since.plus(grace) <= absent,
            _ => false,
        }
    }

    /// What is to be done where no step follows.
    pub(super) fn next_action(&mut self, name: &JobName, view: &View) -> Option<Action> {
        let is_due = |since: Millis| since.plus(view.grace) <= view.now;
        let is_lost = view.given_up.is_some();
        let does_not_end = self.withdrawn == Some(Withdrawal::Hangs) && self.withdrawn_at.is_some_and(is_due);
        let is_given_up = match &self.phase {
            Phase::Submitting | Phase::Over => false,
            _ if is_lost => true,
            Phase::Queued(_) | Phase::Running(_) => does_not_end || self.not_seen_since.is_some_and(is_due),
            // A copy may be on its way, though nobody knows of one; it is not submitted any more.
            Phase::Ready => view.withdrawal.is_some(),
            Phase::Doubt { .. } => view.withdrawal.is_some() && self.is_not_there(view.grace),
        };
        if is_given_up {
            let (since, tried) = self.fencing.unzip();
            let begins = tried.is_none_or(|tried| tried.plus(TOLD_AGAIN) <= view.now);
            return begins.then(|| {
                self.fencing = Some((since.unwrap_or(view.now), view.now));
                Action::Fence(name.clone())
            });
        }
        self.fencing = None;
        match &self.phase {
            // Without its rule nobody knows what to submit.
            Phase::Ready if view.runs_here => {
                self.phase = Phase::Submitting;
                Some(Action::Submit(name.clone()))
            }
            Phase::Queued(id) | Phase::Running(id) if self.withdrawn.is_some() => {
                if self.told.is_some_and(|told| view.now < told.plus(TOLD_AGAIN)) {
                    return None;
                }
                self.told = Some(view.now);
                let can_finish = self.runs() && self.withdrawn != Some(Withdrawal::Hangs);
                let ending = if can_finish { Ending::Finish } else { Ending::Cancel };
                Some(Action::End(name.clone(), id.clone(), ending))
            }
            _ => None,
        }
    }
}
