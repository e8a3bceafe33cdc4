//! From a run that becomes available to a job that is done: the trigger submits to a real Slurm, workers analyse, results are
//! complete, the job is done; as things should be, and with the trigger killed between its intent and its submission.

#[path = "trigger/once.rs"]
mod once;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use lightrail_compose::play::Simulation;
use lightrail_compose::process::{Proc, tail};
use lightrail_compose::services::{self, program};
use lightrail_compose::slurm::{Slurm, slurm};
use lightrail_compose::wait;
use lightrail_tests::analysis::{Analysis, TRIAL};
use lightrail_tests::images::{Images, Truth};
use lightrail_tests::stage::{SOON, Stage, experiment, instrument, nersc};
use lightrail_tests::{Settings, Setup, campaign, on_stage};
use lightrail_topics::events::{Job, JobEnd, JobStep};
use lightrail_topics::kafka::{Connection, read_to_end};
use lightrail_topics::{Event, RunKey, RunNumber, Topic, decode};

/// For a job in a queue that is asked every second, on a busy machine.
const WORKED: Duration = Duration::from_secs(90);

/// A trigger for NERSC, whose jobs run on a Slurm of this case's own.
struct Trigger<'s> {
    stage: &'s Stage,
    slurm: &'s Slurm,
    config: std::path::PathBuf,
}

impl<'s> Trigger<'s> {
    async fn prepare(stage: &'s Stage, slurm: &'s Slurm, analysis: &Path) -> anyhow::Result<Self> {
        let mut settings = Settings::default();
        settings.text("", "decider", "test");
        settings.set("kafka", "bootstrap", format!("[\"{}\"]", stage.bootstrap()));
        settings.text("kafka", "prefix", &stage.prefix).text("http", "listen", "127.0.0.1:0");
        let path = |below: &str| stage.folder().join(below).display().to_string();
        settings.text("sites.NERSC", "executor", "slurm").text("sites.NERSC", "folder", path("jobs"));
        settings.text("sites.NERSC", "claims", path("claims"));
        settings.text("sites.NERSC.slurm", "commands", slurm.commands().display());
        settings.text("sites.NERSC.slurm", "within", "5s");
        settings.text("sites.NERSC.slurm", "jobcomp", slurm.jobcomp().display());
        settings.text("sites.NERSC.analysis", "program", program("lightrail-analysis")?.display());
        settings.text("sites.NERSC.analysis", "config", analysis.display());
        settings.text("decide", "poll", "500ms").text("decide", "grace", "12s").text("decide", "again", "1s");
        let config = stage.folder().join("trigger.toml");
        std::fs::write(&config, settings.toml())?;
        let trigger = Self { stage, slurm, config };
        trigger.command(&["topics", "--create"]).await?;
        let rules = stage.folder().join("rules.toml");
        let text = format!(
            "[rules.live]\ntrigger = \"ALL_FILES_TRANSFERRED\"\nsite = \"NERSC\"\nexperiment = \"{}\"\ntrial = {TRIAL}\n\
            [[rules.live.tasks]]\ntask = \"work\"\nworkers = 2\ntime = \"10m\"\n\
            [[rules.live.tasks]]\ntask = \"note\"\nafter = [\"work\"]\nprogram = \"/bin/echo\"\narguments = [\"run {{run}} is worked\"]\n\
            [rules.again]\ntrigger = \"MANUAL\"\nsite = \"NERSC\"\n\
            [[rules.again.tasks]]\ntask = \"note\"\nprogram = \"/bin/echo\"\narguments = [\"asked for {{run}}\"]\n",
            experiment()
        );
        std::fs::write(&rules, text)?;
        let said = trigger.command(&["rules", "apply", &rules.display().to_string()]).await?;
        ensure!(said.contains("rule live: applied, version 1"), "{said}");
        Ok(trigger)
    }

    async fn command(&self, args: &[&str]) -> anyhow::Result<String> {
        let config = self.config.display().to_string();
        let args = [args, &["--config", &config]].concat();
        let ran = services::run("lightrail-trigger", &args, Duration::from_secs(60)).await?;
        ensure!(ran.status.success(), "{args:?} failed ({}): {}", ran.status, ran.stderr.trim());
        Ok(ran.stdout)
    }

    fn start(&self, name: &str, env: &[(&str, &str)]) -> anyhow::Result<Proc> {
        services::start_trigger(name, &self.config, env)
    }

    /// All steps of jobs that are committed, in their order per job.
    async fn jobs(&self) -> anyhow::Result<BTreeMap<String, Vec<Job>>> {
        let connection = Connection::plain(self.stage.bootstrap(), "jobs-witness");
        let names = [self.stage.topics.name(Topic::Jobs)];
        let mut jobs: BTreeMap<String, Vec<Job>> = BTreeMap::new();
        for record in read_to_end(&connection, &names, &BTreeMap::new(), SOON).await? {
            if let Event::Job(job) = decode(&self.stage.topics, &record)? {
                jobs.entry(job.identity.to_string()).or_default().push(job);
            }
        }
        Ok(jobs)
    }

    /// Waits until a job has come to a step.
    async fn until(&self, job: &str, what: &str, is: impl Fn(&JobStep) -> bool) -> anyhow::Result<Job> {
        let waited = format!("{job}: {what}");
        let found = wait::until(&waited, WORKED, async || {
            let jobs = self.jobs().await.ok()?;
            jobs.get(job)?.iter().find(|job| is(&job.step)).cloned()
        });
        found.await.with_context(|| format!("Slurm said:\n{}", tail(&self.slurm.output(), 15)))
    }

    /// What must hold at the end: these jobs and no others, each done at its first attempt by the one copy that Slurm knows.
    async fn judge(&self, wanted: &[&str]) -> anyhow::Result<()> {
        let jobs = self.jobs().await?;
        ensure!(jobs.keys().map(String::as_str).eq(wanted.iter().copied()), "jobs are {:?}", jobs.keys());
        let format = "--format=%i|%j|%T";
        let mut queue = self.slurm.run("squeue", &["--noheader", "--states=all", format]).await?;
        // What squeue has forgotten is in the log of completed jobs.
        for line in std::fs::read_to_string(self.slurm.jobcomp())?.lines() {
            let field =
                |key: &str| line.split(' ').find_map(|word| word.strip_prefix(key)).unwrap_or_default();
            let _ = writeln!(queue, "{}|{}|{}", field("JobId="), field("Name="), field("JobState="));
        }
        for (identity, steps) in &jobs {
            let mut words: Vec<&str> = steps.iter().map(|job| job.step.word()).collect();
            // An intent in doubt is said once more before it is submitted.
            words.dedup();
            // Workers end by being told.
            words.retain(|word| *word != "withdrawn");
            let all = ["intended", "submitted", "running", "ended"];
            // A job that is shorter than a look was never seen to run.
            ensure!(words == all || words == ["intended", "submitted", "ended"], "{identity}: {words:?}");
            let Some(JobStep::Ended { id: Some(id), end: JobEnd::Done, .. }) =
                steps.last().map(|job| &job.step)
            else {
                anyhow::bail!("{identity} ended: {steps:#?}");
            };
            let name = &steps[0].job;
            let copies: BTreeSet<&str> = queue.lines().filter(|line| line.contains(name.as_str())).collect();
            let alone = format!("{id}|{name}|COMPLETED");
            ensure!(copies == BTreeSet::from([alone.as_str()]), "{identity}: Slurm knows {copies:?}");
            let claim = std::fs::read_link(self.stage.folder().join("claims").join(name.as_str()))?;
            ensure!(claim.to_str() == Some(id), "{identity}: its claim says {}", claim.display());
        }
        Ok(())
    }
}

/// A case with the whole chain; what the trigger said last is told where it fails.
async fn with_trigger(
    case: &str,
    body: impl AsyncFnOnce(&Trigger<'_>, &mut Analysis) -> anyhow::Result<Vec<Proc>>,
) -> anyhow::Result<()> {
    let Some(slurm) = slurm(case).await else { return Ok(()) };
    on_stage(case, Setup::default(), async |stage| {
        stage.announce()?;
        let simulation = Simulation::small(experiment(), instrument(), 60);
        let mut analysis = Analysis::prepare(stage, simulation, nersc(), &Settings::default()).await?;
        analysis.start_index()?;
        let trigger = Trigger::prepare(stage, &slurm, &stage.folder().join("analysis.toml")).await?;
        let outcome = body(&trigger, &mut analysis).await;
        if outcome.is_err() {
            println!("{}", analysis.logs());
            for file in
                std::fs::read_dir(stage.folder())?.chain(std::fs::read_dir(stage.folder().join("jobs"))?)
            {
                let path = file?.path();
                if path.extension().is_some_and(|ending| ending == "out") {
                    let text = lightrail_compose::process::read_lossy(&path);
                    println!("{}:\n{}", path.display(), tail(&text, 30));
                }
            }
        }
        outcome.map(drop)
    })
    .await
}

async fn take(trigger: &Trigger<'_>, analysis: &Analysis, run: u32) -> anyhow::Result<(RunKey, Truth)> {
    let daq = trigger.stage.daq();
    let open = daq.open_simulated(&analysis.simulation, RunNumber(run)).await?;
    let played = daq.close(open)?;
    Ok((played.key, analysis.truth(trigger.stage, RunNumber(run))?))
}

fn name(run: u32, task: &str) -> String {
    format!("live {}/{run}/{TRIAL} {task} attempt 1", experiment())
}

fn is_done(step: &JobStep) -> bool {
    matches!(step, JobStep::Ended { end: JobEnd::Done, .. })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_becomes_available_is_worked_by_jobs_on_slurm_until_its_results_are_complete()
-> anyhow::Result<()> {
    with_trigger("a run, a rule, jobs on Slurm", async |trigger, analysis| {
        let running = trigger.start("trigger", &[])?;
        let mut taken = Vec::new();
        // One after the other: workers take what images there are, and a job that finds its run worked has nothing to do.
        for run in 1..=2 {
            taken.push(take(trigger, analysis, run).await?);
            trigger.until(&name(run, "work"), "to be done", is_done).await?;
            trigger.until(&name(run, "note"), "to be done", is_done).await?;
        }
        let images = Images::account(trigger.stage, &nersc()).await?;
        for (key, truth) in &taken {
            // Whoever is done has complete results.
            images.judge(key, &nersc(), truth)?;
        }
        trigger.command(&["ask", "again", experiment().as_str(), "1"]).await?;
        let asked = format!("again {}/1 note request 1 attempt 1", experiment());
        trigger.until(&asked, "to be done", is_done).await?;
        let all = [asked, name(1, "note"), name(1, "work"), name(2, "note"), name(2, "work")];
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        trigger.judge(&all).await?;
        let said = trigger.command(&["explain", experiment().as_str(), "1"]).await?;
        ensure!(said.contains("fires for run") && said.contains("yes: ALL_FILES_TRANSFERRED"), "{said}");
        ensure!(
            said.contains("results under trial 3: complete, 60 of 60") && said.contains(", done"),
            "{said}"
        );
        // Another one takes over; who was fenced ends, though it had nothing to say.
        let another = trigger.start("trigger-2", &[])?;
        let status = running.wait_exit(SOON).await?;
        ensure!(status.code() == Some(3), "the first trigger ended with {status}");
        trigger.judge(&all).await?;
        Ok(vec![running, another])
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_killed_between_intent_and_submission_leaves_one_job_that_works_once() -> anyhow::Result<()>
{
    with_trigger("a trigger that is killed", async |trigger, analysis| {
        // An sbatch that waits, so that the kill hits between the two; the second one is Slurm's own.
        let sbatch = trigger.slurm.commands().join("sbatch");
        let real = trigger.slurm.commands().join("sbatch.real");
        std::fs::rename(&sbatch, &real)?;
        let begun = trigger.stage.folder().join("begun");
        let waits = format!("#!/bin/sh\necho >'{}'\nexec sleep 300\n", begun.display());
        std::fs::write(&sbatch, waits)?;
        std::fs::set_permissions(&sbatch, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let first = trigger.start("trigger-1", &[])?;
        let (key, truth) = take(trigger, analysis, 1).await?;
        trigger
            .until(&name(1, "work"), "to be intended", |step| matches!(step, JobStep::Intended { .. }))
            .await?;
        wait::until("sbatch to begin", SOON, async || begun.is_file().then_some(())).await?;
        first.kill();
        std::fs::rename(&real, &sbatch)?;
        let second = trigger.start("trigger-2", &[])?;
        trigger.until(&name(1, "note"), "to be done", is_done).await?;
        Images::account(trigger.stage, &nersc()).await?.judge(&key, &nersc(), &truth)?;
        trigger.judge(&[&name(1, "note"), &name(1, "work")]).await?;
        Ok(vec![first, second])
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_killed_at_random_moments_has_each_run_worked_by_one_job_and_loses_none()
-> anyhow::Result<()> {
    with_trigger("a trigger that is killed at random", async |trigger, analysis| {
        let kills = if campaign() { 50 } else { 5 };
        let mut random = fastrand::Rng::with_seed(26);
        let running = trigger.start("trigger", &[])?;
        let (mut killed, mut taken) = (0, Vec::new());
        while killed < kills {
            let run = u32::try_from(taken.len())? + 1;
            taken.push(take(trigger, analysis, run).await?);
            // While it is moved, decided on, submitted, worked, and said to be done.
            for _ in 0..(kills - killed).min(3) {
                tokio::time::sleep(Duration::from_millis(random.u64(0..4000))).await;
                running.start_again()?;
                killed += 1;
            }
            trigger.until(&name(run, "note"), "to be done", is_done).await?;
        }
        let images = Images::account(trigger.stage, &nersc()).await?;
        let mut all = Vec::new();
        for (key, truth) in &taken {
            images.judge(key, &nersc(), truth)?;
            all.extend(["note", "work"].map(|task| name(key.run.0, task)));
        }
        all.sort_unstable();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        trigger.judge(&all).await?;
        println!(
            "{killed} kills, {} runs, {} jobs, each submitted once and done at its first attempt",
            taken.len(),
            all.len()
        );
        Ok(vec![running])
    })
    .await
}
