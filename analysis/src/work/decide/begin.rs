//! Which images are begun: read ahead, worked on, alone where one may have ended a process, and of the reprocess lane only
//! while nobody waits for live ones.

use std::time::Duration;

use super::super::line::{Held, Line, Stage, Ticket};
use super::{Action, Decider, Grant, Lane, Now, Running};

impl Decider {
    /// Begins to read what may be begun.
    pub(super) fn begin(&mut self, now: Now, actions: &mut Vec<Action>) {
        self.allow(now, actions);
        if self.alone.is_none() {
            while let Some((lane, partition, held)) = self.suspect() {
                if !self.give_up(lane, partition, held, actions) {
                    break;
                }
            }
            if self.suspect().is_some() {
                return;
            }
        }
        if let Some(ticket) = self.alone {
            self.begin_alone(ticket, actions);
            return;
        }
        for lane in Lane::ALL {
            let mut under_way = self.under_way(lane);
            let state = &mut self.lanes[lane as usize];
            if state.leaving.is_some() {
                continue;
            }
            while under_way < self.settings.ahead {
                let first = state.lines.iter_mut().filter_map(|(partition, line)| {
                    let held = line.first_waiting()?;
                    line.covered(held.offset).then_some((held.ticket, *partition))
                });
                let Some((ticket, partition)) = first.min() else { break };
                if let Some(line) = state.lines.get_mut(&partition) {
                    line.begin(Stage::Reading);
                }
                actions.push(Action::Read(ticket));
                under_way += 1;
            }
        }
    }

    /// The image that is to be begun alone: the one that was chosen, else the first, in a lane that may work, that somebody
    /// has begun before. None while it is begun.
    pub(super) fn suspect(&mut self) -> Option<(Lane, i32, Held)> {
        if let Some(ticket) = self.alone {
            let (lane, partition) = self.places.get(&ticket).copied()?;
            let line = self.lanes[lane as usize].lines.get_mut(&partition)?;
            return line
                .first_waiting()
                .filter(|held| held.ticket == ticket)
                .map(|held| (lane, partition, held));
        }
        for lane in Lane::ALL {
            if lane == Lane::Reprocess && (self.grant.is_none() || self.is_open(Lane::Live)) {
                continue;
            }
            let state = &mut self.lanes[lane as usize];
            if state.leaving.is_some() {
                continue;
            }
            for (partition, line) in &mut state.lines {
                let held = line.first_waiting().filter(|held| line.begun_before(held.offset) > 0);
                if let Some(held) = held {
                    return Some((lane, *partition, held));
                }
            }
        }
        None
    }

    /// Ends what was begun too often; false when it may be begun once more.
    fn give_up(&mut self, lane: Lane, partition: i32, held: Held, actions: &mut Vec<Action>) -> bool {
        let Some(line) = self.lanes[lane as usize].lines.get_mut(&partition) else { return false };
        let times = line.begun_before(held.offset);
        if times < self.settings.begun_at_most {
            return false;
        }
        line.begin(Stage::Done);
        actions.push(Action::Crashed(held.ticket, times));
        true
    }

    /// An image that may have ended a process is begun when nothing else is worked on and Kafka knows of it, so that it is
    /// known which one did it.
    fn begin_alone(&mut self, ticket: Ticket, actions: &mut Vec<Action>) {
        let Some((lane, partition)) = self.places.get(&ticket).copied() else { return };
        let Some(line) = self.lanes[lane as usize].lines.get_mut(&partition) else { return };
        let first = line.first_waiting().filter(|held| held.ticket == ticket);
        if first.is_some_and(|held| line.covered(held.offset)) {
            line.begin(Stage::Reading);
            actions.push(Action::Read(ticket));
        }
    }

    /// Whether nothing is worked on; what was given up does not count.
    pub(super) fn is_idle(&self) -> bool {
        self.running.values().all(|running| running.overdue.is_some())
    }

    /// Images of a lane that are being read or wait in memory.
    fn under_way(&self, lane: Lane) -> usize {
        let held = self.lane(lane).lines.values().flat_map(Line::begun_held);
        held.filter(|held| matches!(held.stage, Stage::Reading | Stage::Ready)).count()
    }

    /// Whether threads would soon wait for the note on Kafka: half of what it let be begun is begun, and more waits than it covers.
    /// The other half keeps them busy while the next one is on its way; with nothing done yet that waits until they are about to.
    pub(super) fn is_starved(&self, lane: Lane) -> bool {
        let lines = || self.lane(lane).lines.values();
        let limited: usize = lines().filter(|line| line.is_limited()).map(Line::window).sum();
        let is_short = limited > 0 && 2 * lines().map(Line::covers_waiting).sum::<usize>() <= limited;
        is_short && (lines().any(|line| line.done() > 0) || 2 * self.under_way(lane) < self.settings.ahead)
    }

    /// Decides whether a reprocess batch may begin.
    fn allow(&mut self, now: Now, actions: &mut Vec<Action>) {
        if self.grant.is_some_and(|grant| grant.images > 0 && now < grant.ends) {
            return;
        }
        self.grant = None;
        if self.leave.is_some() || self.is_open(Lane::Live) || !self.is_open(Lane::Reprocess) {
            return;
        }
        let batch = self.settings.reprocess_batch;
        if !self.looking && now >= self.look_after {
            self.looking = true;
            actions.push(Action::Look);
        }
        let Some((at, lag, workers)) = self.lag else { return };
        let images = self.batch_images();
        let room = workers.max(1).saturating_mul(u64::try_from(images).unwrap_or(u64::MAX));
        if now.saturating_sub(at) <= self.settings.lag_age && lag < room {
            self.grant = Some(Grant { images, ends: now + batch });
        }
    }

    /// Images of a reprocess batch: as many as all threads work within its time.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    fn batch_images(&self) -> usize {
        let Some(mean) = self.work else { return self.settings.threads };
        let each = (self.settings.reprocess_batch.as_secs_f64() / mean.max(1e-6)) as usize;
        (each * self.settings.threads).clamp(1, 10_000)
    }

    /// Gives free threads something to do.
    pub(super) fn compute(&mut self, now: Now, actions: &mut Vec<Action>) {
        loop {
            let running = self.running.values().filter(|running| running.overdue.is_none()).count();
            if running >= self.settings.threads {
                return;
            }
            let granted = self.grant.is_some_and(|grant| grant.images > 0 && now < grant.ends)
                || self.lane(Lane::Reprocess).leaving.is_some()
                || self.alone.is_some();
            let ready = |lane: Lane| match self.alone {
                Some(alone) => Some(alone).filter(|alone| self.ready[lane as usize].contains(alone)),
                None => self.ready[lane as usize].first().copied(),
            };
            let ticket = match ready(Lane::Live) {
                Some(ticket) => ticket,
                None => match ready(Lane::Reprocess).filter(|_| granted) {
                    Some(ticket) => {
                        if let Some(grant) = &mut self.grant {
                            grant.images = grant.images.saturating_sub(1);
                        }
                        ticket
                    }
                    None => return,
                },
            };
            let limit = self.limits.remove(&ticket).unwrap_or(Duration::MAX / 4);
            self.not_ready(ticket);
            self.set(ticket, Stage::Ready, Stage::Computing);
            self.running.insert(ticket, Running { since: now, limit, overdue: None });
            actions.push(Action::Compute(ticket));
        }
    }
}
