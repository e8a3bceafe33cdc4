//! Where a simulated experiment's files lie: run files as at LCLS below a folder that is like a site's, what analysis needs
//! beside them, and the truth. Names only; opens nothing.

use std::path::{Path, PathBuf};

use lightrail_topics::{Experiment, Instrument, Lfn, RunNumber};

/// The experiment's folders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Stands for a site's prefix: a file lies at this and its LFN.
    pub out: PathBuf,
    /// The instrument.
    pub instrument: Instrument,
    /// The experiment.
    pub experiment: Experiment,
}

impl Place {
    /// A stream's big file, `<exp>-r0001-s000-c000.xtc2`.
    pub fn big(&self, run: RunNumber, stream: usize, chunk: u32) -> Lfn {
        self.lfn("", run, stream, &format!("-c{chunk:03}.xtc2"))
    }

    /// A stream's small file. One for all chunks, as the DAQ writes it.
    pub fn small(&self, run: RunNumber, stream: usize) -> Lfn {
        self.lfn("smalldata/", run, stream, "-c000.smd.xtc2")
    }

    fn lfn(&self, folder: &str, run: RunNumber, stream: usize, end: &str) -> Lfn {
        let (instrument, experiment) = (&self.instrument, &self.experiment);
        let text =
            format!("/{instrument}/{experiment}/xtc/{folder}{experiment}-r{:04}-s{stream:03}{end}", run.0);
        text.parse().expect("made of ids that were parsed")
    }

    /// Where a file lies.
    pub fn path(&self, lfn: &Lfn) -> PathBuf {
        self.out.join(lfn.as_str().trim_start_matches('/'))
    }

    /// Where a file lies while it is written.
    pub fn in_progress(&self, lfn: &Lfn) -> PathBuf {
        let mut name = self.path(lfn).into_os_string();
        name.push(".inprogress");
        name.into()
    }

    /// The experiment's folder below [`Place::out`].
    pub fn folder(&self) -> PathBuf {
        Path::new(self.instrument.as_str()).join(self.experiment.as_str())
    }

    /// The trial's file. Its paths count from its own folder, which is the site's.
    pub fn trial(&self) -> PathBuf {
        self.out.join("trial.toml")
    }

    /// What is true of a run's images, a line of JSON each.
    pub fn truth(&self, run: RunNumber) -> PathBuf {
        let name = format!("{}-r{:04}.jsonl", self.experiment, run.0);
        self.out.join(self.folder()).join("truth").join(name)
    }

    /// The squared structure factors of all reflections, one of each set of equivalents.
    pub fn structure_factors(&self) -> PathBuf {
        self.out.join(self.folder()).join("truth/structure-factors.csv")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_daq() {
        let place = Place {
            out: "/data".into(),
            instrument: "mfx".parse().unwrap(),
            experiment: "mfxsim0126".parse().unwrap(),
        };
        let big = place.big(RunNumber(7), 2, 1);
        assert_eq!(big.as_str(), "/mfx/mfxsim0126/xtc/mfxsim0126-r0007-s002-c001.xtc2");
        assert_eq!((big.run(), big.stream(), big.chunk()), (Some(RunNumber(7)), Some(2), Some(1)));
        let small = place.small(RunNumber(7), 2);
        assert_eq!(
            place.in_progress(&small),
            Path::new("/data/mfx/mfxsim0126/xtc/smalldata/mfxsim0126-r0007-s002-c000.smd.xtc2.inprogress")
        );
        assert_eq!(place.truth(RunNumber(7)), Path::new("/data/mfx/mfxsim0126/truth/mfxsim0126-r0007.jsonl"));
    }
}
