//! A producer whose events (deliveries, errors, statistics) are served on a thread of its own. rdkafka's `ThreadedProducer`
//! does the same, but turns in a loop for what is left of the last millisecond of each tenth of a second that it waits: up to one
//! percent of a core for each producer there is, at work or not. Sends nothing by itself.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer as _, ProducerContext};

use super::error::KafkaError;
use super::reader::spawn;

/// How long the thread waits for an event before it looks whether it is still wanted.
const LOOKS_EVERY: Duration = Duration::from_secs(1);

/// How long a commit waits for that thread to be done with the last delivery that it has told of.
const DONE_WITHIN: Duration = Duration::from_millis(100);

/// The producer. Dropped, it lives on for up to a second, until its thread has seen that.
pub(super) struct Served<C: ProducerContext + 'static> {
    producer: Arc<BaseProducer<C>>,
    stop: Arc<AtomicBool>,
}

impl<C: ProducerContext + 'static> Served<C> {
    pub(super) fn start(config: &ClientConfig, context: C) -> Result<Self, KafkaError> {
        let producer: BaseProducer<C> =
            config.create_with_context(context).map_err(|error| KafkaError::settings(&error))?;
        let (producer, stop) = (Arc::new(producer), Arc::new(AtomicBool::new(false)));
        let (served, stopped) = (Arc::clone(&producer), Arc::clone(&stop));
        spawn("kafka-events", move || {
            while !stopped.load(Ordering::Relaxed) {
                served.poll(LOOKS_EVERY);
            }
        })?;
        Ok(Self { producer, stop })
    }

    /// Waits until no message is under way, after each delivery was told of. librdkafka counts a message until its delivery's
    /// event is destroyed, a moment after it was told of; and rdkafka, when it finds one at the begin of a commit, waits a tenth
    /// of a second for an event that this thread has taken.
    pub(super) fn settle(&self) {
        let deadline = Instant::now() + DONE_WITHIN;
        while self.producer.in_flight_count() > 0 && Instant::now() < deadline {
            std::thread::yield_now();
        }
    }
}

impl<C: ProducerContext + 'static> Deref for Served<C> {
    type Target = BaseProducer<C>;

    fn deref(&self) -> &Self::Target {
        &self.producer
    }
}

impl<C: ProducerContext + 'static> Drop for Served<C> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
