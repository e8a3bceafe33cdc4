//! What an operator sets on Kafka: the topics as they should be, and routes.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use lightrail_service::{say, who};
use lightrail_topics::events::Route;
use lightrail_topics::kafka::{Acks, Admin, Connection, PlainProducer};
use lightrail_topics::topic::{Topic, Topics};
use lightrail_topics::{Millis, SiteName, message};

use crate::clock::{Clock, SystemClock};
use crate::config::{Config, ConfigError, RouteLine};
use lightrail_service::command::Failure;

/// The deadline of each call.
const WITHIN: Duration = Duration::from_secs(20);

/// A connection of the command line's own, and the topics' names.
fn reach(config: &Config) -> Result<(Connection, Topics), Failure> {
    Ok((config.kafka.connection(format!("{}-cli", config.mover))?, config.kafka.topics()?))
}

/// Compares our topics with what they should be, and makes what is missing if told to.
pub(super) async fn topics(config: &Config, create: bool) -> Result<(), Failure> {
    let (connection, names) = reach(config)?;
    let (partitions, replication) = config.kafka.partitions_and_replication();
    lightrail_service::topics::command(&connection, &names.specs(partitions, replication), create).await
}

/// Puts the routes of a file on Kafka.
pub(super) async fn apply_routes(config: &Config, file: &Path) -> Result<(), Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|source| ConfigError::Unreadable { path: file.to_owned(), source })?;
    let lines = RouteLine::parse(&text, &config.sites.keys().cloned().collect::<Vec<_>>())
        .map_err(|faults| ConfigError::Faults { path: file.to_owned(), faults })?;
    let (connection, names) = reach(config)?;
    let topic = names.name(Topic::Routes);
    let refused = || format!("kafka at {} does not do it", connection.bootstrap);
    Admin::new(&connection, WITHIN).reach().await.with_context(refused)?;
    let producer = PlainProducer::start(&connection, Acks::All, WITHIN).with_context(refused)?;
    let (who, at) = (who(), SystemClock.now());
    for line in lines {
        let said = message_of(&line, &who, at);
        let headers = said.headers.headers();
        let headers: Vec<(&str, &[u8])> =
            headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        producer
            .send(&topic, Some(said.key.as_bytes()), &headers, said.payload.as_deref())
            .await
            .with_context(refused)
            .with_context(|| format!("route of {}", line.experiment))?;
        match &line.route {
            Some(route) => {
                let to: Vec<&str> = route.to.iter().map(SiteName::as_str).collect();
                say!("{}: goes to {}", line.experiment, to.join(", "));
            }
            None => say!("{}: route ended", line.experiment),
        }
    }
    Ok(())
}

fn message_of(line: &RouteLine, who: &str, at: Millis) -> lightrail_topics::Message {
    let route = line.route.as_ref().map(|route| Route {
        to: route.to.clone(),
        streaming: route.streaming,
        transfers: route.transfers,
        not_waited_streams: route.not_waited_streams.clone(),
        who: who.to_owned(),
        at,
    });
    message::route(&line.experiment, route.as_ref(), &format!("lightrail-mover-cli/{who}"), at)
}
