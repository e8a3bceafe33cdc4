//! A group with a static member: take-over, own positions, pausing, positions outside of a topic, leaving.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use lightrail_compose::{Kafka, KafkaOptions, wait};
use lightrail_topics::kafka::{
    Acks, Admin, Connection, KafkaError, KafkaEvent, PlainProducer, Taken, Taker, TakerEvent, TakerSettings,
};

use crate::{Intake, LIMIT, connection, runs};

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
    wait::until("the stored offset to be committed", LIMIT, committed).await?;
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
    first.reader.stop().await;

    // Paused it takes nothing; resumed it goes on where it was.
    while second.record().await?.offset < 2999 {}
    second.reader.pause();
    let producer = PlainProducer::start(&here, Acks::All, LIMIT)?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    producer.send_to("runs", Some(0), None, &[], Some(b"late")).await?;
    ensure!(tokio::time::timeout(Duration::from_secs(1), second.events.recv()).await.is_err());
    second.reader.resume();
    ensure!(second.record().await?.offset == 3000);
    second.reader.stop().await;

    let mut lost = Intake::join(&here, 64, |_, partition| (partition == 0).then_some(9000))?;
    let fault = loop {
        match lost.next().await? {
            KafkaEvent::Fault(fault) => break fault,
            KafkaEvent::Record(record) => bail!("a silent jump to {}", record.offset),
            _ => {}
        }
    };
    let KafkaError::OutOfRange { position: 9000, first: 0, .. } = fault else { bail!("{fault}") };
    lost.reader.stop().await;
    Ok(())
}

/// A member of a group that takes work from one topic.
struct Worker {
    taker: Taker,
    taken: Taken,
}

impl Worker {
    fn join(connection: &Connection, instance: &str) -> Result<Self> {
        let settings = TakerSettings {
            group: "workers".to_owned(),
            instance: instance.to_owned(),
            // Longer than all that this test waits for: nobody is ever taken for dead.
            session_timeout: Duration::from_secs(120),
            topic: "runs".to_owned(),
            capacity: 8,
            hand_over: Duration::from_millis(100),
        };
        let (taker, taken) = Taker::join(connection, &settings)?;
        Ok(Self { taker, taken })
    }

    async fn until_it_holds(&mut self, partitions: usize) -> Result<()> {
        let given = async {
            while let Some(event) = self.taken.next().await {
                match event {
                    TakerEvent::Given(given) if given.partitions.len() == partitions => return Ok(()),
                    TakerEvent::Fault(fault) => ensure!(fault.is_retriable(), "{fault}"),
                    TakerEvent::Fenced(why) => bail!("fenced: {why}"),
                    _ => {}
                }
            }
            bail!("the taker has ended")
        };
        tokio::time::timeout(LIMIT, given).await?
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_gives_its_partitions_to_the_others_at_once() -> Result<()> {
    let kafka = Kafka::start(KafkaOptions::default()).await?;
    let here = connection(&kafka, "test");
    let admin = Admin::new(&here, LIMIT);
    runs(&kafka, 2, 0).await?;
    let mut first = Worker::join(&here, "a")?;
    first.until_it_holds(2).await?;
    let mut second = Worker::join(&here, "b")?;
    tokio::try_join!(first.until_it_holds(1), second.until_it_holds(1))?;
    first.taker.leave().await;
    second.until_it_holds(2).await?;
    ensure!(admin.members("workers").await?.len() == 1);

    // One that is told to leave while it still waits to be let in leaves too.
    let third = Worker::join(&here, "c")?;
    let members = async |n| (admin.members("workers").await.ok()?.len() == n).then_some(());
    wait::until("the third to ask to be let in", LIMIT, || members(2)).await?;
    third.taker.leave().await;
    wait::until("the third to be gone", LIMIT, || members(1)).await?;

    // One that only stops is still a member: whoever joins under its name takes over what it held.
    second.taker.stop().await;
    ensure!(admin.members("workers").await?.len() == 1);
    Worker::join(&here, "b")?.until_it_holds(2).await
}
