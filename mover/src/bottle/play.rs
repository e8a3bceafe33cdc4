//! What happens around the mover in one play, made from a seed: runs begin and end, files are registered, messages get lost,
//! doubled and late, people wish things, files are purged, Kafka and the logbook are away. Only makes the list.

use lightrail_topics::events::{Subject, WishKey};
use lightrail_topics::{Lfn, RunKey, RunNumber, SiteName};

use crate::view::WishChange;

/// One play. Each kind of trouble can be switched off, to find the shortest that still fails.
#[derive(Clone, Debug)]
pub(super) struct Play {
    pub(super) seed: u64,
    pub(super) faults: bool,
    pub(super) fault_rate: u32,
    pub(super) most_faults: u32,
    pub(super) kafka: bool,
    /// Of 1000 transactions, how many get each kind of trouble.
    pub(super) kafka_faults: u64,
    pub(super) mess: bool,
    pub(super) wishes: bool,
    pub(super) purges: bool,
    /// How many lives end early.
    pub(super) deaths: u32,
    /// The step with which a life ends, instead of random ones; with `losses` the journal goes with it.
    pub(super) at_step: Option<u64>,
    /// Whether the journal is lost now and then with a life.
    pub(super) losses: bool,
    /// Whether the journal's disk breaks now and then.
    pub(super) breaks: bool,
    /// Whether lives are drained or stopped now and then.
    pub(super) drains: bool,
    /// At most so many runs of each experiment.
    pub(super) runs: u32,
}

/// What becomes of a message of the logbook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Told,
    Lost,
    Doubled,
    /// So many milliseconds late.
    Late(u64),
}

/// Something that happens.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Begin(RunKey, Fate),
    /// A file is registered, with so many bytes; whether it still grows until its run ends or the next chunk comes.
    Register(RunKey, Lfn, usize, bool, Fate),
    /// The same registration once more.
    Repeat(RunKey, Lfn, Fate),
    End(RunKey, Fate),
    Wish(WishKey, WishChange),
    /// A different old file lies at the destination.
    Old(Lfn, SiteName),
    Purge(Lfn, SiteName),
    KafkaAway(u64),
    LogbookAway(u64),
    Garbage,
}

pub(super) const EXPERIMENTS: [&str; 2] = ["mfxl1", "cxil2"];

/// Where an experiment goes.
pub(super) fn destinations(experiment: &str) -> Vec<SiteName> {
    let names: &[&str] = if experiment == "cxil2" { &["NERSC", "S3DF"] } else { &["NERSC"] };
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn lfn(experiment: &str, run: u32, stream: u32, chunk: u32, index: bool) -> Lfn {
    let (folder, kind) = if index { ("smalldata/", ".smd") } else { ("", "") };
    let hutch = &experiment[..3];
    format!("/{hutch}/{experiment}/xtc/{folder}{experiment}-r{run:04}-s{stream:03}-c{chunk:03}{kind}.xtc2")
        .parse()
        .unwrap()
}

impl Play {
    pub(super) fn of(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        Self {
            seed,
            faults: rng.u32(0..4) > 0,
            fault_rate: rng.u32(5..150),
            most_faults: rng.u32(1..25),
            kafka: rng.u32(0..3) > 0,
            kafka_faults: rng.u64(5..120),
            mess: rng.u32(0..4) > 0,
            wishes: rng.u32(0..2) > 0,
            purges: rng.u32(0..4) == 0,
            deaths: rng.u32(0..6),
            at_step: None,
            losses: rng.u32(0..3) == 0,
            breaks: rng.u32(0..6) == 0,
            drains: rng.u32(0..6) == 0,
            runs: 3,
        }
    }

    /// The fixed play of which every step is died at.
    pub(super) fn fixed(seed: u64) -> Self {
        Self {
            faults: false,
            kafka: false,
            mess: false,
            wishes: true,
            purges: false,
            deaths: 0,
            losses: false,
            breaks: false,
            drains: false,
            runs: 1,
            ..Self::of(seed)
        }
    }

    /// What happens when, in milliseconds from the beginning.
    pub(super) fn acts(&self) -> Vec<(u64, Act)> {
        let mut rng = fastrand::Rng::with_seed(self.seed ^ 0xac75);
        let mut acts = Vec::new();
        let mut files = Vec::new();
        for experiment in EXPERIMENTS {
            let mut at = rng.u64(500..5_000);
            let runs = rng.u32(1..=3);
            for number in 1..=runs {
                at = self.run(&mut rng, experiment, number, at, &mut acts, &mut files);
            }
        }
        acts.retain(|(_, act)| match act {
            Act::Begin(run, _) | Act::Register(run, ..) | Act::Repeat(run, ..) | Act::End(run, _) => {
                run.run.0 <= self.runs
            }
            _ => true,
        });
        files.retain(|(run, _): &(RunKey, Lfn)| run.run.0 <= self.runs);
        if self.wishes {
            self.add_wishes(&files, &mut acts);
        }
        self.add_trouble(&files, &mut acts);
        acts.sort_by_key(|(at, _)| *at);
        acts
    }

    /// The acts of one run that begins then; when the next can begin.
    fn run(
        &self,
        rng: &mut fastrand::Rng,
        experiment: &str,
        number: u32,
        begin: u64,
        acts: &mut Vec<(u64, Act)>,
        files: &mut Vec<(RunKey, Lfn)>,
    ) -> u64 {
        let run = RunKey { experiment: experiment.parse().unwrap(), run: RunNumber(number) };
        let mut dice = fastrand::Rng::with_seed(self.seed ^ (u64::from(number) << 8) ^ begin);
        let mess = self.mess;
        let mut fate = move || match dice.u32(0..100) {
            _ if !mess => Fate::Told,
            0..6 => Fate::Lost,
            6..12 => Fate::Doubled,
            12..20 => Fate::Late(dice.u64(1..20_000)),
            _ => Fate::Told,
        };
        let end = begin + rng.u64(2_000..10_000);
        acts.push((begin, Act::Begin(run.clone(), fate())));
        let mut size = || if rng.u32(0..12) == 0 { 0 } else { rng.usize(1..3000) };
        let streams = 1 + usize::from(size() % 2 == 0) + usize::from(size() % 4 == 0);
        let mut mine = Vec::new();
        for stream in [0, 1, 80].into_iter().take(streams) {
            let chunks = if experiment == "cxil2" && size() % 3 == 0 { 2 } else { 1 };
            for chunk in 0..chunks {
                let at = begin + 200 + u64::from(chunk) * 1_000 + size() as u64 % 500;
                for index in [false, true] {
                    let lfn = lfn(experiment, number, stream, chunk, index);
                    acts.push((at, Act::Register(run.clone(), lfn.clone(), size(), true, fate())));
                    mine.push(lfn);
                }
            }
        }
        acts.push((end, Act::End(run.clone(), fate())));
        if size() % 4 == 0 {
            let late = lfn(experiment, number, 5, 0, false);
            let at = end + 500 + size() as u64 * 5;
            acts.push((at, Act::Register(run.clone(), late.clone(), size(), false, fate())));
            mine.push(late);
        }
        for lfn in &mine {
            if size() % 14 == 0 {
                let at = end + 2_500 + size() as u64 * 8;
                acts.push((at, Act::Register(run.clone(), lfn.clone(), size(), false, fate())));
            }
            if size() % 14 == 0 {
                acts.push((end + 1_500 + size() as u64 * 10, Act::Repeat(run.clone(), lfn.clone(), fate())));
            }
        }
        files.extend(mine.into_iter().map(|lfn| (run.clone(), lfn)));
        end + 300 + size() as u64
    }

    fn add_wishes(&self, files: &[(RunKey, Lfn)], acts: &mut Vec<(u64, Act)>) {
        let mut rng = fastrand::Rng::with_seed(self.seed ^ 0x3157);
        for _ in 0..rng.u32(1..5) {
            let (run, lfn) = files[rng.usize(0..files.len())].clone();
            let site = (rng.u32(0..3) == 0).then(|| "NERSC".parse().unwrap());
            let at = rng.u64(1_000..40_000);
            let (subject, change) = match rng.u32(0..10) {
                0 | 1 => (Subject::File(lfn), WishChange::Cancel),
                2 => (Subject::Run(run), WishChange::Cancel),
                3 => (Subject::Experiment(run.experiment), WishChange::Pause),
                4 => (Subject::Everything, WishChange::Pause),
                5 => (Subject::Run(run), WishChange::Prioritise(rng.i32(-1..3))),
                6 => (Subject::File(lfn), WishChange::Prioritise(rng.i32(-1..3))),
                7 => (Subject::Run(run), WishChange::Requeue),
                _ => {
                    let key = WishKey { subject: Subject::Run(run), site: Some("S3DF".parse().unwrap()) };
                    acts.push((at, Act::Wish(key, WishChange::Ask)));
                    continue;
                }
            };
            let key = WishKey { subject, site };
            let undo = match change {
                WishChange::Pause => Some(WishChange::Resume),
                WishChange::Cancel if rng.bool() => Some(WishChange::Requeue),
                _ => None,
            };
            acts.push((at, Act::Wish(key.clone(), change)));
            if let Some(undo) = undo.filter(|_| rng.u32(0..3) > 0) {
                acts.push((at + rng.u64(100..15_000), Act::Wish(key, undo)));
            }
        }
    }

    fn add_trouble(&self, files: &[(RunKey, Lfn)], acts: &mut Vec<(u64, Act)>) {
        let mut rng = fastrand::Rng::with_seed(self.seed ^ 0x7b1e);
        for (run, lfn) in files {
            let sites = destinations(run.experiment.as_str());
            let site = sites[rng.usize(0..sites.len())].clone();
            if rng.u32(0..12) == 0 {
                acts.push((100, Act::Old(lfn.clone(), site.clone())));
            }
            if self.purges && rng.u32(0..10) == 0 {
                acts.push((rng.u64(15_000..50_000), Act::Purge(lfn.clone(), site)));
            }
        }
        if self.kafka && rng.bool() {
            acts.push((rng.u64(1_000..40_000), Act::KafkaAway(rng.u64(500..15_000))));
        }
        if self.mess {
            acts.push((rng.u64(1_000..20_000), Act::Garbage));
            if rng.bool() {
                acts.push((rng.u64(1_000..40_000), Act::LogbookAway(rng.u64(500..20_000))));
            }
        }
    }
}
