//! Everything that the demo moves between: broker, both clusters, logbook and mover, started together and stopped by being
//! dropped. Plays nothing itself.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use lightrail_topics::topic::Topics;

use super::config;
use crate::kafka::Kafka;
use crate::logbook::{Logbook, LogbookOptions};
use crate::ports::Port;
use crate::process::tail;
use crate::scratch::Scratch;
use crate::services::{self, Mover};
use crate::wait;
use crate::xrootd::{Cluster, ClusterOptions};

/// How long the mover may take until it says that it is ready.
const MOVER_READY_WITHIN: Duration = Duration::from_secs(60);

/// All parts, up.
#[derive(Debug)]
pub(super) struct Scene {
    // Dropped in this order: who uses the others goes first.
    mover: Mover,
    pub(super) logbook: Logbook,
    pub(super) slac: Cluster,
    pub(super) nersc: Cluster,
    kafka: Kafka,
    /// Names of topics: none is another's, also on a broker that others use.
    pub(super) topics: Topics,
    prefix: String,
    http: Port,
    config: PathBuf,
    program: PathBuf,
    _scratch: Scratch,
}

impl Scene {
    /// Starts everything and says so line by line.
    ///
    /// # Errors
    /// When a part does not get ready; the message names it and ends with its log.
    pub(super) async fn start() -> anyhow::Result<Self> {
        let program = services::program("lightrail-mover")?;
        let scratch = Scratch::new()?;
        println!(
            "starting a Kafka broker and two XRootD clusters (a redirector and two data servers each) ..."
        );
        let begin = Instant::now();
        let (kafka, slac, nersc) = tokio::try_join!(
            Kafka::named_or_start(),
            Cluster::start(ClusterOptions::separate("SLAC")),
            Cluster::start(ClusterOptions::shared("NERSC")),
        )?;
        println!(
            "  Kafka {}, SLAC root://{}, NERSC root://{} ({:.1} s)",
            kafka.bootstrap(),
            slac.door(),
            nersc.door(),
            begin.elapsed().as_secs_f64()
        );

        let prefix = format!("demo-{:08x}.", fastrand::u32(..));
        let topics = Topics::new(&prefix)?.with_logbook_prefix(&prefix)?;
        let logbook = Logbook::start(kafka.bootstrap(), &prefix, LogbookOptions::default()).await?;
        if std::env::var_os("LIGHTRAIL_KAFKA").is_some_and(|named| !named.is_empty()) {
            println!("  this broker is not ours: the topics {prefix}* will stay on it");
        }
        let http = Port::take()?;
        let token = scratch.path().join("token");
        write_token(&token)?;
        let places = config::Places {
            bootstrap: kafka.bootstrap(),
            prefix: &prefix,
            journal: &scratch.path().join("journal"),
            slac: (&slac.door(), slac.prefix()),
            nersc: (&nersc.door(), nersc.prefix()),
            logbook: logbook.url(),
            http: http.number(),
            token: &token,
        };
        let config = scratch.path().join("mover.toml");
        std::fs::write(&config, config::text(&places)).context("cannot write the mover's configuration")?;
        set_up_topics(&config).await?;
        let mover = Mover::start(&config)?;
        logbook.set_mover(Some(format!("http://127.0.0.1:{http}/")));
        let scene = Self {
            mover,
            logbook,
            slac,
            nersc,
            kafka,
            topics,
            prefix,
            http,
            config,
            program,
            _scratch: scratch,
        };
        scene.mover_ready().await?;
        println!(
            "  the logbook {} and the mover http://127.0.0.1:{} are up",
            scene.logbook.url(),
            scene.http
        );
        Ok(scene)
    }

    async fn mover_ready(&self) -> anyhow::Result<()> {
        let url = format!("http://127.0.0.1:{}/readyz", self.http);
        wait::until("the mover to be ready", MOVER_READY_WITHIN, async || {
            if !self.mover.is_running() {
                return Some(false);
            }
            let answer = reqwest::get(&url).await.ok()?;
            answer.status().is_success().then_some(true)
        })
        .await
        .and_then(
            |ready| if ready { Ok(()) } else { anyhow::bail!("the mover ended instead of getting ready") },
        )
        .with_context(|| format!("its log ends with:\n{}", self.mover_log()))
    }

    pub(super) fn bootstrap(&self) -> &str {
        self.kafka.bootstrap()
    }

    /// Before all topics.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether the mover still runs.
    pub(super) fn mover_runs(&self) -> bool {
        self.mover.is_running()
    }

    /// The last lines of what the mover has logged.
    pub(super) fn mover_log(&self) -> String {
        tail(&self.mover.log(), 20)
    }

    /// Addresses, for people who look around.
    pub(super) fn addresses(&self) -> String {
        let program = self.program.display();
        let config = self.config.display();
        format!(
            "Kafka     {}   (topics {} ...)\nSLAC      root://{}/{}   data below {}\nNERSC     root://{}/{}   data below {}\n\
             logbook   {}\nmover     http://127.0.0.1:{}   ({program} status --config {config})",
            self.kafka.bootstrap(),
            self.topics.name(lightrail_topics::topic::Topic::FilesAvailable),
            self.slac.door(),
            self.slac.prefix(),
            self.slac.store(0).display(),
            self.nersc.door(),
            self.nersc.prefix(),
            self.nersc.store(0).display(),
            self.logbook.url(),
            self.http,
        )
    }
}

/// For whoever tries the mover's commands on a demo that stays up.
fn write_token(path: &Path) -> anyhow::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    let token = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
    file.and_then(|mut file| writeln!(file, "{token}"))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// As an operator would.
async fn set_up_topics(config: &Path) -> anyhow::Result<()> {
    let config = config.to_str().context("the scratch folder's name is not UTF-8")?;
    let args = ["topics", "--config", config, "--create"];
    let ran = services::run("lightrail-mover", &args, Duration::from_secs(60)).await?;
    anyhow::ensure!(ran.status.success(), "lightrail-mover topics --create failed: {}", ran.stderr.trim());
    Ok(())
}
