//! Plays an experiment: takes runs as LCLS's DAQ does, writes their files into the source cluster and tells the logbook of
//! them in the order in which LCLS tells. Gives back what must arrive elsewhere, byte for byte. Moves nothing itself.

mod files;
mod found;
mod script;
mod simulated;

use std::path::PathBuf;

use anyhow::Context as _;
use lightrail_topics::{Checksum, Experiment, Instrument, Lfn, Millis, RunKey};

use self::files::Bytes;
pub use self::files::{read_back, same_bytes};
pub use self::found::{FoundRun, runs_of};
pub use self::script::{Daq, FileScript, Play, RunScript};
pub use self::simulated::{Simulation, TrueImage, TrueSpot};
use crate::logbook::{FileReport, Logbook};

/// Where the play takes place.
#[derive(Debug)]
pub struct Stage<'a> {
    /// Who is told.
    pub logbook: &'a Logbook,
    /// The folders below which LFNs lie, one per server of the source: each file is written into one of them.
    pub stores: Vec<PathBuf>,
    /// What the DAQ calls itself.
    pub hostname: String,
    /// Whether the DAQ's reports have sizes; LCLS-II's never do.
    pub sizes: bool,
}

/// A run that is being taken, its files already whole.
#[derive(Clone, Debug)]
pub struct OpenRun {
    /// Which run.
    pub key: RunKey,
    /// Its files.
    pub files: Vec<PlayedFile>,
}

/// A run that was taken.
#[derive(Clone, Debug)]
pub struct PlayedRun {
    /// Which run.
    pub key: RunKey,
    /// When it was closed, by this machine's clock.
    pub ended: Millis,
    /// Its files.
    pub files: Vec<PlayedFile>,
}

impl PlayedRun {
    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}

/// A file that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlayedFile {
    /// Its name.
    pub lfn: Lfn,
    /// Bytes.
    pub size: u64,
    /// adler32 of what was written.
    pub checksum: Checksum,
    /// Where it lies at the source.
    pub path: PathBuf,
}

impl<'a> Stage<'a> {
    /// A stage of LCLS-II: reports without sizes.
    pub fn new(logbook: &'a Logbook, stores: Vec<PathBuf>) -> Self {
        Self { logbook, stores, hostname: "daq-mfx-cmp001".to_owned(), sizes: false }
    }

    /// Makes the experiment known; its files are wanted at `NERSC`.
    ///
    /// # Errors
    /// None today; a logbook with users would refuse.
    pub fn announce(&self, experiment: &Experiment, instrument: &Instrument) -> anyhow::Result<()> {
        self.logbook.register_experiment(experiment, instrument, &["NERSC".parse()?]);
        Ok(())
    }

    /// Takes all runs of a play, one after the other.
    ///
    /// # Errors
    /// When files cannot be written or the logbook refuses.
    pub async fn perform(&self, play: &Play) -> anyhow::Result<Vec<PlayedRun>> {
        let mut runs = Vec::new();
        for run in play.script()? {
            runs.push(self.take(&run).await?);
        }
        Ok(runs)
    }

    /// Takes one made-up run: opened, files registered as they are opened, written, closed.
    ///
    /// # Errors
    /// When files cannot be written or the logbook refuses.
    pub async fn take(&self, run: &RunScript) -> anyhow::Result<PlayedRun> {
        let open = self.open(run).await?;
        self.close(open)
    }

    /// Takes one run whose files are copies of others.
    ///
    /// # Errors
    /// When files cannot be copied or the logbook refuses.
    pub async fn take_found(&self, run: &FoundRun) -> anyhow::Result<PlayedRun> {
        let open = self.open_found(run).await?;
        self.close(open)
    }

    /// The first half of [`Stage::take`]: the run is open, its files are whole.
    ///
    /// # Errors
    /// When files cannot be written or the logbook refuses.
    pub async fn open(&self, run: &RunScript) -> anyhow::Result<OpenRun> {
        let random = |file: &FileScript| Bytes::Random { seed: file.seed, size: file.size };
        let files = run.files.iter().map(|file| (file.lfn.clone(), random(file))).collect();
        self.open_files(&run.key, files).await
    }

    /// The first half of [`Stage::take_found`].
    ///
    /// # Errors
    /// When files cannot be copied or the logbook refuses.
    pub async fn open_found(&self, run: &FoundRun) -> anyhow::Result<OpenRun> {
        let files = run.files.iter().map(|(lfn, path)| (lfn.clone(), Bytes::Of(path.clone()))).collect();
        self.open_files(&run.key, files).await
    }

    /// Closes the run.
    ///
    /// # Errors
    /// When the logbook refuses.
    pub fn close(&self, open: OpenRun) -> anyhow::Result<PlayedRun> {
        self.logbook.end_run(&open.key.experiment)?;
        Ok(PlayedRun { key: open.key, ended: crate::logbook::now(), files: open.files })
    }

    async fn open_files(&self, key: &RunKey, files: Vec<(Lfn, Bytes)>) -> anyhow::Result<OpenRun> {
        let experiment = &key.experiment;
        self.begin(key)?;
        let mut played = Vec::new();
        for (at, (lfn, bytes)) in files.into_iter().enumerate() {
            let path = self.path_in(at, &lfn)?;
            if !self.sizes {
                self.logbook.register_file(experiment, &self.report(&lfn, key, &path, None))?;
            }
            let target = path.clone();
            let (size, checksum) = tokio::task::spawn_blocking(move || files::put(&bytes, &target))
                .await
                .context("the writing thread ended")??;
            if self.sizes {
                self.logbook.register_file(experiment, &self.report(&lfn, key, &path, Some(size)))?;
            }
            played.push(PlayedFile { lfn, size, checksum, path });
        }
        Ok(OpenRun { key: key.clone(), files: played })
    }

    /// The DAQ opens a run.
    fn begin(&self, key: &RunKey) -> anyhow::Result<()> {
        let detector = [("DAQ Detectors/MfxEndstation-0|Jungfrau-0", 1.0)];
        self.logbook.start_run(&key.experiment, Some(key.run))?;
        self.logbook.add_run_params(&key.experiment, Some(key.run), &detector)
    }

    /// All files of a stream lie on one server, as one DAQ node writes them.
    fn path_in(&self, at: usize, lfn: &Lfn) -> anyhow::Result<PathBuf> {
        let stream = lfn.stream().map_or(at, usize::from);
        let store = self.stores.get(stream % self.stores.len().max(1)).context("a stage needs a store")?;
        Ok(store.join(lfn.to_string().trim_start_matches('/')))
    }

    fn report(&self, lfn: &Lfn, key: &RunKey, path: &std::path::Path, size: Option<u64>) -> FileReport {
        FileReport {
            run: Some(key.run),
            absolute_path: Some(path.display().to_string()),
            hostname: Some(self.hostname.clone()),
            created: Some(crate::logbook::now()),
            size,
            ..FileReport::new(lfn.clone())
        }
    }
}
