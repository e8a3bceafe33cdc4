//! A broker with the analysis' topics under a prefix of the case's own, a site's folder, and workers as programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use lightrail_compose::kafka::Login;
use lightrail_compose::kafka::access::AUTHORIZER;
use lightrail_compose::process::{Proc, Start, tail};
use lightrail_compose::scratch::Scratch;
use lightrail_compose::{Kafka, KafkaOptions};
use lightrail_topics::events::{Image, Trial};
use lightrail_topics::kafka::{Admin, Connection, Publisher, Timeouts};
use lightrail_topics::topic::Keeping;
use lightrail_topics::{Message, Millis, SiteName, SiteTopic, Topic, Topics, message};
use tokio::sync::OnceCell;

use crate::witness::Witness;

/// How long anything that no fault delays may take, on a machine that does other things too.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// The parts of a case.
pub(crate) struct Stage {
    // Dropped in this order: who uses the others goes first.
    workers: Vec<Arc<Proc>>,
    own_kafka: Option<Kafka>,
    pub(crate) connection: Connection,
    pub(crate) topics: Topics,
    pub(crate) admin: Admin,
    pub(crate) site: SiteName,
    prefix: String,
    /// Added to the configuration's `[work]`.
    pub(crate) work: String,
    /// Session, transaction and hand-over; shorter than usual.
    pub(crate) times: &'static str,
    /// Compute threads of a worker.
    pub(crate) threads: usize,
    /// Where the site's files are, when it is not [`Stage::data`].
    pub(crate) place: Option<String>,
    /// Further tables of the configuration.
    pub(crate) more: &'static str,
    /// The folder of a second site, `THERE`, where there is one.
    pub(crate) there: Option<PathBuf>,
    /// How services reach the broker where that is not as its owner does: lines of `[kafka]`.
    pub(crate) reach: Option<String>,
    scratch: Scratch,
}

async fn shared_kafka() -> anyhow::Result<&'static Kafka> {
    // Never dropped: the keeper of `compose` ends it with this program.
    static KAFKA: OnceCell<Kafka> = OnceCell::const_new();
    KAFKA.get_or_try_init(Kafka::named_or_start).await
}

/// How a case's stage differs from the usual one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// A broker of its own, for a case that torments it.
    pub(crate) own_kafka: bool,
    /// Of all topics.
    pub(crate) partitions: i32,
    /// A topic that keeps its messages for an hour.
    pub(crate) forgetful: Option<Topic>,
    /// The case's own broker has access rules, and a user of this name and password that may do nothing yet.
    pub(crate) restricted: Option<&'static str>,
}

/// The usual stage with topics of so many partitions.
pub(crate) fn partitions(partitions: i32) -> Setup {
    Setup { own_kafka: false, partitions, forgetful: None, restricted: None }
}

/// Plays a case; what the workers said last is told where it fails.
pub(crate) async fn on_stage(
    setup: Setup,
    body: impl AsyncFnOnce(&mut Stage) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut stage = Stage::start(setup).await?;
    let outcome = body(&mut stage).await;
    if let Err(error) = &outcome {
        // First, for it is what remains where a long output is cut.
        println!("failed: {error:#}");
        for worker in &stage.workers {
            println!("{} said last:\n{}", worker.name(), tail(&worker.output(), 60));
        }
        // For whoever hunts a fault: all of it, in a folder.
        if let Some(folder) = std::env::var_os("LIGHTRAIL_KEEP_LOGS") {
            if let Some(kafka) = &stage.own_kafka {
                let _ =
                    fs::write(PathBuf::from(&folder).join(format!("{}kafka.log", stage.prefix)), kafka.log());
            }
            for worker in &stage.workers {
                let name = format!("{}{}.log", stage.prefix, worker.name());
                let _ = fs::write(PathBuf::from(&folder).join(name), worker.output());
            }
        }
    }
    outcome
}

impl Stage {
    async fn start(setup: Setup) -> anyhow::Result<Self> {
        let mut options = KafkaOptions::default();
        if let Some(user) = setup.restricted {
            let pair = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
            options.broker = AUTHORIZER.map(pair).into();
            options.login = Some(Login { user: user.to_owned(), password: user.to_owned() });
        }
        let own_kafka = if setup.own_kafka { Some(Kafka::start(options).await?) } else { None };
        let bootstrap = match &own_kafka {
            Some(kafka) => kafka.bootstrap(),
            None => shared_kafka().await?.bootstrap(),
        };
        let prefix = format!("case-{:08x}.", fastrand::u32(..));
        let topics = Topics::new(&prefix)?;
        let connection = Connection::plain(bootstrap, "stage");
        let admin = Admin::new(&connection, SOON);
        let site: SiteName = "HERE".parse()?;
        let mut specs = topics.analysis_specs(std::slice::from_ref(&site), setup.partitions, 1);
        specs.push(topics.spec(Topic::DeadLetters, 1, 1));
        if let Some(name) = setup.forgetful.map(|topic| topics.name(topic)) {
            for spec in specs.iter_mut().filter(|spec| spec.name == name) {
                spec.keeping = Keeping::For(Duration::from_secs(3600));
            }
        }
        admin.create_topics(&specs).await?;
        Ok(Self {
            workers: Vec::new(),
            own_kafka,
            connection,
            topics,
            admin,
            site,
            prefix,
            work: String::new(),
            times: "session = \"3s\"\ntransaction = \"5s\"\nhand_over = \"1s\"",
            threads: 1,
            place: None,
            more: "",
            there: None,
            reach: None,
            scratch: Scratch::new()?,
        })
    }

    /// The broker, where it is the case's own.
    pub(crate) fn kafka(&self) -> anyhow::Result<&Kafka> {
        self.own_kafka.as_ref().context("the broker is shared")
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
        self.configure_at(&self.site)
    }

    /// The same at one of the sites.
    pub(crate) fn configure_at(&self, site: &SiteName) -> anyhow::Result<PathBuf> {
        let path = self.scratch.path().join(format!("analysis-{site}.toml"));
        let place = self.place.clone().unwrap_or_else(|| format!("folder = \"{}\"", self.data().display()));
        let there =
            self.there.as_ref().map(|folder| format!("[sites.THERE]\nfolder = \"{}\"\n", folder.display()));
        let text = format!(
            "site = \"{site}\"\n[kafka]\nprefix = \"{}\"\n{}\n[sites.HERE]\n{place}\n{}\
             [trials]\nfolder = \"{}\"\n[work]\nworker = \"w\"\nthreads = {}\n{}\n{}\n{}",
            self.prefix,
            self.reach.clone().unwrap_or_else(|| format!("bootstrap = [\"{}\"]", self.connection.bootstrap)),
            there.unwrap_or_default(),
            self.calibration().display(),
            self.threads,
            self.times,
            self.work,
            self.more
        );
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Puts trials on their topic.
    pub(crate) async fn apply(&self, trials: &[Trial]) -> anyhow::Result<()> {
        let messages = trials.iter().map(|trial| message::trial(trial, "stage", Millis(0))).collect();
        self.publisher()?.publish(messages).await?;
        Ok(())
    }

    /// Publishes images as an index does.
    pub(crate) async fn publish(&self, images: &[Image], topic: SiteTopic) -> anyhow::Result<()> {
        self.publisher()?.images(images, topic).await
    }

    /// Somebody who publishes.
    pub(crate) fn publisher(&self) -> anyhow::Result<Index> {
        let id = format!("{}stage-{:08x}", self.prefix, fastrand::u32(..));
        let publisher = Publisher::start(&self.connection, &self.topics, &id, Timeouts::default())?;
        Ok(Index { publisher })
    }

    /// Starts a worker in a slot: the program itself.
    pub(crate) fn worker(&mut self, slot: &str) -> anyhow::Result<Arc<Proc>> {
        self.worker_at(slot, "127.0.0.1:0")
    }

    /// The same at another site.
    pub(crate) fn worker_there(&mut self, slot: &str) -> anyhow::Result<Arc<Proc>> {
        let config = self.configure_at(&"THERE".parse()?)?;
        self.worker_of(slot, "127.0.0.1:0", config)
    }

    /// The same with its pages at an address.
    pub(crate) fn worker_at(&mut self, slot: &str, listen: &str) -> anyhow::Result<Arc<Proc>> {
        let config = self.configure()?;
        self.worker_of(slot, listen, config)
    }

    fn worker_of(&mut self, slot: &str, listen: &str, config: PathBuf) -> anyhow::Result<Arc<Proc>> {
        let name = format!("worker-{slot}-{}", self.workers.len());
        let start = Start::new(name, env!("CARGO_BIN_EXE_lightrail-analysis"), self.folder())
            .args(["work", "--slot", slot, "--listen", listen, "--config"])
            .args([config.into_os_string()]);
        self.started(start)
    }

    /// Starts a worker whose stages have faults around them: this test program in another role.
    pub(crate) fn faulty(&mut self, slot: &str, faults: &str) -> anyhow::Result<Arc<Proc>> {
        let config = self.configure()?;
        let name = format!("faulty-{slot}-{}", self.workers.len());
        let start = Start::new(name, std::env::current_exe()?, self.folder())
            .args([crate::poison::ROLE, "--exact", "--nocapture", "--test-threads=1"])
            .env("LIGHTRAIL_FAULTY_SLOT", format!("w-{slot}"))
            .env("LIGHTRAIL_FAULTY_CONFIG", config)
            .env("LIGHTRAIL_FAULTS", faults);
        self.started(start)
    }

    pub(crate) fn started(&mut self, start: Start) -> anyhow::Result<Arc<Proc>> {
        let worker = Arc::new(Proc::start(start.env("RUST_LOG", "info"))?);
        self.workers.push(worker.clone());
        Ok(worker)
    }

    /// Waits until the worker has its partitions of both lanes.
    pub(crate) async fn joined(&self, worker: &Proc) -> anyhow::Result<()> {
        let is = async || (worker.output().contains("ready=true")).then_some(());
        lightrail_compose::wait::until("the worker to join its groups", SOON, is).await
    }

    /// Somebody who counts.
    pub(crate) fn witness(&self) -> Witness {
        Witness::new(&self.connection, &self.topics)
    }
}

/// Who publishes as an index does.
pub(crate) struct Index {
    publisher: Publisher,
}

impl Index {
    async fn publish(&self, messages: Vec<Message>) -> anyhow::Result<()> {
        self.publisher.init(SOON).await?;
        self.publisher.publish(messages).await?;
        Ok(())
    }

    /// Publishes images.
    pub(crate) async fn images(&self, images: &[Image], topic: SiteTopic) -> anyhow::Result<()> {
        let at = Millis(std::time::SystemTime::UNIX_EPOCH.elapsed()?.as_millis().try_into()?);
        for images in images.chunks(2000) {
            let messages = images.iter().map(|image| message::image(image, topic, "stage", at)).collect();
            self.publish(messages).await?;
        }
        Ok(())
    }

    /// Begins to publish images live, and takes them back: the last message is more than Kafka takes.
    pub(crate) async fn fail(&self, images: &[Image]) -> anyhow::Result<()> {
        let messages =
            images.iter().map(|image| message::image(image, SiteTopic::ImagesLive, "stage", Millis(0)));
        let mut messages: Vec<Message> = messages.collect();
        if let Some(last) = messages.last_mut() {
            last.payload = Some(vec![b' '; 2_000_000]);
        }
        let refused = self.publish(messages).await;
        anyhow::ensure!(refused.is_err(), "such a message is refused");
        Ok(())
    }
}
