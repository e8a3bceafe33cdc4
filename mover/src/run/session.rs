//! One session: from an open journal to the owner's end. Waits for Kafka, looks for a rival, joins, fences, reads its
//! own topics back, and only then lets anything start.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lightrail_topics::events::Start;
use lightrail_topics::kafka::{
    Admin, Connection, GroupReader, GroupSettings, Isolation, KafkaError, KafkaEvent, Offset, PublishError,
    Publisher, Reader, Timeouts, read_to_end,
};
use lightrail_topics::{Event, Lfn, Message, Millis, SiteName, Topic, Topics, decode, message};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::doers::{Doers, Gap, chain, fill_gap, learn_servers};
use super::sweep::Sweep;
use super::take_back::{ReadBack, load, take_back};
use super::{Life, Phase, RunError, begin};
use crate::clock::Clock;
use crate::config::StartFrom;
use crate::intake::folder;
use crate::intake::kafka::{IntakeEnd, feed};
use crate::journal::{Journal, Opened, SledJournal};
use crate::ledger::rows::PartitionKey;
use crate::ledger::{Ledger, transfer};
use crate::logbook::LogbookClient;
use crate::outbox::{OnKafka, OutboxEnd, Publishing, READ_BACK, ends, publish};
use crate::owner::{self, Input, Parts};
use crate::rival::{Identity, rival};

/// How a session ended.
#[derive(Debug)]
pub(super) enum End {
    /// It was told to.
    Stopped,
    /// Everything is to be read again from the journal as it is.
    Again(String),
    /// The journal contradicts Kafka and is to be made anew.
    AgainWithout(String),
}

/// What a session stands on.
struct Ground<'a> {
    life: &'a Life,
    identity: Identity,
    topics: Topics,
    connection: Connection,
    admin: Admin,
}

/// Positions of the topics that the mover follows, as the journal has them: shared with the group's assignment.
type Positions = Arc<Mutex<HashMap<(String, i32), i64>>>;

const FOLLOWED: [Topic; 5] =
    [Topic::Runs, Topic::FileCatalog, Topic::Experiments, Topic::Routes, Topic::RoutesOverride];

pub(super) async fn session(life: &Life, journal: SledJournal, opened: Opened) -> Result<End, RunError> {
    let identity = begin::identity(&life.config);
    let connection = begin::connection(&life.config, &identity)?;
    let admin = Admin::new(&connection, Duration::from_secs(5));
    let ground = Ground { life, topics: begin::topics(&life.config)?, identity, connection, admin };
    // Before there is an owner nothing runs that would have to be drained.
    let told_while_starting = async {
        life.shutdown.drain.cancelled().await;
        if matches!(*life.phase.borrow(), Phase::Running(_)) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        end = ground.live(Box::new(journal), opened) => end,
        () = told_while_starting => Ok(End::Stopped),
    }
}

impl Ground<'_> {
    fn now(&self) -> Millis {
        self.life.clock.now()
    }

    fn names(&self, topics: &[Topic]) -> Vec<String> {
        topics.iter().map(|topic| self.topics.name(*topic)).collect()
    }

    async fn live(&self, mut journal: Box<dyn Journal>, opened: Opened) -> Result<End, RunError> {
        self.await_kafka().await?;
        self.await_topics().await;
        if !self.life.options.take_over {
            if let Some(who) = self
                .patiently("looks who has its name", async || rival(&self.admin, &self.identity).await)
                .await
            {
                return Err(RunError::Rival(who));
            }
        }
        let start = self.start().await?;
        let journals = journal.positions()?;
        let positions = match self.positions(&journals, start.from).await {
            Ok(positions) => positions,
            Err(why) => return Ok(End::AgainWithout(why)),
        };

        // Join first, then fence: whoever was here before loses its partitions, then its producer.
        let positions: Positions = Arc::new(Mutex::new(positions));
        let at = positions.clone();
        let settings = GroupSettings {
            group: self.identity.group(),
            instance: Some(self.identity.instance()),
            session_timeout: Duration::from_secs(10),
            topics: self.names(&FOLLOWED),
            capacity: 1000,
        };
        let (group, events) = GroupReader::join(&self.connection, &settings, move |topic, partition| {
            at.lock().unwrap_or_else(PoisonError::into_inner).get(&(topic.to_owned(), partition)).copied()
        })?;
        self.life.phase("fences its predecessor");
        let publishing = Publishing {
            connection: self.connection.clone(),
            topics: self.topics.clone(),
            identity: self.identity.clone(),
            timeouts: Timeouts::default(),
        };
        let publisher = publishing.fenced_publisher().await?;
        if start.new {
            self.say_start(&publisher, start.from).await?;
        }

        self.life.phase("reads its own topics back");
        let confirmed = self.confirmed(&journals);
        let records = self
            .patiently("reads its own topics back", async || {
                publishing.read_back(&confirmed, Duration::from_secs(90)).await
            })
            .await;
        let mut ledger = load(begin::rules(&self.life.config, &self.identity), &*journal)?;
        let rebuilding = matches!(opened, Opened::Fresh { .. });
        let since = self.life.options.rebuild.is_some().then_some(start.from);
        let back = ReadBack { topics: &self.topics, records: &records, confirmed: &confirmed, since };
        let is_site = |site: &SiteName| self.life.config.sites.contains_key(site);
        let unsent = take_back(&mut ledger, &mut *journal, back, is_site, self.now())?;
        tracing::info!(records = records.len(), unsent = unsent.len(), rebuilding, "own topics read back");
        let unknown = if rebuilding { self.dropped(start.from).await } else { None };
        let confirmed = ends(&confirmed, &records);
        let gap = unknown.map(|until| Gap { from: start.from, until });
        self.operate(
            ledger,
            journal,
            unsent,
            confirmed,
            (group, events, positions),
            (publishing, publisher),
            gap,
        )
        .await
    }

    async fn await_kafka(&self) -> Result<(), RunError> {
        let bootstrap = self.life.config.kafka.bootstrap_servers();
        self.life.phase(format!("waits for Kafka at {bootstrap}"));
        let mut wait = Duration::from_millis(250);
        loop {
            match self.admin.reach().await {
                Ok(()) => return Ok(()),
                Err(error @ KafkaError::Settings(_)) => return Err(error.into()),
                Err(error) => self.life.phase(format!("waits for Kafka at {bootstrap}: {}", chain(&error))),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(5));
        }
    }

    /// Our own topics must be there; one that keeps its messages too short is said at every start.
    async fn await_topics(&self) {
        let config = &self.life.config.kafka;
        let partitions = i32::try_from(config.partitions).unwrap_or(i32::MAX);
        let mut specs =
            self.topics.specs(partitions, config.replication.map_or(-1, |n| i32::try_from(n).unwrap_or(-1)));
        let ours = [&READ_BACK[..], &[Topic::Routes, Topic::RoutesOverride, Topic::DeadLetters]].concat();
        specs.retain(|spec| ours.iter().any(|topic| self.topics.name(*topic) == spec.name));
        loop {
            match self.admin.describe(&specs).await {
                Ok(reports) => {
                    let short: Vec<String> = reports
                        .iter()
                        .flat_map(|report| {
                            report.differences.iter().map(move |difference| (report, difference))
                        })
                        .filter(|(_, difference)| difference.loses_messages)
                        .map(|(report, difference)| format!("{}: {difference}", report.name))
                        .collect();
                    for topic in &short {
                        tracing::error!(topic, "topic loses messages too early");
                    }
                    #[allow(clippy::cast_precision_loss)] // a handful of topics
                    metrics::gauge!(crate::metric::SHORT_RETENTION).set(short.len() as f64);
                    return;
                }
                Err(error) => {
                    let hint = if matches!(error, KafkaError::UnknownTopic(_)) {
                        "; make them with `lightrail-mover topics --create`"
                    } else {
                        ""
                    };
                    self.life.phase(format!("waits for its topics: {}{hint}", chain(&error)));
                }
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Asks Kafka until it answers.
    async fn patiently<T>(&self, what: &str, ask: impl AsyncFn() -> Result<T, KafkaError>) -> T {
        let mut wait = Duration::from_millis(250);
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(error) => self.life.phase(format!("{what}: {}", chain(&error))),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(5));
        }
    }

    /// The instant from which the mover moves: said once on `requests`, at the very first start by the configuration.
    async fn start(&self) -> Result<StartInstant, RunError> {
        let requests = vec![self.topics.name(Topic::Requests)];
        let limit = Duration::from_secs(90);
        let none = BTreeMap::new();
        let reader = self.connection.named(format!("{}-start", self.connection.client_id));
        let records = self
            .patiently("reads requests", async || read_to_end(&reader, &requests, &none, limit).await)
            .await;
        let said = records.iter().rev().find_map(|record| match decode(&self.topics, record) {
            Ok(Event::Start(start)) if start.mover == self.identity.mover => Some(start.from),
            _ => None,
        });
        if let Some(Some(since)) = self.life.options.rebuild {
            return Ok(StartInstant { from: since, new: said.is_none() });
        }
        if let Some(from) = said {
            return Ok(StartInstant { from, new: false });
        }
        let group = self.identity.group();
        let followed = self.names(&FOLLOWED[..3]);
        let committed = self
            .patiently("looks at its group", async || self.admin.committed(&group, &followed).await)
            .await;
        let spoke = records.iter().any(|record| record.ce_source() == Some(&self.identity.source()));
        if !committed.is_empty() || spoke {
            tracing::warn!(
                "kafka knows this mover, but not since when it moves; begins with all that the topics hold"
            );
            return Ok(StartInstant { from: Millis(0), new: true });
        }
        let from = match self.life.config.start_from {
            None => return Err(RunError::NoStart(self.identity.mover.to_string())),
            Some(StartFrom::Now) => self.now(),
            Some(StartFrom::Time(at)) => at,
            Some(StartFrom::Earliest) => Millis(0),
        };
        Ok(StartInstant { from, new: true })
    }

    async fn say_start(&self, publisher: &Publisher, from: Millis) -> Result<(), RunError> {
        let start = Start { mover: self.identity.mover.clone(), from, at: self.now() };
        let message = message::start(&start, &self.identity.source(), start.at);
        loop {
            match publisher.publish(vec![message.clone()]).await {
                Ok(_) => return Ok(()),
                Err(PublishError::Retriable(error)) => {
                    self.life.phase(format!("writes its start: {}", chain(&error)))
                }
                Err(error) => {
                    return Err(RunError::Start {
                        what: "start cannot be written".to_owned(),
                        source: error.into(),
                    });
                }
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Where reading begins: the journal's positions, and for partitions that it does not know, the start's instant. One
    /// that lies outside of its partition makes the journal doubtful.
    async fn positions(
        &self,
        journals: &BTreeMap<PartitionKey, i64>,
        from: Millis,
    ) -> Result<HashMap<(String, i32), i64>, String> {
        let mut positions = HashMap::new();
        for topic in FOLLOWED {
            let name = self.topics.name(topic);
            let marks = self
                .patiently(&format!("looks at {name}"), async || self.admin.watermarks(&name).await)
                .await;
            let timed = if topic.is_logbooks() && from > Millis(0) {
                self.patiently(&format!("looks at {name}"), async || {
                    self.admin.offsets_for_time(&name, from).await
                })
                .await
            } else {
                Vec::new()
            };
            for (partition, low, high) in marks {
                let key = PartitionKey { topic: name.clone(), partition };
                let at = match journals.get(&key) {
                    Some(at) if *at < low || *at > high => {
                        return Err(format!(
                            "position {at} of {name}/{partition} lies outside of {low}..{high}: messages were lost unread, \
                             or the topic was made anew"
                        ));
                    }
                    Some(at) => *at,
                    None => timed
                        .iter()
                        .find(|(p, _)| *p == partition)
                        .map_or(low, |(_, at)| (*at).clamp(low, high)),
                };
                positions.insert((name.clone(), partition), at);
            }
        }
        Ok(positions)
    }

    /// Up to when the logbook's messages since `from` have been dropped from its topics, if some have.
    async fn dropped(&self, from: Millis) -> Option<Millis> {
        let name = self.topics.name(Topic::Runs);
        let marks =
            self.patiently(&format!("looks at {name}"), async || self.admin.watermarks(&name).await).await;
        let mut until = None;
        for (partition, low, high) in marks {
            if low == 0 {
                continue;
            }
            let first = if low == high { None } else { self.first_kept(&name, partition, low).await };
            // Nothing is left: all of it up to now is gone.
            let kept = first.unwrap_or_else(|| self.now());
            until = until.max((kept > from).then_some(kept));
        }
        until
    }

    async fn first_kept(&self, topic: &str, partition: i32, low: i64) -> Option<Millis> {
        let reader = self.connection.named(format!("{}-first", self.connection.client_id));
        let at = [(topic.to_owned(), partition, Offset::At(low))];
        let mut reader = Reader::assign(&reader, &at, Isolation::ReadCommitted).ok()?;
        let next = tokio::time::timeout(Duration::from_secs(10), reader.next()).await.ok()??;
        next.ok()?.timestamp
    }

    /// The offsets of our own topics that the journal has confirmed.
    fn confirmed(&self, journals: &BTreeMap<PartitionKey, i64>) -> BTreeMap<(String, i32), i64> {
        let ours = self.names(&READ_BACK);
        journals
            .iter()
            .filter(|(key, _)| ours.contains(&key.topic))
            .map(|(key, at)| ((key.topic.clone(), key.partition), *at))
            .collect()
    }

    /// Everybody works until one of them ends.
    async fn operate(
        &self,
        ledger: Ledger,
        journal: Box<dyn Journal>,
        unsent: Vec<(u64, Message)>,
        confirmed: BTreeMap<(String, i32), i64>,
        (group, events, positions): (GroupReader, mpsc::Receiver<KafkaEvent>, Positions),
        (publishing, publisher): (Publishing, Publisher),
        gap: Option<Gap>,
    ) -> Result<End, RunError> {
        let config = &self.life.config;
        let patience = begin::patience(config);
        let engines = begin::engines(config, patience);
        let sites = begin::sites(config);
        let all: BTreeMap<SiteName, crate::carry::Site> =
            sites.names().filter_map(|name| Some((name.clone(), sites.site(name)?.clone()))).collect();
        let (inputs, receiver) = mpsc::channel(4096);
        let (outbox, messages) = mpsc::unbounded_channel();
        let (effects, asked) = mpsc::unbounded_channel();
        let (offsets, mut stored) = mpsc::unbounded_channel::<(PartitionKey, i64)>();

        let sweep = Sweep {
            every: config.sweep.every,
            sites: all.clone(),
            engines: engines.clone(),
            patience,
            mover: config.mover.clone(),
            inputs: inputs.clone(),
        };
        self.life.phase("clears leftovers");
        let unfinished = unfinished(&ledger);
        let _ = tokio::time::timeout(Duration::from_secs(10), sweep.clear_leftovers(unfinished)).await;

        let source = all.get(&config.source).cloned();
        let mut others = JoinSet::new();
        if let Some(gap) = gap {
            let experiments = ledger.experiments();
            match self.logbook()? {
                Some(logbook) => drop(others.spawn(fill_gap(logbook, gap, experiments, inputs.clone()))),
                None => tracing::error!(
                    from = %gap.from, until = %gap.until,
                    "what the logbook said in this time is dropped from its topics, and no logbook is configured to \
                     ask: runs of this time that were not announced are not known"
                ),
            }
        }
        if let (Some(source), Some(source_engine)) = (source, engines.get(&config.source).cloned()) {
            let doers = Doers {
                logbook: self.logbook()?,
                reports: config.logbook.as_ref().is_some_and(|logbook| logbook.report),
                source,
                source_engine,
                call: patience.call,
                inputs: inputs.clone(),
            };
            others.spawn(doers.work(asked));
        }
        others.spawn(learn_servers(
            all.into_values().collect(),
            engines.clone(),
            patience.call,
            inputs.clone(),
        ));
        others.spawn(sweep.work());
        for watched in config.watch.clone() {
            others.spawn(folder::watch(watched, self.life.clock.clone(), inputs.clone()));
        }
        let group = Arc::new(group);
        let (taking, mut takes) = watch::channel(true);
        let gated = group.clone();
        others.spawn(async move {
            while takes.changed().await.is_ok() {
                if *takes.borrow_and_update() { gated.resume() } else { gated.pause() }
            }
        });
        let storing = group.clone();
        others.spawn(async move {
            while let Some((key, next)) = stored.recv().await {
                let at = (key.topic.clone(), key.partition);
                positions.lock().unwrap_or_else(PoisonError::into_inner).insert(at, next);
                if let Err(error) = storing.store(&key.topic, key.partition, next) {
                    tracing::warn!(topic = key.topic, %error, "offset not stored; the journal has it");
                }
            }
        });

        let mut publishing =
            tokio::spawn(publish(OnKafka { publishing, publisher }, confirmed, messages, inputs.clone()));
        let mut feeding = tokio::spawn(feed(events, inputs.clone()));
        let parts = Parts {
            ledger,
            journal,
            engines,
            sites,
            patience,
            backoff: begin::backoff(config),
            clock: self.life.clock.clone(),
            rng: fastrand::Rng::new(),
            mover: config.mover.clone(),
            topics: self.topics.clone(),
            unsent,
            outbox,
            effects,
            taking,
            offsets,
        };
        let owning = tokio::spawn(owner::own(parts, inputs.clone(), receiver));
        self.life.phase.send_replace(Phase::Running(inputs.clone()));
        tracing::info!(mover = %config.mover, "mover runs");
        let end = self.watch(owning, &mut publishing, &mut feeding, &inputs).await;
        self.life.phase.send_replace(Phase::Starting("is ending".to_owned()));
        others.shutdown().await;
        publishing.abort();
        feeding.abort();
        if let Some(group) = Arc::into_inner(group) {
            let _ = tokio::time::timeout(Duration::from_secs(3), group.leave()).await;
        }
        end
    }

    /// Waits for an end, the operator's or somebody's.
    async fn watch(
        &self,
        mut owning: tokio::task::JoinHandle<(owner::End, Box<dyn Journal>)>,
        publishing: &mut tokio::task::JoinHandle<OutboxEnd>,
        feeding: &mut tokio::task::JoinHandle<IntakeEnd>,
        inputs: &mpsc::Sender<Input>,
    ) -> Result<End, RunError> {
        let shutdown = &self.life.shutdown;
        let outcome = tokio::select! {
            owned = &mut owning => return Ok(ended(owned)),
            end = publishing => match end {
                Ok(OutboxEnd::Rival(who)) => Err(RunError::TakenOver(who)),
                Ok(OutboxEnd::Failed(error)) => Err(error.into()),
                Ok(OutboxEnd::Stopped) | Err(_) => Ok(End::Again("the publisher has ended".to_owned())),
            },
            end = feeding => match end {
                Ok(IntakeEnd::Fenced(who)) => match rival(&self.admin, &self.identity).await {
                    Ok(Some(rival)) => Err(RunError::TakenOver(rival)),
                    Ok(None) | Err(_) => Ok(End::Again(format!("its group member was replaced: {who}"))),
                },
                Ok(IntakeEnd::Failed(error @ KafkaError::OutOfRange { .. })) => Ok(End::AgainWithout(error.to_string())),
                Ok(IntakeEnd::Failed(error)) => Ok(End::Again(chain(&error))),
                Ok(IntakeEnd::Stopped) | Err(_) => Ok(End::Again("intake has ended".to_owned())),
            },
            () = shutdown.drain.cancelled() => {
                tracing::info!(limit_s = self.life.config.shutdown.drain_for.as_secs(), "draining");
                let _ = inputs.send(Input::Drain).await;
                let limit = tokio::time::sleep(self.life.config.shutdown.drain_for);
                tokio::select! {
                    owned = &mut owning => return Ok(ended(owned)),
                    () = limit => tracing::warn!("copies that are not done are cancelled and queued again"),
                    () = shutdown.now.cancelled() => tracing::warn!("stopping at once"),
                }
                Ok(End::Stopped)
            }
        };
        // Attempts clear up after themselves; the journal is closed before anything begins anew.
        let _ = inputs.send(Input::Stop).await;
        let limit = begin::patience(&self.life.config).cancel * 3;
        if tokio::time::timeout(limit, &mut owning).await.is_err() {
            owning.abort();
            let _ = owning.await;
        }
        outcome
    }

    fn logbook(&self) -> Result<Option<LogbookClient>, RunError> {
        let Some(logbook) = &self.life.config.logbook else { return Ok(None) };
        let start = |source: Box<dyn std::error::Error + Send + Sync>| RunError::Start {
            what: "the logbook's client cannot be made".to_owned(),
            source,
        };
        let token = match &logbook.token {
            Some(secret) => Some(secret.read().map_err(|error| start(error.into()))?.expose().to_owned()),
            None => None,
        };
        let client = LogbookClient::new(&logbook.url, logbook.user.clone(), token, logbook.answer);
        client.map(Some).map_err(|error| start(error.into()))
    }
}

struct StartInstant {
    from: Millis,
    /// Whether it has still to be said.
    new: bool,
}

fn ended(owned: Result<(owner::End, Box<dyn Journal>), tokio::task::JoinError>) -> End {
    match owned {
        Ok((owner::End::Drained, _)) => End::Stopped,
        Ok((owner::End::Journal(error), _)) => End::Again(chain(&error)),
        Err(error) => End::Again(format!("the owner has failed: {error}")),
    }
}

/// Folders, each with one of its files, in which attempts of a predecessor may have left something.
fn unfinished(ledger: &Ledger) -> HashSet<(SiteName, Lfn)> {
    let mut folders: HashMap<(SiteName, String), Lfn> = HashMap::new();
    let keys: Vec<_> = ledger.runs().map(|(key, _)| key.clone()).collect();
    for key in &keys {
        for (lfn, file) in ledger.files(key) {
            for transfer in file.sites.iter().filter(|transfer| !transfer::is_terminal(&transfer.state)) {
                folders
                    .entry((transfer.site.clone(), lfn.folder().to_owned()))
                    .or_insert_with(|| lfn.clone());
            }
        }
    }
    folders.into_iter().map(|((site, _), lfn)| (site, lfn)).collect()
}
