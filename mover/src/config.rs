//! The mover's configuration: one TOML file, read into typed values with every fault named at once.
//! Parsing opens nothing; [`Config::load`] reads the file and looks whether the secrets that it names are there.
//! Routes, wishes and priorities that change while the mover runs are not here but on Kafka.

mod parse;
mod places;
mod routes;
mod setting;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lightrail_service::settings;
use lightrail_topics::{Millis, MoverName, SiteName};

pub use lightrail_service::settings::{
    ConfigError, Door, Fault, Kafka, Log, LogFormat, Property, Secret, SecretError, SecretSource, SecretText,
    near, nearest,
};
pub use places::{Engine, ExperimentRules, Experiments, Site, Verify, Watch};
pub use routes::{RouteLine, RouteTo};

/// The example configuration, the one that the repository holds and its tests check.
pub const EXAMPLE: &str = include_str!("../lightrail-mover.example.toml");

/// Everything that a mover is told at its start.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `mover`: under this name one mover runs at a time; also its consumer group and transactional id.
    pub mover: MoverName,
    /// `host`: the host's name as other movers see it; the machine's own where it is left out.
    pub host: Option<String>,
    /// `source`: the site at which the logbook's files lie.
    pub source: SiteName,
    /// `start_from`: where reading begins at the very first start; never looked at again.
    pub start_from: Option<StartFrom>,
    /// `[kafka]`.
    pub kafka: Kafka,
    /// `[kafka.logbook]`: the whole names of the logbook's topics, all with one prefix.
    pub logbook_topics: LogbookTopics,
    /// `[journal]`.
    pub journal: Journal,
    /// `[sites.<NAME>]`.
    pub sites: BTreeMap<SiteName, Site>,
    /// `[experiments.default]` and `[experiments.<name>]`.
    pub experiments: Experiments,
    /// `[[watch]]`: folders in which new files are looked for.
    pub watch: Vec<Watch>,
    /// `[patience]`: how long each thing is waited for.
    pub patience: Patience,
    /// `[retry]`: how often and when a failed transfer is tried again.
    pub retry: Retry,
    /// `[breaker]`: when an endpoint is left alone.
    pub breaker: Breaker,
    /// `[logbook]`: the experiment logbook's REST interface, where there is one.
    pub logbook: Option<Logbook>,
    /// `[http]`.
    pub http: Http,
    /// `[sweep]`.
    pub sweep: Sweep,
    /// `[shutdown]`.
    pub shutdown: Shutdown,
    /// `[log]`.
    pub log: Log,
}

/// Where reading begins at the first start of a mover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartFrom {
    /// With what comes from now on.
    Now,
    /// With what the logbook said at or after this instant.
    Time(Millis),
    /// With all that the topics still hold.
    Earliest,
}

/// What the logbook's topics are called, without our prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogbookTopics {
    /// Runs beginning and ending.
    pub runs: String,
    /// Files registered, and found at locations.
    pub file_catalog: String,
    /// Experiments and their parameters.
    pub experiments: String,
}

/// Where the journal lies and how much room it leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// `folder`: the journal's own folder; its lock file is this name and `.lock`.
    pub folder: PathBuf,
    /// `reserve`: bytes that must stay free on its file system; with less the intake stops.
    pub reserve: u64,
    /// `cache`: bytes of memory that the journal may keep its pages in. A finished transfer's line stays for good.
    pub cache: u64,
}

/// How long each thing is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patience {
    /// `stall`: a started copy whose size does not grow for so long is stopped and tried elsewhere.
    pub stall: Duration,
    /// `silence`: a server that answers nothing for so long hangs.
    pub silence: Duration,
    /// `call`: deadline of one XRootD call.
    pub call: Duration,
    /// `slot`: wait for a slot at a data server before another one is tried.
    pub slot: Duration,
    /// `close`: the least time that closing and computing a checksum are given.
    pub finish: Duration,
    /// `slowest`: bytes per second; size divided by it is added to `finish`.
    pub slowest: u64,
}

impl Patience {
    /// How long closing or summing a file of `size` bytes may take.
    pub fn finish_of(&self, size: u64) -> Duration {
        self.finish.saturating_add(Duration::from_secs(size / self.slowest.max(1)))
    }
}

/// How often and when a failed transfer is tried again.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// `tries` before a transfer is failed, the first included.
    pub tries: u32,
    /// `first`: the delay after the first failure; each has jitter.
    pub first: Duration,
    /// `factor` by which the delay grows.
    pub factor: f64,
    /// `max`: the longest delay.
    pub max: Duration,
}

/// When an endpoint is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// `failures` in a row that open it.
    pub failures: u32,
    /// `open_for`: time until one probe is let through.
    pub open_for: Duration,
}

/// The experiment logbook's REST interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logbook {
    /// `url`: up to and with the first `lgbk`, without the slash at its end.
    pub url: String,
    /// `user` sent as `REMOTE-USER`, for a logbook behind no authenticating proxy.
    pub user: Option<String>,
    /// `token_file` or `token_env`: sent as a bearer token.
    pub token: Option<Secret>,
    /// `report`: whether files are reported as available at their location.
    pub report: bool,
    /// `silent_after`: a run of which nothing was heard for so long is asked for.
    pub silent_after: Duration,
    /// `answer`: deadline of one call.
    pub answer: Duration,
}

/// The mover's own HTTP interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// `listen`.
    pub listen: SocketAddr,
    /// `token_file` or `token_env`: whoever changes something shows it. Without it nothing can be changed by HTTP.
    pub token: Option<Secret>,
    /// `secret_prefix_file` or `secret_prefix_env`: a path part before `/ws/`, for the logbook can send no token.
    pub secret_prefix: Option<Secret>,
}

/// The comparison of journal, destination and logbook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// `every`.
    pub every: Duration,
    /// `mend_for`: the age up to which a run's differences are mended.
    pub mend_for: Duration,
}

/// What a SIGTERM leaves time for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// `drain_for`: copies that are not done by then are cancelled and queued again.
    pub drain_for: Duration,
}

impl Config {
    /// Reads a configuration from its text. Opens nothing.
    ///
    /// # Errors
    /// All faults, in the order of the text.
    pub fn parse(text: &str) -> Result<Self, Vec<Fault>> {
        parse::parse(text)
    }

    /// Reads a configuration file and looks whether the secrets that it names can be read.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        settings::load(path, Self::parse, |config| config.secrets().cloned().collect())
    }

    /// Every secret that is named.
    fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let others = [self.http.token.as_ref(), self.http.secret_prefix.as_ref()];
        let logbook = self.logbook.as_ref().and_then(|logbook| logbook.token.as_ref());
        self.kafka.secrets().chain(others.into_iter().flatten()).chain(logbook)
    }

    /// The name of this host: the configured one, else the machine's.
    pub fn host_name(&self) -> String {
        let machine = || rustix::system::uname().nodename().to_string_lossy().into_owned();
        self.host.clone().unwrap_or_else(machine)
    }

    /// The sites to which copies can go: all but the source.
    pub fn destinations(&self) -> impl Iterator<Item = (&SiteName, &Site)> {
        self.sites.iter().filter(|(name, _)| **name != self.source)
    }
}
