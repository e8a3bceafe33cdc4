//! The part of the configuration that says where files are and where they go: sites, experiments, watched folders.
//! Plain values; what must agree between them is checked where they are parsed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use lightrail_service::settings::Door;
use lightrail_topics::{ChecksumKind, Experiment, Instrument, SiteName};

/// A site: its doors, its prefix and its limits. Limits hold whether it gives or takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// `door`: the XRootD redirector or only server. A site that only the posix engine uses has none.
    pub door: Option<Door>,
    /// `prefix`: stands before the LFN in paths at this site, without the slash at its end.
    pub prefix: String,
    /// `servers`: its data servers, where they are not to be found through the door.
    pub servers: Vec<Door>,
    /// `engine` of copies to this site.
    pub engine: Engine,
    /// `transfers`: how many copies at once.
    pub transfers: u32,
    /// `per_server`: how many copies at once to one data server: our share of its `ofs.tpc xfr`.
    pub per_server: u32,
    /// `bytes_in_flight`: bytes of all files being copied; a bigger file goes alone.
    pub bytes_in_flight: u64,
    /// `reserved_small`: how many of `transfers` only small files may use.
    pub reserved_small: u32,
    /// `small_below`: bytes below which a file is small.
    pub small_below: u64,
    /// `verify`: what must agree before a file is said to be available.
    pub verify: Verify,
    /// `checksums`: kinds in the order of preference.
    pub checksums: Vec<ChecksumKind>,
    /// `recheck`: whether a file that is already there is read again rather than its stored sum believed.
    pub recheck: bool,
    /// `mode` of files at this site, such as `0o440`.
    pub mode: u32,
}

/// What copies a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Third-party copy, driven by the mover itself.
    Native,
    /// Third-party copy by the tool `xrdcp`.
    Xrdcp,
    /// Both prefixes are folders on this machine.
    Posix,
}

/// What must agree between source and destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Size and checksum.
    Checksum,
    /// The size only; the event says so.
    Size,
}

/// What is done with experiments, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Experiments {
    /// For experiments without a table of their own.
    pub default: ExperimentRules,
    /// `[experiments.<name>]`: what it leaves out is as in the default.
    pub named: BTreeMap<Experiment, ExperimentRules>,
}

impl Experiments {
    /// The rules of an experiment.
    pub fn of(&self, experiment: &Experiment) -> &ExperimentRules {
        self.named.get(experiment).unwrap_or(&self.default)
    }
}

/// What is done with an experiment's runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExperimentRules {
    /// `to`: sites, in order. `None`: as the experiment's own `dm_locations` say. Routes on Kafka go above it.
    pub to: Option<Vec<SiteName>>,
    /// `streaming`: files go as they are complete, before their run is closed.
    pub streaming: bool,
    /// `not_waited_streams`: streams that a run is available without; their files come as corrections.
    pub not_waited_streams: Vec<u16>,
    /// `transfers`: how many copies at once, if limited.
    pub transfers: Option<u32>,
    /// `report_early`: reports to the logbook are sent file by file, before the run is closed.
    pub report_early: bool,
    /// `overdue`: how long after its close a run is said to be incomplete while files are still missing.
    pub overdue: Duration,
}

/// A folder in which an experiment's files appear without a logbook saying so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// `folder`: what lies below it is `/<instrument>/<experiment>/` and the same path.
    pub folder: PathBuf,
    /// `experiment` that the folder belongs to.
    pub experiment: Experiment,
    /// `instrument`; the experiment's first three letters where it is left out, as LCLS names them.
    pub instrument: Instrument,
    /// `site` at which the files lie.
    pub site: SiteName,
    /// `scan`: time between two looks; NFS and Lustre do not notify.
    pub scan: Duration,
    /// `quiet`: a file or run that has not changed for so long is complete.
    pub quiet: Duration,
}
