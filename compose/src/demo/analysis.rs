//! The analysis in the demo: a trial on its topic, one index and two workers that read through NERSC's door, all as programs.
//! Follows nothing.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use lightrail_topics::TrialNumber;

use super::scene::Scene;
use crate::play::Simulation;
use crate::ports::Port;
use crate::process::{Proc, tail};
use crate::scratch::Scratch;
use crate::{services, wait};

/// How long a service may take until it says that it is ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// The one trial.
pub(super) const TRIAL: TrialNumber = TrialNumber(1);
/// The folder of the workers' powders.
const POWDERS: &str = "powders";
/// Worker processes, with a thread each: as many as this project's machines have cores.
const WORKERS: usize = 2;

/// The services, up.
#[derive(Debug)]
pub(super) struct Analysis {
    services: Vec<(Proc, Port)>,
    config: PathBuf,
    program: PathBuf,
    trial: PathBuf,
    scratch: Scratch,
}

impl Analysis {
    /// Starts everything, as an operator would, and says so.
    ///
    /// # Errors
    /// When a part does not get ready; the message ends with its log.
    pub(super) async fn start(scene: &Scene, simulation: &Simulation) -> anyhow::Result<Self> {
        let program = services::program("lightrail-analysis")?;
        let scratch = Scratch::new()?;
        let inputs = scratch.path().join("calib");
        let trial = simulation.inputs(&inputs).await?;
        let config = scratch.path().join("analysis.toml");
        std::fs::write(&config, text(scene, &inputs, &scratch.path().join(POWDERS)))
            .context("cannot write the analysis' configuration")?;
        let (file, experiment) = (path(&config)?, simulation.experiment.to_string());
        operate(&["topics", "--config", file, "--create"]).await?;
        let number = TRIAL.to_string();
        let apply = ["trials", "apply", path(&trial)?, "--experiment", &experiment, "--trial", &number];
        operate(&[&apply[..], &["--config", file]].concat()).await?;
        let mut analysis = Self { services: Vec::new(), config: config.clone(), program, trial, scratch };
        analysis.add("index", &["index"])?;
        for slot in 1..=WORKERS {
            let slot = slot.to_string();
            analysis.add(&format!("worker-{slot}"), &["work", "--slot", &slot])?;
        }
        for (service, port) in &analysis.services {
            analysis.ready(service, port).await?;
        }
        println!(
            "  the analysis is up: one index, {WORKERS} workers reading through NERSC's door, and trial {TRIAL} with its \
             constants, mask and geometry"
        );
        Ok(analysis)
    }

    fn add(&mut self, name: &str, command: &[&str]) -> anyhow::Result<()> {
        let port = Port::take()?;
        let listen = format!("127.0.0.1:{port}");
        let command = [command, &["--listen", &listen]].concat();
        self.services
            .push((services::start_analysis(name, &command, &self.config, &[("NO_COLOR", "1")])?, port));
        Ok(())
    }

    async fn ready(&self, service: &Proc, port: &Port) -> anyhow::Result<()> {
        let url = format!("http://127.0.0.1:{port}/readyz");
        let what = format!("{} to be ready", service.name());
        let ready = wait::until(&what, READY_WITHIN, async || {
            if !service.is_running() {
                return Some(false);
            }
            let answer = reqwest::get(&url).await.ok()?;
            answer.status().is_success().then_some(true)
        });
        let outcome = ready.await.and_then(|ready| {
            anyhow::ensure!(ready, "{} ended instead of getting ready", service.name());
            Ok(())
        });
        outcome.with_context(|| format!("its log ends with:\n{}", tail(&service.output(), 20)))
    }

    /// The trial's file.
    pub(super) fn trial(&self) -> &Path {
        &self.trial
    }

    /// Where the workers write their powders.
    pub(super) fn powders(&self) -> PathBuf {
        self.folder().join(POWDERS)
    }

    /// Where everything of the analysis lies; it goes with it.
    pub(super) fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// Whether all of them still run.
    pub(super) fn runs(&self) -> bool {
        self.services.iter().all(|(service, _)| service.is_running())
    }

    /// The last lines of what each has logged.
    pub(super) fn logs(&self) -> String {
        let mut text = String::new();
        for (service, _) in &self.services {
            let _ = writeln!(text, "{}:\n{}", service.name(), tail(&service.output(), 12));
        }
        text
    }

    /// Addresses, for people who look around.
    pub(super) fn addresses(&self) -> String {
        let (program, config) = (self.program.display(), self.config.display());
        let pages = self
            .services
            .iter()
            .map(|(service, port)| format!("{} http://127.0.0.1:{port}/metrics", service.name()));
        format!(
            "analysis  {}\n          {program} trials list --config {config}",
            pages.collect::<Vec<_>>().join(", ")
        )
    }
}

/// The configuration of index and workers.
fn text(scene: &Scene, inputs: &Path, powders: &Path) -> String {
    format!(
        "# Made by the demo.
site = \"NERSC\"

[kafka]
bootstrap = [\"{bootstrap}\"]
prefix = \"{prefix}\"

[sites.NERSC]
door = \"{door}\"
prefix = \"{below}\"

[trials]
folder = \"{inputs}\"

[work]
worker = \"demo\"
threads = 1
powders = \"{powders}\"
powder_every = \"2s\"
",
        bootstrap = scene.bootstrap(),
        prefix = scene.prefix(),
        door = scene.nersc.door(),
        below = scene.nersc.prefix(),
        inputs = inputs.display(),
        powders = powders.display(),
    )
}

/// As an operator would.
async fn operate(args: &[&str]) -> anyhow::Result<()> {
    let ran = services::run("lightrail-analysis", args, Duration::from_secs(60)).await?;
    let said = format!("{}{}", ran.stdout, ran.stderr);
    anyhow::ensure!(ran.status.success(), "lightrail-analysis {} failed: {}", args.join(" "), said.trim());
    Ok(())
}

fn path(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("the scratch folder's name is not UTF-8")
}
