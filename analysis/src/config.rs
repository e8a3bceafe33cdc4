//! The configuration of the analysis' services: one TOML file, read into typed values with every fault named at once.
//! Parsing opens nothing; [`Config::load`] reads the file and looks whether the secrets that it names are there.
//! Parameters of the analysis itself are not here but in trials.

mod parse;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lightrail_service::settings;
use lightrail_topics::{Experiment, Lfn, SiteName, WorkerName};

use crate::source::Location;

pub use lightrail_service::settings::{ConfigError, Door, Fault, Kafka, Log, LogFormat, Secret, SecretError};

/// The example configuration, the one that the repository holds and its tests check.
pub const EXAMPLE: &str = include_str!("../lightrail-analysis.example.toml");

/// Everything that a service of the analysis is told at its start.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `site`: where this process works: its workers take this site's images, its index publishes for it.
    pub site: SiteName,
    /// `[kafka]`.
    pub kafka: Kafka,
    /// `[sites.<NAME>]`: where a site's files are read from here.
    pub sites: BTreeMap<SiteName, Site>,
    /// `[experiments.default]` and `[experiments.<name>]`.
    pub experiments: Experiments,
    /// `[trials]`.
    pub trials: Trials,
    /// `[source]`: how files are read.
    pub source: crate::source::Settings,
    /// `[index]`.
    pub index: Index,
    /// `[work]`.
    pub work: Work,
    /// `[http]`.
    pub http: Http,
    /// `[log]`.
    pub log: Log,
}

/// How a site's files are read from this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// `folder`, or `door` and `prefix`.
    pub place: Place,
    /// `growing`: the DAQ writes here; files that end in `.inprogress` are followed as they grow.
    pub growing: bool,
}

/// Where a site's files lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Below a folder that is mounted here.
    Folder(PathBuf),
    /// Behind an XRootD door.
    Behind {
        /// The redirector or only server.
        door: Door,
        /// What stands before the LFN in paths there, without the slash at its end.
        prefix: String,
    },
}

impl Site {
    /// Where a file of this site lies.
    pub fn location(&self, lfn: &Lfn) -> Location {
        match &self.place {
            Place::Folder(folder) => Location::local(folder.join(lfn.as_str().trim_start_matches('/'))),
            Place::Behind { door, prefix } => format!("root://{door}/{prefix}{lfn}")
                .parse()
                .expect("a checked door, prefix and LFN make a URL"),
        }
    }
}

/// Where an experiment's runs are worked, and how early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExperimentRules {
    /// `site`: the one site at which its runs are indexed and worked under live trials.
    pub site: SiteName,
    /// `streaming`: an image is published when the files of its extents are there, not only when its run is.
    pub streaming: bool,
}

/// The rules of all experiments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Experiments {
    /// Of those that are not named.
    pub default: ExperimentRules,
    /// Of those that are.
    pub named: BTreeMap<Experiment, ExperimentRules>,
}

impl Experiments {
    /// The rules of one experiment.
    pub fn of(&self, experiment: &Experiment) -> &ExperimentRules {
        self.named.get(experiment).unwrap_or(&self.default)
    }
}

/// Trials' files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trials {
    /// `folder`: where relative paths of constants, masks and geometry begin.
    pub folder: PathBuf,
}

/// The service `index`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// `batch`: the most images of one transaction.
    pub batch: u32,
    /// `look`: how often growing files are looked at.
    pub look: Duration,
    /// `retry`: a run that could not be indexed is tried again after so long.
    pub retry: Duration,
    /// `patience`: how long another's open transaction is waited for.
    pub patience: Duration,
}

/// The service `work`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// `worker`: the name of this machine's workers, by default the machine's; a slot's number is added.
    pub worker: Option<WorkerName>,
    /// `threads`: images worked on at once; all cores where it is left out.
    pub threads: Option<u32>,
    /// `ahead`: images read before they are worked, per lane.
    pub ahead: u32,
    /// `results`: the most results of one transaction.
    pub results: u32,
    /// `session`: a worker that was silent for so long is dead to its group.
    pub session: Duration,
    /// `transaction`: the broker ends a transaction that is open for longer.
    pub transaction: Duration,
    /// `grace`: a stage that goes on for so long past its image's limit ends the process.
    pub grace: Duration,
    /// `hand_over`: begun images are waited for so long when partitions are taken away or the worker leaves.
    pub hand_over: Duration,
    /// `reprocess_batch`: the most work that is taken from the reprocess lane at a time.
    pub reprocess_batch: Duration,
    /// `failures` of a door in a row after which nothing is taken from it.
    pub failures: u32,
    /// `open_for`: time until such a door is tried once.
    pub open_for: Duration,
    /// `powders`: the folder into which partial powder sums are written; none are where it is left out.
    pub powders: Option<PathBuf>,
    /// `powder_every`: how often they are, at most a minute apart: that much a worker that is killed may lose.
    pub powder_every: Duration,
}

/// The services' HTTP interfaces: health and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// `index`: where the service `index` listens.
    pub index: SocketAddr,
    /// `work`: where `work` listens.
    pub work: SocketAddr,
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
        settings::load(path, Self::parse, |config| config.kafka.secrets().cloned().collect())
    }

    /// The site at which this process works.
    pub fn here(&self) -> &Site {
        self.sites.get(&self.site).expect("checked when the configuration was parsed")
    }

    /// The names of all configured sites.
    pub fn site_names(&self) -> Vec<SiteName> {
        self.sites.keys().cloned().collect()
    }
}
