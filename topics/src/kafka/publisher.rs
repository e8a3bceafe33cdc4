//! The transactional publisher, on a thread of its own since librdkafka's transaction calls block. One call, one
//! transaction: all of a batch is there or nothing. Never here: dropping a message, or going on after being fenced.

mod history;
mod settle;
mod work;

use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::oneshot;

use self::history::End;
use super::connection::Connection;
use super::error::{KafkaError, PublishError};
use super::group::GroupMetadata;
use super::reader::spawn;
use crate::message::Message;
use crate::topic::Topics;

/// Time limits of a publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// The broker ends a transaction that is open for longer, and fences its producer (`transaction.timeout.ms`).
    pub transaction: Duration,
    /// How long one batch may take before it is given up; less than `transaction`.
    pub publish: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { transaction: Duration::from_secs(30), publish: Duration::from_secs(20) }
    }
}

/// Where a message was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The topic's full name.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

/// A position to be committed for a group: the offset after the last one that was worked on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The topic's full name.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset of the next record.
    pub next: i64,
    /// A note that is kept with it, found again by whoever is given the partition next.
    pub note: String,
}

/// A group for which a publisher commits positions: after a broker was killed it looks whether they are still pending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stake {
    /// The group's name.
    pub group: String,
    /// The full name of a topic that is there and that the group never reads: a position in it means nothing.
    pub beside: String,
}

enum Command {
    Init { limit: Duration, reply: oneshot::Sender<Result<(), PublishError>> },
    Publish { batch: Batch, reply: oneshot::Sender<Result<Vec<Placed>, PublishError>> },
}

struct Batch {
    messages: Vec<Message>,
    positions: Option<(Vec<Position>, GroupMetadata)>,
    /// Partitions by hand, one per message; where there is none the key decides.
    partitions: Option<Vec<Option<i32>>>,
    end: End,
}

/// The handle of a publisher; clones are handles of the same. Dropping the last ends the producer's thread after the batch under way.
#[derive(Clone, Debug)]
pub struct Publisher {
    commands: mpsc::Sender<Command>,
}

impl Publisher {
    /// Starts a publisher; nothing is asked of the broker yet.
    pub fn start(
        connection: &Connection,
        topics: &Topics,
        transactional_id: &str,
        timeouts: Timeouts,
    ) -> Result<Self, KafkaError> {
        Self::start_for(connection, topics, transactional_id, timeouts, Vec::new())
    }

    /// The same for one that commits positions of these groups.
    pub fn start_for(
        connection: &Connection,
        topics: &Topics,
        transactional_id: &str,
        timeouts: Timeouts,
        stakes: Vec<Stake>,
    ) -> Result<Self, KafkaError> {
        let mut work = work::Work::new(connection, topics, transactional_id, timeouts, stakes)?;
        let (commands, inbox) = mpsc::channel();
        spawn("kafka-publisher", move || {
            loop {
                match inbox.recv_timeout(Duration::from_secs(1)) {
                    Ok(Command::Init { limit, reply }) => drop(reply.send(work.init(limit))),
                    Ok(Command::Publish { batch, reply }) => {
                        // What a broker that was lost has left comes first: the end of the next transaction would be taken for its.
                        let outcome = work.mend().and_then(|()| work.publish(&batch));
                        let _ = reply.send(outcome);
                    }
                    Err(mpsc::RecvTimeoutError::Timeout) => {
                        if let Err(error) = work.mend() {
                            tracing::debug!(%error, "cannot look yet for transactions without an end");
                        }
                    }
                    Err(mpsc::RecvTimeoutError::Disconnected) => return,
                }
            }
        })?;
        Ok(Self { commands })
    }

    /// Fences the predecessor and ends its open transaction. Must succeed before the first batch; may be called again
    /// after a [`PublishError::Retriable`].
    pub async fn init(&self, limit: Duration) -> Result<(), PublishError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Command::Init { limit, reply }, answer).await
    }

    /// Publishes all of the messages in one transaction; the answer has their places in the same order. Only one batch is
    /// under way at a time, others queue. Dropping the future does not take the batch back.
    pub async fn publish(&self, messages: Vec<Message>) -> Result<Vec<Placed>, PublishError> {
        let (reply, answer) = oneshot::channel();
        let batch = Batch { messages, positions: None, partitions: None, end: End::Commit };
        self.ask(Command::Publish { batch, reply }, answer).await
    }

    /// The same with the partitions told by hand, one per message: for work that is to be spread evenly.
    pub async fn publish_to(
        &self,
        messages: Vec<(Message, Option<i32>)>,
        positions: Option<(Vec<Position>, GroupMetadata)>,
    ) -> Result<Vec<Placed>, PublishError> {
        let (reply, answer) = oneshot::channel();
        let (messages, partitions) = messages.into_iter().unzip();
        let batch = Batch { messages, positions, partitions: Some(partitions), end: End::Commit };
        self.ask(Command::Publish { batch, reply }, answer).await
    }

    /// Read, process, write: publishes the messages and commits the group's positions, both or neither.
    pub async fn publish_with_positions(
        &self,
        messages: Vec<Message>,
        positions: Vec<Position>,
        group: GroupMetadata,
    ) -> Result<Vec<Placed>, PublishError> {
        let (reply, answer) = oneshot::channel();
        let positions = Some((positions, group));
        let batch = Batch { messages, positions, partitions: None, end: End::Commit };
        self.ask(Command::Publish { batch, reply }, answer).await
    }

    async fn ask<T>(
        &self,
        command: Command,
        answer: oneshot::Receiver<Result<T, PublishError>>,
    ) -> Result<T, PublishError> {
        let gone = || PublishError::Fatal("the producer's thread has ended".to_owned());
        self.commands.send(command).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}
