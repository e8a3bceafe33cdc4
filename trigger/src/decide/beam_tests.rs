//! The seed paper's Figure 9 in virtual time: while runs are taken, moved and worked live, all earlier runs are wanted again under
//! new parameters. Told as one crowd they delay the live runs, as they did then; as reprocessing they delay none.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use lightrail_topics::events::{IndexState, Indexed, JobEnd, JobStep, Rule, Task, Trigger, Work};
use lightrail_topics::{JobName, Millis, RunAtSite, RunInTrial, RunKey, RunNumber, SiteName, TrialNumber};

use super::{Action, Book, Input, Limits, Tally};
use crate::executor::{Ending, SchedulerId, Seen, Sighting};

/// As in the paper: a run of five minutes, three to copy it, and some more to work it.
const RUN: i64 = 300_000;
const COPY: i64 = 180_000;
const IMAGES: u64 = 300;
/// A job's images in a step.
const IN_A_STEP: u64 = 10;
/// One look of the scheduler: what is decided, seen and worked in one go.
const STEP: i64 = 5_000;
const NODES: usize = 4;
const EARLIER: u32 = 60;
const LIVE: u32 = 10;

fn site() -> SiteName {
    "NERSC".parse().expect("a site")
}

fn run(number: u32) -> RunKey {
    RunKey { experiment: "mfxlv9518".parse().expect("an experiment"), run: RunNumber(number) }
}

fn rule(name: &str, trial: u32, since: i64) -> Rule {
    Rule {
        rule: name.parse().expect("a name"),
        version: 1,
        trigger: Trigger::AllFilesTransferred,
        run_param: None,
        when: None,
        dataset: None,
        experiment: None,
        first_run: None,
        last_run: (name == "again").then_some(RunNumber(EARLIER)),
        site: site(),
        or_at: Vec::new(),
        trial: Some(TrialNumber(trial)),
        tasks: vec![Task {
            task: "work".parse().expect("a name"),
            work: Work::Analysis { workers: 4, images_per_worker: None },
            after: Vec::new(),
            nodes: 1,
            seconds: 3600,
            attempts: 3,
            only: None,
            ahead: None,
        }],
        since: Some(Millis(since)),
        who: "auser".to_owned(),
        at: Millis(since),
    }
}

/// A queue of nodes, first come, first served; a job works its run's images, and ends when it is told to, with the image in hand.
#[derive(Default)]
struct Site {
    queue: VecDeque<JobName>,
    runs: BTreeSet<JobName>,
    over: BTreeMap<JobName, JobEnd>,
    /// When each run's last result came.
    finished: BTreeMap<RunInTrial, Millis>,
    results: BTreeMap<RunInTrial, u64>,
}

impl Site {
    fn end(&mut self, job: &JobName, how: Ending) {
        self.queue.retain(|queued| queued != job);
        if self.runs.remove(job) || how == Ending::Cancel {
            let end = match how {
                Ending::Finish => JobEnd::Done,
                Ending::Cancel => JobEnd::Cancelled { text: "CANCELLED by 0".to_owned() },
            };
            self.over.entry(job.clone()).or_insert(end);
        }
    }

    /// A step's images of every job that runs, which were begun within the step and are told at its end.
    fn work(&mut self, book: &mut Book, now: Millis) {
        while self.runs.len() < NODES
            && let Some(next) = self.queue.pop_front()
        {
            self.runs.insert(next);
        }
        for job in &self.runs {
            let Some(life) = book.job(job) else { continue };
            let trial = life.identity.of_run().and_then(|job| job.trial).expect("workers have one");
            let of = RunInTrial { run: life.identity.run().expect("a run's job").clone(), trial };
            let done = self.results.entry(of.clone()).or_default();
            let new = IN_A_STEP.min(IMAGES - *done);
            *done += new;
            if *done == IMAGES {
                self.finished.entry(of.clone()).or_insert(now);
            }
            for _ in 0..new {
                book.take(Input::Result(of.clone()), now);
            }
        }
    }

    fn seen(&self, job: &JobName) -> Option<Seen> {
        if self.queue.contains(job) {
            Some(Seen::Pending)
        } else if self.runs.contains(job) {
            Some(Seen::Running)
        } else {
            self.over.get(job).map(|end| Seen::Ended { end: end.clone(), exit: None })
        }
    }
}

fn indexed(number: u32, trial: u32) -> Input {
    Input::Indexed(Indexed {
        run: run(number),
        trial: TrialNumber(trial),
        site: site(),
        number: 1,
        live: trial == 3,
        images: IMAGES,
        state: IndexState::Closed,
        manifest: None,
        positions: Vec::new(),
        at: Millis(0),
    })
}

/// Takes a beam time; gives when each run's last result came, under which trial. `again` is since when earlier runs are wanted
/// under the new trial, if they are.
fn beam_time(again: Option<i64>) -> BTreeMap<RunInTrial, Millis> {
    // Four jobs at once on four nodes, nothing kept: all that helps live runs is that others give way.
    let limits = Limits {
        grace: Duration::from_secs(120),
        again: Duration::from_secs(30),
        lands_within: Duration::from_secs(1800),
        at_once: BTreeMap::from([(site(), NODES)]),
        for_live: BTreeMap::new(),
        ..Limits::default()
    };
    let mut book = Book::new(limits);
    let mut place = Site::default();
    let available = |number: u32, ended: i64| {
        let at = RunAtSite { run: run(number), site: site() };
        Input::RunAvailable(at, Tally { count: 12, size: 1200, largest: 100 }, Some(Millis(ended)))
    };
    let live = rule("live", 3, 0);
    book.take(
        Input::Rule(live.rule.clone(), Some(Rule { first_run: Some(RunNumber(EARLIER + 1)), ..live })),
        Millis(0),
    );
    for number in 1..=EARLIER {
        book.take(available(number, -1_000_000 + i64::from(number)), Millis(0));
        book.take(indexed(number, 4), Millis(0));
    }
    if let Some(since) = again {
        let again = rule("again", 4, since);
        book.take(Input::Rule(again.rule.clone(), Some(again)), Millis(0));
    }
    book.begin(1, Millis(0));
    // By when, what is told of live runs.
    let mut news: BTreeMap<(i64, u32), Vec<Input>> = BTreeMap::new();
    for which in 1..=LIVE {
        let (number, ended) = (EARLIER + which, RUN * i64::from(which));
        news.insert((ended, 0), vec![Input::RunEnded(run(number), Some(Millis(ended)))]);
        news.insert((ended + COPY, 1), vec![available(number, ended), indexed(number, 3)]);
    }
    let end = RUN * i64::from(LIVE) + 4_000_000;
    for at in (0..end).step_by(usize::try_from(STEP).expect("a step")) {
        let now = Millis(at);
        while let Some(next) = news.first_entry().filter(|next| next.key().0 <= at) {
            for input in next.remove() {
                book.take(input, now);
            }
        }
        // Until nothing follows any more.
        loop {
            let actions = book.plan(now);
            let mut is_new = false;
            for action in actions {
                match action {
                    Action::Publish(steps) => {
                        is_new = true;
                        for step in steps {
                            book.take(Input::Job(step), now);
                        }
                    }
                    Action::Submit(job) => {
                        place.queue.push_back(job.clone());
                        let id: SchedulerId = job.to_string().parse().expect("an id");
                        book.take(Input::Submitted(job, Ok(id)), now);
                        is_new = true;
                    }
                    Action::End(job, _, how) => place.end(&job, how),
                    Action::Fence(job) => panic!("{job} was lost"),
                    Action::Route(..) => unreachable!("no rule names several sites"),
                }
            }
            if !is_new {
                break;
            }
        }
        place.work(&mut book, Millis(at + STEP));
        let asked = book.watched(&site());
        let sighting = |job: &JobName| {
            let id = job.to_string().parse().expect("an id");
            Some(Sighting { name: job.clone(), id, seen: place.seen(job)? })
        };
        let seen = asked.iter().filter_map(sighting).collect();
        book.take(Input::Looked { site: site(), asked, seen }, Millis(at + STEP));
    }
    // Nobody's fault is counted as a failure: who gave way went on later.
    let failed =
        book.jobs().filter(|life| matches!(life.last.0, JobStep::Ended { end: JobEnd::Failed { .. }, .. }));
    assert_eq!(failed.count(), 0);
    place.finished
}

/// The live runs whose last result came more than 5 % and 2 s later than it would have.
fn delayed(alone: &BTreeMap<RunInTrial, Millis>, with: &BTreeMap<RunInTrial, Millis>) -> Vec<u32> {
    let is_delayed = |which: &u32| {
        let of = RunInTrial { run: run(EARLIER + which), trial: TrialNumber(3) };
        let ended = RUN * i64::from(*which);
        let took = |all: &BTreeMap<RunInTrial, Millis>| all.get(&of).map_or(i64::MAX, |at| at.0 - ended);
        let alone = took(alone);
        assert!(alone < i64::MAX, "run {which} is worked when nothing disturbs it");
        took(with) > alone + alone / 20 + 2_000
    };
    (1..=LIVE).filter(is_delayed).collect()
}

#[test]
fn reprocessing_of_all_earlier_runs_delays_no_live_run() {
    let alone = beam_time(None);
    // As one crowd, oldest run first: the figure.
    let crowd = beam_time(Some(-2_000_000));
    let late = delayed(&alone, &crowd);
    assert!(late.len() >= 5, "without classes live runs are late: {late:?}");
    let ours = beam_time(Some(0));
    assert_eq!(delayed(&alone, &ours), [0; 0], "live runs are delayed");
    // And it is worked for all that: while runs are taken, and whole at the end.
    let again: Vec<Millis> =
        ours.iter().filter(|(of, _)| of.trial == TrialNumber(4)).map(|(_, at)| *at).collect();
    let last_live = Millis(RUN * i64::from(LIVE));
    assert_eq!(again.len(), EARLIER as usize);
    let meanwhile = again.iter().filter(|at| **at < last_live).count();
    assert!(meanwhile > 10, "{meanwhile} of {EARLIER} runs were worked again while others were taken");
}
