//! From the last byte of a small file to a consumer that reads committed, against one transactional round trip of the
//! broker plus one flush of the journal's disk.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use lightrail_mover::clock::{Clock as _, SystemClock};
use lightrail_tests::Stage;
use lightrail_tests::stage::random;
use lightrail_topics::events::FileEvent;
use lightrail_topics::kafka::{Admin, Connection, Isolation, Offset, Reader};
use lightrail_topics::{Event, Topic, decode};

use crate::report::{Bar, Row};
use crate::trip::RoundTrip;

pub(super) async fn measure(stage: &Stage, quick: bool) -> anyhow::Result<Vec<Row>> {
    let connection = Connection::plain(stage.bootstrap(), "bench");
    let admin = Admin::new(&connection, Duration::from_secs(10));
    let topic = stage.topics.name(Topic::FilesAvailable);
    // From the beginning: where the end is would be asked for only once the reader is up, after the first event.
    let all: Vec<(String, i32, Offset)> = admin
        .partitions(&topic)
        .await?
        .into_iter()
        .map(|partition| (topic.clone(), partition, Offset::Beginning))
        .collect();
    let mut reader = Reader::assign(&connection, &all, Isolation::ReadCommitted)?;
    let mut round_trip = RoundTrip::start(&connection, &stage.topics).await?;

    let (mut ours, mut peers) = (Vec::new(), Vec::new());
    for round in 0..if quick { 5 } else { 21 } {
        let name = format!("mfxlv9518-r{:04}-s000-c000.smd.xtc2", 5000 + round);
        let run = stage.made_up(5000 + round, &[(&name, 20_000)])?;
        stage.daq().take_found(&run).await?;
        let seen = tokio::time::timeout(Duration::from_secs(30), async {
            while let Some(record) = reader.next().await {
                let at = SystemClock.now();
                if let Ok(Event::File(FileEvent::Available(event))) = decode(&stage.topics, &record?) {
                    if event.lfn.file_name() == name {
                        let copied = event.timing.copied.context("no time of the last byte")?;
                        return anyhow::Ok(at.since(copied));
                    }
                }
            }
            anyhow::bail!("the reader has ended")
        });
        let took = seen.await.context("no event")??;
        let begun = Instant::now();
        round_trip.make().await?;
        let mut flushed = tempfile::NamedTempFile::new_in(stage.journal())?;
        flushed.write_all(&random(4096))?;
        flushed.as_file().sync_data()?;
        let peer = begun.elapsed();
        if round > 0 {
            ours.push(took.as_secs_f64() * 1e3);
            peers.push(peer.as_secs_f64() * 1e3);
        }
    }
    let name = "last byte of a 20 kB file -> event read committed, against round trip + flush";
    Ok(vec![Row::against(name, "ms", &ours, &peers, Bar::AtMost(3.0))])
}
