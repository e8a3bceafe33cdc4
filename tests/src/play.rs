//! What is played on a stage: experiments, runs made up for a case, and waiting for them to arrive.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use lightrail_compose::play::{self, FoundRun, PlayedRun, RunScript};
use lightrail_topics::{Experiment, Instrument, Lfn, RunKey, RunNumber, SiteName};

use crate::stage::Stage;

impl Stage {
    /// What the DAQ writes to and whom it tells.
    pub fn daq(&self) -> play::Stage<'_> {
        let stores = (0..self.slac.servers()).map(|server| self.slac.path_on(server, "")).collect();
        play::Stage::new(&self.logbook, stores)
    }

    /// Makes the experiment known, and gives runs of it that can be played: `bytes` together.
    ///
    /// # Errors
    /// When the logbook refuses.
    pub fn runs(&self, first: u32, runs: u32, bytes: u64, seed: u64) -> anyhow::Result<Vec<RunScript>> {
        if first == 1 {
            self.daq().announce(&experiment(), &instrument())?;
        }
        let play = play::Play {
            first: RunNumber(first),
            runs,
            ..play::Play::new(instrument(), experiment(), bytes, seed)
        };
        Ok(play.script()?)
    }

    /// A run of files of these names and sizes, their bytes random.
    ///
    /// # Errors
    /// When a name makes no LFN, or a file cannot be written.
    pub fn made_up(&self, number: u32, files: &[(&str, u64)]) -> anyhow::Result<FoundRun> {
        let key = RunKey { experiment: experiment(), run: RunNumber(number) };
        let mut made = Vec::new();
        for (name, size) in files {
            let below = if name.contains(".smd.") { "xtc/smalldata" } else { "xtc" };
            let lfn: Lfn = format!("/{}/{}/{below}/{name}", instrument(), experiment()).parse()?;
            let path = self.folder().join(format!("made-{:08x}", fastrand::u32(..)));
            std::fs::write(&path, random(*size)).context("cannot write a file")?;
            made.push((lfn, path));
        }
        Ok(FoundRun { key, files: made })
    }

    /// Makes the experiment known, its files wanted at NERSC.
    ///
    /// # Errors
    /// When the logbook refuses.
    pub fn announce(&self) -> anyhow::Result<()> {
        self.daq().announce(&experiment(), &instrument())
    }

    /// Takes runs one after the other.
    ///
    /// # Errors
    /// When files cannot be written.
    pub async fn take(&self, runs: &[RunScript]) -> anyhow::Result<Vec<PlayedRun>> {
        let mut taken = Vec::new();
        for run in runs {
            taken.push(self.daq().take(run).await?);
        }
        Ok(taken)
    }

    /// Waits until each run is announced as available at NERSC.
    ///
    /// # Errors
    /// When one is not within `limit`: with what the mover says of it.
    pub async fn until_available(&self, runs: &[PlayedRun], limit: Duration) -> anyhow::Result<()> {
        self.until_available_at(runs, &nersc(), limit).await
    }

    /// The same for any site.
    ///
    /// # Errors
    /// As above.
    pub async fn until_available_at(
        &self,
        runs: &[PlayedRun],
        site: &SiteName,
        limit: Duration,
    ) -> anyhow::Result<()> {
        let begin = Instant::now();
        for run in runs {
            let left = limit.saturating_sub(begin.elapsed());
            let what = format!("run {} to be available at {site}", run.key);
            let waited =
                self.witness.until(&what, left, |seen| seen.manifest(&run.key, site).map(drop)).await;
            if let Err(error) = waited {
                let path = format!("/why/{}/{}", run.key.experiment, run.key.run);
                let why = self.get(&path).await.map_or_else(|e| format!("{e:#}"), |(_, text)| text);
                return Err(error).with_context(|| format!("the mover says why not: {why}"));
            }
        }
        Ok(())
    }
}

/// Bytes that nothing can compress.
pub fn random(size: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(size).expect("a test's file fits into memory")];
    fastrand::fill(&mut bytes);
    bytes
}

/// The experiment of all cases.
pub fn experiment() -> Experiment {
    "mfxlv9518".parse().expect("a name as LCLS gives them")
}

/// Its instrument.
pub fn instrument() -> Instrument {
    "mfx".parse().expect("a name as LCLS gives them")
}

/// The destination of nearly all cases.
pub fn nersc() -> SiteName {
    "NERSC".parse().expect("a name of a site")
}
