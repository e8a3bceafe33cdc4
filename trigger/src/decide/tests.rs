//! Deciders that are killed and stopped at every point, on a topic in memory and a faithful double of a scheduler: never two
//! copies of a job that work, never two attempts at once, no job lost. And what rules want, spelled out.

mod sizing;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lightrail_topics::events::{
    FailureClass, IndexState, Indexed, Job, JobEnd, JobStep, Rule, Task, Trigger, Withdrawal, Work,
};
use lightrail_topics::{JobName, Millis, RunAtSite, RunInTrial, RunKey, SiteName, TrialNumber};

use super::{Action, Book, Input, Limits, Tally};
use crate::executor::{COPY, Ending, SchedulerId, Seen, Sighting, SubmitFault};

const GRACE: Duration = Duration::from_secs(120);
/// No submission lasts longer, but of a decider that was stopped.
const SUBMITS_WITHIN: i64 = 20_000;

fn site() -> SiteName {
    "NERSC".parse().unwrap()
}

fn run(number: u32) -> RunKey {
    format!("mfxlv9518/{number}").parse().unwrap()
}

fn at_site(number: u32) -> RunAtSite {
    RunAtSite { run: run(number), site: site() }
}

fn file(number: u32, stream: u32) -> lightrail_topics::Lfn {
    format!("/mfx/mfxlv9518/xtc/mfxlv9518-r{number:04}-s{stream:02}-c00.xtc").parse().unwrap()
}

fn limits(at_once: usize) -> Limits {
    Limits {
        grace: GRACE,
        again: Duration::from_secs(30),
        lands_within: Duration::from_secs(1800),
        at_once: BTreeMap::from([(site(), at_once)]),
        for_live: BTreeMap::new(),
        ..Limits::default()
    }
}

fn task(name: &str, work: Work, after: &[&str]) -> Task {
    Task {
        task: name.parse().unwrap(),
        work,
        after: after.iter().map(|name| name.parse().unwrap()).collect(),
        nodes: 1,
        seconds: 60,
        attempts: 3,
        only: None,
        ahead: None,
    }
}

fn command() -> Work {
    Work::Command {
        program: "/bin/true".to_owned(),
        arguments: Vec::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
    }
}

fn rule(trigger: Trigger, tasks: Vec<Task>) -> Rule {
    Rule {
        rule: "live".parse().unwrap(),
        version: 1,
        trigger,
        run_param: None,
        when: None,
        dataset: None,
        experiment: None,
        first_run: None,
        last_run: None,
        site: site(),
        or_at: Vec::new(),
        trial: Some(TrialNumber(3)),
        tasks,
        since: None,
        who: "auser".to_owned(),
        at: Millis(0),
    }
}

fn available(number: u32) -> Input {
    Input::RunAvailable(at_site(number), Tally { count: 12, size: 1200, largest: 100 }, None)
}

/// One copy of a job at the scheduler.
#[derive(Clone, Debug)]
struct Copy {
    name: JobName,
    id: SchedulerId,
    seen: Seen,
}

/// What outlives every decider: the topic, the scheduler, the claims.
struct World {
    seed: u64,
    random: fastrand::Rng,
    now: Millis,
    topic: Vec<Job>,
    copies: Vec<Copy>,
    /// Submissions under way, with when they arrive: also after their decider's death.
    arriving: Vec<(Millis, JobName)>,
    claims: BTreeMap<JobName, SchedulerId>,
    worked: BTreeMap<JobName, usize>,
    faults: bool,
    /// Until when the scheduler is away: it restarts, and knows afterwards what it knew.
    away: Millis,
    counts: Counts,
}

/// What was done to deciders.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    killed_before: usize,
    killed_during: usize,
    killed_after: usize,
    stopped: usize,
    restarts: usize,
    told_to_end: usize,
}

impl World {
    fn chance(&mut self, of: u32) -> bool {
        self.faults && self.random.u32(..100) < of
    }

    fn arrive(&mut self, name: &JobName) -> SchedulerId {
        let id: SchedulerId = (self.copies.len() + 1).to_string().parse().unwrap();
        self.copies.push(Copy { name: name.clone(), id: id.clone(), seen: Seen::Pending });
        id
    }

    /// Some time passes: what is under way arrives, jobs begin and end.
    fn pass(&mut self, millis: i64) {
        self.now = Millis(self.now.0 + millis);
        let now = self.now;
        let (due, later): (Vec<_>, Vec<_>) = self.arriving.drain(..).partition(|(at, _)| *at <= now);
        self.arriving = later;
        for (_, name) in due {
            self.arrive(&name);
        }
        for index in 0..self.copies.len() {
            if self.random.u32(..100) < 40 {
                self.advance(index);
            }
        }
    }

    fn advance(&mut self, index: usize) {
        let Copy { name, id, seen } = self.copies[index].clone();
        let fails = |exit: u8| Seen::Ended {
            end: JobEnd::Failed { class: FailureClass::Application, text: format!("exit {exit}") },
            exit: Some(exit),
        };
        let next = match seen {
            // The job's first step is its claim.
            Seen::Pending if self.claims.get(&name).is_some_and(|holder| *holder != id) => fails(COPY),
            Seen::Pending => {
                if self.claims.insert(name.clone(), id).is_none() {
                    self.begins_to_work(&name);
                }
                Seen::Running
            }
            // Put back into its queue.
            Seen::Running if self.chance(10) => Seen::Pending,
            Seen::Running if self.chance(15) => fails(7),
            Seen::Running => Seen::Ended { end: JobEnd::Done, exit: Some(0) },
            over => over,
        };
        self.copies[index].seen = next;
    }

    /// A decider told a copy to end.
    fn end(&mut self, id: &SchedulerId) {
        self.counts.told_to_end += 1;
        let Some(copy) = self.copies.iter_mut().find(|copy| copy.id == *id) else { return };
        copy.seen = match &copy.seen {
            Seen::Running | Seen::Suspended => Seen::Ended {
                end: JobEnd::Failed { class: FailureClass::Application, text: "signal 15".to_owned() },
                exit: Some(143),
            },
            Seen::Pending | Seen::Held => {
                Seen::Ended { end: JobEnd::Cancelled { text: "CANCELLED by 0".to_owned() }, exit: None }
            }
            over @ Seen::Ended { .. } => over.clone(),
        };
    }

    fn begins_to_work(&mut self, name: &JobName) {
        let worked = self.worked.entry(name.clone()).or_default();
        *worked += 1;
        assert_eq!(*worked, 1, "seed {}: two copies of {name} work", self.seed);
        let job = self.topic.iter().find(|job| job.job == *name).expect("an intent comes first");
        let mut identity = job.identity.first_attempt();
        while identity.attempt() < job.identity.attempt() {
            let earlier = identity.name();
            identity = identity.next_attempt();
            let is_over = self.topic.iter().any(|job| job.job == earlier && job.step.is_final());
            assert!(is_over, "seed {}: {name} works before {earlier} is over", self.seed);
        }
    }
}

/// What is so of every decider at its start.
fn facts(rule: &Rule, runs: u32) -> Vec<Input> {
    let rule = Input::Rule(rule.rule.clone(), Some(rule.clone()));
    let ended = |number: u32| {
        let tally = Tally { count: 12, size: 1200, largest: 100 };
        Input::RunAvailable(at_site(number), tally, Some(Millis(i64::from(number) * 1000)))
    };
    std::iter::once(rule).chain((1..=runs).map(ended)).collect()
}

fn begin(world: &World, facts: &[Input], epoch: u64) -> Book {
    let mut book = Book::new(limits(2));
    for input in facts.iter().cloned().chain(world.topic.iter().cloned().map(Input::Job)) {
        book.take(input, Millis(0));
    }
    book.begin(epoch, world.now);
    book
}

/// Does what a decider plans; gives nothing where it was killed in the middle.
fn act(world: &mut World, book: &mut Book) -> Option<()> {
    for action in book.plan(world.now) {
        if world.chance(3) {
            return None;
        }
        match action {
            Action::Publish(steps) => {
                if world.chance(10) {
                    // Not taken by Kafka: planned again.
                    continue;
                }
                world.topic.extend(steps.iter().cloned());
                if world.chance(10) {
                    return None;
                }
                for job in steps {
                    book.take(Input::Job(job), world.now);
                }
            }
            Action::Route(..) => unreachable!("no rule names several sites"),
            Action::Submit(name) => {
                let outcome = match world.random.u32(..if world.faults { 10 } else { 1 }) {
                    // Killed before, in, or after sbatch, which ends with its parent.
                    1 => {
                        world.counts.killed_before += 1;
                        return None;
                    }
                    _ if world.now < world.away => {
                        Err(SubmitFault::Unknown("Unable to contact slurm controller".to_owned()))
                    }
                    2 => {
                        world.counts.killed_after += 1;
                        world.arrive(&name);
                        return None;
                    }
                    3 => {
                        world.counts.killed_during += 1;
                        let at = Millis(world.now.0 + world.random.i64(0..SUBMITS_WITHIN));
                        world.arriving.push((at, name));
                        return None;
                    }
                    // Stopped for longer than the grace time between intent and sbatch, while another one decides.
                    4 => {
                        world.counts.stopped += 1;
                        let at = Millis(world.now.0 + world.random.i64(100_000..400_000));
                        world.arriving.push((at, name));
                        return None;
                    }
                    5 => Err(SubmitFault::Unknown("nothing came of it".to_owned())),
                    6 => {
                        // Restarted just after it had taken the job.
                        world.counts.restarts += 1;
                        world.away = Millis(world.now.0 + world.random.i64(1_000..30_000));
                        world.arrive(&name);
                        Err(SubmitFault::Unknown("its answer was lost".to_owned()))
                    }
                    _ => Ok(world.arrive(&name)),
                };
                book.take(Input::Submitted(name, outcome), world.now);
            }
            Action::Fence(name) => {
                let claimed = world.claims.get(&name).is_some_and(|holder| holder.to_string() != "given-up");
                world.claims.entry(name.clone()).or_insert_with(|| "given-up".parse().unwrap());
                book.take(Input::Fenced { job: name, claimed }, world.now);
            }
            Action::End(_, id, _) => {
                // Told, or its answer is lost with the decider.
                if !world.chance(20) {
                    world.end(&id);
                }
            }
        }
    }
    let asked = book.watched(&site());
    if !asked.is_empty() && !world.chance(20) && world.now >= world.away {
        let of =
            |copy: &Copy| Sighting { name: copy.name.clone(), id: copy.id.clone(), seen: copy.seen.clone() };
        let names: BTreeSet<&JobName> = asked.iter().collect();
        let seen = world.copies.iter().filter(|copy| names.contains(&copy.name)).map(of).collect();
        book.take(Input::Looked { site: site(), asked, seen }, world.now);
    }
    Some(())
}

#[test]
fn under_kills_no_job_is_doubled_and_none_is_lost() {
    // Times are the world's own, so none has to be divided. The campaign has ten times as many.
    let worlds = if std::env::var_os("LIGHTRAIL_CAMPAIGN").is_some() { 4000 } else { 400 };
    let (mut deciders, mut copies, mut doubled, mut jobs, mut done_to) = (0, 0, 0, 0, Vec::new());
    for seed in 0..worlds {
        let mut world = World {
            seed,
            random: fastrand::Rng::with_seed(seed),
            now: Millis(1_000_000),
            topic: Vec::new(),
            copies: Vec::new(),
            arriving: Vec::new(),
            claims: BTreeMap::new(),
            worked: BTreeMap::new(),
            faults: true,
            away: Millis(0),
            counts: Counts::default(),
        };
        // Runs 1 and 2 had ended before the rule wanted them: they give way to 3 and 4.
        let rule = Rule {
            since: Some(Millis(2500)),
            ..rule(
                Trigger::AllFilesTransferred,
                vec![task("work", command(), &[]), task("merge", command(), &["work"])],
            )
        };
        let mut known = facts(&rule, 2);
        let lands = world.random.i32(5..60);
        let mut epoch = 1;
        let mut book = begin(&world, &known, epoch);
        for round in 0..600 {
            if round == lands {
                known = facts(&rule, 4);
                for input in &known {
                    book.take(input.clone(), world.now);
                }
            }
            // The second half is without faults, so that all comes to its end.
            world.faults = round < 300;
            if act(&mut world, &mut book).is_none() {
                epoch += 1;
                book = begin(&world, &known, epoch);
            }
            let millis = world.random.i64(10..5000);
            world.pass(millis);
        }
        for number in 1..=4 {
            let mut before_failed = false;
            for task in &rule.tasks {
                let attempts = book.attempts(&rule, task, &run(number), None);
                jobs += attempts.len();
                let done = attempts.last().is_some_and(|life| life.is_done());
                let failed = attempts.iter().filter(|life| life.has_failed()).count();
                let given_up = failed >= 3 && attempts.iter().all(|life| life.is_over());
                assert!(
                    done || given_up || (before_failed && attempts.is_empty()),
                    "seed {seed}: run {number} {}: {attempts:#?}",
                    task.task
                );
                before_failed = !done;
            }
        }
        // Every job's steps have their places, and nothing follows its end.
        let mut last: BTreeMap<&JobName, &Job> = BTreeMap::new();
        for job in &world.topic {
            match last.insert(&job.job, job) {
                Some(before) => {
                    assert!(job.place == before.place + 1 && !before.step.is_final(), "seed {seed}: {job:?}");
                }
                None => assert!(matches!(job.step, JobStep::Intended { .. }), "seed {seed}: {job:?}"),
            }
        }
        deciders += epoch;
        copies += world.copies.len();
        let names: BTreeSet<&JobName> = world.copies.iter().map(|copy| &copy.name).collect();
        doubled += world.copies.len() - names.len();
        done_to.push(world.counts);
    }
    let sum = |count: fn(&Counts) -> usize| done_to.iter().map(count).sum::<usize>();
    let each = [
        sum(|counts| counts.killed_before),
        sum(|counts| counts.killed_during),
        sum(|counts| counts.killed_after),
        sum(|counts| counts.stopped),
        sum(|counts| counts.restarts),
        sum(|counts| counts.told_to_end),
    ];
    println!(
        "{deciders} deciders, {jobs} jobs, {copies} copies submitted, {doubled} of them doubled, never two of a job that \
        worked; killed before, during and after submission, stopped, scheduler restarted, told to end: {each:?}"
    );
    // The worlds do torment: deciders die, copies are doubled.
    assert!(deciders > 3000 && doubled > 100, "{deciders} deciders, {doubled} copies doubled");
    assert!(each.iter().all(|count| *count >= 50), "{each:?}");
}

fn published(book: &mut Book, now: i64) -> Vec<Job> {
    let mut all = Vec::new();
    for action in book.plan(Millis(now)) {
        if let Action::Publish(steps) = action {
            for job in &steps {
                book.take(Input::Job(job.clone()), Millis(now));
            }
            all.extend(steps);
        }
    }
    all
}

#[test]
fn each_trigger_fires_by_what_it_says_and_by_nothing_else() {
    let told =
        [Input::FileAvailable(at_site(1), file(1, 0), 100), Input::RunEnded(run(1), None), available(1)];
    let fires_at =
        [(Trigger::FirstFileTransferred, 0), (Trigger::EndOfRun, 1), (Trigger::AllFilesTransferred, 2)];
    for (trigger, when) in fires_at {
        let mut book = Book::new(limits(9));
        let rule = rule(trigger, vec![task("work", command(), &[])]);
        book.take(Input::Rule(rule.rule.clone(), Some(rule.clone())), Millis(0));
        for (index, input) in told.iter().enumerate() {
            book.take(input.clone(), Millis(0));
            let intents = published(&mut book, 0).len();
            assert_eq!(intents, usize::from(index == when), "{trigger} at {index}");
        }
        // A corrected typing error, and the same said again, run nothing again.
        let corrected = Rule { version: 2, ..rule };
        book.take(Input::Rule(corrected.rule.clone(), Some(corrected)), Millis(0));
        for input in &told {
            book.take(input.clone(), Millis(0));
        }
        assert!(published(&mut book, 0).is_empty());
    }
}

#[test]
fn each_request_by_hand_is_a_job_of_its_own() {
    let mut book = Book::new(limits(9));
    let rule = rule(Trigger::Manual, vec![task("work", command(), &[])]);
    book.take(Input::Rule(rule.rule.clone(), Some(rule.clone())), Millis(0));
    book.take(available(1), Millis(0));
    assert!(published(&mut book, 0).is_empty());
    for request in [1, 2, 2] {
        book.take(Input::Asked(rule.rule.clone(), run(1), request), Millis(0));
    }
    let jobs = published(&mut book, 0);
    let intents: Vec<String> = jobs.iter().map(|job| job.identity.to_string()).collect();
    let said = ["live mfxlv9518/1/3 work request 1 attempt 1", "live mfxlv9518/1/3 work request 2 attempt 1"];
    assert_eq!(intents, said);
    let JobStep::Intended { reason, .. } = &jobs[0].step else { panic!("{jobs:?}") };
    assert_eq!(reason, "MANUAL: asked for 2 times");
    assert!(published(&mut book, 0).is_empty());
}

#[test]
fn rules_are_about_their_experiment_runs_and_site_within_what_it_takes() {
    let mut book = Book::new(limits(2));
    let rule = Rule {
        experiment: Some("mfxlv9518".parse().unwrap()),
        first_run: Some("2".parse().unwrap()),
        last_run: Some("5".parse().unwrap()),
        ..rule(Trigger::AllFilesTransferred, vec![task("work", command(), &[])])
    };
    book.take(Input::Rule(rule.rule.clone(), Some(rule.clone())), Millis(0));
    for number in [6, 5, 4, 3, 1] {
        book.take(available(number), Millis(0));
    }
    let elsewhere = RunAtSite { run: run(2), site: "S3DF".parse().unwrap() };
    book.take(Input::RunAvailable(elsewhere, Tally::default(), None), Millis(0));
    let intents: Vec<String> = published(&mut book, 0).iter().map(|job| job.identity.to_string()).collect();
    assert_eq!(intents, ["live mfxlv9518/3/3 work attempt 1", "live mfxlv9518/4/3 work attempt 1"]);
    let conditions = |number| {
        let all = book.conditions(&rule, &run(number));
        all.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    insta::assert_snapshot!(conditions(2).join("\n"), @r"
    yes: the rule is about this experiment and run
    yes: jobs are run at NERSC
    no: ALL_FILES_TRANSFERRED: not all files are at the site yet
    ");
    insta::assert_snapshot!(conditions(6).join("\n"), @r"
    no: the rule is about this experiment and run
    yes: jobs are run at NERSC
    yes: ALL_FILES_TRANSFERRED: all 12 files are at the site
    ");
}

fn indexed(images: u64, state: IndexState) -> Input {
    Input::Indexed(Indexed {
        run: run(1),
        trial: TrialNumber(3),
        site: site(),
        number: 1,
        live: true,
        images,
        state,
        manifest: None,
        positions: Vec::new(),
        at: Millis(0),
    })
}

#[test]
fn workers_are_told_to_end_when_the_results_are_complete_and_start_again_when_they_no_more_are() {
    let mut book = Book::new(limits(2));
    let rule = rule(
        Trigger::AllFilesTransferred,
        vec![task("work", Work::Analysis { workers: 2, images_per_worker: None }, &[])],
    );
    book.take(Input::Rule(rule.rule.clone(), Some(rule.clone())), Millis(0));
    book.take(available(1), Millis(0));
    let name = published(&mut book, 0)[0].job.clone();
    let id: SchedulerId = "4242".parse().unwrap();
    assert_eq!(book.plan(Millis(0)), [Action::Submit(name.clone())]);
    book.take(Input::Submitted(name.clone(), Ok(id.clone())), Millis(0));
    let looked = |book: &mut Book, seen: Seen| {
        let seen = vec![Sighting { name: name.clone(), id: id.clone(), seen }];
        book.take(Input::Looked { site: site(), asked: vec![name.clone()], seen }, Millis(0));
    };
    looked(&mut book, Seen::Running);
    let steps: Vec<&str> = [published(&mut book, 0), published(&mut book, 0)]
        .iter()
        .flatten()
        .map(|job| job.step.word())
        .collect();
    assert_eq!(steps, ["submitted", "running"]);
    let of = RunInTrial { run: run(1), trial: TrialNumber(3) };
    book.take(indexed(2, IndexState::Growing), Millis(0));
    book.take(Input::Result(of.clone()), Millis(0));
    book.take(Input::Result(of.clone()), Millis(0));
    assert_eq!(book.plan(Millis(0)), [], "more may come");
    book.take(indexed(3, IndexState::Closed), Millis(0));
    assert_eq!(book.plan(Millis(0)), []);
    book.take(Input::Result(of.clone()), Millis(0));
    let told = published(&mut book, 0);
    assert!(matches!(told[0].step, JobStep::Withdrawn { why: Withdrawal::Complete, .. }), "{told:?}");
    assert_eq!(book.plan(Millis(0)), [Action::End(name.clone(), id.clone(), Ending::Finish)]);
    looked(&mut book, Seen::Ended { end: JobEnd::Done, exit: Some(0) });
    assert!(matches!(published(&mut book, 0)[0].step, JobStep::Ended { end: JobEnd::Done, .. }));
    assert_eq!(book.plan(Millis(1)), []);
    // A file that came late brings more images.
    book.take(indexed(5, IndexState::Closed), Millis(0));
    let more = published(&mut book, 2);
    assert_eq!((more.len(), more[0].identity.attempt()), (1, 2));
}

#[test]
fn workers_that_end_too_early_have_failed_and_a_run_without_images_needs_none() {
    let mut book = Book::new(limits(2));
    let rule = rule(
        Trigger::AllFilesTransferred,
        vec![task("work", Work::Analysis { workers: 2, images_per_worker: None }, &[])],
    );
    book.take(Input::Rule(rule.rule.clone(), Some(rule.clone())), Millis(0));
    book.take(indexed(0, IndexState::Closed), Millis(0));
    book.take(available(1), Millis(0));
    assert!(published(&mut book, 0).is_empty());
    book.take(indexed(9, IndexState::Closed), Millis(0));
    let name = published(&mut book, 0)[0].job.clone();
    let seen = Seen::Ended { end: JobEnd::Done, exit: Some(0) };
    let sighting = Sighting { name: name.clone(), id: "1".parse().unwrap(), seen };
    book.plan(Millis(0));
    book.take(Input::Looked { site: site(), asked: vec![name], seen: vec![sighting] }, Millis(0));
    published(&mut book, 0);
    let ended = published(&mut book, 0).remove(0).step;
    assert!(matches!(&ended, JobStep::Ended { end: JobEnd::Failed { .. }, .. }), "{ended:?}");
    assert!(published(&mut book, 29_999).is_empty());
    assert_eq!(published(&mut book, 30_000)[0].identity.attempt(), 2);
}
