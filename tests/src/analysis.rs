//! The analysis of a case: a trial that fits what is simulated, an index and workers as programs beside a [`Stage`]'s mover.
//! Starts, torments and stops them; judges nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use lightrail_compose::play::Simulation;
use lightrail_compose::process::{Proc, tail};
use lightrail_compose::services;
use lightrail_topics::{RunNumber, SiteName, TrialNumber};

use crate::settings::{Settings, write_config};
use crate::stage::Stage;

/// The trial of all cases.
pub const TRIAL: TrialNumber = TrialNumber(3);

/// The services, and what they are to work.
#[derive(Debug)]
pub struct Analysis {
    /// What is simulated.
    pub simulation: Simulation,
    /// Where its images are worked.
    pub site: SiteName,
    /// The index, once it was started.
    pub index: Option<Proc>,
    /// The workers that were started, by slot from 1.
    pub workers: Vec<Proc>,
    config: PathBuf,
}

impl Analysis {
    /// Makes topics and puts the trial on Kafka, as an operator would; starts no service. `settings` go above the usual ones: two
    /// sites behind their clusters' doors, sessions short enough for a test.
    ///
    /// # Errors
    /// When a command fails: with what it said.
    pub async fn prepare(
        stage: &Stage,
        simulation: Simulation,
        site: SiteName,
        settings: &Settings,
    ) -> anyhow::Result<Self> {
        let calib = stage.folder().join("calib");
        let trial = simulation.inputs(&calib).await?;
        let mut all = usual(stage, &calib, &site);
        all.add(settings);
        let config = write_config(stage.folder(), "analysis", &all)?;
        let analysis = Self { simulation, site, index: None, workers: Vec::new(), config };
        analysis.command(&["topics", "--create"]).await?;
        let (trial, experiment) = (path(&trial)?, analysis.simulation.experiment.to_string());
        let number = TRIAL.to_string();
        analysis
            .command(&["trials", "apply", trial, "--experiment", &experiment, "--trial", &number])
            .await?;
        Ok(analysis)
    }

    /// Runs a command of the program with this case's configuration put after `args`; it has to succeed.
    ///
    /// # Errors
    /// When it fails: with what it said.
    pub async fn command(&self, args: &[&str]) -> anyhow::Result<String> {
        let args = [args, &["--config", path(&self.config)?]].concat();
        let ran = services::run("lightrail-analysis", &args, Duration::from_secs(60)).await?;
        ensure!(
            ran.status.success(),
            "{args:?} failed ({}): {}{}",
            ran.status,
            ran.stdout.trim(),
            ran.stderr.trim()
        );
        Ok(ran.stdout)
    }

    /// Starts the index.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_index(&mut self) -> anyhow::Result<()> {
        self.index = Some(self.service("index", &["index"])?);
        Ok(())
    }

    /// Starts so many workers more, each in a slot of its own.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn start_workers(&mut self, workers: usize) -> anyhow::Result<()> {
        for _ in 0..workers {
            let slot = (self.workers.len() + 1).to_string();
            let worker = self.service(&format!("worker-{slot}"), &["work", "--slot", &slot])?;
            self.workers.push(worker);
        }
        Ok(())
    }

    fn service(&self, name: &str, command: &[&str]) -> anyhow::Result<Proc> {
        let command = [command, &["--listen", "127.0.0.1:0"]].concat();
        services::start_analysis(name, &command, &self.config, &[("NO_COLOR", "1"), ("RUST_LOG", "info")])
    }

    /// What is true of a run that was taken.
    ///
    /// # Errors
    /// When its truth cannot be read.
    pub fn truth(&self, stage: &Stage, run: RunNumber) -> anyhow::Result<super::images::Truth> {
        self.simulation.truth(stage.daq().store_of(run)?, run)
    }

    /// What all services have logged last, for whoever looks for a fault.
    pub fn logs(&self) -> String {
        let all = self.index.iter().chain(&self.workers);
        let said = all.map(|service| format!("{}:\n{}", service.name(), tail(&service.output(), 40)));
        said.collect::<Vec<_>>().join("\n")
    }
}

fn usual(stage: &Stage, calib: &Path, site: &SiteName) -> Settings {
    let mut settings = Settings::default();
    settings.text("", "site", site);
    settings.set("kafka", "bootstrap", format!("[\"{}\"]", stage.bootstrap()));
    settings.text("kafka", "prefix", &stage.prefix).set("kafka", "partitions", 4);
    for cluster in [&stage.slac, &stage.nersc] {
        let table = format!("sites.{}", cluster.name());
        settings.text(&table, "door", cluster.door()).text(&table, "prefix", cluster.prefix());
    }
    settings.text("trials", "folder", calib.display()).text("index", "retry", "1s");
    settings.text("work", "worker", "w").set("work", "threads", 1).text("work", "session", "6s");
    settings
}

fn path(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("the scratch folder's name is not UTF-8")
}
