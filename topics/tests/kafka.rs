//! The Kafka client against a real broker: transactions and fencing, reading to the end past aborted and open
//! transactions, positions outside of a topic, a static group member, TLS with SCRAM. rdkafka itself is used here only to
//! play a producer that leaves its transaction open.

#![expect(clippy::unwrap_used, reason = "constants that parse")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use lightrail_compose::kafka::Login;
use lightrail_compose::{Kafka, KafkaOptions};
use lightrail_topics::events::{FileAvailable, FileEvent, FileTiming, Registration, Verified};
use lightrail_topics::kafka::{
    Acks, Admin, Connection, GroupReader, GroupSettings, Isolation, KafkaError, KafkaEvent, Offset,
    PlainProducer, Position, PublishError, Publisher, Reader, Timeouts, read_to_end,
};
use lightrail_topics::{
    Event, Generation, Message, Millis, Record, Topic, TopicSpec, Topics, decode, message,
};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tokio::sync::mpsc;

const LIMIT: Duration = Duration::from_secs(30);

fn available(n: u32) -> FileAvailable {
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

fn file(n: u32) -> Message {
    message::file_available(&available(n), "lightrail-mover/test", Millis(1_599_040_981_741))
}

fn connection(kafka: &Kafka, client: &str) -> Connection {
    Connection::plain(kafka.bootstrap(), client)
}

async fn publisher(connection: &Connection, id: &str) -> Result<Publisher> {
    let publisher = Publisher::start(connection, &Topics::default(), id, Timeouts::default())?;
    publisher.init(LIMIT).await?;
    Ok(publisher)
}

async fn files_to_the_end(connection: &Connection, limit: Duration) -> Result<Vec<Record>, KafkaError> {
    read_to_end(connection, &["files.available".to_owned()], &BTreeMap::new(), limit).await
}

fn ids(records: &[Record]) -> Vec<&str> {
    let mut ids: Vec<&str> = records.iter().filter_map(Record::ce_id).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_there_whole_or_not_at_all_and_a_successor_fences() -> Result<()> {
    let kafka = Kafka::start(KafkaOptions::default()).await?;
    let here = connection(&kafka, "test");
    let topics = Topics::default();
    let admin = Admin::new(&here, LIMIT);

    let specs = topics.specs(3, 1);
    let made = admin.create_topics(&specs).await?;
    ensure!(made.iter().all(|report| report.created), "{made:?}");
    let again = admin.create_topics(&specs).await?;
    ensure!(again.iter().all(|report| !report.created && report.differences.is_empty()), "{again:?}");
    let greedy = TopicSpec { partitions: 5, ..topics.spec(Topic::RunsAvailable, 3, 1) };
    let differs = &admin.describe(&[greedy]).await?[0].differences;
    ensure!(differs.len() == 1 && differs[0].setting == "partitions", "{differs:?}");

    let first = publisher(&here, "mover-a").await?;
    let placed = first.publish(vec![file(1), file(2)]).await?;
    ensure!(placed.len() == 2 && placed.iter().all(|place| place.topic == "files.available"));
    let records = files_to_the_end(&here, LIMIT).await?;
    ensure!(ids(&records) == [file(1).headers.id, file(2).headers.id], "{records:?}");
    let found = records.iter().find(|record| record.ce_id() == Some(&file(1).headers.id)).unwrap();
    ensure!(decode(&topics, found)? == Event::File(FileEvent::Available(available(1))));
    ensure!(found.header("content-type") == Some("application/json"));
    ensure!(found.ce_time() == Some(Millis(1_599_040_981_741)));

    // The second is too large for any broker: the first, sent already, is taken back with it.
    let mut huge = file(4);
    huge.payload = Some(vec![b' '; 2_000_000]);
    let refused = first.publish(vec![file(3), huge]).await;
    ensure!(matches!(refused, Err(PublishError::Refused { index: 1, .. })), "{refused:?}");
    ensure!(files_to_the_end(&here, LIMIT).await?.len() == 2);
    first.publish(vec![file(5)]).await?;
    ensure!(files_to_the_end(&here, LIMIT).await?.len() == 3);

    let second = publisher(&here, "mover-a").await?;
    let fenced = first.publish(vec![file(6)]).await;
    ensure!(matches!(fenced, Err(PublishError::Fenced(_))), "{fenced:?}");
    let fenced_still = first.publish(vec![file(6)]).await;
    ensure!(fenced_still == fenced, "a fenced publisher says so to every call: {fenced_still:?}");
    second.publish(vec![file(7)]).await?;
    ensure!(ids(&files_to_the_end(&here, LIMIT).await?).len() == 4);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_to_the_end_waits_for_open_transactions_and_names_them() -> Result<()> {
    let kafka = Kafka::start(KafkaOptions::default()).await?;
    let here = connection(&kafka, "test");
    let topics = Topics::default();
    let admin = Admin::new(&here, LIMIT);
    admin.create_topics(&[topics.spec(Topic::FilesAvailable, 1, 1)]).await?;
    ensure!(files_to_the_end(&here, LIMIT).await?.is_empty());

    let careless = || -> Result<BaseProducer> {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", kafka.bootstrap())
            .set("transactional.id", "careless")
            .create()?;
        producer.init_transactions(LIMIT)?;
        Ok(producer)
    };
    let open = careless()?;
    open.begin_transaction()?;
    open.send(BaseRecord::<str, str>::to("files.available").key("k").payload("open")).map_err(|(e, _)| e)?;
    open.flush(LIMIT)?;
    publisher(&here, "mover-a").await?.publish(vec![file(1)]).await?;

    let behind = files_to_the_end(&here, Duration::from_secs(2)).await;
    ensure!(matches!(behind, Err(KafkaError::OpenTransaction { partition: 0, .. })), "{behind:?}");
    // A successor of the same id ends it; the record is aborted, ours behind it is seen.
    let waiting = tokio::spawn({
        let here = here.clone();
        async move { files_to_the_end(&here, LIMIT).await }
    });
    let successor = tokio::task::block_in_place(careless)?;
    let records = waiting.await??;
    ensure!(ids(&records) == [file(1).headers.id], "{records:?}");
    drop((open, successor));

    // The topic ends with a marker of the aborted transaction: its end is found all the same, from any position in it.
    let (_, first, end) = admin.watermarks("files.available").await?[0];
    for position in first..=end {
        let from = BTreeMap::from([(("files.available".to_owned(), 0), position)]);
        let some = read_to_end(&here, &["files.available".to_owned()], &from, LIMIT).await?;
        ensure!(some.iter().all(|record| record.offset >= position), "{some:?}");
    }
    let from = BTreeMap::from([(("files.available".to_owned(), 0), end + 7)]);
    let beyond = read_to_end(&here, &["files.available".to_owned()], &from, LIMIT).await;
    let expected = KafkaError::OutOfRange {
        topic: "files.available".to_owned(),
        partition: 0,
        position: end + 7,
        first,
        end,
    };
    ensure!(beyond == Err(expected.clone()), "{beyond:?}");

    let position = [("files.available".to_owned(), 0, Offset::At(end + 7))];
    let mut reader = Reader::assign(&here, &position, Isolation::ReadCommitted)?;
    let said = tokio::time::timeout(LIMIT, reader.next()).await?;
    ensure!(said == Some(Err(expected)), "{said:?}");
    ensure!(reader.next().await.is_none(), "the stream ends there");

    let missing = read_to_end(&here, &["nowhere".to_owned()], &BTreeMap::new(), LIMIT).await;
    ensure!(matches!(missing, Err(KafkaError::UnknownTopic(_))), "{missing:?}");
    Ok(())
}

struct Intake {
    reader: GroupReader,
    events: mpsc::Receiver<KafkaEvent>,
}

impl Intake {
    fn join(
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

    async fn next(&mut self) -> Result<KafkaEvent> {
        tokio::time::timeout(LIMIT, self.events.recv()).await?.context("the reader has ended")
    }

    async fn record(&mut self) -> Result<Record> {
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

async fn runs(kafka: &Kafka, partitions: i32, messages: usize) -> Result<()> {
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

#[tokio::test(flavor = "multi_thread")]
async fn a_static_member_takes_over_at_once_and_begins_at_its_own_positions() -> Result<()> {
    let kafka = Kafka::start(KafkaOptions::default()).await?;
    let here = connection(&kafka, "nersc@host-a:/journal");
    let admin = Admin::new(&here, LIMIT);
    runs(&kafka, 2, 3000).await?;
    ensure!(admin.members("movers").await?.is_empty());

    // A channel of 64 for 3000 records: pauses and resumes, and still each record once and in order.
    let mut first = Intake::join(&here, 64, |_, _| None)?;
    for expected in 0..3000_i64 {
        let record = first.record().await?;
        ensure!(record.offset == expected, "offset {} instead of {expected}", record.offset);
        if expected % 100 == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    first.reader.store("runs", 0, 3000)?;
    let committed = async || {
        let committed = admin.committed("movers", &["runs".to_owned()]).await.ok()?;
        (committed.get(&("runs".to_owned(), 0)) == Some(&3000)).then_some(())
    };
    lightrail_compose::wait::until("the stored offset to be committed", LIMIT, committed).await?;
    let members = admin.members("movers").await?;
    ensure!(members.len() == 1 && members[0].client_id == "nersc@host-a:/journal", "{members:?}");
    ensure!(members[0].id.starts_with("nersc"), "{members:?}");

    // A second one under the same name, with a position of its own: it does not wait for the first one's session.
    let begin = Instant::now();
    let own = |_: &str, partition| (partition == 0).then_some(2990);
    let mut second = Intake::join(&here.named("nersc@host-b:/journal"), 64, own)?;
    let record = second.record().await?;
    ensure!(record.offset == 2990, "its own position, not the group's: {}", record.offset);
    ensure!(begin.elapsed() < Duration::from_secs(10), "took {:?}", begin.elapsed());
    loop {
        if let KafkaEvent::Fenced(_) = first.next().await? {
            break;
        }
    }
    ensure!(first.events.recv().await.is_none(), "a fenced reader has ended");
    first.reader.leave().await;

    // Paused it takes nothing; resumed it goes on where it was.
    while second.record().await?.offset < 2999 {}
    second.reader.pause();
    let producer = PlainProducer::start(&here, Acks::All, LIMIT)?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    producer.send_to("runs", Some(0), None, &[], Some(b"late")).await?;
    ensure!(tokio::time::timeout(Duration::from_secs(1), second.events.recv()).await.is_err());
    second.reader.resume();
    ensure!(second.record().await?.offset == 3000);
    second.reader.leave().await;

    let mut lost = Intake::join(&here, 64, |_, partition| (partition == 0).then_some(9000))?;
    let fault = loop {
        match lost.next().await? {
            KafkaEvent::Fault(fault) => break fault,
            KafkaEvent::Record(record) => bail!("a silent jump to {}", record.offset),
            _ => {}
        }
    };
    let KafkaError::OutOfRange { position: 9000, first: 0, .. } = fault else { bail!("{fault}") };
    lost.reader.leave().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn read_process_write_commits_results_and_positions_together() -> Result<()> {
    let kafka = Kafka::start(KafkaOptions::default()).await?;
    let here = connection(&kafka, "test");
    let admin = Admin::new(&here, LIMIT);
    admin.create_topics(&Topics::default().specs(1, 1)).await?;
    runs(&kafka, 1, 5).await?;
    let mut intake = Intake::join(&here, 64, |_, _| None)?;
    while intake.record().await?.offset < 4 {}
    let publisher = publisher(&here, "worker").await?;
    let position = |next| vec![Position { topic: "runs".to_owned(), partition: 0, next }];
    let group = || intake.reader.metadata().context("the reader has ended");
    publisher.publish_with_positions(vec![file(1)], position(5), group()?).await?;
    let committed = admin.committed("movers", &["runs".to_owned()]).await?;
    ensure!(committed.get(&("runs".to_owned(), 0)) == Some(&5), "{committed:?}");

    let mut huge = file(2);
    huge.payload = Some(vec![b' '; 2_000_000]);
    let refused = publisher.publish_with_positions(vec![huge], position(3), group()?).await;
    ensure!(matches!(refused, Err(PublishError::Refused { index: 0, .. })), "{refused:?}");
    let committed = admin.committed("movers", &["runs".to_owned()]).await?;
    ensure!(committed.get(&("runs".to_owned(), 0)) == Some(&5), "aborted with its batch: {committed:?}");

    let now = admin.offsets_for_time("runs", Millis(0)).await?;
    ensure!(now == [(0, 0)], "{now:?}");
    let later = admin.offsets_for_time("runs", Millis(4_000_000_000_000)).await?;
    ensure!(later == [(0, 5)], "{later:?}");
    intake.reader.leave().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_named_within_seconds() -> Result<()> {
    let login = Login { user: "mover".to_owned(), password: "right".to_owned() };
    let kafka = Kafka::start(KafkaOptions { login: Some(login), ..KafkaOptions::default() }).await?;
    let bootstrap = kafka.secure_bootstrap().context("a listener with TLS")?;
    let properties = kafka.secure_properties("mover", "right").context("a listener with TLS")?;
    let with = |password: &str, trust: bool| {
        let mut connection = Connection::plain(&bootstrap, "test");
        connection.properties = properties.clone();
        connection.properties.insert("sasl.password".to_owned(), password.to_owned());
        if !trust {
            connection.properties.remove("ssl.ca.location");
        }
        connection
    };
    let right = with("right", true);
    Admin::new(&right, LIMIT).create_topics(&Topics::default().specs(1, 1)).await?;
    publisher(&right, "mover-a").await?.publish(vec![file(1)]).await?;
    ensure!(files_to_the_end(&right, LIMIT).await?.len() == 1);

    for connection in [with("wrong", true), with("right", false)] {
        let begin = Instant::now();
        let reached = Admin::new(&connection, LIMIT).reach().await;
        ensure!(matches!(reached, Err(KafkaError::Authentication(_))), "{reached:?}");
        let started = Publisher::start(&connection, &Topics::default(), "mover-b", Timeouts::default())?;
        let init = started.init(LIMIT).await;
        let Err(PublishError::Retriable(KafkaError::Authentication(_))) = init else { bail!("{init:?}") };
        let read = files_to_the_end(&connection, LIMIT).await;
        ensure!(matches!(read, Err(KafkaError::Authentication(_))), "{read:?}");
        let mut intake = Intake::join(&connection, 64, |_, _| None)?;
        let fault = intake.next().await?;
        ensure!(matches!(fault, KafkaEvent::Fault(KafkaError::Authentication(_))), "{fault:?}");
        intake.reader.leave().await;
        ensure!(begin.elapsed() < Duration::from_secs(12), "four refusals took {:?}", begin.elapsed());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_goes_and_comes_back_loses_and_doubles_nothing() -> Result<()> {
    let kafka = Kafka::start(KafkaOptions::default()).await?;
    let here = connection(&kafka, "test");
    Admin::new(&here, LIMIT).create_topics(&Topics::default().specs(1, 1)).await?;
    runs(&kafka, 1, 3).await?;
    // What a journal would say.
    let next = Arc::new(AtomicI64::new(0));
    let journal = next.clone();
    let mut intake = Intake::join(&here, 64, move |_, _| Some(journal.load(Ordering::SeqCst)))?;
    while intake.record().await?.offset < 2 {}
    next.store(3, Ordering::SeqCst);
    let timeouts = Timeouts { transaction: Duration::from_secs(10), publish: Duration::from_secs(3) };
    let start = || Publisher::start(&here, &Topics::default(), "mover-a", timeouts);
    let first = start()?;
    first.init(LIMIT).await?;
    first.publish(vec![file(1)]).await?;

    kafka.kill().await?;
    let away = Admin::new(&here, Duration::from_secs(3)).reach().await;
    ensure!(matches!(away, Err(KafkaError::Unreachable(_))), "{away:?}");
    let begin = Instant::now();
    let failed = first.publish(vec![file(2)]).await;
    ensure!(failed.is_err() && begin.elapsed() < Duration::from_secs(20), "{failed:?} {:?}", begin.elapsed());
    ensure!(matches!(intake.next().await?, KafkaEvent::Fault(KafkaError::Unreachable(_))));
    kafka.restart().await?;

    // As a mover does it: same publisher where it can be used on, else a new one; then what is there is looked at.
    let publisher = match failed {
        Err(error) if error.needs_new_publisher() => start()?,
        _ => first,
    };
    publisher
        .init(LIMIT)
        .await
        .or_else(|error| if error.needs_new_publisher() { Err(error) } else { Ok(()) })?;
    if files_to_the_end(&here, LIMIT).await?.len() == 1 {
        publisher.publish(vec![file(2)]).await?;
    }
    let records = files_to_the_end(&here, LIMIT).await?;
    ensure!(ids(&records) == [file(1).headers.id, file(2).headers.id], "{records:?}");

    // The intake came back by itself.
    let producer = PlainProducer::start(&here, Acks::All, LIMIT)?;
    producer.send("runs", None, &[], Some(b"after")).await?;
    ensure!(intake.record().await?.offset == 3);
    Ok(())
}
