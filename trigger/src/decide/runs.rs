//! What is known of a run: what the logbook and the mover have said of it, and people by tags; and which runs a dataset holds.
//! Takes in what is told; decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use lightrail_topics::events::{Dataset, RunRange, TagsOf};
use lightrail_topics::when::Literal;
use lightrail_topics::{
    DatasetName, Experiment, GroupName, Lfn, Millis, RunKey, RunNumber, SiteName, TagName,
};

/// What the logbook says of a run. The newest message says all but the files, which only the run's end does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// When it began.
    pub began: Option<Millis>,
    /// When it ended.
    pub ended: Option<Millis>,
    /// Whether it takes no more data.
    pub closed: bool,
    /// Its type, such as `DATA`.
    pub kind: Option<String>,
    /// Its sample.
    pub sample: Option<String>,
    /// Its parameters.
    pub params: BTreeMap<String, Literal>,
    /// Its files, where they are said.
    pub files: Vec<Lfn>,
}

/// Files in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub count: usize,
    /// Their bytes.
    pub size: u64,
    /// The bytes of the largest.
    pub largest: u64,
}

impl Tally {
    /// Of files with these sizes.
    pub fn of(sizes: impl Iterator<Item = u64>) -> Self {
        let with = |tally: Self, size: u64| Self {
            count: tally.count + 1,
            size: tally.size.saturating_add(size),
            largest: tally.largest.max(size),
        };
        sizes.fold(Self::default(), with)
    }
}

/// What has become of a run at a site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AtSite {
    /// Whether a file of it is there, or was.
    pub first_file: bool,
    /// Its files, once all that it waits for are there.
    pub whole: Option<Tally>,
    /// The files that are there, as long as not all are.
    files: BTreeMap<Lfn, u64>,
    /// Whether it was said to lack files that have failed or are overdue.
    incomplete: bool,
    /// Whether all that it was said to lack are recorders'.
    lacks_recorders_only: bool,
}

impl AtSite {
    /// The files that are there.
    pub fn tally(&self) -> Tally {
        self.whole.unwrap_or_else(|| Tally::of(self.files.values().copied()))
    }
}

/// Which files of no recorder's a run still lacks at a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nonrec<'a> {
    /// None.
    Whole,
    /// It is not known which files it has: it has not ended, or nobody has said its files.
    Unsaid,
    /// So many of so many, such as this one.
    Lacks(usize, usize, &'a Lfn),
}

/// What is known of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// Whether it takes no more data.
    pub ended: bool,
    /// When it ended, as far as anybody has said.
    pub ended_at: Option<Millis>,
    /// When it began.
    pub began_at: Option<Millis>,
    /// Its type.
    pub kind: Option<String>,
    /// Its sample.
    pub sample: Option<String>,
    /// Its parameters.
    pub params: BTreeMap<String, Literal>,
    /// Its tags.
    pub tags: BTreeSet<TagName>,
    /// Whether anything but tags was said of it: it has begun.
    pub known: bool,
    registered: BTreeSet<Lfn>,
    sites: BTreeMap<SiteName, AtSite>,
}

impl Run {
    /// What has become of it at a site.
    pub fn at(&self, site: &SiteName) -> Option<&AtSite> {
        self.sites.get(site)
    }

    fn at_mut(&mut self, site: SiteName) -> &mut AtSite {
        self.known = true;
        self.sites.entry(site).or_default()
    }

    pub(super) fn said(&mut self, said: Said) {
        self.known = true;
        self.began_at = said.began.or(self.began_at);
        self.kind = said.kind.or_else(|| self.kind.take());
        self.sample = said.sample.or_else(|| self.sample.take());
        self.params = said.params;
        self.registered.extend(said.files);
        if said.closed {
            self.end(said.ended);
        }
    }

    pub(super) fn registered(&mut self, lfn: Lfn) {
        self.known = true;
        self.registered.insert(lfn);
    }

    pub(super) fn end(&mut self, at: Option<Millis>) {
        self.known = true;
        self.ended = true;
        // The logbook's word and the mover's differ by what it took the mover to learn of it.
        self.ended_at = match (self.ended_at, at) {
            (Some(known), Some(at)) => Some(known.min(at)),
            (known, at) => known.or(at),
        };
    }

    pub(super) fn file(&mut self, site: SiteName, lfn: Lfn, size: u64) {
        let at = self.at_mut(site);
        at.first_file = true;
        if at.whole.is_none() {
            at.files.insert(lfn, size);
        }
    }

    pub(super) fn gone(&mut self, site: SiteName, lfn: &Lfn) {
        self.at_mut(site).files.remove(lfn);
    }

    pub(super) fn whole(&mut self, site: SiteName, files: Tally, ended: Option<Millis>) {
        self.end(ended);
        let at = self.at_mut(site);
        at.first_file |= files.count > 0;
        at.whole = Some(files);
        at.files = BTreeMap::new();
    }

    pub(super) fn incomplete(&mut self, site: SiteName, recorders_only: bool, at: Millis) {
        self.end(Some(at));
        let here = self.at_mut(site);
        here.lacks_recorders_only = recorders_only;
        here.incomplete = true;
    }

    /// The sites at which anything of it is known.
    pub fn sites(&self) -> impl Iterator<Item = &SiteName> {
        self.sites.keys()
    }

    /// Whether it is said to lack files at a site, though it has ended.
    pub fn is_incomplete(&self, site: &SiteName) -> bool {
        self.sites.get(site).is_some_and(|at| at.incomplete && at.whole.is_none())
    }

    /// Which files of no recorder's it lacks at a site: by the mover's manifest, or by what the logbook has registered.
    pub fn nonrec(&self, site: &SiteName) -> Nonrec<'_> {
        let at = self.sites.get(site);
        if at.is_some_and(|at| at.whole.is_some() || at.lacks_recorders_only) {
            return Nonrec::Whole;
        }
        if !self.ended {
            return Nonrec::Unsaid;
        }
        let is_there = |lfn: &Lfn| at.is_some_and(|at| at.files.contains_key(lfn));
        let (mut all, mut lacks, mut one) = (0, 0, None);
        for lfn in self.registered.iter().filter(|lfn| !lfn.is_recorders()) {
            all += 1;
            if !is_there(lfn) {
                lacks += 1;
                one = one.or(Some(lfn));
            }
        }
        match one {
            Some(one) => Nonrec::Lacks(lacks, all, one),
            None if all > 0 => Nonrec::Whole,
            None => Nonrec::Unsaid,
        }
    }
}

/// Groups of runs and datasets, as people have put them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sets {
    groups: BTreeMap<(Experiment, GroupName), Vec<RunRange>>,
    datasets: BTreeMap<(Experiment, DatasetName), Dataset>,
}

/// Whether a run belongs to a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Belongs {
    /// It does.
    Yes,
    /// Nobody has put such a dataset.
    NoSuch,
    /// It is in none of the groups.
    NotInGroups,
    /// It lacks these tags; of a union any of them would do.
    Lacks(Vec<TagName>),
}

impl Sets {
    pub(super) fn group(&mut self, experiment: Experiment, name: GroupName, runs: Option<Vec<RunRange>>) {
        match runs {
            Some(runs) => drop(self.groups.insert((experiment, name), runs)),
            None => drop(self.groups.remove(&(experiment, name))),
        }
    }

    pub(super) fn dataset(&mut self, experiment: Experiment, name: DatasetName, set: Option<Dataset>) {
        match set {
            Some(set) => drop(self.datasets.insert((experiment, name), set)),
            None => drop(self.datasets.remove(&(experiment, name))),
        }
    }

    fn group_holds(&self, experiment: &Experiment, group: &GroupName, run: RunNumber) -> bool {
        let ranges = self.groups.get(&(experiment.clone(), group.clone()));
        ranges.is_some_and(|ranges| ranges.iter().any(|range| range.holds(run)))
    }

    /// Whether a run with these tags belongs to a dataset.
    pub(super) fn belongs(&self, name: &DatasetName, run: &RunKey, tags: &BTreeSet<TagName>) -> Belongs {
        let Some(set) = self.datasets.get(&(run.experiment.clone(), name.clone())) else {
            return Belongs::NoSuch;
        };
        let in_group = |group: &GroupName| self.group_holds(&run.experiment, group, run.run);
        if !set.groups.is_empty() && !set.groups.iter().any(in_group) {
            return Belongs::NotInGroups;
        }
        let lacks: Vec<TagName> = set.tags.iter().filter(|tag| !tags.contains(*tag)).cloned().collect();
        let enough = match set.of {
            TagsOf::Union => set.tags.is_empty() || lacks.len() < set.tags.len(),
            TagsOf::Intersection => lacks.is_empty(),
        };
        if enough { Belongs::Yes } else { Belongs::Lacks(lacks) }
    }
}
