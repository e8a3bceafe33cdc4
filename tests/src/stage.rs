//! The real parts of one case: a broker (shared by the cases of a test program unless one torments it), SLAC and NERSC, a
//! logbook, a mover and a witness, each on ports of its own. Starts and stops them; judges nothing.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use lightrail_compose::containers::Containers;
use lightrail_compose::logbook::{Logbook, LogbookOptions};
use lightrail_compose::play::PlayedRun;
use lightrail_compose::ports::Port;
use lightrail_compose::process::tail;
use lightrail_compose::scratch::Scratch;
use lightrail_compose::services::{self, Mover, Ran};
use lightrail_compose::{Cluster, ClusterOptions, Kafka, KafkaOptions, Parts, Processes, wait};
use lightrail_topics::Topics;
use tokio::sync::OnceCell;

use crate::guard::Guard;
pub use crate::play::{experiment, instrument, nersc, random};
use crate::settings::{Settings, usual, write_config};
use crate::witness::Witness;

/// How long the mover may take until it says that it is ready, on a machine that does other things too.
pub const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long anything that no fault delays may take.
pub const SOON: Duration = Duration::from_secs(60);

/// How a case's stage differs from the usual one.
#[derive(Debug, Default)]
pub struct Setup {
    /// A broker of its own, for a case that torments it.
    pub own_kafka: bool,
    /// Kafka (of its own) and both clusters in containers instead of processes.
    pub containers: Option<Containers>,
    /// The source; two servers with disks of their own.
    pub slac: Option<ClusterOptions>,
    /// The destination; two servers that share a store.
    pub nersc: Option<ClusterOptions>,
    /// The logbook.
    pub logbook: LogbookOptions,
    /// What the mover's configuration has besides or instead of the usual.
    pub settings: Settings,
    /// The mover's environment besides ours.
    pub env: Vec<(String, String)>,
    /// The mover is started by the case.
    pub without_mover: bool,
}

/// The parts, up.
#[derive(Debug)]
pub struct Stage {
    // Dropped in this order: who uses the others goes first.
    /// The mover, where it was started.
    pub mover: Option<Mover>,
    /// Who counts.
    pub witness: Witness,
    /// The logbook.
    pub logbook: Logbook,
    /// The source.
    pub slac: Cluster,
    /// The destination.
    pub nersc: Cluster,
    own_kafka: Option<Kafka>,
    bootstrap: String,
    guard: Guard,
    /// The names of the topics, all with this case's prefix.
    pub topics: Topics,
    /// Before all topics.
    pub prefix: String,
    /// The mover's configuration; [`Stage::configure`] writes it.
    pub settings: Settings,
    /// What a case of several rounds has played so far.
    pub played: Vec<PlayedRun>,
    /// The port on which the pages of the mover that counts are.
    pub pages: u16,
    env: Vec<(String, String)>,
    _http: Port,
    scratch: Scratch,
}

/// Plays a case on a stage of its own, tells how long it took, and what the mover said last where it fails.
///
/// # Errors
/// The case's.
pub async fn on_stage<T>(
    case: &str,
    setup: Setup,
    body: impl AsyncFnOnce(&mut Stage) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let begin = Instant::now();
    let mut stage = Stage::start(setup).await?;
    let up = begin.elapsed();
    let outcome = body(&mut stage).await;
    let log = stage.mover.as_ref().map(Mover::log).unwrap_or_default();
    // Not `println`, which the test runner swallows when the test passes.
    let _ = writeln!(
        std::io::stderr().lock(),
        "{case}: {:.1} s, of which the start {:.1} s",
        begin.elapsed().as_secs_f64(),
        up.as_secs_f64()
    );
    if outcome.is_err() {
        println!("the mover's log ends with:\n{}", tail(&log, 60));
        // For whoever hunts a fault: all of it, in a folder.
        if let Some(folder) = std::env::var_os("LIGHTRAIL_KEEP_LOGS") {
            let _ = std::fs::write(PathBuf::from(folder).join(format!("{}mover.log", stage.prefix)), &log);
        }
    }
    outcome
}

async fn shared_kafka() -> anyhow::Result<&'static Kafka> {
    // Never dropped: the keeper of `compose` ends it with this program.
    static KAFKA: OnceCell<Kafka> = OnceCell::const_new();
    KAFKA.get_or_try_init(Kafka::named_or_start).await
}

impl Stage {
    /// Starts all parts; the mover is ready.
    ///
    /// # Errors
    /// When a part does not get ready.
    pub async fn start(setup: Setup) -> anyhow::Result<Self> {
        let scratch = Scratch::new()?;
        let slac = setup.slac.unwrap_or_else(|| ClusterOptions::separate("SLAC"));
        let nersc = setup.nersc.unwrap_or_else(|| ClusterOptions::shared("NERSC"));
        let parts: &dyn Parts = setup.containers.as_ref().map_or(&Processes, |containers| containers);
        let kafka = async {
            if setup.own_kafka || setup.containers.is_some() {
                let kafka = parts.kafka(KafkaOptions::default()).await?;
                Ok((kafka.bootstrap().to_owned(), Some(kafka)))
            } else {
                Ok((shared_kafka().await?.bootstrap().to_owned(), None))
            }
        };
        let ((bootstrap, own_kafka), slac, nersc) =
            tokio::try_join!(kafka, parts.cluster(slac), parts.cluster(nersc))?;
        let prefix = format!("case-{:08x}.", fastrand::u32(..));
        let topics = Topics::new(&prefix)?.with_logbook_prefix(&prefix)?;
        let logbook = Logbook::start(&bootstrap, &prefix, setup.logbook).await?;
        let http = Port::take()?;
        logbook.set_mover(Some(format!("http://127.0.0.1:{http}/")));
        let mut settings = usual(&bootstrap, &prefix, scratch.path(), &slac, &nersc, &logbook, &http);
        settings.add(&setup.settings);
        std::fs::write(scratch.path().join("token"), "a-token-for-tests\n").context("no token")?;
        write_config(scratch.path(), "mover", &settings)?;
        make_topics(&scratch.path().join("mover.toml")).await?;
        let witness = Witness::begin(&bootstrap, topics.clone()).await?;
        let guard = Guard::over(nersc.store(0));
        let mut stage = Self {
            mover: None,
            witness,
            logbook,
            slac,
            nersc,
            own_kafka,
            bootstrap,
            guard,
            topics,
            prefix,
            settings,
            played: Vec::new(),
            pages: http.number(),
            env: setup.env,
            _http: http,
            scratch,
        };
        if !setup.without_mover {
            stage.start_mover().await?;
        }
        Ok(stage)
    }

    /// Starts the mover, or starts it again, and waits until it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready in time.
    pub async fn start_mover(&mut self) -> anyhow::Result<()> {
        self.launch_mover()?;
        self.ready(READY_WITHIN).await
    }

    /// The same without waiting.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch_mover(&mut self) -> anyhow::Result<()> {
        if let Some(mover) = &self.mover {
            return mover.restart();
        }
        self.mover = Some(self.another_mover("mover", &self.settings)?);
        Ok(())
    }

    /// Starts a mover with settings of its own, named for its files; whoever asks for it has it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn another_mover(&self, name: &str, settings: &Settings) -> anyhow::Result<Mover> {
        let config = write_config(self.scratch.path(), name, settings)?;
        let mut env: Vec<(&str, &str)> = vec![("NO_COLOR", "1")];
        env.extend(self.env.iter().map(|(k, v)| (k.as_str(), v.as_str())));
        Mover::start_with(&config, &env)
    }

    /// Waits until the mover says that it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready within `limit`.
    pub async fn ready(&self, limit: Duration) -> anyhow::Result<()> {
        let ready = wait::until("the mover to be ready", limit, async || {
            if !self.mover().ok()?.is_running() {
                return Some(false);
            }
            let (status, _) = self.get("/readyz").await.ok()?;
            (status == 200).then_some(true)
        });
        anyhow::ensure!(ready.await?, "the mover ended instead of getting ready");
        Ok(())
    }

    /// The mover.
    ///
    /// # Errors
    /// When it was not started.
    pub fn mover(&self) -> anyhow::Result<&Mover> {
        self.mover.as_ref().context("the mover was not started")
    }

    /// The broker, where it is this case's own.
    ///
    /// # Errors
    /// When it is shared.
    pub fn kafka(&self) -> anyhow::Result<&Kafka> {
        self.own_kafka.as_ref().context("the broker is shared with other cases")
    }

    /// Where clients of the broker begin.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Writes the settings as they are now; a mover reads them when it starts.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn configure(&self) -> anyhow::Result<PathBuf> {
        write_config(self.scratch.path(), "mover", &self.settings)
    }

    /// The mover's configuration file.
    pub fn config(&self) -> PathBuf {
        self.scratch.path().join("mover.toml")
    }

    /// The journal's folder.
    pub fn journal(&self) -> PathBuf {
        self.scratch.path().join("journal")
    }

    /// A folder for whatever a case needs; it goes with the stage.
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// What final names at NERSC were seen with which sizes.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Asks the mover for a page: status and text.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn get(&self, path: &str) -> anyhow::Result<(u16, String)> {
        let url = format!("http://127.0.0.1:{}{path}", self.pages);
        let answer = reqwest::Client::new().get(&url).timeout(Duration::from_secs(15)).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// The mover's consumer group.
    pub fn group(&self) -> String {
        format!("{}lightrail-mover-test", self.prefix)
    }

    /// Runs the mover's command line with this stage's configuration put after `args`.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn command(&self, args: &[&str]) -> anyhow::Result<Ran> {
        let config = self.config().display().to_string();
        let args = [args, &["--config", &config]].concat();
        services::run("lightrail-mover", &args, Duration::from_secs(60)).await
    }

    /// The same; it has to succeed.
    ///
    /// # Errors
    /// When it fails: with what it said.
    pub async fn command_ok(&self, args: &[&str]) -> anyhow::Result<String> {
        let ran = self.command(args).await?;
        anyhow::ensure!(ran.status.success(), "{args:?} failed ({}): {}", ran.status, ran.stderr.trim());
        Ok(ran.stdout)
    }
}

/// As an operator would.
async fn make_topics(config: &Path) -> anyhow::Result<()> {
    let config = config.display().to_string();
    let args = ["topics", "--config", &config, "--create"];
    let ran = services::run("lightrail-mover", &args, Duration::from_secs(60)).await?;
    anyhow::ensure!(ran.status.success(), "the topics could not be made: {}", ran.stderr.trim());
    Ok(())
}
