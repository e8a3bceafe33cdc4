//! A run that becomes available until its job is at a real Slurm, against what cannot be done without: one transactional round trip
//! of the broker and sbatch by itself. And how often squeue is asked while there are many jobs.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use lightrail_compose::process::{Proc, tail};
use lightrail_compose::slurm::Slurm;
use lightrail_compose::{Kafka, KafkaOptions, services, wait};
use lightrail_tests::Settings;
use lightrail_topics::events::{ClosedBy, RunManifest};
use lightrail_topics::kafka::{Admin, Connection, Publisher, Timeouts};
use lightrail_topics::{Millis, RunKey, RunNumber, Topic, Topics, message};
use tempfile::TempDir;

use crate::report::{Bar, Row};
use crate::trip::RoundTrip;

const LIMIT: Duration = Duration::from_secs(60);
const PREFIX: &str = "bench.";
const POLL: Duration = Duration::from_millis(500);
/// Runs that become available at once while squeue is counted.
const MANY: u32 = 100;
const COUNTED: Duration = Duration::from_secs(10);
/// The first ones are not counted.
const WARM: usize = 3;
/// Round trips before that: a JVM compiles while it runs, and is after a few thousand as fast as one that has run for a day.
const WORN_IN: usize = 3000;

pub(super) fn settings() -> String {
    format!(
        "submit: one broker (KRaft, 1 GiB of heap), Slurm 22.05 on this machine, one rule, one task; a run is available when its \
         message is committed, its job submitted when sbatch has ended; squeue is counted for {} s with a poll every {} ms",
        COUNTED.as_secs(),
        POLL.as_millis()
    )
}

pub(super) async fn measure(quick: bool) -> anyhow::Result<Vec<Row>> {
    let mut stand = Stand::start().await?;
    for _ in 0..WORN_IN {
        stand.round_trip.make().await?;
    }
    let runs = if quick { 10 } else { 40 };
    let (mut ours, mut least, mut trips, mut alone) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for number in 0..runs + WARM {
        let trip = stand.round_trip.make().await?.as_secs_f64() * 1e3;
        let sbatch = stand.sbatch_alone().await?;
        stand.rest().await?;
        let took = stand.run_to_job(u32::try_from(number)? + 1).await?;
        stand.rest().await?;
        if number >= WARM {
            ours.push(took);
            least.push(trip + sbatch);
            trips.push(trip);
            alone.push(sbatch);
        }
    }
    let name = "run available to job submitted, against a round trip and sbatch";
    let calls = stand.squeue_calls().await?;
    let polls = COUNTED.as_secs_f64() / POLL.as_secs_f64();
    let per_poll = calls / polls;
    Ok(vec![
        Row::against(name, "ms", &ours, &least, Bar::AtMost(1.5)),
        Row::alone("a transactional round trip of the broker", "ms", &trips),
        Row::alone("sbatch by itself", "ms", &alone),
        // One that began before the first poll that is counted may end among them.
        Row::judged(
            format!("squeue calls per poll with {MANY} jobs"),
            "calls",
            per_poll,
            None,
            1.0,
            calls <= polls + 1.0 && calls > 0.0,
            1,
        ),
    ])
}

/// The parts; the trigger ends before what it uses.
struct Stand {
    trigger: Proc,
    publisher: Publisher,
    round_trip: RoundTrip,
    slurm: Slurm,
    _kafka: Kafka,
    folder: TempDir,
}

impl Stand {
    async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in("target").context("no folder below target")?;
        let here = folder.path().canonicalize()?;
        let slurm = Slurm::start().await?;
        logged(&slurm.commands(), &here)?;
        let kafka = Kafka::start(KafkaOptions { for_benchmarks: true, ..KafkaOptions::default() }).await?;
        let connection = Connection::plain(kafka.bootstrap(), "bench");
        let topics = Topics::new(PREFIX)?;
        let specs: Vec<_> = Topic::ALL.into_iter().map(|topic| topics.spec(topic, 4, 1)).collect();
        Admin::new(&connection, LIMIT).create_topics(&specs).await?;
        let config = config(&here, kafka.bootstrap(), &slurm)?;
        let rules = here.join("rules.toml");
        let text = "[rules.live]\ntrigger = \"ALL_FILES_TRANSFERRED\"\nsite = \"NERSC\"\n\
            [[rules.live.tasks]]\ntask = \"work\"\nprogram = \"/bin/true\"\n";
        std::fs::write(&rules, text)?;
        let apply =
            ["rules", "apply", &rules.display().to_string(), "--config", &config.display().to_string()];
        let applied = services::run("lightrail-trigger", &apply, LIMIT).await?;
        ensure!(applied.status.success(), "the rule cannot be applied: {}", applied.stderr.trim());
        let publisher = Publisher::start(&connection, &topics, "bench-runs", Timeouts::default())?;
        publisher.init(LIMIT).await?;
        let round_trip = RoundTrip::start(&connection, &topics).await?;
        let trigger = services::start_trigger("trigger", &config, &[("RUST_LOG", "info")])?;
        let decides = async || trigger.output().contains("trigger decides").then_some(());
        wait::until("the trigger to decide", LIMIT, decides)
            .await
            .with_context(|| tail(&trigger.output(), 20))?;
        Ok(Self { trigger, publisher, round_trip, slurm, _kafka: kafka, folder })
    }

    /// Milliseconds from the call of sbatch until it has ended.
    async fn sbatch_alone(&self) -> anyhow::Result<f64> {
        let script = self.folder.path().join("alone.sh");
        std::fs::write(&script, "#!/bin/bash\n#SBATCH --output=/dev/null\ntrue\n")?;
        let before = self.log("sbatch")?.len();
        let begun = now_ms();
        let mut sbatch = tokio::process::Command::new(self.slurm.commands().join("sbatch"));
        let input = std::fs::File::open(&script)?;
        let output = sbatch.arg("--parsable").stdin(input).stdout(Stdio::null()).output().await?;
        ensure!(output.status.success(), "sbatch: {}", String::from_utf8_lossy(&output.stderr));
        Ok(self.ended("sbatch", before + 1).await? - begun)
    }

    /// Milliseconds from a run's committed message until sbatch has ended.
    async fn run_to_job(&self, number: u32) -> anyhow::Result<f64> {
        let before = self.log("sbatch")?.len();
        self.publisher.publish(vec![available(number)?]).await?;
        let begun = now_ms();
        Ok(self.ended("sbatch", before + 1).await? - begun)
    }

    /// Waits until nothing is in Slurm's queue, and what the trigger says of it is said.
    async fn rest(&self) -> anyhow::Result<()> {
        wait::until("Slurm's queue to be empty", LIMIT, async || {
            let queue = self.slurm.run("squeue.real", &["--noheader"]).await.ok()?;
            queue.trim().is_empty().then_some(())
        })
        .await?;
        tokio::time::sleep(2 * POLL).await;
        Ok(())
    }

    /// How often squeue was called while many jobs were there.
    async fn squeue_calls(&self) -> anyhow::Result<f64> {
        let before = self.log("sbatch")?.len();
        let messages = (0..MANY).map(|number| available(10_000 + number)).collect::<Result<_, _>>()?;
        self.publisher.publish(messages).await?;
        self.ended("sbatch", before + usize::try_from(MANY)?).await?;
        let first = self.log("squeue")?.len();
        tokio::time::sleep(COUNTED).await;
        #[expect(clippy::cast_precision_loss, reason = "some tens")]
        let calls = (self.log("squeue")?.len() - first) as f64;
        let queue = self.slurm.run("squeue.real", &["--noheader"]).await?;
        ensure!(!queue.trim().is_empty(), "all jobs were over while squeue was counted");
        Ok(calls)
    }

    /// When each call of a command ended, milliseconds.
    fn log(&self, command: &str) -> anyhow::Result<Vec<f64>> {
        let path = self.folder.path().join(format!("{command}.log"));
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(|line| Ok(line.parse::<f64>()? / 1e6)).collect()
    }

    /// When a command's so manieth call ended.
    async fn ended(&self, command: &str, call: usize) -> anyhow::Result<f64> {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(at) = self.log(command)?.get(call - 1) {
                return Ok(*at);
            }
            let said = || tail(&self.trigger.output(), 20);
            ensure!(Instant::now() < deadline, "{command} was not called: {}", said());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Has the ends of sbatch's and squeue's calls written down, nanoseconds, a line each.
fn logged(commands: &Path, folder: &Path) -> anyhow::Result<()> {
    for command in ["sbatch", "squeue"] {
        let (path, real) = (commands.join(command), commands.join(format!("{command}.real")));
        std::fs::rename(&path, &real)?;
        let log = folder.join(format!("{command}.log"));
        let text = format!(
            "#!/bin/sh\n'{}' \"$@\"\nended=$?\ndate +%s%N >>'{}'\nexit $ended\n",
            real.display(),
            log.display()
        );
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    }
    Ok(())
}

fn config(folder: &Path, bootstrap: &str, slurm: &Slurm) -> anyhow::Result<PathBuf> {
    let mut settings = Settings::default();
    let path = |below: &str| folder.join(below).display().to_string();
    settings.text("", "decider", "bench").set("kafka", "bootstrap", format!("[\"{bootstrap}\"]"));
    settings.text("kafka", "prefix", PREFIX).text("http", "listen", "127.0.0.1:0");
    settings.text("sites.NERSC", "executor", "slurm").text("sites.NERSC", "folder", path("jobs"));
    settings.text("sites.NERSC", "claims", path("claims")).set("sites.NERSC", "at_once", 1000);
    settings.text("sites.NERSC.slurm", "commands", slurm.commands().display());
    settings.text("sites.NERSC.slurm", "jobcomp", slurm.jobcomp().display());
    settings.text("decide", "poll", format!("{}ms", POLL.as_millis()));
    let path = folder.join("trigger.toml");
    std::fs::write(&path, settings.toml())?;
    Ok(path)
}

fn available(number: u32) -> anyhow::Result<lightrail_topics::Message> {
    let at = now();
    let manifest = RunManifest {
        run: RunKey { experiment: "mfxbench26".parse()?, run: RunNumber(number) },
        site: "NERSC".parse()?,
        began: None,
        ended: Some(at),
        closed_by: ClosedBy::EndTime,
        files: Vec::new(),
        left_out: Vec::new(),
        first_file: None,
        at,
    };
    Ok(message::run_available(&manifest, "bench", at))
}

fn now_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1e3
}

fn now() -> Millis {
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds since 1970")]
    Millis(now_ms() as i64)
}
