//! One transactional round trip of a broker: a small message published in a transaction, and read committed by somebody who waits for
//! it. What several bars are multiples of. Sends nothing that anybody heeds.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use lightrail_topics::events::Start;
use lightrail_topics::kafka::{Admin, Connection, Isolation, Offset, Publisher, Reader, Timeouts};
use lightrail_topics::{Message, Millis, Topic, Topics, message};

const LIMIT: Duration = Duration::from_secs(30);

/// Reads what is committed to a topic from now on.
pub(crate) async fn from_now_on(
    connection: &Connection,
    topics: &Topics,
    topic: Topic,
) -> anyhow::Result<Reader> {
    let name = topics.name(topic);
    let ends = Admin::new(connection, LIMIT).watermarks(&name).await?;
    let all: Vec<_> =
        ends.into_iter().map(|(partition, _, end)| (name.clone(), partition, Offset::At(end))).collect();
    Ok(Reader::assign(connection, &all, Isolation::ReadCommitted)?)
}

/// Who publishes, and who waits.
pub(crate) struct RoundTrip {
    publisher: Publisher,
    back: Reader,
    message: Message,
}

impl RoundTrip {
    /// On `requests`: the start of a mover that is none.
    pub(crate) async fn start(connection: &Connection, topics: &Topics) -> anyhow::Result<Self> {
        let publisher = Publisher::start(connection, topics, "bench-round-trip", Timeouts::default())?;
        publisher.init(LIMIT).await?;
        let back = from_now_on(connection, topics, Topic::Requests).await?;
        let start = Start { mover: "bench-round-trip".parse()?, from: Millis(0), at: Millis(0) };
        Ok(Self { publisher, back, message: message::start(&start, "bench", Millis(0)) })
    }

    /// Makes one.
    pub(crate) async fn make(&mut self) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        self.publisher.publish(vec![self.message.clone()]).await?;
        loop {
            let next = tokio::time::timeout(LIMIT, self.back.next()).await;
            let record = next.context("a round trip does not end")?.context("the reader has ended")??;
            if record.key.as_deref() == Some(self.message.key.as_bytes()) {
                return Ok(begun.elapsed());
            }
        }
    }
}
