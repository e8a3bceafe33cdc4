//! What is given up: images past their limit, those of partitions that go, and all that is not begun when the worker leaves.

use super::super::line::{Line, Stage, Ticket};
use super::{Action, Decider, Lane, Now, Publishing, Running, Why};

impl Decider {
    /// Nothing new is begun from now on.
    pub(super) fn leave(&mut self, now: Now, why: Why, actions: &mut Vec<Action>) {
        if self.leave.is_some() {
            return;
        }
        self.leave = Some(why);
        for lane in Lane::ALL {
            self.lanes[lane as usize].leaving.get_or_insert(now);
            if why == Why::Door {
                // What is being read will not come.
                self.drop_where(lane, |stage| stage == Stage::Reading, actions);
            }
            self.quiet(lane, actions);
        }
    }

    /// What is not begun in a lane is not begun any more.
    pub(super) fn quiet(&mut self, lane: Lane, actions: &mut Vec<Action>) {
        self.drop_where(lane, |stage| stage == Stage::Waiting, actions);
    }

    fn drop_where(&mut self, lane: Lane, which: impl Fn(Stage) -> bool, actions: &mut Vec<Action>) {
        let lines = self.lanes[lane as usize].lines.values_mut();
        let dropped: Vec<Ticket> = lines.flat_map(|line| line.drop_where(&which)).collect();
        self.forget_all(&dropped, actions);
    }

    fn forget_all(&mut self, tickets: &[Ticket], actions: &mut Vec<Action>) {
        for ticket in tickets {
            self.places.remove(ticket);
            self.limits.remove(ticket);
            self.not_ready(*ticket);
            self.alone.take_if(|alone| alone == ticket);
            actions.push(Action::Forget(*ticket));
        }
    }

    pub(super) fn not_ready(&mut self, ticket: Ticket) {
        for ready in &mut self.ready {
            ready.remove(&ticket);
        }
    }

    /// Nothing of a lane is ours any more.
    pub(super) fn forget(&mut self, lane: Lane, actions: &mut Vec<Action>) {
        let lines = std::mem::take(&mut self.lanes[lane as usize].lines);
        let held: Vec<Ticket> = lines.values().flat_map(Line::held).map(|held| held.ticket).collect();
        self.forget_all(&held, actions);
        if self.publishing.as_ref().is_some_and(|publishing| publishing.lane == lane) {
            // Its answer is still to come and means nothing then.
            self.publishing = Some(Publishing { lane, parts: Vec::new() });
        }
    }

    /// Gives up what is past its limit.
    pub(super) fn expire(&mut self, now: Now, actions: &mut Vec<Action>) {
        let late = |running: &Running| running.overdue.is_none() && now >= running.since + running.limit;
        let overdue: Vec<Ticket> =
            self.running.iter().filter(|(_, running)| late(running)).map(|(ticket, _)| *ticket).collect();
        for ticket in overdue {
            if let Some(running) = self.running.get_mut(&ticket) {
                running.overdue = Some(now);
            }
            self.alone.take_if(|alone| *alone == ticket);
            if self.set(ticket, Stage::Computing, Stage::Done) {
                actions.push(Action::TimedOut(ticket));
            }
        }
        let overdue = self.running.values().filter_map(|running| running.overdue);
        let stuck = overdue.clone().any(|since| now >= since + self.settings.grace);
        if stuck || overdue.count() > self.settings.threads {
            self.leave(now, Why::Stuck, actions);
        }
        for lane in Lane::ALL {
            let state = &self.lanes[lane as usize];
            if state.leaving.is_some_and(|since| now >= since + self.settings.hand_over) {
                self.drop_where(lane, |stage| stage != Stage::Done, actions);
            }
        }
    }
}
