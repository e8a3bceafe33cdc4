//! A simulated machine: a queue, slots, and local processes for what runs. One task owns all jobs; whoever asks sends a message.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use lightrail_topics::events::{FailureClass, JobEnd};
use lightrail_topics::{JobName, Millis};
use tokio::sync::{mpsc, oneshot};

use super::scenario::Machine as Settings;
use crate::executor::{Ending, Executor, Local, SchedulerId, Seen, Sighting};

/// How often processes are looked at.
const LOOKS: Duration = Duration::from_millis(50);
/// The first job's number.
const FIRST: u32 = 4242;
/// How long a job may run that says nothing.
const USUAL: Duration = Duration::from_secs(600);

/// What is submitted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Submission {
    pub(super) name: String,
    pub(super) comment: String,
    pub(super) script: String,
    /// Its working folder and where its output goes, `%j` standing for its number.
    pub(super) folder: Option<PathBuf>,
    pub(super) output: Option<String>,
    pub(super) limit: Option<Duration>,
    /// What an IRI client has specified, given back as it was.
    pub(super) spec: Option<serde_json::Value>,
}

/// A job as it can be asked for.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) id: u32,
    pub(super) submission: Submission,
    /// Slurm's word.
    pub(super) state: &'static str,
    /// Its exit status and its signal.
    pub(super) exit: (u8, u8),
    pub(super) submitted: Millis,
    pub(super) started: Option<Millis>,
    pub(super) ended: Option<Millis>,
}

impl Shown {
    /// Whether it waits or runs.
    pub(super) fn is_queued(&self) -> bool {
        matches!(self.state, "PENDING" | "RUNNING")
    }
}

enum Ask {
    Submit(Box<Submission>, oneshot::Sender<u32>),
    Jobs(oneshot::Sender<Vec<Shown>>),
    End(u32, Ending, oneshot::Sender<bool>),
}

/// Speaks to a machine.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    asks: mpsc::UnboundedSender<Ask>,
    /// How long a submission takes until it is in the queue.
    pub(super) submission: Duration,
}

impl Machine {
    /// Starts one, whose processes keep their files in a folder.
    pub(super) fn start(settings: Settings, folder: PathBuf) -> Self {
        let (asks, inbox) = mpsc::unbounded_channel();
        let floor = Floor { settings, local: Local::new(folder.clone()), folder, jobs: Vec::new() };
        tokio::spawn(floor.run(inbox));
        Self { asks, submission: settings.submission }
    }

    async fn ask<T: Default>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> T {
        let (reply, answer) = oneshot::channel();
        // The owner lives as long as the process.
        let _ = self.asks.send(ask(reply));
        answer.await.unwrap_or_default()
    }

    /// Puts a job into the queue; its number.
    pub(super) async fn submit(&self, submission: Submission) -> u32 {
        self.ask(|reply| Ask::Submit(Box::new(submission), reply)).await
    }

    /// All jobs there ever were.
    pub(super) async fn jobs(&self) -> Vec<Shown> {
        self.ask(Ask::Jobs).await
    }

    /// Ends a job; whether there was one to end.
    pub(super) async fn end(&self, id: u32, how: Ending) -> bool {
        self.ask(|reply| Ask::End(id, how, reply)).await
    }
}

struct Job {
    shown: Shown,
    since: Instant,
    running: Option<(SchedulerId, Instant)>,
    timed_out: bool,
}

/// All that a machine has.
struct Floor {
    settings: Settings,
    local: Local,
    folder: PathBuf,
    jobs: Vec<Job>,
}

fn process(id: u32) -> JobName {
    format!("job{id}").parse().expect("a word and a number of up to ten digits fit the rule")
}

impl Floor {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Ask>) {
        let mut looks = tokio::time::interval(LOOKS);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                ask = inbox.recv() => match ask {
                    Some(ask) => self.answer(ask).await,
                    None => return,
                },
                _ = looks.tick() => self.look().await,
            }
        }
    }

    async fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Submit(submission, reply) => {
                let id = FIRST + u32::try_from(self.jobs.len()).unwrap_or(u32::MAX - FIRST);
                tracing::info!(id, name = submission.name, "job is submitted");
                let shown = Shown {
                    id,
                    submission: *submission,
                    state: "PENDING",
                    exit: (0, 0),
                    submitted: crate::run::now(),
                    started: None,
                    ended: None,
                };
                self.jobs.push(Job { shown, since: Instant::now(), running: None, timed_out: false });
                let _ = reply.send(id);
            }
            Ask::Jobs(reply) => {
                let _ = reply.send(self.jobs.iter().map(|job| job.shown.clone()).collect());
            }
            Ask::End(id, how, reply) => {
                let found = self.jobs.iter_mut().find(|job| job.shown.id == id);
                let is_there = match found {
                    Some(job) => match (&job.running, how) {
                        (Some((process, _)), how) => self.local.end(process, how).await.is_ok(),
                        (None, Ending::Cancel) if job.shown.state == "PENDING" => {
                            job.shown.state = "CANCELLED";
                            job.shown.ended = Some(crate::run::now());
                            true
                        }
                        (None, _) => job.shown.state == "PENDING",
                    },
                    None => false,
                };
                let _ = reply.send(is_there);
            }
        }
    }

    /// Starts what may begin, and takes note of what has ended.
    async fn look(&mut self) {
        let running: Vec<Sighting> = {
            let running = self.jobs.iter().filter(|job| job.running.is_some());
            let names = running.map(|job| process(job.shown.id)).collect();
            self.local.look(&names).await.unwrap_or_default()
        };
        for job in &mut self.jobs {
            let Some((id, since)) = job.running.clone() else { continue };
            if let Some(Seen::Ended { end, exit }) =
                running.iter().find(|sighting| sighting.id == id).map(|sighting| &sighting.seen)
            {
                job.running = None;
                job.shown.ended = Some(crate::run::now());
                let code = exit.unwrap_or(0);
                (job.shown.state, job.shown.exit) = match end {
                    _ if job.timed_out => ("TIMEOUT", (0, 15)),
                    JobEnd::Done => ("COMPLETED", (0, 0)),
                    JobEnd::Cancelled { .. } | JobEnd::Withdrawn { .. } => ("CANCELLED", (0, 15)),
                    JobEnd::Failed { class: FailureClass::Node, .. } => ("NODE_FAIL", (0, 0)),
                    JobEnd::Failed { .. } => ("FAILED", (code, 0)),
                };
                tracing::info!(id = job.shown.id, state = job.shown.state, "job has ended");
            } else if since.elapsed() > job.shown.submission.limit.unwrap_or(USUAL) && !job.timed_out {
                job.timed_out = self.local.end(&id, Ending::Cancel).await.is_ok();
            }
        }
        let slots = usize::try_from(self.settings.slots).unwrap_or(usize::MAX);
        let mut taken = self.jobs.iter().filter(|job| job.running.is_some()).count();
        for job in &mut self.jobs {
            let waits = job.shown.state == "PENDING" && job.since.elapsed() >= self.settings.queue_wait;
            if !waits || taken >= slots {
                continue;
            }
            taken += 1;
            let id = job.shown.id;
            match begun(&self.folder, &job.shown) {
                Ok(script) => match self.local.submit(&process(id), &script).await {
                    Ok(process) => {
                        job.running = Some((process, Instant::now()));
                        job.shown.state = "RUNNING";
                        job.shown.started = Some(crate::run::now());
                        tracing::info!(id, "job runs");
                    }
                    Err(fault) => tracing::warn!(id, %fault, "job cannot be started"),
                },
                Err(error) => {
                    tracing::warn!(id, %error, "job cannot be started");
                    job.shown.state = "BOOT_FAIL";
                    job.shown.ended = Some(crate::run::now());
                }
            }
        }
    }
}

/// The script that starts a job's own as Slurm does: its number in its environment, its folder, its output.
fn begun(folder: &std::path::Path, job: &Shown) -> std::io::Result<String> {
    std::fs::create_dir_all(folder)?;
    let own = folder.join(format!("script.{}", job.id));
    std::fs::write(&own, &job.submission.script)?;
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let work = job.submission.folder.clone().unwrap_or_else(|| folder.to_owned());
    let output =
        job.submission.output.as_deref().unwrap_or("slurm-%j.out").replace("%j", &job.id.to_string());
    Ok(format!(
        "#!/bin/bash\nexport SLURM_JOB_ID={} SLURM_JOB_NAME={}\ncd {} || exit 1\nexec /bin/bash {} >>{} 2>&1\n",
        job.id,
        quoted(&job.submission.name),
        quoted(&work.to_string_lossy()),
        quoted(&own.to_string_lossy()),
        quoted(&output),
    ))
}
