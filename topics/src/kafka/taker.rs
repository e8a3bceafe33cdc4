//! A group member that takes work: it begins where the group has committed, tells who it is in the group at each
//! assignment, and lets partitions go only when its user has let them go or a limit has passed. Positions are committed by
//! a [`super::Publisher`] together with what came of them, never here; nor is a lost position guessed.

mod waiting;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc as std_mpsc};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError as RdError, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::{Offset as RdOffset, TopicPartitionList};
use tokio::sync::{mpsc, oneshot};

use super::connection::Connection;
use super::context::{Context, Rebalances};
use super::error::KafkaError;
use super::group::GroupMetadata;
use super::reader::{fault_or, record, spawn};
use super::stall::Stall;
use crate::record::Record;
use waiting::Waiting;

/// How work is taken.
#[derive(Clone, Debug)]
pub struct TakerSettings {
    /// The group's name.
    pub group: String,
    /// A static member's name: a restart takes over at once what a killed predecessor held.
    pub instance: String,
    /// After so long without a heartbeat the member is taken for dead.
    pub session_timeout: Duration,
    /// The one topic that is read.
    pub topic: String,
    /// Records that may wait to be asked for; above that nothing more is fetched.
    pub capacity: usize,
    /// How long partitions that are taken away are kept for the user to finish.
    pub hand_over: Duration,
}

/// What happens to a taker, in order.
#[derive(Debug)]
pub enum TakerEvent {
    /// Partitions were given; those of before are gone.
    Given(Given),
    /// A record of a partition that was given.
    Record(Record),
    /// Partitions were taken away. The group waits until this is dropped, or for the limit of the settings.
    Taken(Release),
    /// Something failed. The taker goes on by itself where the error is retriable; otherwise it has ended.
    Fault(KafkaError),
    /// Somebody has joined under this member's name: another process, or our own client, which joins anew after it lost its
    /// session and may then be refused what it still had under way. The taker has ended.
    Fenced(String),
}

/// An assignment.
#[derive(Debug)]
pub struct Given {
    /// The partitions, with where each begins.
    pub partitions: Vec<Begin>,
    /// Who we are in the group as long as this assignment holds: what is committed with it after another assignment is
    /// refused by the broker.
    pub group: GroupMetadata,
}

/// Where a partition begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    /// The partition.
    pub partition: i32,
    /// What the group has committed: the position and its note. `None`: nothing, or a position that the partition does not
    /// hold (its offsets were forgotten, its messages deleted, the topic made anew); reading begins at its first offset.
    pub committed: Option<(i64, String)>,
    /// Its first offset.
    pub first: i64,
    /// The offset after its last, as far as it is committed.
    pub end: i64,
}

/// Holds a rebalance until it is dropped.
#[derive(Debug)]
pub struct Release {
    _held: std_mpsc::SyncSender<()>,
}

/// The events of a [`Taker`].
#[derive(Debug)]
pub struct Taken {
    events: mpsc::UnboundedReceiver<TakerEvent>,
    waiting: Arc<Waiting>,
}

impl Taken {
    /// The next event; `None` when the taker has ended. Can be cancelled without loss.
    pub async fn next(&mut self) -> Option<TakerEvent> {
        let event = self.events.recv().await;
        if let Some(TakerEvent::Record(_)) = event {
            self.waiting.one_less();
        }
        event
    }
}

struct Assignments {
    topic: String,
    hand_over: Duration,
    events: mpsc::UnboundedSender<TakerEvent>,
    stop: Arc<AtomicBool>,
    /// Set at each assignment: new partitions are not paused, whatever the old ones were.
    fresh: AtomicBool,
    assigned: AtomicBool,
    failed: Mutex<Option<KafkaError>>,
}

/// How long a group's positions are waited for: a killed predecessor's transaction may have to time out first.
const POSITIONS_WITHIN: Duration = Duration::from_secs(25);
const SLICE: Duration = Duration::from_secs(1);

/// How long one who leaves waits until it has joined, as long until its partitions are taken from it, and then until its
/// fetching of them has ended.
const LEAVES_WITHIN: Duration = Duration::from_secs(2);
const LETS_GO_WITHIN: Duration = Duration::from_millis(200);
/// How long a full channel is waited for before the partitions are paused.
const HAS_ROOM_WITHIN: Duration = Duration::from_millis(100);

impl Assignments {
    fn give(
        &self,
        consumer: &BaseConsumer<Context<Self>>,
        list: &mut TopicPartitionList,
    ) -> Result<Given, KafkaError> {
        let committed = self.committed(consumer, list)?;
        let mut partitions = Vec::with_capacity(committed.len());
        for (partition, committed) in committed {
            let of = |error: &RdError| KafkaError::of("the ends of a partition", error);
            let ends =
                self.until(|| consumer.fetch_watermarks(&self.topic, partition, SLICE).map_err(|e| of(&e)));
            let (first, end) = ends?;
            let committed = committed.filter(|(next, _)| (first..=end).contains(next));
            let offset = RdOffset::Offset(committed.as_ref().map_or(first, |(next, _)| *next));
            list.set_partition_offset(&self.topic, partition, offset)
                .map_err(|error| KafkaError::of("position", &error))?;
            partitions.push(Begin { partition, committed, first, end });
        }
        let group = consumer.group_metadata().map(|group| GroupMetadata(Arc::new(group)));
        let group = group.ok_or_else(|| KafkaError::Fatal("the consumer is in no group".to_owned()))?;
        consumer.assign(list).map_err(|error| KafkaError::of("assignment", &error))?;
        Ok(Given { partitions, group })
    }

    /// What the group has committed for the partitions, once no transaction can still change it.
    fn committed(
        &self,
        consumer: &BaseConsumer<Context<Self>>,
        list: &TopicPartitionList,
    ) -> Result<Vec<Committed>, KafkaError> {
        self.until(|| {
            let found = consumer
                .committed_offsets(list.clone(), SLICE)
                .map_err(|error| KafkaError::of("the group's positions", &error))?;
            let mut committed = Vec::with_capacity(found.count());
            for element in found.elements() {
                element.error().map_err(|error| KafkaError::of("the group's positions", &error))?;
                let position = match element.offset() {
                    RdOffset::Offset(next) => Some((next, element.metadata().to_owned())),
                    _ => None,
                };
                committed.push((element.partition(), position));
            }
            Ok(committed)
        })
    }

    /// Asks again until there is an answer, the limit has passed, or the taker is to end: as long as it asks, it lives in its
    /// group.
    fn until<T>(&self, mut ask: impl FnMut() -> Result<T, KafkaError>) -> Result<T, KafkaError> {
        let deadline = Instant::now() + POSITIONS_WITHIN;
        loop {
            match ask() {
                Err(error)
                    if error.is_retriable()
                        && Instant::now() < deadline
                        && !self.stop.load(Ordering::Relaxed) =>
                {
                    std::thread::park_timeout(Duration::from_millis(50));
                }
                outcome => return outcome,
            }
        }
    }
}

/// A partition, its position and the note beside it.
type Committed = (i32, Option<(i64, String)>);

impl Rebalances for Assignments {
    fn rebalance(&self, consumer: &BaseConsumer<Context<Self>>, given: bool, list: &mut TopicPartitionList) {
        if given {
            self.fresh.store(true, Ordering::Relaxed);
            self.assigned.store(true, Ordering::Relaxed);
            match self.give(consumer, list) {
                // Who asked may be gone; then the loop ends by itself.
                Ok(given) => drop(self.events.send(TakerEvent::Given(given))),
                Err(error) => *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error),
            }
            return;
        }
        let (held, released) = std_mpsc::sync_channel(0);
        let told = self.events.send(TakerEvent::Taken(Release { _held: held })).is_ok();
        if told && !self.stop.load(Ordering::Relaxed) && !consumer.assignment_lost() {
            // Ends by the other side's drop, or is given up.
            let _ = released.recv_timeout(self.hand_over);
        }
        if let Err(error) = consumer.unassign() {
            tracing::warn!(%error, "partitions could not be let go");
        }
        self.assigned.store(false, Ordering::Relaxed);
    }
}

/// The handle of a taker. Dropping it stops the taker.
#[derive(Debug)]
pub struct Taker {
    stop: Arc<AtomicBool>,
    leaves: Arc<AtomicBool>,
    paused: Arc<AtomicBool>,
    ended: oneshot::Receiver<()>,
}

impl Taker {
    /// Joins the group.
    ///
    /// # Errors
    /// When the settings are wrong. That no broker answers comes as a fault.
    pub fn join(connection: &Connection, settings: &TakerSettings) -> Result<(Self, Taken), KafkaError> {
        let mut config = connection.config()?;
        let session = settings.session_timeout.as_millis();
        config
            .set("group.id", &settings.group)
            .set("group.instance.id", &settings.instance)
            .set("group.protocol", "classic")
            // Who publishes goes from one partition to the next: neighbours belong to different members, so that what comes one
            // after the other is worked side by side.
            .set("partition.assignment.strategy", "roundrobin")
            .set("session.timeout.ms", session.to_string())
            // By its heartbeat's answer a member learns that another one waits to join.
            .set("heartbeat.interval.ms", (session / 10).clamp(100, 1000).to_string())
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .set("fetch.wait.max.ms", "100")
            // What a pause throws away has to be fetched again: little is fetched ahead, and looked after often.
            .set("queued.min.messages", "1000")
            .set("fetch.queue.backoff.ms", "20")
            .set("statistics.interval.ms", "5000");
        let (sender, events) = mpsc::unbounded_channel();
        let flag = || Arc::new(AtomicBool::new(false));
        let (stop, leaves, paused) = (flag(), flag(), flag());
        let assignments = Assignments {
            topic: settings.topic.clone(),
            hand_over: settings.hand_over,
            events: sender.clone(),
            stop: stop.clone(),
            fresh: AtomicBool::new(false),
            assigned: AtomicBool::new(false),
            failed: Mutex::new(None),
        };
        let context = Context::with_group(&connection.client_id, assignments);
        let consumer: BaseConsumer<Context<Assignments>> =
            config.create_with_context(context).map_err(|error| KafkaError::settings(&error))?;
        consumer.subscribe(&[&settings.topic]).map_err(|error| KafkaError::of("subscription", &error))?;
        let waiting = Arc::new(Waiting::new(settings.capacity.max(2)));
        let (end, ended) = oneshot::channel();
        let mut poll_loop = PollLoop {
            consumer,
            events: sender,
            waiting: waiting.clone(),
            stop: stop.clone(),
            leaves: leaves.clone(),
            paused: paused.clone(),
            pause_applied: false,
            last_fault: None,
            stall: Stall::default(),
        };
        spawn("kafka-taker", move || {
            poll_loop.run();
            drop(poll_loop);
            let _ = end.send(());
        })?;
        Ok((Self { stop, leaves, paused, ended }, Taken { events, waiting }))
    }

    /// Takes no more records until [`Self::resume`]; the member stays in its group. After that the client may take up to a second
    /// before it fetches again.
    pub fn pause(&self) {
        self.paused.store(true, Ordering::Relaxed);
    }

    /// Takes records again.
    pub fn resume(&self) {
        self.paused.store(false, Ordering::Relaxed);
    }

    /// Stops, and waits up to 5 s for that. The static member stays in its group until its session ends, so that whoever
    /// joins under its name takes over what it held, and nobody else does before.
    pub async fn stop(mut self) {
        self.stop.store(true, Ordering::Release);
        let _ = tokio::time::timeout(Duration::from_secs(5), &mut self.ended).await;
    }

    /// Leaves the group, and waits up to 5 s for that: the others have its partitions at once.
    pub async fn leave(self) {
        self.leaves.store(true, Ordering::Relaxed);
        self.stop().await;
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct PollLoop {
    consumer: BaseConsumer<Context<Assignments>>,
    events: mpsc::UnboundedSender<TakerEvent>,
    waiting: Arc<Waiting>,
    stop: Arc<AtomicBool>,
    leaves: Arc<AtomicBool>,
    paused: Arc<AtomicBool>,
    pause_applied: bool,
    /// The last fault that was passed on, so that a broker's absence is told once and not each second.
    last_fault: Option<(KafkaError, Instant)>,
    stall: Stall,
}

impl PollLoop {
    fn run(&mut self) {
        // Who sees that it is to stop sees whether it is to leave.
        while !self.stop.load(Ordering::Acquire) && !self.events.is_closed() {
            if !self.pause_applied {
                // A full channel is mostly half empty again soon: a pause would throw fetched records away, and after it the client
                // may take a second to fetch again.
                self.waiting.wait_for_room(HAS_ROOM_WITHIN);
            }
            self.apply_pause();
            let event = match self.consumer.poll(Duration::from_millis(100)) {
                None => None,
                Some(Ok(message)) => {
                    self.last_fault = None;
                    self.waiting.one_more();
                    Some(TakerEvent::Record(record(&message)))
                }
                Some(Err(error)) => self.fault(&error),
            };
            let failed = &self.consumer.context().group.failed;
            let failed = failed.lock().unwrap_or_else(PoisonError::into_inner).take();
            // Without positions there is nothing to go on with.
            let failed = failed.map(|error| KafkaError::Fatal(error.to_string()));
            let failed = failed.or_else(|| self.stall.look(&self.consumer, self.pause_applied).err());
            let event = failed.map(TakerEvent::Fault).or(event);
            let ends = match &event {
                Some(TakerEvent::Fault(error)) => !error.is_retriable(),
                Some(TakerEvent::Fenced(_)) => true,
                _ => false,
            };
            if event.is_some_and(|event| self.events.send(event).is_err()) || ends {
                return;
            }
        }
        if self.leaves.load(Ordering::Relaxed) {
            self.give_back();
        }
    }

    /// A static member does not leave by being closed, only by ending its subscription first. The client then lets its
    /// partitions go and says so to the group by itself, which nothing tells; if it does not get there in time, the session's
    /// end does the same later. One whose joining is under way cannot leave: the others would wait for it as for a member.
    fn give_back(&self) {
        self.poll_until(true);
        self.consumer.unsubscribe();
        self.poll_until(false);
        let _ = self.consumer.poll(LETS_GO_WITHIN);
    }

    /// Polls until it has an assignment, or has none any more, for as long as that may take.
    fn poll_until(&self, assigned: bool) {
        let until = Instant::now() + LEAVES_WITHIN;
        let is = || self.consumer.context().group.assigned.load(Ordering::Relaxed);
        while is() != assigned && Instant::now() < until {
            let _ = self.consumer.poll(Duration::from_millis(20));
        }
    }

    /// Pauses at a full channel and resumes at a half empty one: each pause throws fetched records away.
    fn apply_pause(&mut self) {
        if self.consumer.context().group.fresh.swap(false, Ordering::Relaxed) {
            self.pause_applied = false;
        }
        let full = if self.pause_applied { !self.waiting.is_half_empty() } else { self.waiting.is_full() };
        let wanted = full || self.paused.load(Ordering::Relaxed);
        if wanted == self.pause_applied {
            return;
        }
        let outcome = self.consumer.assignment().and_then(|assignment| {
            if wanted { self.consumer.pause(&assignment) } else { self.consumer.resume(&assignment) }
        });
        match outcome {
            Ok(()) => self.pause_applied = wanted,
            Err(error) => tracing::warn!(%error, wanted, "partitions could not be paused or resumed"),
        }
    }

    fn fault(&mut self, error: &RdError) -> Option<TakerEvent> {
        let code = error.rdkafka_error_code();
        if let Some((fatal, text)) = self.consumer.client().fatal_error() {
            return Some(if fatal == Code::FencedInstanceId {
                TakerEvent::Fenced(text)
            } else {
                TakerEvent::Fault(KafkaError::Fatal(text))
            });
        }
        let fault = match code {
            Some(Code::FencedInstanceId) => return Some(TakerEvent::Fenced(error.to_string())),
            // Retention has overtaken us: the next assignment finds the position outside, and says so.
            Some(Code::AutoOffsetReset) => KafkaError::Fatal(format!("a position is gone: {error}")),
            _ => fault_or(&self.consumer, "group", error),
        };
        let same = |last: &KafkaError| std::mem::discriminant(last) == std::mem::discriminant(&fault);
        let told = self
            .last_fault
            .as_ref()
            .is_some_and(|(last, at)| same(last) && at.elapsed() < Duration::from_secs(30));
        if told && fault.is_retriable() {
            return None;
        }
        self.last_fault = Some((fault.clone(), Instant::now()));
        Some(TakerEvent::Fault(fault))
    }
}
