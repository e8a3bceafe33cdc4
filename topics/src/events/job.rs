//! The life of a batch job, from the intent that is written before anything is submitted to its end; and who decides.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Class;
use crate::ids::{DeciderName, JobName, PoolName, RuleName, RunKey, SiteName, TaskName};
use crate::image::TrialNumber;
use crate::message::stable_hash;
use crate::time::Millis;

/// A job that a rule starts for a run. The rule's version and the decider's epoch are no part of it: a corrected typing error runs
/// nothing again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct RunJob {
    /// The rule that started it.
    pub rule: RuleName,
    /// The run.
    pub run: RunKey,
    /// The trial, for rules that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialNumber>,
    /// The task within the rule.
    pub task: TaskName,
    /// For MANUAL: which request it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<u32>,
    /// The how manieth try, from 1. A new one is made only after the one before has ended or was given up and fenced.
    pub attempt: u32,
}

/// A job of a standing pool of workers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct PoolJob {
    /// The pool.
    pub pool: PoolName,
    /// Where it runs.
    pub site: SiteName,
    /// Which of the pool's jobs, from 1.
    pub slot: u32,
    /// The how manieth of the slot, from 1.
    pub attempt: u32,
}

/// What makes two jobs the same job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum JobIdentity {
    /// A rule's, for a run.
    Run(RunJob),
    /// A pool's.
    Pool(PoolJob),
}

impl From<RunJob> for JobIdentity {
    fn from(job: RunJob) -> Self {
        Self::Run(job)
    }
}

impl From<PoolJob> for JobIdentity {
    fn from(job: PoolJob) -> Self {
        Self::Pool(job)
    }
}

impl fmt::Display for JobIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(job) => job.fmt(f),
            Self::Pool(job) => {
                let PoolJob { pool, site, slot, attempt } = job;
                write!(f, "pool {pool} {site} slot {slot} attempt {attempt}")
            }
        }
    }
}

impl fmt::Display for RunJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.rule, self.run)?;
        if let Some(trial) = self.trial {
            write!(f, "/{trial}")?;
        }
        write!(f, " {}", self.task)?;
        if let Some(request) = self.request {
            write!(f, " request {request}")?;
        }
        write!(f, " attempt {}", self.attempt)
    }
}

/// Letters of a job's name: what every scheduler takes, without vowels that make words and without look-alikes.
const LETTERS: &[u8; 32] = b"0123456789bcdfghjkmnpqrstvwxyz_-";

impl JobIdentity {
    /// The job's name at its scheduler: `lr` and 13 characters of the identity's hash, for some schedulers keep 15.
    pub fn name(&self) -> JobName {
        let text = serde_json::to_vec(self).expect("an identity is a struct of strings and numbers");
        // 65 bits by two hashes: FNV-1a of the text, and of the text behind a byte that none begins with.
        let (low, high) = (stable_hash(&text), stable_hash(&[&[0], text.as_slice()].concat()));
        let bits = u128::from(high) << 64 | u128::from(low);
        let letter = |index: u32| char::from(LETTERS[usize::try_from(bits >> (5 * index) & 31).unwrap_or(0)]);
        let name: String = "lr".chars().chain((0..13).map(letter)).collect();
        JobName::from_str(&name).expect("such a name fits the rule")
    }

    /// The same job, tried once more.
    #[must_use]
    pub fn next_attempt(&self) -> Self {
        self.with_attempt(self.attempt() + 1)
    }

    /// The same job's first attempt.
    #[must_use]
    pub fn first_attempt(&self) -> Self {
        self.with_attempt(1)
    }

    fn with_attempt(&self, attempt: u32) -> Self {
        match self {
            Self::Run(job) => Self::Run(RunJob { attempt, ..job.clone() }),
            Self::Pool(job) => Self::Pool(PoolJob { attempt, ..job.clone() }),
        }
    }

    /// The how manieth try, from 1.
    pub fn attempt(&self) -> u32 {
        match self {
            Self::Run(RunJob { attempt, .. }) | Self::Pool(PoolJob { attempt, .. }) => *attempt,
        }
    }

    /// A rule's job.
    pub fn of_run(&self) -> Option<&RunJob> {
        match self {
            Self::Run(job) => Some(job),
            Self::Pool(_) => None,
        }
    }

    /// A pool's job.
    pub fn of_pool(&self) -> Option<&PoolJob> {
        match self {
            Self::Run(_) => None,
            Self::Pool(job) => Some(job),
        }
    }

    /// The run, of a rule's job.
    pub fn run(&self) -> Option<&RunKey> {
        self.of_run().map(|job| &job.run)
    }
}

/// Why a job failed, by what can be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// Its program says so, or was ended by a signal of its own.
    Application,
    /// Its node failed or did not start it.
    Node,
    /// Its time was over.
    Timeout,
    /// It took more memory than it had.
    Memory,
    /// It could no longer end in time.
    Deadline,
    /// It gave way to another job and is not queued again.
    Preempted,
    /// The scheduler does not take it.
    Refused,
    /// It ran without getting anywhere.
    Hung,
}

impl FailureClass {
    /// Whether it is its site's fault and not the job's.
    pub fn is_the_sites(self) -> bool {
        matches!(self, Self::Node | Self::Preempted)
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Application => "its program failed",
            Self::Node => "its node failed",
            Self::Timeout => "its time was over",
            Self::Memory => "its memory was too small",
            Self::Deadline => "it could not end in time",
            Self::Preempted => "it gave way to another one",
            Self::Refused => "the scheduler refuses it",
            Self::Hung => "it hung",
        })
    }
}

/// Why the trigger itself tells a job to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Withdrawal {
    /// Its run has all results: nothing is left for it to do.
    Complete,
    /// It gives way to live work, and is tried again after that.
    GaveWay,
    /// Its rule or task, or its pool, was taken away.
    RuleRemoved,
    /// It was started ahead of its run's images and has waited for them as long as it may.
    NothingCame,
    /// It was submitted ahead of its run's files, and they do not come.
    NeverLanded,
    /// It runs and gets nowhere.
    Hangs,
    /// Its pool has less to do.
    NotNeeded,
    /// Its run is worked at another site now.
    Elsewhere,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum JobEnd {
    /// It did what it was to do.
    Done,
    /// It failed.
    Failed {
        /// By what.
        class: FailureClass,
        /// In the scheduler's words: `FAILED 1:0`.
        text: String,
    },
    /// It was cancelled by somebody else than the trigger.
    Cancelled {
        /// By whom or why, as far as it is known.
        text: String,
    },
    /// The trigger told it to end before it had done what it was to do.
    Withdrawn {
        /// Why.
        why: Withdrawal,
    },
}

/// One step of a job's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum JobStep {
    /// It is to be submitted; written before anything is.
    Intended {
        /// Why it was started, in words.
        reason: String,
        /// The rule's version, for the record.
        rule_version: u32,
        /// Where it runs.
        site: SiteName,
        /// How urgent it is.
        #[serde(default, skip_serializing_if = "Class::is_live")]
        class: Class,
        /// Whether it is analysis workers, which end when the run's results are complete, and not by themselves.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        workers: bool,
        /// Its nodes.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        nodes: u32,
        /// How many workers each node has, where that goes by what was left; else as many as its task says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        workers_each: Option<u32>,
        /// Why it runs there and not at another of its rule's sites.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        placed: Option<String>,
        /// It moves the run's images that are not worked yet from this site.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        moves: Option<SiteName>,
        /// Whether it is submitted before its run's files are there, so that the queue's wait passes while they come.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        ahead: bool,
        /// Whether it goes without its site's reservation, in which there is no room for it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        spills: bool,
    },
    /// The scheduler has it.
    Submitted {
        /// The scheduler's id of it.
        id: String,
    },
    /// It runs.
    Running {
        /// The scheduler's id of it.
        id: String,
    },
    /// It is told to end; written before it is told, so that whoever decides next knows why it ends.
    Withdrawn {
        /// The scheduler's id of it.
        id: String,
        /// Why.
        why: Withdrawal,
    },
    /// It has ended.
    Ended {
        /// The scheduler's id of it, where it ever had one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// How.
        end: JobEnd,
        /// Node-seconds that its workers waited for the run's first image, of one that was started ahead.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        waited: Option<u64>,
    },
    /// Nobody knows what became of it; its claim was taken, so that no copy of it works any more.
    GivenUp {
        /// Why.
        why: String,
        /// The scheduler's id of a copy that may work there still: it is cancelled as soon as the site answers again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
    },
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_one(number: &u32) -> bool {
    *number == 1
}

impl JobStep {
    /// The state's word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Intended { .. } => "intended",
            Self::Submitted { .. } => "submitted",
            Self::Running { .. } => "running",
            Self::Withdrawn { .. } => "withdrawn",
            Self::Ended { .. } => "ended",
            Self::GivenUp { .. } => "given_up",
        }
    }

    /// Whether nothing comes after it.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Ended { .. } | Self::GivenUp { .. })
    }
}

/// On `jobs`, key job; kept for ever: a job's life, step by step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    /// Its name, made of its identity.
    pub job: JobName,
    /// What it is.
    pub identity: JobIdentity,
    /// The how manieth message of the job this is, from 0.
    pub place: u32,
    /// The epoch of the decider that says it, for the record.
    pub epoch: u64,
    /// What happened.
    pub step: JobStep,
    /// When.
    pub at: Millis,
}

/// On `jobs`, key `asked@<rule>/<run>`: somebody wants a MANUAL rule to fire for a run, once more with each number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobAsked {
    /// The rule.
    pub rule: RuleName,
    /// The run.
    pub run: RunKey,
    /// Counts the requests of the rule for the run, from 1.
    pub request: u32,
    /// Who asks.
    pub who: String,
    /// When.
    pub at: Millis,
}

/// On `jobs`, key `decider@<name>`: who decides from here on. A decider that was fenced and finds a later epoch here has a rival;
/// where it finds none, it was its own transaction that took too long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Decider {
    /// Its name.
    pub decider: DeciderName,
    /// Counts its lives, from 1.
    pub epoch: u64,
    /// Host and process.
    pub place: String,
    /// When.
    pub at: Millis,
}

/// Where reading of a partition goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReadUpTo {
    /// The partition.
    pub partition: i32,
    /// The first record that is not counted yet.
    pub offset: i64,
}

/// How many results a run has under a trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResultsOf {
    /// The run.
    pub run: RunKey,
    /// The trial.
    pub trial: TrialNumber,
    /// How many.
    pub results: u64,
}

/// On `jobs`, key `counted@<topic>`: how far whoever decides has counted a topic, and every count that has changed since the message
/// before this one. All of these messages in their order give all counts as of the last one's positions, so that a start need
/// not read the topic from its beginning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counted {
    /// Which topic, without prefix.
    pub topic: String,
    /// Counts these messages of the topic, from 1.
    pub number: u64,
    /// Where reading goes on, for every partition.
    pub positions: Vec<ReadUpTo>,
    /// What has changed.
    pub results: Vec<ResultsOf>,
    /// When.
    pub at: Millis,
}

/// The key of [`Counted`].
pub fn counted_key(topic: &str) -> String {
    format!("counted@{topic}")
}

/// The key of [`Decider`].
pub fn decider_key(decider: &DeciderName) -> String {
    format!("decider@{decider}")
}

/// The key of [`JobAsked`].
pub fn asked_key(rule: &RuleName, run: &RunKey) -> String {
    format!("asked@{rule}/{run}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_stable_and_of_the_identity_alone() {
        let job = RunJob {
            rule: "live-hits".parse().unwrap(),
            run: "mfxlv9518/12".parse().unwrap(),
            trial: Some(TrialNumber(3)),
            task: "work".parse().unwrap(),
            request: None,
            attempt: 1,
        };
        let identity = JobIdentity::from(job.clone());
        // As it was for the first job that ever ran: a job of an earlier version must be found by its name.
        assert_eq!(identity.name().as_str(), "lrt2wybf04g74mh");
        assert_eq!(identity.to_string(), "live-hits mfxlv9518/12/3 work attempt 1");
        let others = [
            identity.next_attempt(),
            RunJob { request: Some(1), ..job.clone() }.into(),
            RunJob { trial: None, ..job.clone() }.into(),
            RunJob { run: "mfxlv9518/13".parse().unwrap(), ..job }.into(),
            PoolJob { pool: "live".parse().unwrap(), site: "NERSC".parse().unwrap(), slot: 1, attempt: 1 }
                .into(),
        ];
        for other in others {
            assert_ne!(other.name(), identity.name());
            assert_eq!(other.name().as_str().len(), 15);
        }
    }

    #[test]
    fn names_of_many_jobs_differ() {
        let of = |run: u32, attempt: u32| RunJob {
            rule: "live".parse().unwrap(),
            run: format!("mfxlv9518/{run}").parse().unwrap(),
            trial: None,
            task: "work".parse().unwrap(),
            request: None,
            attempt,
        };
        let names: std::collections::BTreeSet<JobName> = (0..5000)
            .flat_map(|run| (1..5).map(move |attempt| JobIdentity::from(of(run, attempt)).name()))
            .collect();
        assert_eq!(names.len(), 20_000);
    }
}
