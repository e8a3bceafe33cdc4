//! Standing pools of workers: how many jobs each has, by how many images wait on its site's topic. One grows at once and shrinks when
//! it has had less to do for a while; those that reprocess give way when a run comes that a live pool will work. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use lightrail_topics::events::{Class, FailureClass, JobIdentity, PoolJob, Withdrawal};
use lightrail_topics::{JobName, Millis, PoolName, RunKey, SiteName};

use super::book::Book;
use super::life::Life;

/// A pool, as the configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Where it is.
    pub site: SiteName,
    /// What it is for: its backlog is that of `images.live` or of `images.reprocess`.
    pub class: Class,
    /// Jobs that it has at least,
    pub min: u32,
    /// and at most.
    pub max: u32,
    /// Workers of each job.
    pub workers: u32,
    /// One worker more for so many images that wait.
    pub images_per_worker: u32,
    /// Nodes of each job.
    pub nodes: u32,
    /// How long a job may run, seconds.
    pub seconds: u64,
    /// It shrinks when it has had less to do for so long.
    pub idle: Duration,
}

impl Pool {
    /// How many jobs so many images want.
    pub(super) fn jobs_for(&self, images: u64) -> u32 {
        let each = u64::from(self.workers.max(1)).saturating_mul(self.images_per_worker.max(1).into());
        u32::try_from(images.div_ceil(each)).unwrap_or(u32::MAX).clamp(self.min, self.max.max(self.min))
    }
}

/// How many jobs a pool is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    jobs: u32,
    /// Since when fewer would do, and how many did at most since then.
    less: Option<(Millis, u32)>,
}

/// A pool's job that is wanted and not there.
#[derive(Debug)]
pub(super) struct Slot<'b> {
    pub(super) pool: &'b Pool,
    pub(super) identity: JobIdentity,
    pub(super) why: String,
}

impl Book {
    /// So many images wait at a site.
    pub(super) fn backlog(&mut self, site: SiteName, class: Class, images: u64, now: Millis) {
        for (name, pool) in
            self.limits.pools.iter().filter(|(_, pool)| (&pool.site, pool.class) == (&site, class))
        {
            let wanted = pool.jobs_for(images);
            let size = self.sizes.entry(name.clone()).or_insert(Size { jobs: wanted, less: None });
            if wanted >= size.jobs {
                *size = Size { jobs: wanted, less: None };
                continue;
            }
            let (since, most) = size.less.map_or((now, wanted), |(since, most)| (since, most.max(wanted)));
            *size = if since.plus(pool.idle) <= now {
                Size { jobs: most, less: None }
            } else {
                Size { jobs: size.jobs, less: Some((since, most)) }
            };
        }
        self.backlogs.insert((site, class), images);
    }

    /// How many jobs a pool is to have: none is known before its backlog was looked at.
    pub(super) fn size(&self, name: &PoolName) -> Option<u32> {
        self.sizes.get(name).map(|size| size.jobs)
    }

    /// The pool of a job, while the configuration has it.
    pub fn pool(&self, life: &Life) -> Option<&Pool> {
        let job = life.identity.of_pool()?;
        self.limits.pools.get(&job.pool).filter(|pool| pool.site == job.site)
    }

    /// The jobs that pools lack.
    pub(super) fn slots(&self, now: Millis) -> Vec<Slot<'_>> {
        let mut all = Vec::new();
        for (name, pool) in &self.limits.pools {
            let Some(size) = self.size(name) else { continue };
            for slot in 1..=size {
                let first = PoolJob { pool: name.clone(), site: pool.site.clone(), slot, attempt: 1 };
                let attempts = self.attempts_of(&first.clone().into());
                let identity = match attempts.last() {
                    None => first.into(),
                    Some(last) if last.is_over() && self.slot_due(&attempts) <= now => {
                        last.identity.next_attempt()
                    }
                    Some(_) => continue,
                };
                let images = self.backlogs.get(&(pool.site.clone(), pool.class)).copied().unwrap_or(0);
                let why =
                    format!("{images} {} images wait at {}: {size} jobs work them", pool.class, pool.site);
                all.push(Slot { pool, identity, why });
            }
        }
        all
    }

    /// When a slot's next job may begin: at once, but for those that fail one after the other.
    fn slot_due(&self, attempts: &[&Life]) -> Millis {
        let failed = attempts.iter().rev().take_while(|life| {
            // One whose time is over has done what it could.
            life.has_failed() && !matches!(life.failure(), Some((FailureClass::Timeout, _)))
        });
        let failed = u32::try_from(failed.count()).unwrap_or(u32::MAX).min(10);
        attempts.last().map_or(Millis(0), |last| last.last.1.plus(self.limits.again * failed))
    }

    /// Pools' jobs of which there are more than wanted: those that only wait, then those of the last slots.
    pub(super) fn surplus(&self) -> BTreeSet<JobName> {
        let mut surplus = BTreeSet::new();
        for name in self.limits.pools.keys() {
            let Some(size) = self.size(name) else { continue };
            let open = self.open.iter().filter_map(|job| Some((job, self.jobs.get(job)?)));
            let mut open: Vec<(bool, std::cmp::Reverse<u32>, &JobName)> = open
                .filter(|(_, life)| !life.is_withdrawn())
                .filter_map(|(job, life)| {
                    let of = life.identity.of_pool().filter(|of| of.pool == *name)?;
                    Some((life.runs(), std::cmp::Reverse(of.slot), job))
                })
                .collect();
            open.sort();
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            let more = open.len().saturating_sub(size);
            surplus.extend(open.into_iter().take(more).map(|(_, _, job)| job.clone()));
        }
        surplus
    }

    /// Why a pool's job is to be ended, if it is.
    pub(super) fn slot_ends(&self, life: &Life, gives_way: bool, is_surplus: bool) -> Option<Withdrawal> {
        if self.pool(life).is_none() {
            Some(Withdrawal::RuleRemoved)
        } else if gives_way {
            Some(Withdrawal::GaveWay)
        } else {
            is_surplus.then_some(Withdrawal::NotNeeded)
        }
    }

    /// The jobs that live pools of a site may still want for a run that has ended and is on its way there.
    pub(super) fn pools_expect(&self, site: &SiteName, now: Millis) -> usize {
        let live =
            self.limits.pools.iter().filter(|(_, pool)| pool.site == *site && pool.class == Class::Live);
        let room: u32 = live
            .map(|(name, pool)| pool.max.saturating_sub(self.size(name).unwrap_or(pool.min)))
            .fold(0, u32::saturating_add);
        if room == 0 || !self.active.iter().any(|run| self.comes_soon(run, site, now)) {
            return 0;
        }
        usize::try_from(room).unwrap_or(usize::MAX)
    }

    /// Whether a live run that will be a live pool's work is on its way to a site.
    fn comes_soon(&self, run: &RunKey, site: &SiteName, now: Millis) -> bool {
        let Some(known) = self.run(run).filter(|known| known.ended) else { return false };
        let lands = known.ended_at.is_some_and(|ended| now < ended.plus(self.limits.lands_within));
        lands && known.at(site).is_none_or(|at| at.whole.is_none()) && self.sites.comes(site, run)
    }

    /// Whether a live pool waits for a run.
    pub(super) fn pools_wait_for(&self, run: &RunKey, now: Millis) -> bool {
        let mut live = self.limits.pools.values().filter(|pool| pool.class == Class::Live);
        live.any(|pool| self.comes_soon(run, &pool.site, now))
    }

    /// The newest job of each slot that there ever was, by pool and slot.
    pub fn pool_jobs(&self) -> Vec<&Life> {
        let of_pools = self.attempts.iter().filter(|(first, _)| first.of_pool().is_some());
        of_pools.filter_map(|(_, attempts)| self.jobs.get(attempts.values().next_back()?)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lightrail_topics::events::{JobEnd, JobStep};

    use super::super::{Action, Input, Limits, Phase};
    use super::*;
    use crate::executor::{Ending, SchedulerId, Seen, Sighting};

    fn site() -> SiteName {
        "NERSC".parse().unwrap()
    }

    fn pool(class: Class, min: u32, max: u32) -> Pool {
        Pool {
            site: site(),
            class,
            min,
            max,
            workers: 2,
            images_per_worker: 50,
            nodes: 1,
            seconds: 3600,
            idle: Duration::from_secs(300),
        }
    }

    struct World {
        book: Book,
        now: Millis,
        ended: Vec<Ending>,
        intents: Vec<String>,
    }

    impl World {
        fn new(pools: &[(&str, Pool)], at_once: usize) -> Self {
            let limits = Limits {
                grace: Duration::from_secs(60),
                again: Duration::from_secs(30),
                lands_within: Duration::from_secs(1800),
                at_once: [(site(), at_once)].into(),
                pools: pools.iter().map(|(name, pool)| (name.parse().unwrap(), pool.clone())).collect(),
                ..Limits::default()
            };
            let mut book = Book::new(limits);
            book.begin(1, Millis(0));
            Self { book, now: Millis(0), ended: Vec::new(), intents: Vec::new() }
        }

        /// So many seconds pass; then so many images wait.
        fn waits(&mut self, seconds: i64, class: Class, images: u64) {
            self.now = Millis(self.now.0 + seconds * 1000);
            self.book.take(Input::Backlog(site(), class, images), self.now);
            self.plan();
        }

        fn plan(&mut self) {
            for _ in 0..10 {
                let actions = self.book.plan(self.now);
                for action in actions {
                    match action {
                        Action::Publish(steps) => {
                            for job in steps {
                                if let JobStep::Intended { reason, .. } = &job.step {
                                    self.intents.push(format!("{} ({reason})", job.identity));
                                }
                                self.book.take(Input::Job(job), self.now);
                            }
                        }
                        Action::Submit(name) => {
                            let id: SchedulerId = name.as_str().parse().unwrap();
                            self.book.take(Input::Submitted(name.clone(), Ok(id)), self.now);
                            self.book.plan(self.now);
                            self.sees(&name, Seen::Running);
                        }
                        Action::End(name, _, how) => {
                            self.ended.push(how);
                            self.sees(&name, Seen::Ended { end: JobEnd::Done, exit: Some(0) });
                        }
                        Action::Route(..) | Action::Fence(_) => unreachable!("{action:?}"),
                    }
                }
            }
        }

        fn sees(&mut self, name: &JobName, seen: Seen) {
            let id: SchedulerId = name.as_str().parse().unwrap();
            let seen = vec![Sighting { name: name.clone(), id, seen }];
            self.book.take(Input::Looked { site: site(), asked: vec![name.clone()], seen }, self.now);
        }

        fn fails(&mut self) {
            let running = self.book.jobs().find(|life| matches!(life.phase, Phase::Running(_))).unwrap();
            let name = running.identity.name();
            let end = JobEnd::Failed { class: FailureClass::Application, text: "exit status 1".to_owned() };
            self.sees(&name, Seen::Ended { end, exit: Some(1) });
            self.plan();
        }

        fn running(&self) -> BTreeMap<String, usize> {
            let open = self.book.jobs().filter(|life| !life.is_over());
            open.fold(BTreeMap::new(), |mut all, life| {
                *all.entry(life.identity.of_pool().unwrap().pool.to_string()).or_default() += 1;
                all
            })
        }
    }

    #[test]
    fn a_pool_grows_with_its_backlog_at_once_and_shrinks_when_it_is_idle_for_a_while() {
        let mut world = World::new(&[("live", pool(Class::Live, 1, 4))], 10);
        world.plan();
        assert!(world.running().is_empty(), "nobody knows what waits");
        world.waits(0, Class::Live, 0);
        assert_eq!(world.running()["live"], 1, "as many as it has at least");
        world.waits(5, Class::Live, 101);
        assert_eq!(world.running()["live"], 2);
        world.waits(5, Class::Live, 10_000);
        assert_eq!(world.running()["live"], 4, "as many as it has at most");
        assert_eq!(
            world.intents[0],
            "pool live NERSC slot 1 attempt 1 (0 live images wait at NERSC: 1 jobs work them)"
        );
        world.waits(5, Class::Live, 0);
        world.waits(200, Class::Live, 150);
        world.waits(99, Class::Live, 0);
        assert_eq!(world.running()["live"], 4);
        world.waits(1, Class::Live, 0);
        assert_eq!(world.running()["live"], 2, "as many as were wanted within that time");
        assert_eq!(world.ended, [Ending::Finish; 2]);
        world.waits(5, Class::Live, 10_000);
        assert_eq!(world.running()["live"], 4);
        assert!(world.intents.last().unwrap().starts_with("pool live NERSC slot 4 attempt 2 "));
    }

    #[test]
    fn a_pool_that_reprocesses_gives_way_when_a_run_comes() {
        let pools = [("live", pool(Class::Live, 1, 3)), ("again", pool(Class::Reprocess, 0, 9))];
        let mut world = World::new(&pools, 4);
        world.waits(0, Class::Live, 0);
        world.waits(1, Class::Reprocess, 10_000);
        assert_eq!((world.running()["live"], world.running()["again"]), (1, 3));
        // A run ends and is on its way.
        let run: RunKey = "mfxx1/1".parse().unwrap();
        let seen = super::super::TransferSeen {
            lfn: "/mfx/mfxx1/xtc/mfxx1-r0001-s00-c00.xtc".parse().unwrap(),
            run: run.clone(),
            site: site(),
            state: lightrail_topics::events::TransferState::Carrying,
            size: Some(1000),
            moved: None,
            fault: None,
            at: world.now,
        };
        world.book.take(Input::Transfer(seen), world.now);
        world.book.take(Input::RunEnded(run, Some(world.now)), world.now);
        world.waits(1, Class::Reprocess, 10_000);
        assert_eq!(
            (world.running()["live"], world.running()["again"]),
            (1, 1),
            "before its images are there"
        );
        world.waits(1, Class::Live, 10_000);
        assert_eq!((world.running()["live"], world.running()["again"]), (3, 1));
    }

    #[test]
    fn a_slot_whose_jobs_fail_is_tried_ever_more_rarely() {
        let mut world = World::new(&[("live", pool(Class::Live, 1, 1))], 10);
        world.waits(0, Class::Live, 0);
        for failed in 1..=3 {
            world.fails();
            world.waits(30 * failed - 1, Class::Live, 0);
            assert!(world.running().is_empty());
            world.waits(1, Class::Live, 0);
            assert_eq!(world.running()["live"], 1);
        }
    }

    #[test]
    fn a_pool_that_is_no_more_configured_ends_its_jobs() {
        let mut world = World::new(&[("live", pool(Class::Live, 2, 2))], 10);
        world.waits(0, Class::Live, 0);
        assert_eq!(world.running()["live"], 2);
        world.book.limits.pools.clear();
        world.waits(1, Class::Live, 0);
        assert!(world.running().is_empty());
        assert_eq!(world.ended, [Ending::Finish; 2]);
    }
}
