//! Workers in a world of memory: a log with positions and notes, images that are read and worked in any order, processes
//! that are killed, stopped and asked to leave. Whatever happens, each image has one result at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

const TICK: Duration = Duration::from_millis(20);
const LIMIT: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nature {
    Good,
    /// Ends its process when it is worked on.
    Kills,
    /// Never comes back.
    Hangs,
    /// Has its result at once, without work.
    Unreadable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Worked,
    TimedOut,
    Crashed,
}

type Place = (Lane, i32, i64);

#[derive(Debug)]
struct Worker {
    decider: Decider,
    generation: [u64; 2],
    /// The next offset to come of each partition.
    coming: BTreeMap<(Lane, i32), i64>,
    images: BTreeMap<Ticket, Place>,
    outcomes: BTreeMap<Ticket, Outcome>,
    reading: BTreeSet<Ticket>,
    computing: BTreeSet<Ticket>,
    publishing: Option<(Commit, u64)>,
    asked: bool,
    over: bool,
    /// Whether a commit of it failed since it began to leave: its last word may not stand.
    unsaid: bool,
}

struct World {
    rng: fastrand::Rng,
    now: Now,
    natures: BTreeMap<Place, Nature>,
    /// Position and note, as committed.
    positions: BTreeMap<(Lane, i32), (i64, Note)>,
    generation: [u64; 2],
    results: BTreeMap<Place, Vec<Outcome>>,
    /// How often each image was begun by a process that was killed before its result stood.
    ended_with: BTreeMap<Place, u32>,
    /// How many processes each image has ended.
    killed: BTreeMap<Place, u32>,
    workers: Vec<Worker>,
    tickets: Ticket,
    /// Whether partitions go without a word, and commits fail.
    rude: bool,
    /// Random kills left.
    kills: u32,
    /// Orderly changes left.
    changes: u32,
}

impl World {
    fn new(seed: u64, partitions: i32, images: i64, workers: usize, poison: bool) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut natures = BTreeMap::new();
        let mut positions = BTreeMap::new();
        for lane in Lane::ALL {
            for partition in 0..partitions {
                positions.insert((lane, partition), (0, Note::CLEAN));
                let mut offset = 0;
                for _ in 0..images {
                    let nature = match rng.u32(0..100) {
                        0 if poison => Nature::Kills,
                        1 if poison => Nature::Hangs,
                        2..6 => Nature::Unreadable,
                        _ => Nature::Good,
                    };
                    natures.insert((lane, partition, offset), nature);
                    // Marks of transactions stand between.
                    offset += if rng.u32(0..10) == 0 { rng.i64(2..40) } else { 1 };
                }
            }
        }
        let mut world = Self {
            rng,
            now: Duration::ZERO,
            natures,
            positions,
            generation: [0; 2],
            results: BTreeMap::new(),
            ended_with: BTreeMap::new(),
            killed: BTreeMap::new(),
            workers: Vec::new(),
            tickets: 0,
            rude: true,
            kills: 10,
            changes: 10,
        };
        for _ in 0..workers {
            world.join();
        }
        world
    }

    fn settings(&mut self) -> Settings {
        Settings {
            threads: self.rng.usize(1..4),
            ahead: self.rng.usize(1..6),
            results: self.rng.usize(1..20),
            gather: Duration::from_millis(self.rng.u64(0..800)),
            grace: Duration::from_secs(2),
            hand_over: Duration::from_millis(200),
            ..Settings::default()
        }
    }

    fn join(&mut self) {
        let worker = Worker {
            decider: Decider::new(self.settings()),
            generation: [0; 2],
            coming: BTreeMap::new(),
            images: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            reading: BTreeSet::new(),
            computing: BTreeSet::new(),
            publishing: None,
            asked: false,
            over: false,
            unsaid: false,
        };
        self.workers.push(worker);
        self.assign();
    }

    /// A new generation: what was committed for the old one counts, what comes later does not.
    fn assign(&mut self) {
        self.workers.retain(|worker| !worker.over);
        if !self.rude || self.rng.bool() {
            self.hand_over();
        }
        // Who has not let go in time has ended with what it held, as far as others can tell.
        for at in 0..self.workers.len() {
            self.ended(at);
        }
        for lane in Lane::ALL {
            self.generation[lane as usize] += 1;
            let mut starts = vec![Vec::new(); self.workers.len()];
            for ((_, partition), (next, note)) in self.positions.range((lane, 0)..=(lane, i32::MAX)) {
                if !self.workers.is_empty() {
                    let at = usize::try_from(*partition).unwrap() % self.workers.len();
                    starts[at].push(Start { partition: *partition, next: *next, note: *note });
                }
            }
            for (at, starts) in starts.into_iter().enumerate() {
                let worker = &mut self.workers[at];
                worker.generation[lane as usize] = self.generation[lane as usize];
                worker.coming.retain(|(of, _), _| *of != lane);
                for start in &starts {
                    worker.coming.insert((lane, start.partition), start.next);
                }
                self.step(at, Event::Given(lane, starts));
            }
        }
    }

    /// The group waits until its members have let go.
    fn hand_over(&mut self) {
        for at in 0..self.workers.len() {
            for lane in Lane::ALL {
                self.step(at, Event::Taken(lane));
            }
        }
        self.now += Duration::from_millis(200);
        for at in 0..self.workers.len() {
            for _ in 0..4 {
                self.publish(at);
                self.step(at, Event::Tick);
            }
        }
    }

    fn step(&mut self, at: usize, event: Event) {
        let actions = self.workers[at].decider.step(self.now, event);
        for action in actions {
            if self.workers.get(at).is_none_or(|worker| worker.over) {
                return;
            }
            self.act(at, action);
        }
    }

    fn act(&mut self, at: usize, action: Action) {
        let worker = &mut self.workers[at];
        match action {
            Action::Read(ticket) => {
                worker.reading.insert(ticket);
            }
            Action::Compute(ticket) => {
                worker.computing.insert(ticket);
            }
            Action::TimedOut(ticket) => {
                worker.outcomes.insert(ticket, Outcome::TimedOut);
            }
            Action::Crashed(ticket, times) => {
                let place = worker.images[&ticket];
                assert!(times >= 4 && self.ended_with.get(&place).copied().unwrap_or(0) >= 3, "{place:?}");
                worker.outcomes.insert(ticket, Outcome::Crashed);
            }
            Action::Forget(ticket) => {
                worker.images.remove(&ticket);
                worker.reading.remove(&ticket);
                worker.outcomes.remove(&ticket);
            }
            Action::Commit(commit) => {
                assert!(worker.publishing.is_none());
                let generation = worker.generation[commit.lane as usize];
                worker.publishing = Some((commit, generation));
            }
            Action::Look => {
                let lag = self.rng.u64(0..3);
                self.step(at, Event::Looked { lag, workers: 1 });
            }
            Action::Release(_) => {}
            Action::Left(_) => worker.over = true,
        }
    }

    /// The end of a process without a word.
    fn kill(&mut self, at: usize) {
        self.ended(at);
        self.workers.remove(at);
        self.join();
    }

    fn ended(&mut self, at: usize) {
        // What it held, and what it had named and not yet begun.
        let worker = &self.workers[at];
        let named = self.positions.iter().filter_map(|((lane, partition), (_, note))| {
            let (offset, _) = note.alone.filter(|_| worker.coming.contains_key(&(*lane, *partition)))?;
            Some((*lane, *partition, offset))
        });
        let places: BTreeSet<Place> = worker.images.values().copied().chain(named).collect();
        for place in places.into_iter().filter(|place| !self.results.contains_key(place)) {
            *self.ended_with.entry(place).or_default() += 1;
        }
    }

    fn publish(&mut self, at: usize) {
        let Some((commit, generation)) = self.workers[at].publishing.take() else { return };
        if generation != self.generation[commit.lane as usize] || (self.rude && self.rng.u32(0..20) == 0) {
            self.workers[at].unsaid |= self.workers[at].decider.leave.is_some();
            self.step(at, Event::NotCommitted);
            return;
        }
        let worker = &self.workers[at];
        for ticket in &commit.tickets {
            let place = worker.images[ticket];
            let outcome = worker.outcomes.get(ticket).copied().expect("a committed image has a result");
            self.results.entry(place).or_default().push(outcome);
        }
        for (partition, next, note) in &commit.positions {
            let key = (commit.lane, *partition);
            for place in self.natures.range((key.0, key.1, 0)..(key.0, key.1, *next)).map(|(place, _)| place)
            {
                assert!(self.results.contains_key(place), "{place:?} is passed over by {next}");
            }
            assert!(self.positions[&key].0 <= *next, "a position goes back");
            self.positions.insert(key, (*next, *note));
        }
        self.step(at, Event::Committed);
    }

    fn arrive(&mut self, at: usize) {
        let worker = &mut self.workers[at];
        let keys: Vec<(Lane, i32)> = worker.coming.keys().copied().collect();
        let Some(key) = (!keys.is_empty()).then(|| keys[self.rng.usize(0..keys.len())]) else { return };
        let from = worker.coming[&key];
        let found = self.natures.range((key.0, key.1, from)..=(key.0, key.1, i64::MAX)).next();
        let Some((&place, _)) = found else { return };
        self.tickets += 1;
        let ticket = self.tickets;
        worker.coming.insert(key, place.2 + 1);
        worker.images.insert(ticket, place);
        let (lane, partition, offset) = place;
        self.step(at, Event::Arrived { lane, partition, offset, ticket, done: false });
    }

    fn read(&mut self, at: usize) {
        let worker = &mut self.workers[at];
        let tickets: Vec<Ticket> = worker.reading.iter().copied().collect();
        let Some(ticket) = (!tickets.is_empty()).then(|| tickets[self.rng.usize(0..tickets.len())]) else {
            return;
        };
        worker.reading.remove(&ticket);
        if self.natures[&worker.images[&ticket]] == Nature::Unreadable {
            worker.outcomes.insert(ticket, Outcome::Worked);
            self.step(at, Event::Ended(vec![ticket]));
        } else {
            self.step(at, Event::Read { ticket, limit: LIMIT });
        }
    }

    fn compute(&mut self, at: usize) {
        let worker = &mut self.workers[at];
        let tickets: Vec<Ticket> = worker.computing.iter().copied().collect();
        let Some(ticket) = (!tickets.is_empty()).then(|| tickets[self.rng.usize(0..tickets.len())]) else {
            return;
        };
        let place = worker.images.get(&ticket).copied();
        match place.map(|place| (place, self.natures[&place])) {
            Some((place, Nature::Kills)) => {
                *self.killed.entry(place).or_default() += 1;
                return self.kill(at);
            }
            Some((_, Nature::Hangs)) => return,
            _ => {}
        }
        worker.computing.remove(&ticket);
        worker.outcomes.entry(ticket).or_insert(Outcome::Worked);
        self.step(at, Event::Ended(vec![ticket]));
    }

    fn disturb(&mut self, at: usize) {
        match self.rng.u32(0..200) {
            0 if self.kills > 0 => {
                self.kills -= 1;
                self.kill(at);
            }
            1 if self.changes > 0 => {
                // Somebody joins or goes: with or without time to finish.
                self.changes -= 1;
                for lane in Lane::ALL {
                    self.step(at, Event::Taken(lane));
                }
                if self.rng.bool() {
                    self.publish(at);
                }
                if self.rng.bool() && self.workers.len() < 4 {
                    self.join();
                } else {
                    self.assign();
                }
            }
            2 if self.changes > 0 && !self.workers[at].asked => {
                self.changes -= 1;
                self.workers[at].asked = true;
                self.step(at, Event::Leave(Why::Asked));
            }
            _ => {}
        }
    }

    fn run(&mut self) {
        for _ in 0..200_000 {
            self.now += TICK / 4;
            if self.results.len() == self.natures.len() && self.workers.iter().all(|w| w.publishing.is_none())
            {
                break;
            }
            if self.workers.iter().any(|worker| worker.over) || self.workers.is_empty() {
                // Who could not take back what it had named has ended with it.
                for at in 0..self.workers.len() {
                    if self.workers[at].over && self.workers[at].unsaid {
                        self.ended(at);
                    }
                }
                self.workers.retain(|worker| !worker.over);
                self.join();
            }
            let at = self.rng.usize(0..self.workers.len());
            match self.rng.u32(0..5) {
                0 => self.arrive(at),
                1 => self.read(at),
                2 => self.compute(at),
                3 => self.publish(at),
                _ => self.step(at, Event::Tick),
            }
            if at < self.workers.len() {
                self.disturb(at);
            }
        }
    }

    fn judge(&self) {
        if self.results.len() < self.natures.len() {
            for worker in &self.workers {
                eprintln!("{worker:#?}");
            }
        }
        for (place, nature) in &self.natures {
            let results = self.results.get(place).map_or(&[][..], Vec::as_slice);
            assert_eq!(results.len(), 1, "{place:?} is {nature:?} and has {results:?}");
            match nature {
                // One that the world does not get round to within its limit times out before it can end anything.
                Nature::Kills | Nature::Hangs => assert_ne!(results, [Outcome::Worked]),
                Nature::Good | Nature::Unreadable => {}
            }
        }
    }
}

/// The same 400 worlds each time; `LIGHTRAIL_CAMPAIGN=1` plays 20,000 new ones.
fn worlds() -> ProptestConfig {
    let (cases, rng_seed) = match std::env::var_os("LIGHTRAIL_CAMPAIGN") {
        Some(_) => (20_000, RngSeed::Random),
        None => (400, RngSeed::Fixed(1)),
    };
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(worlds())]

    #[test]
    fn each_image_has_one_result_whoever_ends_whenever(
        seed in any::<u64>(), partitions in 1..4_i32, images in 1..60_i64, workers in 1..4_usize,
    ) {
        let mut world = World::new(seed, partitions, images, workers, false);
        world.run();
        world.judge();
    }

    #[test]
    fn an_image_that_ends_its_process_is_begun_four_times_and_the_others_are_worked(
        seed in any::<u64>(), partitions in 1..4_i32, images in 1..60_i64, workers in 1..3_usize,
    ) {
        let mut world = World::new(seed, partitions, images, workers, true);
        world.rude = false;
        world.kills = 0;
        world.changes = 0;
        world.run();
        world.judge();
        for (place, nature) in &world.natures {
            match nature {
                Nature::Kills => {
                    let ended = world.killed.get(place).copied().unwrap_or(0);
                    let least = if world.results[place] == [Outcome::Crashed] { 3 } else { 0 };
                    prop_assert!((least..=4).contains(&ended), "{place:?} ended {ended}");
                }
                _ => prop_assert_ne!(&world.results[place][0], &Outcome::Crashed, "{:?} was innocent", place),
            }
        }
    }
}

#[test]
fn who_leaves_while_a_failed_commit_waits_still_takes_back_what_it_has_named() {
    // Found by the campaign: the last word waited for the retry of another commit until it was too late for both.
    let mut world = World::new(13_211_810_976_200_745_662, 1, 44, 1, false);
    world.run();
    world.judge();
}
