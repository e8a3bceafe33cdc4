//! Transactions: whole or not at all, fencing, open and aborted ones, read-process-write.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lightrail_compose::{Kafka, KafkaOptions, wait};
use lightrail_topics::events::FileEvent;
use lightrail_topics::kafka::{
    Admin, Isolation, KafkaError, Offset, Position, PublishError, Publisher, Reader, Timeouts, read_to_end,
};
use lightrail_topics::{Event, Millis, Topic, TopicSpec, Topics, decode};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::{Intake, LIMIT, available, connection, file, files_to_the_end, ids, publisher, runs};

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
    let position =
        |next| vec![Position { topic: "runs".to_owned(), partition: 0, next, note: String::new() }];
    let group = || intake.reader.metadata().context("the reader has ended");
    publisher.publish_with_positions(vec![file(1)], position(5), group()?).await?;
    // They stand a moment after the commit: the broker ends a transaction in each partition once it has said that it will.
    wait::until("the position to stand", LIMIT, async || {
        let committed = admin.committed("movers", &["runs".to_owned()]).await.ok()?;
        (committed.get(&("runs".to_owned(), 0)) == Some(&5)).then_some(())
    })
    .await?;

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
    intake.reader.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_makes_no_topic_that_is_not_there() -> Result<()> {
    let broker = vec![("auto.create.topics.enable".to_owned(), "true".to_owned())];
    let kafka = Kafka::start(KafkaOptions { broker, ..KafkaOptions::default() }).await?;
    let here = connection(&kafka, "test");
    let timeouts = Timeouts { publish: Duration::from_secs(2), ..Timeouts::default() };
    let publisher = Publisher::start(&here, &Topics::default(), "mover-a", timeouts)?;
    publisher.init(LIMIT).await?;
    let outcome = publisher.publish(vec![file(1)]).await;
    ensure!(outcome.is_err(), "there is no topic for it: {outcome:?}");
    let admin = Admin::new(&here, LIMIT);
    for topic in ["runs", "files.available"] {
        let found = admin.partitions(topic).await;
        ensure!(matches!(found, Err(KafkaError::UnknownTopic(_))), "{topic}: {found:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_sends_in_vain_is_given_up_once_it_has_lost_its_broker() -> Result<()> {
    let kafka = Kafka::start(KafkaOptions::default()).await?;
    let here = connection(&kafka, "test");
    let timeouts = Timeouts { publish: Duration::from_secs(2), ..Timeouts::default() };
    let publisher = Publisher::start(&here, &Topics::default(), "mover-a", timeouts)?;
    publisher.init(LIMIT).await?;
    // There is no topic for it.
    for _ in 0..3 {
        let outcome = publisher.publish(vec![file(1)]).await;
        ensure!(matches!(outcome, Err(PublishError::Retriable(_))), "it may be made yet: {outcome:?}");
    }
    kafka.kill().await?;
    kafka.restart().await?;
    let again = || async { Some(publisher.publish(vec![file(1)]).await).filter(|it| !is_retriable(it)) };
    let outcome = wait::until("the publisher to be given up", LIMIT, again).await?;
    ensure!(matches!(outcome, Err(PublishError::Fatal(_))), "a new producer may do better: {outcome:?}");
    Ok(())
}

fn is_retriable<T>(outcome: &Result<T, PublishError>) -> bool {
    matches!(outcome, Err(PublishError::Retriable(_)))
}
