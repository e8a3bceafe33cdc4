//! What must hold when all is quiet: counted from Kafka, held against the truth and the remote, never against the mover's
//! own books alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lightrail_topics::events::{FileEvent, RunEvent, RunManifest, Subject, TransferState, WishKey};
use lightrail_topics::{Event, FileAtSite, Generation, RunAtSite, RunKey, SiteName, Topic, decode};
use tokio::sync::oneshot;

use super::play::destinations;
use super::world::World;
use crate::owner::Input;
use crate::view::{Question, Readiness, RunFilter, RunView, TransferFilter};

/// A transfer as it is shown: generation, state, and size where it is done.
type Shown = (Generation, Option<TransferState>, Option<u64>);

type Counted = (String, usize, usize, usize);

/// What the mover shows.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Views {
    pub(super) transfers: BTreeMap<FileAtSite, Shown>,
    /// State, and how many files are known, available and failed.
    pub(super) runs: BTreeMap<(RunKey, Option<SiteName>), Counted>,
    pub(super) why: BTreeMap<FileAtSite, String>,
    pub(super) ready: (usize, usize, usize),
}

/// What Kafka holds of our announcements.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) files: Vec<FileEvent>,
    pub(super) runs: BTreeMap<RunAtSite, Vec<RunEvent>>,
}

async fn ask<T>(world: &World, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Option<T> {
    let inputs = world.lock().owner.clone()?;
    let (reply, answer) = oneshot::channel();
    inputs.send(Input::Question(question(reply))).await.ok()?;
    tokio::time::timeout(Duration::from_secs(5), answer).await.ok()?.ok()
}

/// What the mover shows now, if there is one.
pub(super) async fn views(world: &World) -> Option<Views> {
    let filter = RunFilter::default();
    let runs: Vec<RunView> = ask(world, |reply| Question::Runs(filter, reply)).await?;
    let Readiness { queued, under_way, outbox, .. } = ask(world, Question::Ready).await?;
    let keys: BTreeSet<RunKey> = runs.iter().map(|view| view.run.clone()).collect();
    let (mut transfers, mut why) = (BTreeMap::new(), BTreeMap::new());
    for run in keys {
        let filter = TransferFilter { run: Some(run), limit: None };
        for view in ask(world, |reply| Question::Transfers(filter, reply)).await? {
            let at = FileAtSite { lfn: view.lfn, site: view.site };
            let size = view.size.filter(|_| view.state == Some(TransferState::Done));
            if let Some(text) = view.why {
                why.insert(at.clone(), text);
            }
            transfers.insert(at, (view.generation, view.state, size));
        }
    }
    let runs = runs
        .into_iter()
        .map(|view| ((view.run, view.site), (view.state, view.files, view.available, view.failed)))
        .collect();
    Some(Views { transfers, runs, why, ready: (queued, under_way, outbox) })
}

/// Everything that was said of files and runs, in the order of each key.
pub(super) fn said(world: &World) -> Said {
    let mut said = Said::default();
    let names = [Topic::FilesAvailable, Topic::RunsAvailable].map(|topic| world.topics.name(topic));
    for record in world.read_from(&names, &BTreeMap::new()) {
        match decode(&world.topics, &record) {
            Ok(Event::File(event)) => said.files.push(event),
            Ok(Event::Run(event)) => {
                let (run, site) = match &event {
                    RunEvent::Available(manifest) => (&manifest.run, &manifest.site),
                    RunEvent::Corrected(corrected) => (&corrected.manifest.run, &corrected.manifest.site),
                    RunEvent::Incomplete(incomplete) => (&incomplete.run, &incomplete.site),
                };
                said.runs.entry(RunAtSite { run: run.clone(), site: site.clone() }).or_default().push(event);
            }
            other => world.fail(format!("what is on kafka cannot be read: {other:?}")),
        }
    }
    said
}

/// Runs that the mover can know of, with their sites.
fn wanted(world: &World) -> Vec<RunAtSite> {
    let state = world.lock();
    let mut wanted = Vec::new();
    for (run, known) in &state.truth.runs {
        if !known.is_known || known.ended.is_none() {
            continue;
        }
        let mut sites = destinations(run.experiment.as_str());
        let key = WishKey { subject: Subject::Run(run.clone()), site: Some("S3DF".parse().unwrap()) };
        if state.truth.wishes.get(&key).is_some_and(|wish| wish.asked == Some(true)) {
            sites.push("S3DF".parse().unwrap());
        }
        sites.sort();
        sites.dedup();
        wanted.extend(sites.into_iter().map(|site| RunAtSite { run: run.clone(), site }));
    }
    wanted
}

/// Every closed run is available, or it is said why not.
pub(super) fn all_runs_are_said(world: &World) -> Result<(), String> {
    let said = said(world);
    for at in wanted(world) {
        match said.runs.get(&at).and_then(|events| events.last()) {
            None => return Err(format!("nothing is said of {at}")),
            Some(RunEvent::Incomplete(event)) if event.missing.is_empty() => {
                return Err(format!("{at} is incomplete, and nothing is missing"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Rule 5, whenever it is looked at: one announcement per generation, one per run.
pub(super) fn nothing_is_said_twice(world: &World) -> Result<(), String> {
    let said = said(world);
    let mut newest: BTreeMap<FileAtSite, (Generation, bool)> = BTreeMap::new();
    for event in &said.files {
        let (at, generation, gone) = match event {
            FileEvent::Available(event) => {
                (FileAtSite { lfn: event.lfn.clone(), site: event.site.clone() }, event.generation, false)
            }
            FileEvent::Gone(event) => {
                (FileAtSite { lfn: event.lfn.clone(), site: event.site.clone() }, event.generation, true)
            }
        };
        let before = newest.insert(at.clone(), (generation, gone));
        let follows = match (before, gone) {
            (None, gone) => !gone,
            (Some((known, was_gone)), true) => known == generation && !was_gone,
            (Some((known, _)), false) => known < generation,
        };
        if !follows {
            return Err(format!("{at}#{generation} gone {gone} is said after {before:?}"));
        }
    }
    for (at, events) in &said.runs {
        let (mut available, mut corrected, mut incomplete) = (0, 0, 0);
        for event in events {
            match event {
                RunEvent::Available(_) => available += 1,
                RunEvent::Corrected(event) => {
                    corrected += 1;
                    if event.number != corrected || available != 1 {
                        return Err(format!("{at}: correction {} is number {corrected}", event.number));
                    }
                }
                RunEvent::Incomplete(event) => {
                    incomplete += 1;
                    if event.number != incomplete || available > 0 {
                        return Err(format!("{at}: incomplete {} is number {incomplete}", event.number));
                    }
                }
            }
        }
        if available > 1 {
            return Err(format!("{at} is available {available} times"));
        }
    }
    Ok(())
}

/// Everything that is wanted is there, whole, newest and announced, and every manifest says so.
pub(super) fn all_is_done(world: &World, views: &Views) -> Result<(), String> {
    nothing_is_said_twice(world)?;
    let said = said(world);
    let mut announced: BTreeMap<FileAtSite, Generation> = BTreeMap::new();
    for event in &said.files {
        if let FileEvent::Available(event) = event {
            let at = FileAtSite { lfn: event.lfn.clone(), site: event.site.clone() };
            announced.insert(at, event.generation);
        }
    }
    for at in wanted(world) {
        let manifest: Option<&RunManifest> = said.runs.get(&at).and_then(|events| {
            events.iter().rev().find_map(|event| match event {
                RunEvent::Available(manifest) => Some(manifest),
                RunEvent::Corrected(event) => Some(&event.manifest),
                RunEvent::Incomplete(_) => None,
            })
        });
        let files = world.lock().truth.runs[&at.run].files.clone();
        let mut cancelled = 0;
        for lfn in files.keys() {
            let file = FileAtSite { lfn: lfn.clone(), site: at.site.clone() };
            let Some((generation, state, _)) = views.transfers.get(&file) else {
                return Err(format!("the mover does not know {file}"));
            };
            match state {
                Some(TransferState::Done) => {}
                Some(TransferState::Cancelled) => {
                    cancelled += 1;
                    if !is_cancelled(world, &at.run, lfn, &at.site) {
                        return Err(format!("{file} is cancelled, and nobody wished it"));
                    }
                    if manifest.is_some_and(|manifest| !manifest.left_out.iter().any(|left| left.lfn == *lfn))
                    {
                        return Err(format!("{file} is cancelled, and the manifest does not leave it out"));
                    }
                    continue;
                }
                other => return Err(format!("{file} is {other:?}: {:?}", views.why.get(&file))),
            }
            if announced.get(&file) != Some(generation) {
                return Err(format!("{file}#{generation} is done; announced is {:?}", announced.get(&file)));
            }
            let path = world.path(&at.site, lfn);
            let newest = world.lock().truth.versions[lfn].last().cloned();
            if world.memory().get(&at.site, &path).map(|file| file.bytes) != newest {
                return Err(format!("{file}#{generation} is done, and does not hold the newest content"));
            }
            let Some(manifest) = manifest else { continue };
            match manifest.files.iter().find(|listed| listed.lfn == *lfn) {
                Some(listed) if listed.generation == *generation => {}
                other => return Err(format!("{file}#{generation} is done; the manifest has {other:?}")),
            }
        }
        let all_cancelled = cancelled == files.len() && cancelled > 0;
        if manifest.is_none() && !all_cancelled {
            return Err(format!("{at} has all its files and is not said to be available"));
        }
        if let Some(manifest) = manifest {
            if let Some(alien) = manifest.files.iter().find(|listed| !files.contains_key(&listed.lfn)) {
                return Err(format!("{at}'s manifest has {}, which it never had", alien.lfn));
            }
        }
    }
    Ok(())
}

/// Whether the wishes that were answered cancel the file.
fn is_cancelled(world: &World, run: &RunKey, lfn: &lightrail_topics::Lfn, site: &SiteName) -> bool {
    let subjects = [
        Subject::Everything,
        Subject::Experiment(run.experiment.clone()),
        Subject::Run(run.clone()),
        Subject::File(lfn.clone()),
    ];
    let state = world.lock();
    let mut cancelled = false;
    for subject in subjects {
        for site in [None, Some(site.clone())] {
            let wish = state.truth.wishes.get(&WishKey { subject: subject.clone(), site });
            cancelled = wish.and_then(|wish| wish.cancelled).unwrap_or(cancelled);
        }
    }
    cancelled
}

/// Every wish that was answered stands on `requests` as it was answered.
pub(super) fn wishes_stand(world: &World) -> Result<(), String> {
    let mut standing = BTreeMap::new();
    for record in world.read_from(&[world.topics.name(Topic::Requests)], &BTreeMap::new()) {
        if let Ok(Event::Wish(key, wish)) = decode(&world.topics, &record) {
            standing.insert(key, wish);
        }
    }
    let state = world.lock();
    for (key, wish) in &state.truth.wishes {
        if standing.get(key).cloned().flatten().as_ref() != Some(wish) {
            return Err(format!("the wish for {key} is {wish:?}; on kafka stands {:?}", standing.get(key)));
        }
    }
    Ok(())
}
