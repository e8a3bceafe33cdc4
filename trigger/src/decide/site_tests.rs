//! Rules of several sites: where work goes, what becomes of it when a site is lost, jobs that fail the same way everywhere. Two
//! sites in memory, in virtual time.

mod allocation;
mod files;
mod reservation;

use std::collections::BTreeMap;
use std::time::Duration;

use lightrail_topics::events::{
    FacilityStatus, FailureClass, Health, IndexState, Indexed, JobEnd, JobIdentity, JobStep, KnownOutage,
    RouteOverride, Rule, StatusBy, Task, TransferState, Trigger, Work,
};
use lightrail_topics::{JobName, Lfn, Millis, RunAtSite, RunInTrial, RunKey, SiteName, TrialNumber};

use super::{Action, Book, Input, Limits, Tally, TransferSeen};
use crate::executor::{Ending, SchedulerId, Seen, Sighting};

const GB: u64 = 1_000_000_000;
const MINUTE: i64 = 60_000;

pub(super) fn site(name: &str) -> SiteName {
    name.parse().unwrap()
}

pub(super) fn run(number: u32) -> RunKey {
    format!("mfxx1/{number}").parse().unwrap()
}

fn lfn(number: u32, stream: u32) -> Lfn {
    format!("/mfx/mfxx1/xtc/mfxx1-r{number:04}-s{stream:02}-c00.xtc").parse().unwrap()
}

pub(super) fn limits() -> Limits {
    Limits {
        grace: Duration::from_secs(60),
        again: Duration::from_secs(30),
        lands_within: Duration::from_secs(1800),
        at_once: ["NERSC", "OLCF"].map(|name| (site(name), 4)).into(),
        for_live: BTreeMap::new(),
        heartbeat: Duration::from_secs(36_000),
        lost_after: Duration::from_secs(300),
        give_up_after: Duration::from_secs(900),
        failover_for: Duration::from_secs(1800),
        hangs: Duration::from_secs(900),
        allocation: BTreeMap::new(),
        reserved: BTreeMap::new(),
        pools: BTreeMap::new(),
    }
}

pub(super) fn task(name: &str, work: Work) -> Task {
    let task = name.parse().unwrap();
    Task { task, work, after: Vec::new(), nodes: 2, seconds: 3600, attempts: 3, only: None, ahead: None }
}

pub(super) fn rule(sites: &[&str], tasks: Vec<Task>) -> Rule {
    Rule {
        rule: "live".parse().unwrap(),
        version: 1,
        trigger: Trigger::AllFilesTransferred,
        run_param: None,
        when: None,
        dataset: None,
        experiment: None,
        first_run: None,
        last_run: None,
        site: site(sites[0]),
        or_at: sites[1..].iter().map(|name| site(name)).collect(),
        trial: Some(TrialNumber(3)),
        tasks,
        since: None,
        who: "auser".to_owned(),
        at: Millis(0),
    }
}

/// A book that decides, what it has told, and schedulers that do as they are told.
pub(super) struct World {
    pub(super) book: Book,
    pub(super) now: Millis,
    pub(super) routes: Vec<RouteOverride>,
    pub(super) ended: Vec<(SchedulerId, Ending)>,
    pub(super) queued: BTreeMap<JobName, SchedulerId>,
    pub(super) intents: Vec<(JobIdentity, JobStep)>,
    pub(super) last: Vec<(JobIdentity, JobStep)>,
    /// Whether the folders of claims are as lost as their sites.
    pub(super) claims_are_away: bool,
}

impl World {
    pub(super) fn new(rule: &Rule) -> Self {
        Self::of(rule, limits())
    }

    pub(super) fn of(rule: &Rule, limits: Limits) -> Self {
        let mut book = Book::new(limits);
        book.take(Input::Rule(rule.rule.clone(), Some(rule.clone())), Millis(0));
        book.begin(1, Millis(0));
        Self {
            book,
            now: Millis(0),
            routes: Vec::new(),
            ended: Vec::new(),
            queued: BTreeMap::new(),
            intents: Vec::new(),
            last: Vec::new(),
            claims_are_away: false,
        }
    }

    pub(super) fn tell(&mut self, input: Input) {
        self.book.take(input, self.now);
    }

    /// Plans until nothing follows any more.
    pub(super) fn plan(&mut self) {
        for _ in 0..20 {
            let actions = self.book.plan(self.now);
            if actions.is_empty() {
                return;
            }
            for action in actions {
                match action {
                    Action::Publish(steps) => {
                        for job in steps {
                            if matches!(job.step, JobStep::Intended { .. }) {
                                self.intents.push((job.identity.clone(), job.step.clone()));
                            }
                            self.last.push((job.identity.clone(), job.step.clone()));
                            self.tell(Input::Job(job));
                        }
                    }
                    Action::Route(experiment, route) => {
                        self.routes.push(route.clone());
                        self.tell(Input::Override(experiment, Some(route)));
                    }
                    Action::Submit(name) => {
                        let id: SchedulerId = format!("{}", 100 + self.queued.len()).parse().unwrap();
                        self.queued.insert(name.clone(), id.clone());
                        self.tell(Input::Submitted(name, Ok(id)));
                    }
                    Action::Fence(_) if self.claims_are_away => {}
                    Action::Fence(job) => self.tell(Input::Fenced { job, claimed: true }),
                    Action::End(_, id, how) => self.ended.push((id, how)),
                }
            }
        }
        panic!("plans without end: {:#?}", self.last);
    }

    pub(super) fn wait(&mut self, minutes: i64) {
        self.now = Millis(self.now.0 + minutes * MINUTE);
        self.plan();
    }

    /// A site's scheduler says this of the newest job.
    pub(super) fn seen(&mut self, at: &str, seen: Seen) {
        let (identity, _) = self.intents.last().unwrap();
        let name = identity.name();
        let id = self.queued[&name].clone();
        let sighting = Sighting { name: name.clone(), id, seen };
        self.tell(Input::Looked { site: site(at), asked: vec![name], seen: vec![sighting] });
        self.plan();
    }

    pub(super) fn failed(&mut self, at: &str, class: FailureClass, text: &str) {
        let end = JobEnd::Failed { class, text: text.to_owned() };
        self.seen(at, Seen::Ended { end, exit: Some(1) });
    }

    pub(super) fn transfer(&mut self, number: u32, to: &str, state: TransferState) {
        let seen = TransferSeen {
            lfn: lfn(number, 0),
            run: run(number),
            site: site(to),
            state,
            size: Some(10 * GB),
            moved: (state == TransferState::Done).then_some(10 * GB),
            fault: None,
            at: self.now,
        };
        self.tell(Input::Transfer(seen));
    }

    /// A run that has been copied to a site, in so many seconds.
    pub(super) fn lands(&mut self, number: u32, at: &str, seconds: i64) {
        self.transfer(number, at, TransferState::Carrying);
        self.now = Millis(self.now.0 + seconds * 1000);
        self.transfer(number, at, TransferState::Done);
        let tally = Tally { count: 1, size: 10 * GB, largest: 10 * GB };
        let at = RunAtSite { run: run(number), site: site(at) };
        self.tell(Input::RunAvailable(at, tally, Some(self.now)));
    }

    pub(super) fn indexed(&mut self, number: u32, at: &str, images: u64) {
        self.tell(Input::Indexed(Indexed {
            run: run(number),
            trial: TrialNumber(3),
            site: site(at),
            number: 1,
            live: true,
            images,
            state: IndexState::Closed,
            manifest: None,
            positions: Vec::new(),
            at: self.now,
        }));
    }

    pub(super) fn results(&mut self, number: u32, results: u64) {
        for _ in 0..results {
            self.tell(Input::Result(RunInTrial { run: run(number), trial: TrialNumber(3) }));
        }
    }

    pub(super) fn status(&mut self, of: &str, health: Health, outages: Vec<KnownOutage>) {
        self.tell(Input::Facility(FacilityStatus {
            site: site(of),
            resource: "machine".parse().unwrap(),
            by: StatusBy::Sfapi,
            health,
            text: "so it says".to_owned(),
            outages,
            measured: None,
            since: self.now,
            at: self.now,
        }));
    }

    /// All intents so far: what, where, and what it moves.
    pub(super) fn told(&self) -> Vec<String> {
        let told = self.intents.iter().map(|(identity, step)| {
            let JobStep::Intended { site, moves, ahead, .. } = step else { unreachable!() };
            let moves = moves.as_ref().map(|from| format!(" from {from}")).unwrap_or_default();
            let ahead = if *ahead { " ahead" } else { "" };
            format!("{identity} at {site}{moves}{ahead}")
        });
        told.collect()
    }

    pub(super) fn why(&self) -> String {
        let Some((_, JobStep::Intended { placed: Some(placed), .. })) = self.intents.last() else {
            return String::new();
        };
        placed.clone()
    }
}

pub(super) fn command() -> Work {
    Work::Command {
        program: "/bin/true".to_owned(),
        arguments: Vec::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
    }
}

pub(super) fn workers() -> Work {
    Work::Analysis { workers: 4, images_per_worker: None }
}

/// A run of each of these is done at each site, so that all is measured: 10 GB in so many seconds, then a job of so many minutes.
fn measured(world: &mut World, each: &[(&str, i64, i64)]) {
    for (number, (at, seconds, minutes)) in (1_u32..).zip(each) {
        world.lands(number, at, *seconds);
        world.plan();
        world.seen(at, Seen::Running);
        world.wait(*minutes);
        world.seen(at, Seen::Ended { end: JobEnd::Done, exit: Some(0) });
    }
    world.intents.clear();
}

#[test]
fn work_goes_where_it_is_predicted_to_be_done_first_and_says_why() {
    let mut world = World::new(&rule(&["NERSC", "OLCF"], vec![task("work", command())]));
    measured(&mut world, &[("NERSC", 100, 10), ("OLCF", 10, 5)]);
    // It is at both, and runs faster at one.
    world.lands(7, "NERSC", 100);
    world.lands(7, "OLCF", 10);
    world.plan();
    assert_eq!(world.told(), ["live mfxx1/7/3 work attempt 1 at OLCF"]);
    insta::assert_snapshot!(world.why(), @"OLCF finishes first (NERSC: done in 10m 0s (0s of data, 0s of queue, 10m 0s of run); OLCF: done in 5m 0s (0s of data, 0s of queue, 5m 0s of run))");
    // It is at one only, and not on its way to the other.
    world.lands(8, "NERSC", 100);
    world.plan();
    assert_eq!(world.told()[1], "live mfxx1/8/3 work attempt 1 at NERSC");
    // It is at one, on its way to the other, where it will be done sooner all the same: it waits for that.
    world.transfer(9, "OLCF", TransferState::Carrying);
    world.lands(9, "NERSC", 1);
    world.plan();
    assert_eq!(world.told().len(), 2);
    assert!(
        world
            .book
            .why_there(world.book.rules().next().unwrap(), &run(9))
            .unwrap()
            .starts_with("OLCF finishes first")
    );
    world.transfer(9, "OLCF", TransferState::Done);
    world.lands(9, "OLCF", 1);
    world.plan();
    assert_eq!(world.told()[2], "live mfxx1/9/3 work attempt 1 at OLCF");
    // A maintenance is a wall.
    let outage = KnownOutage {
        from: Millis(world.now.0 + MINUTE),
        to: Some(Millis(world.now.0 + 600 * MINUTE)),
        planned: true,
        text: String::new(),
    };
    world.status("OLCF", Health::Up, vec![outage]);
    world.lands(10, "OLCF", 1);
    world.lands(10, "NERSC", 1);
    world.plan();
    assert_eq!(world.told()[3], "live mfxx1/10/3 work attempt 1 at NERSC");
}

#[test]
fn before_anything_is_measured_the_shortest_backlog_decides() {
    let mut world = World::new(&rule(&["NERSC", "OLCF"], vec![task("work", command())]));
    for number in 1..=4 {
        world.lands(number, "NERSC", 1);
        world.lands(number, "OLCF", 1);
        world.plan();
    }
    let at: Vec<&str> =
        world.told().iter().map(|told| if told.ends_with("NERSC") { "N" } else { "O" }).collect();
    assert_eq!(at, ["N", "O", "N", "O"]);
    assert!(world.why().starts_with("OLCF has the shortest backlog"), "{}", world.why());
}

#[test]
fn what_has_not_begun_at_a_lost_site_goes_elsewhere_and_so_do_the_data() {
    let mut world = World::new(&rule(&["NERSC", "OLCF"], vec![task("work", workers())]));
    world.lands(1, "NERSC", 100);
    world.lands(1, "OLCF", 100);
    world.results(1, 0);
    world.plan();
    let [(_, JobStep::Intended { site: first, .. })] = &world.intents[..] else {
        panic!("{:?}", world.told())
    };
    assert_eq!(*first, site("NERSC"));
    world.transfer(2, "NERSC", TransferState::Ready);
    world.status("NERSC", Health::Down, Vec::new());
    world.wait(4);
    assert_eq!((world.told().len(), world.routes.len()), (1, 0), "it may come back");
    world.wait(1);
    // The job that waited there is given up, and its run is at the other site.
    assert_eq!(world.told()[1], "live mfxx1/1/3 work attempt 2 at OLCF");
    insta::assert_snapshot!(world.why(), @"OLCF is the only one that can take it (NERSC: lost: machine is down since 5m 0s (so it says); OLCF: not measured yet, backlog 0)");
    let [route] = &world.routes[..] else { panic!("{:?}", world.routes) };
    assert_eq!((&route.to, route.move_begun), (&vec![site("OLCF")], true));
    insta::assert_snapshot!(route.reason, @"NERSC is lost: machine is down since 5m 0s (so it says); OLCF is the only one that can take it (OLCF: not measured yet, backlog 0)");
    // Said again in its last third, while it is needed.
    world.wait(19);
    assert_eq!(world.routes.len(), 1);
    world.wait(2);
    assert_eq!(world.routes.len(), 2);
    assert_eq!(world.routes[1].expires, world.now.plus(Duration::from_secs(1800)));
    world.status("NERSC", Health::Up, Vec::new());
    world.wait(31);
    assert_eq!(world.routes.len(), 2, "it ends by itself");
    // The copy that may have come is ended, once.
    let copies: Vec<&str> =
        world.ended.iter().map(|(_, how)| if *how == Ending::Cancel { "cancel" } else { "?" }).collect();
    assert_eq!(copies, ["cancel"]);
}

#[test]
fn what_runs_at_a_lost_site_is_given_up_later_and_done_elsewhere_from_its_unfinished_images() {
    let mut world = World::new(&rule(&["NERSC", "OLCF"], vec![task("work", workers())]));
    world.lands(1, "NERSC", 10);
    world.indexed(1, "NERSC", 100);
    world.plan();
    world.seen("NERSC", Seen::Running);
    world.results(1, 40);
    world.tell(Input::Answered(site("NERSC"), Some("squeue: no route".to_owned())));
    world.wait(14);
    assert_eq!(world.told().len(), 1, "it may be working");
    world.wait(1);
    let given_up = world.last.iter().find_map(|(_, step)| match step {
        JobStep::GivenUp { why, id } => Some((why.clone(), id.clone())),
        _ => None,
    });
    let (why, id) = given_up.unwrap();
    assert!(why.starts_with("site NERSC is lost: its scheduler has not answered for 15m 0s"), "{why}");
    assert_eq!(id.as_deref(), Some("100"));
    assert_eq!(world.told().len(), 1, "its data are not at the other site yet");
    // The mover was told to bring them, as soon as the site was lost.
    let [route] = &world.routes[..] else { panic!("{:?}", world.routes) };
    assert_eq!((&route.to, &route.runs), (&vec![site("OLCF")], &vec![run(1).run]));
    world.lands(1, "OLCF", 10);
    world.plan();
    assert_eq!(world.told()[1..], ["live mfxx1/1/3 work-reroute attempt 1 at OLCF from NERSC"]);
    world.seen("OLCF", Seen::Running);
    world.failed("OLCF", FailureClass::Application, "files are lacking");
    assert_eq!(world.told().len(), 2, "not at once");
    world.wait(1);
    assert_eq!(world.told()[2..], ["live mfxx1/1/3 work-reroute attempt 2 at OLCF from NERSC"]);
    world.indexed(1, "NERSC", 40);
    world.indexed(1, "OLCF", 60);
    world.seen("OLCF", Seen::Running);
    world.seen("OLCF", Seen::Ended { end: JobEnd::Done, exit: Some(0) });
    assert_eq!(world.told()[3..], ["live mfxx1/1/3 work attempt 2 at OLCF"]);
    world.seen("OLCF", Seen::Running);
    world.results(1, 60);
    world.plan();
    assert_eq!(world.ended.last().unwrap().1, Ending::Finish);
    world.seen("OLCF", Seen::Ended { end: JobEnd::Done, exit: Some(0) });
    world.wait(100);
    assert_eq!(world.told().len(), 4, "it is done: {:?}", world.told());
}

/// A site is lost while a job runs there, and its claims with it; told is what was intended after a while.
fn lost_with_its_claims(work: Work) -> World {
    let mut world = World::new(&rule(&["NERSC", "OLCF"], vec![task("work", work)]));
    world.lands(1, "NERSC", 10);
    world.lands(1, "OLCF", 10);
    world.indexed(1, "NERSC", 100);
    world.plan();
    world.seen("NERSC", Seen::Running);
    world.results(1, 40);
    world.claims_are_away = true;
    world.status("NERSC", Health::Down, Vec::new());
    world.wait(15);
    assert_eq!(world.told().len(), 1, "its claim is tried first");
    world.wait(1);
    world
}

#[test]
fn workers_at_a_site_that_is_lost_with_its_claims_are_given_up_for_their_images_are_fenced_on_kafka() {
    let mut world = lost_with_its_claims(workers());
    let given_up = world.last.iter().find_map(|(_, step)| match step {
        JobStep::GivenUp { why, id: Some(_) } => Some(why.clone()),
        _ => None,
    });
    let why = given_up.unwrap();
    assert!(why.ends_with("; its claim cannot be taken, and its images can be moved without"), "{why}");
    assert_eq!(world.told()[1..], ["live mfxx1/1/3 work-reroute attempt 1 at OLCF from NERSC"]);
    // The copy is ended when its site is back.
    world.status("NERSC", Health::Up, Vec::new());
    world.wait(1);
    assert_eq!(world.ended.iter().map(|(_, how)| *how).collect::<Vec<_>>(), [Ending::Cancel]);
}

#[test]
fn a_program_at_a_site_that_is_lost_with_its_claims_is_done_nowhere_else_until_its_claim_is_taken() {
    let mut world = lost_with_its_claims(command());
    world.wait(600);
    assert_eq!(world.told().len(), 1, "it may be at work");
    let (identity, _) = world.intents.last().unwrap();
    let life = world.book.job(&identity.name()).unwrap();
    assert!(world.book.given_up(life, world.now).is_some() && !life.is_fenced_on_kafka());
    world.claims_are_away = false;
    world.wait(1);
    assert_eq!(world.told()[1..], ["live mfxx1/1/3 work attempt 2 at OLCF"]);
}

#[test]
fn a_run_that_is_at_a_lost_site_only_is_brought_to_another_one_and_waits_for_either() {
    let mut world = World::new(&rule(&["NERSC", "OLCF"], vec![task("work", command())]));
    // Its data go to both, and are at one.
    world.transfer(1, "OLCF", TransferState::Carrying);
    world.transfer(1, "OLCF", TransferState::Failed);
    world.status("NERSC", Health::Down, Vec::new());
    world.wait(10);
    world.lands(1, "NERSC", 10);
    world.plan();
    let [route] = &world.routes[..] else { panic!("{:?}", world.routes) };
    assert_eq!((&route.to, &route.runs), (&vec![site("OLCF")], &vec![run(1).run]));
    assert!(world.told().is_empty());
    world.wait(100);
    // It is back before the data were brought.
    world.status("NERSC", Health::Up, Vec::new());
    world.wait(1);
    assert_eq!(world.told(), ["live mfxx1/1/3 work attempt 1 at NERSC"]);
}

#[test]
fn a_rule_of_one_site_waits_for_it_however_long() {
    let mut world = World::new(&rule(&["NERSC"], vec![task("work", command())]));
    world.lands(1, "NERSC", 10);
    world.plan();
    world.status("NERSC", Health::Down, Vec::new());
    world.tell(Input::Answered(site("NERSC"), Some("no".to_owned())));
    world.wait(600);
    assert_eq!((world.told().len(), world.routes.len()), (1, 0));
    assert!(world.last.iter().all(|(_, step)| !step.is_final()), "{:?}", world.last);
}

#[test]
fn a_job_that_fails_the_same_way_everywhere_is_stopped_and_told() {
    let mut world =
        World::new(&rule(&["NERSC", "OLCF"], vec![Task { attempts: 9, ..task("work", command()) }]));
    world.lands(1, "NERSC", 10);
    world.lands(1, "OLCF", 10);
    world.plan();
    for at in ["NERSC", "NERSC", "OLCF", "OLCF"] {
        world.failed(at, FailureClass::Application, "FAILED 3:0");
        world.wait(10);
    }
    let at: Vec<String> =
        world.told().iter().map(|told| told.split(" at ").nth(1).unwrap().to_owned()).collect();
    assert_eq!(at, ["NERSC", "NERSC", "OLCF", "OLCF"]);
    let (identity, _) = world.intents.last().unwrap();
    insta::assert_snapshot!(world.book.stopped_job(identity).unwrap(), @"it has failed at all its sites: NERSC: work failed there, for its program failed (FAILED 3:0); OLCF: work failed there, for its program failed (FAILED 3:0)");
}

#[test]
fn failures_are_tried_again_by_their_class() {
    let tried = |class: FailureClass| {
        let mut world = World::new(&rule(&["NERSC"], vec![task("work", command())]));
        world.lands(1, "NERSC", 10);
        world.plan();
        for attempt in 1..20 {
            if world.told().len() < attempt {
                break;
            }
            world.failed("NERSC", class, "so");
            world.wait(30);
        }
        let told = world.intents.last().and_then(|(identity, _)| world.book.stopped_job(identity));
        assert!(told.is_some(), "{class}");
        world.told().len()
    };
    let all = [
        FailureClass::Application,
        FailureClass::Timeout,
        FailureClass::Memory,
        FailureClass::Refused,
        FailureClass::Node,
        FailureClass::Preempted,
        FailureClass::Deadline,
        FailureClass::Hung,
    ];
    assert_eq!(all.map(tried), [3, 3, 2, 1, 10, 10, 3, 3]);
}
