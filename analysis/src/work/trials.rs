//! The trials that are known. One task owns them; it reads their topic to its present end when it is asked for one that it
//! does not know, and only then says that there is none.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use lightrail_topics::kafka::{Connection, KafkaError, read_to_end};
use lightrail_topics::{Event, Record, Topic, Topics, TrialKey, decode};
use tokio::sync::{mpsc, oneshot};

use crate::trial::Parameters;

/// A trial, or why it cannot be worked under.
pub(super) type Known = Result<Arc<Parameters>, String>;

struct Ask {
    key: TrialKey,
    reply: oneshot::Sender<Known>,
}

/// Asks for trials. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Trials {
    asks: mpsc::Sender<Ask>,
}

const READ_WITHIN: Duration = Duration::from_secs(30);

impl Trials {
    /// Starts the owner; nothing is read yet. It ends with its last asker.
    pub(super) fn start(connection: &Connection, topics: &Topics) -> Self {
        let (asks, asked) = mpsc::channel(256);
        let connection = connection.named(format!("{}-trials", connection.client_id));
        tokio::spawn(answer(Owner::new(connection, topics.clone()), asked));
        Self { asks }
    }

    /// The trial. Waits for Kafka where it has to be asked.
    pub(super) async fn get(&self, key: &TrialKey) -> Known {
        let (reply, answer) = oneshot::channel();
        let gone = || Err("the worker ends".to_owned());
        if self.asks.send(Ask { key: key.clone(), reply }).await.is_err() {
            return gone();
        }
        answer.await.unwrap_or_else(|_| gone())
    }
}

async fn answer(mut owner: Owner, mut asked: mpsc::Receiver<Ask>) {
    let mut asks = Vec::new();
    while asked.recv_many(&mut asks, 256).await > 0 {
        if asks.iter().any(|ask| !owner.known.contains_key(&ask.key)) {
            owner.read_on().await;
        }
        for Ask { key, reply } in asks.drain(..) {
            let unknown = || Err(format!("trial {key} is not on topic {}", owner.topic));
            // Who asked may have been stopped.
            let _ = reply.send(owner.known.get(&key).cloned().unwrap_or_else(unknown));
        }
    }
}

struct Owner {
    connection: Connection,
    topics: Topics,
    topic: String,
    /// Where reading goes on.
    next: BTreeMap<(String, i32), i64>,
    known: HashMap<TrialKey, Known>,
}

impl Owner {
    fn new(connection: Connection, topics: Topics) -> Self {
        let topic = topics.name(Topic::Trials);
        Self { connection, topics, topic, next: BTreeMap::new(), known: HashMap::new() }
    }

    /// Reads what has come since, however long Kafka lets us wait.
    async fn read_on(&mut self) {
        let mut wait = Duration::from_millis(100);
        loop {
            let topics = [self.topic.clone()];
            match read_to_end(&self.connection, &topics, &self.next, READ_WITHIN).await {
                Ok(records) => return records.iter().for_each(|record| self.take(record)),
                Err(error @ KafkaError::OutOfRange { .. }) => {
                    tracing::error!(%error, "trials have been lost or made anew; all are read again");
                    self.next.clear();
                }
                Err(error) => tracing::warn!(%error, "trials cannot be read"),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(5));
        }
    }

    /// The first message of a key counts.
    fn take(&mut self, record: &Record) {
        self.next.insert((record.topic.to_string(), record.partition), record.offset + 1);
        match decode(&self.topics, record) {
            Ok(Event::Trial(trial)) => {
                let key = trial.key();
                if self.known.contains_key(&key) {
                    return;
                }
                let parameters = Parameters::from_json(&serde_json::Value::Object(trial.parameters));
                let parameters = parameters.map(Arc::new).map_err(|error| format!("trial {key}: {error}"));
                self.known.insert(key, parameters);
            }
            Ok(_) => {}
            Err(error) => {
                let (partition, offset) = (record.partition, record.offset);
                tracing::warn!(partition, offset, why = error.reason(), "a trial cannot be understood");
            }
        }
    }
}
