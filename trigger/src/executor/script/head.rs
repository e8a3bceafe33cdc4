//! What a scheduler is told in a script's head, by its dialect. All values are numbers, names of ours, or words that were checked
//! when the configuration was read. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use lightrail_topics::JobName;

use super::container::Container;
use super::{Script, ScriptError, path};
use crate::executor::SchedulerId;
use crate::executor::local::TIME;

/// Whose directives a script has, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// A process of this machine: its time.
    Local,
    /// `#SBATCH`.
    Slurm,
    /// `#PBS`, of PBS Professional and OpenPBS.
    Pbs,
    /// `#PBS`, of torque.
    Torque,
    /// `#BSUB`.
    Lsf,
    /// `#$`.
    Sge,
    /// None: a job's specification in JSON.
    Iri,
}

/// What a site's jobs ask of their scheduler, where it is not left to its own defaults. All are words: see [`is_word`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// The queue or partition.
    pub queue: Option<String>,
    /// Who pays.
    pub account: Option<String>,
    /// The quality of service.
    pub qos: Option<String>,
    /// Nodes set apart.
    pub reservation: Option<String>,
    /// How many jobs at once ask for the reservation; those beyond go without.
    pub reservation_jobs: Option<u32>,
    /// What a node must have: see [`is_constraint`].
    pub constraint: Option<String>,
    /// Cores of each node.
    pub cores: Option<u32>,
    /// Grid Engine's parallel environment, for more than one slot.
    pub parallel: Option<String>,
    /// How long before its end a job is warned, seconds.
    pub warning: Option<u64>,
    /// For jobs that give way to others.
    pub preemptible: Option<Preemptible>,
    /// Sourced before the work: absolute paths.
    pub setup: Vec<PathBuf>,
    /// What the work finds in its environment besides.
    pub environment: BTreeMap<String, String>,
    /// What the work runs in.
    pub container: Option<Container>,
}

/// Where jobs go that give way to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preemptible {
    /// The quality of service of Slurm and of IRI, the queue of others.
    pub class: String,
    /// The shortest time with which one is content, seconds: Slurm may cut it down to that.
    pub shortest: Option<u64>,
}

/// The head of a site's scripts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its dialect.
    pub dialect: Dialect,
    /// What is asked for in it.
    pub wishes: Wishes,
}

/// Whether a value can stand in a directive: letters, digits and a few signs, none of which means anything to a parser.
pub fn is_word(text: &str) -> bool {
    let good =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/' | b'+' | b'@');
    !text.is_empty() && text.len() <= 200 && !text.starts_with('-') && text.bytes().all(good)
}

/// Whether a value can stand where nodes' features are combined: a word, or several with `&`, `|`, `*`, `=`, `:` and brackets.
pub fn is_constraint(text: &str) -> bool {
    let plain = text.replace(['&', '|', '*', '=', ':', '[', ']', '(', ')', ','], "_");
    !text.starts_with(['*', '=', ':', ')', ']', ',']) && is_word(&plain)
}

impl Dialect {
    /// Where a running job finds its own id.
    pub(super) fn own_id(self) -> &'static str {
        match self {
            Self::Local => "${LIGHTRAIL_LOCAL_ID:?}",
            Self::Slurm => "${SLURM_JOB_ID:?}",
            Self::Pbs => "${PBS_JOBID:?}",
            // Where its commands are wrappers over Slurm, only Slurm's is set.
            Self::Torque => "${PBS_JOBID:-${SLURM_JOB_ID:?}}",
            Self::Lsf => "${LSB_JOBID:?}",
            Self::Sge => "${JOB_ID:?}",
            // Whichever scheduler is behind the interface.
            Self::Iri => "${SLURM_JOB_ID:-${PBS_JOBID:-${LSB_JOBID:-${JOB_ID:?}}}}",
        }
    }

    /// Whether it knows how to start something on each of a job's nodes.
    pub fn starts_on_each_node(self) -> bool {
        self == Self::Slurm
    }
}

impl Head {
    /// Where a job's output is, as its directives say.
    pub fn output(&self, folder: &Path, name: &JobName, id: &SchedulerId) -> PathBuf {
        match self.dialect {
            Dialect::Local => folder.join(id.to_string()).join("out"),
            Dialect::Slurm | Dialect::Lsf | Dialect::Sge => folder.join(format!("{name}.{id}.out")),
            Dialect::Pbs | Dialect::Torque | Dialect::Iri => folder.join(format!("{name}.out")),
        }
    }
}

/// `h:mm:ss`, which no scheduler takes for anything else.
fn time(seconds: u64) -> String {
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Ids with something between them.
fn joined(ids: &[SchedulerId], between: &str) -> String {
    ids.iter().map(SchedulerId::to_string).collect::<Vec<_>>().join(between)
}

impl Script<'_> {
    /// The reservation that is asked for: none by whom it has no room for.
    pub(super) fn reservation(&self) -> Option<&String> {
        self.head.wishes.reservation.as_ref().filter(|_| !self.spills && self.preemptible().is_none())
    }

    /// The quality of service that is asked for, where the scheduler has one.
    pub(super) fn qos(&self) -> Option<&String> {
        self.preemptible().map(|preemptible| &preemptible.class).or(self.head.wishes.qos.as_ref())
    }

    pub(super) fn preemptible(&self) -> Option<&Preemptible> {
        self.head.wishes.preemptible.as_ref().filter(|_| self.gives_way)
    }

    pub(super) fn head(&self) -> Result<String, ScriptError> {
        let (name, folder) = (self.identity.name(), path(self.folder)?);
        let mut text = String::new();
        let mut say = |line: String| {
            let _ = writeln!(text, "{line}");
        };
        match self.head.dialect {
            Dialect::Local => say(format!("{TIME}{}", self.seconds)),
            Dialect::Iri => {}
            Dialect::Slurm => self.slurm(name.as_str(), folder, |line| say(format!("#SBATCH --{line}"))),
            Dialect::Pbs | Dialect::Torque => {
                self.pbs(name.as_str(), folder, |line| say(format!("#PBS -{line}")))
            }
            Dialect::Lsf => self.lsf(name.as_str(), folder, |line| say(format!("#BSUB -{line}"))),
            Dialect::Sge => self.sge(name.as_str(), folder, |line| say(format!("#$ -{line}"))),
        }
        Ok(text)
    }

    fn slurm(&self, name: &str, folder: &str, mut say: impl FnMut(String)) {
        let wishes = &self.head.wishes;
        say(format!("job-name={name}"));
        // Words of ids, blanks and slashes only.
        say(format!("comment=\"{}\"", self.identity));
        say(format!("chdir={folder}"));
        say(format!("output={folder}/{name}.%j.out"));
        say("open-mode=append".to_owned());
        say(format!("nodes={}", self.nodes));
        say(format!("time={}", time(self.seconds)));
        if let Some(shortest) = self.preemptible().and_then(|preemptible| preemptible.shortest) {
            say(format!("time-min={}", time(shortest.min(self.seconds))));
        }
        say("requeue".to_owned());
        // A warning before the end, to the batch script.
        say(format!("signal=B:USR1@{}", self.warning()));
        let options = [
            ("partition", wishes.queue.as_ref()),
            ("account", wishes.account.as_ref()),
            ("qos", self.qos()),
            ("reservation", self.reservation()),
            ("constraint", wishes.constraint.as_ref()),
        ];
        for (option, value) in options {
            if let Some(value) = value {
                say(format!("{option}={value}"));
            }
        }
        if let Some(cores) = wishes.cores {
            say("ntasks-per-node=1".to_owned());
            say(format!("cpus-per-task={cores}"));
        }
        if let Some(image) = wishes.container.as_ref().and_then(Container::image_directive) {
            say(format!("image={image}"));
        }
        if !self.after.is_empty() {
            say(format!("dependency=afterok:{}", joined(self.after, ":")));
        }
    }

    fn pbs(&self, name: &str, folder: &str, mut say: impl FnMut(String)) {
        let wishes = &self.head.wishes;
        let is_torque = self.head.dialect == Dialect::Torque;
        say(format!("N {name}"));
        say(format!("o {folder}/{name}.out"));
        say("j oe".to_owned());
        if is_torque {
            let cores = wishes.cores.map(|cores| format!(":ppn={cores}")).unwrap_or_default();
            let feature = wishes.constraint.as_ref().map(|feature| format!(":{feature}")).unwrap_or_default();
            say(format!("l nodes={}{cores}{feature},walltime={}", self.nodes, time(self.seconds)));
        } else {
            let cores = wishes.cores.map(|cores| format!(":ncpus={cores}")).unwrap_or_default();
            let feature = wishes.constraint.as_ref().map(|feature| format!(":{feature}")).unwrap_or_default();
            say(format!("l select={}{cores}{feature}", self.nodes));
            say("l place=scatter".to_owned());
            say(format!("l walltime={}", time(self.seconds)));
        }
        // A reservation is a queue there, and so is whatever gives way.
        let queue = self.preemptible().map(|preemptible| &preemptible.class);
        if let Some(queue) = queue.or(self.reservation()).or(wishes.queue.as_ref()) {
            say(format!("q {queue}"));
        }
        if let Some(account) = &wishes.account {
            say(format!("A {account}"));
        }
        say("r y".to_owned());
        if !self.after.is_empty() {
            say(format!("W depend=afterok:{}", joined(self.after, ":")));
        }
    }

    fn lsf(&self, name: &str, folder: &str, mut say: impl FnMut(String)) {
        let wishes = &self.head.wishes;
        let cores = wishes.cores.unwrap_or(1);
        say(format!("J {name}"));
        say(format!("Jd \"{}\"", self.identity));
        say(format!("cwd {folder}"));
        say(format!("o {folder}/{name}.%J.out"));
        say(format!("n {}", self.nodes * cores));
        say(format!("R \"span[ptile={cores}]\""));
        // Whole minutes, and never less than asked for.
        let minutes = self.seconds.div_ceil(60);
        say(format!("W {}:{:02}", minutes / 60, minutes % 60));
        let queue = self.preemptible().map(|preemptible| &preemptible.class).or(wishes.queue.as_ref());
        let options = [
            ("q", queue),
            ("P", wishes.account.as_ref()),
            ("U", self.reservation()),
            ("sla", wishes.qos.as_ref()),
        ];
        for (option, value) in options {
            if let Some(value) = value {
                say(format!("{option} {value}"));
            }
        }
        if let Some(constraint) = &wishes.constraint {
            say(format!("R \"select[{constraint}]\""));
        }
        say("r".to_owned());
        say("wa USR1".to_owned());
        say(format!("wt {}", self.warning().div_ceil(60)));
        if !self.after.is_empty() {
            let done: Vec<String> = self.after.iter().map(|id| format!("done({id})")).collect();
            say(format!("w \"{}\"", done.join(" && ")));
        }
    }

    fn sge(&self, name: &str, folder: &str, mut say: impl FnMut(String)) {
        let wishes = &self.head.wishes;
        say(format!("N {name}"));
        say("S /bin/bash".to_owned());
        say(format!("wd {folder}"));
        say(format!("o {folder}/{name}.$JOB_ID.out"));
        say("j y".to_owned());
        say(format!("l h_rt={}", time(self.seconds)));
        let queue = self.preemptible().map(|preemptible| &preemptible.class).or(wishes.queue.as_ref());
        let options = [
            ("q", queue),
            ("P", wishes.account.as_ref()),
            ("ar", self.reservation()),
            ("l", wishes.constraint.as_ref()),
        ];
        for (option, value) in options {
            if let Some(value) = value {
                say(format!("{option} {value}"));
            }
        }
        if let Some(parallel) = &wishes.parallel {
            say(format!("pe {parallel} {}", self.nodes * wishes.cores.unwrap_or(1)));
        }
        say("r y".to_owned());
        // USR1 before it is stopped, USR2 before it is killed.
        say("notify".to_owned());
        if !self.after.is_empty() {
            say(format!("hold_jid {}", joined(self.after, ",")));
        }
    }

    /// How long before its end a job is warned, seconds.
    pub(super) fn warning(&self) -> u64 {
        self.head.wishes.warning.unwrap_or(30)
    }
}
