//! The trigger's life: fences its predecessor, reads what is there, says that it decides, and from then on takes in what comes,
//! plans, and does what is planned: one task owns the book, the others are told by channels. What ends a life is mended by a new one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lightrail_service::settings::SecretError;
use lightrail_topics::events::{Class, Decider, Job};
use lightrail_topics::kafka::{Admin, Connection, KafkaError, PublishError, Publisher, Timeouts};
use lightrail_topics::topic::PrefixError;
use lightrail_topics::{JobName, Message, Millis, SiteName, Topic, Topics, message};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Place, Site};
use crate::decide::{Action, Book, Input, Limits};
use crate::executor::{Claims, Executor, Iri, Local, Script, Sfapi, SubmitFault};
use crate::follow::{self, Counting};
use crate::jid;
use crate::metric;
use lightrail_service::http::{self, ListenError, Readiness};

/// What comes together is decided together.
const SETTLE: Duration = Duration::from_millis(25);
/// What follows from the time alone follows so late at most.
const PLANS_EVERY: Duration = Duration::from_secs(1);
/// A rival that has fenced us says its epoch within this time.
const RIVAL_SPEAKS: Duration = Duration::from_secs(2);

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
pub(crate) fn limits(config: &Config) -> Limits {
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
    }
}

/// Now.
pub(crate) fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
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
    let mut service = Service { config, topics, connection, readiness, source, places, told, inbox };
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
}

impl Service {
    async fn live(&mut self) -> Result<(), TriggerError> {
        loop {
            self.topics_are_there().await;
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
    async fn topics_are_there(&self) {
        let (partitions, replication) = self.config.kafka.partitions_and_replication();
        let mut specs = self.topics.trigger_specs(partitions, replication);
        let followed = follow::followed(self.config.logbook.is_some());
        let others = followed.into_iter().filter(|topic| !Topic::TRIGGER.contains(topic));
        specs.extend(others.map(|topic| self.topics.spec(topic, partitions, replication)));
        let admin = Admin::new(&self.connection, Duration::from_secs(10));
        let made_by = "lightrail-trigger, lightrail-mover and lightrail-analysis";
        let reports = lightrail_service::topics::described(&admin, &specs, made_by, |why| {
            self.says(Readiness::waits(why));
        })
        .await;
        lightrail_service::topics::warn(&reports, metric::SHORT_RETENTION);
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
        if let Some(error) = self.commit(&publisher, said, *epoch).await? {
            return Err(LifeEnd::Publish(PublishError::Retriable(error)));
        }
        let (mut book, mut counting) = (begun.book, begun.counting);
        let results = self.topics.name(Topic::Results);
        book.begin(*epoch, now());
        tracing::info!(decider = %self.config.decider, epoch = *epoch, "trigger decides");
        metrics::gauge!(metric::READY).set(1.0);
        self.says(Readiness::ready(format!("decides, epoch {epoch}")));
        let mut work = Work { tasks: JoinSet::new(), looking: BTreeSet::new(), epoch: *epoch };
        let mut is_new = true;
        let mut settle = tokio::time::interval(SETTLE);
        settle.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut look = tokio::time::interval(self.config.decide.poll);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut planned = Instant::now();
        loop {
            tokio::select! {
                record = records.next() => match record {
                    Some(Ok(record)) => {
                        let newer = follow::epoch(&self.topics, &record);
                        if let Some(newer) = newer.filter(|newer| *newer > work.epoch) {
                            return Err(LifeEnd::Rival(newer));
                        }
                        if let Some(input) = follow::understood(&self.topics, &record) {
                            counting.taken(&record, &results, &input);
                            book.take(input, now());
                            is_new = true;
                        }
                    }
                    Some(Err(error)) if error.is_retriable() => {
                        tracing::warn!(%error, "kafka does not answer well");
                    }
                    Some(Err(error)) => return Err(error.into()),
                    None => return Err(KafkaError::Fatal("reading has ended".to_owned()).into()),
                },
                Some((epoch, input)) = self.inbox.recv() => {
                    if let Input::Looked { site, .. } = &input {
                        work.looking.remove(site);
                    }
                    // What a task of an earlier life tells is looked up anew.
                    if epoch == work.epoch {
                        book.take(input, now());
                        is_new = true;
                    }
                }
                _ = look.tick() => self.look(&book, &mut work),
                _ = settle.tick() => {
                    while work.tasks.try_join_next().is_some() {}
                    if !is_new && planned.elapsed() < PLANS_EVERY {
                        continue;
                    }
                    planned = Instant::now();
                    is_new = self.act(&publisher, &mut book, &mut work).await?;
                    self.say_counts(&publisher, &book, &mut counting, work.epoch).await?;
                }
            }
        }
    }

    /// Plans, and does what is planned. Whether something has changed by that.
    async fn act(
        &mut self,
        publisher: &Publisher,
        book: &mut Book,
        work: &mut Work,
    ) -> Result<bool, LifeEnd> {
        let begin = Instant::now();
        let actions = book.plan(now());
        metrics::histogram!(metric::DECIDE_SECONDS).record(begin.elapsed().as_secs_f64());
        let mut is_new = false;
        for action in actions {
            match action {
                Action::Publish(steps) => {
                    let messages = steps.iter().map(|job| message::job(job, &self.source)).collect();
                    if let Some(error) = self.commit(publisher, messages, work.epoch).await? {
                        tracing::warn!(%error, "steps of jobs are not published yet");
                        continue;
                    }
                    is_new = true;
                    for job in steps {
                        said(&job);
                        book.take(Input::Job(job), now());
                    }
                }
                Action::Submit(name) => self.submit(book, work, name),
                Action::Fence(name) => self.fence(book, work, name),
                Action::End(name, id, how) => {
                    let Some(place) = book.job(&name).and_then(|life| self.places.get(&life.site)) else {
                        continue;
                    };
                    let executor = Arc::clone(&place.executor);
                    tracing::info!(job = %name, %id, ?how, "job is told to end");
                    work.tasks.spawn(async move {
                        if let Err(error) = executor.end(&id, how).await {
                            tracing::warn!(job = %name, %id, %error, "job cannot be told to end");
                        }
                    });
                }
            }
        }
        for site in self.places.keys() {
            metrics::gauge!(metric::JOBS, "site" => site.to_string())
                .set(u32::try_from(book.open_at(site)).unwrap_or(u32::MAX));
        }
        Ok(is_new)
    }

    /// Says how far results are counted, when that is due.
    async fn say_counts(
        &self,
        publisher: &Publisher,
        book: &Book,
        counting: &mut Counting,
        epoch: u64,
    ) -> Result<(), LifeEnd> {
        let due = counting.due(book, now());
        if due.is_empty() {
            return Ok(());
        }
        let messages = due.iter().map(|counted| message::counted(counted, &self.source)).collect();
        match self.commit(publisher, messages, epoch).await? {
            None => counting.said(&due, now()),
            Some(error) => tracing::warn!(%error, "how far results are counted is not published yet"),
        }
        Ok(())
    }

    /// Commits messages in one transaction. An error that is given back says that nothing of them is there, and to try again.
    async fn commit(
        &self,
        publisher: &Publisher,
        messages: Vec<Message>,
        epoch: u64,
    ) -> Result<Option<KafkaError>, LifeEnd> {
        match publisher.publish(messages).await {
            Ok(_) => Ok(None),
            Err(PublishError::Retriable(error)) => Ok(Some(error)),
            Err(PublishError::Fenced(why)) => {
                // A rival says its epoch as soon as it has read what is there; a transaction of our own that took too long says none.
                tokio::time::sleep(RIVAL_SPEAKS).await;
                let patience = self.config.decide.patience;
                let newest = follow::newest_epoch(&self.connection, &self.topics, patience).await?;
                if newest > epoch {
                    return Err(LifeEnd::Rival(newest));
                }
                Err(LifeEnd::Publish(PublishError::Fenced(why)))
            }
            Err(error) => Err(LifeEnd::Publish(error)),
        }
    }

    /// Has each scheduler asked for all jobs at once, unless it still is.
    fn look(&self, book: &Book, work: &mut Work) {
        for (site, place) in &self.places {
            let asked = book.watched(site);
            if asked.is_empty() || !work.looking.insert(site.clone()) {
                continue;
            }
            let (executor, site) = (Arc::clone(&place.executor), site.clone());
            let (told, epoch) = (self.told.clone(), work.epoch);
            work.tasks.spawn(async move {
                let names: BTreeSet<JobName> = asked.iter().cloned().collect();
                let (asked, seen) = match executor.look(&names).await {
                    Ok(seen) => (asked, seen),
                    Err(error) => {
                        tracing::warn!(%site, %error, "scheduler does not answer");
                        metrics::counter!(metric::SCHEDULER_FAULTS, "site" => site.to_string()).increment(1);
                        // Nothing is known then, not even that a job is absent.
                        (Vec::new(), Vec::new())
                    }
                };
                // The receiver lives as long as the service.
                let _ = told.send((epoch, Input::Looked { site, asked, seen }));
            });
        }
    }

    fn submit(&self, book: &Book, work: &mut Work, name: JobName) {
        let Some(life) = book.job(&name) else { return };
        let (Some((_, task)), Some(place)) = (book.task(life), self.places.get(&life.site)) else { return };
        let wishes = &place.site.head.wishes;
        let others = book.jobs().filter(|other| other.site == life.site && !other.is_over()).count() - 1;
        let has_room =
            wishes.reservation_jobs.is_none_or(|room| others < usize::try_from(room).unwrap_or(usize::MAX));
        let script = Script {
            identity: &life.identity,
            site: &life.site,
            work: &task.work,
            nodes: task.nodes,
            seconds: task.seconds,
            head: &place.site.head,
            folder: &place.site.folder,
            claims: &place.site.claims,
            analysis: place.site.analysis.as_ref(),
            after: &[],
            gives_way: life.class == Class::Reprocess,
            spills: !has_room,
        };
        let spilled = Script { spills: true, ..script.clone() };
        let spilled = spilled.compose().ok().filter(|_| wishes.reservation.is_some() && has_room);
        let script = script.compose().map_err(|error| SubmitFault::Refused(error.to_string()));
        let (executor, told, epoch) = (Arc::clone(&place.executor), self.told.clone(), work.epoch);
        let folders = [place.site.folder.clone(), place.site.claims.clone()];
        work.tasks.spawn(async move {
            let outcome = match (script, folders.iter().try_for_each(std::fs::create_dir_all)) {
                (Ok(script), Ok(())) => executor.submit(&name, &script).await,
                (Err(fault), _) => Err(fault),
                // Not on this machine, perhaps: the job itself finds out whether its node has them.
                (Ok(script), Err(error)) => {
                    tracing::warn!(%error, "folders of the site cannot be made from here");
                    executor.submit(&name, &script).await
                }
            };
            let outcome = match (outcome, spilled) {
                // The reservation is over, or not ours: a run does not wait for another one.
                (Err(SubmitFault::Refused(why)), Some(spilled))
                    if why.to_lowercase().contains("reservation") =>
                {
                    tracing::warn!(job = %name, why, "job goes without the reservation");
                    executor.submit(&name, &spilled).await
                }
                (outcome, _) => outcome,
            };
            let word = match &outcome {
                Ok(_) => "taken",
                Err(SubmitFault::Refused(_)) => "refused",
                Err(SubmitFault::Unknown(_)) => "unknown",
            };
            metrics::counter!(metric::SUBMISSIONS, "outcome" => word).increment(1);
            if let Err(fault) = &outcome {
                tracing::warn!(job = %name, %fault, "job was not submitted as it should be");
            }
            let _ = told.send((epoch, Input::Submitted(name, outcome)));
        });
    }

    fn fence(&self, book: &Book, work: &mut Work, name: JobName) {
        let Some(place) = book.job(&name).and_then(|life| self.places.get(&life.site)) else { return };
        let (claims, told, epoch) = (place.claims.clone(), self.told.clone(), work.epoch);
        work.tasks.spawn(async move {
            match claims.fence(&name) {
                Ok(holder) => {
                    tracing::warn!(job = %name, ?holder, "job is not seen any more and is given up");
                    let _ = told.send((epoch, Input::Fenced { claimed: holder.is_some(), job: name }));
                }
                Err(error) => tracing::error!(job = %name, %error, "job cannot be given up"),
            }
        });
    }
}

/// What is under way in a life; it ends with it.
struct Work {
    tasks: JoinSet<()>,
    /// Sites whose schedulers are being asked.
    looking: BTreeSet<SiteName>,
    epoch: u64,
}

fn said(job: &Job) {
    let (name, identity, step) = (&job.job, &job.identity, job.step.word());
    tracing::info!(job = %name, %identity, step, what = ?job.step, "job");
    metrics::counter!(metric::STEPS, "step" => step).increment(1);
}
