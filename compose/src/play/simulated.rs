//! Runs whose images have a known truth: the analysis' simulator, run as a program, writes them into a store as a DAQ does, growing
//! and in chunks; the logbook is told of each file as it appears. Never judges what an analysis makes of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use lightrail_topics::{Experiment, Instrument, Lfn, RunKey, RunNumber};
use serde::Deserialize;

use super::{OpenRun, PlayedFile, Stage, read_back};
use crate::scratch::make_folder_for_servers;
use crate::services;

/// No run of a demo or test takes longer.
const LONGEST: Duration = Duration::from_secs(600);
/// How often new files are looked for.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// A beam time as it is asked of the simulator; the same one gives the same bytes.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// The instrument.
    pub instrument: Instrument,
    /// The experiment.
    pub experiment: Experiment,
    /// The detector, by the simulator's name.
    pub detector: String,
    /// Images of a run.
    pub images: u64,
    /// Images a second; as fast as they can be made for `None`.
    pub rate: Option<f64>,
    /// Files a run is written into side by side.
    pub streams: usize,
    /// Images after which a stream goes on in another file.
    pub chunk_images: Option<u64>,
    /// Images drawn once and dealt out again and again; 0 draws each.
    pub pool: u64,
    /// The part of images with a crystal.
    pub hit_rate: f64,
    /// Decides everything.
    pub seed: u64,
}

/// What is true of an image.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct TrueImage {
    /// Its event, as results name it.
    pub event: String,
    /// Whether it shows a crystal.
    pub hit: bool,
    /// Its spots.
    pub spots: Vec<TrueSpot>,
}

/// A spot that was drawn.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct TrueSpot {
    /// Photons.
    pub intensity: f64,
    /// Whether it lies on good pixels.
    pub good: bool,
}

impl Eq for TrueSpot {}

impl TrueImage {
    /// How many spots a spot finder can be expected to find: on good pixels, with at least 25 photons.
    pub fn findable(&self) -> usize {
        self.spots.iter().filter(|spot| spot.good && spot.intensity >= 25.0).count()
    }
}

impl Simulation {
    /// Small images of 64 kB in one stream, drawn one by one as they are taken, 120 a second: for tests.
    pub fn small(experiment: Experiment, instrument: Instrument, images: u64) -> Self {
        Self {
            instrument,
            experiment,
            detector: "jungfrau32k".to_owned(),
            images,
            rate: Some(120.0),
            streams: 1,
            chunk_images: None,
            pool: 0,
            hit_rate: 0.2,
            seed: 7,
        }
    }

    fn args(&self, out: &Path, first: RunNumber, runs: u32) -> Vec<String> {
        let mut args = vec!["simulate".to_owned(), "--out".to_owned(), out.display().to_string()];
        let mut add = |name: &str, value: &dyn std::fmt::Display| {
            args.extend([format!("--{name}"), value.to_string()]);
        };
        add("experiment", &self.experiment);
        add("instrument", &self.instrument);
        add("detector", &self.detector);
        add("first-run", &first);
        add("runs", &runs);
        add("images", &self.images);
        add("rate", &self.rate.unwrap_or(120.0));
        add("streams", &self.streams);
        add("pool", &self.pool);
        add("hit-rate", &self.hit_rate);
        add("seed", &self.seed);
        if let Some(images) = self.chunk_images {
            add("chunk-images", &images);
        }
        if self.rate.is_none() {
            args.push("--unpaced".to_owned());
        }
        args
    }

    /// Writes only what an analysis needs for these runs (constants, mask, geometry) below `folder`, and gives the trial's file.
    ///
    /// # Errors
    /// When the simulator fails: with what it said.
    pub async fn inputs(&self, folder: &Path) -> anyhow::Result<PathBuf> {
        self.simulate(folder, RunNumber(1), 0).await?;
        Ok(folder.join("trial.toml"))
    }

    async fn simulate(&self, out: &Path, first: RunNumber, runs: u32) -> anyhow::Result<()> {
        let args = self.args(out, first, runs);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let ran = services::run("lightrail-analysis", &args, LONGEST).await?;
        anyhow::ensure!(ran.status.success(), "the simulator failed ({}): {}", ran.status, ran.stderr.trim());
        Ok(())
    }

    /// What is true of a run's images, by event; `store` is where it was written.
    ///
    /// # Errors
    /// When the truth cannot be read.
    pub fn truth(&self, store: &Path, run: RunNumber) -> anyhow::Result<BTreeMap<String, TrueImage>> {
        let below =
            format!("{}/{}/truth/{}-r{:04}.jsonl", self.instrument, self.experiment, self.experiment, run.0);
        let path = store.join(below);
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        // The first line is about the run.
        let images = text.lines().skip(1).map(|line| {
            let image: TrueImage =
                serde_json::from_str(line).with_context(|| format!("{}: {line}", path.display()))?;
            Ok((image.event.clone(), image))
        });
        images.collect()
    }

    /// The run's files in `store` that are there or grow, in the order of their names.
    fn files(&self, store: &Path, run: RunNumber) -> anyhow::Result<Vec<Lfn>> {
        let begin = format!("{}-r{:04}-", self.experiment, run.0);
        let mut found = Vec::new();
        for below in ["xtc", "xtc/smalldata"] {
            let folder = format!("/{}/{}/{below}", self.instrument, self.experiment);
            for entry in std::fs::read_dir(store.join(&folder[1..])).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let name = name.strip_suffix(".inprogress").unwrap_or(&name);
                if name.starts_with(&begin) {
                    found.push(format!("{folder}/{name}").parse()?);
                }
            }
        }
        found.sort();
        found.dedup();
        Ok(found)
    }
}

impl Stage<'_> {
    /// Where a simulated run is written: as a whole on one server, as one DAQ node writes it.
    ///
    /// # Errors
    /// When the stage has no store.
    pub fn store_of(&self, run: RunNumber) -> anyhow::Result<&Path> {
        let at = usize::try_from(run.0)? % self.stores.len().max(1);
        self.stores.get(at).map(PathBuf::as_path).context("a stage needs a store")
    }

    /// The first half of taking a simulated run: it is open and its files are whole. They were registered as they appeared.
    ///
    /// # Errors
    /// When the simulator fails or the logbook refuses.
    pub async fn open_simulated(&self, simulation: &Simulation, run: RunNumber) -> anyhow::Result<OpenRun> {
        self.open_in_part(simulation, run, |_| true).await.map(|(open, _)| open)
    }

    /// The same, but only some files are registered; the others are given back, for [`Stage::register`].
    ///
    /// # Errors
    /// As [`Stage::open_simulated`].
    pub async fn open_in_part(
        &self,
        simulation: &Simulation,
        run: RunNumber,
        told: impl Fn(&Lfn) -> bool,
    ) -> anyhow::Result<(OpenRun, Vec<PlayedFile>)> {
        let key = RunKey { experiment: simulation.experiment.clone(), run };
        let store = self.store_of(run)?;
        make_folder_for_servers(
            &store.join(format!("{}/{}/xtc/smalldata", simulation.instrument, simulation.experiment)),
        )?;
        self.begin(&key)?;
        let mut known: Vec<Lfn> = Vec::new();
        let writing = simulation.simulate(store, run, 1);
        tokio::pin!(writing);
        let mut look = tokio::time::interval(BETWEEN_LOOKS);
        loop {
            let ended = tokio::select! {
                ended = &mut writing => Some(ended),
                _ = look.tick() => None,
            };
            for lfn in simulation.files(store, run)? {
                if known.contains(&lfn) {
                    continue;
                }
                if told(&lfn) {
                    self.register(&key, &lfn, &store.join(lfn.as_str().trim_start_matches('/')))?;
                }
                known.push(lfn);
            }
            if let Some(ended) = ended {
                ended?;
                break;
            }
        }
        let mut files = Vec::new();
        for lfn in known {
            let path = store.join(lfn.as_str().trim_start_matches('/'));
            let read = path.clone();
            let (size, checksum) = tokio::task::spawn_blocking(move || read_back(&read))
                .await
                .context("the reading thread ended")??;
            files.push(PlayedFile { lfn, size, checksum, path });
        }
        let (files, untold) = files.into_iter().partition(|file| told(&file.lfn));
        Ok((OpenRun { key, files }, untold))
    }

    /// Tells the logbook of a file, as the DAQ does when it opens one.
    ///
    /// # Errors
    /// When the logbook refuses.
    pub fn register(&self, key: &RunKey, lfn: &Lfn, path: &Path) -> anyhow::Result<()> {
        self.logbook.register_file(&key.experiment, &self.report(lfn, key, path, None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_simulated_has_inputs_files_and_a_truth() {
        let scratch = crate::scratch::Scratch::new().unwrap();
        let simulation = Simulation {
            rate: None,
            hit_rate: 0.5,
            ..Simulation::small("mfxlv9518".parse().unwrap(), "mfx".parse().unwrap(), 12)
        };
        let trial = simulation.inputs(scratch.path()).await.unwrap();
        assert!(std::fs::read_to_string(trial).unwrap().contains("[[geometry]]"));
        assert_eq!(simulation.files(scratch.path(), RunNumber(3)).unwrap(), []);
        simulation.simulate(scratch.path(), RunNumber(3), 1).await.unwrap();
        let truth = simulation.truth(scratch.path(), RunNumber(3)).unwrap();
        assert_eq!(truth.len(), 12);
        let hits = truth.values().filter(|image| image.hit).count();
        assert!(hits > 0 && hits < 12 && truth.values().all(|image| image.hit || image.findable() == 0));
        let names: Vec<_> = simulation.files(scratch.path(), RunNumber(3)).unwrap();
        let mut names: Vec<&str> = names.iter().map(Lfn::file_name).collect();
        names.sort_unstable();
        assert_eq!(names, ["mfxlv9518-r0003-s000-c000.smd.xtc2", "mfxlv9518-r0003-s000-c000.xtc2"]);
    }
}
