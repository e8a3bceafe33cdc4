//! The outbox's publisher: takes messages that the journal holds, publishes them in order, each in a transaction, and
//! reports those that are there. A producer that can do no more is replaced: fence, read back, strike out what is there,
//! go on. Never drops a message, never publishes one twice.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use lightrail_topics::kafka::{
    Admin, Connection, KafkaError, Placed, PublishError, Publisher, Timeouts, read_to_end,
};
use lightrail_topics::{Message, Record, Topic, Topics};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::gather::Gather;
use crate::ledger::rows::PartitionKey;
use crate::owner::Input;
use crate::rival::{Identity, rival};

/// What was published, or found published.
#[derive(Debug)]
pub struct Published {
    /// Places of outbox rows.
    pub places: Vec<u64>,
    /// The next offsets of our topics that are not confirmed yet.
    pub positions: Vec<(PartitionKey, i64)>,
}

/// The topics that only this mover's announcements and other movers' are on: what is read back.
pub const READ_BACK: [Topic; 4] =
    [Topic::FilesAvailable, Topic::RunsAvailable, Topic::Transfers, Topic::Requests];

/// How many messages one transaction takes at the most.
const TRANSACTION: usize = 500;
/// How long a transaction waits after the one before it. It costs this process and the broker the same whether it holds one
/// file or twenty; three messages in one, which one file's end has, are many.
const GATHER: Gather = Gather::new(Duration::from_millis(2), Duration::from_millis(50), 3);
/// A rival joins our group before it fences our producer, and that ends our intake, and with it this, within two
/// heartbeats. Who is still here after that was not fenced by a rival.
const TWO_HEARTBEATS: Duration = Duration::from_secs(7);
/// How long `init_transactions` may take before it is tried again.
const INIT: Duration = Duration::from_secs(30);

/// How the mover publishes.
#[derive(Clone, Debug)]
pub struct Publishing {
    /// How Kafka is reached.
    pub connection: Connection,
    /// Names of topics.
    pub topics: Topics,
    /// Who this mover is.
    pub identity: Identity,
    /// The producer's time-outs.
    pub timeouts: Timeouts,
}

/// Why publishing has ended.
#[derive(Debug)]
pub enum OutboxEnd {
    /// The owner has ended.
    Stopped,
    /// Another mover of this name is alive.
    Rival(String),
    /// The producer cannot be made.
    Failed(KafkaError),
}

impl Publishing {
    /// A producer that has fenced its predecessor. Waits as long as Kafka is away.
    pub async fn fenced_publisher(&self) -> Result<Publisher, KafkaError> {
        let id = self.identity.transactional_id();
        let mut wait = Duration::from_millis(200);
        loop {
            let publisher = Publisher::start(&self.connection, &self.topics, &id, self.timeouts)?;
            match publisher.init(INIT).await {
                Ok(()) => return Ok(publisher),
                Err(PublishError::Retriable(error)) if !error.is_retriable() => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, wait_ms = wait.as_millis(), "cannot fence the predecessor yet")
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(10));
        }
    }

    /// Everything committed on our own topics from the given positions on, as it stands after the predecessor is fenced.
    pub async fn read_back(
        &self,
        from: &BTreeMap<(String, i32), i64>,
        limit: Duration,
    ) -> Result<Vec<Record>, KafkaError> {
        let topics: Vec<String> = READ_BACK.into_iter().map(|topic| self.topics.name(topic)).collect();
        read_to_end(
            &self.connection.named(format!("{}-readback", self.connection.client_id)),
            &topics,
            from,
            limit,
        )
        .await
    }
}

/// What the publisher's loop asks of Kafka.
pub trait Produce: Send + 'static {
    /// Publishes all of the messages in one transaction.
    fn publish(
        &mut self,
        messages: Vec<Message>,
    ) -> impl Future<Output = Result<Vec<Placed>, PublishError>> + Send;

    /// A new producer in place of one that is lost, fenced, and everything that is on our own topics after these positions.
    fn replace(
        &mut self,
        confirmed: &BTreeMap<(String, i32), i64>,
    ) -> impl Future<Output = Result<Vec<Record>, OutboxEnd>> + Send;
}

/// A producer on a real Kafka.
#[derive(Debug)]
pub struct OnKafka {
    /// How producers are made.
    pub publishing: Publishing,
    /// The present one.
    pub publisher: Publisher,
}

impl Produce for OnKafka {
    async fn publish(&mut self, messages: Vec<Message>) -> Result<Vec<Placed>, PublishError> {
        self.publisher.publish(messages).await
    }

    async fn replace(&mut self, confirmed: &BTreeMap<(String, i32), i64>) -> Result<Vec<Record>, OutboxEnd> {
        let (publisher, records) = replaced(&self.publishing, confirmed).await?;
        self.publisher = publisher;
        Ok(records)
    }
}

/// Publishes until the owner ends. `confirmed` is where reading back begins if this producer is lost.
pub async fn publish(
    mut producer: impl Produce,
    mut confirmed: BTreeMap<(String, i32), i64>,
    mut messages: mpsc::UnboundedReceiver<Vec<(u64, Message)>>,
    inputs: mpsc::Sender<Input>,
) -> OutboxEnd {
    let mut waiting: VecDeque<(u64, Message)> = VecDeque::new();
    let mut pause = Duration::from_millis(100);
    let mut troubled = false;
    let (mut gather, mut gathered) = (GATHER, Instant::now());
    loop {
        if waiting.is_empty() {
            tokio::time::sleep_until(gathered).await;
            if messages.is_empty() {
                gather.in_vain();
            }
            match messages.recv().await {
                Some(more) => waiting.extend(more),
                None => return OutboxEnd::Stopped,
            }
        }
        while let Ok(more) = messages.try_recv() {
            waiting.extend(more);
        }
        let batch: Vec<(u64, Message)> = waiting.iter().take(TRANSACTION).cloned().collect();
        let outcome = producer.publish(batch.iter().map(|(_, message)| message.clone()).collect()).await;
        match outcome {
            Ok(placed) => {
                pause = Duration::from_millis(100);
                if std::mem::take(&mut troubled) {
                    let _ = inputs.send(Input::Kafka(Ok(()))).await;
                }
                waiting.drain(..batch.len());
                gathered = Instant::now() + gather.after(batch.len());
                advance(&mut confirmed, &placed);
                let places = batch.iter().map(|(place, _)| *place).collect();
                if report(&inputs, places, &confirmed).await.is_err() {
                    return OutboxEnd::Stopped;
                }
            }
            Err(PublishError::Retriable(error)) => {
                tracing::warn!(%error, waiting = waiting.len(), "kafka does not take messages; they wait");
                troubled = true;
                let _ =
                    inputs.send(Input::Kafka(Err(format!("Kafka does not take messages: {error}")))).await;
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
            Err(PublishError::Refused { index, why }) => {
                // A message that can never be sent must not keep all others back; it is said aloud and left out.
                let refused = waiting.remove(index);
                let (place, message) = refused.unwrap_or_else(|| (u64::MAX, batch[0].1.clone()));
                tracing::error!(topic = %message.channel, key = message.key, why, "message refused by kafka and left out");
                if report(&inputs, vec![place], &confirmed).await.is_err() {
                    return OutboxEnd::Stopped;
                }
            }
            Err(error @ (PublishError::Fenced(_) | PublishError::Fatal(_))) => {
                tracing::warn!(%error, "producer lost; looking who has our name");
                let records = match producer.replace(&confirmed).await {
                    Ok(records) => records,
                    Err(end) => return end,
                };
                confirmed = ends(&confirmed, &records);
                let there = struck_out(&mut waiting, &records);
                if report(&inputs, there, &confirmed).await.is_err() {
                    return OutboxEnd::Stopped;
                }
            }
        }
    }
}

/// A new producer in place of one that is lost, unless a living rival has our name, and what is there now.
async fn replaced(
    publishing: &Publishing,
    confirmed: &BTreeMap<(String, i32), i64>,
) -> Result<(Publisher, Vec<Record>), OutboxEnd> {
    let admin = Admin::new(&publishing.connection, Duration::from_secs(5));
    tokio::time::sleep(TWO_HEARTBEATS).await;
    loop {
        match rival(&admin, &publishing.identity).await {
            Ok(Some(who)) => return Err(OutboxEnd::Rival(who)),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot look at the group yet");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        }
        let publisher = publishing.fenced_publisher().await.map_err(OutboxEnd::Failed)?;
        match publishing.read_back(confirmed, Duration::from_secs(90)).await {
            Ok(records) => return Ok((publisher, records)),
            Err(error) => tracing::warn!(%error, "cannot read our own topics back yet"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Takes the messages out that are there already, by their `ce_id` or, for files, by a later generation of their key;
/// names their places.
pub fn struck_out(waiting: &mut VecDeque<(u64, Message)>, records: &[Record]) -> Vec<u64> {
    let there: HashSet<&str> = records.iter().filter_map(Record::ce_id).collect();
    let mut generations: HashMap<String, u32> = HashMap::new();
    for (subject, generation) in there.iter().filter_map(|id| file_generation(id)) {
        let latest = generations.entry(subject.to_owned()).or_default();
        *latest = generation.max(*latest);
    }
    let mut places = Vec::new();
    waiting.retain(|(place, message)| {
        let id = message.headers.id.as_str();
        let superseded = file_generation(id).is_some_and(|(subject, generation)| {
            generations.get(subject).is_some_and(|latest| *latest > generation)
        });
        let known = superseded || there.contains(id);
        if known {
            places.push(*place);
        }
        !known
    });
    places
}

/// `file.available:LFN@site#generation`, taken apart.
fn file_generation(id: &str) -> Option<(&str, u32)> {
    let (subject, generation) = id.strip_prefix("file.available:")?.rsplit_once('#')?;
    Some((subject, generation.parse().ok()?))
}

/// The positions after the records that were read.
pub fn ends(from: &BTreeMap<(String, i32), i64>, records: &[Record]) -> BTreeMap<(String, i32), i64> {
    let mut ends = from.clone();
    for record in records {
        let end = ends.entry((record.topic.to_string(), record.partition)).or_insert(0);
        *end = (*end).max(record.offset + 1);
    }
    ends
}

fn advance(confirmed: &mut BTreeMap<(String, i32), i64>, placed: &[Placed]) {
    for place in placed {
        let next = confirmed.entry((place.topic.clone(), place.partition)).or_insert(0);
        *next = (*next).max(place.offset + 1);
    }
}

async fn report(
    inputs: &mpsc::Sender<Input>,
    places: Vec<u64>,
    confirmed: &BTreeMap<(String, i32), i64>,
) -> Result<(), ()> {
    let positions = confirmed
        .iter()
        .map(|((topic, partition), next)| {
            (PartitionKey { topic: topic.clone(), partition: *partition }, *next)
        })
        .collect();
    inputs.send(Input::Published(Published { places, positions })).await.map_err(|_| ())
}

#[cfg(test)]
mod tests {
    use lightrail_topics::events::Start;
    use lightrail_topics::{Millis, message};

    use super::*;

    /// Tells when it is asked to publish.
    struct Clocked(mpsc::UnboundedSender<Instant>);

    impl Produce for Clocked {
        async fn publish(&mut self, _: Vec<Message>) -> Result<Vec<Placed>, PublishError> {
            let _ = self.0.send(Instant::now());
            Ok(Vec::new())
        }

        async fn replace(&mut self, _: &BTreeMap<(String, i32), i64>) -> Result<Vec<Record>, OutboxEnd> {
            Err(OutboxEnd::Stopped)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn files_that_come_one_by_one_do_not_wait_however_many_have_come() {
        let (messages, inbox) = mpsc::unbounded_channel();
        let (inputs, mut reports) = mpsc::channel(16);
        let (asked, mut published) = mpsc::unbounded_channel();
        let outbox = tokio::spawn(publish(Clocked(asked), BTreeMap::new(), inbox, inputs));
        let start = Start { mover: "test".parse().unwrap(), from: Millis(0), at: Millis(0) };
        let message = message::start(&start, "test", Millis(0));
        for file in 0..20 {
            let sent = Instant::now();
            messages.send((0..3).map(|nth| (3 * file + nth, message.clone())).collect()).unwrap();
            let waited = published.recv().await.unwrap() - sent;
            assert!(waited <= Duration::from_millis(4), "file {file} waited {waited:?}");
            reports.recv().await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        drop(messages);
        assert!(matches!(outbox.await.unwrap(), OutboxEnd::Stopped));
    }
}
