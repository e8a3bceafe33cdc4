//! One membership in the groups: the task that owns the decider. It turns what happens into events, and does what the decider
//! says: reads, compute threads, transactions, looks at the lag. Ends when the decider has left, or when only a new beginning
//! helps. Decides nothing about images itself.

mod act;
mod lane;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lightrail_topics::kafka::{KafkaError, Lag, PublishError, Publisher, TakerEvent, Timeouts};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;

use super::decide::{self, Decider, Event, Lane, Now, Why};
use super::door::{Door, Patience};
use super::held::{Held, Output};
use super::line::Ticket;
use super::reading::{Reading, Ready};
use super::replay::Known;
use super::run::Life;
use super::stages::Bad;
use super::threads::{Done, Freed, Threads};
use crate::source::{Location, SourceError};
use lane::LaneDoing;
use lightrail_service::http::Readiness;

/// How a session ended.
#[derive(Debug)]
pub(super) enum End {
    /// It was told to, and has left nothing behind.
    Asked,
    /// A stage never came back; only the process's end ends it.
    Stuck,
    /// The place of the images does not answer; this file was asked for.
    Door(Location),
    /// Somebody has joined under our name: another process, or our own client after it lost its session.
    Fenced(String),
    /// What has failed needs a new beginning.
    Again(String),
}

impl End {
    /// Whether others shall have its partitions at once; a new session of the same worker takes over what it held.
    fn leaves(&self) -> bool {
        match self {
            Self::Asked | Self::Stuck | Self::Door(_) => true,
            Self::Fenced(_) | Self::Again(_) => false,
        }
    }
}

/// What the tasks of a session tell its owner.
enum Told {
    Read(Ticket, Result<Ready, Bad>),
    Published(Result<(), PublishError>, Duration),
    Looked(Result<Lag, KafkaError>),
    Known(Lane, Result<Known, KafkaError>),
}

/// What lives longer than a session.
pub(super) struct Crew {
    pub(super) threads: Threads,
    pub(super) done: UnboundedReceiver<Done>,
    /// Numbers of images, never given twice in a process.
    pub(super) tickets: Ticket,
}

struct Session<'a> {
    life: &'a Life,
    crew: &'a mut Crew,
    decider: Decider,
    begun: Instant,
    lanes: [LaneDoing; 2],
    images: HashMap<Ticket, Held>,
    outputs: HashMap<Ticket, Output>,
    /// Images whose results are in the transaction under way.
    publishing: Vec<Ticket>,
    publisher: Arc<Publisher>,
    reading: Arc<Reading>,
    tell: UnboundedSender<Told>,
    tasks: JoinSet<()>,
    /// The file that was asked for when the door went away.
    away: Option<Location>,
    end: Option<End>,
}

/// Records that came and are not begun, above which no more are taken, until half are left: enough small images for the second
/// that the client may then take to fetch again.
const WAITING: usize = 8000;

/// Joins, works, and leaves.
pub(super) async fn session(life: &Life, crew: &mut Crew) -> End {
    let publisher = match init(life).await {
        Ok(publisher) => Arc::new(publisher),
        Err(end) => return end,
    };
    life.says(Readiness::waits("joins its groups"));
    let mut lanes = Vec::new();
    for lane in Lane::ALL {
        match LaneDoing::join(life, lane) {
            Ok(joined) => lanes.push(joined),
            Err(error) => return End::Again(error.to_string()),
        }
    }
    let Ok(lanes) = <[LaneDoing; 2]>::try_from(lanes) else { return End::Again("no lanes".to_owned()) };
    let (tell, mut told) = mpsc::unbounded_channel();
    let (lost, mut away) = mpsc::unbounded_channel();
    let work = &life.config.work;
    let patience = Patience { failures: work.failures, ..Patience::default() };
    let reading = Reading {
        source: life.source.clone(),
        site: life.config.here().clone(),
        trials: life.trials.clone(),
        tables: life.tables.clone(),
        door: Door::new(patience),
        away: lost,
        buffers: life.buffers.clone(),
    };
    let mut session = Session {
        life,
        crew,
        decider: Decider::new(settings(life)),
        begun: Instant::now(),
        lanes,
        images: HashMap::new(),
        outputs: HashMap::new(),
        publishing: Vec::new(),
        publisher,
        reading: Arc::new(reading),
        tell,
        tasks: JoinSet::new(),
        away: None,
        end: None,
    };
    let end = session.run(&mut told, &mut away).await;
    session.give_up(end.leaves()).await;
    end
}

/// A publisher that has fenced its predecessor, however long Kafka lets us wait.
async fn init(life: &Life) -> Result<Publisher, End> {
    let work = &life.config.work;
    let publish = work.transaction.mul_f64(0.7);
    let timeouts = Timeouts { transaction: work.transaction, publish };
    let id = life.identity.transactional_id(&life.topics);
    let again = |error: String| End::Again(error);
    let stakes = life.identity.stakes(&life.topics);
    let publisher = Publisher::start_for(&life.connection, &life.topics, &id, timeouts, stakes)
        .map_err(|error| again(error.to_string()))?;
    loop {
        life.says(Readiness::waits("fences its predecessor"));
        let limit = Duration::from_secs(10);
        tokio::select! {
            outcome = publisher.init(limit) => match outcome {
                Ok(()) => return Ok(publisher),
                Err(error) if error.needs_new_publisher() => return Err(again(error.to_string())),
                Err(error) => {
                    tracing::warn!(%error, "cannot begin yet");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            },
            () = life.shutdown.drain.cancelled() => return Err(End::Asked),
        }
    }
}

fn settings(life: &Life) -> decide::Settings {
    let work = &life.config.work;
    let usize_of = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    decide::Settings {
        threads: life.threads,
        ahead: usize_of(work.ahead),
        results: usize_of(work.results),
        grace: work.grace,
        hand_over: work.hand_over,
        reprocess_batch: work.reprocess_batch,
        ..decide::Settings::default()
    }
}

impl Session<'_> {
    async fn run(
        &mut self,
        told: &mut UnboundedReceiver<Told>,
        away: &mut UnboundedReceiver<(Location, SourceError)>,
    ) -> End {
        let mut asked = false;
        loop {
            if let Some(end) = self.end.take() {
                return end;
            }
            if let Err(error) = self.crew.threads.dispatch() {
                // Without threads there is nothing to be done here.
                return End::Again(format!("no thread can be started: {error}"));
            }
            if self.decider.set_threads(self.crew.threads.room()) {
                self.step(Event::Tick);
                continue;
            }
            let decider = self.decider.wake_at().map(|at| self.begun + at);
            let tick = [decider, self.crew.threads.wake_at()].into_iter().flatten().min();
            let tick = tick.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            let [live, reprocess] = &mut self.lanes;
            tokio::select! {
                biased;
                () = self.life.shutdown.now.cancelled() => return End::Asked,
                () = self.life.shutdown.drain.cancelled(), if !asked => {
                    asked = true;
                    self.life.says(Readiness::waits("finishes what it has begun"));
                    self.step(Event::Leave(Why::Asked));
                }
                Some(done) = self.crew.done.recv() => self.worked(done),
                Some(told) = told.recv() => self.told(told),
                Some((file, error)) = away.recv() => self.door_away(file, &error),
                event = live.next() => self.taker(Lane::Live, event),
                event = reprocess.next() => self.taker(Lane::Reprocess, event),
                () = tokio::time::sleep_until(tick.into()) => self.step(Event::Tick),
                Some(_) = self.tasks.join_next() => {}
            }
        }
    }

    fn now(&self) -> Now {
        self.begun.elapsed()
    }

    /// An event, and what comes of it.
    fn step(&mut self, event: Event) {
        let actions = self.decider.step(self.now(), event);
        for action in actions {
            self.act(action);
        }
        for lane in Lane::ALL {
            let waiting = self.decider.waiting(lane);
            self.lanes[lane as usize].hold_back(waiting, WAITING);
        }
    }

    /// Ends the session, unless it ends already.
    fn ends(&mut self, end: End) {
        self.end.get_or_insert(end);
    }

    fn worked(&mut self, done: Done) {
        let Freed { outcomes, begun, buffers } = self.crew.threads.free(done);
        for of_image in buffers {
            self.reading.buffers.give(of_image);
        }
        let ended = outcomes.iter().map(|(ticket, _)| *ticket).collect();
        for (ticket, outcome) in outcomes {
            if let Some(held) = self.images.get_mut(&ticket) {
                held.begun(begun);
            }
            // Of one that has its result already (it came too late) or is somebody else's now, nothing comes.
            self.finish(ticket, outcome);
        }
        self.step(Event::Ended(ended));
    }

    fn told(&mut self, told: Told) {
        match told {
            Told::Read(ticket, outcome) => {
                let Some(held) = self.images.get_mut(&ticket) else { return };
                match outcome {
                    Ok((job, limit)) => {
                        held.ready(Some((job, limit)));
                        self.step(Event::Read { ticket, limit });
                    }
                    Err(bad) => {
                        held.ready(None);
                        self.finish(ticket, Err(bad));
                        self.step(Event::Ended(vec![ticket]));
                    }
                }
            }
            Told::Published(outcome, took) => self.published(outcome, took),
            Told::Looked(Ok(lag)) => {
                #[allow(clippy::cast_precision_loss)] // a gauge
                metrics::gauge!(super::metric::LIVE_LAG).set(lag.records as f64);
                self.step(Event::Looked { lag: lag.records, workers: lag.members });
            }
            Told::Looked(Err(error)) => {
                tracing::warn!(%error, "the live group's lag cannot be looked at");
                self.step(Event::NotLooked);
            }
            Told::Known(lane, Ok(known)) => self.begin_with(lane, Some(known)),
            Told::Known(_, Err(error)) => self.ends(End::Again(format!("results cannot be read: {error}"))),
        }
    }

    fn door_away(&mut self, file: Location, error: &SourceError) {
        if self.away.is_none() {
            let why = super::reading::line(error);
            tracing::error!(%file, why, "the place of the images does not answer; leaving the groups until it does");
            metrics::gauge!(super::metric::DOOR_AWAY).set(1.0);
            self.away = Some(file);
            self.step(Event::Leave(Why::Door));
        }
    }

    fn taker(&mut self, lane: Lane, event: Option<TakerEvent>) {
        match event {
            Some(TakerEvent::Given(given)) => self.given(lane, given),
            Some(TakerEvent::Record(record)) => self.arrived(lane, &record),
            Some(TakerEvent::Taken(release)) => {
                self.lanes[lane as usize].taken(release);
                self.step(Event::Taken(lane));
            }
            Some(TakerEvent::Fault(error)) if error.is_retriable() => {
                tracing::warn!(lane = lane.name(), %error, "kafka is in trouble");
            }
            Some(TakerEvent::Fault(error)) => self.ends(End::Again(error.to_string())),
            Some(TakerEvent::Fenced(why)) => self.ends(End::Fenced(why)),
            None => self.ends(End::Again(format!("the taker of lane {} has ended", lane.name()))),
        }
    }

    /// Gives all up that is not committed, and its places in the groups where it leaves.
    async fn give_up(mut self, leaves: bool) {
        self.crew.threads.clear();
        self.tasks.abort_all();
        for held in self.images.values() {
            if let Some(reading) = &held.reading {
                reading.abort();
            }
        }
        let [live, reprocess] = self.lanes;
        tokio::join!(live.end(leaves), reprocess.end(leaves));
        metrics::gauge!(super::metric::READY).set(0.0);
    }
}
