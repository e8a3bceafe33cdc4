//! A broker that is killed and comes back: nothing is lost, doubled or hidden.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lightrail_compose::{Kafka, KafkaOptions};
use lightrail_topics::kafka::{
    Acks, Admin, KafkaError, KafkaEvent, PlainProducer, Position, Publisher, Stake, Taker, TakerEvent,
    TakerSettings, Timeouts,
};
use lightrail_topics::{Topic, Topics};

use crate::{Intake, LIMIT, connection, file, files_to_the_end, ids, publisher, runs};

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

    // As a mover does it: same publisher where it can be used on, else a new one; then what is there is looked at. The
    // broker was killed right behind a commit, before or after it wrote the transaction's end: nothing hides behind it.
    let publisher = match failed {
        Err(error) if error.needs_new_publisher() => {
            let successor = start()?;
            successor.init(LIMIT).await?;
            successor
        }
        _ => first,
    };
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

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_right_before_the_broker_was_killed_is_seen_though_nothing_follows() -> Result<()>
{
    let kafka = Kafka::start(KafkaOptions::default()).await?;
    let here = connection(&kafka, "test");
    Admin::new(&here, LIMIT).create_topics(&Topics::default().specs(2, 1)).await?;
    let publisher = publisher(&here, "mover-a").await?;
    for n in 1..=3 {
        publisher.publish(vec![file(n)]).await?;
        kafka.kill().await?;
        kafka.restart().await?;
        // The publisher is idle: it looks by itself, once the broker is back.
        let records = files_to_the_end(&here, LIMIT).await?;
        let expected: Vec<String> = (1..=n).map(|n| file(n).headers.id).collect();
        ensure!(ids(&records) == expected, "{records:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_committed_right_before_the_broker_was_killed_do_not_stay_pending() -> Result<()> {
    let kafka = Kafka::start(KafkaOptions::default()).await?;
    let here = connection(&kafka, "test");
    let (topics, admin) = (Topics::default(), Admin::new(&here, LIMIT));
    admin.create_topics(&topics.specs(2, 1)).await?;
    runs(&kafka, 1, 9).await?;
    let (beside, group) = (topics.name(Topic::FilesAvailable), "workers".to_owned());
    let stakes = vec![Stake { group: group.clone(), beside }];
    let timeouts = Timeouts { transaction: Duration::from_secs(10), publish: Duration::from_secs(7) };
    let publisher = Publisher::start_for(&here, &topics, "worker-a", timeouts, stakes)?;
    publisher.init(LIMIT).await?;
    let settings = TakerSettings {
        group: group.clone(),
        instance: "a".to_owned(),
        session_timeout: Duration::from_secs(10),
        topic: "runs".to_owned(),
        capacity: 8,
        hand_over: Duration::from_secs(1),
    };
    for n in 1..=4 {
        // Whoever joins is told the group's positions only once no transaction can change them.
        let (taker, mut taken) = Taker::join(&here, &settings)?;
        let given = loop {
            match tokio::time::timeout(LIMIT, taken.next()).await?.context("the taker has ended")? {
                TakerEvent::Given(given) => break given,
                TakerEvent::Fault(fault) => ensure!(fault.is_retriable(), "{fault}"),
                _ => {}
            }
        };
        let next = given.partitions.first().and_then(|begin| Some(begin.committed.as_ref()?.0));
        ensure!(next.unwrap_or(0) == n - 1, "{given:?}");
        let position = Position { topic: "runs".to_owned(), partition: 0, next: n, note: String::new() };
        publisher.publish_with_positions(vec![file(u32::try_from(n)?)], vec![position], given.group).await?;
        kafka.kill().await?;
        kafka.restart().await?;
        taker.stop().await;
    }
    ensure!(files_to_the_end(&here, LIMIT).await?.len() == 4);
    Ok(())
}
