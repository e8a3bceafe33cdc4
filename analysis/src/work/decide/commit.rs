//! When and what is committed, and when partitions are let go.

use std::time::Duration;

use super::super::line::{As, Line};
use super::super::note::Note;
use super::{Action, Commit, Decider, Lane, Now, Publishing};

/// For each image that waits, results are gathered this much longer; a core works one of 4 megapixels in about twice that.
const GATHER_FOR_EACH: Duration = Duration::from_millis(4);

impl Decider {
    /// Commits what is ready, one lane at a time.
    pub(super) fn commit(&mut self, now: Now, actions: &mut Vec<Action>) {
        if self.publishing.is_some() || self.left {
            return;
        }
        // The last word of who leaves does not wait: without it what was only named would count as begun.
        if now < self.publish_after && !Lane::ALL.iter().any(|lane| self.is_late(*lane, now)) {
            return;
        }
        if !self.is_due(now) {
            return;
        }
        let idle = self.is_idle();
        let other = if self.last_lane == Lane::Live { Lane::Reprocess } else { Lane::Live };
        for lane in [other, self.last_lane] {
            let parts = self.parts(lane, idle);
            if parts.is_empty() {
                continue;
            }
            let lines = &self.lanes[lane as usize].lines;
            let images = parts.iter().flat_map(|(partition, count, ..)| {
                lines.get(partition).into_iter().flat_map(|line| line.held().take(*count))
            });
            let tickets = images.map(|held| held.ticket).collect();
            let positions =
                parts.iter().map(|(partition, _, next, note)| (*partition, *next, *note)).collect();
            (self.last_lane, self.last_commit) = (lane, Some(now));
            self.publishing = Some(Publishing { lane, parts });
            actions.push(Action::Commit(Commit { lane, tickets, positions }));
            return;
        }
    }

    /// Whether a commit is not to be put off. A transaction costs the broker the same however many results it holds: while
    /// more is worked on they are gathered, but never where work waits for the commit, nor when nothing more is to come.
    fn is_due(&mut self, now: Now) -> bool {
        let room = self.settings.results;
        self.last_commit.is_none_or(|at| now >= at + self.gather())
            || self.suspect().is_some()
            || self.alone.is_some()
            || self.lanes.iter().any(|state| {
                let lines = || state.lines.values();
                state.leaving.is_some()
                    || lines().any(Line::is_fresh)
                    || lines().map(Line::done).sum::<usize>() >= room
            })
            || Lane::ALL.into_iter().any(|lane| self.is_starved(lane))
            || !self.lanes.iter().flat_map(|state| state.lines.values()).any(Line::busy)
    }

    /// When results that are gathered are to be committed, if nothing else happens.
    pub(super) fn gathered_at(&self) -> Option<Now> {
        let is_held = self.publishing.is_none()
            && self.lanes.iter().flat_map(|state| state.lines.values()).any(|line| line.done() > 0);
        self.last_commit.filter(|_| is_held).map(|at| at + self.gather())
    }

    /// How far transactions begin apart: as far as the images that wait will wait anyway, and not at all where none does. Live
    /// results do not wait for images of the other lane.
    fn gather(&self) -> Duration {
        let live = self.lane(Lane::Live).lines.values().any(|line| line.held().next().is_some());
        let waiting = self.waiting(if live { Lane::Live } else { Lane::Reprocess });
        let for_them = GATHER_FOR_EACH.saturating_mul(u32::try_from(waiting).unwrap_or(u32::MAX));
        for_them.min(self.settings.gather)
    }

    /// What a commit of the lane would hold.
    fn parts(&mut self, lane: Lane, idle: bool) -> Vec<(i32, usize, i64, Note)> {
        // Only the one that is begun next is named, not each partition's.
        let suspect = self.suspect().filter(|(of, ..)| idle && *of == lane);
        let chosen = suspect.map(|(_, partition, _)| partition);
        let state = &mut self.lanes[lane as usize];
        let leaving = state.leaving.is_some();
        if leaving && state.lines.values().any(Line::busy) {
            return Vec::new();
        }
        let as_one = |partition| match leaving {
            true => As::Leaving,
            false if chosen == Some(partition) => As::Alone,
            false => As::Busy,
        };
        if let Some((.., held)) = suspect {
            // From now on nothing else is begun.
            self.alone = Some(held.ticket);
        }
        let mut room = self.settings.results;
        let mut parts = Vec::new();
        for (partition, line) in &mut state.lines {
            let count = line.done().min(room);
            room -= count;
            let wanted = if leaving {
                line.unclean()
            } else {
                let waiting =
                    line.first_waiting().filter(|held| !line.covered(held.offset) || line.is_short());
                line.is_fresh()
                    || waiting
                        .is_some_and(|held| line.begun_before(held.offset) == 0 || chosen == Some(*partition))
            };
            if count > 0 || wanted {
                // One is named only together with all that is done before it: what comes again would be named in its place,
                // and its count lost.
                let as_one = match as_one(*partition) {
                    As::Alone if count < line.done() => As::Busy,
                    as_one => as_one,
                };
                let (next, note) = line.position(count, as_one);
                parts.push((*partition, count, next, note));
            }
        }
        parts
    }

    pub(super) fn committed(&mut self) {
        let Some(publishing) = self.publishing.take() else { return };
        let lines = &mut self.lanes[publishing.lane as usize].lines;
        for (partition, count, next, note) in publishing.parts {
            let Some(line) = lines.get_mut(&partition) else { continue };
            for held in line.held().take(count) {
                self.places.remove(&held.ticket);
            }
            line.committed(count, next, note);
        }
    }

    /// Lets go what is done with.
    pub(super) fn let_go(&mut self, now: Now, actions: &mut Vec<Action>) {
        if self.publishing.is_some() {
            return;
        }
        for lane in Lane::ALL {
            let state = &self.lanes[lane as usize];
            let Some(since) = state.leaving else { continue };
            let late = now >= since + self.settings.hand_over;
            let busy = state.lines.values().any(Line::busy);
            let unclean = state.lines.values().any(|line| line.unclean() || line.done() > 0);
            if !state.lines.is_empty() && (busy || (unclean && !late)) {
                continue;
            }
            self.forget(lane, actions);
            let state = &mut self.lanes[lane as usize];
            if std::mem::take(&mut state.asked) {
                actions.push(Action::Release(lane));
            }
        }
        if let Some(why) = self.leave.filter(|_| !self.left) {
            if self.lanes.iter().all(|lane| lane.lines.is_empty()) {
                self.left = true;
                actions.push(Action::Left(why));
            }
        }
    }
}
