//! What follows for one job from what is known of it: its next step, or what is to be done where no step follows. Pure.

use std::time::Duration;

use lightrail_topics::JobName;
use lightrail_topics::Millis;
use lightrail_topics::events::{FailureClass, JobEnd, JobStep, Withdrawal};

use super::{Life, Phase, TOLD_AGAIN, View};
use crate::decide::Action;
use crate::executor::{Ending, NO_INPUT, NO_OUTPUT, Seen};

impl Life {
    /// The step that follows from what is known.
    pub(in crate::decide) fn next_step(&self, view: &View) -> Option<JobStep> {
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
            let since = self.not_seen.map_or(view.now, |(since, _)| since);
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
            // One that was seen again while its claim was taken may work too.
            let may_work = view.given_up.is_some()
                || self.withdrawn == Some(Withdrawal::Hangs)
                || self.not_seen.is_none();
            let id = self.id().filter(|_| may_work);
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
            (_, Seen::Ended { end, exit }) => {
                let end = self.ended_as(files(end, exit, view), view);
                Some(JobStep::Ended { id: Some(id.to_string()), end, waited: view.waited })
            }
            (Phase::Queued(_), Seen::Running | Seen::Suspended) => {
                Some(JobStep::Running { id: id.to_string() })
            }
            // Put back into its queue, or the copy that works is another one.
            (Phase::Running(_), Seen::Pending | Seen::Held) => {
                Some(JobStep::Submitted { id: id.to_string() })
            }
            (Phase::Queued(known), Seen::Pending | Seen::Held) if *known != id => {
                Some(JobStep::Submitted { id: id.to_string() })
            }
            (Phase::Running(known), Seen::Running | Seen::Suspended) if *known != id => {
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
    pub(in crate::decide) fn next_action(&mut self, name: &JobName, view: &View) -> Option<Action> {
        let is_due = |since: Millis| since.plus(view.grace) <= view.now;
        let is_lost = view.given_up.is_some();
        let does_not_end = self.withdrawn == Some(Withdrawal::Hangs) && self.withdrawn_at.is_some_and(is_due);
        let is_given_up = match &self.phase {
            Phase::Submitting | Phase::Over => false,
            _ if is_lost => true,
            // Missed once, and not asked for again, for instance because its scheduler is away, it may be at work.
            Phase::Queued(_) | Phase::Running(_) => {
                does_not_end || self.not_seen.is_some_and(|(since, last)| since.plus(view.grace) <= last)
            }
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
                // Who is stopped hears no SIGTERM.
                let can_finish =
                    self.runs() && !self.is_suspended() && self.withdrawn != Some(Withdrawal::Hangs);
                let ending = if can_finish { Ending::Finish } else { Ending::Cancel };
                Some(Action::End(name.clone(), id.clone(), ending))
            }
            _ => None,
        }
    }
}

/// What the end of a script says that looks for files. Without its inputs a program is not started: that is not held against it.
fn files(end: JobEnd, exit: Option<u8>, view: &View) -> JobEnd {
    let (class, lacks) = match (exit, view.looks_for) {
        (Some(NO_INPUT), (true, _)) => (FailureClass::Node, "an input was not there"),
        (Some(NO_OUTPUT), (_, true)) => (FailureClass::Application, "it has left an output out"),
        _ => return end,
    };
    match end {
        JobEnd::Failed { text, .. } => {
            JobEnd::Failed { class, text: format!("{lacks}, its own output says which ({text})") }
        }
        end => end,
    }
}
