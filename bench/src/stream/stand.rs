//! Where the services are measured: a broker of its own, a simulated run in memory, trials, the index and workers as programs.
//! Starts and stops them, publishes; measures nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use lightrail_analysis::trial::Parameters;
use lightrail_compose::process::{Proc, tail};
use lightrail_compose::{Kafka, KafkaOptions, manifests, services, wait};
use lightrail_tests::Settings;
use lightrail_topics::events::{Image, IndexState, Indexed, RunManifest, Trial};
use lightrail_topics::kafka::{
    Admin, Connection, Isolation, Offset, Publisher, Reader, Timeouts, read_to_end,
};
use lightrail_topics::{
    Event, Experiment, Generation, Message, Millis, RunKey, RunNumber, SiteName, SiteTopic, Topic, Topics,
    TrialNumber, decode, message,
};
use tempfile::TempDir;

use crate::memory;

/// For what takes seconds.
const LIMIT: Duration = Duration::from_secs(120);
/// Drawing hundreds of images of 4 megapixels.
const DRAWN_WITHIN: Duration = Duration::from_secs(1800);
const PREFIX: &str = "bench.";
const PARTITIONS: i32 = 8;
const EXPERIMENT: &str = "mfxbench26";

/// What is simulated: one run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    pub(super) detector: &'static str,
    pub(super) images: u64,
    /// Different images; the others are the same ones with other timestamps.
    pub(super) different: u64,
    pub(super) streams: u64,
    pub(super) hit_rate: f64,
}

/// The parts. Processes come before what they use, so that they end first.
pub(super) struct Stand {
    workers: Vec<Proc>,
    publisher: Publisher,
    /// Images published.
    published: AtomicUsize,
    pub(super) connection: Connection,
    pub(super) topics: Topics,
    _kafka: Kafka,
    pub(super) site: SiteName,
    /// In memory: files and calibration.
    store: TempDir,
    /// Configurations, logs, powders.
    folder: TempDir,
}

/// Workers, and the threads of each: as many as there are cores where that is not said.
#[derive(Clone, Copy)]
pub(super) struct Crew {
    workers: usize,
    threads: Option<usize>,
}

impl Crew {
    /// As a machine is used: one worker with a thread for each core.
    pub(super) const OF_A_MACHINE: Self = Self { workers: 1, threads: None };

    pub(super) fn single_threaded(workers: usize) -> Self {
        Self { workers, threads: Some(1) }
    }
}

impl Stand {
    /// A broker with the topics that the analysis has, and a simulated run, numbered 1, in a file system in memory.
    pub(super) async fn start(taken: Taken) -> anyhow::Result<Self> {
        let store = tempfile::tempdir_in(memory::folder()).context("no folder in memory")?;
        let folder = tempfile::tempdir_in("target").context("no folder below target")?;
        eprintln!("drawing {} images of {} into memory ...", taken.different, taken.detector);
        simulate(store.path(), taken).await?;
        let kafka = Kafka::start(KafkaOptions { for_benchmarks: true, ..KafkaOptions::default() }).await?;
        let connection = Connection::plain(kafka.bootstrap(), "bench");
        let (topics, site): (_, SiteName) = (Topics::new(PREFIX)?, "HERE".parse()?);
        let mut specs = topics.analysis_specs(std::slice::from_ref(&site), PARTITIONS, 1);
        let others = [Topic::RunsAvailable, Topic::FilesAvailable, Topic::Requests, Topic::DeadLetters];
        specs.extend(others.map(|topic| topics.spec(topic, 1, 1)));
        Admin::new(&connection, LIMIT).create_topics(&specs).await?;
        let publisher = Publisher::start(&connection, &topics, "bench-stand", Timeouts::default())?;
        publisher.init(LIMIT).await?;
        let published = AtomicUsize::new(0);
        Ok(Self {
            workers: Vec::new(),
            publisher,
            published,
            connection,
            topics,
            _kafka: kafka,
            site,
            store,
            folder,
        })
    }

    /// Below which a file lies at its LFN.
    pub(super) fn store(&self) -> &Path {
        self.store.path()
    }

    /// Puts trials on their topic, all of the same parameters; only the first is live.
    pub(super) async fn apply(&self, trials: u32) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(self.store().join("trial.toml"))?;
        let parameters: serde_json::Map<String, serde_json::Value> = toml::from_str(&text)?;
        let trial = |number| Trial {
            experiment: experiment(),
            trial: TrialNumber(number),
            live: number == 1,
            parameters: parameters.clone(),
            who: "bench".to_owned(),
            at: Millis(0),
        };
        self.say((1..=trials).map(|number| message::trial(&trial(number), "bench", Millis(0))).collect())
            .await
    }

    /// The parameters of all trials.
    pub(super) fn parameters(&self) -> anyhow::Result<Parameters> {
        let text = std::fs::read_to_string(self.store().join("trial.toml"))?;
        Parameters::from_toml(&text).context("the simulator's trial")
    }

    /// Publishes in one transaction.
    pub(super) async fn say(&self, messages: Vec<Message>) -> anyhow::Result<()> {
        self.publisher.publish(messages).await?;
        Ok(())
    }

    /// Publishes images live, as an index does: now, and to one partition after the other.
    pub(super) async fn publish(&self, images: &[Image]) -> anyhow::Result<()> {
        let at = now();
        for some in images.chunks(5000) {
            let placed = some.iter().map(|image| {
                let number = self.published.fetch_add(1, Ordering::Relaxed);
                let partition = i32::try_from(number % usize::try_from(PARTITIONS).unwrap_or(1)).ok();
                (message::image(image, SiteTopic::ImagesLive, "bench", at), partition)
            });
            self.publisher.publish_to(placed.collect(), None).await?;
        }
        Ok(())
    }

    /// Says that the run is available, with the index at work, and so often again as a run of another number; how long each took
    /// until all its images were published, read committed.
    pub(super) async fn index(&self, images: u64, runs: u32) -> anyhow::Result<Vec<Duration>> {
        let config = self.config(self.store(), None)?;
        let command = ["index", "--listen", "127.0.0.1:0"];
        let index = services::start_analysis("index", &command, &config, &[("RUST_LOG", "warn")])?;
        // It is at work once it has joined; an empty run tells that it is.
        let key = RunKey { experiment: experiment(), run: RunNumber(1) };
        let run = manifests::of_folder(self.store(), &key, &self.site, Generation::FIRST, now())?;
        let key = RunKey { run: RunNumber(9999), ..key };
        let empty = RunManifest { run: key, files: Vec::new(), ..run.clone() };
        self.say(vec![message::run_available(&empty, "bench", now())]).await?;
        wait::until("the index to be at work", LIMIT, async || {
            self.indexed(RunNumber(9999)).await.ok().flatten()
        })
        .await
        .with_context(|| tail(&index.output(), 20))?;
        let mut end = self.progress()?;
        let mut took = Vec::new();
        for number in (1..=runs).map(RunNumber) {
            let key = RunKey { experiment: experiment(), run: number };
            let begun = std::time::Instant::now();
            let run = RunManifest { run: key, ..run.clone() };
            self.say(vec![message::run_available(&run, "bench", now())]).await?;
            let indexed = tokio::time::timeout(LIMIT, self.closed(&mut end, number));
            let indexed = indexed.await.with_context(|| tail(&index.output(), 20))??;
            took.push(begun.elapsed());
            ensure!(indexed.images == images, "{} images are indexed, {images} were taken", indexed.images);
        }
        Ok(took)
    }

    /// Waits until a run is closed.
    async fn closed(&self, progress: &mut Reader, number: RunNumber) -> anyhow::Result<Indexed> {
        while let Some(record) = progress.next().await {
            match decode(&self.topics, &record?)? {
                Event::Indexed(indexed)
                    if indexed.run.run == number && indexed.state == IndexState::Closed =>
                {
                    return Ok(indexed);
                }
                _ => {}
            }
        }
        anyhow::bail!("the reader has ended")
    }

    fn progress(&self) -> anyhow::Result<Reader> {
        let name = self.topics.name(Topic::ImagesIndexed);
        let all: Vec<_> =
            (0..PARTITIONS).map(|partition| (name.clone(), partition, Offset::Beginning)).collect();
        Ok(Reader::assign(&self.connection, &all, Isolation::ReadCommitted)?)
    }

    async fn indexed(&self, run: RunNumber) -> anyhow::Result<Option<Indexed>> {
        let names = [self.topics.name(Topic::ImagesIndexed)];
        let records = read_to_end(&self.connection, &names, &BTreeMap::new(), LIMIT).await?;
        for record in records {
            match decode(&self.topics, &record)? {
                Event::Indexed(indexed) if indexed.run.run == run => return Ok(Some(indexed)),
                _ => {}
            }
        }
        Ok(None)
    }

    /// The images that the index has published of the first run, in the order of their events.
    pub(super) async fn images(&self) -> anyhow::Result<Vec<Image>> {
        let names = [self.topics.name(SiteTopic::ImagesLive.at(&self.site))];
        let records = read_to_end(&self.connection, &names, &BTreeMap::new(), LIMIT).await?;
        let mut images = Vec::new();
        for record in records {
            match decode(&self.topics, &record)? {
                Event::Image(_, image) if image.image.run.run == RunNumber(1) => images.push(image),
                _ => {}
            }
        }
        images.sort_by(|a, b| a.image.event.cmp(&b.image.event));
        Ok(images)
    }

    /// Starts so many workers of one thread, powders on, that read in memory or below a folder; they have their partitions when
    /// this returns.
    pub(super) async fn start_workers(
        &mut self,
        Crew { workers, threads }: Crew,
        folder: Option<&Path>,
    ) -> anyhow::Result<()> {
        let config = self.config(folder.unwrap_or(self.store()), threads)?;
        for slot in 1..=workers {
            let slot = slot.to_string();
            let command = ["work", "--slot", &slot, "--listen", "127.0.0.1:0"];
            let name = format!("worker-{slot}");
            let env = [("NO_COLOR", "1"), ("RUST_LOG", "info")];
            self.workers.push(services::start_analysis(&name, &command, &config, &env)?);
        }
        let joined =
            async || self.workers.iter().all(|one| one.output().contains("ready=true")).then_some(());
        wait::until("the workers to join", LIMIT, joined).await.with_context(|| self.said())
    }

    /// Asks the workers to leave, and waits until they have.
    pub(super) async fn stop_workers(&mut self) -> anyhow::Result<()> {
        for worker in &self.workers {
            worker.term();
        }
        for worker in std::mem::take(&mut self.workers) {
            let status = worker.wait_exit(LIMIT).await?;
            ensure!(
                status.success(),
                "{} ended with {status}: {}",
                worker.name(),
                tail(&worker.output(), 20)
            );
            // The next one of this slot says by itself that it is ready.
            std::fs::remove_file(worker.output_path()).ok();
        }
        Ok(())
    }

    /// The workers' processes.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.workers.iter().map(Proc::pid).collect()
    }

    /// What the workers said last.
    pub(super) fn said(&self) -> String {
        let said = self.workers.iter().map(|one| format!("{}:\n{}", one.name(), tail(&one.output(), 20)));
        said.collect::<Vec<_>>().join("\n")
    }

    fn config(&self, store: &Path, threads: Option<usize>) -> anyhow::Result<PathBuf> {
        let mut settings = Settings::default();
        settings.text("", "site", &self.site).text("sites.HERE", "folder", store.display());
        settings.set("kafka", "bootstrap", format!("[\"{}\"]", self.connection.bootstrap));
        settings.text("kafka", "prefix", PREFIX).set("kafka", "partitions", PARTITIONS);
        settings.text("trials", "folder", self.store().display());
        settings.text("work", "worker", "w");
        if let Some(threads) = threads {
            settings.set("work", "threads", threads);
        }
        settings.text("work", "powders", self.folder.path().join("powders").display());
        let folder = self.folder.path().canonicalize()?;
        let path = folder.join("analysis.toml");
        std::fs::write(&path, settings.toml())?;
        Ok(path)
    }
}

pub(super) fn experiment() -> Experiment {
    EXPERIMENT.parse().expect("letters")
}

/// By this machine's clock.
pub(super) fn now() -> Millis {
    use lightrail_mover::clock::{Clock as _, SystemClock};
    SystemClock.now()
}

async fn simulate(out: &Path, taken: Taken) -> anyhow::Result<()> {
    let Taken { detector, images, different, streams, hit_rate } = taken;
    let args = format!(
        "simulate --out {} --experiment {EXPERIMENT} --detector {detector} --runs 1 --images {images} --pool {different} \
         --streams {streams} --hit-rate {hit_rate} --seed 21 --unpaced",
        out.display()
    );
    let args: Vec<&str> = args.split_ascii_whitespace().collect();
    let ran = services::run("lightrail-analysis", &args, DRAWN_WITHIN).await?;
    ensure!(ran.status.success(), "the simulator failed ({}): {}", ran.status, ran.stderr.trim());
    Ok(())
}
