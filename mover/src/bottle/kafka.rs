//! Kafka in a bottle: transactions that fail, that are there although nobody says so, and a broker that is away. Commits
//! whole batches in order, keeps everything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lightrail_topics::kafka::{KafkaError, Placed, PublishError};
use lightrail_topics::{Event, Message, Record, Topic, decode};

use super::world::{Life, State, World, partition_of, record};
use crate::outbox::{OutboxEnd, Produce, READ_BACK};

/// A life's producer.
pub(super) struct Producer {
    pub(super) world: Arc<World>,
    pub(super) life: Life,
}

enum Fate {
    Committed,
    /// Refused, and nothing of it is there.
    Retriable,
    /// The producer is lost; whether it is there nobody says.
    Lost {
        there: bool,
    },
}

impl World {
    /// Commits a transaction and checks what it says.
    fn commit(&self, state: &mut State, messages: &[Message]) -> Vec<Placed> {
        let now = self.now();
        let mut placed = Vec::new();
        for message in messages {
            let id = message.headers.id.clone();
            let times = state.said.entry(id.clone()).or_default();
            *times += 1;
            // A dead letter is not read back; who reads them drops repeats by this id.
            if *times > 1 && message.channel != Topic::DeadLetters.into() {
                state.fail(format!("{id} was said twice"));
            }
            if !state.flushed.contains(&id) {
                state.fail(format!("{id} is on kafka, and its outbox row was not flushed"));
            }
            let topic = self.topics.name(&message.channel);
            let partition = partition_of(&message.key);
            let offset = state.append(topic.clone(), partition, record(&topic, message, partition, 0, now));
            placed.push(Placed { topic, partition, offset });
        }
        placed
    }

    /// Fences the predecessor: its last transaction is there or not from now on.
    pub(super) async fn fence(&self, life: &Life) {
        self.pause(20).await;
        while self.now() < self.lock().kafka_away_until {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.act(
            life,
            || "fences".to_owned(),
            |state| {
                if let Some(messages) = state.in_flight.take() {
                    if state.rng.bool() {
                        let ids = words(&messages);
                        state.history.push((self.now(), format!("kafka has it after all: {ids}")));
                        self.commit(state, &messages);
                    }
                }
            },
        );
        self.forget_lost_wishes();
    }

    /// After the loss of a journal only the wishes that are on Kafka stand.
    fn forget_lost_wishes(&self) {
        if !std::mem::take(&mut self.lock().wishes_lost) {
            return;
        }
        let mut standing = BTreeMap::new();
        for record in self.read_from(&[self.topics.name(Topic::Requests)], &BTreeMap::new()) {
            if let Ok(Event::Wish(key, wish)) = decode(&self.topics, &record) {
                standing.insert(key, wish);
            }
        }
        let mut state = self.lock();
        let known = std::mem::take(&mut state.truth.wishes);
        let stand = known.into_keys().filter_map(|key| Some((key.clone(), standing.get(&key)?.clone()?)));
        state.truth.wishes = stand.collect();
    }

    /// Our own topics, read to their ends.
    pub(super) fn read_back(&self, from: &BTreeMap<(String, i32), i64>) -> Vec<Record> {
        let topics: Vec<String> = READ_BACK.into_iter().map(|topic| self.topics.name(topic)).collect();
        self.read_from(&topics, from)
    }
}

fn words(messages: &[Message]) -> String {
    let ids: Vec<&str> = messages.iter().map(|message| message.headers.id.as_str()).collect();
    ids.join(", ")
}

impl Produce for Producer {
    async fn publish(&mut self, messages: Vec<Message>) -> Result<Vec<Placed>, PublishError> {
        let world = self.world.clone();
        if !self.life.is_over() {
            world.lock().in_flight = Some(messages.clone());
        }
        world.pause(10).await;
        let roll = world.dice(1000);
        let most = if world.play.kafka && !world.lock().calm { world.play.kafka_faults } else { 0 };
        let away = world.now() < world.lock().kafka_away_until;
        let fate = match roll {
            _ if away => Fate::Retriable,
            _ if roll < most => Fate::Retriable,
            _ if roll < 2 * most => Fate::Lost { there: true },
            _ if roll < 3 * most => Fate::Lost { there: false },
            _ => Fate::Committed,
        };
        let done = world.act(
            &self.life,
            || match fate {
                Fate::Committed => format!("kafka has {}", words(&messages)),
                Fate::Retriable => format!("kafka does not take {} messages", messages.len()),
                Fate::Lost { there } => format!("the producer is lost, there {there}: {}", words(&messages)),
            },
            |state| {
                state.in_flight = None;
                match fate {
                    Fate::Committed => Ok(world.commit(state, &messages)),
                    Fate::Retriable => {
                        Err(PublishError::Retriable(KafkaError::Unreachable("it is away".to_owned())))
                    }
                    Fate::Lost { there } => {
                        if there {
                            world.commit(state, &messages);
                        }
                        Err(PublishError::Fatal("made to be lost".to_owned()))
                    }
                }
            },
        );
        let Some(outcome) = done else { return std::future::pending().await };
        world.pause(10).await;
        outcome
    }

    async fn replace(&mut self, confirmed: &BTreeMap<(String, i32), i64>) -> Result<Vec<Record>, OutboxEnd> {
        self.world.fence(&self.life).await;
        Ok(self.world.read_back(confirmed))
    }
}
