//! What is played: which runs, with which files of which sizes. Pure: the same play gives the same script.

use lightrail_topics::{Experiment, Instrument, Lfn, LfnError, RunKey, RunNumber};

/// Which DAQ took the data; it decides names and kinds of files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Daq {
    /// `-s00-c00.xtc`, with `smalldata/*.smd.xtc` and `index/*.xtc.idx`: 4 to 6 streams of 3 files.
    LclsOne,
    /// `-s000-c000.xtc2`, with `smalldata/*.smd.xtc2`: 6 to 9 streams of 2 files.
    #[default]
    LclsTwo,
}

/// Some runs of made-up data, with the spread of sizes that LCLS has, scaled down.
#[derive(Clone, Debug)]
pub struct Play {
    /// The instrument.
    pub instrument: Instrument,
    /// The experiment.
    pub experiment: Experiment,
    /// The first run's number.
    pub first: RunNumber,
    /// How many runs.
    pub runs: u32,
    /// Bytes of all runs together; each file has at least 512 bytes.
    pub bytes: u64,
    /// Which DAQ.
    pub daq: Daq,
    /// Decides sizes and contents.
    pub seed: u64,
}

impl Play {
    /// Three LCLS-II runs of `bytes` together.
    pub fn new(instrument: Instrument, experiment: Experiment, bytes: u64, seed: u64) -> Self {
        Self { instrument, experiment, first: RunNumber(1), runs: 3, bytes, daq: Daq::LclsTwo, seed }
    }
}

/// A run that will be played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunScript {
    /// Which run.
    pub key: RunKey,
    /// Its files in the order in which the DAQ opens them.
    pub files: Vec<FileScript>,
}

/// A file that will be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileScript {
    /// Its name.
    pub lfn: Lfn,
    /// Bytes.
    pub size: u64,
    /// Decides its bytes.
    pub seed: u64,
}

/// Quantiles of 125,301 transfers at LCLS, November 2018 to January 2019, in bytes.
const XTC: [(f64, f64); 7] = [
    (0.0, 1e4),
    (0.10, 6.0e6),
    (0.25, 2.66e8),
    (0.50, 7.0e9),
    (0.75, 2.52e10),
    (0.90, 5.7e10),
    (1.0, 1.0738e11),
];
/// The same for the small data files, as a share of their big one: 0.44 % of the bytes, more for small ones.
const SMD_SHARE: [(f64, f64); 4] = [(0.0, 0.002), (0.5, 0.004), (0.9, 0.01), (1.0, 0.045)];
/// Index files are smaller still.
const IDX_SHARE: f64 = 0.0005;
/// No file is smaller, whatever the scale.
const LEAST: u64 = 512;

/// Between two quantiles the size grows geometrically.
fn quantile(table: &[(f64, f64)], at: f64) -> f64 {
    let upper = table.iter().position(|(q, _)| *q >= at).unwrap_or(table.len() - 1).max(1);
    let ((q0, s0), (q1, s1)) = (table[upper - 1], table[upper]);
    s0 * (s1 / s0).powf((at - q0) / (q1 - q0))
}

impl Play {
    /// Writes the script.
    ///
    /// # Errors
    /// When instrument and experiment make no LFN.
    pub fn script(&self) -> Result<Vec<RunScript>, LfnError> {
        let mut rng = fastrand::Rng::with_seed(self.seed);
        let mut runs = Vec::new();
        for at in 0..self.runs {
            let number = RunNumber(self.first.0 + at);
            let mut files = Vec::new();
            let streams = match self.daq {
                Daq::LclsOne => rng.u32(4..=6),
                Daq::LclsTwo => rng.u32(6..=9),
            };
            // One size from each part of the distribution, so that every run has big files and tiny ones.
            let mut parts: Vec<u32> = (0..streams).collect();
            rng.shuffle(&mut parts);
            for (stream, part) in parts.into_iter().enumerate() {
                let big = quantile(&XTC, (f64::from(part) + rng.f64()) / f64::from(streams));
                for (folder, name, share) in self.kinds(number, stream) {
                    let share = share.unwrap_or_else(|| quantile(&SMD_SHARE, rng.f64()));
                    let path = format!("/{}/{}/xtc/{folder}{name}", self.instrument, self.experiment);
                    files.push((path.parse::<Lfn>()?, big * share, rng.u64(..)));
                }
            }
            runs.push((RunKey { experiment: self.experiment.clone(), run: number }, files));
        }
        let natural: f64 = runs.iter().flat_map(|(_, files)| files).map(|(_, size, _)| size).sum();
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let scaled = |size: f64| ((size * self.bytes as f64 / natural) as u64).max(LEAST);
        let written = runs.into_iter().map(|(key, files)| RunScript {
            key,
            files: files
                .into_iter()
                .map(|(lfn, size, seed)| FileScript { lfn, size: scaled(size), seed })
                .collect(),
        });
        Ok(written.collect())
    }

    /// Folder, name and share of the big file's bytes (drawn where `None`) of each file of a stream.
    fn kinds(&self, run: RunNumber, stream: usize) -> Vec<(&'static str, String, Option<f64>)> {
        let stem =
            |digits: usize| format!("{}-r{:04}-s{stream:0digits$}-c{:0digits$}", self.experiment, run.0, 0);
        match self.daq {
            Daq::LclsOne => vec![
                ("", format!("{}.xtc", stem(2)), Some(1.0)),
                ("smalldata/", format!("{}.smd.xtc", stem(2)), None),
                ("index/", format!("{}.xtc.idx", stem(2)), Some(IDX_SHARE)),
            ],
            Daq::LclsTwo => vec![
                ("", format!("{}.xtc2", stem(3)), Some(1.0)),
                ("smalldata/", format!("{}.smd.xtc2", stem(3)), None),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn play(daq: Daq, seed: u64) -> Play {
        let (instrument, experiment) = ("mfx".parse().unwrap(), "mfxlv9518".parse().unwrap());
        Play { daq, ..Play::new(instrument, experiment, 600 << 20, seed) }
    }

    #[test]
    fn runs_have_12_to_18_files_with_sizes_from_tiny_to_most_of_the_run() {
        for daq in [Daq::LclsOne, Daq::LclsTwo] {
            for seed in 0..50 {
                let script = play(daq, seed).script().unwrap();
                assert_eq!(script, play(daq, seed).script().unwrap());
                let total: u64 = script.iter().flat_map(|run| &run.files).map(|file| file.size).sum();
                assert!(total.abs_diff(600 << 20) < 1 << 20, "seed {seed}: {total} bytes");
                for run in &script {
                    assert!((12..=18).contains(&run.files.len()), "seed {seed}: {} files", run.files.len());
                    assert!(run.files.iter().all(|file| file.lfn.run() == Some(run.key.run)));
                    let sizes = || run.files.iter().map(|file| file.size);
                    assert!(
                        sizes().min() < Some(20_000) && sizes().max() > Some(20_000_000),
                        "seed {seed}: {run:?}"
                    );
                }
            }
        }
    }
}
