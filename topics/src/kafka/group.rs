//! The group reader of an intake: classic protocol with a static member, positions given by its user, offsets stored by
//! hand. A blocking poll loop on a thread of its own feeds a bounded channel, since librdkafka's rebalance callback is
//! synchronous. Never here: a jump to another position; that is an alarm and the user's decision.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError as RdError, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::{Offset as RdOffset, TopicPartitionList};
use tokio::sync::{mpsc, oneshot};

use super::connection::Connection;
use super::context::{Context, Rebalances};
use super::error::KafkaError;
use super::reader::{fault_or, out_of_range, record, spawn};
use super::stall::Stall;
use crate::record::Record;

/// How a group is joined.
#[derive(Clone, Debug)]
pub struct GroupSettings {
    /// The group's name.
    pub group: String,
    /// A static member's name: a restart takes over at once what a killed predecessor held.
    pub instance: Option<String>,
    /// After so long without a heartbeat the member is taken for dead.
    pub session_timeout: Duration,
    /// What to read.
    pub topics: Vec<String>,
    /// Records that may wait in the channel; above that the partitions are paused.
    pub capacity: usize,
}

/// What happens in the group, in order.
#[derive(Debug)]
pub enum KafkaEvent {
    /// A record.
    Record(Record),
    /// Partitions were given, with the position at which each begins; `None` is its first offset.
    Assigned(Vec<(String, i32, Option<i64>)>),
    /// Partitions were taken away.
    Revoked(Vec<(String, i32)>),
    /// Something failed. The reader goes on by itself where the error is retriable; otherwise it has ended.
    Fault(KafkaError),
    /// Somebody has joined under this member's name: another process, or our own client after it lost its session. The reader
    /// has ended.
    Fenced(String),
}

type Positions = Box<dyn Fn(&str, i32) -> Option<i64> + Send + Sync>;

struct Assignments {
    positions: Positions,
    events: Mutex<VecDeque<KafkaEvent>>,
}

impl Rebalances for Assignments {
    fn rebalance(&self, consumer: &BaseConsumer<Context<Self>>, given: bool, list: &mut TopicPartitionList) {
        let partitions: Vec<(String, i32)> =
            list.elements().iter().map(|element| (element.topic().to_owned(), element.partition())).collect();
        let (event, outcome) = if given {
            let mut begins = Vec::with_capacity(partitions.len());
            for (topic, partition) in partitions {
                let position = (self.positions)(&topic, partition);
                let offset = position.map_or(RdOffset::Beginning, RdOffset::Offset);
                if let Err(error) = list.set_partition_offset(&topic, partition, offset) {
                    tracing::error!(topic, partition, %error, "position of a partition cannot be set");
                }
                begins.push((topic, partition, position));
            }
            (KafkaEvent::Assigned(begins), consumer.assign(list))
        } else {
            (KafkaEvent::Revoked(partitions), consumer.unassign())
        };
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.push_back(event);
        if let Err(error) = outcome {
            events.push_back(KafkaEvent::Fault(KafkaError::of("rebalance", &error)));
        }
    }
}

type GroupConsumer = BaseConsumer<Context<Assignments>>;

/// What a transaction needs to know of a group to commit its offsets: who the member is, and in which generation.
#[derive(Clone)]
pub struct GroupMetadata(pub(super) Arc<ConsumerGroupMetadata>);

impl std::fmt::Debug for GroupMetadata {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GroupMetadata")
    }
}

/// The handle of a group reader. Dropping it stops the reader.
pub struct GroupReader {
    /// The loop owns the consumer: closing it blocks, which is the loop's thread's business.
    consumer: Weak<GroupConsumer>,
    paused: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    ended: oneshot::Receiver<()>,
}

impl std::fmt::Debug for GroupReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupReader").field("paused", &self.paused).finish_non_exhaustive()
    }
}

impl GroupReader {
    /// Joins the group. `positions` says at each assignment where a partition's reading begins (`None`: at its first
    /// offset); what the group has committed is not looked at.
    pub fn join(
        connection: &Connection,
        settings: &GroupSettings,
        positions: impl Fn(&str, i32) -> Option<i64> + Send + Sync + 'static,
    ) -> Result<(Self, mpsc::Receiver<KafkaEvent>), KafkaError> {
        let mut config = connection.config()?;
        let session = settings.session_timeout.as_millis();
        config
            .set("group.id", &settings.group)
            .set("group.protocol", "classic")
            .set("session.timeout.ms", session.to_string())
            .set("heartbeat.interval.ms", (session / 4).clamp(100, 3000).to_string())
            .set("enable.auto.commit", "true")
            .set("auto.commit.interval.ms", "1000")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .set("fetch.wait.max.ms", "100")
            // What a pause throws away has to be fetched again; a queue that was full is looked at again soon, not in a second.
            .set("queued.min.messages", "10000")
            .set("fetch.queue.backoff.ms", "20")
            .set("statistics.interval.ms", "5000");
        if let Some(instance) = &settings.instance {
            config.set("group.instance.id", instance);
        }
        let assignments = Assignments { positions: Box::new(positions), events: Mutex::default() };
        let context = Context::with_group(&connection.client_id, assignments);
        let consumer: GroupConsumer =
            config.create_with_context(context).map_err(|error| KafkaError::settings(&error))?;
        let topics: Vec<&str> = settings.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics).map_err(|error| KafkaError::of("subscription", &error))?;
        let consumer = Arc::new(consumer);
        let (paused, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (events, receiver) = mpsc::channel(settings.capacity.max(2));
        let (end, ended) = oneshot::channel();
        let watched = Arc::downgrade(&consumer);
        let mut poll_loop = PollLoop {
            connection: connection.clone(),
            consumer,
            paused: paused.clone(),
            stop: stop.clone(),
            events,
            backlog: VecDeque::new(),
            pause_applied: false,
            next: BTreeMap::new(),
            last_fault: None,
            stall: Stall::default(),
        };
        spawn("kafka-intake", move || {
            poll_loop.run();
            drop(poll_loop);
            let _ = end.send(());
        })?;
        Ok((Self { consumer: watched, paused, stop, ended }, receiver))
    }

    /// Stores the offset after the last one whose record is safe; it is committed within a second. An offset of a
    /// partition that was taken away meanwhile is dropped, its new owner has positions of its own.
    pub fn store(&self, topic: &str, partition: i32, next: i64) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(topic, partition, RdOffset::Offset(next))
            .map_err(|error| KafkaError::of("offset", &error))?;
        let Some(consumer) = self.consumer.upgrade() else { return Ok(()) };
        match consumer.store_offsets(&list) {
            Err(error) if error.rdkafka_error_code() == Some(Code::State) => Ok(()),
            outcome => outcome.map_err(|error| KafkaError::of("storing an offset", &error)),
        }
    }

    /// Takes no more records until [`Self::resume`]; the member stays in its group.
    pub fn pause(&self) {
        self.paused.store(true, Ordering::Relaxed);
    }

    /// Takes records again.
    pub fn resume(&self) {
        self.paused.store(false, Ordering::Relaxed);
    }

    /// What a transaction needs to commit offsets of this group.
    pub fn metadata(&self) -> Option<GroupMetadata> {
        self.consumer.upgrade()?.group_metadata().map(|group| GroupMetadata(Arc::new(group)))
    }

    /// Commits what is stored and stops, or gives up waiting for that after 5 s, for the journal's positions count. A
    /// static member stays in the group until its session ends.
    pub async fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = tokio::time::timeout(Duration::from_secs(5), &mut self.ended).await;
    }
}

impl Drop for GroupReader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct PollLoop {
    connection: Connection,
    consumer: Arc<GroupConsumer>,
    paused: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    events: mpsc::Sender<KafkaEvent>,
    /// Events that did not fit into the channel.
    backlog: VecDeque<KafkaEvent>,
    pause_applied: bool,
    /// Where each assigned partition goes on, to name the one that is out of range.
    next: BTreeMap<(String, i32), i64>,
    /// The last fault that was passed on, so that a broker's absence is told once and not each second.
    last_fault: Option<(KafkaError, Instant)>,
    stall: Stall,
}

impl PollLoop {
    fn run(&mut self) {
        while !self.stop.load(Ordering::Relaxed) && self.hand_on() {
            self.apply_pause();
            let wait = if self.backlog.is_empty() { 100 } else { 10 };
            let consumer = self.consumer.clone();
            let polled = consumer.poll(Duration::from_millis(wait));
            self.take_assignments();
            let ended = match polled {
                None => false,
                Some(Ok(message)) => {
                    let record = record(&message);
                    if let Some(next) = self.next.get_mut(&(record.topic.to_string(), record.partition)) {
                        *next = record.offset + 1;
                    }
                    self.last_fault = None;
                    self.backlog.push_back(KafkaEvent::Record(record));
                    false
                }
                Some(Err(error)) => self.fault(&error),
            };
            let stalled = self.stall.look(&self.consumer, self.pause_applied).err();
            let ended = ended || stalled.is_some();
            self.backlog.extend(stalled.map(KafkaEvent::Fault));
            if ended {
                self.hand_on_last();
                break;
            }
        }
    }

    /// Passes events on as far as there is room; false when nobody listens any more.
    fn hand_on(&mut self) -> bool {
        while let Some(event) = self.backlog.pop_front() {
            match self.events.try_send(event) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(event)) => {
                    self.backlog.push_front(event);
                    return true;
                }
                Err(mpsc::error::TrySendError::Closed(_)) => return false,
            }
        }
        !self.events.is_closed()
    }

    fn hand_on_last(&mut self) {
        while let Some(event) = self.backlog.pop_front() {
            if self.events.blocking_send(event).is_err() {
                return;
            }
        }
    }

    /// Pauses at a full channel and resumes at a half empty one: each pause throws fetched records away.
    fn apply_pause(&mut self) {
        let half = self.events.max_capacity() / 2;
        let full = !self.backlog.is_empty() || (self.pause_applied && self.events.capacity() < half);
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

    fn take_assignments(&mut self) {
        let context = self.consumer.context().clone();
        let mut events = context.group.events.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events.drain(..) {
            match &event {
                KafkaEvent::Assigned(partitions) => {
                    // New partitions are not paused, whatever the old ones were.
                    self.pause_applied = false;
                    self.last_fault = None;
                    self.next = partitions
                        .iter()
                        .filter_map(|(topic, partition, at)| Some(((topic.clone(), *partition), (*at)?)))
                        .collect();
                }
                KafkaEvent::Revoked(_) => self.next.clear(),
                _ => {}
            }
            self.backlog.push_back(event);
        }
    }

    /// Tells of a fault; true if the reader cannot go on.
    fn fault(&mut self, error: &RdError) -> bool {
        if let Some((code, text)) = self.consumer.client().fatal_error() {
            self.backlog.push_back(if code == Code::FencedInstanceId {
                KafkaEvent::Fenced(text)
            } else {
                KafkaEvent::Fault(KafkaError::Fatal(text))
            });
            return true;
        }
        let fault = match error.rdkafka_error_code() {
            Some(Code::AutoOffsetReset) => {
                let positions = self.next.iter().map(|((topic, partition), at)| (&**topic, *partition, *at));
                out_of_range(&self.connection, positions)
            }
            Some(Code::FencedInstanceId) => {
                self.backlog.push_back(KafkaEvent::Fenced(error.to_string()));
                return true;
            }
            _ => fault_or(&self.consumer, "group", error),
        };
        let same = |last: &KafkaError| std::mem::discriminant(last) == std::mem::discriminant(&fault);
        let told = self
            .last_fault
            .as_ref()
            .is_some_and(|(last, at)| same(last) && at.elapsed() < Duration::from_secs(30));
        let ends = !fault.is_retriable();
        if !told {
            self.last_fault = Some((fault.clone(), Instant::now()));
            self.backlog.push_back(KafkaEvent::Fault(fault));
        }
        ends
    }
}
