//! An independent reader of what the mover announces: read committed, from the beginning, through a consumer of its own.
//! Only counts; what the counts mean is the judge's business.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use lightrail_compose::wait;
use lightrail_topics::events::{
    DeadLetter, FileAvailable, FileEvent, RunEvent, RunIncomplete, RunManifest, TransferEvent,
};
use lightrail_topics::kafka::{Admin, Connection, Isolation, Offset, Reader, read_to_end};
use lightrail_topics::{Event, Record, RunKey, SiteName, Topic, Topics, decode};

/// What it reads.
const WITNESSED: [Topic; 4] =
    [Topic::FilesAvailable, Topic::RunsAvailable, Topic::Transfers, Topic::DeadLetters];

/// An event and the id under which it was announced.
#[derive(Clone, Debug)]
pub struct Said<T> {
    /// `ce_id`.
    pub id: String,
    /// What was said.
    pub event: T,
}

/// Everything announced, in the order of reading: of one key in the order of writing.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// `files.available`.
    pub files: Vec<Said<FileEvent>>,
    /// `runs.available`.
    pub runs: Vec<Said<RunEvent>>,
    /// `transfers`.
    pub transfers: Vec<Said<TransferEvent>>,
    /// `dead-letters`.
    pub letters: Vec<DeadLetter>,
    /// What the witness itself cannot understand.
    pub odd: Vec<String>,
}

impl Seen {
    fn take(&mut self, topics: &Topics, record: &Record) {
        let id = record.ce_id().unwrap_or_default().to_owned();
        match decode(topics, record) {
            Ok(Event::File(event)) => self.files.push(Said { id, event }),
            Ok(Event::Run(event)) => self.runs.push(Said { id, event }),
            Ok(Event::Transfer(event)) => self.transfers.push(Said { id, event }),
            Ok(Event::DeadLetter(letter)) => self.letters.push(letter),
            // The mark that ends a transaction whose own mark a killed broker has lost: it says nothing.
            Ok(Event::Settled) => {}
            Ok(other) => self.odd.push(format!("{} holds {other:?}", record.topic)),
            Err(error) => self.odd.push(format!("{}: {}", record.topic, error.reason())),
        }
    }

    /// All that was said of available files.
    pub fn available(&self) -> impl Iterator<Item = &FileAvailable> {
        self.files.iter().filter_map(|said| match &said.event {
            FileEvent::Available(event) => Some(event),
            FileEvent::Gone(_) => None,
        })
    }

    /// The manifests of `run.available`.
    pub fn manifests(&self) -> impl Iterator<Item = &RunManifest> {
        self.runs.iter().filter_map(|said| match &said.event {
            RunEvent::Available(manifest) => Some(manifest),
            _ => None,
        })
    }

    /// The run's manifest at the site, where it was announced.
    pub fn manifest(&self, run: &RunKey, site: &SiteName) -> Option<&RunManifest> {
        self.manifests().find(|manifest| manifest.run == *run && manifest.site == *site)
    }

    /// What was said of the run's corrections at the site, in order.
    pub fn corrections(&self, run: &RunKey, site: &SiteName) -> Vec<(u32, &RunManifest)> {
        let corrected = self.runs.iter().filter_map(|said| match &said.event {
            RunEvent::Corrected(event) => Some((event.number, &event.manifest)),
            _ => None,
        });
        corrected.filter(|(_, manifest)| manifest.run == *run && manifest.site == *site).collect()
    }

    /// What was said of the run being incomplete at the site, in order.
    pub fn incomplete(&self, run: &RunKey, site: &SiteName) -> Vec<&RunIncomplete> {
        let incomplete = self.runs.iter().filter_map(|said| match &said.event {
            RunEvent::Incomplete(event) => Some(event),
            _ => None,
        });
        incomplete.filter(|event| event.run == *run && event.site == *site).collect()
    }
}

/// Follows the topics while a case runs.
#[derive(Debug)]
pub struct Witness {
    seen: Arc<Mutex<Seen>>,
    connection: Connection,
    topics: Topics,
    following: tokio::task::JoinHandle<()>,
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.following.abort();
    }
}

impl Witness {
    /// Begins to read; the topics are there.
    ///
    /// # Errors
    /// When they are not.
    pub async fn begin(bootstrap: &str, topics: Topics) -> anyhow::Result<Self> {
        let connection = Connection::plain(bootstrap, "witness");
        let admin = Admin::new(&connection, Duration::from_secs(30));
        let mut positions = Vec::new();
        for topic in WITNESSED.map(|topic| topics.name(topic)) {
            // A broker that has just made a topic may not know it yet.
            let what = format!("topic {topic}");
            let partitions =
                wait::until(&what, Duration::from_secs(30), async || admin.partitions(&topic).await.ok());
            for partition in partitions.await? {
                positions.push((topic.clone(), partition, Offset::Beginning));
            }
        }
        let seen = Arc::new(Mutex::new(Seen::default()));
        let following =
            tokio::spawn(follow(connection.clone(), topics.clone(), positions, Arc::clone(&seen)));
        Ok(Self { seen, connection, topics, following })
    }

    /// Looks at what was seen so far.
    pub fn look<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until `probe` gives a value of what was seen.
    ///
    /// # Errors
    /// When it does not within `limit`.
    pub async fn until<T>(
        &self,
        what: &str,
        limit: Duration,
        probe: impl Fn(&Seen) -> Option<T>,
    ) -> anyhow::Result<T> {
        wait::until(what, limit, async || self.look(&probe)).await
    }

    /// Everything that is committed at this moment, read once more by a consumer that begins anew.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn account(&self) -> anyhow::Result<Seen> {
        let names = WITNESSED.map(|topic| self.topics.name(topic));
        let beginning = BTreeMap::new();
        let records = read_to_end(&self.connection, &names, &beginning, Duration::from_secs(70));
        let mut seen = Seen::default();
        for record in records.await.context("the mover's topics cannot be read")? {
            seen.take(&self.topics, &record);
        }
        Ok(seen)
    }
}

async fn follow(
    connection: Connection,
    topics: Topics,
    positions: Vec<(String, i32, Offset)>,
    seen: Arc<Mutex<Seen>>,
) {
    let locked = || seen.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        // A broker that is tormented may end a reader: then all is read again.
        *locked() = Seen::default();
        let Ok(mut reader) = Reader::assign(&connection, &positions, Isolation::ReadCommitted) else {
            return;
        };
        while let Some(record) = reader.next().await {
            match record {
                Ok(record) => locked().take(&topics, &record),
                Err(error) if error.is_retriable() => {}
                Err(_) => break,
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
