//! One session: from an open journal to the owner's end. Waits for Kafka, looks for a rival, joins, fences, reads its
//! own topics back, and only then lets anything start.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lightrail_topics::kafka::{Admin, GroupReader, KafkaError, KafkaEvent, Publisher, Timeouts};
use lightrail_topics::{Lfn, Message, SiteName};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::doers::{Doers, Gap, chain, fill_gap, learn_servers};
use super::ground::{FOLLOWED, Ground};
use super::sweep::Sweep;
use super::take_back::{ReadBack, load, take_back};
use super::{Life, Phase, RunError, begin};
use crate::intake::folder;
use crate::intake::kafka::{IntakeEnd, feed, last_records};
use crate::journal::{Journal, Opened, SledJournal};
use crate::ledger::rows::PartitionKey;
use crate::ledger::{Ledger, transfer};
use crate::logbook::LogbookClient;
use crate::outbox::{OnKafka, OutboxEnd, Publishing, ends, publish};
use crate::owner::{self, Input, Parts};
use crate::rival::rival;

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

/// What a session holds of Kafka once it has joined, fenced and read back.
struct Joined {
    group: GroupReader,
    events: mpsc::Receiver<KafkaEvent>,
    positions: Positions,
    publishing: Publishing,
    publisher: Publisher,
    /// Where reading back begins if the producer is lost.
    confirmed: BTreeMap<(String, i32), i64>,
}

/// Positions of the topics that the mover follows, as the journal has them: shared with the group's assignment.
type Positions = Arc<Mutex<HashMap<(String, i32), i64>>>;

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
    async fn live(&self, mut journal: Box<dyn Journal>, opened: Opened) -> Result<End, RunError> {
        self.await_kafka().await?;
        if self.life.options.take_over {
            self.take_place().await?;
        } else if let Some(who) =
            self.patiently("looks who has its name", async || rival(&self.admin, &self.identity).await).await
        {
            return Err(RunError::Rival(who));
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
        let (group, events) =
            GroupReader::join(&self.connection, &self.membership(), move |topic, partition| {
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
            (ledger, journal, unsent),
            Joined { group, events, positions, publishing, publisher, confirmed },
            gap,
        )
        .await
    }

    /// Everybody works until one of them ends.
    async fn operate(
        &self,
        (ledger, journal, unsent): (Ledger, Box<dyn Journal>, Vec<(u64, Message)>),
        joined: Joined,
        gap: Option<Gap>,
    ) -> Result<End, RunError> {
        let Joined { group, events, positions, publishing, publisher, confirmed } = joined;
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
        let at_start = positions.lock().unwrap_or_else(PoisonError::into_inner).clone();
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
        let last = last_records(self.connection.clone(), self.names(&FOLLOWED), at_start);
        let mut feeding = tokio::spawn(feed(events, inputs.clone(), last));
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
        let owning = Owning::start(owner::own(parts, inputs.clone(), receiver));
        self.life.phase.send_replace(Phase::Running(inputs.clone()));
        tracing::info!(mover = %config.mover, "mover runs");
        let end = self.watch(owning, &mut publishing, &mut feeding, &inputs).await;
        self.life.phase.send_replace(Phase::Starting("is ending".to_owned()));
        others.shutdown().await;
        publishing.abort();
        feeding.abort();
        if let Some(group) = Arc::into_inner(group) {
            let _ = tokio::time::timeout(Duration::from_secs(3), group.stop()).await;
        }
        end
    }

    /// Waits for an end, the operator's or somebody's.
    async fn watch(
        &self,
        mut owning: Owning,
        publishing: &mut tokio::task::JoinHandle<OutboxEnd>,
        feeding: &mut tokio::task::JoinHandle<IntakeEnd>,
        inputs: &mpsc::Sender<Input>,
    ) -> Result<End, RunError> {
        let shutdown = &self.life.shutdown;
        let mut fenced = None;
        let outcome = tokio::select! {
            owned = &mut owning.task => return Ok(ended(owned)),
            end = publishing => match end {
                Ok(OutboxEnd::Rival(who)) => Err(RunError::TakenOver(who)),
                Ok(OutboxEnd::Failed(error)) => Err(error.into()),
                Ok(OutboxEnd::Stopped) | Err(_) => Ok(End::Again("the publisher has ended".to_owned())),
            },
            end = feeding => match end {
                // By another process that has joined under our name, or by our own client: one that lost its session (the
                // broker was away or hung) joins anew, and what it still has under way in its old membership is refused.
                Ok(IntakeEnd::Fenced(why)) => {
                    tracing::error!(why, "fenced in its group; cancelling all copies and looking for who has its name");
                    fenced = Some(why);
                    Ok(End::Stopped)
                }
                Ok(IntakeEnd::Failed(error @ KafkaError::OutOfRange { .. })) => Ok(End::AgainWithout(error.to_string())),
                Ok(IntakeEnd::Failed(error)) => Ok(End::Again(chain(&error))),
                Ok(IntakeEnd::Stopped) | Err(_) => Ok(End::Again("intake has ended".to_owned())),
            },
            () = shutdown.drain.cancelled() => {
                tracing::info!(limit_s = self.life.config.shutdown.drain_for.as_secs(), "draining");
                let _ = inputs.send(Input::Drain).await;
                let limit = tokio::time::sleep(self.life.config.shutdown.drain_for);
                tokio::select! {
                    owned = &mut owning.task => return Ok(ended(owned)),
                    () = limit => tracing::warn!("copies that are not done are cancelled and queued again"),
                    () = shutdown.now.cancelled() => tracing::warn!("stopping at once"),
                }
                Ok(End::Stopped)
            }
        };
        // Attempts clear up after themselves; the journal is closed before anything begins anew.
        let _ = inputs.send(Input::Stop).await;
        let limit = begin::patience(&self.life.config).cancel * 3;
        if tokio::time::timeout(limit, &mut owning.task).await.is_err() {
            owning.abandoned.cancel();
            let _ = owning.task.await;
        }
        match fenced {
            None => outcome,
            Some(why) => match self.successor().await {
                Some(who) => Err(RunError::TakenOver(who)),
                None => Ok(End::Again(format!("nobody else has its name; it was fenced by itself: {why}"))),
            },
        }
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

/// The owner at work, on a thread of its own: it blocks for the journal's disk, which must not hold up the copies.
struct Owning {
    task: JoinHandle<Option<Owned>>,
    /// Drops the owner where it waits: it ends without a word.
    abandoned: CancellationToken,
}

type Owned = (owner::End, Box<dyn Journal>);

impl Owning {
    fn start(owner: impl Future<Output = Owned> + Send + 'static) -> Self {
        let (runtime, abandoned) = (tokio::runtime::Handle::current(), CancellationToken::new());
        let token = abandoned.clone();
        let task =
            tokio::task::spawn_blocking(move || runtime.block_on(token.run_until_cancelled_owned(owner)));
        Self { task, abandoned }
    }
}

fn ended(owned: Result<Option<Owned>, tokio::task::JoinError>) -> End {
    match owned {
        Ok(Some((owner::End::Drained, _)) | None) => End::Stopped,
        Ok(Some((owner::End::Journal(error), _))) => End::Again(chain(&error)),
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
