//! The one transition function of a transfer: state and step to state, everything else illegal, live and in recovery.
//! Pure: no clock, no randomness, no message.

use lightrail_topics::{AttemptId, Millis};

use super::rows::{Done, State};

/// What can happen to a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Its file is complete, or its delay is over.
    Due,
    /// It got a slot.
    Claim(AttemptId),
    /// The attempt verified the file at its final name, or it was found announced.
    Verified(Done),
    /// The attempt failed and is tried again at this instant.
    Retry(Millis),
    /// The attempt failed for good.
    GiveUp,
    /// The attempt ended with its process, or was called back; the transfer is where it was before.
    Interrupted,
    /// A person does not want it.
    Cancel,
    /// A person wants it again.
    Requeue,
    /// It was seen to be missing after it had been available.
    Vanished,
}

/// A step that its state does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a transfer that is {from:?} cannot take the step {step:?}")]
pub struct Illegal {
    /// The state.
    pub from: State,
    /// The step.
    pub step: Step,
}

/// The state after the step.
pub fn next(from: &State, step: Step) -> Result<State, Illegal> {
    use State as S;
    Ok(match (from, step) {
        (S::Waiting | S::Delayed(_), Step::Due) => S::Ready,
        (S::Ready, Step::Claim(attempt)) => S::Carrying(attempt),
        // An announcement that is read back, or a late success, is believed in any state but `Gone`:
        // the file was verified.
        (
            S::Waiting | S::Ready | S::Carrying(_) | S::Delayed(_) | S::Failed | S::Cancelled,
            Step::Verified(done),
        ) => S::Done(done),
        (S::Carrying(_), Step::Retry(at)) => S::Delayed(at),
        (S::Carrying(_) | S::Delayed(_) | S::Ready | S::Waiting, Step::GiveUp) => S::Failed,
        (S::Carrying(_), Step::Interrupted) => S::Ready,
        (S::Waiting | S::Ready | S::Carrying(_) | S::Delayed(_) | S::Failed, Step::Cancel) => S::Cancelled,
        (S::Failed | S::Cancelled, Step::Requeue) => S::Waiting,
        (S::Done(_), Step::Vanished) => S::Gone,
        (from, step) => return Err(Illegal { from: from.clone(), step }),
    })
}

/// Whether nothing more happens to it unless somebody asks.
pub fn is_terminal(state: &State) -> bool {
    matches!(state, State::Done(_) | State::Failed | State::Cancelled | State::Gone)
}

/// The state's name, as `transfers` says it.
pub fn name(state: &State) -> Option<lightrail_topics::events::TransferState> {
    use lightrail_topics::events::TransferState as T;
    Some(match state {
        State::Waiting => T::Waiting,
        State::Ready => T::Ready,
        State::Carrying(_) => T::Carrying,
        State::Delayed(_) => T::Delayed,
        State::Done(_) => T::Done,
        State::Failed => T::Failed,
        State::Cancelled => T::Cancelled,
        State::Gone => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use lightrail_topics::events::Verified;

    #[test]
    fn every_state_meets_every_step() {
        let attempt = AttemptId { start: 1, n: 1 };
        let done = Done { size: 1, checksum: None, verified: Verified::Size, source_mtime: 0, at: Millis(5) };
        let states = [
            State::Waiting,
            State::Ready,
            State::Carrying(attempt),
            State::Delayed(Millis(9)),
            State::Done(done.clone()),
            State::Failed,
            State::Cancelled,
            State::Gone,
        ];
        let steps = [
            Step::Due,
            Step::Claim(attempt),
            Step::Verified(done),
            Step::Retry(Millis(9)),
            Step::GiveUp,
            Step::Interrupted,
            Step::Cancel,
            Step::Requeue,
            Step::Vanished,
        ];
        let word = |debug: String| debug.split(['(', ' ']).next().unwrap_or_default().to_owned();
        let mut table = String::new();
        for from in &states {
            for step in &steps {
                let to = next(from, step.clone()).map_or("-".to_owned(), |to| word(format!("{to:?}")));
                let (from, step) = (word(format!("{from:?}")), word(format!("{step:?}")));
                let _ = writeln!(table, "{from:<10} {step:<12} {to}");
            }
        }
        insta::assert_snapshot!(table);
    }
}
