//! The trigger's life: fences its predecessor, reads what is there, says that it decides, and from then on takes in what comes,
//! plans, and does what is planned: one task owns the book, the others are told by channels. What ends a life is mended by a new one.

mod act;
mod jobs;
mod pace;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lightrail_service::settings::SecretError;
use lightrail_topics::events::Decider;
use lightrail_topics::kafka::{Admin, Connection, KafkaError, PublishError, Publisher, Timeouts};
use lightrail_topics::topic::PrefixError;
use lightrail_topics::{Millis, SiteName, Topic, Topics, message};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Place, Site};
use crate::decide::{Book, Input, Limits};
use crate::executor::{Claims, Executor, Iri, Local, Sfapi};
use crate::facility::{Report, Watcher};
use crate::follow;
use crate::jid;
use crate::metric;
use lightrail_service::http::{self, ListenError, Readiness};
use pace::Pace;

/// A rival that has fenced us says its epoch within this time.
const RIVAL_SPEAKS: Duration = Duration::from_secs(2);
/// That time is doubled so often at most, once for each time that we were fenced and nobody spoke.
const MOST_DOUBLED: u32 = 5;

/// Why the trigger ended other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum TriggerError {
    /// Its health cannot be served.
    #[error(transparent)]
    Http(#[from] ListenError),
    /// Kafka's settings are wrong.
    #[error("kafka cannot be used")]
    Kafka(#[from] KafkaError),
    /// A secret cannot be read.
    #[error("a secret cannot be read")]
    Secret(#[from] SecretError),
    /// The topics' prefix is no prefix.
    #[error(transparent)]
    Prefix(#[from] PrefixError),
    /// The job interface cannot be served.
    #[error(transparent)]
    Jid(#[from] jid::JidError),
    /// Facilities cannot be called from here.
    #[error("TLS cannot be used")]
    Web(#[source] reqwest::Error),
    /// Another one decides.
    #[error(
        "another trigger decides now, with epoch {1}, so {0} ends; one decides at a time on a set of topics"
    )]
    Rival(lightrail_topics::DeciderName, u64),
}

/// Why a life ended.
enum LifeEnd {
    Kafka(KafkaError),
    Publish(PublishError),
    Rival(u64),
}

impl From<KafkaError> for LifeEnd {
    fn from(error: KafkaError) -> Self {
        Self::Kafka(error)
    }
}

/// The topics' names for a configuration.
pub(crate) fn topics(config: &Config) -> Result<Topics, PrefixError> {
    let topics = config.kafka.topics()?;
    match &config.logbook {
        Some(prefix) => topics.with_logbook_prefix(prefix),
        None => Ok(topics),
    }
}

/// The limits of a configuration.
pub fn limits(config: &Config) -> Limits {
    let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    Limits {
        grace: config.decide.grace,
        again: config.decide.again,
        lands_within: config.decide.lands_within,
        for_live: config
            .sites
            .iter()
            .map(|(name, site)| (name.clone(), usize::from(site.for_live)))
            .collect(),
        at_once: config.sites.iter().map(|(name, site)| (name.clone(), number(site.at_once))).collect(),
        heartbeat: config.facility.heartbeat,
        lost_after: config.facility.lost_after,
        give_up_after: config.facility.give_up_after,
        failover_for: config.facility.failover_for,
        hangs: config.decide.hangs,
        pools: config.pools.clone(),
        reserved: config
            .sites
            .iter()
            .filter_map(|(name, site)| Some((name.clone(), number(site.head.wishes.reservation_jobs?))))
            .collect(),
        allocation: config
            .sites
            .iter()
            .filter_map(|(name, site)| Some((name.clone(), site.allocation?.saturating_mul(3600))))
            .collect(),
    }
}

/// Now.
pub(crate) fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Waits until then; not at all, not even for a tick of the timers, where it is past.
async fn until(due: Instant) {
    if Instant::now() < due {
        tokio::time::sleep_until(due.into()).await;
    }
}

/// Decides until `stop`. What was begun goes on without it.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), TriggerError> {
    metric::describe();
    let topics = topics(&config)?;
    let connection = config.kafka.connection(format!("lightrail-trigger-{}", config.decider))?;
    connection.check()?;
    let (readiness, said) = watch::channel(Readiness::waits("starts"));
    let serving = http::serve(config.listen, said).await?;
    let (told, inbox) = mpsc::unbounded_channel();
    let source = format!("lightrail-trigger/{}", config.decider);
    let places = config.sites.iter().map(|(name, site)| Ok((name.clone(), Arc::new(AtSite::new(site)?))));
    let places = places.collect::<Result<BTreeMap<_, _>, TriggerError>>()?;
    let jobs = match &config.jid {
        Some(at) => Some(jid::serve(at.clone(), places.clone()).await?.0),
        None => None,
    };
    let (reported, reports) = mpsc::unbounded_channel();
    let mut watching = JoinSet::new();
    for (name, place) in &places {
        let (at, executor) = (place.site.status.clone(), Arc::clone(&place.executor));
        let watcher = Watcher::new(name.clone(), at, executor).map_err(TriggerError::Web)?;
        watching.spawn(watcher.watch(config.facility.every, reported.clone()));
    }
    let mut service = Service {
        config,
        topics,
        connection,
        readiness,
        source,
        places,
        told,
        inbox,
        fenced: AtomicU32::new(0),
        reports,
    };
    let outcome = tokio::select! {
        outcome = service.live() => outcome,
        () = stop.cancelled() => Ok(()),
    };
    serving.abort();
    if let Some(jobs) = jobs {
        jobs.abort();
    }
    outcome
}

/// A site's executor, and what its scripts are made of.
#[derive(Debug)]
pub(crate) struct AtSite {
    pub(crate) executor: Arc<dyn Executor>,
    pub(crate) site: Site,
    claims: Claims,
}

impl AtSite {
    pub(crate) fn new(site: &Site) -> Result<Self, TriggerError> {
        let executor: Arc<dyn Executor> = match &site.executor {
            Place::Local => Arc::new(Local::new(site.folder.clone())),
            Place::Slurm(slurm) => Arc::new(slurm.clone()),
            Place::Pbs(pbs) => Arc::new(pbs.clone()),
            Place::Lsf(lsf) => Arc::new(lsf.clone()),
            Place::Sge(sge) => Arc::new(sge.clone()),
            Place::Sfapi(at) => Arc::new(Sfapi::new(at.clone()).map_err(TriggerError::Web)?),
            Place::Iri(at) => Arc::new(Iri::new(at.clone()).map_err(TriggerError::Web)?),
        };
        Ok(Self { executor, site: site.clone(), claims: Claims(site.claims.clone()) })
    }
}

struct Service {
    config: Config,
    topics: Topics,
    connection: Connection,
    readiness: watch::Sender<Readiness>,
    source: String,
    places: BTreeMap<SiteName, Arc<AtSite>>,
    /// By which tasks tell what became of what they did; with the epoch in which they were sent.
    told: mpsc::UnboundedSender<(u64, Input)>,
    inbox: mpsc::UnboundedReceiver<(u64, Input)>,
    /// How often in a row we were fenced.
    fenced: AtomicU32,
    /// How facilities are, as those say who ask them.
    reports: mpsc::UnboundedReceiver<Report>,
}

impl Service {
    async fn live(&mut self) -> Result<(), TriggerError> {
        loop {
            self.topics_are_there().await?;
            let mut epoch = 0;
            let end = match self.decide(&mut epoch).await {
                Ok(never) => match never {},
                Err(end) => end,
            };
            metrics::gauge!(metric::READY).set(0.0);
            let why = match end {
                LifeEnd::Rival(newer) => return Err(TriggerError::Rival(self.config.decider.clone(), newer)),
                LifeEnd::Kafka(error) => error.to_string(),
                LifeEnd::Publish(error) => error.to_string(),
            };
            tracing::warn!(why, "trigger begins anew");
            self.says(Readiness::waits(format!("begins anew: {why}")));
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    fn says(&self, readiness: Readiness) {
        self.readiness.send_if_modified(|said| {
            let is_new = *said != readiness;
            *said = readiness;
            is_new
        });
    }

    /// Kafka must be there with our topics; one that keeps its messages too short is said at every start.
    async fn topics_are_there(&self) -> Result<(), KafkaError> {
        let (partitions, replication) = self.config.kafka.partitions_and_replication();
        let mut specs = self.topics.trigger_specs(partitions, replication);
        let followed = follow::followed(self.config.logbook.is_some());
        let others = followed.into_iter().filter(|topic| !Topic::TRIGGER.contains(topic));
        specs.extend(others.map(|topic| self.topics.spec(topic, partitions, replication)));
        let admin = Admin::new(&self.connection, Duration::from_secs(10));
        let made_by = "lightrail-trigger, lightrail-mover and lightrail-analysis";
        let says = |why| self.says(Readiness::waits(why));
        lightrail_service::topics::awaited(&admin, &specs, made_by, metric::SHORT_RETENTION, says).await
    }

    /// One life.
    async fn decide(&mut self, epoch: &mut u64) -> Result<std::convert::Infallible, LifeEnd> {
        let patience = self.config.decide.patience;
        let id = format!("{}.trigger", self.topics.name(Topic::Jobs));
        let publisher = Publisher::start(&self.connection, &self.topics, &id, Timeouts::default())?;
        publisher.init(patience).await.map_err(LifeEnd::Publish)?;
        let book = Book::new(limits(&self.config));
        let logbook = self.config.logbook.is_some();
        let begun = follow::begin(&self.connection, &self.topics, logbook, book, patience).await?;
        let mut records = begun.follow(&self.connection)?;
        *epoch = begun.epoch + 1;
        let decider = Decider {
            decider: self.config.decider.clone(),
            epoch: *epoch,
            place: format!("{}:{}", lightrail_service::who(), std::process::id()),
            at: now(),
        };
        let said = vec![message::decider(&decider, &self.source)];
        // Ours does not stand yet: a rival that has said the same number is newer.
        if let Some(error) = self.commit(&publisher, said, begun.epoch).await? {
            return Err(LifeEnd::Publish(PublishError::Retriable(error)));
        }
        let (mut book, mut counting) = (begun.book, begun.counting);
        let results = self.topics.name(Topic::Results);
        book.begin(*epoch, now());
        tracing::info!(decider = %self.config.decider, epoch = *epoch, "trigger decides");
        metrics::gauge!(metric::READY).set(1.0);
        self.says(Readiness::ready(format!("decides, epoch {epoch}")));
        let mut work = jobs::Work {
            tasks: JoinSet::new(),
            looking: BTreeSet::new(),
            fencing: BTreeMap::new(),
            backlogs: None,
            epoch: *epoch,
        };
        let mut pace = Pace::new(Instant::now());
        let mut look = tokio::time::interval(self.config.decide.poll);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // What is there is taken in before it is planned, and what comes seldom before what comes in floods.
                biased;
                Some((epoch, input)) = self.inbox.recv() => {
                    if let Input::Looked { site, .. } = &input {
                        work.looking.remove(site);
                    }
                    // What a task of an earlier life tells is looked up anew.
                    if epoch == work.epoch {
                        book.take(input, now());
                        pace.news(Instant::now());
                    }
                }
                Some(report) = self.reports.recv() => {
                    self.say_facility(&publisher, &mut book, &report, work.epoch).await?;
                    pace.news(Instant::now());
                }
                _ = look.tick() => {
                    self.look(&book, &mut work);
                    self.look_at_backlogs(&mut work);
                }
                record = records.next(), if !pace.is_overdue(Instant::now()) => match record {
                    Some(Ok(record)) => {
                        let newer = follow::epoch(&self.topics, &record);
                        if let Some(newer) = newer.filter(|newer| *newer > work.epoch) {
                            return Err(LifeEnd::Rival(newer));
                        }
                        if let Some(input) = follow::understood(&self.topics, &record) {
                            counting.taken(&record, &results, &input);
                            book.take(input, now());
                            pace.news(Instant::now());
                        }
                    }
                    Some(Err(error)) if error.is_retriable() => {
                        tracing::warn!(%error, "kafka does not answer well");
                    }
                    Some(Err(error)) => return Err(error.into()),
                    None => return Err(KafkaError::Fatal("reading has ended".to_owned()).into()),
                },
                () = until(pace.due()) => {
                    while work.tasks.try_join_next().is_some() {}
                    let begun = Instant::now();
                    let follows = self.act(&publisher, &mut book, &mut work).await?;
                    pace.planned(Instant::now(), begun.elapsed(), follows);
                    self.say_counts(&publisher, &book, &mut counting, work.epoch).await?;
                }
            }
        }
    }
}
