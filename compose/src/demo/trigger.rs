//! The trigger in the demo: one rule on its topic, and the program that starts workers where it fires, as processes of this machine.
//! Follows nothing.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::analysis::TRIAL;
use super::scene::Scene;
use crate::process::{Proc, tail};
use crate::{services, wait};

/// How long it may take until it says that it decides.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Worker processes of a run's job, with a thread each: as many as this project's machines have cores.
const WORKERS: usize = 2;

/// The program, up.
#[derive(Debug)]
pub(super) struct Trigger {
    proc: Proc,
    program: PathBuf,
    config: PathBuf,
    jobs: PathBuf,
}

impl Trigger {
    /// Puts the rule and starts the trigger, as an operator would, and says so.
    ///
    /// # Errors
    /// When it does not get ready; the message ends with its log.
    pub(super) async fn start(scene: &Scene, folder: &Path, analysis: &Path) -> anyhow::Result<Self> {
        let program = services::program("lightrail-trigger")?;
        let (config, rules, jobs) =
            (folder.join("trigger.toml"), folder.join("rules.toml"), folder.join("jobs"));
        std::fs::write(&config, text(scene, folder, analysis)?)
            .context("cannot write the trigger's configuration")?;
        std::fs::write(&rules, rule()).context("cannot write the rule")?;
        let (file, rules) = (config.display().to_string(), rules.display().to_string());
        operate(&["topics", "--config", &file, "--create"]).await?;
        operate(&["rules", "apply", &rules, "--config", &file]).await?;
        let proc = services::start_trigger("trigger", &config, &[])?;
        let decides = wait::until("the trigger to decide", READY_WITHIN, async || {
            (proc.output().contains("trigger decides") || !proc.is_running()).then_some(())
        });
        let said = || format!("the trigger's log ends with:\n{}", tail(&proc.output(), 20));
        decides.await.with_context(said)?;
        ensure!(proc.is_running(), "the trigger ended instead of getting ready; {}", said());
        println!(
            "  the trigger is up: when all files of a run are at NERSC it starts a job of {WORKERS} workers there, as processes of \
             this machine"
        );
        Ok(Self { proc, program, config, jobs })
    }

    /// Whether it still runs.
    pub(super) fn runs(&self) -> bool {
        self.proc.is_running()
    }

    /// The last lines of what it has logged, and of what its jobs have written.
    pub(super) fn logs(&self) -> String {
        let mut text = format!("trigger:\n{}\n", tail(&self.proc.output(), 12));
        for entry in std::fs::read_dir(&self.jobs).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|ending| ending == "out") {
                let said = crate::process::read_lossy(&path);
                let _ = writeln!(text, "{}:\n{}", path.display(), tail(&said, 8));
            }
        }
        text
    }

    /// What to ask it, for people who look around.
    pub(super) fn addresses(&self) -> String {
        let (program, config) = (self.program.display(), self.config.display());
        format!("trigger   {program} explain mfxlv9518 1 --config {config}")
    }
}

fn rule() -> String {
    format!(
        "# Made by the demo.
[rules.live-hits]
trigger = \"ALL_FILES_TRANSFERRED\"
site = \"NERSC\"
trial = {TRIAL}

[[rules.live-hits.tasks]]
task = \"work\"
workers = {WORKERS}
time = \"10m\"
"
    )
}

fn text(scene: &Scene, folder: &Path, analysis: &Path) -> anyhow::Result<String> {
    Ok(format!(
        "# Made by the demo.
decider = \"demo\"

[kafka]
bootstrap = [\"{bootstrap}\"]
prefix = \"{prefix}\"

[sites.NERSC]
executor = \"local\"
folder = \"{folder}/jobs\"
claims = \"{folder}/claims\"

[sites.NERSC.analysis]
program = \"{program}\"
config = \"{config}\"

[decide]
poll = \"250ms\"

[http]
listen = \"127.0.0.1:0\"
",
        bootstrap = scene.bootstrap(),
        prefix = scene.prefix(),
        folder = folder.display(),
        program = services::program("lightrail-analysis")?.display(),
        config = analysis.display(),
    ))
}

/// As an operator would.
async fn operate(args: &[&str]) -> anyhow::Result<()> {
    let ran = services::run("lightrail-trigger", args, Duration::from_secs(60)).await?;
    let said = format!("{}{}", ran.stdout, ran.stderr);
    ensure!(ran.status.success(), "lightrail-trigger {} failed: {}", args.join(" "), said.trim());
    Ok(())
}
