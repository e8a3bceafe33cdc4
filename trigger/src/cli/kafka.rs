//! What an operator sets on Kafka before anything runs: the trigger's topics as they should be.

use std::time::Duration;

use anyhow::anyhow;
use lightrail_topics::kafka::{Admin, Connection};
use lightrail_topics::topic::Topics;

use crate::config::Config;
use lightrail_service::command::Failure;

/// The deadline of each call.
const WITHIN: Duration = Duration::from_secs(20);

/// A connection of the command line's own, and the topics' names.
pub(super) fn reach(config: &Config) -> Result<(Connection, Topics), Failure> {
    let connection = config.kafka.connection("lightrail-trigger-cli");
    let connection = connection.map_err(|why| Failure::Usage(anyhow::Error::new(why)))?;
    let topics = crate::run::topics(config).map_err(|why| Failure::Usage(anyhow!(why)))?;
    Ok((connection, topics))
}

/// Compares the trigger's topics with what they should be, and makes what is missing if told to.
pub(super) async fn topics(config: &Config, create: bool) -> Result<(), Failure> {
    let (connection, names) = reach(config)?;
    let (partitions, replication) = config.kafka.partitions_and_replication();
    let specs = names.trigger_specs(partitions, replication);
    let admin = Admin::new(&connection, WITHIN);
    let reports = if create { admin.create_topics(&specs).await } else { admin.describe(&specs).await };
    let reports = reports.map_err(|why| {
        let context = format!("kafka at {} does not do it", config.kafka.bootstrap_servers());
        Failure::Other(anyhow::Error::new(why).context(context))
    })?;
    lightrail_service::topics::report(&reports, |line| say!("{line}")).map_err(Failure::Other)
}
