//! Plays a beam time: run after run, images at their rate, from the renderer or from a prepared pool, to the recorders; writes
//! the truth beside. The only place here with a clock; it decides nothing of what an image is.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lightrail_topics::{Lfn, RunNumber};
use serde::Serialize;

use super::dealt::{Dealt, in_order, setups};
use super::defects::Shift;
use super::error::SimulateError;
use super::inputs;
use super::place::Place;
use super::random::{Purpose, Random};
use super::recorder::{Order, Recorders, Written, present};
use super::render::{Simulator, Wanted};
use super::truth::Truth;
use crate::formats::xtc2::{Service, Timestamp};

#[cfg(test)]
mod tests;

/// When and in what form images are taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// The first run's number.
    pub first_run: RunNumber,
    /// How many runs.
    pub runs: u32,
    /// Images of a run.
    pub images: u64,
    /// Images a second, by the timestamps.
    pub rate: f64,
    /// Whether they also come at that rate, and not as fast as they can be made.
    pub paced: bool,
    /// Streams of a run; no more than the detector has segments.
    pub streams: usize,
    /// Images after which a stream goes on in a new chunk file.
    pub chunk_images: Option<u64>,
    /// Images drawn once before the first run and dealt out again and again; 0 draws each image when it is taken.
    pub pool: u64,
    /// Threads that draw, and that write.
    pub threads: usize,
    /// The first run's begin by the timestamps, seconds since 1990.
    pub begin: u32,
}

/// What happens, as it happens.
#[derive(Clone, Debug)]
pub enum News {
    /// So many images of the pool are drawn.
    Pool(u64),
    /// A run begins.
    RunBegins(RunNumber),
    /// A file was opened by the DAQ.
    Opened(RunNumber, Lfn),
    /// So many images of the run are taken.
    Images(RunNumber, u64),
    /// The run has ended and its files have their final names.
    RunEnds(RunNumber, RunPlayed),
}

/// How a run went.
#[derive(Clone, Debug, PartialEq)]
pub struct RunPlayed {
    /// Images taken.
    pub images: u64,
    /// Of them hits.
    pub hits: u64,
    /// From the first image to the last one written.
    pub took: Duration,
    /// The most that an image came later than its time.
    pub latest: Duration,
    /// The files.
    pub files: Vec<Written>,
}

impl RunPlayed {
    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// Images and bytes a second.
    pub fn speed(&self) -> (f64, u64) {
        let seconds = self.took.as_secs_f64().max(1e-9);
        (self.images as f64 / seconds, (self.bytes() as f64 / seconds) as u64)
    }
}

/// Ends a beam time early: the present run is ended as a DAQ ends it.
#[derive(Debug, Default)]
pub struct Stop {
    stopped: Mutex<bool>,
    bell: Condvar,
}

impl Stop {
    /// Asks for the end.
    pub fn stop(&self) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.bell.notify_all();
    }

    /// Waits until `due`; `true` when the end is asked for.
    fn until(&self, due: Option<Instant>) -> bool {
        let mut stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(left) = due.and_then(|due| due.checked_duration_since(Instant::now())) {
            if *stopped || left.is_zero() {
                break;
            }
            let (again, _) = self.bell.wait_timeout(stopped, left).unwrap_or_else(PoisonError::into_inner);
            stopped = again;
        }
        *stopped
    }
}

/// The first line of a run's truth.
#[derive(Serialize)]
struct RunTruth<'a> {
    experiment: &'a str,
    run: u32,
    seed: u64,
    detector: &'static str,
    photon_energy: f64,
    distance: f64,
    cell: String,
    space_group: String,
    resolution: f64,
    shifts: &'a [Shift],
}

/// A line of a run's truth.
#[derive(Serialize)]
struct ImageTruth<'a> {
    image: u64,
    /// As the analysis writes it.
    event: String,
    pulse_id: u64,
    /// Which image of the pool it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<u64>,
    hit: bool,
    #[serde(flatten)]
    truth: &'a Truth,
}

/// Plays a whole beam time. Room was looked at before ([`super::Room`]).
///
/// # Errors
/// A run whose files are there already, inputs of another plan, and whatever the disk says.
pub fn play(
    simulator: &Simulator,
    place: &Place,
    schedule: &Schedule,
    stop: &Stop,
    tell: &mut dyn FnMut(News),
) -> Result<(), SimulateError> {
    let runs = schedule.first_run.0..schedule.first_run.0 + schedule.runs;
    let streams = setups(place, schedule.first_run, simulator.plan().detector, schedule.streams).len();
    if let Some(path) = runs.clone().find_map(|run| present(place, RunNumber(run), streams)) {
        return Err(SimulateError::There { path, why: ": take another --first-run or --out" });
    }
    inputs::write(simulator, place)?;
    let pool = Pool::draw(simulator, place, schedule, stop, tell);
    let mut begin = u64::from(schedule.begin) * 1_000_000_000;
    for run in runs {
        if stop.until(None) {
            break;
        }
        let run = RunPlay { simulator, place, schedule, stop, pool: &pool, run: RunNumber(run), begin };
        run.play(tell)?;
        // Ten seconds until the next run begins.
        begin += (schedule.images as f64 / schedule.rate * 1e9) as u64 + 10_000_000_000;
    }
    Ok(())
}

/// Images drawn beforehand, hits first.
struct Pool {
    images: Vec<Arc<Dealt>>,
    hits: u64,
}

impl Pool {
    /// The run that stands for the pool in all random numbers: no run has it.
    const RUN: u32 = u32::MAX;

    fn draw(
        simulator: &Simulator,
        place: &Place,
        schedule: &Schedule,
        stop: &Stop,
        tell: &mut dyn FnMut(News),
    ) -> Self {
        let plan = simulator.plan();
        let part = |of: u64, rate: f64| {
            let n = (of as f64 * rate).round() as u64;
            if rate > 0.0 { n.clamp(1.min(of), of) } else { 0 }
        };
        let mut hits = part(schedule.pool, plan.hit_rate);
        if plan.hit_rate < 1.0 && hits == schedule.pool {
            // A pool of one image is a miss or a hit, not both.
            hits = hits.saturating_sub(u64::from(schedule.pool > 1));
        }
        let doubles = (hits as f64 * plan.double_rate).round() as u64;
        let setups = setups(place, schedule.first_run, plan.detector, schedule.streams);
        let mut images = Vec::new();
        in_order(
            schedule.pool,
            schedule.threads,
            |pixels: &mut Vec<u16>, index| {
                let crystals = usize::from(index < hits) + usize::from(index < doubles);
                let wanted = Wanted { crystals: Some(crystals), scale: None };
                Dealt::new(simulator, (Self::RUN, index), &wanted, &setups, pixels)
            },
            |index, dealt| {
                images.push(Arc::new(dealt));
                tell(News::Pool(index + 1));
                !stop.until(None)
            },
        );
        Self { images, hits }
    }

    /// Which image comes, at the plan's hit rate.
    fn choose(&self, plan: &super::plan::Plan, run: RunNumber, index: u64) -> u64 {
        let mut random = Random::of(plan.seed, Purpose::Deal, &[u64::from(run.0), index]);
        let all = self.images.len() as u64;
        let hits = self.hits.min(all);
        let is_hit = random.chance(plan.hit_rate) && hits > 0 || hits == all;
        let (from, of) = if is_hit { (0, hits) } else { (hits, all - hits) };
        from + random.below(of as usize) as u64
    }
}

/// One run being played.
struct RunPlay<'a> {
    simulator: &'a Simulator,
    place: &'a Place,
    schedule: &'a Schedule,
    stop: &'a Stop,
    pool: &'a Pool,
    run: RunNumber,
    /// Nanoseconds since 1990.
    begin: u64,
}

impl RunPlay<'_> {
    fn play(&self, tell: &mut dyn FnMut(News)) -> Result<(), SimulateError> {
        let (schedule, run) = (self.schedule, self.run);
        let setups = setups(self.place, run, self.simulator.plan().detector, schedule.streams);
        let mut truth = self.begin_truth()?;
        let recorders = Recorders::start(self.place, run, &setups, schedule.threads)?;
        tell(News::RunBegins(run));
        for stream in 0..setups.len() {
            tell(News::Opened(run, self.place.big(run, stream, 0)));
            tell(News::Opened(run, self.place.small(run, stream)));
        }
        let mut sound = true;
        for (n, service) in [Service::Configure, Service::BeginRun, Service::BeginStep, Service::Enable]
            .into_iter()
            .enumerate()
        {
            sound &= recorders.tell(&Order::Transition(service, self.before(4 - n as u64)));
        }
        let mut played =
            RunPlayed { images: 0, hits: 0, took: Duration::ZERO, latest: Duration::ZERO, files: Vec::new() };
        let begin = Instant::now();
        let mut trouble = None;
        let mut take = |index: u64, dealt: Arc<Dealt>, from_pool: Option<u64>| -> bool {
            let due = begin + Duration::from_secs_f64(index as f64 / schedule.rate);
            if !sound || self.stop.until(schedule.paced.then_some(due)) {
                return false;
            }
            if schedule.paced {
                played.latest = played.latest.max(Instant::now().duration_since(due));
            }
            if let Err(error) = self.write_truth(&mut truth, index, &dealt.truth, from_pool) {
                trouble = Some(error);
                return false;
            }
            played.hits += u64::from(dealt.truth.hit());
            sound = self.shot(&recorders, index, dealt, setups.len(), tell);
            played.images = index + 1;
            tell(News::Images(run, index + 1));
            sound
        };
        if schedule.pool > 0 {
            for index in 0..schedule.images {
                let chosen = self.pool.choose(self.simulator.plan(), run, index);
                let Some(dealt) = self.pool.images.get(chosen as usize) else { break };
                if !take(index, Arc::clone(dealt), Some(chosen)) {
                    break;
                }
            }
        } else {
            in_order(
                schedule.images,
                schedule.threads,
                |pixels: &mut Vec<u16>, index| {
                    Dealt::new(self.simulator, (run.0, index), &Wanted::ANY, &setups, pixels)
                },
                |index, dealt| take(index, Arc::new(dealt), None),
            );
        }
        let end = self.at(played.images);
        for (n, service) in [Service::Disable, Service::EndStep, Service::EndRun].into_iter().enumerate() {
            // One that has failed says why below.
            let _ = recorders.tell(&Order::Transition(service, later(end, n as u64)));
        }
        played.files = recorders.finish()?;
        played.took = begin.elapsed();
        if let Some(error) = trouble {
            return Err(error);
        }
        let path = self.place.truth(run);
        truth.into_inner().map_err(|error| SimulateError::io(&path)(error.into_error()))?;
        tell(News::RunEnds(run, played));
        Ok(())
    }

    /// A shot, and what the DAQ does between shots.
    fn shot(
        &self,
        recorders: &Recorders,
        index: u64,
        dealt: Arc<Dealt>,
        streams: usize,
        tell: &mut dyn FnMut(News),
    ) -> bool {
        let timestamp = self.at(index);
        let mut sound = true;
        if let Some(every) =
            self.schedule.chunk_images.filter(|every| index > 0 && index.is_multiple_of(*every))
        {
            let chunk = (index / every) as u32;
            sound &= recorders.tell(&Order::Transition(Service::Disable, before(timestamp, 2000)));
            sound &= recorders.tell(&Order::Chunk(before(timestamp, 1000), chunk));
            for stream in 0..streams {
                tell(News::Opened(self.run, self.place.big(self.run, stream, chunk)));
            }
        } else if index > 0 && index.is_multiple_of((self.schedule.rate.round() as u64).max(1)) {
            sound &= recorders.tell(&Order::Transition(Service::SlowUpdate, before(timestamp, 1000)));
        }
        let shot = self.simulator.shot(self.run.0, index, &dealt.truth);
        let (pulse_id, event_codes) = (shot.pulse_id.unwrap_or_default(), shot.event_codes.into());
        sound & recorders.tell(&Order::Shot { timestamp, dealt, pulse_id, event_codes })
    }

    /// When an image is taken, by its timestamp.
    fn at(&self, index: u64) -> Timestamp {
        stamp(self.begin + (index as f64 / self.schedule.rate * 1e9).round() as u64)
    }

    /// Milliseconds before the first image.
    fn before(&self, millis: u64) -> Timestamp {
        stamp(self.begin - millis * 1_000_000)
    }

    fn begin_truth(&self) -> Result<BufWriter<File>, SimulateError> {
        let path = self.place.truth(self.run);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(SimulateError::io(folder))?;
        }
        let mut file = BufWriter::new(File::create(&path).map_err(SimulateError::io(&path))?);
        let plan = self.simulator.plan();
        let head = RunTruth {
            experiment: self.place.experiment.as_str(),
            run: self.run.0,
            seed: plan.seed,
            detector: plan.detector.as_str(),
            photon_energy: plan.photon_energy,
            distance: plan.distance,
            cell: plan.cell.to_string(),
            space_group: plan.space_group.to_string(),
            resolution: plan.resolution,
            shifts: self.simulator.shifts(),
        };
        line(&mut file, &head).map_err(SimulateError::io(&path))?;
        Ok(file)
    }

    fn write_truth(
        &self,
        file: &mut BufWriter<File>,
        index: u64,
        truth: &Truth,
        pool: Option<u64>,
    ) -> Result<(), SimulateError> {
        let at = self.at(index);
        let image = ImageTruth {
            image: index,
            event: format!("{}-{}", at.seconds(), at.nanoseconds()),
            pulse_id: self.simulator.shot(self.run.0, index, truth).pulse_id.unwrap_or_default(),
            pool,
            hit: truth.hit(),
            truth,
        };
        line(file, &image).map_err(SimulateError::io(&self.place.truth(self.run)))
    }
}

fn line(file: &mut BufWriter<File>, what: &impl Serialize) -> std::io::Result<()> {
    serde_json::to_writer(&mut *file, what)?;
    file.write_all(b"\n")
}

fn stamp(nanos: u64) -> Timestamp {
    Timestamp::new((nanos / 1_000_000_000) as u32, (nanos % 1_000_000_000) as u32)
}

fn nanos(timestamp: Timestamp) -> u64 {
    u64::from(timestamp.seconds()) * 1_000_000_000 + u64::from(timestamp.nanoseconds())
}

fn before(timestamp: Timestamp, by: u64) -> Timestamp {
    stamp(nanos(timestamp) - by)
}

fn later(timestamp: Timestamp, by: u64) -> Timestamp {
    stamp(nanos(timestamp) + by * 1_000_000)
}
