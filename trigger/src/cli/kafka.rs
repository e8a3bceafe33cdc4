//! What an operator sets on Kafka before anything runs: the trigger's topics as they should be.

use lightrail_service::command::Failure;
use lightrail_topics::kafka::{Connection, KafkaError};
use lightrail_topics::topic::Topics;

use crate::config::Config;

/// A connection of the command line's own, and the topics' names.
pub(super) fn reach(config: &Config) -> Result<(Connection, Topics), Failure> {
    Ok((config.kafka.connection("lightrail-trigger-cli")?, crate::run::topics(config)?))
}

/// `what` cannot be read; where that is for want of a topic, with who makes it.
pub(super) fn unread(what: &str, error: KafkaError) -> Failure {
    let hint = match error {
        KafkaError::UnknownTopic(_) => {
            "; `topics --create` of lightrail-trigger, lightrail-mover and lightrail-analysis makes each its own"
        }
        _ => "",
    };
    Failure::Other(anyhow::Error::new(error).context(format!("{what} cannot be read{hint}")))
}

/// Compares the trigger's topics with what they should be, and makes what is missing if told to.
pub(super) async fn topics(config: &Config, create: bool) -> Result<(), Failure> {
    let (connection, names) = reach(config)?;
    let (partitions, replication) = config.kafka.partitions_and_replication();
    lightrail_service::topics::command(&connection, &names.trigger_specs(partitions, replication), create)
        .await
}
