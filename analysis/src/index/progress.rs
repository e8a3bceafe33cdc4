//! What `images.indexed` says of a run under a trial, over all sites: whose it is, how much is published, what comes next.
//! Pure.

use std::collections::BTreeMap;

use lightrail_topics::events::{IndexPosition, IndexState, Indexed};
use lightrail_topics::{
    Event, Fingerprint, Millis, Record, RunInTrial, RunKey, SiteName, Topics, TrialNumber, decode,
};

/// A run under a trial.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    sites: BTreeMap<SiteName, Indexed>,
}

impl Progress {
    /// What a site's newest message says.
    pub fn at(&self, site: &SiteName) -> Option<&Indexed> {
        self.sites.get(site)
    }

    /// The newest message of every site.
    pub fn all(&self) -> impl Iterator<Item = &Indexed> {
        self.sites.values()
    }

    /// The site that publishes the run: the one that has its positions. A site from which all was moved away has a count at
    /// most.
    pub fn owner(&self) -> Option<&SiteName> {
        let with_positions = self.sites.values().find(|indexed| !indexed.positions.is_empty());
        with_positions
            .or_else(|| self.sites.values().find(|indexed| indexed.images > 0))
            .map(|indexed| &indexed.site)
    }

    /// Images published, over all sites.
    pub fn images(&self) -> u64 {
        self.sites.values().map(|indexed| indexed.images).sum()
    }

    /// Whether it was begun as it was taken.
    pub fn is_live(&self) -> bool {
        self.sites.values().any(|indexed| indexed.live)
    }

    /// How far its index files were taken.
    pub fn positions(&self) -> &[IndexPosition] {
        let with = self.sites.values().find(|indexed| !indexed.positions.is_empty());
        with.map_or(&[], |indexed| &indexed.positions)
    }

    /// Whether all images of that manifest are published.
    pub fn is_closed(&self, manifest: Option<&Fingerprint>) -> bool {
        let owner = self.owner().and_then(|site| self.at(site)).or_else(|| self.sites.values().next());
        owner.is_some_and(|owner| owner.state == IndexState::Closed && owner.manifest.as_ref() == manifest)
    }

    /// Takes a message of this run and trial; one that is older than what its site has said says nothing.
    pub fn take(&mut self, indexed: Indexed) {
        if self.at(&indexed.site).is_none_or(|known| known.number <= indexed.number) {
            self.sites.insert(indexed.site.clone(), indexed);
        }
    }

    /// The next message of a site: `more` images, and how far its files are.
    pub fn next(
        &self,
        of: &RunInTrial,
        site: &SiteName,
        live: bool,
        more: u64,
        step: Step,
        at: Millis,
    ) -> Indexed {
        let before = self.at(site);
        Indexed {
            run: of.run.clone(),
            trial: of.trial,
            site: site.clone(),
            number: before.map_or(1, |before| before.number + 1),
            live: live || before.is_some_and(|before| before.live),
            images: before.map_or(0, |before| before.images) + more,
            state: step.state,
            manifest: step.manifest,
            positions: step.positions,
            at,
        }
    }
}

/// How far a run's files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Whether more may come.
    pub state: IndexState,
    /// What was taken, once closed.
    pub manifest: Option<Fingerprint>,
    /// By index file.
    pub positions: Vec<IndexPosition>,
}

/// All that `images.indexed` says, and where reading it goes on.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    runs: BTreeMap<RunInTrial, Progress>,
    /// The offset after the last record taken, by topic and partition.
    pub next: BTreeMap<(String, i32), i64>,
}

impl Kept {
    /// Of a run under a trial.
    pub fn of(&self, of: &RunInTrial) -> Progress {
        self.runs.get(of).cloned().unwrap_or_default()
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = (&RunInTrial, &Progress)> {
        self.runs.iter()
    }

    /// The trials under which a run was begun.
    pub fn trials_of(&self, run: &RunKey) -> impl Iterator<Item = (&RunInTrial, &Progress)> {
        let under = |trial| RunInTrial { run: run.clone(), trial: TrialNumber(trial) };
        self.runs.range(under(0)..=under(u32::MAX))
    }

    /// Takes a message.
    pub fn put(&mut self, indexed: Indexed) {
        let of = RunInTrial { run: indexed.run.clone(), trial: indexed.trial };
        self.runs.entry(of).or_default().take(indexed);
    }

    /// Takes what a record says, if it says something of this.
    pub fn take(&mut self, topics: &Topics, record: &Record) {
        self.next.insert((record.topic.to_string(), record.partition), record.offset + 1);
        match decode(topics, record) {
            Ok(Event::Indexed(indexed)) => self.put(indexed),
            Ok(_) => {}
            Err(error) => tracing::warn!(
                topic = &*record.topic,
                partition = record.partition,
                offset = record.offset,
                why = error.reason(),
                "progress of a run cannot be understood"
            ),
        }
    }
}
