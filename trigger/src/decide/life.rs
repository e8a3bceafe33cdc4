//! One job's life: which step it has come to, what its scheduler was seen to say of it, and what follows.

mod next;

use std::time::Duration;

use lightrail_topics::events::{Class, FailureClass, Job, JobEnd, JobIdentity, JobStep, Withdrawal};
use lightrail_topics::{Millis, SiteName};

use crate::executor::{COPY, SchedulerId, Seen, Sighting, SubmitFault};

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
    /// How many workers each has, where that goes by what was left when it was intended.
    pub workers_each: Option<u32>,
    /// Why it is there and not at another site of its rule.
    pub placed: Option<String>,
    /// From which site it moves a run's images, if that is what it does.
    pub moves: Option<SiteName>,
    /// Whether it was submitted ahead of its run's files.
    pub ahead: bool,
    /// Whether it goes without its site's reservation.
    pub spills: bool,
    /// Since when it runs, or ran.
    pub running: Option<Millis>,
    /// When it was seen to go on after it had been suspended.
    pub(super) went_on: Option<Millis>,
    pub(super) place: u32,
    fenced: bool,
    /// A copy that nobody has seen had the claim.
    claimed: bool,
    /// What the scheduler said last and no step says yet.
    seen: Option<(SchedulerId, Seen)>,
    /// Its first step.
    intent: JobStep,
    refused: Option<String>,
    /// Since when it was looked for in vain, and when that was last.
    not_seen: Option<(Millis, Millis)>,
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
    /// Whether its script looks for inputs before its program, and for outputs after it.
    pub(super) looks_for: (bool, bool),
    /// As in the limits.
    pub(super) grace: Duration,
    /// Now.
    pub(super) now: Millis,
}

impl Life {
    /// A job's first step begins it; any other without the first is passed over.
    pub(super) fn begun(job: Job) -> Option<Self> {
        let JobStep::Intended {
            reason,
            site,
            class,
            workers,
            nodes,
            workers_each,
            placed,
            moves,
            ahead,
            spills,
            ..
        } = &job.step
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
            workers_each: *workers_each,
            placed: placed.clone(),
            moves: moves.clone(),
            ahead: *ahead,
            spills: *spills,
            running: None,
            went_on: None,
            phase: Phase::Ready,
            intent: job.step.clone(),
            last: (job.step, job.at),
            place: job.place + 1,
            fenced: false,
            claimed: false,
            seen: None,
            refused: None,
            not_seen: None,
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
                self.not_seen = None;
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
            Seen::Running | Seen::Suspended => 3,
            Seen::Ended { .. } => 2,
            Seen::Pending | Seen::Held => 1,
        });
        let was_suspended = self.is_suspended();
        match best {
            Some(sighting) => {
                self.not_seen = None;
                self.seen = Some((sighting.id.clone(), sighting.seen.clone()));
            }
            None => {
                self.not_seen = Some((self.not_seen.map_or(now, |(since, _)| since), now));
                if let Phase::Doubt { absent, .. } = &mut self.phase {
                    *absent = Some(now);
                }
            }
        }
        if was_suspended && !self.is_suspended() {
            self.went_on = Some(now);
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

    /// Whether its scheduler has stopped it, as far as that is known.
    pub(super) fn is_suspended(&self) -> bool {
        matches!(self.seen, Some((_, Seen::Suspended)))
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
}
