//! Once: a trigger that is killed before, while and after it submits, that is stopped between its intent and its submission while
//! another one takes over, and whose scheduler's controller is restarted in between. Counted are the copies that did work, never
//! more than one of a job, and the copies that were submitted. On a double of Slurm's commands with all times divided by a hundred,
//! and on a real Slurm. `LIGHTRAIL_CAMPAIGN=1` makes the long versions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use lightrail_compose::process::{Proc, tail};
use lightrail_compose::scratch::Scratch;
use lightrail_compose::slurm::double::Double;
use lightrail_compose::slurm::{Slurm, slurm};
use lightrail_compose::{Kafka, KafkaOptions, services, wait};
use lightrail_tests::{Settings, campaign};
use lightrail_topics::events::{ClosedBy, Job, JobEnd, JobStep, RunManifest};
use lightrail_topics::kafka::{Admin, Connection, Publisher, Timeouts, read_to_end};
use lightrail_topics::{Event, Millis, RunKey, RunNumber, Topic, Topics, decode, message};
use rustix::process::{Pid, Signal, kill_process};

/// What is done to a trigger, or to its scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Blow {
    /// Killed when sbatch has begun and sent nothing.
    KilledBefore,
    /// Killed some milliseconds after sbatch began.
    KilledDuring,
    /// Killed when the scheduler has the job and sbatch has not said so.
    KilledAfter,
    /// Stopped with its sbatch before that has sent anything; another one takes over; it goes on after that.
    Stopped,
    /// The controller goes away while sbatch is under way, and comes back.
    Restarted,
}

const BLOWS: [Blow; 5] =
    [Blow::KilledBefore, Blow::KilledDuring, Blow::KilledAfter, Blow::Stopped, Blow::Restarted];

/// The times of a case.
#[derive(Clone, Copy, Debug)]
struct Times {
    within: Duration,
    grace: Duration,
    poll: Duration,
    /// How long one is stopped: by turns shorter and longer than the grace time.
    stopped: [Duration; 2],
    away: Duration,
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// The defaults, and a minute's stop, divided by a hundred.
const HUNDREDTH: Times =
    Times { within: ms(200), grace: ms(1200), poll: ms(50), stopped: [ms(600), ms(2000)], away: ms(300) };
/// As short as the real commands bear.
const REAL: Times =
    Times { within: ms(2000), grace: ms(6000), poll: ms(500), stopped: [ms(3000), ms(10_000)], away: ms(0) };
/// For what takes a grace time and some looks, on a busy machine.
const SOON: Duration = Duration::from_secs(60);

enum Scheduler {
    Double(Double),
    Real(Box<Slurm>),
}

impl Scheduler {
    fn commands(&self) -> PathBuf {
        match self {
            Self::Double(double) => double.commands(),
            Self::Real(slurm) => slurm.commands(),
        }
    }

    fn jobcomp(&self) -> PathBuf {
        match self {
            Self::Double(double) => double.jobcomp(),
            Self::Real(slurm) => slurm.jobcomp(),
        }
    }

    /// How many copies of each name it has taken.
    async fn copies(&self) -> anyhow::Result<BTreeMap<String, usize>> {
        match self {
            Self::Double(double) => Ok(double.copies()),
            Self::Real(slurm) => {
                let mut copies = BTreeMap::new();
                let queue = slurm.run("squeue", &["--noheader", "--states=all", "--format=%j"]).await?;
                for name in queue.lines() {
                    *copies.entry(name.trim().to_owned()).or_default() += 1;
                }
                Ok(copies)
            }
        }
    }
}

/// Waits where a file says so; what it calls ends with it, as the real one would with the trigger.
const HELD_SBATCH: &str = r#"#!/bin/sh
hold='@hold'
mv "$hold/before" "$hold/is-before" 2>/dev/null && while [ -e "$hold/is-before" ]; do sleep 0.005; done
[ -e "$hold/during" ] && mv "$hold/during" "$hold/is-during"
said=$(setpriv --pdeathsig KILL '@real' "$@")
ended=$?
[ $ended = 0 ] && mv "$hold/after" "$hold/is-after" 2>/dev/null && exec sleep 300
[ -z "$said" ] || printf '%s\n' "$said"
exit $ended
"#;

/// A trigger and its scheduler, with topics of their own.
struct Lane {
    trigger: Proc,
    publisher: Publisher,
    connection: Connection,
    topics: Topics,
    scheduler: Scheduler,
    times: Times,
    config: PathBuf,
    random: fastrand::Rng,
    folder: Scratch,
    /// How many triggers there were.
    triggers: usize,
}

impl Lane {
    async fn start(kafka: &Kafka, number: u64, scheduler: Scheduler, times: Times) -> anyhow::Result<Self> {
        let folder = Scratch::new()?;
        let hold = folder.path().join("hold");
        std::fs::create_dir(&hold)?;
        let (sbatch, real) = (scheduler.commands().join("sbatch"), scheduler.commands().join("sbatch.real"));
        std::fs::rename(&sbatch, &real)?;
        let text = HELD_SBATCH.replace("@hold", &hold.display().to_string());
        std::fs::write(&sbatch, text.replace("@real", &real.display().to_string()))?;
        std::fs::set_permissions(&sbatch, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let work = "#!/bin/sh\nprintf '%s %s\\n' \"$2\" \"$SLURM_JOB_ID\" >>\"$1\"\n";
        std::fs::write(folder.path().join("work.sh"), work)?;

        let prefix = format!("once{number}.");
        let (connection, topics) = (Connection::plain(kafka.bootstrap(), "once"), Topics::new(&prefix)?);
        let specs: Vec<_> = Topic::ALL.into_iter().map(|topic| topics.spec(topic, 1, 1)).collect();
        Admin::new(&connection, SOON).create_topics(&specs).await?;
        let publisher =
            Publisher::start(&connection, &topics, &format!("{prefix}runs"), Timeouts::default())?;
        publisher.init(SOON).await?;
        let config = config(folder.path(), kafka, &prefix, &scheduler, times)?;
        apply_rule(folder.path(), &config).await?;
        let trigger = services::start_trigger("trigger", &config, &[("RUST_LOG", "info")])?;
        let random = fastrand::Rng::with_seed(number);
        Ok(Self {
            trigger,
            publisher,
            connection,
            topics,
            scheduler,
            times,
            config,
            random,
            folder,
            triggers: 1,
        })
    }

    fn hold(&self, file: &str) -> PathBuf {
        self.folder.path().join("hold").join(file)
    }

    fn said(&self) -> String {
        tail(&self.trigger.output(), 30)
    }

    /// Has the next sbatch held at a point, makes a run available, and waits until it is. Not where its limit came before that point, as
    /// happens on a busy machine: then the run is worked without a blow.
    async fn is_held(&self, run: u32, point: &str) -> anyhow::Result<bool> {
        std::fs::write(self.hold(point), "")?;
        self.available(run).await?;
        let is_held = async || {
            if self.hold(&format!("is-{point}")).exists() {
                return Some(true);
            }
            self.worked().ok()?.contains_key(&run).then_some(false)
        };
        let waited = format!("sbatch to be held {point}");
        let held = wait::until(&waited, SOON, is_held).await.with_context(|| self.said())?;
        if !held {
            self.goes_on(point);
        }
        Ok(held)
    }

    /// Whoever is held goes on, and nobody else is.
    fn goes_on(&self, point: &str) {
        for file in [point.to_owned(), format!("is-{point}")] {
            // One of them is not there.
            let _ = std::fs::remove_file(self.hold(&file));
        }
    }

    /// Makes a run available, strikes, and waits until its job has been worked; whether it has struck.
    async fn strike(&mut self, run: u32, blow: Blow) -> anyhow::Result<bool> {
        let point = match blow {
            Blow::KilledBefore => Some("before"),
            Blow::KilledDuring => Some("during"),
            Blow::KilledAfter => Some("after"),
            Blow::Stopped | Blow::Restarted => None,
        };
        let has_struck = match point {
            Some(point) => {
                let is_held = self.is_held(run, point).await?;
                if is_held {
                    if blow == Blow::KilledDuring {
                        tokio::time::sleep(ms(self.random.u64(0..20))).await;
                    }
                    self.trigger.kill();
                    self.goes_on(point);
                    self.triggers += 1;
                    self.trigger.start_again()?;
                }
                is_held
            }
            None if blow == Blow::Stopped => self.stopped(run).await?,
            None => self.restarted(run).await?,
        };
        let worked = async || self.worked().ok()?.contains_key(&run).then_some(());
        wait::until(&format!("run {run} to be worked after {blow:?}"), SOON, worked)
            .await
            .with_context(|| self.said())?;
        Ok(has_struck)
    }

    /// The whole tree stands still, as on a node that hangs; another one takes over, then it goes on and finds that it is not
    /// the one who decides any more.
    async fn stopped(&mut self, run: u32) -> anyhow::Result<bool> {
        if !self.is_held(run, "before").await? {
            return Ok(false);
        }
        let tree = tree(self.trigger.pid())?;
        // The trigger first, so that it starts nothing more.
        for pid in &tree {
            signal(*pid, Signal::STOP);
        }
        self.goes_on("before");
        self.triggers += 1;
        let another = format!("trigger-{run}");
        let another = services::start_trigger(&another, &self.config, &[("RUST_LOG", "info")])?;
        tokio::time::sleep(self.times.stopped[self.random.usize(..2)]).await;
        for pid in tree.iter().rev() {
            signal(*pid, Signal::CONT);
        }
        // Mostly the one that was stopped ends, for another one has fenced it; where that has not said its epoch in time, it takes
        // over once more. One of them stays.
        let ends = async || match (self.trigger.is_running(), another.is_running()) {
            (true, true) => None,
            (stays, other_stays) => Some((stays, other_stays)),
        };
        let said = || format!("{}\n{}", self.said(), tail(&another.output(), 20));
        let (stays, other_stays) = wait::until("one of two to end", SOON, ends).await.with_context(said)?;
        ensure!(stays != other_stays, "both have ended: {}", said());
        let ended = if stays { another } else { std::mem::replace(&mut self.trigger, another) };
        let status = ended.wait_exit(SOON).await?;
        ensure!(status.code() == Some(3), "it ended with {status}: {}", tail(&ended.output(), 20));
        Ok(true)
    }

    async fn restarted(&mut self, run: u32) -> anyhow::Result<bool> {
        if let Scheduler::Double(double) = &self.scheduler
            && self.random.bool()
        {
            // It takes the job, and nobody is told so.
            double.restart_after_the_next(self.times.away);
            self.available(run).await?;
            return Ok(true);
        }
        let is_held = self.is_held(run, "before").await?;
        if is_held {
            match &self.scheduler {
                Scheduler::Double(double) => double.restart(self.times.away),
                Scheduler::Real(slurm) => drop(slurm.run("scontrol", &["shutdown", "slurmctld"]).await?),
            }
            self.goes_on("before");
        }
        Ok(is_held)
    }

    async fn available(&self, run: u32) -> anyhow::Result<()> {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        let at = Millis(i64::try_from(since.as_millis())?);
        let manifest = RunManifest {
            run: RunKey { experiment: "mfxonce26".parse()?, run: RunNumber(run) },
            site: "NERSC".parse()?,
            began: None,
            ended: None,
            closed_by: ClosedBy::EndTime,
            files: Vec::new(),
            left_out: Vec::new(),
            first_file: None,
            at,
        };
        self.publisher.publish(vec![message::run_available(&manifest, "once", at)]).await?;
        Ok(())
    }

    /// How many copies of each run's job did work.
    fn worked(&self) -> anyhow::Result<BTreeMap<u32, usize>> {
        let text = std::fs::read_to_string(self.folder.path().join("worked")).unwrap_or_default();
        let mut worked = BTreeMap::new();
        for line in text.lines() {
            let run = line.split(' ').next().and_then(|run| run.parse().ok());
            *worked.entry(run.with_context(|| format!("`{line}`"))?).or_default() += 1;
        }
        Ok(worked)
    }

    /// All steps of jobs that are committed, by the job.
    async fn jobs(&self) -> anyhow::Result<BTreeMap<String, Vec<Job>>> {
        let names = [self.topics.name(Topic::Jobs)];
        let mut jobs: BTreeMap<String, Vec<Job>> = BTreeMap::new();
        for record in read_to_end(&self.connection, &names, &BTreeMap::new(), SOON).await? {
            if let Event::Job(job) = decode(&self.topics, &record)? {
                jobs.entry(job.identity.to_string()).or_default().push(job);
            }
        }
        Ok(jobs)
    }

    /// Each run has one job, done at its first attempt, that one copy worked; gives how many copies were submitted.
    async fn judge(&self, runs: u32) -> anyhow::Result<usize> {
        let done = async || {
            let jobs = self.jobs().await.ok()?;
            let is_done = |steps: &Vec<Job>| {
                matches!(steps.last().map(|job| &job.step), Some(JobStep::Ended { end: JobEnd::Done, .. }))
            };
            (jobs.len() == usize::try_from(runs).ok()? && jobs.values().all(is_done)).then_some(jobs)
        };
        let jobs = wait::until("all jobs to be done", SOON, done).await.with_context(|| self.said())?;
        for identity in jobs.keys() {
            ensure!(identity.ends_with("attempt 1"), "{identity} was needed");
        }
        let worked = self.worked()?;
        let once: BTreeMap<u32, usize> = (1..=runs).map(|run| (run, 1)).collect();
        ensure!(worked == once, "copies that did work, by run: {worked:?}");
        let copies = self.scheduler.copies().await?;
        Ok(jobs.values().filter_map(|steps| copies.get(steps[0].job.as_str())).sum())
    }
}

/// A process and all that it has started, it first.
fn tree(root: u32) -> anyhow::Result<Vec<u32>> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
        if let Some(parent) = after.split_whitespace().nth(1).and_then(|parent| parent.parse().ok()) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut tree = vec![root];
    let mut at = 0;
    while let Some(pid) = tree.get(at) {
        tree.extend(children.get(pid).into_iter().flatten().copied().collect::<Vec<_>>());
        at += 1;
    }
    Ok(tree)
}

/// One that has ended meanwhile is told nothing.
fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

fn config(
    folder: &Path,
    kafka: &Kafka,
    prefix: &str,
    scheduler: &Scheduler,
    times: Times,
) -> anyhow::Result<PathBuf> {
    let mut settings = Settings::default();
    let path = |below: &str| folder.join(below).display().to_string();
    let time = |time: Duration| format!("{}ms", time.as_millis());
    settings.text("", "decider", "once").set("kafka", "bootstrap", format!("[\"{}\"]", kafka.bootstrap()));
    settings.text("kafka", "prefix", prefix).text("http", "listen", "127.0.0.1:0");
    settings.text("sites.NERSC", "executor", "slurm").text("sites.NERSC", "folder", path("jobs"));
    settings.text("sites.NERSC", "claims", path("claims")).set("sites.NERSC", "at_once", 100);
    settings.text("sites.NERSC.slurm", "commands", scheduler.commands().display());
    settings.text("sites.NERSC.slurm", "jobcomp", scheduler.jobcomp().display());
    settings.text("sites.NERSC.slurm", "within", time(times.within));
    settings.text("decide", "poll", time(times.poll)).text("decide", "grace", time(times.grace));
    settings.text("decide", "again", time(times.poll));
    let path = folder.join("trigger.toml");
    std::fs::write(&path, settings.toml())?;
    Ok(path)
}

async fn apply_rule(folder: &Path, config: &Path) -> anyhow::Result<()> {
    let rules = folder.join("rules.toml");
    let text = format!(
        "[rules.once]\ntrigger = \"ALL_FILES_TRANSFERRED\"\nsite = \"NERSC\"\n[[rules.once.tasks]]\ntask = \"work\"\n\
        program = \"/bin/sh\"\narguments = [\"{0}/work.sh\", \"{0}/worked\", \"{{run}}\"]\n",
        folder.display()
    );
    std::fs::write(&rules, text)?;
    let apply = ["rules", "apply", &rules.display().to_string(), "--config", &config.display().to_string()];
    let applied = services::run("lightrail-trigger", &apply, SOON).await?;
    ensure!(applied.status.success(), "the rule cannot be applied: {}", applied.stderr.trim());
    Ok(())
}

/// Strikes so many times; gives the numbers of triggers, of jobs and of copies that were submitted.
async fn series(mut lane: Lane, blows: u32) -> anyhow::Result<(usize, u32, usize)> {
    let (mut runs, mut struck) = (0, 0);
    while struck < blows {
        runs += 1;
        ensure!(runs <= 2 * blows, "of {runs} runs that were to be struck {struck} were");
        let blow = BLOWS[usize::try_from(struck)? % BLOWS.len()];
        let has_struck = lane.strike(runs, blow).await.with_context(|| format!("run {runs}, {blow:?}"))?;
        struck += u32::from(has_struck);
    }
    let copies = lane.judge(runs).await?;
    println!(
        "{struck} blows struck, {} more were to be and sbatch was cut by its limit before",
        runs - struck
    );
    Ok((lane.triggers, runs, copies))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_double_of_slurm_one_copy_of_each_job_works_whatever_befalls_its_trigger() -> anyhow::Result<()>
{
    let (lanes, blows) = if campaign() { (10, 100) } else { (5, 10) };
    let kafka = Kafka::start(KafkaOptions::default()).await?;
    let all = (0..lanes).map(async |number| {
        let lane = Lane::start(&kafka, number, Scheduler::Double(Double::start()?), HUNDREDTH).await?;
        series(lane, blows).await.with_context(|| format!("lane {number}"))
    });
    let all = futures::future::try_join_all(all).await?;
    let sum = all.into_iter().fold((0, 0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1, sum.2 + one.2));
    let (triggers, jobs, copies) = sum;
    println!("{triggers} triggers, {jobs} jobs, each worked by one copy, {copies} copies submitted");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_real_slurm_one_copy_of_each_job_works_whatever_befalls_its_trigger() -> anyhow::Result<()> {
    let Some(slurm) = slurm("once, on a real Slurm").await else { return Ok(()) };
    let kafka = Kafka::start(KafkaOptions::default()).await?;
    let lane = Lane::start(&kafka, 0, Scheduler::Real(Box::new(slurm)), REAL).await?;
    let (triggers, jobs, copies) = series(lane, if campaign() { 100 } else { 5 }).await?;
    println!("{triggers} triggers, {jobs} jobs, each worked by one copy, {copies} copies submitted");
    Ok(())
}
