//! The analysis in the demo: a trial on its topic, one index, and the trigger that starts workers which read through NERSC's door,
//! all as programs. Follows nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use lightrail_topics::TrialNumber;

use super::scene::Scene;
use super::trigger::Trigger;
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

/// The services, up.
#[derive(Debug)]
pub(super) struct Analysis {
    // First: its jobs' workers end with it.
    trigger: Trigger,
    index: (Proc, Port),
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
        let port = Port::take()?;
        let command = ["index", "--listen", &format!("127.0.0.1:{port}")];
        let index = services::start_analysis("index", &command, &config, &[("NO_COLOR", "1")])?;
        Self::ready(&index, &port).await?;
        println!(
            "  the analysis is up: one index, and trial {TRIAL} with its constants, mask and geometry; no worker runs yet"
        );
        let trigger = Trigger::start(scene, scratch.path(), &config).await?;
        Ok(Self { trigger, index: (index, port), config, program, trial, scratch })
    }

    async fn ready(service: &Proc, port: &Port) -> anyhow::Result<()> {
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
        self.index.0.is_running() && self.trigger.runs()
    }

    /// The last lines of what each has logged.
    pub(super) fn logs(&self) -> String {
        format!("index:\n{}\n{}", tail(&self.index.0.output(), 12), self.trigger.logs())
    }

    /// Addresses, for people who look around.
    pub(super) fn addresses(&self) -> String {
        let (program, config) = (self.program.display(), self.config.display());
        format!(
            "analysis  index http://127.0.0.1:{}/metrics\n          {program} trials list --config {config}\n{}",
            self.index.1,
            self.trigger.addresses()
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
