//! The service `index`: follows runs, files and trials, and has each run that is wanted published by a task of its own, until it
//! is told to stop. One task owns the board; the others are told by channels.

mod publishing;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lightrail_service::settings::SecretError;
use lightrail_topics::events::Indexed;
use lightrail_topics::kafka::{Admin, KafkaError};
use lightrail_topics::topic::PrefixError;
use lightrail_topics::{RunInTrial, RunKey, SiteTopic, Topic, Topics, TrialKey};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::publishing::publish;
use super::board::{Board, Wanted};
use super::files::RunFiles;
use super::fit::Fits;
use super::folder;
use super::follow::Follower;
use super::metric;
use super::publish::{Place, PublishFault, Purpose};
use crate::config::Config;
use crate::source::Source;
use crate::trial::Parameters;
use lightrail_service::http::{self, Readiness};

/// Runs that are published at once; further ones wait. Those that are being taken do not count.
const AT_ONCE: usize = 4;

/// Why the service ended other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
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
    Prefix(#[from] PrefixError),
}

/// Where and with what a configuration lets images be published.
pub fn place(config: &Config, client: &str) -> Result<Place, IndexError> {
    let connection = config.kafka.connection(client)?;
    connection.check()?;
    Ok(Place {
        connection,
        topics: config.kafka.topics()?,
        source: Source::new(config.source),
        site: config.site.clone(),
        files: config.here().clone(),
        sites: config.site_names(),
        base: config.trials.folder.clone(),
        batch: usize::try_from(config.index.batch).unwrap_or(usize::MAX),
        patience: config.index.patience,
        fits: Fits::default(),
    })
}

/// Indexes until `stop`.
pub async fn run(
    config: Config,
    listen: Option<SocketAddr>,
    stop: CancellationToken,
) -> Result<(), IndexError> {
    metric::describe();
    let place = Arc::new(place(&config, &format!("lightrail-index-{}", config.site))?);
    let (readiness, said) = watch::channel(Readiness::waits("starts"));
    let serving = match listen {
        Some(address) => Some(http::serve(address, said).await?),
        None => None,
    };
    let mut service = Service { config, place, readiness, said: BTreeMap::new() };
    let outcome = tokio::select! {
        ended = service.live() => ended.map(|never| match never {}),
        () = stop.cancelled() => Ok(()),
    };
    if let Some(serving) = serving {
        serving.abort();
    }
    outcome
}

struct Service {
    config: Config,
    place: Arc<Place>,
    readiness: watch::Sender<Readiness>,
    /// What was said last of a run, so that it is said once.
    said: BTreeMap<RunKey, String>,
}

/// A run that is published.
struct Task {
    files: watch::Sender<RunFiles>,
    begun: Instant,
    was_open: bool,
}

type Outcome = (RunInTrial, Result<Option<Indexed>, PublishFault>);

impl Service {
    /// Follows and publishes; what ends it is mended by beginning anew.
    async fn live(&mut self) -> Result<Infallible, IndexError> {
        loop {
            self.topics_are_there().await?;
            let error = match self.follow().await {
                Ok(never) => match never {},
                Err(error) => error,
            };
            metrics::gauge!(metric::READY).set(0.0);
            tracing::warn!(%error, "index begins anew");
            self.says(Readiness::waits(format!("begins anew: {error}")));
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
        let names = &self.place.topics;
        let mut specs = names.analysis_specs(&self.place.sites, partitions, replication);
        specs.extend(self.followed().into_iter().map(|topic| names.spec(topic, partitions, replication)));
        specs.dedup_by(|a, b| a.name == b.name);
        let admin = Admin::new(&self.place.connection, Duration::from_secs(10));
        let made_by = "lightrail-analysis and lightrail-mover";
        let says = |why| self.says(Readiness::waits(why));
        lightrail_service::topics::awaited(&admin, &specs, made_by, metric::SHORT_RETENTION, says).await
    }

    /// What is followed beside the analysis' own topics.
    fn followed(&self) -> Vec<Topic> {
        let mut followed = vec![Topic::RunsAvailable];
        if self.streams() {
            followed.push(Topic::FilesAvailable);
        }
        followed
    }

    fn streams(&self) -> bool {
        let rules = &self.config.experiments;
        rules.default.streaming || rules.named.values().any(|rules| rules.streaming)
    }

    async fn follow(&mut self) -> Result<Infallible, KafkaError> {
        let mut board = Board::new(self.place.site.clone(), self.config.experiments.clone());
        let topics: Topics = self.place.topics.clone();
        let (connection, patience) = (self.place.connection.clone(), self.place.patience);
        let mut follower =
            Follower::begin(&connection, &topics, self.streams(), &mut board, patience).await?;
        metrics::gauge!(metric::READY).set(1.0);
        tracing::info!(site = %self.place.site, "index follows runs and trials");
        let mut tasks: BTreeMap<RunInTrial, Task> = BTreeMap::new();
        let mut running: JoinSet<Outcome> = JoinSet::new();
        let mut later: BTreeMap<RunKey, Instant> = BTreeMap::new();
        let mut waiting: BTreeSet<RunKey> = BTreeSet::new();
        let mut look = tokio::time::interval(self.config.index.look);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            for run in board.take_changed() {
                waiting.insert(run);
            }
            self.begin(&board, &mut waiting, &mut later, &mut tasks, &mut running);
            tokio::select! {
                taken = follower.next(&topics, &mut board) => taken?,
                Some(ended) = running.join_next(), if !running.is_empty() => match ended {
                    Ok((of, outcome)) => {
                        // Known at once: the run is not begun again until what it has said is read.
                        if let Ok(Some(said)) = &outcome {
                            board.kept.put(said.clone());
                        }
                        let task = tasks.remove(&of);
                        self.ended(&of, task, outcome, &mut later);
                        board.touch(&of.run);
                    }
                    // Its run is begun again with everything else.
                    Err(panic) => return Err(KafkaError::Fatal(format!("a publication failed: {panic}"))),
                },
                _ = look.tick() => self.look(&mut board, &tasks).await,
            }
        }
    }

    /// Begins what is wanted and may be begun.
    fn begin(
        &mut self,
        board: &Board,
        waiting: &mut BTreeSet<RunKey>,
        later: &mut BTreeMap<RunKey, Instant>,
        tasks: &mut BTreeMap<RunInTrial, Task>,
        running: &mut JoinSet<Outcome>,
    ) {
        let now = Instant::now();
        let mut keep = BTreeSet::new();
        for run in std::mem::take(waiting) {
            let Some(files) = board.files(&run) else { continue };
            for task in tasks.iter_mut().filter(|(of, _)| of.run == run).map(|(_, task)| task) {
                task.files.send_if_modified(|told| {
                    let is_new = told != files;
                    told.clone_from(files);
                    is_new
                });
            }
            if later.get(&run).is_some_and(|at| *at > now) {
                keep.insert(run);
                continue;
            }
            let wanted = board.wanted(&run);
            if wanted.is_empty() {
                self.said.remove(&run);
            }
            for wanted in wanted {
                match wanted {
                    Wanted::Waits(why) => self.say(&run, why),
                    Wanted::Elsewhere(trial, site) => {
                        self.say(&run, format!("begun for {site} under trial {trial}, and left to it"));
                    }
                    Wanted::Publish(trial) => {
                        let of = RunInTrial { run: run.clone(), trial };
                        if tasks.contains_key(&of) {
                            continue;
                        }
                        let busy = tasks.values().filter(|task| !task.was_open).count();
                        if files.is_closed() && busy >= AT_ONCE {
                            keep.insert(run.clone());
                            continue;
                        }
                        let key = TrialKey { experiment: run.experiment.clone(), trial };
                        let Some(trial) = board.trial(&key) else {
                            self.say(&run, format!("trial {key} is not on topic trials"));
                            continue;
                        };
                        let parameters = serde_json::Value::Object(trial.parameters.clone());
                        let parameters = match Parameters::from_json(&parameters) {
                            Ok(parameters) => parameters,
                            Err(error) => {
                                self.say(&run, format!("trial {key}: {error}"));
                                continue;
                            }
                        };
                        let topic = SiteTopic::ImagesLive;
                        let purpose = Purpose { of: of.clone(), parameters, topic, live: true, only: None };
                        let (files, told) = watch::channel(files.clone());
                        let was_open = !told.borrow().is_closed();
                        let (place, kept) = (self.place.clone(), board.kept.clone());
                        let pause = self.config.index.look;
                        running.spawn(async move {
                            let outcome = publish(&place, purpose, kept, told, pause).await;
                            (of, outcome)
                        });
                        tasks.insert(
                            RunInTrial { run: run.clone(), trial: key.trial },
                            Task { files, begun: now, was_open },
                        );
                    }
                }
            }
        }
        *waiting = keep;
        later.retain(|_, at| *at > now);
        metrics::gauge!(metric::BUSY).set(f64::from(u32::try_from(tasks.len()).unwrap_or(u32::MAX)));
        metrics::gauge!(metric::WAITING).set(f64::from(u32::try_from(self.said.len()).unwrap_or(u32::MAX)));
        let notes = self.said.iter().map(|(run, why)| format!("run {run}: {why}"));
        let publishing = tasks.keys().map(|of| format!("publishes {of}"));
        let mut readiness = Readiness::ready("follows runs and trials");
        readiness.notes.extend(publishing.chain(notes));
        self.says(readiness);
    }

    fn say(&mut self, run: &RunKey, why: String) {
        if self.said.get(run) != Some(&why) {
            tracing::warn!(%run, why, "run is not indexed");
            self.said.insert(run.clone(), why);
        }
    }

    /// A publication has ended.
    fn ended(
        &mut self,
        of: &RunInTrial,
        task: Option<Task>,
        outcome: Result<Option<Indexed>, PublishFault>,
        later: &mut BTreeMap<RunKey, Instant>,
    ) {
        let retry = match outcome {
            Ok(_) => {
                self.said.remove(&of.run);
                if let Some(task) = task.filter(|task| !task.was_open) {
                    metrics::histogram!(metric::RUN_SECONDS).record(task.begun.elapsed().as_secs_f64());
                }
                return;
            }
            // What it says is on its way to us.
            Err(PublishFault::Elsewhere { .. } | PublishFault::Registered(_)) => Duration::from_millis(200),
            Err(PublishFault::Fenced(of)) => {
                tracing::warn!(run = %of, "another process publishes this run");
                self.config.index.retry
            }
            Err(PublishFault::Refused { why, .. }) => {
                self.say(&of.run, format!("trial {} does not fit its data: {why}", of.trial));
                self.config.index.retry
            }
            Err(error) => {
                self.say(&of.run, line(&error));
                self.config.index.retry
            }
        };
        later.insert(of.run.clone(), Instant::now() + retry);
    }

    /// Looks at the folders into which the DAQ writes.
    async fn look(&mut self, board: &mut Board, tasks: &BTreeMap<RunInTrial, Task>) {
        let crate::config::Place::Folder(root) = &self.place.files.place else { return };
        if !self.place.files.growing {
            return;
        }
        let followed: BTreeSet<RunKey> = tasks.keys().map(|of| of.run.clone()).collect();
        for experiment in board.streamed() {
            let (root, followed) = (root.clone(), followed.clone());
            let of = experiment.clone();
            let looked = tokio::task::spawn_blocking(move || folder::look(&root, &of, &followed)).await;
            match looked {
                Ok(Ok(runs)) => runs.into_iter().for_each(|(run, files)| board.folder(&run, files)),
                Ok(Err(error)) => tracing::warn!(%experiment, %error, "its folder cannot be looked at"),
                Err(panic) => tracing::warn!(%experiment, %panic, "its folder cannot be looked at"),
            }
        }
    }
}

/// An error and its causes in one line.
fn line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
