//! The configuration of the trigger: one TOML file, read into typed values with every fault named at once. Parsing opens
//! nothing. What starts work is not here but on the topic `rules`.

mod parse;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lightrail_service::settings;
use lightrail_topics::{DeciderName, PoolName, SiteName};

use crate::decide::Pool;
use crate::executor::{Analysis, Head, IriAt, Lsf, Pbs, SfapiAt, Sge, Slurm};
use crate::facility::StatusAt;

pub use lightrail_service::settings::{ConfigError, Fault, Kafka, Log};

/// The example configuration, the one that the repository holds and its tests check.
pub const EXAMPLE: &str = include_str!("../lightrail-trigger.example.toml");

/// Everything that the trigger is told at its start.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `decider`: under which name it says that it decides.
    pub decider: DeciderName,
    /// `[kafka]`.
    pub kafka: Kafka,
    /// `kafka.logbook`: what stands before the name of the logbook's topic `runs`; it is not followed where this is left out.
    pub logbook: Option<String>,
    /// `[sites.<NAME>]`: where jobs run.
    pub sites: BTreeMap<SiteName, Site>,
    /// `[pools.<NAME>]`: standing pools of analysis workers.
    pub pools: BTreeMap<PoolName, Pool>,
    /// `[decide]`.
    pub decide: Decide,
    /// `[facility]`.
    pub facility: FacilityWatch,
    /// `[jid]`: LCLS's job interface, where it is served.
    pub jid: Option<JidAt>,
    /// `[http]`: where health and metrics are asked for.
    pub listen: SocketAddr,
    /// `[log]`.
    pub log: Log,
}

/// How jobs run at a site.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// `executor`, and its table.
    pub executor: Place,
    /// `[sites.<NAME>.script]`: what stands in the head of every script.
    pub head: Head,
    /// `folder`: for scripts' output and local jobs, seen by nodes.
    pub folder: PathBuf,
    /// `claims`: the folder of claims, seen by nodes and from here.
    pub claims: PathBuf,
    /// `at_once`: jobs that are not over, at most.
    pub at_once: u32,
    /// `for_live`: how many of these reprocessing never takes.
    pub for_live: u16,
    /// `allocation`: node-hours that jobs may spend there in all, where they are counted.
    pub allocation: Option<u64>,
    /// `[sites.<NAME>.analysis]`: how workers are started there.
    pub analysis: Option<Analysis>,
    /// `[sites.<NAME>.status]`: who is asked how it is.
    pub status: StatusAt,
}

/// Which executor, with what it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `local`: processes of this machine.
    Local,
    /// `slurm`, and `[sites.<NAME>.slurm]`.
    Slurm(Slurm),
    /// `pbs`, and `[sites.<NAME>.pbs]`.
    Pbs(Pbs),
    /// `lsf`, and `[sites.<NAME>.lsf]`.
    Lsf(Lsf),
    /// `sge`, and `[sites.<NAME>.sge]`.
    Sge(Sge),
    /// `sfapi`, and `[sites.<NAME>.sfapi]`.
    Sfapi(SfapiAt),
    /// `iri`, and `[sites.<NAME>.iri]`.
    Iri(IriAt),
}

impl Place {
    /// The limit of one submission, where it has one.
    pub fn within(&self) -> Option<Duration> {
        match self {
            Self::Local => None,
            Self::Slurm(slurm) => Some(slurm.commands.within),
            Self::Pbs(pbs) => Some(pbs.commands.within),
            Self::Lsf(lsf) => Some(lsf.commands.within),
            Self::Sge(sge) => Some(sge.commands.within),
            Self::Sfapi(at) => Some(at.within),
            Self::Iri(at) => Some(at.within),
        }
    }

    /// Its table's name.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Slurm(_) => "slurm",
            Self::Pbs(_) => "pbs",
            Self::Lsf(_) => "lsf",
            Self::Sge(_) => "sge",
            Self::Sfapi(_) => "sfapi",
            Self::Iri(_) => "iri",
        }
    }
}

/// `[jid]`: LCLS's job interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JidAt {
    /// `listen`.
    pub listen: SocketAddr,
    /// `address`: where jobs find it, where that is not where it listens.
    pub address: Option<String>,
    /// `public_key`: the file of the key by which the logbook's tokens are checked.
    pub public_key: Option<PathBuf>,
    /// `loopback`: whether calls from this machine need no token.
    pub loopback: bool,
    /// `time`: how long a workflow's job may run.
    pub time: Duration,
}

/// `[decide]`: how patiently is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decide {
    /// `poll`: how often each scheduler is asked for all jobs at once.
    pub poll: Duration,
    /// `grace`: after so long a job that is not seen was not submitted, or is lost.
    pub grace: Duration,
    /// `again`: a failed job is tried again after so long, times its attempts.
    pub again: Duration,
    /// `lands_within`: so long room is kept for a run that has ended and is not at its site yet.
    pub lands_within: Duration,
    /// `hangs`: a job that gets nowhere for so long hangs.
    pub hangs: Duration,
    /// `patience`: how long another's open transaction is waited for.
    pub patience: Duration,
}

/// `[facility]`: how sites are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FacilityWatch {
    /// `every`: how often each site's facility is asked how it is.
    pub every: Duration,
    /// `heartbeat`: what has not changed is said again after so long.
    pub heartbeat: Duration,
    /// `lost_after`: a site that is away for so long is lost.
    pub lost_after: Duration,
    /// `give_up_after`: what runs at a lost site is given up after so long.
    pub give_up_after: Duration,
    /// `failover_for`: so long an experiment's data are sent elsewhere, and again while that is needed.
    pub failover_for: Duration,
}

impl Config {
    /// Reads a configuration from its text. Opens nothing.
    ///
    /// # Errors
    /// All faults, in the order of the text.
    pub fn parse(text: &str) -> Result<Self, Vec<Fault>> {
        settings::parse(text, parse::whole)
    }

    /// Reads a configuration file and looks whether the secrets that it names can be read.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let secrets = |config: &Self| {
            let tokens = config.sites.values().filter_map(|site| match &site.executor {
                Place::Iri(at) => Some(&at.token),
                _ => None,
            });
            config.kafka.secrets().chain(tokens).cloned().collect()
        };
        settings::load(path, Self::parse, secrets)
    }
}
