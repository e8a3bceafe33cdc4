//! Ends transactions of ours that a killed broker has left without their markers, as its coordinator had decided them: at
//! the beginning, and after a broker was lost before anything else is published.

use std::time::{Duration, Instant};

use rdkafka::producer::Producer as _;

use super::super::history::{self, End};
use super::super::settle::{self, Behind, What};
use super::super::{Batch, Position};
use super::Work;
use crate::kafka::error::{KafkaError, PublishError};
use crate::message;

/// What to do about it.
const NOT_READABLE: &str = "`__transaction_state` cannot be read: a transaction that a killed broker leaves without its end \
                            would be taken for committed. Allow READ on it";

impl Work {
    /// After a broker was lost: looks whether it came back without the end of one of our transactions.
    pub(in super::super) fn mend(&mut self) -> Result<(), PublishError> {
        if !self.initialised || self.over.is_some() || !self.producer.context().common.take_lost() {
            return Ok(());
        }
        self.bereft = true;
        let outcome = self.settle(Instant::now() + Duration::from_secs(5));
        if outcome.is_err() {
            self.producer.context().common.still_lost();
        }
        outcome
    }

    /// Says at the beginning, and not only when it is needed, that the coordinator's log cannot be read.
    pub(super) fn may_mend(&self, deadline: Instant) {
        let limit = deadline.saturating_duration_since(Instant::now()).min(Duration::from_secs(2));
        if let Err(error @ KafkaError::Authorization(_)) = history::may_read(&self.connection, limit) {
            tracing::error!(%error, "{NOT_READABLE}");
        }
    }

    /// Ends what a killed broker has left without its end (see [`crate::message::settled`]), as it was decided.
    pub(super) fn settle(&mut self, deadline: Instant) -> Result<(), PublishError> {
        let left = || deadline.saturating_duration_since(Instant::now());
        let behind = settle::behind(&self.connection, &self.topics, &self.stakes, left());
        let behind = behind.map_err(PublishError::Retriable)?;
        if behind.is_empty() {
            return Ok(());
        }
        let limit = left().max(Duration::from_secs(10));
        let ends = match history::ends(&self.connection, &self.transactional_id, limit) {
            Ok(ends) => Some(ends),
            // Most were committed: what is aborted was rarely sent.
            Err(error @ (KafkaError::Authorization(_) | KafkaError::UnknownTopic(_))) => {
                tracing::error!(
                    %error,
                    "how transactions without an end were decided cannot be read; taken for committed. Let us read `__transaction_state`"
                );
                None
            }
            Err(error) => return Err(PublishError::Retriable(error)),
        };
        let end_of = |one: &Behind| match &ends {
            Some(ends) => ends.get(&(one.topic.clone(), one.partition)).copied(),
            None => Some(End::Commit),
        };
        for end in [End::Abort, End::Commit] {
            let ours: Vec<&Behind> = behind.iter().filter(|one| end_of(one) == Some(end)).collect();
            if !ours.is_empty() {
                tracing::warn!(
                    ?ours,
                    ?end,
                    "a broker that was killed has left a transaction without its end; ending it"
                );
                self.end_again(&ours, end)?;
            }
        }
        for other in behind.iter().filter(|one| end_of(one).is_none()) {
            tracing::warn!(
                topic = other.topic,
                partition = other.partition,
                "waits for another producer's transaction"
            );
        }
        Ok(())
    }

    /// Transactions that touch the same places and end in the same way: their markers take the place of the lost ones.
    fn end_again(&mut self, behind: &[&Behind], end: End) -> Result<(), PublishError> {
        let at = settle::now();
        let (mut messages, mut partitions) = (Vec::new(), Vec::new());
        for one in behind {
            match &one.what {
                What::Messages(channel) => {
                    messages.push(message::settled(channel, one.partition, &self.transactional_id, at));
                    partitions.push(Some(one.partition));
                }
                What::Positions(stake) => {
                    let note = "settled".to_owned();
                    let position = Position { topic: stake.beside.clone(), partition: 0, next: 0, note };
                    let stranger = settle::stranger(&self.connection, &stake.group);
                    let positions = Some((vec![position], stranger.map_err(PublishError::Retriable)?));
                    self.publish(&Batch { messages: Vec::new(), positions, partitions: None, end })?;
                }
            }
        }
        let partitions = Some(partitions);
        self.publish(&Batch { messages, positions: None, partitions, end }).map(drop)
    }
}
