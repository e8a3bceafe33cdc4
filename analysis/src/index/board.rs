//! What index knows, and what it wants to do: which runs are to be published under which trial, which wait and for what.
//! Pure: takes what Kafka and folders say, decides, does nothing.

use std::collections::{BTreeMap, BTreeSet};

use lightrail_topics::events::{FileEvent, RunEvent, Trial};
use lightrail_topics::{Experiment, RunInTrial, RunKey, SiteName, TrialKey, TrialNumber};

use super::files::{RunFiles, There};
use super::progress::{Kept, Progress};
use crate::config::Experiments;

/// What is to be done with a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// It is to be published under this trial.
    Publish(TrialNumber),
    /// It cannot be begun yet.
    Waits(String),
    /// It is another site's.
    Elsewhere(TrialNumber, SiteName),
}

/// What index knows.
#[derive(Debug)]
pub struct Board {
    site: SiteName,
    rules: Experiments,
    runs: BTreeMap<RunKey, RunFiles>,
    trials: BTreeMap<TrialKey, Trial>,
    /// What is published.
    pub kept: Kept,
    /// Runs of which something has changed.
    changed: BTreeSet<RunKey>,
}

impl Board {
    /// Knows nothing yet.
    pub fn new(site: SiteName, rules: Experiments) -> Self {
        let (runs, trials, changed) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { site, rules, runs, trials, kept: Kept::default(), changed }
    }

    /// Whether runs of an experiment are indexed here.
    pub fn is_ours(&self, experiment: &Experiment) -> bool {
        self.rules.of(experiment).site == self.site
    }

    /// The experiments that are streamed here: those that are named, and of all others those that have a live trial, for
    /// without one nothing is published.
    pub fn streamed(&self) -> BTreeSet<Experiment> {
        let live = self.trials.values().filter(|trial| trial.live).map(|trial| &trial.experiment);
        let known = self.rules.named.keys().chain(live);
        let ours = known.filter(|of| self.is_ours(of) && self.rules.of(of).streaming);
        ours.cloned().collect()
    }

    /// The files of a run.
    pub fn files(&self, run: &RunKey) -> Option<&RunFiles> {
        self.runs.get(run)
    }

    /// A trial.
    pub fn trial(&self, key: &TrialKey) -> Option<&Trial> {
        self.trials.get(key)
    }

    /// All trials, by experiment and number.
    pub fn trials(&self) -> impl Iterator<Item = &Trial> {
        self.trials.values()
    }

    /// The trial under which new runs of an experiment are worked.
    pub fn live_trial(&self, experiment: &Experiment) -> Option<&Trial> {
        let key = |trial| TrialKey { experiment: experiment.clone(), trial: TrialNumber(trial) };
        let of_experiment = self.trials.range(key(0)..=key(u32::MAX)).map(|(_, trial)| trial);
        of_experiment.rev().find(|trial| trial.live)
    }

    /// A message of `runs.available`. That a run is incomplete starts nothing.
    pub fn run(&mut self, event: &RunEvent) {
        let manifest = match event {
            RunEvent::Available(manifest) => manifest,
            RunEvent::Corrected(corrected) => &corrected.manifest,
            RunEvent::Incomplete(_) => return,
        };
        if manifest.site == self.site {
            self.put(&manifest.run, RunFiles::of(manifest));
        }
    }

    /// A message of `files.available`, where the experiment's images do not wait for their run.
    pub fn file(&mut self, event: &FileEvent) {
        let (run, site) = match event {
            FileEvent::Available(file) => (&file.run, &file.site),
            FileEvent::Gone(file) => (&file.run, &file.site),
        };
        let streams = self.is_ours(&run.experiment) && self.rules.of(&run.experiment).streaming;
        if *site != self.site || !streams {
            return;
        }
        let files = self.runs.entry(run.clone()).or_default();
        // The manifest of a closed run says what is there.
        if files.is_closed() {
            return;
        }
        // Changed where it is: a run may have very many files.
        let is_new = match event {
            FileEvent::Available(file) => {
                let there = There { generation: Some(file.generation), size: file.size };
                files.there.insert(file.lfn.clone(), there) != Some(there)
            }
            FileEvent::Gone(file) => files.there.remove(&file.lfn).is_some(),
        };
        if is_new {
            self.changed.insert(run.clone());
        }
    }

    /// What a folder holds of a run that the DAQ takes.
    pub fn folder(&mut self, run: &RunKey, files: RunFiles) {
        let by_manifest =
            self.runs.get(run).is_some_and(|known| known.is_closed() && known.growing.is_empty());
        if !by_manifest || files.is_closed() {
            self.put(run, files);
        }
    }

    fn put(&mut self, run: &RunKey, files: RunFiles) {
        if self.is_ours(&run.experiment) && self.runs.get(run) != Some(&files) {
            self.runs.insert(run.clone(), files);
            self.changed.insert(run.clone());
        }
    }

    /// A message of `trials`: the first of a key counts.
    pub fn put_trial(&mut self, trial: Trial) {
        let key = trial.key();
        if self.trials.contains_key(&key) {
            return;
        }
        self.changed.extend(self.runs.keys().filter(|run| run.experiment == key.experiment).cloned());
        self.trials.insert(key, trial);
    }

    /// Something else has changed for a run.
    pub fn touch(&mut self, run: &RunKey) {
        if self.runs.contains_key(run) {
            self.changed.insert(run.clone());
        }
    }

    /// Runs of which something has changed since the last call.
    pub fn take_changed(&mut self) -> BTreeSet<RunKey> {
        std::mem::take(&mut self.changed)
    }

    /// What is to be done with a run; nothing when all is done.
    pub fn wanted(&self, run: &RunKey) -> Vec<Wanted> {
        let Some(files) = self.runs.get(run) else { return Vec::new() };
        let begun: Vec<(&RunInTrial, &Progress)> =
            self.kept.trials_of(run).filter(|(_, progress)| progress.is_live()).collect();
        if !begun.is_empty() {
            let open = begun.iter().filter_map(|(of, progress)| match self.elsewhere(progress) {
                Some(site) => Some(Wanted::Elsewhere(of.trial, site.clone())),
                None if progress.is_closed(files.manifest.as_ref()) => None,
                None => Some(Wanted::Publish(of.trial)),
            });
            return open.collect();
        }
        // Of a run that is being taken there has to be something to be read.
        if !files.is_closed() && !files.tells() {
            return Vec::new();
        }
        let Some(trial) = self.live_trial(&run.experiment) else {
            return vec![Wanted::Waits(format!("no trial of {} says live = true", run.experiment))];
        };
        let of = RunInTrial { run: run.clone(), trial: trial.trial };
        match self.elsewhere(&self.kept.of(&of)) {
            Some(site) => vec![Wanted::Elsewhere(of.trial, site.clone())],
            None => vec![Wanted::Publish(of.trial)],
        }
    }

    fn elsewhere<'p>(&self, progress: &'p Progress) -> Option<&'p SiteName> {
        progress.owner().filter(|owner| **owner != self.site)
    }
}

#[cfg(test)]
mod tests {
    use lightrail_topics::Fingerprint;
    use lightrail_topics::events::{ClosedBy, IndexState, Indexed, ManifestFile, RunIncomplete, RunManifest};
    use lightrail_topics::{Generation, Millis};

    use super::*;
    use crate::config::ExperimentRules;

    fn board() -> Board {
        let default = ExperimentRules { site: "NERSC".parse().unwrap(), streaming: false };
        let other = ExperimentRules { site: "S3DF".parse().unwrap(), streaming: false };
        let named = BTreeMap::from([("elsewhere1".parse().unwrap(), other)]);
        Board::new("NERSC".parse().unwrap(), Experiments { default, named })
    }

    fn manifest(run: &str, site: &str, generation: u32) -> RunManifest {
        let file = ManifestFile {
            lfn: "/mfx/mfxx1/xtc/smalldata/mfxx1-r0001-s000-c000.smd.xtc2".parse().unwrap(),
            generation: Generation(generation),
            size: 1,
            checksum: None,
            url: String::new(),
        };
        RunManifest {
            run: run.parse().unwrap(),
            site: site.parse().unwrap(),
            began: None,
            ended: None,
            closed_by: ClosedBy::EndTime,
            files: vec![file],
            left_out: Vec::new(),
            first_file: None,
            at: Millis(0),
        }
    }

    fn trial(number: u32, live: bool) -> Trial {
        Trial {
            experiment: "mfxx1".parse().unwrap(),
            trial: TrialNumber(number),
            live,
            parameters: serde_json::Map::new(),
            who: String::new(),
            at: Millis(0),
        }
    }

    fn indexed(board: &mut Board, site: &str, trial: u32, manifest: Option<Fingerprint>) {
        let of = RunInTrial { run: "mfxx1/1".parse().unwrap(), trial: TrialNumber(trial) };
        let step = super::super::progress::Step {
            state: if manifest.is_some() { IndexState::Closed } else { IndexState::Growing },
            manifest,
            positions: Vec::new(),
        };
        let site: SiteName = site.parse().unwrap();
        let next: Indexed = board.kept.of(&of).next(&of, &site, true, 10, step, Millis(0));
        board.kept.put(next);
    }

    #[test]
    fn a_run_begins_under_the_highest_live_trial_and_stays_with_it() {
        let mut board = board();
        let run: RunKey = "mfxx1/1".parse().unwrap();
        board.run(&RunEvent::Available(manifest("mfxx1/1", "NERSC", 1)));
        assert_eq!(board.take_changed().len(), 1);
        assert!(matches!(&board.wanted(&run)[..], [Wanted::Waits(why)] if why.contains("live = true")));
        for (number, live) in [(1, true), (2, true), (3, false)] {
            board.put_trial(trial(number, live));
        }
        assert_eq!(board.take_changed().len(), 1, "it is looked at again when a trial comes");
        assert_eq!(board.wanted(&run), [Wanted::Publish(TrialNumber(2))]);
        // The first message of a number counts.
        board.put_trial(trial(3, true));
        assert_eq!(board.wanted(&run), [Wanted::Publish(TrialNumber(2))]);
        indexed(&mut board, "NERSC", 2, None);
        board.put_trial(trial(4, true));
        assert_eq!(board.wanted(&run), [Wanted::Publish(TrialNumber(2))], "begun, to be ended");
        let whole = board.files(&run).unwrap().manifest.clone();
        indexed(&mut board, "NERSC", 2, whole);
        assert_eq!(board.wanted(&run), []);
        let correction = lightrail_topics::events::RunCorrected {
            number: 1,
            because: String::new(),
            manifest: manifest("mfxx1/1", "NERSC", 2),
        };
        board.run(&RunEvent::Corrected(correction));
        assert_eq!(board.wanted(&run), [Wanted::Publish(TrialNumber(2))], "what a correction brings");
    }

    #[test]
    fn a_publication_that_has_ended_is_not_begun_again_by_what_it_said_before() {
        let mut board = board();
        let run: RunKey = "mfxx1/1".parse().unwrap();
        board.run(&RunEvent::Available(manifest("mfxx1/1", "NERSC", 1)));
        board.put_trial(trial(1, true));
        let said = |board: &Board| {
            let of = RunInTrial { run: "mfxx1/1".parse().unwrap(), trial: TrialNumber(1) };
            board.kept.of(&of).at(&"NERSC".parse().unwrap()).unwrap().clone()
        };
        indexed(&mut board, "NERSC", 1, None);
        let first = said(&board);
        let whole = board.files(&run).unwrap().manifest.clone();
        indexed(&mut board, "NERSC", 1, whole);
        let last = said(&board);
        // The topic tells both once more.
        board.kept.put(first);
        assert_eq!(board.wanted(&run), []);
        board.kept.put(last.clone());
        assert_eq!(said(&board), last);
    }

    #[test]
    fn that_a_run_is_incomplete_starts_nothing_and_ends_nothing() {
        let run: RunKey = "mfxx1/1".parse().unwrap();
        let incomplete = RunEvent::Incomplete(RunIncomplete {
            number: 1,
            run: run.clone(),
            site: "NERSC".parse().unwrap(),
            missing: Vec::new(),
            available: 1,
            at: Millis(0),
        });
        let mut board = board();
        board.rules.default.streaming = true;
        board.put_trial(trial(1, true));
        board.run(&incomplete);
        assert!(board.take_changed().is_empty() && board.files(&run).is_none());
        assert_eq!(board.wanted(&run), []);
        // What came of it by files alone stays open: the missing ones may come yet.
        let whole = manifest("mfxx1/1", "NERSC", 1);
        let there = There { generation: Some(Generation(1)), size: 1 };
        let files = RunFiles { there: [(whole.files[0].lfn.clone(), there)].into(), ..RunFiles::default() };
        board.folder(&run, files.clone());
        assert_eq!(board.take_changed().len(), 1);
        board.run(&incomplete);
        assert!(board.take_changed().is_empty());
        assert_eq!(board.files(&run), Some(&files));
        assert_eq!(board.wanted(&run), [Wanted::Publish(TrialNumber(1))]);
        board.run(&RunEvent::Available(whole));
        assert_eq!(board.take_changed().len(), 1);
        assert!(board.files(&run).unwrap().is_closed());
    }

    #[test]
    fn experiments_are_streamed_by_name_or_by_their_live_trial() {
        let mut board = board();
        let streamed = |board: &Board| board.streamed().iter().map(ToString::to_string).collect::<Vec<_>>();
        board.put_trial(trial(1, true));
        assert_eq!(streamed(&board), [""; 0]);
        board.rules.default.streaming = true;
        assert_eq!(streamed(&board), ["mfxx1"]);
        let rules = |site: &str, streaming| ExperimentRules { site: site.parse().unwrap(), streaming };
        board.rules.named.insert("named1".parse().unwrap(), rules("NERSC", true));
        board.rules.named.insert("elsewhere1".parse().unwrap(), rules("S3DF", true));
        assert_eq!(streamed(&board), ["mfxx1", "named1"]);
        // What is said of an experiment goes above what is said of all.
        board.rules.named.insert("mfxx1".parse().unwrap(), rules("NERSC", false));
        assert_eq!(streamed(&board), ["named1"]);
        board.put_trial(Trial { experiment: "mfxx2".parse().unwrap(), ..trial(1, false) });
        assert_eq!(streamed(&board), ["named1"], "nothing would be published");
        board.put_trial(Trial { experiment: "mfxx2".parse().unwrap(), ..trial(2, true) });
        assert_eq!(streamed(&board), ["mfxx2", "named1"]);
    }

    #[test]
    fn what_is_another_sites_is_left_alone() {
        let mut board = board();
        board.put_trial(trial(1, true));
        board.run(&RunEvent::Available(manifest("mfxx1/1", "S3DF", 1)));
        board.run(&RunEvent::Available(manifest("elsewhere1/1", "NERSC", 1)));
        assert!(board.take_changed().is_empty());
        board.run(&RunEvent::Available(manifest("mfxx1/1", "NERSC", 1)));
        indexed(&mut board, "S3DF", 1, None);
        let run = "mfxx1/1".parse().unwrap();
        assert_eq!(board.wanted(&run), [Wanted::Elsewhere(TrialNumber(1), "S3DF".parse().unwrap())]);
    }
}
