//! The Kafka client against a real broker: transactions and fencing, reading to the end past aborted and open
//! transactions, positions outside of a topic, a static group member, TLS with SCRAM. rdkafka itself is used here only to
//! play a producer that leaves its transaction open.

#![expect(clippy::unwrap_used, reason = "constants that parse")]

mod access;
mod broker;
mod group;
mod transactions;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lightrail_compose::Kafka;
use lightrail_topics::events::{FileAvailable, FileTiming, Registration, Verified};
use lightrail_topics::kafka::{
    Acks, Admin, Connection, GroupReader, GroupSettings, KafkaError, KafkaEvent, PlainProducer, Publisher,
    Timeouts, read_to_end,
};
use lightrail_topics::{Event, Generation, Message, Millis, Record, Topic, Topics, decode, message};
use tokio::sync::mpsc;

pub(crate) const LIMIT: Duration = Duration::from_secs(30);

pub(crate) fn available(n: u32) -> FileAvailable {
    FileAvailable {
        lfn: format!("/mfx/mfxlv9518/xtc/mfxlv9518-r{n:04}-s00-c00.xtc").parse().unwrap(),
        run: format!("mfxlv9518/{n}").parse().unwrap(),
        site: "NERSC".parse().unwrap(),
        generation: Generation::FIRST,
        size: 4096,
        checksum: Some("adler32:0a1b2c3d".parse().unwrap()),
        verified: Verified::Checksum,
        unchecked: None,
        url: "root://door:1094//data/x".to_owned(),
        already_there: false,
        registration: Registration::default(),
        source_mtime: 1_599_040_800,
        timing: FileTiming::default(),
        attempt: None,
    }
}

pub(crate) fn file(n: u32) -> Message {
    message::file_available(&available(n), "lightrail-mover/test", Millis(1_599_040_981_741))
}

pub(crate) fn connection(kafka: &Kafka, client: &str) -> Connection {
    Connection::plain(kafka.bootstrap(), client)
}

pub(crate) async fn publisher(connection: &Connection, id: &str) -> Result<Publisher> {
    let publisher = Publisher::start(connection, &Topics::default(), id, Timeouts::default())?;
    publisher.init(LIMIT).await?;
    Ok(publisher)
}

/// All that `files.available` says, without what says nothing.
pub(crate) async fn files_to_the_end(
    connection: &Connection,
    limit: Duration,
) -> Result<Vec<Record>, KafkaError> {
    let topics = ["files.available".to_owned()];
    let mut records = read_to_end(connection, &topics, &BTreeMap::new(), limit).await?;
    records.retain(|record| decode(&Topics::default(), record).ok() != Some(Event::Settled));
    Ok(records)
}

pub(crate) fn ids(records: &[Record]) -> Vec<&str> {
    let mut ids: Vec<&str> = records.iter().filter_map(Record::ce_id).collect();
    ids.sort_unstable();
    ids
}

pub(crate) struct Intake {
    pub(crate) reader: GroupReader,
    pub(crate) events: mpsc::Receiver<KafkaEvent>,
}

impl Intake {
    pub(crate) fn join(
        connection: &Connection,
        capacity: usize,
        positions: impl Fn(&str, i32) -> Option<i64> + Send + Sync + 'static,
    ) -> Result<Self> {
        let settings = GroupSettings {
            group: "movers".to_owned(),
            instance: Some("nersc".to_owned()),
            session_timeout: Duration::from_secs(20),
            topics: vec!["runs".to_owned()],
            capacity,
        };
        let (reader, events) = GroupReader::join(connection, &settings, positions)?;
        Ok(Self { reader, events })
    }

    pub(crate) async fn next(&mut self) -> Result<KafkaEvent> {
        tokio::time::timeout(LIMIT, self.events.recv()).await?.context("the reader has ended")
    }

    pub(crate) async fn record(&mut self) -> Result<Record> {
        loop {
            match self.next().await? {
                KafkaEvent::Record(record) => return Ok(record),
                KafkaEvent::Fault(fault) if !fault.is_retriable() => bail!("{fault}"),
                KafkaEvent::Fenced(why) => bail!("fenced: {why}"),
                _ => {}
            }
        }
    }
}

pub(crate) async fn runs(kafka: &Kafka, partitions: i32, messages: usize) -> Result<()> {
    let here = connection(kafka, "logbook");
    Admin::new(&here, LIMIT).create_topics(&[Topics::default().spec(Topic::Runs, partitions, 1)]).await?;
    let producer = PlainProducer::start(&here, Acks::Leader, LIMIT)?;
    let sends = (0..messages).map(async |n| {
        let value = n.to_string();
        producer.send_to("runs", Some(0), None, &[], Some(value.as_bytes())).await
    });
    for sent in futures::future::join_all(sends).await {
        sent?;
    }
    Ok(())
}
