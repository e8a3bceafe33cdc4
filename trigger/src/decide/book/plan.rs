//! What follows from all that is known: places, intents, each job's next step, what is to be done. Pure.

use lightrail_topics::Millis;
use lightrail_topics::events::Job;

use super::Book;
use crate::decide::Action;
use crate::decide::life::View;
use crate::executor::Ending;

impl Book {
    /// What is to be done now. What comes out has begun: it is told again only after its outcome.
    pub fn plan(&mut self, now: Millis) -> Vec<Action> {
        self.place_all(now);
        let (wanted, resting) = self.wanted(now);
        let surplus = self.surplus();
        let (mut rooms, give_way) = self.room(&wanted, now);
        let mut left = self.left();
        let mut steps = Vec::new();
        for one in &wanted {
            let Some(room) = rooms.get_mut(one.site) else { continue };
            // What finds nothing left is placed elsewhere by the next plan, which knows of what this one begins.
            if room.take(one.class) && self.allows(one, &mut left) {
                steps.push(self.intent(one, room.spills(one.class), now));
            }
        }
        drop(wanted);
        for run in resting {
            self.active.remove(&run);
        }
        let mut actions = Vec::new();
        for name in self.open.clone() {
            let Some(life) = self.jobs.get(&name) else { continue };
            let view = View {
                runs_here: self.runs_here(life),
                complete: self.work_is_complete(life),
                withdrawal: match life.identity.of_pool() {
                    Some(_) => self.slot_ends(life, give_way.contains(&name), surplus.contains(&name)),
                    None => self.withdrawal(life, give_way.contains(&name), now),
                },
                given_up: self.given_up(life, now),
                waited: self.waited(life, now),
                looks_for: self.looks_for(life),
                grace: self.limits.grace,
                now,
            };
            let epoch = self.epoch;
            let Some(life) = self.jobs.get_mut(&name) else { continue };
            if let Some(step) = life.next_step(&view) {
                let (identity, place) = (life.identity.clone(), life.place);
                steps.push(Job { job: name.clone(), identity, place, epoch, step, at: now });
                continue;
            }
            actions.extend(life.next_action(&name, &view));
        }
        actions.extend(self.lay(now));
        if !steps.is_empty() {
            actions.insert(0, Action::Publish(steps));
        }
        let routes = self.failovers(now).into_iter();
        actions.extend(routes.map(|(experiment, route)| Action::Route(experiment, route)));
        actions
    }

    /// Copies that were given up and may work still are ended as soon as their sites are back.
    fn lay(&mut self, now: Millis) -> Vec<Action> {
        let mut actions = Vec::new();
        for name in std::mem::take(&mut self.haunting) {
            let Some(life) = self.jobs.get(&name) else { continue };
            let is_away = self.lost(&life.site, now).is_some() || self.sites.is_mute(&life.site);
            match life.haunts.clone().filter(|_| !is_away) {
                Some(id) => actions.push(Action::End(name, id, Ending::Cancel)),
                None => drop(self.haunting.insert(name)),
            }
        }
        actions
    }
}
