//! What librdkafka tells on the side: logs to tracing, statistics to metrics, and the last fault of the connection, so
//! that a wrong password is named instead of a timeout.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use metrics::{counter, gauge};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel as Level;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError as RdError, RDKafkaErrorCode as Code};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;

use super::error::KafkaError;
use super::stall::Place;

/// Messages that wait between the last one taken and the partition's end. Labels: client, topic, partition.
pub const LAG: &str = "lightrail_kafka_consumer_lag";
/// Mean round trip to a broker in seconds. Labels: client, broker.
pub const ROUND_TRIP: &str = "lightrail_kafka_round_trip_seconds";
/// Messages in the producer's queue. Labels: client.
pub const QUEUED: &str = "lightrail_kafka_producer_queue";
/// Faults by class. Labels: client, class.
pub const FAULTS: &str = "lightrail_kafka_faults_total";

/// Lets a context take part in rebalances; only the group reader does something there.
pub(super) trait Rebalances: Send + Sync + Sized + 'static {
    /// Partitions were given or taken: assign them (with positions) or unassign.
    fn rebalance(&self, consumer: &BaseConsumer<Context<Self>>, given: bool, list: &mut TopicPartitionList);
}

/// For clients without a group.
pub(super) struct NoGroup;

impl Rebalances for NoGroup {
    fn rebalance(&self, _: &BaseConsumer<Context<Self>>, _: bool, _: &mut TopicPartitionList) {}
}

/// The context of one client.
pub(super) struct Context<R = NoGroup> {
    client: String,
    fault: Mutex<Option<KafkaError>>,
    /// Whether a broker was lost since somebody last asked.
    lost: AtomicBool,
    /// Where partitions are to be fetched next of which nothing waits to be taken, as last said.
    fetching: Mutex<Option<BTreeMap<Place, i64>>>,
    pub(super) group: R,
}

impl Context {
    pub(super) fn new(client: &str) -> Self {
        Context::with_group(client, NoGroup)
    }
}

impl<R> Context<R> {
    pub(super) fn with_group(client: &str, group: R) -> Self {
        let (fault, lost, fetching) = (Mutex::new(None), AtomicBool::new(false), Mutex::new(None));
        Self { client: client.to_owned(), fault, lost, fetching, group }
    }

    fn lock(&self) -> MutexGuard<'_, Option<KafkaError>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection's last fault since the last success.
    pub(super) fn fault(&self) -> Option<KafkaError> {
        self.lock().clone()
    }

    /// The last fault if it is one that waiting does not mend by itself.
    pub(super) fn refusal(&self) -> Option<KafkaError> {
        self.lock().clone().filter(|fault| matches!(fault, KafkaError::Authentication(_)))
    }

    /// Whether a broker was lost since the last time that this was asked.
    pub(super) fn take_lost(&self) -> bool {
        self.lost.swap(false, Ordering::Relaxed)
    }

    /// To be asked again.
    pub(super) fn still_lost(&self) {
        self.lost.store(true, Ordering::Relaxed);
    }

    /// Where partitions are to be fetched next, once each time that the statistics have said it.
    pub(super) fn take_fetching(&self) -> Option<BTreeMap<Place, i64>> {
        self.fetching.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Something was answered: the connection works.
    pub(super) fn works(&self) {
        *self.lock() = None;
    }
}

impl<R: Send + Sync + 'static> ClientContext for Context<R> {
    fn log(&self, level: Level, facility: &str, text: &str) {
        let client = self.client.as_str();
        match level {
            Level::Emerg | Level::Alert | Level::Critical | Level::Error => {
                tracing::error!(target: "librdkafka", client, facility, "{text}");
            }
            Level::Warning => tracing::warn!(target: "librdkafka", client, facility, "{text}"),
            Level::Notice | Level::Info => tracing::info!(target: "librdkafka", client, facility, "{text}"),
            Level::Debug => tracing::debug!(target: "librdkafka", client, facility, "{text}"),
        }
    }

    fn error(&self, error: RdError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        // The end of a partition and a reset are news of a partition, not faults of the connection.
        if matches!(code, Code::PartitionEOF | Code::AutoOffsetReset) {
            return;
        }
        let fault = KafkaError::of_code("connection", code, reason.to_owned());
        let class = match &fault {
            KafkaError::Authentication(_) => "authentication",
            KafkaError::Authorization(_) => "authorization",
            KafkaError::Unreachable(_) => "unreachable",
            KafkaError::UnknownTopic(_) => "unknown_topic",
            KafkaError::Fatal(_) => "fatal",
            _ => "other",
        };
        counter!(FAULTS, "client" => self.client.clone(), "class" => class).increment(1);
        if matches!(fault, KafkaError::Unreachable(_)) {
            self.still_lost();
        }
        let mut last = self.lock();
        // "All brokers are down" follows each refusal and must not hide it.
        let hides = matches!(
            (last.as_ref(), &fault),
            (Some(KafkaError::Authentication(_)), KafkaError::Unreachable(_))
        );
        if !hides {
            *last = Some(fault);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    fn stats(&self, statistics: Statistics) {
        let client = &self.client;
        gauge!(QUEUED, "client" => client.clone()).set(statistics.msg_cnt as f64);
        for broker in statistics.brokers.values().filter(|broker| broker.nodeid >= 0) {
            if let Some(rtt) = &broker.rtt {
                let labels = [("client", client.clone()), ("broker", broker.nodename.clone())];
                gauge!(ROUND_TRIP, &labels).set(rtt.avg as f64 / 1e6);
            }
        }
        let mut fetching = BTreeMap::new();
        for (name, topic) in &statistics.topics {
            for partition in topic.partitions.values().filter(|part| part.partition >= 0) {
                if partition.consumer_lag >= 0 {
                    let labels = [
                        ("client", client.clone()),
                        ("topic", name.clone()),
                        ("partition", partition.partition.to_string()),
                    ];
                    gauge!(LAG, &labels).set(partition.consumer_lag as f64);
                }
                if partition.desired && partition.fetch_state == "active" && partition.fetchq_cnt == 0 {
                    fetching.insert((name.clone(), partition.partition), partition.next_offset);
                }
            }
        }
        // What has waited until somebody polls again tells of another time than what the broker is asked next.
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs().cast_signed();
        if now - statistics.time <= 2 {
            *self.fetching.lock().unwrap_or_else(PoisonError::into_inner) = Some(fetching);
        }
    }
}

impl<R: Rebalances> ConsumerContext for Context<R> {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, kind: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let given = kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        self.group.rebalance(consumer, given, list);
    }
}
