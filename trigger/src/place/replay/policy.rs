//! Who places jobs: round robin, the shortest backlog as Balsam has it, and ours, which forecasts by what it has seen. Each is
//! told what happens at its time and not before.

use std::time::Duration;

use lightrail_topics::Millis;

use super::draws::Draws;
use super::site::{Fate, Site};
use super::{Arrival, Case, Outcome};
use crate::place::{Ahead, Candidate, Class, Estimates, Outage, Wanted, choose, silence};

/// How a site is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// One after the other, for all jobs that come together, as Balsam's client has it.
    RoundRobin,
    /// Where the fewest jobs do not run yet, for all that come together and for good: Balsam's.
    ShortestBacklog,
    /// The same for each job by itself, which Balsam does not do.
    ShortestBacklogEach,
    /// Where it is predicted to be done first, each job by itself, and anew while nothing of its data has come: ours.
    Predicted,
}

impl Policy {
    fn places_each(self) -> bool {
        matches!(self, Self::ShortestBacklogEach | Self::Predicted)
    }
}

/// A job's data. Only rates in jobs are known, so any size does.
const BYTES: u64 = 1_000_000_000;
/// How often is looked whether a site is silent, and whether what waits would be done clearly earlier elsewhere, seconds.
const LOOKS: f64 = 5.0;
/// For so long nothing is heard of a site before it is held for lost.
const SILENT: Duration = Duration::from_secs(180);

/// What has been given to a site and is not known to be done, and what has been seen of it.
struct Watched<'c> {
    site: Site<'c>,
    given: Vec<Fate>,
    /// When something was seen of it last.
    heard: f64,
    lost: Option<String>,
    outages: Vec<Outage>,
}

pub(super) struct Placer<'c> {
    case: &'c Case,
    policy: Policy,
    runs: &'c [Vec<f64>],
    sites: Vec<Watched<'c>>,
    results: Vec<Outcome>,
    estimates: Estimates,
    class: Class,
    /// Until when everything is told.
    told: f64,
    next: usize,
}

impl<'c> Placer<'c> {
    pub(super) fn new(case: &'c Case, policy: Policy, draws: &'c Draws) -> Self {
        let sites = case.sites.iter().zip(&draws.coming).map(|(is, coming)| {
            let site = Site::new(is.clone(), coming, &case.troubles);
            let outages =
                site.planned.iter().map(|(from, to)| Outage { from: millis(*from), to: Some(millis(*to)) });
            let outages = outages.collect();
            Watched { site, given: Vec::new(), heard: 0.0, lost: None, outages }
        });
        Self {
            case,
            policy,
            runs: &draws.runs,
            sites: sites.collect(),
            results: Vec::new(),
            estimates: Estimates::default(),
            class: ("replay".parse().expect("a name"), "work".parse().expect("a name")),
            told: 0.0,
            next: 0,
        }
    }

    pub(super) fn results(self) -> Vec<Outcome> {
        self.results
    }

    /// Jobs that come together.
    pub(super) fn arrives(&mut self, arrival: Arrival) {
        let mut chosen = None;
        for index in 0..arrival.jobs {
            if index == 0 || self.policy.places_each() {
                chosen = self.choose(arrival.at);
            }
            let Some(site) = chosen else { continue };
            let job = self.results.len();
            self.results.push(Outcome { arrived: arrival.at, site, done: f64::INFINITY });
            self.give(job, site, arrival.at);
        }
    }

    fn give(&mut self, job: usize, site: usize, now: f64) {
        let fate = self.sites[site].site.give(job, self.runs[site][job], now);
        self.sites[site].given.push(fate);
        let result = &mut self.results[job];
        if fate.done < result.done {
            (result.site, result.done) = (site, fate.done);
        }
    }

    fn choose(&mut self, now: f64) -> Option<usize> {
        let backlog = |watched: &Watched<'_>| watched.given.iter().filter(|fate| fate.starts > now).count();
        let takes = |watched: &Watched<'_>| backlog(watched) < self.case.most;
        match self.policy {
            Policy::RoundRobin => {
                let sites = self.sites.len();
                let site =
                    (self.next..self.next + sites).map(|at| at % sites).find(|at| takes(&self.sites[*at]))?;
                self.next = site + 1;
                Some(site)
            }
            Policy::ShortestBacklog | Policy::ShortestBacklogEach => {
                let open = (0..self.sites.len()).filter(|at| takes(&self.sites[*at]));
                open.min_by_key(|at| backlog(&self.sites[*at]))
            }
            Policy::Predicted => {
                let candidates: Vec<Candidate> =
                    self.sites.iter().map(|watched| self.candidate(watched, now)).collect();
                let decision = choose(&Wanted::default(), &candidates, millis(now)).ok()?;
                candidates.iter().position(|candidate| candidate.site == decision.site)
            }
        }
    }

    /// What is known of a site now.
    fn candidate(&self, watched: &Watched<'_>, now: f64) -> Candidate {
        let is = &watched.site.is;
        let run = self.estimates.run(&is.site, &self.class);
        let ahead: Vec<Ahead> = watched
            .given
            .iter()
            .filter(|fate| fate.ends > now)
            .map(|fate| {
                if fate.starts <= now {
                    Ahead::Running(millis(fate.starts).plus(run.unwrap_or_default()))
                } else if fate.landed <= now {
                    Ahead::Waiting
                } else {
                    Ahead::Coming(BYTES)
                }
            })
            .collect();
        let backlog = ahead.iter().filter(|ahead| !matches!(ahead, Ahead::Running(_))).count();
        Candidate {
            site: is.site.clone(),
            bytes: BYTES,
            rate: self.estimates.rate(&is.site, comes(watched, now), millis(now)),
            settling: self.estimates.settling(&is.site),
            slots: is.nodes,
            run,
            wait: Duration::ZERO,
            after: Duration::from_secs_f64(is.after),
            outages: watched.outages.clone(),
            room: Some(self.case.most.saturating_sub(backlog)),
            allocation: None,
            lost: watched.lost.clone(),
            ahead,
        }
    }

    /// Everything that happens until a time is told, and sites are looked at.
    pub(super) fn watch_until(&mut self, until: f64) {
        while self.told + LOOKS < until {
            self.tell(self.told + LOOKS);
            self.look();
            self.place_again();
        }
        self.tell(until);
    }

    /// As long as something is awaited.
    pub(super) fn watch_to_the_end(&mut self) {
        let awaited = |placer: &Self| placer.results.iter().map(|result| result.done).fold(0.0, f64::max);
        while self.told < awaited(self).min(self.case.until) {
            self.watch_until(self.told + 2.0 * LOOKS);
        }
    }

    /// What happens until a time, in its order.
    fn tell(&mut self, until: f64) {
        let since = std::mem::replace(&mut self.told, until);
        let is_new = |at: f64| since < at && at <= until;
        for watched in &mut self.sites {
            let site = &watched.site.is.site;
            // In the order of their coming, as they were given.
            for fate in watched.given.iter().filter(|fate| is_new(fate.landed)) {
                self.estimates.moved(site, BYTES, millis(fate.begun), millis(fate.landed));
                self.estimates.settled(site, Duration::from_secs_f64(watched.site.is.delay));
            }
            let mut ended: Vec<&Fate> = watched.given.iter().filter(|fate| is_new(fate.ends)).collect();
            ended.sort_by(|one, other| one.ends.total_cmp(&other.ends));
            for fate in ended {
                self.estimates.ran(site, &self.class, Duration::from_secs_f64(fate.ends - fate.starts));
            }
            let seen = watched.given.iter().flat_map(|fate| [fate.landed, fate.starts, fate.ends, fate.done]);
            watched.heard = seen.filter(|at| *at <= until).fold(watched.heard, f64::max);
            watched.given.retain(|fate| fate.done > until);
        }
    }

    /// Whether a site is silent; what it was given and nobody saw done is placed anew, oldest first.
    fn look(&mut self) {
        if self.policy != Policy::Predicted {
            return;
        }
        let now = self.told;
        for index in 0..self.sites.len() {
            let watched = &self.sites[index];
            let due = self.due(watched, now);
            let lost = silence(millis(watched.heard), due, &watched.outages, SILENT, millis(now));
            let is_new = lost.is_some() && watched.lost.is_none();
            self.sites[index].lost = lost;
            if is_new {
                let given: Vec<usize> = self.sites[index].given.iter().map(|fate| fate.job).collect();
                for job in given {
                    if let Some(site) = self.choose(now) {
                        self.give(job, site, now);
                    }
                }
            }
        }
    }

    /// What was placed last at each site, and of whose data nothing has come, goes where it is done clearly earlier.
    fn place_again(&mut self) {
        if self.policy != Policy::Predicted {
            return;
        }
        let now = self.told;
        for index in 0..self.sites.len() {
            while let Some(last) = self.sites[index].given.last().filter(|fate| fate.begun > now).copied() {
                if self.sites[index].lost.is_some() {
                    break;
                }
                let given = self.sites[index].given.pop();
                let candidates: Vec<Candidate> =
                    self.sites.iter().map(|watched| self.candidate(watched, now)).collect();
                let placed = Some(candidates[index].site.clone());
                let wanted = Wanted { placed, ..Wanted::default() };
                let chosen = choose(&wanted, &candidates, millis(now)).ok();
                let chosen = chosen.filter(|chosen| chosen.site != candidates[index].site);
                let site =
                    chosen.and_then(|chosen| candidates.iter().position(|one| one.site == chosen.site));
                let Some(site) = site else {
                    self.sites[index].given.extend(given);
                    break;
                };
                self.sites[index].site.take_back();
                self.results[last.job].done = f64::INFINITY;
                self.give(last.job, site, now);
            }
        }
    }

    /// When something should be seen of a site: the next data, or the next end.
    fn due(&self, watched: &Watched<'_>, now: f64) -> Option<Millis> {
        let is = &watched.site.is;
        let rate = self.estimates.rate(&is.site, None, millis(now));
        let lands = comes(watched, now)
            .and_then(|(begun, _)| Some(begun.plus(Duration::from_secs_f64(rate?.seconds_for(1e9)))));
        let run = self.estimates.run(&is.site, &self.class);
        let running = watched.given.iter().filter(|fate| fate.starts <= now && now < fate.ends);
        let ends = running.filter_map(|fate| Some(millis(fate.starts).plus(run?))).min();
        lands.into_iter().chain(ends).min()
    }
}

/// Since when the data come that come now.
fn comes(watched: &Watched<'_>, now: f64) -> Option<(Millis, u64)> {
    let next = watched.given.iter().find(|fate| fate.landed > now)?;
    // It began when the one before had come, as far as is known.
    let begun = if next.begun <= now { next.begun } else { watched.heard };
    Some((millis(begun), BYTES))
}

fn millis(seconds: f64) -> Millis {
    #[expect(clippy::cast_possible_truncation, reason = "some hours")]
    Millis((seconds * 1000.0) as i64)
}
