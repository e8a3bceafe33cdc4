//! A broker with the analysis' topics under a prefix of the case's own, a site's folder, and workers as programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lightrail_compose::process::{Proc, Start, tail};
use lightrail_compose::scratch::Scratch;
use lightrail_compose::{Kafka, KafkaOptions};
use lightrail_topics::events::{Image, Trial};
use lightrail_topics::kafka::{Admin, Connection, Publisher, Timeouts};
use lightrail_topics::{Millis, SiteName, SiteTopic, Topic, Topics, message};
use tokio::sync::OnceCell;

use crate::witness::Witness;

/// How long anything that no fault delays may take, on a machine that does other things too.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// The parts of a case.
pub(crate) struct Stage {
    // Dropped in this order: who uses the others goes first.
    workers: Vec<std::sync::Arc<Proc>>,
    _own_kafka: Option<Kafka>,
    pub(crate) connection: Connection,
    pub(crate) topics: Topics,
    pub(crate) site: SiteName,
    prefix: String,
    /// Added to the configuration's `[work]`.
    pub(crate) work: String,
    scratch: Scratch,
}

async fn shared_kafka() -> anyhow::Result<&'static Kafka> {
    // Never dropped: the keeper of `compose` ends it with this program.
    static KAFKA: OnceCell<Kafka> = OnceCell::const_new();
    KAFKA.get_or_try_init(Kafka::named_or_start).await
}

/// Plays a case; what the workers said last is told where it fails.
pub(crate) async fn on_stage(
    own_kafka: bool,
    partitions: i32,
    body: impl AsyncFnOnce(&mut Stage) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut stage = Stage::start(own_kafka, partitions).await?;
    let outcome = body(&mut stage).await;
    if outcome.is_err() {
        for worker in &stage.workers {
            println!("{} said last:\n{}", worker.name(), tail(&worker.output(), 60));
        }
        // For whoever hunts a fault: all of it, in a folder.
        if let Some(folder) = std::env::var_os("LIGHTRAIL_KEEP_LOGS") {
            for worker in &stage.workers {
                let name = format!("{}{}.log", stage.prefix, worker.name());
                let _ = fs::write(PathBuf::from(&folder).join(name), worker.output());
            }
        }
    }
    outcome
}

impl Stage {
    async fn start(own_kafka: bool, partitions: i32) -> anyhow::Result<Self> {
        let own_kafka = if own_kafka { Some(Kafka::start(KafkaOptions::default()).await?) } else { None };
        let bootstrap = match &own_kafka {
            Some(kafka) => kafka.bootstrap(),
            None => shared_kafka().await?.bootstrap(),
        };
        let prefix = format!("case-{:08x}.", fastrand::u32(..));
        let topics = Topics::new(&prefix)?;
        let connection = Connection::plain(bootstrap, "stage");
        let admin = Admin::new(&connection, SOON);
        let site: SiteName = "HERE".parse()?;
        let mut specs = topics.analysis_specs(std::slice::from_ref(&site), partitions, 1);
        specs.push(topics.spec(Topic::DeadLetters, 1, 1));
        admin.create_topics(&specs).await?;
        let scratch = Scratch::new()?;
        let (workers, work) = (Vec::new(), String::new());
        Ok(Self { workers, _own_kafka: own_kafka, connection, topics, site, prefix, work, scratch })
    }

    /// Where the site's files lie.
    pub(crate) fn data(&self) -> PathBuf {
        self.scratch.path().join("data")
    }

    /// Where trials' files lie.
    pub(crate) fn calibration(&self) -> PathBuf {
        self.scratch.path().join("calib")
    }

    /// Where the case may put what it likes.
    pub(crate) fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// Writes the services' configuration.
    pub(crate) fn configure(&self) -> anyhow::Result<PathBuf> {
        let path = self.scratch.path().join("analysis.toml");
        let text = format!(
            "site = \"HERE\"\n[kafka]\nbootstrap = [\"{}\"]\nprefix = \"{}\"\n[sites.HERE]\nfolder = \"{}\"\n\
             [trials]\nfolder = \"{}\"\n[work]\nworker = \"w\"\nthreads = 1\nsession = \"3s\"\n\
             transaction = \"5s\"\nhand_over = \"1s\"\n{}\n",
            self.connection.bootstrap,
            self.prefix,
            self.data().display(),
            self.calibration().display(),
            self.work
        );
        fs::write(&path, text)?;
        Ok(path)
    }

    async fn publisher(&self) -> anyhow::Result<Publisher> {
        let id = format!("{}stage", self.prefix);
        let publisher = Publisher::start(&self.connection, &self.topics, &id, Timeouts::default())?;
        publisher.init(SOON).await?;
        Ok(publisher)
    }

    /// Puts trials on their topic.
    pub(crate) async fn apply(&self, trials: &[Trial]) -> anyhow::Result<()> {
        let messages = trials.iter().map(|trial| message::trial(trial, "stage", Millis(0))).collect();
        self.publisher().await?.publish(messages).await?;
        Ok(())
    }

    /// Publishes images as an index does.
    pub(crate) async fn publish(&self, images: &[Image], topic: SiteTopic) -> anyhow::Result<()> {
        let publisher = self.publisher().await?;
        for images in images.chunks(2000) {
            let at = Millis(std::time::SystemTime::UNIX_EPOCH.elapsed()?.as_millis().try_into()?);
            let messages = images.iter().map(|image| message::image(image, topic, "stage", at)).collect();
            publisher.publish(messages).await?;
        }
        Ok(())
    }

    /// Starts a worker in a slot: the program itself.
    pub(crate) fn worker(&mut self, slot: &str) -> anyhow::Result<std::sync::Arc<Proc>> {
        let config = self.configure()?;
        let start =
            Start::new(format!("worker-{slot}"), env!("CARGO_BIN_EXE_lightrail-analysis"), self.folder())
                .args(["work", "--slot", slot, "--listen", "127.0.0.1:0", "--config"])
                .args([config.into_os_string()]);
        self.started(start)
    }

    /// Starts something that is stopped with the case.
    pub(crate) fn started(&mut self, start: Start) -> anyhow::Result<std::sync::Arc<Proc>> {
        let worker = std::sync::Arc::new(Proc::start(start.env("RUST_LOG", "info"))?);
        self.workers.push(worker.clone());
        Ok(worker)
    }

    /// Somebody who counts.
    pub(crate) fn witness(&self) -> Witness {
        Witness::new(&self.connection, &self.topics)
    }
}
