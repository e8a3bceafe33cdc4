//! What is known of each played run: what was taken, and what has been said to be there. Pure; times are arguments, those
//! of whoever reads the topics, for that is when an analysis could begin.

use std::collections::BTreeMap;
use std::time::Duration;

use lightrail_topics::events::{FileEvent, RunEvent};
use lightrail_topics::{Lfn, Millis, RunKey, SiteName};

use crate::play::PlayedRun;

/// How a run fared, by whichever tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Course {
    /// When copying could begin.
    pub(super) ended: Option<Millis>,
    /// When the first file was there, verified.
    pub(super) first: Option<Millis>,
    /// When the whole run was.
    pub(super) whole: Option<Millis>,
    pub(super) files: usize,
    pub(super) bytes: u64,
}

impl Course {
    /// End of run until the first file.
    pub(super) fn to_first(&self) -> Option<Duration> {
        Some(self.first?.since(self.ended?))
    }

    /// End of run until all of it.
    pub(super) fn to_whole(&self) -> Option<Duration> {
        Some(self.whole?.since(self.ended?))
    }

    /// Bytes per second from end of run until all of it.
    pub(super) fn rate(&self) -> Option<u64> {
        let ms = u64::try_from(self.to_whole()?.as_millis()).ok()?;
        (self.bytes * 1000).checked_div(ms)
    }
}

/// A run that is being moved.
#[derive(Clone, Debug)]
struct Expected {
    sizes: BTreeMap<Lfn, u64>,
    there: BTreeMap<Lfn, u64>,
    course: Course,
    incomplete: Option<String>,
}

/// All runs, from the moment they are taken.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    site: SiteName,
    runs: BTreeMap<RunKey, Expected>,
}

impl Tally {
    pub(super) fn new(site: SiteName) -> Self {
        Self { site, runs: BTreeMap::new() }
    }

    /// A run was taken and closed.
    pub(super) fn expect(&mut self, run: &PlayedRun) {
        let sizes: BTreeMap<Lfn, u64> = run.files.iter().map(|file| (file.lfn.clone(), file.size)).collect();
        let course = Course { ended: Some(run.ended), ..Course::default() };
        let expected = Expected { sizes, there: BTreeMap::new(), course, incomplete: None };
        self.runs.insert(run.key.clone(), expected);
    }

    /// A message of `files.available` was read at `now`. Repeats change nothing.
    pub(super) fn file(&mut self, event: &FileEvent, now: Millis) {
        let FileEvent::Available(file) = event else { return };
        let Some(run) = self.runs.get_mut(&file.run).filter(|_| file.site == self.site) else { return };
        if run.there.insert(file.lfn.clone(), file.size).is_none() {
            run.course.first.get_or_insert(now);
            run.course.files += 1;
            run.course.bytes += file.size;
        }
    }

    /// A message of `runs.available` was read at `now`.
    pub(super) fn run(&mut self, event: &RunEvent, now: Millis) {
        match event {
            RunEvent::Available(manifest) if manifest.site == self.site => {
                if let Some(run) = self.runs.get_mut(&manifest.run) {
                    run.course.whole.get_or_insert(now);
                }
            }
            RunEvent::Incomplete(incomplete) if incomplete.site == self.site => {
                if let Some(run) = self.runs.get_mut(&incomplete.run) {
                    let missing = incomplete.missing.iter().map(|file| format!("{}: {}", file.lfn, file.why));
                    run.incomplete = Some(missing.collect::<Vec<_>>().join("; "));
                }
            }
            _ => {}
        }
    }

    /// How the run fares at the moment.
    pub(super) fn course(&self, run: &RunKey) -> Option<&Course> {
        self.runs.get(run).map(|run| &run.course)
    }

    /// Whether the run is said to be there, whole.
    pub(super) fn is_whole(&self, run: &RunKey) -> bool {
        self.course(run).is_some_and(|course| course.whole.is_some())
    }

    /// Whether every file of the run has been announced. The run's own message may be read before its last file's: they
    /// are on different topics.
    pub(super) fn has_all_files(&self, run: &RunKey) -> bool {
        self.runs.get(run).is_some_and(|run| run.sizes.keys().all(|lfn| run.there.contains_key(lfn)))
    }

    /// What the mover has announced otherwise than it was taken, in words.
    pub(super) fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (key, run) in &self.runs {
            for (lfn, size) in &run.sizes {
                match run.there.get(lfn) {
                    None => wrong.push(format!("{lfn} was never announced")),
                    Some(there) if there != size => {
                        wrong.push(format!("{lfn} was announced with {there} bytes instead of {size}"));
                    }
                    Some(_) => {}
                }
            }
            if run.course.whole.is_none() {
                let why = run.incomplete.as_deref().unwrap_or("nothing was said of why");
                wrong.push(format!("run {key} was never announced as available ({why})"));
            }
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use lightrail_topics::events::{
        ClosedBy, FileAvailable, FileTiming, Registration, RunManifest, Verified,
    };
    use lightrail_topics::{Checksum, ChecksumKind, Generation};

    use super::*;
    use crate::play::PlayedFile;

    fn available(file: &PlayedFile, run: &RunKey) -> FileEvent {
        FileEvent::Available(FileAvailable {
            lfn: file.lfn.clone(),
            run: run.clone(),
            site: "NERSC".parse().unwrap(),
            generation: Generation::FIRST,
            size: file.size,
            checksum: Some(file.checksum.clone()),
            verified: Verified::Checksum,
            unchecked: None,
            url: String::new(),
            already_there: false,
            registration: Registration::default(),
            source_mtime: 0,
            timing: FileTiming::default(),
            attempt: None,
        })
    }

    #[test]
    fn a_run_counts_when_it_is_announced_whole_and_a_repeat_counts_once() {
        let file = |name: &str| PlayedFile {
            lfn: format!("/mfx/mfxlv9518/xtc/{name}").parse().unwrap(),
            size: 1000,
            checksum: Checksum::from_u32(ChecksumKind::Adler32, 7),
            path: "/x".into(),
        };
        let key: RunKey = "mfxlv9518/1".parse().unwrap();
        let files = vec![file("a.xtc2"), file("b.xtc2")];
        let played = PlayedRun { key: key.clone(), ended: Millis(1000), files };
        let mut tally = Tally::new("NERSC".parse().unwrap());
        tally.expect(&played);
        tally.file(&available(&played.files[0], &key), Millis(1200));
        tally.file(&available(&played.files[0], &key), Millis(1300));
        assert_eq!(tally.wrong().len(), 2, "{:?}", tally.wrong());
        tally.file(&available(&played.files[1], &key), Millis(1500));
        let manifest = RunManifest {
            run: key.clone(),
            site: "NERSC".parse().unwrap(),
            began: None,
            ended: None,
            closed_by: ClosedBy::EndTime,
            files: vec![],
            left_out: vec![],
            first_file: None,
            at: Millis(1999),
        };
        assert!(!tally.is_whole(&key));
        tally.run(&RunEvent::Available(manifest), Millis(2000));
        assert!(tally.is_whole(&key) && tally.has_all_files(&key) && tally.wrong().is_empty());
        let course = tally.course(&key).unwrap();
        assert_eq!((course.files, course.bytes), (2, 2000));
        assert_eq!(course.to_first(), Some(Duration::from_millis(200)));
        assert_eq!(course.rate(), Some(2000));
    }
}
