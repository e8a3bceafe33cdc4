//! A group with a static member: take-over, own positions, pausing, positions outside of a topic.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use lightrail_compose::{Kafka, KafkaOptions};
use lightrail_topics::kafka::{Acks, Admin, KafkaError, KafkaEvent, PlainProducer};

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
