//! What an operator sets on Kafka before anything runs: the analysis' topics as they should be.

use lightrail_service::command::Failure;
use lightrail_topics::kafka::Connection;
use lightrail_topics::topic::Topics;

use crate::config::Config;

/// A connection of the command line's own, and the topics' names.
pub(super) fn reach(config: &Config) -> Result<(Connection, Topics), Failure> {
    Ok((config.kafka.connection("lightrail-analysis-cli")?, config.kafka.topics()?))
}

/// Compares the analysis' topics with what they should be, and makes what is missing if told to.
pub(super) async fn topics(config: &Config, create: bool) -> Result<(), Failure> {
    let (connection, names) = reach(config)?;
    let (partitions, replication) = config.kafka.partitions_and_replication();
    let specs = names.analysis_specs(&config.site_names(), partitions, replication);
    lightrail_service::topics::command(&connection, &specs, create).await
}
