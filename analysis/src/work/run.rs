//! A worker's life: Kafka and its topics, then one session after the other until it is told to stop, another process works in
//! its slot, or a stage never comes back. Never here: a decision about an image.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lightrail_service::settings::SecretError;
use lightrail_topics::kafka::{Admin, Connection, KafkaError};
use lightrail_topics::{Topic, Topics, WorkerName};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::identity::Identity;
use super::powder::Sums;
use super::reading::{Buffers, Tables};
use super::rival::{Looks, Slot};
use super::session::{Crew, End, session};
use super::stages::{Chained, Stages};
use super::threads::{TOGETHER, Threads};
use super::trials::Trials;
use super::{door, metric};
use crate::config::Config;
use crate::source::Source;
use lightrail_service::http::{self, Readiness};

/// What the command line adds to the configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// The worker's slot on this machine: the same after a restart.
    pub slot: WorkerName,
    /// Where its health is asked for, instead of where the configuration says; nowhere for `None`.
    pub listen: Option<std::net::SocketAddr>,
}

/// The two ways to stop.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Finish what is begun, take nothing new.
    pub drain: CancellationToken,
    /// Stop at once.
    pub now: CancellationToken,
}

/// Why a worker ended other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// Another process works in this slot.
    #[error("another process has taken this worker's slot: {0}; every worker needs a slot of its own")]
    Superseded(String),
    /// A stage never came back.
    #[error(
        "a stage did not come back long after its image's time limit; this process ends, for nothing else ends the stage"
    )]
    Stuck,
    /// Its health cannot be served.
    #[error(transparent)]
    Http(#[from] http::ListenError),
    /// Kafka's settings are wrong.
    #[error("kafka cannot be used")]
    Kafka(#[from] KafkaError),
    /// A secret cannot be read.
    #[error("a secret cannot be read")]
    Secret(#[from] SecretError),
    /// The topics' prefix is no prefix.
    #[error(transparent)]
    Prefix(#[from] lightrail_topics::topic::PrefixError),
}

impl WorkError {
    /// The program's exit status.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Superseded(_) => 3,
            Self::Prefix(_) | Self::Secret(_) => 2,
            _ => 1,
        }
    }
}

/// What lives as long as the process.
pub(super) struct Life {
    pub(super) config: Config,
    pub(super) identity: Identity,
    pub(super) topics: Topics,
    pub(super) connection: Connection,
    pub(super) admin: Admin,
    pub(super) source: Source,
    pub(super) trials: Trials,
    pub(super) tables: Arc<Tables>,
    pub(super) buffers: Buffers,
    /// Compute threads.
    pub(super) threads: usize,
    pub(super) shutdown: Shutdown,
    /// Whether there is a topic for what cannot be understood.
    pub(super) has_dead_letters: bool,
    readiness: Arc<watch::Sender<Readiness>>,
}

impl Life {
    pub(super) fn says(&self, readiness: Readiness) {
        let is_new = self.readiness.send_if_modified(|said| {
            let is_new = *said != readiness;
            said.clone_from(&readiness);
            is_new
        });
        if is_new {
            let Readiness { ready, notes } = readiness;
            tracing::info!(ready, what = notes.join("; "), "worker");
        }
    }
}

/// Works until it is told to stop.
pub async fn run(config: Config, options: Options, shutdown: Shutdown) -> Result<(), WorkError> {
    run_with(config, options, shutdown, |chained| Arc::new(chained)).await
}

/// The same with other stages, such as the usual ones with faults around them.
pub async fn run_with(
    config: Config,
    options: Options,
    shutdown: Shutdown,
    stages: impl FnOnce(Chained) -> Arc<dyn Stages>,
) -> Result<(), WorkError> {
    metric::describe();
    let (readiness, said) = watch::channel(Readiness::waits("starts"));
    let serving = match options.listen {
        Some(address) => Some(http::serve(address, said).await?),
        None => None,
    };
    let outcome = live(config, options.slot, shutdown, Arc::new(readiness), stages).await;
    if let Some(serving) = serving {
        serving.abort();
    }
    outcome
}

async fn live(
    config: Config,
    slot: WorkerName,
    shutdown: Shutdown,
    readiness: Arc<watch::Sender<Readiness>>,
    stages: impl FnOnce(Chained) -> Arc<dyn Stages>,
) -> Result<(), WorkError> {
    let work = &config.work;
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let identity = Identity::new(slot, config.site.clone(), &host);
    let topics = config.kafka.topics()?;
    let connection = config.kafka.connection(identity.client_id())?;
    connection.check()?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = work.threads.map_or(cores, |threads| usize::try_from(threads).unwrap_or(cores)).max(1);
    let ahead = usize::try_from(work.ahead).unwrap_or(4);
    let powders = work.powders.clone().map(|folder| Arc::new(Sums::new(folder, identity.slot.clone())));
    let writing = powders.clone().map(|sums| tokio::spawn(sums.write_every(work.powder_every)));
    let (done_sender, done) = mpsc::unbounded_channel();
    let stages = stages(Chained { powders: powders.clone() });
    let mut crew = Crew { threads: Threads::new(stages, threads, done_sender), done, tickets: 0 };
    let mut life = Life {
        admin: Admin::new(
            &connection.named(format!("{}-admin", identity.client_id())),
            Duration::from_secs(10),
        ),
        source: Source::new(config.source),
        trials: Trials::start(&connection, &topics),
        tables: Arc::new(Tables::new(config.trials.folder.clone())),
        // Both lanes' that are read, and those that are worked on.
        buffers: Buffers::new(2 * ahead + TOGETHER * threads),
        identity,
        topics,
        connection,
        threads,
        shutdown,
        has_dead_letters: false,
        readiness,
        config,
    };
    let outcome = sessions(&mut life, &mut crew).await;
    if let Some(writing) = writing {
        writing.abort();
    }
    if let Some(powders) = powders.filter(|_| !life.shutdown.now.is_cancelled()) {
        // Its faults are logged where they happen.
        let _ = tokio::task::spawn_blocking(move || powders.write(None)).await;
    }
    outcome
}

async fn sessions(life: &mut Life, crew: &mut Crew) -> Result<(), WorkError> {
    let drain = life.shutdown.drain.clone();
    tokio::select! {
        outcome = begin(life) => outcome?,
        () = drain.cancelled() => return Ok(()),
    }
    loop {
        match session(life, crew).await {
            End::Asked => return Ok(()),
            End::Stuck => return Err(WorkError::Stuck),
            End::Fenced(why) => {
                life.says(Readiness::waits("was fenced in its groups and looks who works in its slot"));
                tokio::select! {
                    holder = holder(life) => match holder {
                        Some(by) => return Err(WorkError::Superseded(by)),
                        None => tracing::warn!(why, "nobody else works in its slot; it was fenced by itself"),
                    },
                    () = drain.cancelled() => return Ok(()),
                }
            }
            End::Door(file) => {
                life.says(Readiness::waits(format!("waits for the place of {file} to answer")));
                tokio::select! {
                    () = door::until_back(&life.source, &file, life.config.work.open_for) => {}
                    () = drain.cancelled() => return Ok(()),
                }
                tracing::info!(%file, "the place of the images answers again");
                metrics::gauge!(metric::DOOR_AWAY).set(0.0);
            }
            End::Again(why) => {
                life.says(Readiness::waits(format!("begins anew: {why}")));
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(500)) => {}
                    () = drain.cancelled() => return Ok(()),
                }
            }
        }
    }
}

/// Who works in our slot, after our takers have ended.
async fn holder(life: &Life) -> Option<String> {
    let (begun, mut looks) = (Instant::now(), Looks::new(life.config.work.session));
    loop {
        match life.identity.members(&life.admin, &life.topics).await {
            Ok(members) => match looks.look(begun.elapsed(), &members) {
                Slot::Free => return None,
                Slot::Taken(by) => return Some(format!("{by} stays in the group")),
                Slot::Unclear => {}
            },
            Err(error) => {
                tracing::warn!(%error, "cannot look who works in this slot");
                looks.failed();
            }
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Kafka must be there with our topics; one that keeps its messages too short is said at every start.
async fn begin(life: &mut Life) -> Result<(), WorkError> {
    let (partitions, replication) = life.config.kafka.partitions_and_replication();
    let sites = [life.identity.site.clone()];
    let specs = life.topics.analysis_specs(&sites, partitions, replication);
    let says = |why| life.says(Readiness::waits(why));
    let (short, made_by) = (metric::SHORT_RETENTION, "lightrail-analysis");
    lightrail_service::topics::awaited(&life.admin, &specs, made_by, short, says).await?;
    life.has_dead_letters = life.admin.partitions(&life.topics.name(Topic::DeadLetters)).await.is_ok();
    if !life.has_dead_letters {
        tracing::warn!("there is no topic for dead letters; what cannot be understood is only logged");
    }
    Ok(())
}
