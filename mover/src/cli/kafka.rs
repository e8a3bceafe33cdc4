//! What an operator sets on Kafka: the topics as they should be, and routes.

use std::path::Path;
use std::time::Duration;

use anyhow::anyhow;
use lightrail_service::who;
use lightrail_topics::events::Route;
use lightrail_topics::kafka::{Acks, Admin, Connection, KafkaError, PlainProducer};
use lightrail_topics::topic::{Topic, Topics};
use lightrail_topics::{Millis, SiteName, message};

use crate::clock::{Clock, SystemClock};
use crate::config::{Config, ConfigError, RouteLine};
use lightrail_service::command::Failure;

/// The deadline of each call.
const WITHIN: Duration = Duration::from_secs(20);

fn connection(config: &Config) -> Result<Connection, Failure> {
    let connection = config.kafka.connection(format!("{}-cli", config.mover));
    connection.map_err(|why| Failure::Usage(anyhow::Error::new(why)))
}

fn names(config: &Config) -> Result<Topics, Failure> {
    config.kafka.topics().map_err(|why| Failure::Usage(anyhow!(why)))
}

fn said(bootstrap: String) -> impl FnOnce(KafkaError) -> Failure {
    move |why| Failure::Other(anyhow::Error::new(why).context(format!("kafka at {bootstrap} does not do it")))
}

/// Compares our topics with what they should be, and makes what is missing if told to.
pub(super) async fn topics(config: &Config, create: bool) -> Result<(), Failure> {
    let (partitions, replication) = config.kafka.partitions_and_replication();
    let specs = names(config)?.specs(partitions, replication);
    let admin = Admin::new(&connection(config)?, WITHIN);
    let reports = if create { admin.create_topics(&specs).await } else { admin.describe(&specs).await };
    let reports = reports.map_err(said(config.kafka.bootstrap_servers()))?;
    lightrail_service::topics::report(&reports, |line| say!("{line}")).map_err(Failure::Other)
}

/// Puts the routes of a file on Kafka.
pub(super) async fn apply_routes(config: &Config, file: &Path) -> Result<(), Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|source| ConfigError::Unreadable { path: file.to_owned(), source })?;
    let lines = RouteLine::parse(&text, &config.sites.keys().cloned().collect::<Vec<_>>())
        .map_err(|faults| ConfigError::Faults { path: file.to_owned(), faults })?;
    let connection = connection(config)?;
    let topic = names(config)?.name(Topic::Routes);
    let bootstrap = config.kafka.bootstrap_servers();
    let failed = |why| said(bootstrap.clone())(why);
    Admin::new(&connection, WITHIN).reach().await.map_err(&failed)?;
    let producer = PlainProducer::start(&connection, Acks::All, WITHIN).map_err(&failed)?;
    let (who, at) = (who(), SystemClock.now());
    for line in lines {
        let said = message_of(&line, &who, at);
        let headers = said.headers.headers();
        let headers: Vec<(&str, &[u8])> =
            headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        producer
            .send(&topic, Some(said.key.as_bytes()), &headers, said.payload.as_deref())
            .await
            .map_err(&failed)
            .map_err(|failure| match failure {
                Failure::Other(why) => Failure::Other(why.context(format!("route of {}", line.experiment))),
                other => other,
            })?;
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
