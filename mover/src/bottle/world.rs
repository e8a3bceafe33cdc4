//! The world around a mover in a bottle: Kafka's topics, the logbook's truth, the remote's files, and the one counter of
//! everything that leaves a trace in it. A life that dies at a step leaves that step's trace and none after it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lightrail_topics::events::{FileEvent, RunEvent, Wish, WishKey};
use lightrail_topics::{Checksum, Event, Lfn, Message, Millis, Record, RunKey, SiteName, Topics, decode};
use serde_json::{Map, Value};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::play::Play;
use crate::carry::faulty::Faulty;
use crate::carry::memory::{Memory, MemorySite};
use crate::carry::{Site, SitePath};
use crate::clock::{Clock, TokioClock};
use crate::journal::MemoryJournal;
use crate::ledger::rows::PartitionKey;
use crate::owner::Input;

/// When every world begins.
pub(super) const BEGIN: Millis = Millis(1_767_225_600_000);
/// Partitions of every topic.
pub(super) const PARTITIONS: i32 = 2;

/// What a mover in a bottle lives in.
pub(super) struct World {
    pub(super) play: Play,
    pub(super) clock: TokioClock,
    pub(super) topics: Topics,
    pub(super) sites: BTreeMap<SiteName, Site>,
    pub(super) remote: Arc<Faulty<Memory>>,
    /// Changes with every record on a topic.
    pub(super) news: watch::Sender<u64>,
    state: Mutex<State>,
}

/// What a commit put: positions and `ce_id`s.
type Noted = (Vec<(PartitionKey, i64)>, Vec<String>);

/// What changes. Short critical sections, never across an await.
pub(super) struct State {
    pub(super) rng: fastrand::Rng,
    pub(super) kafka: BTreeMap<String, Vec<Vec<Record>>>,
    /// `ce_id`s that were committed, and how often.
    pub(super) said: BTreeMap<String, u32>,
    pub(super) kafka_away_until: Millis,
    pub(super) logbook_away_until: Millis,
    /// A transaction whose bytes may still be on their way.
    pub(super) in_flight: Option<Vec<Message>>,
    pub(super) journal: Arc<Mutex<MemoryJournal>>,
    /// What each commit since the last flush put: positions and `ce_id`s.
    pub(super) unflushed: Vec<Noted>,
    pub(super) positions: BTreeMap<PartitionKey, i64>,
    pub(super) flushed: BTreeSet<String>,
    pub(super) truth: Truth,
    pub(super) owner: Option<mpsc::Sender<Input>>,
    pub(super) steps: u64,
    /// From now on nothing fails any more.
    pub(super) calm: bool,
    pub(super) life: Life,
    pub(super) deaths: u32,
    /// The present life was told to end once all it knows is said.
    pub(super) draining: bool,
    /// The journal was lost: wishes that were not on Kafka yet are lost with it.
    pub(super) wishes_lost: bool,
    /// The journal goes with the present life.
    pub(super) lose_next: bool,
    /// The life dies with this step.
    pub(super) dies_at: Option<u64>,
    /// The journal's disk breaks with this step.
    pub(super) breaks_at: Option<u64>,
    pub(super) history: Vec<(Millis, String)>,
    pub(super) failure: Option<String>,
}

/// What the logbook and the source really have.
#[derive(Debug, Default)]
pub(super) struct Truth {
    pub(super) runs: BTreeMap<RunKey, TrueRun>,
    /// Every content that a file ever had when it was whole, the newest last.
    pub(super) versions: BTreeMap<Lfn, Vec<Vec<u8>>>,
    /// Which of them lies at a path of a destination, or at the source.
    pub(super) paths: BTreeMap<String, Lfn>,
    /// Wishes that were answered.
    pub(super) wishes: BTreeMap<WishKey, Wish>,
    /// Files that somebody purged at a site.
    pub(super) purged: BTreeSet<(Lfn, SiteName)>,
}

/// A run as it really is.
#[derive(Clone, Debug, Default)]
pub(super) struct TrueRun {
    pub(super) began: Option<Millis>,
    pub(super) ended: Option<Millis>,
    pub(super) files: BTreeMap<Lfn, Map<String, Value>>,
    /// Whether a message that names it was delivered.
    pub(super) is_known: bool,
}

/// One life of the mover's process. Whatever it does after its death has no effect.
#[derive(Clone, Debug, Default)]
pub(super) struct Life(CancellationToken);

impl Life {
    pub(super) fn is_over(&self) -> bool {
        self.0.is_cancelled()
    }

    pub(super) fn end(&self) {
        self.0.cancel();
    }

    pub(super) async fn over(&self) {
        self.0.cancelled().await;
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("World")
    }
}

fn site(name: &str) -> Site {
    let lower = name.to_lowercase();
    Site::new(name.parse().unwrap(), Some(format!("{lower}:1094")), format!("/{lower}"))
}

impl World {
    pub(super) fn new(play: &Play) -> Arc<Self> {
        let seed = play.seed;
        let rng = fastrand::Rng::with_seed(seed ^ 0x5eed);
        let source = MemorySite { rate: 1_000_000, ..MemorySite::shared(&["s1:1", "s2:1"]) };
        let destination =
            |servers: &[&str]| MemorySite { rate: 4_000, slots: 3, ..MemorySite::shared(servers) };
        let mut memory = Memory::new().with(&"SLAC".parse().unwrap(), source);
        memory = memory.with(&"NERSC".parse().unwrap(), destination(&["n1:1", "n2:1"]));
        memory = memory.with(&"S3DF".parse().unwrap(), destination(&[]));
        let (per_mille, most) = if play.faults { (play.fault_rate, play.most_faults) } else { (0, 0) };
        let journal = MemoryJournal::new("bottle", 1);
        Arc::new(Self {
            play: play.clone(),
            clock: TokioClock::starting_at(BEGIN),
            topics: Topics::default(),
            sites: ["SLAC", "NERSC", "S3DF"].map(|name| (name.parse().unwrap(), site(name))).into(),
            remote: Arc::new(Faulty::new(memory, seed, per_mille, most)),
            news: watch::channel(0).0,
            state: Mutex::new(State {
                rng,
                kafka: BTreeMap::new(),
                said: BTreeMap::new(),
                kafka_away_until: Millis(0),
                logbook_away_until: Millis(0),
                in_flight: None,
                journal: Arc::new(Mutex::new(journal)),
                unflushed: Vec::new(),
                positions: BTreeMap::new(),
                flushed: BTreeSet::new(),
                truth: Truth::default(),
                owner: None,
                steps: 0,
                calm: false,
                life: Life::default(),
                deaths: 0,
                draining: false,
                wishes_lost: false,
                lose_next: false,
                dies_at: None,
                breaks_at: None,
                history: Vec::new(),
                failure: None,
            }),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Millis {
        self.clock.now()
    }

    pub(super) fn memory(&self) -> &Memory {
        self.remote.inner()
    }

    /// A random number below `most`.
    pub(super) fn dice(&self, most: u64) -> u64 {
        self.lock().rng.u64(0..most.max(1))
    }

    /// A short random wait.
    pub(super) async fn pause(&self, most_ms: u64) {
        let wait = self.dice(most_ms);
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }

    /// Notes something that is no step of a life.
    pub(super) fn note(&self, what: impl Into<String>) {
        let now = self.now();
        self.lock().history.push((now, what.into()));
    }

    /// Does something that leaves a trace, unless the life is over. May end the life.
    pub(super) fn act<T>(
        &self,
        life: &Life,
        what: impl FnOnce() -> String,
        effect: impl FnOnce(&mut State) -> T,
    ) -> Option<T> {
        if life.is_over() {
            return None;
        }
        let now = self.now();
        let mut state = self.lock();
        if state.calm && self.play.at_step.is_none() {
            state.dies_at = None;
            state.breaks_at = None;
        }
        state.steps += 1;
        let step = state.steps;
        state.history.push((now, format!("{step}: {}", what())));
        let outcome = effect(&mut state);
        if state.breaks_at == Some(step) {
            state.history.push((now, "the journal's disk breaks".to_owned()));
            let journal = state.journal.clone();
            journal.lock().unwrap_or_else(PoisonError::into_inner).break_disk();
        }
        if state.dies_at == Some(step) || state.failure.is_some() {
            state.history.push((now, "the process dies".to_owned()));
            life.end();
        }
        Some(outcome)
    }

    /// From now on nothing fails any more, unless it is told to.
    pub(super) fn calm(&self) {
        self.remote.calm();
        let mut state = self.lock();
        state.calm = true;
        state.kafka_away_until = Millis(0);
        state.logbook_away_until = Millis(0);
    }

    /// Something that must hold does not.
    pub(super) fn fail(&self, what: impl Into<String>) {
        self.lock().fail(what);
    }

    /// Where a file lies at a site.
    pub(super) fn path(&self, site: &SiteName, lfn: &Lfn) -> SitePath {
        self.sites[site].path(lfn)
    }

    /// The final name never holds a partial file: looked at whenever something may have changed there.
    pub(super) fn check_final(&self, site: &SiteName, path: &SitePath) {
        let found = self.memory().get(site, path);
        let mut state = self.lock();
        let Some(lfn) = state.truth.paths.get(path.as_str()).cloned() else { return };
        let Some(file) = found else { return };
        let whole = state.truth.versions.get(&lfn).is_some_and(|all| all.contains(&file.bytes));
        if !whole {
            let have = file.bytes.len();
            state.fail(format!("{path} at {site} holds {have} bytes that are no whole version of it"));
        }
    }

    /// An announcement is written to the journal: it must be true now.
    pub(super) fn check_announced(&self, message: &Message) -> Result<(), String> {
        let record = record("x", message, 0, 0, Millis(0));
        let record = Record { topic: self.topics.name(&message.channel).into(), ..record };
        let id = &message.headers.id;
        let manifest = match decode(&self.topics, &record) {
            Ok(Event::File(FileEvent::Available(event))) => {
                return self.check_there(id, &event.site, &event.lfn, event.size, event.checksum.as_ref());
            }
            Ok(Event::Run(RunEvent::Available(manifest))) => manifest,
            Ok(Event::Run(RunEvent::Corrected(corrected))) => corrected.manifest,
            Ok(_) => return Ok(()),
            Err(error) => return Err(format!("{id} cannot be read: {error}")),
        };
        for file in &manifest.files {
            self.check_there(id, &manifest.site, &file.lfn, file.size, file.checksum.as_ref())?;
        }
        Ok(())
    }

    /// A file is at its final name as it is said to be.
    fn check_there(
        &self,
        id: &str,
        site: &SiteName,
        lfn: &Lfn,
        size: u64,
        checksum: Option<&Checksum>,
    ) -> Result<(), String> {
        if self.lock().truth.purged.contains(&(lfn.clone(), site.clone())) {
            return Ok(());
        }
        let Some(file) = self.memory().get(site, &self.path(site, lfn)) else {
            return Err(format!("{id} is announced, and {lfn} is not there"));
        };
        let sum = format!("adler32:{:08x}", adler2::adler32_slice(&file.bytes)).parse().unwrap();
        if file.bytes.len() as u64 != size || checksum != Some(&sum) {
            let have = file.bytes.len();
            return Err(format!(
                "{id} is announced with {size} bytes of {lfn}, {checksum:?}; there are {have}"
            ));
        }
        Ok(())
    }

    /// Everything on these topics from these positions on, partitions mixed as Kafka may mix them.
    pub(super) fn read_from(&self, topics: &[String], from: &BTreeMap<(String, i32), i64>) -> Vec<Record> {
        let mut state = self.lock();
        let mut queues: Vec<std::collections::VecDeque<Record>> = Vec::new();
        for topic in topics {
            for (partition, log) in (0..).zip(state.kafka.get(topic).into_iter().flatten()) {
                let begin = from.get(&(topic.clone(), partition)).copied().unwrap_or(0);
                queues.push(log.iter().filter(|record| record.offset >= begin).cloned().collect());
            }
        }
        let mut records = Vec::new();
        loop {
            queues.retain(|queue| !queue.is_empty());
            if queues.is_empty() {
                return records;
            }
            let queue = state.rng.usize(0..queues.len());
            let several = state.rng.usize(1..8);
            for _ in 0..several {
                records.extend(queues[queue].pop_front());
            }
        }
    }
}

impl State {
    pub(super) fn fail(&mut self, what: impl Into<String>) {
        let what = what.into();
        if self.failure.is_none() {
            self.failure = Some(what);
        }
    }

    /// Appends a record; its offset.
    pub(super) fn append(&mut self, topic: String, partition: i32, mut record: Record) -> i64 {
        let logs = self.kafka.entry(topic.clone()).or_insert_with(|| vec![Vec::new(); PARTITIONS as usize]);
        let log = &mut logs[usize::try_from(partition).unwrap()];
        record.topic = topic.into();
        record.partition = partition;
        record.offset = i64::try_from(log.len()).unwrap();
        log.push(record);
        i64::try_from(log.len()).unwrap() - 1
    }
}

/// A message as a record.
pub(super) fn record(topic: &str, message: &Message, partition: i32, offset: i64, at: Millis) -> Record {
    Record {
        topic: topic.into(),
        partition,
        offset,
        key: (!message.key.is_empty()).then(|| message.key.clone().into_bytes()),
        value: message.payload.clone(),
        headers: message
            .headers
            .headers()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), Some(value.into_bytes())))
            .collect(),
        timestamp: Some(at),
    }
}

/// The partition of a key.
pub(super) fn partition_of(key: &str) -> i32 {
    i32::try_from(lightrail_topics::message::stable_hash(key.as_bytes()) % PARTITIONS as u64).unwrap()
}
